"""The audit log: entries in a Merkle log, with group commit.

Many callers hand in entries; one thread writes them in the order they came, one sync a batch. What comes while the
disk syncs makes up the next batch, up to 8,192 entries or 4 MiB. An entry is acknowledged when it is on disk and `on_commit` has seen it.

Segment of entries, format 1: 0x01 ‖ count u32be ‖ (count + 1) offsets u32be ‖ entries.
"""

from __future__ import annotations

import queue
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from audit.errors import EntryInvalid, LogClosed, StoreDamaged
from audit.store import EPOCH_LEAVES, MAP_BYTES, TreeStore
from crypto.engine import Engine
from crypto.errors import Refusal
from crypto.merkle import entry_leaves
from crypto.packed import Packed

SEGMENT_VERSION = 1
MAX_ENTRY_BYTES = 2 * 1_048_576
_HEAD = struct.Struct(">BI")
_QUEUE_LIMIT = 65_536  # submissions that may wait; more of them block their callers

OnCommit = Callable[[int, Sequence[bytes]], None]


@dataclass(frozen=True)
class GroupCommit:
    """When a batch closes."""

    max_entries: int = 8_192
    max_bytes: int = 4 * 1_048_576
    max_wait_seconds: float = 0.0  # a lone entry is written at once; others gather while the disk syncs


@dataclass(frozen=True)
class _Submission:
    entries: Sequence[bytes]
    acknowledged: Future[int]

    @property
    def size(self) -> int:
        return sum(map(len, self.entries))


