"""The event by which the contract `Anchors` states a log's head, read out of a raw receipt.

Anchored(bytes32 indexed log, bytes32 indexed member, uint64 size, bytes32 root, bytes32 noteDigest)
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_hash.auto import keccak

from crypto.errors import ProofInvalid

TOPIC = bytes(keccak(b"Anchored(bytes32,bytes32,uint64,bytes32,bytes32)"))
_WORD = 32  # bytes
_FIRST_LIST_BYTE = 0xC0  # a typed receipt begins with its type instead (EIP-2718)
_RECEIPT_FIELDS = 4
_LOG_FIELDS = 3
_MEMBER_ID_SIZE = 18


@dataclass(frozen=True)
class AnchorEvent:
    """What the event says. `contract`: 20 bytes; digests 32 bytes."""

    contract: bytes
    log_id: bytes
    member_id: str
    size: int
    root: bytes
    note_digest: bytes


def anchor_events(receipt: bytes) -> list[AnchorEvent]:
    """Every Anchored event of a successful transaction's receipt. Raises ProofInvalid if this is no such receipt."""
    body = receipt if receipt and receipt[0] >= _FIRST_LIST_BYTE else receipt[1:]
    try:
        fields = rlp.decode(body, strict=True)
    except (rlp.exceptions.RLPException, RecursionError, ValueError) as cause:
        raise ProofInvalid("the receipt is not RLP in its one spelling") from cause
    if not isinstance(fields, list) or len(fields) != _RECEIPT_FIELDS or not isinstance(fields[3], list):
        raise ProofInvalid("this is no receipt")
    if fields[0] != b"\x01":
        raise ProofInvalid("the transaction failed")
    return [event for log in fields[3] if (event := _event(log)) is not None]


def _event(log: object) -> AnchorEvent | None:
    match log:
        case [bytes() as contract, [bytes() as topic, bytes() as log_id, bytes() as member], bytes() as data]:
            pass
        case _:
            return None
    if topic != TOPIC or len(data) != _LOG_FIELDS * _WORD or len(log_id) != _WORD or len(member) != _WORD:
        return None
    try:
        member_id = member[:_MEMBER_ID_SIZE].decode("ascii")
    except UnicodeDecodeError:
        return None
    words = [data[at : at + _WORD] for at in range(0, len(data), _WORD)]
    return AnchorEvent(contract, log_id, member_id, int.from_bytes(words[0], "big"), words[1], words[2])
