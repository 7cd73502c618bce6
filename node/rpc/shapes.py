"""The shape of what arrives, checked before a use case sees it: lengths of ids, sizes of notes, counts of lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from crypto.credit_code import check_credit_code
from crypto.errors import CreditCodeInvalid
from crypto.packed import Packed
from node.errors import RecordInvalid, RequestTooLarge, StatementInvalid, SubjectInvalid

ID_SIZE = 32  # bytes; datasets, grants, digests
SALT_SIZE = 16  # bytes
MAX_NOTE_BYTES = 1024 * 1024
MAX_KEY_CHARACTERS = 4_096
MAX_NOTES = 4_096
PIECE_BYTES = 1024 * 1024  # of records in one message


def statement_id(value: bytes, what: str) -> bytes:
    """An id that a statement is about. Raises StatementInvalid."""
    if len(value) != ID_SIZE:
        raise StatementInvalid(f"a {what} has {ID_SIZE} bytes, not {len(value)}", field=what)
    return value


def subject_id(value: bytes, what: str) -> str:
    """A subject of log entries, as the log spells it. Raises SubjectInvalid."""
    if len(value) != ID_SIZE:
        raise SubjectInvalid(f"a {what} has {ID_SIZE} bytes, not {len(value)}", field=what)
    return f"{what}:{value.hex()}"


def note(value: bytes) -> bytes:
    """One note. Raises StatementInvalid where there is none, RequestTooLarge."""
    if not value:
        raise StatementInvalid("the message carries no note")
    if len(value) > MAX_NOTE_BYTES:
        raise RequestTooLarge(f"a note has at most {MAX_NOTE_BYTES} bytes", size=len(value), limit=MAX_NOTE_BYTES)
    return value


def notes(values: Sequence[bytes]) -> tuple[bytes, ...]:
    """Several notes, or none. Raises as `note`."""
    if len(values) > MAX_NOTES:
        raise RequestTooLarge(f"one call takes at most {MAX_NOTES} notes", count=len(values), limit=MAX_NOTES)
    return tuple(note(value) for value in values)


def key(value: str) -> str:
    """The key that a query looks up. Raises StatementInvalid, RequestTooLarge."""
    if not value:
        raise StatementInvalid("the query names no key")
    if len(value) > MAX_KEY_CHARACTERS:
        raise RequestTooLarge(f"a key has at most {MAX_KEY_CHARACTERS} characters", limit=MAX_KEY_CHARACTERS)
    return value


def salt(value: bytes) -> bytes:
    """The salt of a query's key. Raises StatementInvalid."""
    if len(value) != SALT_SIZE:
        raise StatementInvalid(f"a key's salt has {SALT_SIZE} bytes, not {len(value)}")
    return value


def to_packed(records: bytes, lengths: Sequence[int]) -> Packed:
    """Records that came end to end with their lengths. Raises RecordInvalid where the two disagree."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.uint64)
    np.cumsum(np.fromiter(lengths, dtype=np.uint64, count=len(lengths)), out=offsets[1:])
    if int(offsets[-1]) != len(records):
        raise RecordInvalid(f"the lengths add up to {int(offsets[-1])} bytes, and {len(records)} came")
    return Packed(records, offsets)


def lengths_of(batch: Packed) -> list[int]:
    """The length of each record, in bytes."""
    lengths: list[int] = np.diff(batch.offsets).tolist()
    return lengths


def pieces(batch: Packed, limit: int = PIECE_BYTES) -> Iterator[Packed]:
    """The batch in parts of at most `limit` bytes each, a longer record alone in its own."""
    start, bounds = 0, batch.offsets
    while start < len(batch):
        end = int(np.searchsorted(bounds, bounds[start] + np.uint64(limit), side="right")) - 1
        stop = max(start + 1, min(end, len(batch)))
        yield batch.slice(start, stop)
        start = stop


def member_id(value: str) -> str:
    """A member that log entries are about. Raises SubjectInvalid."""
    try:
        return check_credit_code(value)
    except CreditCodeInvalid as cause:
        raise SubjectInvalid("that is no unified social credit code") from cause


def file_pieces(file: bytes) -> Iterator[bytes]:
    """A file cut for a stream."""
    for at in range(0, len(file), PIECE_BYTES):
        yield file[at : at + PIECE_BYTES]
