"""One log on several networks: each has the newest head, and one that is down keeps nobody waiting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.checkpoint import log_id
from audit.verifier import KnownKey, Trust, verify
from node.errors import TransactionPending
from node.exchange.anchoring import Anchoring
from node.exchange.auditing import Auditing
from node.exchange.context import AnchorNetwork, audit_origin
from node.exchange.journal import Step
from node.model.chain import Mined
from node.model.events import Event, member_subject
from node.ports import ChainProofs
from tests.audit.test_verifier_node import CONTRACT, BlockProofs
from tests.support.exchange_world import Node, NoProofs, World
from tests.support.memory_chain import MemoryChain, MemoryView, MemoryWriter


def _on_two_networks() -> tuple[Node, MemoryChain]:
    """A node whose log goes to another chain as well."""
    world = World()
    node = world.add(1)
    city = MemoryChain(world.clock)
    city.members_by_id[node.member_id] = node.member
    network = AnchorNetwork("city", MemoryView(city), MemoryWriter(city, node.member_id, node.fuse.step), NoProofs())
    node.context = replace(node.context, anchor_networks=(network,))
    return node, city


async def _log_something(node: Node) -> None:
    await node.context.journal.record(Step(Event.AUDIT_READ, node.member_id, member_subject(node.member_id)))


def _sizes(node: Node) -> tuple[int, int]:
    """Of the newest anchors, there and on the first network."""
    log = log_id(audit_origin(node.member_id))
    views = (node.context.anchor_networks[0].view, node.context.view)
    there, here = (anchor.size if (anchor := view.newest_anchor(node.member_id, log)) else 0 for view in views)
    return there, here


async def test_every_network_gets_the_same_head() -> None:
    node, city = _on_two_networks()
    anchoring = Anchoring(node.context)
    for _ in range(3):
        await _log_something(node)
        note, _ = await anchoring.anchor_now()
        there, here = _sizes(node)
        assert there == here == node.context.tree.size - 1
        (newest,) = city.anchors_by_log[node.member_id, log_id(audit_origin(node.member_id))][-1:]
        assert node.context.ledger.checkpoint(newest.note_digest) == note


async def test_a_network_that_is_down_keeps_nobody_waiting_and_gets_the_newest_head_when_it_is_back() -> None:
    node, city = _on_two_networks()
    anchoring = Anchoring(node.context)
    city.is_reachable = False
    for expected in (1, 3):
        await _log_something(node)
        await anchoring.anchor_now()
        assert _sizes(node) == (0, expected)
    size = node.context.tree.size
    city.is_reachable = True
    # Nothing new is in the log: the head that the first network has goes to the other, and no entry is written.
    await anchoring.anchor_now()
    assert _sizes(node) == (3, 3)
    assert node.context.tree.size == size


async def test_an_anchor_that_is_under_way_is_finished_before_the_next_is_decided() -> None:
    """However many turns the chain takes: one anchor for each head that was handed over, in order, and each is in the log."""
    world = World()
    node = world.add(1)
    writer = node.context.writer
    handed: list[int] = []

    class Slow:
        """Takes what it is handed, and tells of it as late as it is told to."""

        is_slow = True

        def anchor(self, log_id: bytes, size: int, root: bytes, note_digest: bytes) -> Mined:
            handed.append(size)
            if self.is_slow:
                raise TransactionPending("journaled and may still be mined")
            return writer.anchor(log_id, size, root, note_digest)

    slow = Slow()
    node.context = replace(node.context, writer=slow)  # type: ignore[arg-type]  # anchors are all that it is asked for
    anchoring = Anchoring(node.context)
    for _ in range(3):
        await _log_something(node)
        with pytest.raises(TransactionPending):
            await anchoring.anchor_now()
    assert handed == [1, 1, 1]
    slow.is_slow = False
    await anchoring.anchor_now()
    assert handed == [1, 1, 1, 1, 4]
    anchors = world.chain.anchors_by_log[node.member_id, log_id(audit_origin(node.member_id))]
    assert [anchor.size for anchor in anchors] == [1, 4]
    notes = [node.context.ledger.checkpoint(anchor.note_digest) for anchor in anchors]
    assert None not in notes


async def test_evidence_names_every_network_that_answers() -> None:
    node, city = _on_two_networks()
    anchoring = Anchoring(node.context)
    await _log_something(node)
    await anchoring.anchor_now()
    # The city's head that covers the next entry is a younger one than the county's.
    await _log_something(node)
    city.is_reachable = False
    await anchoring.anchor_now()
    await _log_something(node)
    city.is_reachable = True
    await anchoring.anchor_now()
    here, there = BlockProofs("county"), BlockProofs("city")
    found = verify(await _evidence(node, here, there), _trust(node, here, there))
    assert [link.name for link in found.links if not link.holds] == []
    assert {"anchor county", "block county", "anchor city", "block city"} <= {link.name for link in found.links}
    assert found.proven
    assert found.anchored_size > found.checkpoint.size  # type: ignore[union-attr]  # it is proven
    # What a network that does not answer would add is left out.
    found = verify(await _evidence(node, here, NoProofs()), _trust(node, here, there))
    assert found.proven
    assert "anchor city" not in {link.name for link in found.links}


async def _evidence(node: Node, here: ChainProofs, there: ChainProofs) -> bytes:
    """Of the second entry that was logged, which the first anchor does not cover."""
    (network,) = node.context.anchor_networks
    context = replace(node.context, anchor_networks=(replace(network, proofs=there),))
    return await Auditing(context, here).evidence(node.member, 2)


def _trust(node: Node, *proofs: BlockProofs) -> Trust:
    keys = tuple(KnownKey(epoch.signing_key.to_bytes(), epoch.since_time) for epoch in node.member.epochs)
    blocks = frozenset(block for one in proofs for block in one.blocks)
    return Trust({node.member_id: keys}, blocks, frozenset({CONTRACT}))
