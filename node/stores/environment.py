"""An LMDB environment of the node: of a known kind and version, and open once. How LMDB is used at all, `audit.environment`
says.

The main database holds one record, `kiteline`, which says what the environment is; everything else lies in named
databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from audit.environment import DATA_FILE, WriterLock, mapped, open_environment, writing
from audit.errors import StoreAbsent, StoreDamaged, StoreExists, StoreVersion
from audit.files import disk_errors, make_directory

GIGABYTE = 1 << 30

_HEAD = b"kiteline"
_MAX_DATABASES = 16
_LOCK_FILE = "owner.lock"


class Environment:
    """An open environment. Read and write by `reading` and `writing`, which are safe from any thread."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        self.path = path
        with disk_errors(path):
            self._lock = WriterLock(path / _LOCK_FILE)
        try:
            self._env = open_environment(path, _MAX_DATABASES, map_bytes)
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def create(cls, path: Path, kind: str, map_bytes: int) -> Environment:
        """A new environment. Raises StoreExists, DiskFull."""
        make_directory(path)
        if (path / DATA_FILE).exists():
            raise StoreExists(f"there is a store at {path}")
        created = cls(path, map_bytes)
        try:
            # A crash before this commit leaves an environment without a head, which `open` calls damaged.
            with created.writing() as txn:
                txn.put(_HEAD, kind.encode())
        except BaseException:
            created.close()
            raise
        return created

    @classmethod
    def open(cls, path: Path, kind: str, map_bytes: int) -> Environment:
        """An existing environment of this kind.

        Args:
            path: its directory.
            kind: what it is, with the version of its layout.
            map_bytes: address space, at least what it was created with.

        Raises:
            StoreAbsent, StoreLocked, StoreVersion, StoreDamaged.
        """
        if not (path / DATA_FILE).exists():
            raise StoreAbsent(f"there is no store at {path}")
        opened = cls(path, map_bytes)
        try:
            opened.check(kind)
        except BaseException:
            opened.close()
            raise
        return opened

    def check(self, kind: str) -> None:
        """Raise StoreVersion or StoreDamaged unless the environment is whole and of this kind."""
        with self.reading() as txn:
            head = txn.get(_HEAD)
        if head is None:
            raise StoreDamaged(f"the store at {self.path} does not say what it is")
        if head != kind.encode():
            raise StoreVersion(f"the store at {self.path} is {head.decode(errors='replace')}, not {kind}")

    def database(self, name: str) -> lmdb._Database:
        """A named database, made if there is none."""
        try:
            return self._env.open_db(name.encode())
        except lmdb.Error as cause:
            raise mapped(cause, self.path) from cause

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction[bytes]]:
        """A view of one moment. Raises StoreDamaged."""
        try:
            with self._env.begin() as txn:
                yield txn
        except lmdb.Error as cause:
            raise mapped(cause, self.path) from cause

    @contextmanager
    def writing(self) -> Iterator[lmdb.Transaction]:
        """Changes that become durable together when the block is left, or not at all. Raises DiskFull, StoreDamaged."""
        with writing(self._env) as txn:
            yield txn

    def close(self) -> None:
        """Close it, and let others open it."""
        self._env.close()
        self._lock.release()
