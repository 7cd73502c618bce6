"""Each decided head is on the chain once and in the log once, whatever happens between; and one log on several networks: each has the newest
head, and one that is down keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from audit.checkpoint import log_id
from audit.entry import parse_entry
from audit.verifier import KnownKey, Trust, verify
from node.errors import ChainUnavailable, TransactionRefused
from node.exchange.anchoring import Anchoring
from node.exchange.auditing import Auditing
from node.exchange.context import AnchorNetwork, audit_origin
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.model.chain import Mined
from node.model.events import Event, member_subject
from node.ports import ChainProofs
from tests.audit.test_verifier_node import CONTRACT, BlockProofs
from tests.support.exchange_world import Node, NoProofs, World
from tests.support.memory_chain import MemoryChain, MemoryView, MemoryWriter
from tests.support.memory_stores import Fuse, Killed


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


class LosingWriter(MemoryWriter):
    """The chain takes the next `losses` transactions, and nobody hears of it."""

    losses = 0

    def anchor(self, log_id: bytes, size: int, root: bytes, note_digest: bytes) -> Mined:
        mined = super().anchor(log_id, size, root, note_digest)
        if self.losses:
            self.losses -= 1
            raise ChainUnavailable("the answer was lost")
        return mined


def _check_anchors(node: Node, chain: MemoryChain) -> list[int]:
    """Sizes on the chain grow, and the log has the note of each anchor once, in the same order. Gives the sizes."""
    anchors = chain.anchors_by_log[node.member_id, log_id(audit_origin(node.member_id))]
    sizes = [anchor.size for anchor in anchors]
    assert sizes == sorted(set(sizes))
    logged = [parse_entry(raw).note for raw in node.entries if b"\nevent CHECKPOINT_ANCHORED\n" in raw]
    assert [note_digest(note) for note in logged if note] == [anchor.note_digest for anchor in anchors]
    return sizes


async def test_an_anchor_whose_answer_was_lost_is_found_and_logged_also_while_nothing_else_is() -> None:
    """Another note over the same entries could never be anchored, and the first could never be shown."""
    world = World()
    node = world.add(1)
    writer = LosingWriter(world.chain, node.member_id)
    node.context = replace(node.context, writer=writer)
    anchoring = Anchoring(node.context)
    await _log_something(node)
    writer.losses = 2
    for _ in range(2):
        with pytest.raises(ChainUnavailable):
            await anchoring.anchor_now()
    await anchoring.anchor_now()
    assert _check_anchors(node, world.chain)[0] == 1


async def test_killed_at_any_point_of_an_anchor_the_node_finishes_it_once() -> None:
    labels: set[str] = set()
    for kill_at in range(1, 100):
        world = World()
        node = world.add(1)
        await _log_something(node)
        await Anchoring(node.context).anchor_now()
        await _log_something(node)
        fuse = Fuse(kill_at)
        node.start(fuse)
        with suppress(Killed):
            await Anchoring(node.context).anchor_now()
        decided = node.decided_head.read()
        node.start()
        stop = asyncio.Event()
        stop.set()
        await _log_something(node)
        await Anchoring(node.context).run(stop)
        assert len(_check_anchors(node, world.chain)) >= 2
        assert decided is not None
        assert node.context.ledger.checkpoint(note_digest(decided)) == decided
        if not fuse.is_blown:
            break
        labels.add(fuse.labels[-1])
    moments = ("before", "after")
    steps = ("head", "decided head", "anchor", "event CHECKPOINT_ANCHORED")
    assert labels == {f"{moment} {step}" for moment in moments for step in steps}


async def test_a_head_that_the_chain_refuses_keeps_no_newer_one_from_it() -> None:
    """As after the log went on elsewhere meanwhile, or while the member was suspended."""
    world = World()
    node = world.add(1)
    await _log_something(node)
    log = log_id(audit_origin(node.member_id))
    node.context.writer.anchor(log, 1, bytes(32), b"\1" * 32)
    anchoring = Anchoring(node.context)
    with pytest.raises(TransactionRefused):
        await anchoring.anchor_now()
    await _log_something(node)
    _, mined = await anchoring.anchor_now()
    newest = node.context.view.newest_anchor(node.member_id, log)
    assert newest is not None
    assert (newest.size, newest.transaction_hash) == (2, mined.transaction_hash)


async def test_what_is_logged_during_the_last_turn_but_one_is_in_the_last() -> None:
    """A node logs its stop and then asks for the last turn, maybe while a turn is under way."""
    world = World()
    node = world.add(1)
    stop = asyncio.Event()

    class StoppingWriter(MemoryWriter):
        def anchor(self, log_id: bytes, size: int, root: bytes, note_digest: bytes) -> Mined:
            mined = super().anchor(log_id, size, root, note_digest)
            if not stop.is_set():
                asyncio.run_coroutine_threadsafe(_log_something(node), loop).result()
                loop.call_soon_threadsafe(stop.set)
            return mined

    loop = asyncio.get_running_loop()
    limits = replace(node.context.limits, anchor_interval_seconds=0)
    node.context = replace(node.context, writer=StoppingWriter(world.chain, node.member_id), limits=limits)
    await _log_something(node)
    await Anchoring(node.context).run(stop)
    assert _check_anchors(node, world.chain) == [1, 3]


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


async def test_killed_while_another_network_gets_a_head_it_gets_the_newest_one_once() -> None:
    labels: set[str] = set()
    for kill_at in range(1, 100):
        node, city = _on_two_networks()
        network = node.context.anchor_networks[0]
        await _log_something(node)
        await Anchoring(node.context).anchor_now()
        await _log_something(node)
        fuse = Fuse(kill_at)
        writer = MemoryWriter(city, node.member_id, fuse.step)
        node.context = replace(node.context, anchor_networks=(replace(network, writer=writer),))
        anchoring = Anchoring(node.context)
        await anchoring.anchor_now()
        node.start()
        node.context = replace(node.context, anchor_networks=(network,))
        await _log_something(node)
        await Anchoring(node.context).anchor_now()
        here = _check_anchors(node, node.world.chain)
        there = city.anchors_by_log[node.member_id, log_id(audit_origin(node.member_id))]
        sizes = [anchor.size for anchor in there]
        assert sizes == sorted(set(sizes))
        assert set(sizes) <= set(here)
        assert sizes[-1] == here[-1]
        assert all(node.context.ledger.checkpoint(anchor.note_digest) for anchor in there)
        if not fuse.is_blown:
            break
        labels.add(fuse.labels[-1])
    assert labels == {"before anchor", "after anchor"}


async def _evidence(node: Node, here: ChainProofs, there: ChainProofs) -> bytes:
    """Of the second entry that was logged, which the first anchor does not cover."""
    (network,) = node.context.anchor_networks
    context = replace(node.context, anchor_networks=(replace(network, proofs=there),))
    return await Auditing(context, here).evidence(node.member, 2)


def _trust(node: Node, *proofs: BlockProofs) -> Trust:
    keys = tuple(KnownKey(epoch.signing_key.to_bytes(), epoch.since_time) for epoch in node.member.epochs)
    blocks = frozenset(block for one in proofs for block in one.blocks)
    return Trust({node.member_id: keys}, blocks, frozenset({CONTRACT}))
