"""What crosses between two nodes in an exchange, as values; `rpc` maps them to and from the wire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Delivered:
    """A delivery is announced. `digests`: SM3 of the segments, 32 bytes each, end to end."""

    note: bytes
    digests: bytes
    version_note: bytes


@dataclass(frozen=True)
class SegmentReceived:
    """One sealed segment of the delivery announced last."""

    sequence: int
    position: int
    blob: bytes


@dataclass(frozen=True)
class KeysReleased:
    """A delivery's keys, after its receipt."""

    note: bytes
    wrapped_secrets: bytes


@dataclass(frozen=True)
class Completed:
    """The order is fulfilled."""

    last_sequence: int


StreamMessage = Delivered | SegmentReceived | KeysReleased | Completed


@dataclass(frozen=True)
class QueryAsked:
    """An order for one record by key, with receipts of earlier answers riding along, oldest first."""

    order_note: bytes
    key: str
    key_salt: bytes
    receipt_notes: tuple[bytes, ...]


@dataclass(frozen=True)
class QueryAnswer:
    """The answer to a query; `sealed_answer` opens with the key in `wrapped_secret`."""

    delivery_note: bytes
    sealed_answer: bytes
    wrapped_secret: bytes
    version_note: bytes


@dataclass(frozen=True)
class Answer:
    """The plaintext of a sealed answer (proto `Answer`)."""

    leaf_hash: bytes
    index: int
    size: int
    path: tuple[bytes, ...]
    record: bytes = b""
    salt: bytes = b""
    granted_values: bytes = b""


@dataclass(frozen=True)
class OrderNote:
    """The requester's first message of an exchange stream."""

    note: bytes


@dataclass(frozen=True)
class ReceiptNote:
    """Each further message of the requester in an exchange stream."""

    note: bytes
