"""What a node hands over is what the verifier takes: every step of an exchange, from both sides, under cosigned and anchored heads.

The chain is in memory and has no blocks, so the port that proves anchors makes one for each, with the libraries of Ethereum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from audit.checkpoint import Checkpoint
from audit.cosignature import check_cosignature, cosign, parse_line, with_lines
from audit.errors import EvidenceMalformed
from audit.verifier import ChainStatement, EntryRange, KnownKey, Trust, author_of, read_file, verify
from audit.verify import read_trust, signature_check, trust_text, verify_evidence
from crypto.engine import load_engine
from crypto.errors import EncodingInvalid, SignatureInvalid
from crypto.notes import NoteKey, parse_note, sign_note
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from node.errors import ChainUnavailable, NotAnchored, RangeInvalid
from node.exchange.anchoring import Anchoring
from node.exchange.auditing import Auditing
from node.model.chain import Anchor, Role
from node.model.statements import Order, Receipt, Request, Statement
from tests.audit.evidence_files import anchor_log, encode_receipt, make_block, other_log
from tests.support.exchange_world import Node, World, fetch, make_grant
from tests.support.statements import statements

CONTRACT = b"\xa1" * 20
ENGINE = load_engine()


class BlockProofs:
    """A port ChainProofs over a chain in memory: the block of an anchor holds its event among others'."""

    def __init__(self, network: str = "memory") -> None:
        self.network = network
        self.blocks: set[bytes] = set()
        self.hashes: dict[int, bytes] = {}  # by number

    chain_id = 1337

    def final_hash(self, number: int) -> bytes | None:
        return self.hashes.get(number)

    def mined_size(self, member_id: str, log_id: bytes) -> int:
        raise ChainUnavailable(f"no contract can be asked for {member_id}'s {log_id.hex()}")

    def receipt_proof(self, anchor: Anchor) -> ChainStatement:
        head = Checkpoint(f"kiteline/{anchor.member_id}/audit/SM3", anchor.size, anchor.root, 0)
        contract, topics, data = anchor_log(CONTRACT, head, b"")
        log = [contract, topics, data[:64] + anchor.note_digest]
        receipts = [encode_receipt([other_log(1)]), encode_receipt([other_log(2), log], kind=2), encode_receipt([])]
        block = make_block(receipts, anchor.block.number, anchor.block.time)
        self.blocks.add(block.hash)
        self.hashes[anchor.block.number] = block.hash
        return ChainStatement(self.network, 1337, CONTRACT, anchor.block.number, block.header, 1, block.path(1))


class Walk:
    """Two departments that exchanged data, two witnesses, and an auditor."""

    def __init__(self) -> None:
        self.world = World()
        self.provider, self.requester, *self.witnesses = (self.world.add(number) for number in range(1, 5))
        self.auditor = self.world.add(5, Role.AUDITOR)
        self.proofs = BlockProofs()

    async def life(self) -> None:
        """A grant, a bulk transfer, queries with their receipts, and what a node refuses."""
        names = tuple(node.member_id for node in self.witnesses)
        for node in (self.provider, self.requester):
            node.limit(witnesses=names, cosignatures_needed=2)
        grant = await make_grant(self.world, self.provider, self.requester, records=24)
        await self.anchor()
        await fetch(self.requester, grant)
        for key in ("k3", "k7"):
            await self.requester.requester.query(grant, key)
        await self.anchor()
        await self.auditor.tracing.trail(grant)
        await self.anchor()

    async def anchor(self) -> None:
        self.world.clock.now_ms += 60_000  # blocks are told apart by seconds
        for node in (self.provider, self.requester):
            await Anchoring(node.context).anchor_now()

    def auditing(self, node: Node) -> Auditing:
        return Auditing(node.context, self.proofs)

    def trust(self, **changes: Any) -> Trust:  # noqa: ANN401 - any field of what is known
        """As `kiteline chain trust` writes it, and that both witnesses are wanted."""
        members = self.world.chain.members_by_id.values()
        keys = {
            member.member_id: tuple(
                KnownKey(epoch.signing_key.to_bytes(), epoch.since_time, epoch.compromised_since)
                for epoch in member.epochs
            )
            for member in members
        }
        names = frozenset(node.member_id for node in self.witnesses)
        return replace(Trust(keys, frozenset(self.proofs.blocks), frozenset({CONTRACT}), names, 2), **changes)


