"""Which entries of a log are about a grant, a dataset, a transfer or a member, and where a minute begins.

Everything here is derived from the entries, so it is never precious: an index that is absent, of another format, damaged, or ahead
of its log is begun again. It lies beside the log's store, in an environment of its own:

    marks    "format", "origin", "applied": how many entries are reflected
    terms    term → indices, u64be, each a duplicate of the key      grant:<hex>, dataset:<hex>, transfer:<hex>, member:<id>
    minutes  Unix time in minutes, u64be → index of the first entry of that minute

Rows are held in memory and flushed every so many entries with the mark, in one transaction; a crash loses what was not
flushed, and `catch_up` makes it up.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import lmdb

from audit.entry import Entry, parse_entry
from audit.environment import mapped, open_environment, writing
from audit.errors import AuditError, DiskFull, EntryInvalid, StoreAbsent, StoreDamaged, StoreVersion
from audit.files import make_directory

FORMAT = b"1"
FLUSH_ENTRIES = 4_096
MAP_BYTES = 64 << 30  # address space
_U64 = struct.Struct(">Q")
_DATABASES = 3
_MINUTE_MS = 60_000
_BATCH = 4_096  # entries read at a time to catch up
# Lines of a statement's text by which entries are found, and what their values are called.
_LINES = {"grant": "grant", "dataset": "dataset", "order": "transfer", "requester": "member", "provider": "member"}


class Entries(Protocol):
    """A log to catch up with."""

    @property
    def size(self) -> int:
        """Entries so far."""

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Entries start to stop, in order."""


