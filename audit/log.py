"""The audit log: entries in a Merkle log, with group commit.

Many callers hand in entries, which are written in the order they came, one sync a batch. Two threads share the work: one gathers
and hashes the next batch while the other syncs the last. What comes meanwhile makes up the batch after, up to 8,192 entries, 4 MiB or 2 ms. An
entry is acknowledged when it is on disk and `on_commit` has seen it. A batch for which the disk has no room fails its own callers; what was hashed
on top of it is hashed again. After any other fault nothing more is written: what was acknowledged is on disk, and opening the log again shows the rest.

Segment of entries, format 1: 0x01 ‖ count u32be ‖ (count + 1) offsets u32be ‖ entries.
"""

from __future__ import annotations

import asyncio
import queue
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from audit.errors import DiskFull, EntryInvalid, LogClosed, StoreDamaged
from audit.intake import Answer, GroupCommit, Intake, Submission, acknowledge, joined, refuse
from audit.store import EPOCH_LEAVES, MAP_BYTES, Prepared, TreeStore
from crypto.engine import Engine
from crypto.errors import Refusal
from crypto.merkle import entry_leaves
from crypto.packed import Packed

__all__ = ["MAX_ENTRY_BYTES", "AuditLog", "GroupCommit", "OnCommit"]

SEGMENT_VERSION = 1
MAX_ENTRY_BYTES = 2 * 1_048_576
MAX_SUBMISSION_ENTRIES = 1 << 20
MAX_SUBMISSION_BYTES = 64 * 1_048_576
_HEAD = struct.Struct(">BI")

OnCommit = Callable[[int, Packed], None]


@dataclass(frozen=True)
class _Batch:
    """What goes to disk at once. `prepared`: hashed on top of the batch before it."""

    submissions: Sequence[Submission]
    entries: Packed
    prepared: Prepared


