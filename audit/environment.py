"""How LMDB is opened and written here, once for every store: pinned format, one sync a commit, errors mapped.

Never NOSYNC, never WRITEMAP; the map size is reserved once; an environment is never opened twice in a process and never
used across a fork.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
from lmdb.verify import VerifyError, verify

from audit.errors import DiskFull, StoreAbsent, StoreDamaged, StoreLocked
from audit.files import disk_errors

DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
MAX_READERS = 1_024
_PROBE_BYTES = 65_536
_READERS_BYTES = 64 * (MAX_READERS + 8)  # of the lock file: a line for each reader, and what stands above them
_STAT_BLOCK = 512  # bytes, whatever the file system's own blocks are
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
LIB_VERSION = 0  # LMDB 0.9: py-lmdb bundles two incompatible formats, so the choice is pinned


def open_environment(
    path: Path, databases: int, map_bytes: int, *, read_only: bool = False, lock: bool = True
) -> lmdb.Environment:
    """Open, or unless `read_only` make, an environment in a directory. Without `lock` only what nobody writes may be read.

    Raises:
        StoreAbsent, DiskFull, StoreDamaged.
    """
    if read_only and not (path / DATA_FILE).exists():
        raise StoreAbsent(f"there is no store in {path}", path=path)
    if lock:
        _allocate_readers(path / LOCK_FILE, read_only=read_only)
    try:
        environment = lmdb.open(
            str(path),
            map_size=map_bytes,
            max_dbs=databases,
            max_readers=MAX_READERS,
            mode=0o600,
            readonly=read_only,
            lock=lock,
            lib_version=LIB_VERSION,
        )
    except lmdb.Error as cause:
        raise mapped(cause, path) from cause
    try:
        _check_length(environment, path)
    except BaseException:
        environment.close()
        raise
    if not read_only:
        environment.reader_check()
    return environment


def _check_length(environment: lmdb.Environment, path: Path) -> None:
    """Refuse a file that is cut short: LMDB maps it, and reading a page beyond its end would end the process, not the call."""
    file = path / DATA_FILE
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    with disk_errors(file):
        if file.stat().st_size >= needed:
            return
    # Rarely, pages that a commit took and gave back are missing at the end, which is no damage. LMDB's verifier can tell.
    try:
        problems = verify(str(file))  # type: ignore[no-untyped-call]  # py-lmdb annotates its extension only
    except VerifyError as cause:
        problems = [str(cause)]
    if problems:
        raise StoreDamaged(f"the store in {path} is truncated: {problems[0]}", path=path)


@contextmanager
def writing(environment: lmdb.Environment) -> Iterator[lmdb.Transaction]:
    """A write transaction: committed and synced on leaving, undone by any exception. Raises DiskFull, StoreDamaged."""
    try:
        with environment.begin(write=True) as transaction:
            yield transaction
    except lmdb.Error as cause:
        raise mapped(cause, Path(environment.path())) from cause


def mapped(cause: lmdb.Error, path: Path) -> DiskFull | StoreDamaged:
    """Our error for one of LMDB's."""
    text = str(cause)
    full = isinstance(cause, lmdb.MapFullError | lmdb.DiskError) or any(os.strerror(one) in text for one in _NO_SPACE)
    # Where a disk takes a part of a write because that fills it, LMDB speaks of an input or output error and asks no further.
    if full or (os.strerror(errno.EIO) in text and not _has_room(path)):
        return DiskFull(f"{path} has no room left: {cause}", path=path)
    return StoreDamaged(f"{path} cannot be used: {cause}", path=path)


def _allocate_readers(file: Path, *, read_only: bool) -> None:
    """Give the table of readers its blocks. LMDB makes it with holes and writes it through a map, which ends the process where the disk is full."""
    try:
        # It is opened only where it must be: closing it would let go of locks on it that this process has.
        if file.exists() and file.stat().st_blocks * _STAT_BLOCK >= _READERS_BYTES:
            return
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _READERS_BYTES)
        finally:
            os.close(descriptor)
    except OSError as cause:
        if cause.errno in _NO_SPACE:
            raise DiskFull(f"{file} has no room left", path=file) from cause
        if not read_only:
            raise StoreDamaged(f"{file} cannot be used: {os.strerror(cause.errno or errno.EIO)}", path=file) from cause


def _has_room(directory: Path) -> bool:
    """Whether a small file can grow there. A write that was cut short has used up what there was."""
    try:
        with tempfile.TemporaryFile(dir=directory) as probe:
            os.posix_fallocate(probe.fileno(), 0, _PROBE_BYTES)
    except OSError as cause:
        return cause.errno not in _NO_SPACE
    return True


class WriterLock:
    """Holds a directory for one writer, across processes and within this one."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            os.close(descriptor)
            raise StoreLocked(f"another writer holds {path.parent}", path=path.parent) from cause
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the kernel does so too when the process ends."""
        if self._descriptor >= 0:
            # Said and not left to the closing: a child that another thread has just forked has the descriptor too, until it begins its program.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1
