"""How LMDB is opened and written here, once for every store: pinned format, one sync a commit, errors mapped.

Never NOSYNC, never WRITEMAP; the map size is reserved once; an environment is never opened twice in a process and never
used across a fork.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from audit.errors import DiskFull, StoreAbsent, StoreDamaged, StoreLocked

DATA_FILE = "data.mdb"
MAX_READERS = 1_024
_NO_ROOM_BYTES = 1 << 20  # free, with less of which a file system counts as full
LIB_VERSION = 0  # LMDB 0.9: py-lmdb bundles two incompatible formats, so the choice is pinned


def open_environment(path: Path, databases: int, map_bytes: int, *, read_only: bool = False) -> lmdb.Environment:
    """Open, or unless `read_only` make, an environment in a directory. Raises StoreAbsent, DiskFull, StoreDamaged."""
    if read_only and not (path / DATA_FILE).exists():
        raise StoreAbsent(f"there is no store in {path}", path=path)
    try:
        environment = lmdb.open(
            str(path),
            map_size=map_bytes,
            max_dbs=databases,
            max_readers=MAX_READERS,
            mode=0o600,
            readonly=read_only,
            lib_version=LIB_VERSION,
        )
    except lmdb.Error as cause:
        raise mapped(cause, path) from cause
    # LMDB maps the file: reading a page beyond the end of a truncated one would end the process, not the call.
    pages, page_size = environment.info()["last_pgno"] + 1, environment.stat()["psize"]
    if (path / DATA_FILE).stat().st_size < pages * page_size:
        environment.close()
        raise StoreDamaged(f"the store in {path} is truncated", path=path)
    if not read_only:
        environment.reader_check()
    return environment


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
    if _tells_no_room(cause, path):
        return DiskFull(f"{path} has no room left: {cause}", path=path)
    return StoreDamaged(f"{path} cannot be used: {cause}", path=path)


def _tells_no_room(cause: lmdb.Error, path: Path) -> bool:
    if isinstance(cause, lmdb.MapFullError | lmdb.DiskError) or os.strerror(errno.ENOSPC) in str(cause):
        return True
    # A write that ends short for want of room LMDB calls an input/output error, as it calls a broken disk.
    return os.strerror(errno.EIO) in str(cause) and shutil.disk_usage(path).free < _NO_ROOM_BYTES


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
            os.close(self._descriptor)
            self._descriptor = -1
