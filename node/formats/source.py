"""What every source of records offers, and what their checks share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from crypto.packed import Packed
from node.errors import FileUnusable

# A batch crosses the wire as one message: so many records and bytes at most.
BATCH_RECORDS = 8_192
BATCH_BYTES = 1024 * 1024


class Source(Protocol):
    """An opened file of records."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields in record order, from the file's header, first line or schema."""

    @property
    def record_estimate(self) -> int | None:
        """About how many records will come, for progress; None if there is no telling."""

    def batches(self) -> Iterator[Packed]:
        """The records, in the file's order. Raises RecordInvalid naming the line, or FileUnusable."""


def checked_fields(path: Path, fields: Sequence[str], conditions: Mapping[str, str]) -> tuple[str, ...]:
    """The field names, if they can be told apart and the conditions name none but them."""
    if not fields or not all(fields):
        raise FileUnusable(f"{path.name} has a field without a name")
    if len(set(fields)) != len(fields):
        raise FileUnusable(f"{path.name} names a field twice")
    for name in conditions:
        if name not in fields:
            raise FileUnusable(f"{path.name} has no field {name!r}")
    return tuple(fields)


def estimate_lines(path: Path, sample: bytes) -> int | None:
    """About how many lines a file has that begins with `sample`."""
    lines = sample.count(b"\n")
    return round(path.stat().st_size * lines / len(sample)) if lines else None
