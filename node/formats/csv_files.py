"""CSV (RFC 4180): UTF-8 with or without a byte order mark, comma-separated, the first line names the fields.

Every value read is a string, also an empty one: CSV says nothing of types. Written back, null is an empty value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.csv

from crypto.packed import Packed
from node.errors import FileUnusable, RecordInvalid
from node.formats.columns import pack_columns, select
from node.formats.sink import Sink
from node.formats.source import BATCH_BYTES, BATCH_RECORDS, checked_fields, estimate_lines
from node.model.batches import cut
from node.model.records import Value, decode_batch

_BLOCK_SIZE = 1024 * 1024  # bytes read at a time; no row can be longer
_CELLS = {True: "true", False: "false"}


class CSVSource:
    """A CSV file to read; see `Source`."""

    def __init__(self, path: Path, conditions: Mapping[str, str]) -> None:
        self._path = path
        self._conditions = conditions
        try:
            with path.open("rb") as file:
                sample = file.read(_BLOCK_SIZE)
            with path.open(encoding="utf-8-sig", newline="") as text:
                header = next(csv.reader(text), [])
        except (OSError, UnicodeDecodeError, csv.Error) as cause:
            raise FileUnusable(f"{path.name} has no header that can be read as UTF-8 CSV") from cause
        self.fields = checked_fields(path, header, conditions)
        self.record_estimate = estimate_lines(path, sample)

    def batches(self) -> Iterator[Packed]:
        """The records, by Arrow's parser. Raises RecordInvalid with the row, or FileUnusable."""
        bad_rows: list[pa.csv.InvalidRow] = []

        def note(row: pa.csv.InvalidRow) -> str:
            bad_rows.append(row)
            return "error"

        strings = dict.fromkeys(self.fields, pa.string())
        try:
            # One thread: rows of a bad file are counted only so, and records are put together meanwhile.
            reader = pa.csv.open_csv(
                self._path,
                read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_SIZE),
                parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
                convert_options=pa.csv.ConvertOptions(column_types=strings),
            )
            for batch in reader:
                columns = select(batch.columns, self.fields, self._conditions)
                yield from cut(pack_columns(columns), BATCH_RECORDS, BATCH_BYTES)
        except (pa.ArrowInvalid, OSError) as cause:
            if bad_rows:
                row = bad_rows[0]
                raise RecordInvalid(
                    f"row {row.number} has {row.actual_columns} columns, and the header {row.expected_columns}",
                    row=row.number,
                ) from None  # the cause shows the row's content
            raise _unusable(self._path, cause) from None


class CSVSink(Sink):
    """A CSV file to write; see `Sink`."""

    def _begin(self, path: Path) -> None:
        self._text: TextIO = io.TextIOWrapper(path.open("wb"), encoding="utf-8", newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow(self.fields)

    def _write(self, records: Packed) -> None:
        self._writer.writerows(_cells(row) for row in decode_batch(records))

    def _end(self, *, complete: bool) -> None:  # noqa: ARG002  # nothing is held back
        self._text.close()


def _cells(row: list[Value]) -> list[Value]:
    return [_CELLS[value] if isinstance(value, bool) else value for value in row]


def _unusable(path: Path, cause: Exception) -> FileUnusable:
    what = str(cause)
    if "UTF8" in what:
        return FileUnusable(f"{path.name} is not UTF-8; save it as UTF-8 first")
    if "straddling" in what:
        return FileUnusable(f"{path.name} has a row of more than {_BLOCK_SIZE} bytes, or a quote that is not closed")
    return FileUnusable(f"{path.name} cannot be read as CSV")
