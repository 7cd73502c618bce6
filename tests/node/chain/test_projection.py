"""What each event changes in the index, and that it changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak

from contracts.artifact import load
from node.chain.abi import Event, _type
from node.chain.deployment import CONTRACT_NAMES
from node.chain.interfaces import load_interfaces
from node.chain.json_rpc import LogRecord
from node.chain.projection import _RULES, apply_event
from node.chain.rows import EpochRow, MemberRow, Row, anchor_key, member_word
from node.errors import ChainMismatch
from node.model.chain import Anchor, Block, DatasetOnChain, GrantOnChain, GrantState, SharingType
from tests.support.statements import member_id

BLOCK = Block(9, b"\x99" * 32, 1_795_482_123)
HASH = b"\xaa" * 32
FIRST, SECOND = member_id(1), member_id(2)
DATASET, GRANT = b"\x01" * 32, b"\x02" * 32
KEYS = (b"s" * 65, b"e" * 65, "0x" + "ab" * 20, b"certificate", "host:1")
EPOCH = EpochRow(
    1, b"s" * 65, b"e" * 65, "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB", b"certificate", "host:1", 9, BLOCK.time
)
MEMBER_ROW = MemberRow(FIRST, "民政局", 1, 1, (EPOCH, replace(EPOCH, epoch=2)))
DATASET_ROW = DatasetOnChain(DATASET, FIRST, b"d" * 32, 2, SharingType.CONDITIONAL, False, 7, b"r" * 32, b"v" * 32)
GRANT_ROW = GrantOnChain(
    GRANT, DATASET, SECOND, FIRST, GrantState.APPROVED, b"q" * 32, b"t" * 32, 2_000_000_000, 5, b"", 3, b"c" * 32
)
MEMBER_KEY, DATASET_KEY, GRANT_KEY = b"m" + member_word(FIRST), b"d" + DATASET, b"g" + GRANT
EVERYTHING: dict[bytes, Row] = {
    MEMBER_KEY: MEMBER_ROW,
    DATASET_KEY: DATASET_ROW,
    GRANT_KEY: GRANT_ROW,
}
# For each event: its values, the key of the one row that it changes, and that row afterwards.
CASES: dict[str, tuple[tuple[Any, ...], bytes, Row]] = {
    "MemberAdmitted": (
        (member_word(SECOND), "卫健委", 3),
        b"m" + member_word(SECOND),
        MemberRow(SECOND, "卫健委", 3, 1),
    ),
    "KeysSet": (
        (member_word(FIRST), 3, KEYS),
        MEMBER_KEY,
        replace(MEMBER_ROW, epochs=(*MEMBER_ROW.epochs, replace(EPOCH, epoch=3))),
    ),
    "StatusChanged": ((member_word(FIRST), 2), MEMBER_KEY, replace(MEMBER_ROW, status=2)),
    "RolesChanged": ((member_word(FIRST), 6), MEMBER_KEY, replace(MEMBER_ROW, roles=6)),
    "CompromiseDeclared": (
        (member_word(FIRST), 2, 1, 1_700_000_000),
        MEMBER_KEY,
        replace(MEMBER_ROW, epochs=(EPOCH, replace(EPOCH, epoch=2, compromised_since=1_700_000_000))),
    ),
    "DatasetRegistered": (
        (b"\x07" * 32, member_word(SECOND), b"D" * 32, 4, 2),
        b"d" + b"\x07" * 32,
        DatasetOnChain(b"\x07" * 32, SECOND, b"D" * 32, 4, SharingType.NOT_SHARED),
    ),
    "DatasetUpdated": (
        (DATASET, b"D" * 32, 4, 0),
        DATASET_KEY,
        replace(DATASET_ROW, description_digest=b"D" * 32, level=4, sharing_type=SharingType.UNCONDITIONAL),
    ),
    "HeadSet": (
        (DATASET, 70, b"R" * 32, b"V" * 32),
        DATASET_KEY,
        replace(DATASET_ROW, size=70, root=b"R" * 32, version_digest=b"V" * 32),
    ),
    "DatasetWithdrawn": ((DATASET,), DATASET_KEY, replace(DATASET_ROW, withdrawn=True)),
    "GrantRequested": (
        (b"\x08" * 32, DATASET, member_word(SECOND), b"Q" * 32),
        b"g" + b"\x08" * 32,
        GrantOnChain(b"\x08" * 32, DATASET, SECOND, FIRST, GrantState.REQUESTED, b"Q" * 32),
    ),
    "GrantApproved": (
        (GRANT, b"T" * 32, 2_100_000_000, 9),
        GRANT_KEY,
        replace(GRANT_ROW, terms_digest=b"T" * 32, expiry_seconds=2_100_000_000, quota=9),
    ),
    "GrantDenied": (
        (GRANT, b"N" * 32),
        GRANT_KEY,
        replace(GRANT_ROW, state=GrantState.DENIED, reason_digest=b"N" * 32),
    ),
    "GrantRevoked": (
        (GRANT, b"N" * 32),
        GRANT_KEY,
        replace(GRANT_ROW, state=GrantState.REVOKED, reason_digest=b"N" * 32),
    ),
    "GrantClosed": ((GRANT,), GRANT_KEY, replace(GRANT_ROW, state=GrantState.CLOSED)),
    "GrantAdvanced": (
        (GRANT, 4, b"C" * 32),
        GRANT_KEY,
        replace(GRANT_ROW, last_sequence=4, last_receipt_digest=b"C" * 32),
    ),
    "Anchored": (
        (b"\x05" * 32, member_word(SECOND), 12, b"R" * 32, b"N" * 32),
        anchor_key(SECOND, b"\x05" * 32, 12),
        Anchor(b"\x05" * 32, SECOND, 12, b"R" * 32, b"N" * 32, BLOCK, HASH),
    ),
}


class HeldRows(dict[bytes, Row]):
    """Rows in a dictionary."""

    def put(self, key: bytes, row: Row) -> None:
        self[key] = row


def test_every_event_that_changes_the_index_is_in_the_table_above() -> None:
    assert set(CASES) == set(_RULES)


@pytest.mark.parametrize("name", CASES)
def test_the_values_of_the_table_are_what_the_contracts_emit(name: str) -> None:
    """Written as a log by the compiled interface and read from it again, an event has just these values."""
    (contract, inputs), *others = [
        (contract, entry["inputs"])
        for contract in CONTRACT_NAMES
        for entry in load(contract).abi
        if entry["type"] == "event" and entry["name"] == name
    ]
    assert others == []
    values = CASES[name][0]
    pairs = list(zip(inputs, values, strict=True))
    indexed = [encode([_type(item)], [value]) for item, value in pairs if item["indexed"]]
    data = encode(
        [_type(item) for item in inputs if not item["indexed"]], [value for item, value in pairs if not item["indexed"]]
    )
    topic = keccak(f"{name}({','.join(_type(item) for item in inputs)})".encode())
    log = LogRecord(bytes(20), (topic, *indexed), data, 9, BLOCK.hash, HASH, 0)
    assert load_interfaces()[contract].event(log) == Event(name, values)


@pytest.mark.parametrize("name", CASES)
def test_an_event_changes_its_row_and_no_other(name: str) -> None:
    values, key, expected = CASES[name]
    rows = HeldRows(EVERYTHING)
    apply_event(rows, Event(name, values), BLOCK, HASH)
    assert rows[key] == expected
    assert {other: row for other, row in rows.items() if other != key} == {
        other: row for other, row in EVERYTHING.items() if other != key
    }


@pytest.mark.parametrize(
    "name", [name for name, (_, key, _) in CASES.items() if key in EVERYTHING] + ["GrantRequested"]
)
def test_an_event_about_what_no_earlier_event_made_is_a_mismatch(name: str) -> None:
    rows = HeldRows()
    with pytest.raises(ChainMismatch, match="no earlier event made"):
        apply_event(rows, Event(name, CASES[name][0]), BLOCK, HASH)
    assert rows == {}


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (1, "compromised_since"),
        (2, "encryption_compromised_since"),
        (3, "account_compromised_since"),
        (4, "certificate_compromised_since"),
    ],
)
def test_a_compromise_is_of_one_kind_of_key_of_one_epoch(kind: int, field: str) -> None:
    rows = HeldRows(EVERYTHING)
    apply_event(rows, Event("CompromiseDeclared", (member_word(FIRST), 1, kind, 77)), BLOCK, HASH)
    changed = replace(EPOCH, **{field: 77})  # type: ignore[arg-type]  # a field, by name
    assert rows[MEMBER_KEY] == replace(MEMBER_ROW, epochs=(changed, MEMBER_ROW.epochs[1]))


def test_a_compromise_of_a_kind_that_the_contract_does_not_know_is_a_mismatch() -> None:
    rows = HeldRows(EVERYTHING)
    with pytest.raises(ChainMismatch, match="kind 5"):
        apply_event(rows, Event("CompromiseDeclared", (member_word(FIRST), 1, 5, 77)), BLOCK, HASH)
    assert rows == EVERYTHING


def test_an_event_of_no_consequence_is_passed_over() -> None:
    rows = HeldRows(EVERYTHING)
    apply_event(rows, Event("ProposalMade", (1, 2, 3)), BLOCK, HASH)
    assert rows == EVERYTHING
