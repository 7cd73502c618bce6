"""What every sink of records shares: the file is written beside its final name and takes it, complete and durable, at the
end; after an error nothing is left.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from crypto.packed import Packed
from node.errors import FileExists, FileUnusable
from node.model.records import RecordChecker


class Sink(ABC):
    """A file that records are written to, as a context manager. Formats say how to begin, write and end."""

    def __init__(self, path: Path, fields: tuple[str, ...], *, force: bool) -> None:
        self.fields = fields
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._force = force
        self._checker = RecordChecker(len(fields))
        self._written = 0
        self._check_free()

    def __enter__(self) -> Self:
        try:
            # Plaintext of a dataset: for its owner's eyes. A partial file of a run that was killed is written over.
            self._partial.unlink(missing_ok=True)
            os.close(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            self._begin(self._partial)
        except (OSError, pa.ArrowException) as cause:
            raise self._unwritable(cause) from cause
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(complete=kind is None)
            if kind is None:
                self._publish()
        except (OSError, pa.ArrowException) as cause:
            if kind is None:
                raise self._unwritable(cause) from cause
        finally:
            self._partial.unlink(missing_ok=True)

    def write(self, records: Packed) -> None:
        """Append a batch. Raises RecordInvalid or FileUnusable."""
        self._checker.check(records, self._written + 1)
        try:
            self._write(records)
        except (OSError, pa.ArrowException) as cause:
            raise self._unwritable(cause) from cause
        self._written += len(records)

    @abstractmethod
    def _begin(self, path: Path) -> None:
        """Open the file, which exists and is empty."""

    @abstractmethod
    def _write(self, records: Packed) -> None:
        """Write records that were checked, with as many values as there are fields."""

    @abstractmethod
    def _end(self, *, complete: bool) -> None:
        """Close the file; if it is to be complete, write what is held back first."""

    def _publish(self) -> None:
        self._check_free()
        for path, flags in ((self._partial, os.O_RDONLY), (self._path.parent, os.O_RDONLY | os.O_DIRECTORY)):
            descriptor = os.open(path, flags)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if path == self._partial:
                self._partial.replace(self._path)

    def _check_free(self) -> None:
        if not self._force and os.path.lexists(self._path):
            raise FileExists(f"{self._path} exists")

    def _unwritable(self, cause: Exception) -> FileUnusable:
        what = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(cause)
        return FileUnusable(f"{self._path} cannot be written: {what}")