class Index:
    """One log's index. Written by one thread, read by any."""

    def __init__(self, environment: lmdb.Environment, origin: str) -> None:
        self._environment = environment
        self._marks = environment.open_db(b"marks")
        self._terms = environment.open_db(b"terms", dupsort=True, dupfixed=True)
        self._minutes = environment.open_db(b"minutes")
        self._lock = threading.RLock()
        self._waiting: defaultdict[bytes, list[int]] = defaultdict(list)
        self._new_minutes: dict[int, int] = {}
        with environment.begin() as transaction:
            marks = [transaction.get(name, db=self._marks) for name in (b"format", b"origin", b"applied")]
            with transaction.cursor(db=self._minutes) as cursor:
                self._last_minute = _U64.unpack(cursor.key())[0] if cursor.last() else -1
        self._flushed = self._applied = _U64.unpack(marks[2])[0] if marks[2] else 0
        if marks[0] not in {None, FORMAT} or marks[1] not in {None, origin.encode()}:
            raise StoreVersion("the index is of another format or of another log", path=environment.path())
        self._origin = origin
        self.failure: AuditError | None = None

    @classmethod
    def open(cls, path: Path, origin: str, *, map_bytes: int = MAP_BYTES) -> Index:
        """The index of a log, or an empty one if there is none that can be used. Raises DiskFull."""
        with suppress(StoreAbsent, StoreDamaged, StoreVersion, struct.error):
            return cls._opened(path, origin, map_bytes)
        shutil.rmtree(path, ignore_errors=True)
        return cls._opened(path, origin, map_bytes)

    @classmethod
    def _opened(cls, path: Path, origin: str, map_bytes: int) -> Index:
        make_directory(path)
        environment = open_environment(path, _DATABASES, map_bytes)
        try:
            return cls(environment, origin)
        except lmdb.Error as cause:
            environment.close()
            raise mapped(cause, path) from cause
        except BaseException:
            environment.close()
            raise

    @property
    def applied(self) -> int:
        """How many entries are reflected."""
        with self._lock:
            return self._applied

    def catch_up(self, log: Entries) -> None:
        """Reflect what the log has and this has not; begin again if this has more, which a log that went back leaves behind."""
        if self.applied > log.size:
            self._clear()
        while (start := self.applied) < log.size:
            self.apply(start, log.entries(start, min(start + _BATCH, log.size)))

    def apply(self, first: int, entries: Iterable[bytes]) -> None:
        """Reflect durable entries, in order; those that are reflected are passed over. A full disk does not fail the log: rows wait
        in memory, and `failure` says why.
        """
        with self._lock:
            for index, raw in enumerate(entries, first):
                if index != self._applied:
                    continue
                self._reflect(index, raw)
                self._applied = index + 1
            if self._applied - self._flushed >= FLUSH_ENTRIES:
                try:
                    self.flush()
                except DiskFull as cause:
                    self.failure = cause

    def about(self, term: str, start: int = 0, limit: int | None = None) -> list[int]:
        """Indices from `start` on of the entries about a term, oldest first, at most `limit`."""
        key = term.encode()
        found: list[int] = []
        with self._lock:
            with self._environment.begin() as transaction, transaction.cursor(db=self._terms) as cursor:
                there = cursor.set_range_dup(key, _U64.pack(start))
                while there and (limit is None or len(found) < limit):
                    found.append(_U64.unpack(cursor.value())[0])
                    there = cursor.next_dup()
            found += [index for index in self._waiting.get(key, ()) if index >= start]
        return found if limit is None else found[:limit]

    def first_at(self, time_ms: int) -> int:
        """Index of the first entry of the minute of a time, or of the first minute after it that has one; the number of entries if
        there is none.
        """
        minute = time_ms // _MINUTE_MS
        with self._lock:
            with self._environment.begin() as transaction, transaction.cursor(db=self._minutes) as cursor:
                if cursor.set_range(_U64.pack(minute)):
                    return int(_U64.unpack(cursor.value())[0])
            return min((at for new, at in self._new_minutes.items() if new >= minute), default=self._applied)

    def flush(self) -> None:
        """Make everything up to the mark durable. Raises DiskFull; then nothing is lost but time."""
        with self._lock:
            with writing(self._environment) as transaction:
                with transaction.cursor(db=self._terms) as cursor:
                    rows = [(term, _U64.pack(at)) for term in sorted(self._waiting) for at in self._waiting[term]]
                    cursor.putmulti(rows, dupdata=True)
                for minute, at in sorted(self._new_minutes.items()):
                    transaction.put(_U64.pack(minute), _U64.pack(at), db=self._minutes)
                transaction.put(b"format", FORMAT, db=self._marks)
                transaction.put(b"origin", self._origin.encode(), db=self._marks)
                transaction.put(b"applied", _U64.pack(self._applied), db=self._marks)
            # A crash before the commit leaves the earlier mark with the earlier rows, and `catch_up` goes on from there.
            self._flushed = self._applied
            self._waiting.clear()
            self._new_minutes.clear()
            self.failure = None

    def _clear(self) -> None:
        with self._lock:
            with writing(self._environment) as transaction:
                for database in (self._terms, self._minutes, self._marks):
                    transaction.drop(database, delete=False)
            self._waiting.clear()
            self._new_minutes.clear()
            self._applied = self._flushed = 0
            self._last_minute = -1

    def close(self) -> None:
        """Flush what is not durable yet, and close. The store is closed even if the flush fails."""
        with self._lock:
            try:
                # A start that is refused has nothing to flush, and leaves every byte as it was.
                if self._applied > self._flushed:
                    with suppress(DiskFull):
                        self.flush()
            finally:
                self._environment.close()

    def _reflect(self, index: int, raw: bytes) -> None:
        try:
            entry = parse_entry(raw)
        except EntryInvalid:
            # Of a version to come, or no entry of ours: it is in the log, and found by its index alone.
            return
        for term in terms_of(entry):
            self._waiting[term.encode()].append(index)
        minute = entry.time_ms // _MINUTE_MS
        if minute > self._last_minute:
            self._new_minutes[minute] = index
            self._last_minute = minute


def terms_of(entry: Entry) -> set[str]:
    """What an entry is about: its subject, its actor, and what its statement names."""
    terms = {entry.subject, f"member:{entry.actor}"} - {"-", "member:-"}
    if entry.note is None:
        return terms
    for line in entry.note.partition(b"\n\n")[0].decode("utf-8", errors="replace").split("\n"):
        name, _, value = line.partition(" ")
        if name in _LINES and value.isalnum() and value.isascii():
            terms.add(f"{_LINES[name]}:{value}")
    return terms
