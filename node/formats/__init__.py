"""Files that a department imports records from and exports them to: CSV, JSON Lines, Parquet, told apart by their ending.

A source gives packed batches of records (`node.model.records`), a sink takes them; both stream, so that memory does not
grow with the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from node.errors import FileUnusable
from node.formats.csv_files import CSVSink, CSVSource
from node.formats.json_lines import JSONLinesSink, JSONLinesSource
from node.formats.parquet_files import ParquetSink, ParquetSource
from node.formats.sink import Sink
from node.formats.source import Source

Kind = TypeVar("Kind")

__all__ = ["Sink", "Source", "open_sink", "open_source"]

_SOURCES: dict[str, type[CSVSource | JSONLinesSource | ParquetSource]] = {
    ".csv": CSVSource,
    ".jsonl": JSONLinesSource,
    ".ndjson": JSONLinesSource,
    ".parquet": ParquetSource,
}
_SINKS: dict[str, type[Sink]] = {
    ".csv": CSVSink,
    ".jsonl": JSONLinesSink,
    ".ndjson": JSONLinesSink,
    ".parquet": ParquetSink,
}


def open_source(path: Path, conditions: Mapping[str, str] | None = None) -> Source:
    """Open a file of records to read.

    Args:
        path: the file; its ending says what it is.
        conditions: only records whose fields have exactly these values are given.

    Raises:
        FileUnusable: missing, of an unknown kind, or without a readable header.
    """
    return _chosen(_SOURCES, path)(path, conditions or {})


def open_sink(path: Path, fields: Sequence[str], *, force: bool = False) -> Sink:
    """Begin a file of records with these field names. The file appears, complete, when the sink is left without an error.

    Raises:
        FileExists: the file exists and `force` is not set.
        FileUnusable: of an unknown kind, or the folder cannot be written to.
    """
    return _chosen(_SINKS, path)(path, tuple(fields), force=force)


def _chosen(kinds: Mapping[str, Kind], path: Path) -> Kind:
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise FileUnusable(f"{path.name} is none of {', '.join(kinds)}")
    return kind