class AuditLog:
    """An open log with its writing thread. Made by `create` or `open`; `close` writes what waits."""

    def __init__(self, store: TreeStore, engine: Engine, on_commit: OnCommit | None, limits: GroupCommit) -> None:
        self.tree = store
        self._engine = engine
        self._on_commit = on_commit
        self._intake = Intake(limits)
        self._hashed: queue.Queue[_Batch | None] = queue.Queue()
        # One batch may be on its way to disk while the next is gathered and hashed; a third would only be smaller.
        self._room = threading.Semaphore(2)
        self._broken: BaseException | None = None
        # Set when a batch was refused: what was hashed after it must be hashed anew.
        self._parted = threading.Event()
        self.commits = 0
        self._threads = [
            threading.Thread(target=self._gather_and_hash, name="audit-hash", daemon=True),
            threading.Thread(target=self._write, name="audit-write", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

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

    def append_many(self, entries: Packed) -> int:
        """Append a batch and wait until it is durable; gives the first entry's index. Raises as `submit_many`, and DiskFull."""
        return self.submit_many(entries).result()

    def submit(self, entry: bytes) -> Future[int]:
        """Hand in one entry; the future gives its index once it is durable. Raises LogClosed, EntryInvalid."""
        future: Future[int] = Future()
        self._submit_one(entry, future)
        return future

    def submit_async(self, entry: bytes) -> asyncio.Future[int]:
        """The same for a caller in a running event loop, which is woken once for a batch and not once for each entry."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._submit_one(entry, future)
        return future

    def submit_many(self, entries: Packed) -> Future[int]:
        """Hand in entries that are to stand one after another; the future gives the first one's index.

        Waits where so much waits to be written already that memory would fill up. Raises LogClosed, EntryInvalid.
        """
        if not 0 < len(entries) <= MAX_SUBMISSION_ENTRIES or len(entries.data) > MAX_SUBMISSION_BYTES:
            raise EntryInvalid("from 1 to 2^20 entries, of 64 MiB together at most, are handed in at once")
        sizes = np.diff(entries.offsets)
        if not 0 < int(sizes.min()) <= int(sizes.max()) <= MAX_ENTRY_BYTES:
            raise EntryInvalid("an entry has from 1 byte to 2 MiB")
        future: Future[int] = Future()
        self._submit(Submission(entries, future))
        return future

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
        """Write what waits, stop the threads, close the store."""
        self._intake.close()
        for thread in self._threads:
            thread.join()
        self.tree.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit_one(self, entry: bytes, future: Answer) -> None:
        if not 0 < len(entry) <= MAX_ENTRY_BYTES:
            raise EntryInvalid("an entry has from 1 byte to 2 MiB")
        self._submit(Submission(entry, future))

    def _submit(self, submission: Submission) -> None:
        if self._broken is not None:
            raise LogClosed("the log stopped after a fault and takes no more entries") from self._broken
        self._intake.put(submission)

    # The hashing thread.

    def _gather_and_hash(self) -> None:
        last: Prepared | None = None
        callers = 1
        while True:
            self._room.acquire()
            submissions = self._intake.take(callers)
            if not submissions:
                break
            callers = len(submissions)
            try:
                if self._parted.is_set():
                    # Everything handed over is written or refused before the tree as it stands is built on.
                    self._hashed.join()
                    self._parted.clear()
                    last = None
                batch = self._batch(submissions, last)
            except BaseException as defect:  # noqa: BLE001 - whatever it was, every caller must hear of it
                self._break(submissions, defect)
                self._room.release()
                continue
            last = batch.prepared
            self._hashed.put(batch)
        self._hashed.put(None)

    def _batch(self, submissions: Sequence[Submission], last: Prepared | None) -> _Batch:
        entries = joined(submissions)
        leaves = entry_leaves(self._engine, entries)
        return _Batch(submissions, entries, self.tree.prepare([(leaves, _pack(entries))], last))

    # The writing thread.

    def _write(self) -> None:
        while (batch := self._hashed.get()) is not None:
            try:
                self._commit(batch)
            finally:
                self._room.release()
                self._hashed.task_done()

    def _commit(self, batch: _Batch) -> None:
        if self._broken is not None:
            refuse(batch.submissions, LogClosed("the log stopped after a fault"))
            return
        try:
            prepared = batch.prepared
            if not self.tree.is_next(prepared):
                prepared = self.tree.prepare(prepared.appends)
                self._parted.set()
            first = self.tree.commit(prepared)
        except DiskFull as refusal:
            # Nothing was changed: these callers are told, later ones are served again. What was hashed on top of this is no longer next.
            refuse(batch.submissions, refusal)
            return
        except BaseException as defect:  # noqa: BLE001 - whatever it was, every caller must hear of it
            self._break(batch.submissions, defect)
            return
        self.commits += 1
        try:
            if self._on_commit is not None:
                self._on_commit(first, batch.entries)
        except BaseException as defect:  # noqa: BLE001 - the projection and the log would part: stop rather than diverge
            self._break(
                batch.submissions, defect, LogClosed("the entry is on disk; the log stopped at what follows it")
            )
            return
        acknowledge(batch.submissions, first)

    def _break(self, submissions: Sequence[Submission], defect: BaseException, told: Refusal | None = None) -> None:
        """Stop for good. A refusal says itself what is wrong with the disk; anything else is a defect."""
        self._broken = self._broken or defect
        if told is None:
            closed = LogClosed(f"the log stopped after a fault: {type(defect).__name__}")
            told = defect if isinstance(defect, Refusal) else closed
        refuse(submissions, told)


def _pack(entries: Packed) -> tuple[bytes, bytes, bytes]:
    """The parts of a segment; the entries are what they came as."""
    return _HEAD.pack(SEGMENT_VERSION, len(entries)), entries.offsets.astype(">u4").tobytes(), entries.data


def _unpack(blob: bytes, count: int) -> Packed:
    try:
        version, stated = _HEAD.unpack_from(blob)
        offsets = np.frombuffer(blob, dtype=">u4", count=count + 1, offset=_HEAD.size).astype(np.uint64)
        if version != SEGMENT_VERSION or stated != count:
            raise StoreDamaged("a segment of the log is of another format or length than the store says")
        return Packed(blob[_HEAD.size + 4 * (count + 1) :], offsets)
    except (struct.error, ValueError) as cause:
        raise StoreDamaged("a segment of the log is cut short") from cause
