"""The head of the audit log that is on its way to the chain, as a note, so that a crash on the way does not lose the note.

Its digest is in a transaction that may be mined at any time from the moment it is signed; the note itself must outlive the process by then, or
nobody could ever show what was anchored.
"""

from __future__ import annotations

from pathlib import Path

from audit.files import make_directory, read_whole, write_whole


class DecidedHead:
    """One file. It is replaced when the next head is decided, and never deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, note: bytes) -> None:
        """Make a head's note durable in place of the one before. Raises DiskFull, StoreDamaged."""
        make_directory(self._path.parent)
        write_whole(self._path, [note])

    def read(self) -> bytes | None:
        """The note, or None if no head was ever decided. Raises StoreDamaged."""
        return read_whole(self._path)
