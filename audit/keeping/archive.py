"""Archiving full epochs (docs/decisions/0012): the entries go to another place, head and tiles stay, and it can be undone.

    DIR/epochs/0003/data.mdb   the whole epoch, as it was in the store

An epoch is archived in this order: its copy is made and re-hashed, as part of the log and against the signed head; its stub is written beside it, without
segments, and re-hashed; one renaming puts the stub in the epoch's place. Roots and proofs of every entry go on working; reading an entry raises
EntryArchived. A crash before the renaming leaves the epoch, after it the stub, and a verified copy either way. A node that runs goes on reading the
file that it has open, and gives its space back when it is started again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from audit.entry import format_time, parse_entry
from audit.environment import WriterLock, open_environment, writing
from audit.epoch import ARCHIVED, SEALED, TILE_LEVELS
from audit.errors import ArchiveRefused, CopyInvalid, EntryInvalid
from audit.files import disk_errors, read_whole
from audit.keeping import MIN_RETENTION_DAYS
from audit.keeping.check import Check, Expected, Progress
from audit.keeping.copies import (
    check_formats,
    emptied,
    head_of,
    hot_copy,
    is_same,
    is_sealed,
    plain_copy,
    put,
    verified,
)
from audit.keeping.findings import Finding
from audit.keeping.pages import MAP_BYTES, Damage, PageFile
from audit.keeping.stored import DATA_FILE, EpochFile, StoredHead, epoch_files, read_segment
from crypto.engine import Engine

_DAY_MS = 86_400_000
_ROWS = 2_048  # of tiles in one transaction, 32 MiB


@dataclass(frozen=True)
class Archived:
    """An epoch that was archived, or put back: its leaves, and the archive's file."""

    epoch: int
    first: int
    stop: int
    file: Path


class Archive:
    """The archive of one log's epochs in a directory.

    Args:
        path: directory of the log's store.
        directory: of the archive.
        engine: hashes.
        expected: what is known of the log; a checkpoint there must be.
        progress: is told how many entries of a copy are re-hashed.
    """

    def __init__(
        self,
        path: Path,
        directory: Path,
        engine: Engine,
        expected: Expected,
        progress: Progress = lambda _done, _total: None,
    ) -> None:
        self._path = path
        self._directory = directory
        self._engine = engine
        self._expected = replace(expected, index=None)
        self._progress = progress

    def put_away(self, number: int, *, retention_days: int, now_ms: int) -> Archived:
        """Archive an epoch.

        Raises:
            ArchiveRefused: the epoch grows still, is too young, or is archived already.
            CopyInvalid: the copy or the stub does not verify; the store is as it was.
            DiskFull: likewise.
            StoreLocked: another archiving of this log is under way.
            StoreAbsent, StoreVersion, StoreDamaged: the log cannot be read.
        """
        with self._locked() as expected:
            file, head = self._full_epoch(number)
            if head.archived is not None:
                raise ArchiveRefused(f"epoch {number} is archived already, in {head.archived}", epoch=number)
            _check_age(number, file, head, retention_days, now_ms)
            place = self._directory / "epochs" / file.parent.name
            archived = place / DATA_FILE
            if is_sealed(archived) and is_same(head, head_of(archived)):
                # A crash may have left it here. It was verified then, and is again: what it is a copy of is about to go.
                self._verify(number, archived, head, expected)
            else:
                with emptied(self._directory / f".copying-{file.parent.name}") as copying:
                    copy = hot_copy(file, copying, shared=False, mode=SEALED)
                    self._verify(number, copy, head, expected)
                    put(copy, place)
            with emptied(file.parent.parent / f".stub-{file.parent.name}") as beside:
                stub = _write_stub(file, beside, str(archived.resolve()))
                self._verify(number, stub, head, expected)
                put(stub, file.parent)
        return Archived(number, head.first, head.size, archived)

    def put_back(self, number: int) -> Archived:
        """Put an archived epoch back into the store.

        Raises:
            ArchiveRefused: the epoch is not archived, or what lies in the archive is another one.
            StoreAbsent: it is not in the archive.
            CopyInvalid, DiskFull, StoreLocked, StoreVersion, StoreDamaged: as `put_away`.
        """
        with self._locked() as expected:
            file, head = self._full_epoch(number)
            archived = self._directory / "epochs" / file.parent.name / DATA_FILE
            if head.archived is None:
                raise ArchiveRefused(f"epoch {number} is not archived", epoch=number)
            if not is_same(head, head_of(archived)):
                raise ArchiveRefused(f"{archived} is not epoch {number} of this log", epoch=number)
            with emptied(file.parent.parent / f".restored-{file.parent.name}") as beside:
                copy = plain_copy(archived, beside, SEALED)
                self._verify(number, copy, head, expected)
                put(copy, file.parent)
        return Archived(number, head.first, head.size, archived)

    def old_enough(self, *, retention_days: int, now_ms: int) -> list[int]:
        """Numbers of the epochs that may be archived now. Raises ArchiveRefused: so short a retention is none."""
        _check_retention(retention_days)
        found = []
        for file in epoch_files(self._path)[:-1]:
            number = int(file.parent.name)
            head = head_of(file)
            try:
                if is_sealed(file) and head.archived is None:
                    _check_age(number, file, head, retention_days, now_ms)
                    found.append(number)
            except ArchiveRefused:
                continue
        return found

    def _full_epoch(self, number: int) -> tuple[Path, StoredHead]:
        files = epoch_files(self._path)
        if not 0 <= number < len(files):
            raise ArchiveRefused(f"there is no epoch {number}", epoch=number)
        if number == len(files) - 1 or not is_sealed(files[number]):
            raise ArchiveRefused(f"epoch {number} is not full; entries are still appended to it", epoch=number)
        return files[number], head_of(files[number])

    def _verify(self, number: int, file: Path, head: StoredHead, expected: Expected) -> None:
        """Re-hash an epoch with this file in its place, as part of the log. Raises CopyInvalid."""
        files = epoch_files(self._path)
        files[number] = file
        check = Check(files, self._engine, expected, start=head.first, stop=head.size, progress=self._progress)
        verified(check)
        if check.checkpoint is not None and check.checkpoint.size < head.size:
            raise CopyInvalid(
                f"the signed head covers {check.checkpoint.size} entries, and the epoch ends at {head.size}"
            )

    def _tidy(self) -> None:
        """Delete what an earlier archiving, of whatever epoch, was killed with: it may be as large as an epoch, and nobody else would."""
        epochs = self._path / "epochs"
        for directory, name in ((epochs, ".stub-*"), (epochs, ".restored-*"), (self._directory, ".copying-*")):
            with disk_errors(directory):
                for left in directory.glob(name):
                    shutil.rmtree(left)

    @contextmanager
    def _locked(self) -> Iterator[Expected]:
        """One archiving at a time; gives what is known, with the signed head as it was before the log was looked at."""
        with disk_errors(self._path):
            lock = WriterLock(self._path / "archive.lock")
        try:
            self._tidy()
            check_formats(epoch_files(self._path), growing=True)
            file = self._expected.checkpoint
            yield replace(self._expected, note=None if file is None else read_whole(file))
        finally:
            lock.release()