def walked(test: Callable[[Walk], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        walk = Walk()
        await walk.life()
        await test(walk)

    asyncio.run(asyncio.wait_for(whole(), 60))


def broken(raw: bytes, trust: Trust) -> dict[str, str]:
    report = verify_evidence(ENGINE, raw, trust)
    return {link.name: link.says for link in report.links if not link.holds}


def test_the_evidence_of_every_step_of_both_sides_holds() -> None:
    async def test(walk: Walk) -> None:
        for node in (walk.provider, walk.requester):
            anchored = node.context.view.anchors(node.member_id, walk.auditing(node)._log_id)[-1].size
            events = set()
            for index in range(anchored):
                raw = await walk.auditing(node).evidence(walk.auditor.member, index)
                assert broken(raw, walk.trust()) == {}, node.events()[index]
                assert broken(raw, Trust()) == {}
                report = verify(raw, walk.trust(), signature_check(ENGINE))
                assert report.entries[0].entry.event == node.events()[index].split(":")[0]
                events.add(report.entries[0].entry.event)
            assert {"ORDER_SENT", "ORDER_RECEIVED"} & events
            assert {"KEYS_RELEASED", "KEYS_RECEIVED"} & events
            assert {"CHECKPOINT_ANCHORED", "AUDIT_READ"} <= events

    walked(test)


def test_any_interval_is_proven_complete_under_an_anchored_head() -> None:
    async def test(walk: Walk) -> None:
        for node in (walk.provider, walk.requester):
            anchors = node.context.view.anchors(node.member_id, walk.auditing(node)._log_id)
            newest = anchors[-1].size
            for first, count in [(0, 0), (0, 1), (3, 9), (newest - 1, 5), (anchors[0].size - 1, 3)]:
                raw = await walk.auditing(node).range_file(walk.auditor.member, first, count, anchored=True)
                assert broken(raw, walk.trust()) == {}
                content = read_file(raw)
                assert isinstance(content, EntryRange)
                assert content.entries == tuple(node.entries[first : min(first + count or newest, newest)])
                assert content.first == first

    walked(test)


def test_an_interval_to_the_very_end_is_complete_and_says_that_no_chain_has_it() -> None:
    async def test(walk: Walk) -> None:
        node = walk.provider
        raw = await walk.auditing(node).range_file(walk.auditor.member, 0, 0, anchored=False)
        content = read_file(raw)
        assert isinstance(content, EntryRange)
        # Reading it is its last entry.
        assert content.entries == tuple(node.entries)
        assert "event AUDIT_READ" in content.entries[-1].decode()
        assert broken(raw, walk.trust()) == {
            "cosignatures": "0 witnesses cosigned, 2 are needed",
            "anchor": "no network is named that has a head",
        }

    walked(test)


def test_what_no_anchor_covers_yet_cannot_be_had_as_evidence() -> None:
    async def test(walk: Walk) -> None:
        node = walk.provider
        newest = node.context.view.anchors(node.member_id, walk.auditing(node)._log_id)[-1].size
        for ask in (
            lambda: walk.auditing(node).evidence(walk.auditor.member, newest),
            lambda: walk.auditing(node).range_file(walk.auditor.member, newest, 1, anchored=True),
        ):
            with pytest.raises(NotAnchored):
                await ask()
        with pytest.raises(RangeInvalid):
            await walk.auditing(node).range_file(walk.auditor.member, len(node.entries) + 5, 1, anchored=True)

    walked(test)


def test_a_key_declared_compromised_takes_what_was_anchored_later_and_no_more() -> None:
    async def test(walk: Walk) -> None:
        node, member = walk.provider, walk.requester.member
        anchors = node.context.view.anchors(node.member_id, walk.auditing(node)._log_id)
        date = anchors[1].block.time
        walk.world.chain.members_by_id[member.member_id] = replace(
            member, epochs=(replace(member.epochs[0], compromised_since=date),)
        )
        fallen = 0
        for index in range(anchors[-1].size):
            raw = await walk.auditing(node).evidence(walk.auditor.member, index)
            report = verify_evidence(ENGINE, raw, walk.trust())
            is_later = index >= anchors[0].size
            is_theirs = member.member_id in report.entries[0].signers
            assert report.holds == (not (is_later and is_theirs))
            assert broken(raw, Trust()).keys() == broken(raw, walk.trust()).keys()
            fallen += not report.holds
        assert fallen > 0

    walked(test)


# Whose statement a text is.


@settings(deadline=None)
@given(statements)
def test_the_verifier_knows_the_author_of_every_statement(statement: Statement) -> None:
    wanted = "actor"
    if isinstance(statement, Request | Order | Receipt):
        wanted = statement.requester_id
    elif hasattr(statement, "provider_id"):
        wanted = statement.provider_id
    assert author_of(statement.to_text(), "actor") == wanted


# Kiteline's own way to the verifier.


def test_a_signature_or_a_key_of_another_form_is_no_error_but_does_not_hold() -> None:
    key = SM2PrivateKey(7)
    (signature,) = ENGINE.sm2_sign_many(key, [b"message"])
    check = signature_check(ENGINE)
    assert check(key.public_key.to_bytes(), b"message", signature)
    for wrong in ((b"", b"message", signature), (b"\4" * 65, b"message", signature)):
        assert not check(*wrong)
    assert not check(key.public_key.to_bytes(), b"message", b"")
    assert not check(key.public_key.to_bytes(), b"massage", signature)


def test_a_trust_file_is_read_from_disk_or_refused_by_name(tmp_path: Any) -> None:  # noqa: ANN401 - pytest's own path
    trust = Trust(blocks=frozenset({b"\1" * 32}))
    file = tmp_path / "trust.json"
    file.write_text(trust_text(trust), encoding="utf-8")
    assert read_trust(file) == trust
    (tmp_path / "wrong.json").write_text('{"version": 1}', encoding="utf-8")
    (tmp_path / "gbk.json").write_bytes("信任".encode("gbk"))
    for name in ("wrong.json", "gbk.json", "absent.json", "."):
        with pytest.raises(EvidenceMalformed) as caught:
            read_trust(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_file_of_another_form_is_refused_with_its_reason() -> None:
    with pytest.raises(EvidenceMalformed, match="neither evidence nor a range") as caught:
        verify_evidence(ENGINE, b"hello\n", Trust())
    assert caught.value.reason == "EVIDENCE_MALFORMED"


# A witness's line.

TEXT = Checkpoint("kiteline/11370700004258746X/audit/SM3", 7, b"\7" * 32, 5).to_text()
WITNESS = SM2PrivateKey(99)
NAMED = NoteKey("witness", WITNESS.public_key)


def test_a_witnesss_line_travels_as_text_and_holds_for_its_key() -> None:
    line = cosign(TEXT, "witness", HeldKey(ENGINE, WITNESS), 1_795_400_000)
    assert parse_line(str(line)) == line
    assert (
        check_cosignature(ENGINE, TEXT, line, [NoteKey("other", SM2PrivateKey(5).public_key), NAMED]) == 1_795_400_000
    )
    for text, keys in ((TEXT + "\n", [NAMED]), (TEXT, []), (TEXT, [NoteKey("witness", SM2PrivateKey(5).public_key)])):
        with pytest.raises(SignatureInvalid):
            check_cosignature(ENGINE, text, line, keys)
    for changed in (
        replace(line, name="other"),
        replace(line, signature=line.signature[:8]),
        replace(line, signature=b"\0" * 8 + line.signature[8:]),
    ):
        with pytest.raises(SignatureInvalid):
            check_cosignature(ENGINE, TEXT, changed, [NAMED])


def test_a_line_is_added_once() -> None:
    note = sign_note(TEXT, "owner", HeldKey(ENGINE, SM2PrivateKey(3)))
    line = cosign(TEXT, "witness", HeldKey(ENGINE, WITNESS), 5)
    cosigned = with_lines(note, [line])
    assert parse_note(cosigned).signatures == (*parse_note(note).signatures, line)
    with pytest.raises(EncodingInvalid):
        with_lines(cosigned, [line])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "— witness AAAAAAAA",
        "— witness AAAAAAAA\n\n",
        "— witness AAAAAAAA\n— other AAAAAAAA\n",
        "\n— witness AAAAAAAA\n",
        "- witness AAAAAAAA\n",
        "— witness AAAAAAB=\n",
        "— witness AAAA\n",
        "— \ud800 AAAAAAAA\n",
        "— witness AAAAAAAA\r\n",
    ],
)
def test_what_is_no_single_line_is_refused(line: str) -> None:
    with pytest.raises(EncodingInvalid):
        parse_line(line)
