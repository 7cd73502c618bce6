"""Peers cosign each other's heads: only what goes on from what they saw, and an anchor waits for as many as it needs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.cosignature import check_cosignature, parse_line
from audit.errors import LogForked, WitnessBehind
from crypto.errors import SignatureInvalid
from crypto.notes import NoteKey, parse_note
from crypto.signer import HeldKey
from node.errors import CosignaturesMissing, NotAMember
from node.exchange.anchoring import Anchoring
from node.exchange.context import audit_origin
from node.exchange.heads import signed_head
from node.exchange.journal import Step
from node.model.chain import MemberStatus
from node.model.events import Event, member_subject
from tests.support.exchange_world import Node, World


async def _log_something(node: Node, count: int = 3) -> None:
    for _ in range(count):
        await node.context.journal.record(Step(Event.AUDIT_READ, node.member_id, member_subject(node.member_id)))


def _three() -> tuple[World, Node, Node, Node]:
    world = World()
    return world, world.add(1), world.add(2), world.add(3)


async def test_an_anchored_head_carries_a_line_of_every_witness_that_holds() -> None:
    _, owner, first, second = _three()
    owner.limit(witnesses=(first.member_id, second.member_id), cosignatures_needed=2)
    for _ in range(3):
        await _log_something(owner)
        note, _ = await Anchoring(owner.context).anchor_now()
        parsed = parse_note(note)
        assert [line.name for line in parsed.signatures] == [owner.member_id, first.member_id, second.member_id]
        for witness, line in zip((first, second), parsed.signatures[1:], strict=True):
            key = NoteKey(witness.member_id, witness.signing_key.public_key)
            time = check_cosignature(owner.engine, parsed.text, line, [key])  # type: ignore[arg-type]  # it counts
            assert 1_000 * time <= owner.world.clock.now_ms
    assert first.events().count("CHECKPOINT_COSIGNED") == 3


async def test_an_anchor_waits_for_the_cosignatures_that_are_needed() -> None:
    world, owner, first, second = _three()
    owner.limit(witnesses=(first.member_id, second.member_id), cosignatures_needed=2)
    await _log_something(owner)
    world.chain.members_by_id[owner.member_id] = owner.member
    anchoring = Anchoring(owner.context)
    del world.nodes[second.member_id]
    with pytest.raises(KeyError):
        await anchoring.anchor_now()
    world.nodes[second.member_id] = second
    await anchoring.anchor_now()
    assert anchoring.cosigning.cosigned_by == (first.member_id, second.member_id)


async def test_too_few_witnesses_that_sign_put_the_anchor_off() -> None:
    _, owner, first, second = _three()
    owner.limit(witnesses=(first.member_id, second.member_id), cosignatures_needed=2)
    await _log_something(owner)
    # The second witness saw another head of this log, as if it had been forked.
    forked = Checkpoint(audit_origin(owner.member_id), 2, b"\1" * 32, owner.world.clock.now_ms)
    note = sign_checkpoint(forked, HeldKey(owner.world.plain_engine, owner.signing_key))
    await second.witnessing.cosign(owner.member, note, 0, ())
    with pytest.raises(CosignaturesMissing):
        await Anchoring(owner.context).anchor_now()
    assert "CHECKPOINT_COSIGNED:LOG_FORKED" in second.events()
    assert "CHECKPOINT_COSIGNED:LOG_FORKED" in owner.events()
    assert "CHECKPOINT_ANCHORED" not in owner.events()


async def test_a_witness_says_from_where_the_path_must_lead_and_signs_nothing_that_forks() -> None:
    _, owner, witness, _ = _three()
    await _log_something(owner, 4)
    note, head = await signed_head(owner.context)
    line = await witness.witnessing.cosign(owner.member, note, 0, ())
    assert parse_line(line).name == witness.member_id
    await _log_something(owner, 5)
    later, newer = await signed_head(owner.context)
    with pytest.raises(WitnessBehind) as behind:
        await witness.witnessing.cosign(owner.member, later, 0, ())
    assert behind.value.details["size"] == str(head.size)
    path = owner.context.tree.consistency(head.size, newer.size)
    with pytest.raises(LogForked):
        await witness.witnessing.cosign(owner.member, later, head.size, [*path[:-1], bytes(32)])
    await witness.witnessing.cosign(owner.member, later, head.size, path)
    with pytest.raises(LogForked):
        await witness.witnessing.cosign(owner.member, note, head.size, ())
    assert await witness.witnessing.cosign(owner.member, later, newer.size, ())


async def test_a_witness_remembers_through_a_restart() -> None:
    _, owner, witness, _ = _three()
    await _log_something(owner, 4)
    note, head = await signed_head(owner.context)
    await witness.witnessing.cosign(owner.member, note, 0, ())
    witness.start()
    forked = Checkpoint(head.origin, head.size + 1, b"\2" * 32, head.time_ms)
    false = sign_checkpoint(forked, HeldKey(owner.world.plain_engine, owner.signing_key))
    with pytest.raises(LogForked):
        await witness.witnessing.cosign(owner.member, false, head.size, [bytes(32)] * 3)


async def test_of_two_heads_that_fork_at_once_a_witness_signs_one() -> None:
    _, owner, witness, _ = _three()
    heads = [Checkpoint(audit_origin(owner.member_id), 3, bytes([fork]) * 32, 1_000) for fork in range(8)]
    notes = [sign_checkpoint(head, HeldKey(owner.world.plain_engine, owner.signing_key)) for head in heads]
    asked = [witness.witnessing.cosign(owner.member, note, 0, ()) for note in notes]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, str) for answer in answers) == 1


async def test_a_suspended_member_or_another_ones_head_is_not_cosigned() -> None:
    world, owner, witness, other = _three()
    await _log_something(owner)
    note, _ = await signed_head(owner.context)
    with pytest.raises(SignatureInvalid):
        await witness.witnessing.cosign(other.member, note, 0, ())
    world.chain.members_by_id[owner.member_id] = replace(owner.member, status=MemberStatus.SUSPENDED)
    with pytest.raises(NotAMember):
        await witness.witnessing.cosign(owner.member, note, 0, ())
