"""What guards a log against going back: the newest head that was signed, kept outside the store.

A store restored from an old backup opens without an error. What shows that it is old is what the log has said before: the head file here, and the
anchors on the chain. Whoever signs a head writes it here first (`HeadFile.keep`), so that nothing leaves the node that a later
start does not know of. Crash between the two: the head is known and nobody else has it, which forbids nothing but forgetting entries that are
durable anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.errors import ClockWentBack, EntryInvalid, LogForked, StoreBehind, StoreDamaged
from audit.files import make_directory, read_whole, write_whole
from crypto.engine import Engine
from crypto.errors import CryptoError
from crypto.notes import NoteKey


class Tree(Protocol):
    """What is compared: the tree of the log's store."""

    @property
    def size(self) -> int:
        """Leaves so far."""

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` leaves."""


class HeadFile:
    """One file with the note of the newest checkpoint of a log. Safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._size = -1

    def keep(self, note: bytes, size: int) -> None:
        """Make a head durable before it is shown to anyone. An older one than is kept changes nothing. Raises DiskFull."""
        with self._lock:
            if size <= self._size:
                return
            make_directory(self._path.parent)
            write_whole(self._path, [note])
            self._size = size

    def read(self) -> bytes | None:
        """The note, or None if no head was ever kept."""
        return read_whole(self._path)

    def open(self, engine: Engine, keys: Sequence[NoteKey]) -> Checkpoint | None:
        """The head, verified. Raises StoreDamaged if the file is not as it was written."""
        note = self.read()
        if note is None:
            return None
        try:
            return open_checkpoint(engine, note, keys)
        except (CryptoError, EntryInvalid) as cause:
            raise StoreDamaged(f"{self._path} is no head that this member signed: {cause}", path=self._path) from cause


def check_not_behind(tree: Tree, size: int, root: bytes, source: str) -> None:
    """Compare a log with a head of it that is known from elsewhere. `source`: where from, for people.

    Raises:
        StoreBehind: the log has fewer entries.
        LogForked: it has other ones.
    """
    if size > tree.size:
        raise StoreBehind(f"{source} has {size} entries of this log, the store {tree.size}", size=size)
    if tree.root_at(size) != root:
        raise LogForked(f"the log's first {size} entries are not those of {source}", size=size)


def check_clock(now_ms: int, head: Checkpoint, max_skew_seconds: int) -> None:
    """Refuse a clock that is behind what was signed. Raises ClockWentBack."""
    if now_ms + 1_000 * max_skew_seconds < head.time_ms:
        behind = (head.time_ms - now_ms) // 1_000
        raise ClockWentBack(f"the clock is {behind} s behind the newest head of the log", seconds=behind)
