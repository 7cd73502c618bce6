"""The secondary index of a log compared with the entries: made anew beside it, by the same rules, and then read along with it row by row.

The stored one is read by `pages`, because it may be damaged. It reflects so many entries, which its mark says, and is compared as far as that. Rows
about entries that are archived cannot be made anew and are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from audit.environment import open_environment, writing
from audit.errors import StoreAbsent, StoreDamaged
from audit.index import FORMAT, MAP_BYTES, Index
from audit.keeping.findings import Finding, Part, Place
from audit.keeping.pages import Damage, PageFile, Row, Snapshot
from audit.keeping.stored import DATA_FILE

MAX_FINDINGS = 1_000  # of one index: it can be thrown away, so more of them help nobody
_U64 = struct.Struct(">Q")
_DATABASES = 3
_BATCH = 4_096
_END = b"\xff" * 512  # beyond every key that LMDB can hold

Entries = Callable[[int, int], Iterator[bytes]]  # from one index to another, or as far as they can be read


class IndexCheck:
    """One comparison. `first`: from which entry on they are at hand; `shared`: a writer may be at work on the index."""

    def __init__(self, path: Path, origin: str, first: int, entries: Entries, *, shared: bool) -> None:
        self._path = path
        self._origin = origin
        self._first = first
        self._entries = entries
        self._shared = shared

    def findings(self, size: Callable[[], int]) -> Iterator[Finding]:
        """What is wrong. `size`: entries of the log, asked after the index was looked at, so that it may not be the smaller one."""
        yield from islice(self._all(size), MAX_FINDINGS)

    def _all(self, size: Callable[[], int]) -> Iterator[Finding]:
        try:
            stored = PageFile(self._path / DATA_FILE, shared=self._shared)
        except StoreAbsent:
            return  # it may be thrown away, and opening makes it again
        except StoreDamaged as why:
            yield self._finding(str(why))
            return
        try:
            with stored.snapshot() as snapshot:
                found, applied = self._marks(snapshot)
            yield from found
            entries = size()
            if applied > entries:
                yield self._finding(f"the index reflects {applied} entries, and the log has {entries}")
                applied = entries
            if applied > self._first:
                with TemporaryDirectory(prefix="kiteline-index-") as directory:
                    stop = self._make(Path(directory), applied)
                    yield from self._compared(Path(directory), stored, stop)
        except StoreDamaged as why:
            yield self._finding(str(why))
        finally:
            stored.close()

    def _marks(self, snapshot: Snapshot) -> tuple[list[Finding], int]:
        """What is wrong with the marks, and how many entries are reflected."""
        found: list[Finding] = []
        marks = {row.key: row.raw for row in self._rows(snapshot, b"marks", found)}
        right = {b"format": FORMAT, b"origin": self._origin.encode()}
        for name, value in right.items() if marks else ():
            if marks.get(name) != value:
                found.append(self._finding(f"the mark {name.decode()} of the index is wrong"))
        applied = marks.get(b"applied", bytes(8))
        if len(applied) != _U64.size:
            found.append(self._finding("the mark applied of the index is wrong"))
            applied = bytes(8)
        return found, _U64.unpack(applied)[0]

    def _make(self, directory: Path, stop: int) -> int:
        """Make the index of the entries from the first at hand; gives how far they could be read."""
        if self._first:
            self._begin_at(directory)
        index = Index.open(directory, self._origin)
        entries = self._entries(self._first, stop)
        try:
            while batch := list(islice(entries, _BATCH)):
                index.apply(index.applied, batch)
            return index.applied
        finally:
            index.close()

    def _begin_at(self, directory: Path) -> None:
        environment = open_environment(directory, _DATABASES, MAP_BYTES)
        try:
            marks = environment.open_db(b"marks")
            with writing(environment) as transaction:
                transaction.put(b"format", FORMAT, db=marks)
                transaction.put(b"origin", self._origin.encode(), db=marks)
                transaction.put(b"applied", _U64.pack(self._first), db=marks)
        finally:
            environment.close()

    def _compared(self, directory: Path, stored: PageFile, stop: int) -> Iterator[Finding]:
        made = PageFile(directory / DATA_FILE, shared=False)
        try:
            with stored.snapshot() as snapshot, made.snapshot() as right:
                # What was flushed since lies between; beyond the mark there may be nothing.
                found, applied = self._marks(snapshot)
                yield from found
                yield from self._compare_terms(snapshot, right, stop, applied)
                yield from self._compare_minutes(snapshot, right, stop, applied)
        finally:
            made.close()

    def _compare_terms(self, stored: Snapshot, right: Snapshot, stop: int, applied: int) -> Iterator[Finding]:
        found: list[Finding] = []
        here, there = self._rows(stored, b"terms", found), self._rows(right, b"terms", found)
        ours, theirs = next(here, None), next(there, None)
        while ours is not None or theirs is not None:
            yield from found
            found.clear()
            keys = [row.key if row is not None else _END for row in (ours, theirs)]
            term = min(keys)
            indices = self._indices(stored, ours, found) if keys[0] == term else iter(())
            expected = self._indices(right, theirs, found) if keys[1] == term else iter(())
            yield from self._compare_term(term, indices, expected, stop, applied)
            ours = next(here, None) if keys[0] == term else ours
            theirs = next(there, None) if keys[1] == term else theirs
        yield from found

    def _compare_term(
        self, term: bytes, indices: Iterator[int], expected: Iterator[int], stop: int, applied: int
    ) -> Iterator[Finding]:
        ours, theirs = next(indices, None), next(expected, None)
        while ours is not None or theirs is not None:
            if ours is not None and (ours < self._first or stop <= ours < applied):
                ours = next(indices, None)
            elif ours == theirs:
                ours, theirs = next(indices, None), next(expected, None)
            elif theirs is None or (ours is not None and ours < theirs):
                yield self._term(term, ours or 0, "and the index says so")
                ours = next(indices, None)
            else:
                yield self._term(term, theirs, "and the index does not say so", is_about=True)
                theirs = next(expected, None)

    def _compare_minutes(self, stored: Snapshot, right: Snapshot, stop: int, applied: int) -> Iterator[Finding]:
        found: list[Finding] = []
        # The minute in which the entries at hand begin may have begun with one that is not.
        before = max((minute for minute, index in self._minutes(stored, []) if index < self._first), default=-1)
        here, there = self._minutes(stored, found), self._minutes(right, found)
        ours, theirs = next(here, None), next(there, None)
        while ours is not None or theirs is not None:
            minute = min(row[0] for row in (ours, theirs) if row is not None)
            index = ours[1] if ours is not None and ours[0] == minute else None
            expected = theirs[1] if theirs is not None and theirs[0] == minute else None
            newer = expected is None and index is not None and stop <= index < applied
            if minute > before and index != expected and not newer:
                says = f"the minute {minute} begins with entry {expected}, and the index says {index}"
                yield self._finding(says, term=f"minute:{minute}")
            ours = ours if index is None else next(here, None)
            theirs = theirs if expected is None else next(there, None)
        yield from found

    def _minutes(self, snapshot: Snapshot, found: list[Finding]) -> Iterator[tuple[int, int]]:
        for row in self._rows(snapshot, b"minutes", found):
            if len(row.key) == len(row.raw) == _U64.size:
                yield _U64.unpack(row.key)[0], _U64.unpack(row.raw)[0]
            else:
                found.append(self._finding("a row of the minutes has not the size that it must have", page=row.page))

    def _indices(self, snapshot: Snapshot, row: Row | None, found: list[Finding]) -> Iterator[int]:
        for value in snapshot.values(row, _U64.size) if row is not None else ():
            if isinstance(value, Damage):
                found.append(self._finding(value.says, page=value.page))
            elif len(value) != _U64.size:
                found.append(self._finding("a row of the terms has not the size that it must have"))
            else:
                yield _U64.unpack(value)[0]

    def _rows(self, snapshot: Snapshot, name: bytes, found: list[Finding]) -> Iterator[Row]:
        databases, damages = snapshot.databases()
        found += [self._finding(damage.says, page=damage.page) for damage in damages]
        if name not in databases:
            found.append(self._finding(f"the file has no database {name.decode()}"))
            return
        for row in snapshot.scan(databases[name]):
            if isinstance(row, Damage):
                found.append(self._finding(f"{row.says} (database {name.decode()})", page=row.page))
            else:
                yield row

    def _term(self, term: bytes, index: int, says: str, *, is_about: bool = False) -> Finding:
        name = term.decode("utf-8", errors="backslashreplace")
        verb = "is" if is_about else "is not"
        return self._finding(f"entry {index} {verb} about {name}, {says}", term=name, leaves=(index, index + 1))

    def _finding(self, says: str, **place: object) -> Finding:
        return Finding(Part.INDEX, says, Place(file=self._path / DATA_FILE, **place))  # type: ignore[arg-type]  # fields of Place
