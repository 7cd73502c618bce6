"""Departments that saw a block final say so, and an auditor without a node rests on as many of them as he asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.verifier import Anchored, Evidence, KnownKey, Trust, finality_text, read_file, verify
from crypto.notes import parse_note
from node.errors import BlockNotFinal, NotAMember
from node.exchange.anchoring import Anchoring
from node.exchange.auditing import Auditing
from node.exchange.journal import Step
from node.model.chain import MemberStatus
from node.model.events import Event, member_subject
from tests.audit.test_verifier_node import CONTRACT, BlockProofs
from tests.support.exchange_world import Node, World


class Seen:
    """A log's owner, two witnesses and a stranger, who all look at one chain; the log is anchored."""

    def __init__(self) -> None:
        self.world = World()
        self.owner, *self.witnesses, self.stranger = (self.world.add(number) for number in range(1, 5))
        self.owner.limit(witnesses=tuple(node.member_id for node in self.witnesses), cosignatures_needed=0)
        self.chain = BlockProofs()
        for node in (self.owner, *self.witnesses, self.stranger):
            node.auditing = Auditing(node.context, self.chain)

    async def evidence(self) -> bytes:
        owner = self.owner
        await owner.context.journal.record(Step(Event.AUDIT_READ, owner.member_id, member_subject(owner.member_id)))
        await Anchoring(owner.context).anchor_now()
        return await self._made()

    async def _made(self) -> bytes:
        await self.owner.auditing.evidence(self.owner.member, 0)  # so that the block is there for everyone to see
        return await self.owner.auditing.evidence(self.owner.member, 0)

    def trust(self, *members: Node, needed: int, blocks: bool = False) -> Trust:
        """An auditor with everybody's keys."""
        everyone = (self.owner, *self.witnesses, self.stranger)
        keys = {
            node.member_id: tuple(KnownKey(one.signing_key.to_bytes(), one.since_time) for one in node.member.epochs)
            for node in everyone
        }
        known = frozenset(self.chain.blocks) if blocks else frozenset()
        names = frozenset(node.member_id for node in members)
        return Trust(keys, known, frozenset({CONTRACT}), finality_members=names, finality_needed=needed)


def _section(raw: bytes) -> Anchored:
    (section,) = read_file(raw).proof.anchored
    return section


async def test_an_auditor_who_knows_no_block_rests_on_those_who_saw_it() -> None:
    seen = Seen()
    raw = await seen.evidence()
    note = _section(raw).finality
    assert note is not None
    assert [line.name for line in parse_note(note).signatures] == [
        node.member_id for node in (seen.owner, *seen.witnesses)
    ]
    report = verify(raw, seen.trust(*seen.witnesses, needed=2))
    assert report.proven
    (block,) = (link for link in report.links if link.name == "block memory")
    assert block.says.endswith("is stated to be final")
    # The auditor's own knowledge of a block takes the place of their word.
    assert verify(raw, seen.trust(seen.stranger, needed=1, blocks=True)).proven
    assert not verify(raw, seen.trust(needed=0)).proven


@pytest.mark.parametrize(
    "case", ["too few", "not of those", "the owner's own", "none", "another block", "another chain"]
)
async def test_what_does_not_state_it_does_not_hold(case: str) -> None:
    seen = Seen()
    raw = await seen.evidence()
    content = read_file(raw)
    assert isinstance(content, Evidence)
    section = _section(raw)
    trust = seen.trust(*seen.witnesses, needed=2)
    header = next(iter(seen.chain.blocks))
    if case == "too few":
        trust = seen.trust(*seen.witnesses, seen.stranger, needed=3)
    elif case == "not of those":
        trust = seen.trust(seen.stranger, needed=1)
    elif case == "the owner's own":
        trust = seen.trust(seen.owner, needed=1)
    elif case == "none":
        section = replace(section, finality=None)
    else:
        chain_id, number = (1338, section.chain.block_number) if "chain" in case else (1337, 99)
        other = await seen.witnesses[0].context.notary.sign_text(finality_text(chain_id, number, header))
        section = replace(section, finality=other)
        trust = seen.trust(*seen.witnesses, needed=1)
    changed = replace(content, proof=replace(content.proof, anchored=(section,)))
    report = verify(changed.to_bytes(), trust)
    assert [link.name for link in report.links if not link.holds] == ["finality memory"]
    assert not report.proven


async def test_a_key_that_was_declared_compromised_states_nothing() -> None:
    """Nothing dates the statement: a thief could have made it today."""
    seen = Seen()
    raw = await seen.evidence()
    trust = seen.trust(*seen.witnesses, needed=2)
    name = seen.witnesses[0].member_id
    (key,) = trust.keys[name]
    stolen = replace(trust, keys={**trust.keys, name: (replace(key, compromised_since=4_000_000_000),)})
    assert [link.name for link in verify(raw, stolen).links if not link.holds] == ["keys"]


async def test_a_peer_states_only_what_it_has_seen_and_logs_it() -> None:
    seen = Seen()
    raw = await seen.evidence()
    chain, witness = _section(raw).chain, seen.witnesses[0]
    block_hash = seen.chain.hashes[chain.block_number]
    state = witness.auditing.finality.state
    note = await state(seen.owner.member, 1337, chain.block_number, block_hash)
    assert parse_note(note).text == finality_text(1337, chain.block_number, block_hash)
    asked = [(1338, chain.block_number, block_hash), (1337, 99, block_hash), (1337, chain.block_number, bytes(32))]
    for wrong in asked:
        with pytest.raises(BlockNotFinal):
            await state(seen.owner.member, *wrong)
    suspended = replace(seen.owner.member, status=MemberStatus.SUSPENDED)
    with pytest.raises(NotAMember):
        await state(suspended, 1337, chain.block_number, block_hash)
    told = [event for event in witness.events() if event.startswith("FINALITY_STATED")]
    assert told[-5:] == ["FINALITY_STATED", *["FINALITY_STATED:BLOCK_NOT_FINAL"] * 3, "FINALITY_STATED:NOT_A_MEMBER"]


async def test_evidence_is_made_without_the_word_of_those_who_do_not_answer() -> None:
    seen = Seen()
    seen.witnesses[1].auditing = Auditing(seen.witnesses[1].context, BlockProofs())  # its endpoint lags behind
    note = _section(await seen.evidence()).finality
    assert note is not None
    assert [line.name for line in parse_note(note).signatures] == [seen.owner.member_id, seen.witnesses[0].member_id]
    seen.owner.limit(witnesses=())
    seen.owner.auditing = Auditing(seen.owner.context, seen.chain)
    assert _section(await seen.evidence()).finality is None
