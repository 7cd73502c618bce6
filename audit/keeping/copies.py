"""Copies of epochs: made durable, verified before they take a place, and gone if anything is wrong with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import lmdb

from audit.environment import mapped, open_environment
from audit.epoch import SEALED
from audit.errors import CopyInvalid, StoreAbsent, StoreDamaged, StoreVersion
from audit.files import disk_errors, make_directory, sync_directory
from audit.keeping.check import Check
from audit.keeping.findings import Finding
from audit.keeping.pages import MAP_BYTES, PageFile
from audit.keeping.stored import DATA_FILE, FORMAT, EpochFile, StoredHead

OPEN = 0o600  # mode of the file of the epoch that grows
_TOLD = 5  # findings in the message of an error


def hot_copy(source: Path, directory: Path, *, shared: bool, mode: int, map_bytes: int = MAP_BYTES) -> Path:
    """LMDB's own copy of a data file as it is at one commit. `shared`: a writer may be at work. Raises DiskFull, StoreAbsent, StoreDamaged."""
    PageFile(source, shared=False).close()  # LMDB is let near nothing whose meta pages are not sound
    make_directory(directory)
    environment = open_environment(source.parent, 0, map_bytes, read_only=True, lock=shared)
    try:
        environment.copy(str(directory))
    except lmdb.Error as cause:
        raise mapped(cause, directory) from cause
    finally:
        environment.close()
    return _durable(directory / DATA_FILE, mode)


def plain_copy(source: Path, directory: Path, mode: int) -> Path:
    """A copy of a data file that nobody writes. Raises DiskFull, StoreAbsent, StoreDamaged."""
    if not source.exists():
        raise StoreAbsent(f"there is no {source}", path=source)
    make_directory(directory)
    made = directory / DATA_FILE
    with disk_errors(made):
        shutil.copyfile(source, made)
    return _durable(made, mode)


def put(file: Path, directory: Path) -> None:
    """Give a file its place at once: instead of the one that is there, or with its directory where there is none. Durable on return."""
    make_directory(directory.parent)
    with disk_errors(directory):
        if directory.exists():
            file.replace(directory / DATA_FILE)
            sync_directory(directory)
        else:
            # An epoch's directory without a file would be an epoch that is lost.
            file.parent.rename(directory)
            sync_directory(directory.parent)


@contextmanager
def emptied(directory: Path) -> Iterator[Path]:
    """An empty directory that is gone afterwards, whatever happens; one that a crash left behind is emptied first."""
    with disk_errors(directory):
        if directory.exists():
            shutil.rmtree(directory)
    try:
        make_directory(directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def verified(check: Check) -> Check:
    """Run a check of a copy. Raises CopyInvalid with the first findings, or if there was no signed head to compare with."""
    found = list(islice(check.findings(), _TOLD))
    if found:
        says = "; ".join(f"{finding.part}: {finding.says} ({finding.place})" for finding in found)
        raise CopyInvalid(f"the copy does not verify and was deleted: {says}", part=found[0].part, place=found[0].place)
    if check.checkpoint is None:
        raise CopyInvalid("there is no signed head to verify the copy against")
    return check


def head_of(file: Path) -> StoredHead:
    """The head of an epoch that nobody writes. Raises StoreAbsent, StoreVersion, StoreDamaged."""
    head, found = _read_head(file, shared=False, map_bytes=MAP_BYTES)
    if head is None or found:
        raise StoreDamaged(f"{file} has no head that can be read: {'; '.join(finding.says for finding in found)}")
    return head


def check_formats(files: Sequence[Path], *, growing: bool = False, map_bytes: int = MAP_BYTES) -> None:
    """Refuse a store of another format before anything of it is copied: to re-hash it would call it damaged, and it is not.

    `growing`: a writer may be at work on it. Other faults are told where the epochs are read. Raises StoreAbsent, StoreVersion, StoreDamaged.
    """
    for file in files:
        shared = growing and (file is files[-1] or not is_sealed(file))
        _read_head(file, shared=shared, map_bytes=map_bytes)


def _read_head(file: Path, *, shared: bool, map_bytes: int) -> tuple[StoredHead | None, list[Finding]]:
    """A head of this program's format, and what is wrong with it."""
    epoch = EpochFile(int(file.parent.name), file, shared=shared, map_bytes=map_bytes)
    found: list[Finding] = []
    try:
        head = epoch.head(found)
    finally:
        epoch.close()
    if head is not None and head.form != FORMAT:
        raise StoreVersion(f"the store is of format {head.form}, this program writes {FORMAT}", path=file)
    return head, found


def is_sealed(file: Path) -> bool:
    """Whether it is there and is the file of a full epoch."""
    return file.exists() and file.stat().st_mode & 0o777 == SEALED


def is_same(head: StoredHead, other: StoredHead) -> bool:
    """Whether two heads are of one full epoch; the segments of either may be archived."""
    one, another = (replace(which, archived=None, segments=None) for which in (head, other))
    return one == another


def _durable(file: Path, mode: int) -> Path:
    with disk_errors(file):
        file.chmod(mode)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(file.parent)
    return file