def _check_age(number: int, file: Path, head: StoredHead, retention_days: int, now_ms: int) -> None:
    """Refuse an epoch whose newest entry is not older than entries are kept. Raises ArchiveRefused."""
    _check_retention(retention_days)
    newest = _newest_ms(file, head)
    if newest is None:
        raise ArchiveRefused(f"no entry at the end of epoch {number} says when it was made", epoch=number)
    if now_ms - newest <= retention_days * _DAY_MS:
        says = f"the newest entry of epoch {number} is of {format_time(newest)}, and entries are kept for {retention_days} days"
        raise ArchiveRefused(says, epoch=number)


def _check_retention(days: int) -> None:
    if days < MIN_RETENTION_DAYS:
        raise ArchiveRefused(f"entries are kept for {MIN_RETENTION_DAYS} days at least, not {days}")


def _newest_ms(file: Path, head: StoredHead) -> int | None:
    """The latest time among the entries of an epoch's last segment: entries stand in the order of their times."""
    epoch = EpochFile(int(file.parent.name), file, shared=False, map_bytes=MAP_BYTES)
    try:
        for item in epoch.segments(head.size - 1):
            if isinstance(item, Finding) or item[1] is None:
                return None
            segment = read_segment(item[1])
            bounds = segment.offsets.tolist()
            entries = [bytes(segment.data[bounds[at] : bounds[at + 1]]) for at in range(len(segment))]
            return max((time for time in map(_time_of, entries) if time is not None), default=None)
    finally:
        epoch.close()
    return None


def _time_of(entry: bytes) -> int | None:
    try:
        return parse_entry(entry).time_ms
    except EntryInvalid:
        return None


def _write_stub(file: Path, directory: Path, place: str) -> Path:
    """An epoch's file without its segments, which says where they are."""
    pages = PageFile(file, shared=False)
    environment = open_environment(directory, 1 + TILE_LEVELS, MAP_BYTES)
    try:
        for name in (b"head", *(b"tiles-%d" % level for level in range(TILE_LEVELS))):
            for rows in _in_batches(pages, name):
                with writing(environment) as transaction:
                    database = environment.open_db(name, txn=transaction)
                    for key, value in rows:
                        transaction.put(key, value, db=database, append=True)
        with writing(environment) as transaction:
            head = environment.open_db(b"head", txn=transaction)
            transaction.put(ARCHIVED, place.encode(), db=head)
    finally:
        environment.close()
        pages.close()
    made = directory / DATA_FILE
    with disk_errors(made):
        made.chmod(SEALED)
    return made


def _in_batches(pages: PageFile, name: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
    """The rows of a database. Raises CopyInvalid: what is damaged is found by the check of the copy, which comes before."""
    rows: list[tuple[bytes, bytes]] = []
    with pages.snapshot() as snapshot:
        databases, _ = snapshot.databases()
        for row in snapshot.scan(databases[name]):
            if isinstance(row, Damage):
                raise CopyInvalid(f"{pages.path}: {row.says}")
            rows.append((row.key, snapshot.value(row)))
            if len(rows) == _ROWS:
                yield rows
                rows = []
    yield rows
