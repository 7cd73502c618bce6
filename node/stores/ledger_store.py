"""The ledger's tables in LMDB (`node.ports.LedgerStore`).

What is written is held in memory first and flushed together with the mark `applied`, in one transaction every so many
entries and on close: the tables on disk always are what the first `applied` entries of the log make of them. A crash loses
what was not flushed, and the log is replayed from the mark. So nothing here is precious: a store that is damaged, or was
written by another version or layout, is deleted and begun again.

All tables lie in one database; a key there is the table's name, a zero byte, and the table's key.
"""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from audit.errors import AuditError, DiskFull, StoreAbsent, StoreDamaged, StoreVersion
from audit.files import disk_errors
from node.errors import InternalError
from node.stores.environment import GIGABYTE, Environment

FLUSH_ENTRIES = 2_048
MAX_KEY = 400  # bytes of a table's key; LMDB takes 511 with the table's name
DEFAULT_MAP_BYTES = 16 * GIGABYTE

_VERSION = 1
_APPLIED = b"applied"
_MARK = struct.Struct(">Q")
_SCAN_ITEMS = 512  # items read in one go; between two goes the table may change


def open_ledger(
    path: Path, layout: int, *, map_bytes: int = DEFAULT_MAP_BYTES, flush_entries: int = FLUSH_ENTRIES
) -> tuple[DiskLedger, str | None]:
    """Open the ledger's store, or begin one.

    Args:
        path: its directory.
        layout: version of what the exchange keeps in the tables; a store of another one is begun again.
        map_bytes: bytes of address space.
        flush_entries: entries after which the tables are written to disk.

    Returns:
        The store; and, if an earlier one was thrown away, why, for the operator's log.

    Raises:
        StoreLocked, DiskFull.
    """
    kind = f"ledger {_VERSION}.{layout}"
    notice: str | None = None
    try:
        environment = Environment.open(path, kind, map_bytes)
    except StoreAbsent:
        environment = Environment.create(path, kind, map_bytes)
    except (StoreVersion, StoreDamaged) as cause:
        notice = str(cause)
        with disk_errors(path):
            shutil.rmtree(path)
        environment = Environment.create(path, kind, map_bytes)
    return DiskLedger(environment, flush_entries), notice


class DiskLedger:
    """Tables and their mark. Safe from several threads; a scan does not block writers."""

    def __init__(self, environment: Environment, flush_entries: int) -> None:
        self._environment = environment
        self._database = environment.database("tables")
        self._marks = environment.database("marks")
        self._flush_entries = flush_entries
        self._lock = threading.RLock()
        self._changes: dict[bytes, bytes | None] = {}  # None: deleted
        with environment.reading() as txn:
            mark = txn.get(_APPLIED, db=self._marks)
        self._flushed = _MARK.unpack(mark)[0] if mark else 0
        self._applied = self._flushed
        self.failure: AuditError | None = None

    @property
    def applied(self) -> int:
        """How many entries of the log the tables reflect."""
        return self._applied

    def table(self, name: str) -> DiskTable:
        """The table of this name, which need not have been used before."""
        if not name or "\0" in name or len(name.encode()) > MAX_KEY // 4:
            raise InternalError(f"{name!r} cannot be the name of a table")
        return DiskTable(self, name.encode() + b"\0")

    def advance(self, applied: int) -> None:
        """Note that entries below `applied` are reflected. A disk that is full does not fail the log: the changes stay in
        memory, `failure` says why, and the next call tries again.
        """
        with self._lock:
            if applied < self._applied:
                raise InternalError(f"the ledger reflects {self._applied} entries and cannot go back to {applied}")
            self._applied = applied
            if applied - self._flushed >= self._flush_entries:
                try:
                    self.flush()
                except DiskFull as cause:
                    self.failure = cause

    def flush(self) -> None:
        """Make everything up to the mark durable. Raises DiskFull; then nothing is lost but time."""
        with self._lock:
            if self._applied == self._flushed and not self._changes:
                return
            with self._environment.writing() as txn:
                for key, value in sorted(self._changes.items()):
                    if value is None:
                        txn.delete(key, db=self._database)
                    else:
                        txn.put(key, value, db=self._database)
                txn.put(_APPLIED, _MARK.pack(self._applied), db=self._marks)
            # A crash before the commit leaves the earlier mark with the earlier tables: the log is replayed from there.
            self._flushed = self._applied
            self._changes.clear()
            self.failure = None

    def clear(self) -> None:
        """Empty every table and begin at entry 0, durably: for a log that has fewer entries than were applied."""
        with self._lock:
            with self._environment.writing() as txn:
                txn.drop(self._database, delete=False)
                txn.put(_APPLIED, _MARK.pack(0), db=self._marks)
            self._changes.clear()
            self._applied = self._flushed = 0

    def close(self) -> None:
        """Flush and close. The store is closed even if the flush fails."""
        with self._lock:
            try:
                self.flush()
            finally:
                self._environment.close()

    def get(self, key: bytes) -> bytes | None:
        """The value under a whole key."""
        with self._lock:
            if key in self._changes:
                return self._changes[key]
            with self._environment.reading() as txn:
                return txn.get(key, db=self._database)

    def change(self, key: bytes, value: bytes | None) -> None:
        """Set the value under a whole key, or delete it."""
        if len(key) > MAX_KEY:
            raise InternalError(f"a key of a table has {len(key)} bytes, {MAX_KEY} at most")
        with self._lock:
            self._changes[key] = value

    def some(self, prefix: bytes, after: bytes | None) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """Some items whose keys begin with `prefix`, in order, from beyond the key `after` on; and how far that went,
        None for the end.
        """
        with self._lock:
            found: dict[bytes, bytes | None] = {}
            last: bytes | None = None
            with self._environment.reading() as txn:
                cursor = txn.cursor(db=self._database)
                more = cursor.set_range(prefix if after is None else after + b"\0")
                while more and cursor.key().startswith(prefix):
                    if len(found) == _SCAN_ITEMS:
                        last = max(found)
                        break
                    found[cursor.key()] = cursor.value()
                    more = cursor.next()
            found |= {
                key: value
                for key, value in self._changes.items()
                if key.startswith(prefix) and (after is None or key > after) and (last is None or key <= last)
            }
            return [(key, value) for key, value in sorted(found.items()) if value is not None], last


class DiskTable:
    """One table of a ledger (`node.ports.Table`)."""

    def __init__(self, ledger: DiskLedger, prefix: bytes) -> None:
        self._ledger = ledger
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        """The value under a key."""
        return self._ledger.get(self._prefix + key)

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value under a key."""
        self._ledger.change(self._prefix + key, value)

    def delete(self, key: bytes) -> None:
        """Delete a key, which need not be there."""
        self._ledger.change(self._prefix + key, None)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Items whose keys begin with `prefix`, in order of their keys. What is written meanwhile may or may not show."""
        whole = self._prefix + prefix
        after: bytes | None = None
        while True:
            items, after = self._ledger.some(whole, after)
            for key, value in items:
                yield key[len(self._prefix) :], value
            if after is None:
                return