class AuditLog:
    """An open log with its writing thread. Made by `create` or `open`; `close` writes what waits."""

    def __init__(self, store: TreeStore, engine: Engine, on_commit: OnCommit | None, limits: GroupCommit) -> None:
        self.tree = store
        self._engine = engine
        self._on_commit = on_commit
        self._limits = limits
        self._queue: queue.Queue[_Submission | None] = queue.Queue(_QUEUE_LIMIT)
        self._gate = threading.Lock()
        self._closed = False
        self._broken: BaseException | None = None
        self.commits = 0
        self._thread = threading.Thread(target=self._write, name="audit-log", daemon=True)
        self._thread.start()

    @classmethod
    def create(  # noqa: PLR0913 - the store's settings and the log's
        cls,
        path: Path,
        origin: str,
        engine: Engine,
        *,
        on_commit: OnCommit | None = None,
        limits: GroupCommit | None = None,
        map_bytes: int = MAP_BYTES,
        epoch_leaves: int = EPOCH_LEAVES,
    ) -> Self:
        """A new, empty log. Raises as TreeStore.create."""
        store = TreeStore.create(path, origin, engine, map_bytes=map_bytes, epoch_leaves=epoch_leaves)
        return cls(store, engine, on_commit, limits or GroupCommit())

    @classmethod
    def open(
        cls,
        path: Path,
        engine: Engine,
        *,
        on_commit: OnCommit | None = None,
        limits: GroupCommit | None = None,
        map_bytes: int = MAP_BYTES,
    ) -> Self:
        """A log that exists. Raises as TreeStore.open."""
        return cls(TreeStore.open(path, engine, map_bytes=map_bytes), engine, on_commit, limits or GroupCommit())

    @property
    def origin(self) -> str:
        """Whose log it is, as its checkpoints state it."""
        return self.tree.origin

    @property
    def size(self) -> int:
        """Entries so far."""
        return self.tree.size

    def submit(self, entry: bytes) -> Future[int]:
        """Hand in one entry; the future gives its index once it is durable. Raises LogClosed, EntryInvalid."""
        return self.submit_many([entry])

    def submit_many(self, entries: Sequence[bytes]) -> Future[int]:
        """Hand in entries that are to stand one after another; the future gives the first one's index."""
        for entry in entries:
            if not 0 < len(entry) <= MAX_ENTRY_BYTES:
                raise EntryInvalid("an entry has from 1 byte to 2 MiB")
        if not entries:
            raise EntryInvalid("there is no entry to append")
        submission = _Submission(entries, Future())
        with self._gate:
            if self._closed or self._broken is not None:
                raise LogClosed("the log takes no more entries") from self._broken
            self._queue.put(submission)
        return submission.acknowledged

    def append_many(self, entries: Packed) -> int:
        """Append a batch and wait until it is durable; gives the first entry's index."""
        return self.submit_many(list(entries)).result()

    @staticmethod
    def reader(store: TreeStore, start: int = 0) -> Iterator[bytes]:
        """The entries of a log's store from `start` on; the store may be opened for reading, beside its writer."""
        for first, count, blob in store.segments(start, store.size):
            packed = _unpack(blob, count)
            for index in range(max(start - first, 0), count):
                yield packed[index]

    def entry(self, index: int) -> bytes:
        """One entry."""
        first, count, blob = self.tree.segment_at(index)
        return _unpack(blob, count)[index - first]

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Entries start to stop, in order."""
        for first, count, blob in self.tree.segments(start, stop):
            packed = _unpack(blob, count)
            for index in range(max(start - first, 0), min(stop - first, count)):
                yield packed[index]

    def close(self) -> None:
        """Write what waits, stop the thread, close the store."""
        with self._gate:
            already, self._closed = self._closed, True
        if already:
            return
        self._queue.put(None)
        self._thread.join()
        self.tree.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        """The writing thread."""
        last = False
        while not last:
            submission = self._queue.get()
            if submission is None:
                break
            batch = [submission]
            last = self._gather(batch)
            self._commit(batch)

    def _gather(self, batch: list[_Submission]) -> bool:
        """Add to a batch what comes within its limits; True if the log was closed meanwhile."""
        limits = self._limits
        entries, size = len(batch[0].entries), batch[0].size
        wait = limits.max_wait_seconds
        while entries < limits.max_entries and size < limits.max_bytes:
            try:
                # What waits already is taken at once; only an empty queue is waited for, and only once.
                submission = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
            except queue.Empty:
                return False
            if submission is None:
                return True
            batch.append(submission)
            entries, size = entries + len(submission.entries), size + submission.size
            if self._queue.empty():
                wait = 0.0
        return False

    def _commit(self, batch: list[_Submission]) -> None:
        entries = [entry for submission in batch for entry in submission.entries]
        if self._broken is not None:
            self._fail(batch, LogClosed("the log stopped after a fault"))
            return
        try:
            packed = Packed.of(entries)
            first = self.tree.append(entry_leaves(self._engine, packed), _pack(packed))
        except Refusal as refusal:
            # Nothing was changed (a full disk, say): these callers are told, later ones are served again.
            self._fail(batch, refusal)
            return
        except BaseException as defect:  # noqa: BLE001 - whatever it was, every caller must hear of it
            self._break(batch, defect)
            return
        self.commits += 1
        try:
            if self._on_commit is not None:
                self._on_commit(first, entries)
        except BaseException as defect:  # noqa: BLE001 - the projection and the log would part: stop rather than diverge
            self._break(batch, defect)
            return
        for submission in batch:
            if not submission.acknowledged.cancelled():
                submission.acknowledged.set_result(first)
            first += len(submission.entries)

    def _break(self, batch: list[_Submission], defect: BaseException) -> None:
        self._broken = defect
        self._fail(batch, LogClosed(f"the log stopped after a fault: {type(defect).__name__}"))

    @staticmethod
    def _fail(batch: list[_Submission], error: BaseException) -> None:
        for submission in batch:
            if not submission.acknowledged.cancelled():
                submission.acknowledged.set_exception(error)


def _pack(entries: Packed) -> bytes:
    offsets = entries.offsets.astype(">u4").tobytes()
    return _HEAD.pack(SEGMENT_VERSION, len(entries)) + offsets + entries.data


def _unpack(blob: bytes, count: int) -> Packed:
    try:
        version, stated = _HEAD.unpack_from(blob)
        offsets = np.frombuffer(blob, dtype=">u4", count=count + 1, offset=_HEAD.size).astype(np.uint64)
        if version != SEGMENT_VERSION or stated != count:
            raise StoreDamaged("a segment of the log is of another format or length than the store says")
        return Packed(blob[_HEAD.size + 4 * (count + 1) :], offsets)
    except (struct.error, ValueError) as cause:
        raise StoreDamaged("a segment of the log is cut short") from cause
