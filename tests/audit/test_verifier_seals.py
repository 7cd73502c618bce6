"""Seals of validators (EIP-225): recovered as the oracle recovers them, and each way in which they vouch for no block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_account import Account
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey, Signature
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint
from audit.verifier import (
    AUDITOR,
    FILE,
    Anchored,
    ChainStatement,
    Evidence,
    Link,
    Malformed,
    Trust,
    ValidatorSet,
    read_file,
    read_rlp,
    recovered_address,
    sealed_by,
    verify,
)
from tests.audit.evidence_files import (
    CHAIN_IDS,
    CONTRACTS,
    COUNTY,
    Block,
    World,
    anchor_log,
    encode_receipt,
    make_block,
    opened_world,
)

KEYS = [keccak(bytes([number])) for number in range(6)]
ACCOUNTS = [bytes.fromhex(Account.from_key(key).address[2:]) for key in KEYS]
FOUR = ValidatorSet(0, frozenset(ACCOUNTS[:4]))
SIZE, NUMBER = 19, 77


def sealed(header: bytes, key: bytes, parent: bytes | None = None) -> bytes:
    """The header, sealed by a validator, on top of a block."""
    fields: Any = rlp.decode(header)
    fields[0] = fields[0] if parent is None else parent
    vanity = bytes(32)
    fields[12] = vanity
    seal = PrivateKey(key).sign_msg_hash(keccak(rlp.encode(fields))).to_bytes()
    fields[12] = vanity + seal
    return bytes(rlp.encode(fields))


def on_top(header: bytes, sealers: Sequence[int]) -> tuple[bytes, ...]:
    """Headers on top of a block, by those validators."""
    found: list[bytes] = []
    for distance, sealer in enumerate(sealers, 1):
        plain = make_block([encode_receipt([])], NUMBER + distance).header
        found.append(sealed(plain, KEYS[sealer], keccak(found[-1] if found else header)))
    return tuple(found)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


def section(world: World, sealers: Sequence[int]) -> Anchored:
    """An anchor in a block of the first sealer, with blocks of the others on top."""
    note = world.head(SIZE)
    head = Checkpoint(world.origin, SIZE, world.tree.root_at(SIZE), 0)
    block = make_block([encode_receipt([anchor_log(CONTRACTS[COUNTY], head, note)])], NUMBER)
    header = sealed(block.header, KEYS[sealers[0]])
    made = world.in_block(note, Block(header, block.receipts), 0, SIZE, SIZE, is_known=False)
    return replace(made, chain=replace(made.chain, later=on_top(header, sealers[1:])))


def evidence(world: World, anchored: Anchored) -> Evidence:
    """One entry with that anchor alone."""
    return world.evidence(5, SIZE, world.proof(anchored.checkpoint, anchored))


def trust(world: World, **changes: Any) -> Trust:  # noqa: ANN401 - any field of what is known
    """An auditor who knows keys, contracts, validators, and some block that is not this one."""
    known = world.trust(blocks=frozenset({bytes(32)}), witnesses=frozenset(), cosignatures_needed=0)
    return replace(known, **{"validators": {CHAIN_IDS[COUNTY]: (FOUR,)}, **changes})


def links(content: Evidence, known: Trust) -> dict[str, Link]:
    """The links by name."""
    return {link.name: link for link in verify(content.to_bytes(), known).links}


SEALS, BLOCK = f"seals {COUNTY}", f"block {COUNTY}"


@given(st.binary(min_size=32, max_size=32), st.sampled_from(KEYS))
def test_the_account_of_a_signature_is_recovered_as_the_oracle_recovers_it(digest: bytes, key: bytes) -> None:
    private = PrivateKey(key)
    signature = private.sign_msg_hash(digest).to_bytes()
    assert recovered_address(digest, signature) == private.public_key.to_canonical_address()


@given(st.binary(min_size=65, max_size=65), st.binary(min_size=32, max_size=32))
def test_what_is_no_signature_has_no_account_or_the_oracle_has_it_too(signature: bytes, digest: bytes) -> None:
    found = recovered_address(digest, signature)
    if found is not None:
        made = Signature(signature).recover_public_key_from_msg_hash(digest)
        assert made.to_canonical_address() == found


@pytest.mark.parametrize(
    "signature",
    [
        bytes(65),
        b"\xff" * 64 + b"\0",
        (5).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\0",  # no point has this x
        (1).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\2",
        b"\1" * 64,
    ],
)
def test_numbers_out_of_bounds_have_no_account(signature: bytes) -> None:
    assert recovered_address(bytes(32), signature) is None


def test_a_header_without_a_seal_is_malformed() -> None:
    with pytest.raises(Malformed, match="has no seal"):
        sealed_by(make_block([encode_receipt([])]).header)


@given(st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=6), max_leaves=12))
def test_what_was_read_is_written_again_as_it_was(item: Any) -> None:  # noqa: ANN401 - RLP nests
    from audit.verifier import _rlp  # noqa: PLC0415 - the writer is the module's own, for the sealed header

    raw = rlp.encode(item)
    assert _rlp(read_rlp(raw)) == raw


def test_most_validators_vouch_for_a_block_that_the_auditor_does_not_know(world: World) -> None:
    content = evidence(world, section(world, [0, 1, 2, 3]))
    assert read_file(content.to_bytes()) == content
    report = verify(content.to_bytes(), trust(world))
    found = {link.name: link for link in report.links}
    assert report.proven, found
    assert found[SEALS].rests_on == found[BLOCK].rests_on == AUDITOR
    assert "4 of 4" in found[BLOCK].says
    # Three of four are a majority; a validator seals one in three.
    assert verify(evidence(world, section(world, [0, 1, 2])).to_bytes(), trust(world)).proven
    assert verify(evidence(world, section(world, [0, 1, 2, 0, 1])).to_bytes(), trust(world)).proven


def test_a_set_that_changes_holds_from_its_block_on(world: World) -> None:
    sets = (ValidatorSet(0, frozenset(ACCOUNTS[:3])), ValidatorSet(NUMBER + 2, frozenset(ACCOUNTS[1:4])))
    known = trust(world, validators={CHAIN_IDS[COUNTY]: sets})
    assert links(evidence(world, section(world, [0, 1, 3])), known)[SEALS].holds
    assert not links(evidence(world, section(world, [0, 3, 1])), known)[SEALS].holds
    late = trust(world, validators={CHAIN_IDS[COUNTY]: (replace(FOUR, since=NUMBER + 1),)})
    assert "no validator that the auditor knows" in links(evidence(world, section(world, [0, 1, 2])), late)[SEALS].says


def _without(anchored: Anchored, place: int) -> ChainStatement:
    later = anchored.chain.later
    return replace(anchored.chain, later=(*later[:place], *later[place + 1 :]))


def _altered(anchored: Anchored) -> ChainStatement:
    fields: Any = rlp.decode(anchored.chain.later[-1])
    fields[11] = fields[11][:-1] + bytes([fields[11][-1] ^ 1])  # its time
    return replace(anchored.chain, later=(*anchored.chain.later[:-1], rlp.encode(fields)))


@pytest.mark.parametrize(
    ("sealers", "change", "says"),
    [
        ([0, 1, 4], None, f"block {NUMBER + 2} is sealed by no validator that the auditor knows"),
        ([4, 1, 2], None, f"block {NUMBER} is sealed by no validator that the auditor knows"),
        ([0, 1, 0, 2], None, f"block {NUMBER + 2} is sealed by a validator whose turn it cannot be"),
        ([0, 0, 1, 2], None, f"block {NUMBER + 1} is sealed by a validator whose turn it cannot be"),
        ([0, 1], None, "2 validators sealed it and what is on top of it, 3 are needed"),
        ([0], None, "1 validators sealed it and what is on top of it, 3 are needed"),
        ([0, 1, 2, 3], lambda one: _without(one, 0), f"block {NUMBER + 2} is not on top of block {NUMBER}"),
        ([0, 1, 2, 3], _altered, f"block {NUMBER + 3} is sealed by no validator that the auditor knows"),
    ],
)
def test_each_broken_chain_of_seals_is_named(
    world: World, sealers: list[int], change: Callable[[Anchored], ChainStatement] | None, says: str
) -> None:
    anchored = section(world, sealers)
    if change is not None:
        anchored = replace(anchored, chain=change(anchored))
    found = links(evidence(world, anchored), trust(world))
    assert (found[SEALS].holds, found[SEALS].says) == (False, says)
    assert not found[BLOCK].holds


def test_a_block_that_the_auditor_knows_needs_no_seal(world: World) -> None:
    anchored = replace(section(world, [0]), finality=None)
    blocks = frozenset({keccak(anchored.chain.header)})
    assert verify(evidence(world, anchored).to_bytes(), trust(world, blocks=blocks)).proven


def test_an_auditor_who_knows_no_validators_is_told_of_no_seals(world: World) -> None:
    found = links(evidence(world, section(world, [0, 1, 2])), trust(world, validators={}, blocks=frozenset()))
    assert SEALS not in found
    assert found[BLOCK].rests_on == FILE
