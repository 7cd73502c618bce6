"""JSON Lines: one flat JSON object a line, UTF-8. The first line's names are the fields, in its order.

A later line may leave a field out, which is null; it may not bring a new one. Numbers with a fraction or an exponent
become strings, spelled as in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from crypto.packed import Packed
from node.errors import FileUnusable, RecordInvalid
from node.formats.sink import Sink
from node.formats.source import BATCH_BYTES, BATCH_RECORDS, checked_fields, estimate_lines
from node.model.batches import cut
from node.model.records import MAX_RECORD_SIZE, RecordChecker, Value, decode_batch, encode_record, spell_each

_MAX_LINE = 4 * MAX_RECORD_SIZE  # bytes: names repeat on every line
_SAMPLE_SIZE = 1024 * 1024  # bytes
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decode = json.JSONDecoder(parse_float=str, parse_constant=_refuse_constant).raw_decode


class JSONLinesSource:
    """A JSON Lines file to read; see `Source`."""

    def __init__(self, path: Path, conditions: Mapping[str, str]) -> None:
        self._path = path
        self._conditions = conditions
        try:
            with path.open("rb") as file:
                sample = file.read(_SAMPLE_SIZE)
            _, first = next(self._objects())
        except OSError as cause:
            raise FileUnusable(f"{path.name} cannot be read: {cause.strerror}") from cause
        except StopIteration:
            raise FileUnusable(f"{path.name} has no line to take the field names from") from None
        self.fields = checked_fields(path, list(first), conditions)
        self.record_estimate = estimate_lines(path, sample)
        self._checker = RecordChecker(len(self.fields))

    def batches(self) -> Iterator[Packed]:
        """The records, line by line. Raises RecordInvalid with the line, or FileUnusable."""
        numbers: list[int] = []
        rows: list[list[Value]] = []
        for number, values in self._objects():
            row = self._row(number, values)
            if self._conditions and not self._chosen(values):
                continue
            numbers.append(number)
            rows.append(row)
            if len(rows) == BATCH_RECORDS:
                yield from cut(self._packed(numbers, rows), BATCH_RECORDS, BATCH_BYTES)
                numbers, rows = [], []
        yield from cut(self._packed(numbers, rows), BATCH_RECORDS, BATCH_BYTES)

    def _packed(self, numbers: list[int], rows: list[list[Value]]) -> Packed:
        """The rows as records. They are written and checked as one batch, and one by one to say which line is bad."""
        try:
            records = Packed.of(text.encode() for text in spell_each(rows))
            self._checker.check(records)
        except (UnicodeEncodeError, RecordInvalid):
            for number, row in zip(numbers, rows, strict=True):
                try:
                    encode_record(row)
                except RecordInvalid as cause:
                    raise RecordInvalid(f"line {number}: {cause}", line=number) from cause
            raise
        return records

    def _objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The objects of the file with the numbers of their lines; empty lines are passed over."""
        with self._path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b""), 1):
                content = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip(b" \t\r\n")
                if not content:
                    continue
                if len(line) == _MAX_LINE:
                    raise RecordInvalid(f"line {number} has {_MAX_LINE} bytes or more", line=number)
                try:
                    text = content.decode()
                    values, end = _decode(text)
                except (ValueError, RecursionError):
                    raise RecordInvalid(f"line {number} is not JSON in UTF-8", line=number) from None
                if end != len(text) or not isinstance(values, dict):
                    raise RecordInvalid(f"line {number} is not one JSON object", line=number)
                yield number, values

    def _row(self, number: int, values: dict[str, Any]) -> list[Value]:
        if tuple(values) == self.fields:
            return list(values.values())
        if not values.keys() <= set(self.fields):
            raise RecordInvalid(f"line {number} has a field that the first line has not", line=number)
        return [values.get(name) for name in self.fields]

    def _chosen(self, values: dict[str, Any]) -> bool:
        return all(_spelled(values.get(name)) == value for name, value in self._conditions.items())


class JSONLinesSink(Sink):
    """A JSON Lines file to write; see `Sink`."""

    def _begin(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")

    def _write(self, records: Packed) -> None:
        fields = self.fields
        lines = spell_each([dict(zip(fields, row, strict=True)) for row in decode_batch(records)])
        self._file.write(("\n".join(lines) + "\n" if lines else "").encode())

    def _end(self, *, complete: bool) -> None:  # noqa: ARG002  # nothing is held back
        self._file.close()


def _spelled(value: Value) -> str:
    """A value as it is written in a condition."""
    return value if isinstance(value, str) else json.dumps(value)
