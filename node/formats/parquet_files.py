"""Parquet: the schema names the fields.

Written, a column is of strings, integers or booleans if all its values are; where they are mixed it is of strings. Which it
is shows only as records come: a column begins as what the first batch shows, and where a later one contradicts, what was
written is copied with the column widened, batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crypto.packed import Packed
from node.errors import FileUnusable
from node.formats.columns import pack_columns, select
from node.formats.sink import Sink
from node.formats.source import BATCH_BYTES, BATCH_RECORDS, checked_fields
from node.model.batches import cut
from node.model.records import Value, decode_batch

_GROUP_RECORDS = 32_768  # records of a row group
_GROUP_BYTES = 32 * 1024 * 1024


class ParquetSource:
    """A Parquet file to read; see `Source`."""

    def __init__(self, path: Path, conditions: Mapping[str, str]) -> None:
        self._path = path
        self._conditions = conditions
        try:
            with pq.ParquetFile(path) as file:
                self.fields = checked_fields(path, file.schema_arrow.names, conditions)
                self.record_estimate: int | None = file.metadata.num_rows
        except (OSError, pa.ArrowException) as cause:
            raise FileUnusable(f"{path.name} cannot be read as Parquet") from cause

    def batches(self) -> Iterator[Packed]:
        """The records, row group by row group. Raises FileUnusable."""
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(BATCH_RECORDS):
                    columns = select(batch.columns, self.fields, self._conditions)
                    yield from cut(pack_columns(columns), BATCH_RECORDS, BATCH_BYTES)
        except (OSError, pa.ArrowException) as cause:
            raise FileUnusable(f"{self._path.name} cannot be read as Parquet") from cause


class ParquetSink(Sink):
    """A Parquet file to write; see `Sink`."""

    def _begin(self, path: Path) -> None:
        self._file = path
        self._kinds: list[pa.DataType] = [pa.null()] * len(self.fields)
        self._writer: pq.ParquetWriter | None = None
        self._held: list[Packed] = []
        self._held_records = 0
        self._held_bytes = 0

    def _write(self, records: Packed) -> None:
        self._held.append(records)
        self._held_records += len(records)
        self._held_bytes += len(records.data)
        if self._held_records >= _GROUP_RECORDS or self._held_bytes >= _GROUP_BYTES:
            self._flush()

    def _end(self, *, complete: bool) -> None:
        try:
            if complete:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()

    def _flush(self) -> None:
        rows = [row for batch in self._held for row in decode_batch(batch)]
        self._held, self._held_records, self._held_bytes = [], 0, 0
        columns: Sequence[Sequence[Value]] = list(zip(*rows, strict=True)) or [()] * len(self.fields)
        kinds = [_joined(kind, _kind(column)) for kind, column in zip(self._kinds, columns, strict=True)]
        if self._writer is None or kinds != self._kinds:
            self._widen(kinds)
        if self._writer is not None and rows:
            arrays = [_array(column, field.type) for column, field in zip(columns, self._writer.schema, strict=True)]
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))

    def _widen(self, kinds: list[pa.DataType]) -> None:
        """Go on in a file with these types of columns, into which what was written is copied."""
        earlier = self._file.with_name(f"{self._file.name}.narrow")
        started = self._writer is not None
        if self._writer is not None:
            self._writer.close()
            self._file.replace(earlier)
        try:
            # A column of nulls only is kept as strings: not every reader knows the type of nothing.
            types = [pa.string() if pa.types.is_null(kind) else kind for kind in kinds]
            schema = pa.schema(list(zip(self.fields, types, strict=True)))
            self._writer, self._kinds = pq.ParquetWriter(self._file, schema, compression="zstd"), kinds
            if started:
                with pq.ParquetFile(earlier) as file:
                    for batch in file.iter_batches(_GROUP_RECORDS):
                        self._writer.write_table(pa.Table.from_batches([batch]).cast(schema))
        finally:
            earlier.unlink(missing_ok=True)


def _kind(column: Sequence[Value]) -> pa.DataType:
    kinds = {type(value) for value in column} - {type(None)}
    if not kinds:
        return pa.null()
    return {str: pa.string(), int: pa.int64(), bool: pa.bool_()}[kinds.pop()] if len(kinds) == 1 else pa.string()


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest type that holds the values of both."""
    if pa.types.is_null(one) or one == other:
        return other
    return one if pa.types.is_null(other) else pa.string()


def _array(column: Sequence[Value], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in column], kind)
    return pa.array(column, kind)


def _text(value: Value) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value
