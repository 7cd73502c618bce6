"""What the index keeps of the chain's state, one row a thing, and how a row is written down.

Keys: `m` and the member's bytes32, `d` and the dataset id, `g` and the grant id, `a` and the member's bytes32, the log id
and the size (8 bytes, big-endian), so that the anchors of a member's log lie together, smallest first. A log id alone names
no log: whoever likes may anchor under the same one, and then has a log of its own by that id. Values are JSON, bytes in hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node.model.chain import Anchor, Block, DatasetOnChain, GrantOnChain, GrantState, SharingType

MEMBER, DATASET, GRANT, ANCHOR = b"m", b"d", b"g", b"a"
SIZE_BYTES = 8
WORD_BYTES = 32
MEMBER_ID_BYTES = 18


@dataclass(frozen=True)
class EpochRow:
    """Keys of a member in one epoch, as the chain has them: nothing has checked that the points are on the curve."""

    epoch: int
    signing_key: bytes
    encryption_key: bytes
    account: str
    certificate: bytes
    endpoint: str
    since_block: int
    since_time: int
    compromised_since: int | None = None
    encryption_compromised_since: int | None = None
    account_compromised_since: int | None = None
    certificate_compromised_since: int | None = None


@dataclass(frozen=True)
class MemberRow:
    """A member, as the chain has it."""

    member_id: str
    name: str
    roles: int
    status: int
    epochs: tuple[EpochRow, ...] = ()


Row = MemberRow | DatasetOnChain | GrantOnChain | Anchor


def log_key(member_id: str, log_id: bytes) -> bytes:
    """What the keys of the anchors of one log begin with."""
    return ANCHOR + member_word(member_id) + log_id


def anchor_key(member_id: str, log_id: bytes, size: int) -> bytes:
    """Key of the row of one anchor."""
    return log_key(member_id, log_id) + size.to_bytes(SIZE_BYTES, "big")


def member_id_of(word: bytes) -> str:
    """The member id in a bytes32: 18 ASCII characters, then zeros; hexadecimal if it is anything else."""
    text = word[:MEMBER_ID_BYTES]
    if text.isalnum() and text.isascii() and not any(word[MEMBER_ID_BYTES:]):
        return text.decode("ascii")
    return word.hex()


def member_word(member_id: str) -> bytes:
    """A member id as bytes32."""
    return member_id.encode("ascii").ljust(WORD_BYTES, b"\0")


def write_row(row: Row) -> bytes:
    """The bytes of a row."""
    return json.dumps(_WRITERS[type(row)](row), ensure_ascii=False, separators=(",", ":")).encode()


def read_row(key: bytes, value: bytes) -> Row:
    """The row under a key."""
    return _READERS[key[:1]](json.loads(value))


def _write_member(row: MemberRow) -> list[Any]:
    epochs = [
        [
            epoch.epoch,
            epoch.signing_key.hex(),
            epoch.encryption_key.hex(),
            epoch.account,
            epoch.certificate.hex(),
            epoch.endpoint,
            epoch.since_block,
            epoch.since_time,
            epoch.compromised_since,
            epoch.encryption_compromised_since,
            epoch.account_compromised_since,
            epoch.certificate_compromised_since,
        ]
        for epoch in row.epochs
    ]
    return [row.member_id, row.name, row.roles, row.status, epochs]


def _read_member(values: list[Any]) -> MemberRow:
    epochs = tuple(
        EpochRow(
            epoch,
            bytes.fromhex(signing_key),
            bytes.fromhex(encryption_key),
            account,
            bytes.fromhex(certificate),
            endpoint,
            since_block,
            since_time,
            compromised_since,
            encryption_compromised_since,
            account_compromised_since,
            certificate_compromised_since,
        )
        for (
            epoch,
            signing_key,
            encryption_key,
            account,
            certificate,
            endpoint,
            since_block,
            since_time,
            compromised_since,
            encryption_compromised_since,
            account_compromised_since,
            certificate_compromised_since,
        ) in values[4]
    )
    return MemberRow(values[0], values[1], values[2], values[3], epochs)


def _write_dataset(row: DatasetOnChain) -> list[Any]:
    return [
        row.dataset_id.hex(),
        row.provider_id,
        row.description_digest.hex(),
        row.level,
        int(row.sharing_type),
        row.withdrawn,
        row.size,
        row.root.hex(),
        row.version_digest.hex(),
    ]


def _read_dataset(values: list[Any]) -> DatasetOnChain:
    dataset_id, provider_id, description, level, sharing_type, withdrawn, size, root, version = values
    return DatasetOnChain(
        bytes.fromhex(dataset_id),
        provider_id,
        bytes.fromhex(description),
        level,
        SharingType(sharing_type),
        withdrawn,
        size,
        bytes.fromhex(root),
        bytes.fromhex(version),
    )


def _write_grant(row: GrantOnChain) -> list[Any]:
    return [
        row.grant_id.hex(),
        row.dataset_id.hex(),
        row.requester_id,
        row.provider_id,
        row.state.value,
        row.request_digest.hex(),
        row.terms_digest.hex(),
        row.expiry_seconds,
        row.quota,
        row.reason_digest.hex(),
        row.last_sequence,
        row.last_receipt_digest.hex(),
    ]


def _read_grant(values: list[Any]) -> GrantOnChain:
    grant_id, dataset_id, requester, provider, state, request, terms, expiry, quota, reason, sequence, receipt = values
    return GrantOnChain(
        bytes.fromhex(grant_id),
        bytes.fromhex(dataset_id),
        requester,
        provider,
        GrantState(state),
        bytes.fromhex(request),
        bytes.fromhex(terms),
        expiry,
        quota,
        bytes.fromhex(reason),
        sequence,
        bytes.fromhex(receipt),
    )


def _write_anchor(row: Anchor) -> list[Any]:
    return [
        row.log_id.hex(),
        row.member_id,
        row.size,
        row.root.hex(),
        row.note_digest.hex(),
        row.block.number,
        row.block.hash.hex(),
        row.block.time,
        row.transaction_hash.hex(),
    ]


def _read_anchor(values: list[Any]) -> Anchor:
    log_id, member_id, size, root, note, number, block_hash, time, transaction_hash = values
    return Anchor(
        bytes.fromhex(log_id),
        member_id,
        size,
        bytes.fromhex(root),
        bytes.fromhex(note),
        Block(number, bytes.fromhex(block_hash), time),
        bytes.fromhex(transaction_hash),
    )


_WRITERS: dict[type, Callable[[Any], list[Any]]] = {
    MemberRow: _write_member,
    DatasetOnChain: _write_dataset,
    GrantOnChain: _write_grant,
    Anchor: _write_anchor,
}
_READERS: dict[bytes, Callable[[list[Any]], Row]] = {
    MEMBER: _read_member,
    DATASET: _read_dataset,
    GRANT: _read_grant,
    ANCHOR: _read_anchor,
}
