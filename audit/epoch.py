"""One epoch of a store: an LMDB environment with the head, the segments and the tiles of a run of leaves.

What a crash, a disk that refuses and a file that is damaged mean for LMDB is dealt with here, so that `store` sees epochs that are whole.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb

from audit.environment import DATA_FILE, mapped, open_environment, writing
from audit.errors import StoreAbsent, StoreDamaged, StoreVersion
from audit.files import disk_errors, sync_directory
from audit.residency import MappedPages

FORMAT = 1
TILE_LEVELS = 5  # 256^5 = 2^40 leaves
SEALED = 0o400  # mode of the file of a full epoch
_DATABASES = (b"head", b"segments", *(b"tiles-%d" % level for level in range(TILE_LEVELS)))
ARCHIVED = b"archived"  # key beside the head of an epoch without segments: where they are, as text
_RECORD = struct.Struct(">HQQQ")  # format, epoch leaves, first leaf of this epoch, size


@dataclass(frozen=True)
class Head:
    """What an epoch says of the tree. `first`: its first leaf; `bottoms`: the bottom rows of the unfinished tiles, by tile level."""

    epoch_leaves: int
    first: int
    size: int
    origin: str
    bottoms: dict[int, bytes]


class Epoch:
    """An environment. A sealed one is never written again, so it needs no lock file.

    Attributes:
        first: the index of its first leaf.
        archived: where the segments are if they are not here (`archive`), or None.
        environment, segments, tiles: LMDB's handles; there are no segments where they are archived.
    """

    def __init__(self, path: Path, map_bytes: int, *, read_only: bool, sealed: bool = False) -> None:
        self._path = path
        self._map_bytes = map_bytes
        self._read_only = read_only or sealed
        self._sealed = sealed
        self._open = False
        self._closing = threading.Lock()
        self._pages: MappedPages | None = None
        self.first = 0
        self._connect()

    @staticmethod
    def make(path: Path, map_bytes: int, head: Head) -> None:
        """Write a new epoch's databases and first head, in one commit, into an empty directory. Raises DiskFull."""
        with disk_errors(path):
            environment = open_environment(path, len(_DATABASES), map_bytes)
        try:
            with writing(environment) as transaction:
                database = {name: environment.open_db(name, txn=transaction) for name in _DATABASES}[b"head"]
                transaction.put(b"origin", head.origin.encode(), db=database)
                _put_head(transaction, database, head)
        finally:
            environment.close()
        sync_directory(path)

    def read_head(self) -> Head:
        """The head record. Raises StoreVersion, StoreDamaged."""
        names = (b"head", b"origin", *(b"row-%d" % level for level in range(TILE_LEVELS)))
        with self.reading() as transaction:
            raw, origin, *rows = (bytes(transaction.get(name, b"", db=self._head)) for name in names)
        if not origin or len(raw) != _RECORD.size:
            raise StoreDamaged("the store has no head record", path=self._path)
        form, epoch_leaves, first, size = _RECORD.unpack(raw)
        if form != FORMAT:
            raise StoreVersion(f"the store is of format {form}, this program writes {FORMAT}", path=self._path)
        try:
            name = origin.decode()
        except UnicodeDecodeError as cause:
            raise StoreDamaged("the store's origin is no text", path=self._path) from cause
        return Head(epoch_leaves, first, size, name, {level: row for level, row in enumerate(rows) if row})

    def put_head(self, transaction: lmdb.Transaction, head: Head) -> None:
        """Write the head record; `bottoms` of those levels that changed, an empty one where a tile became full."""
        _put_head(transaction, self._head, head)

    @contextmanager
    def reading(self) -> Iterator[lmdb.Transaction]:
        """A read transaction; the values that it gives are views, good as long as it lasts. Raises StoreDamaged."""
        try:
            with self.environment.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as cause:
            raise mapped(cause, self._path) from cause

    @property
    def is_open(self) -> bool:
        """Whether it can be used; it cannot where mending it was refused."""
        return self._open

    def is_nearly_full(self) -> bool:
        """Whether the next batch may find no address space left; a new epoch begins before that."""
        info = self.environment.info()
        used = (info["last_pgno"] + 1) * self.environment.stat()["psize"]
        return bool(8 * used > 7 * info["map_size"])

    def mend(self, size: int) -> None:
        """Make it usable again after a refused commit; it must have `size` leaves still, as if that commit had never begun.

        LMDB gives an environment up when it could not write the meta page. Opened anew it has the state before.
        """
        if self._open:
            try:
                self.environment.begin(write=True).abort()
            except lmdb.PanicError:
                self.close()
            except lmdb.Error as cause:
                raise mapped(cause, self._path) from cause
        if not self._open:
            self._connect()
        if self.read_head().size != size:
            raise StoreDamaged("the disk has kept a batch that it had refused", path=self._path)

    def seal(self) -> None:
        """Nothing is written to it any more; the file says so, too."""
        (self._path / DATA_FILE).chmod(SEALED)

    def let_go_of_pages(self) -> None:
        """Unmap what was read through the map: it would count as this process's memory for good. Readers go on."""
        # Not while it is being closed: what lies at the map's place afterwards is not ours to touch.
        with self._closing:
            if not self._open:
                return
            if self._pages is None:
                with self.reading() as transaction:
                    self._pages = MappedPages(memoryview(transaction.get(b"head", b"", db=self._head)))
            self._pages.let_go()

    def close(self) -> None:
        """Close the environment; readers that are under way get StoreDamaged."""
        with self._closing:
            self._open = False
            self._pages = None
            self.environment.close()

    def _connect(self) -> None:
        file = self._path / DATA_FILE
        if not file.exists():
            raise StoreAbsent(f"there is no {file}", path=file)
        with disk_errors(file):
            if not file.stat().st_size:
                # LMDB would take it for a new one, and begin it.
                raise StoreDamaged("an epoch of the store is an empty file", path=self._path)
            self.environment = open_environment(
                self._path, len(_DATABASES), self._map_bytes, read_only=self._read_only, lock=not self._sealed
            )
        try:
            self._head = self.environment.open_db(b"head", create=False)
            with self.environment.begin() as transaction:
                place = transaction.get(ARCHIVED, db=self._head)
            self.archived = None if place is None else place.decode("utf-8", errors="replace")
            names = [name for name in _DATABASES if place is None or name != b"segments"]
            handles = {name: self.environment.open_db(name, create=False) for name in names}
        except lmdb.Error as cause:
            self.close()
            raise mapped(cause, self._path) from cause
        except BaseException:
            self.close()
            raise
        self.segments = handles.get(b"segments")
        self.tiles = [handles[b"tiles-%d" % level] for level in range(TILE_LEVELS)]
        self._open = True


def _put_head(transaction: lmdb.Transaction, database: Any, head: Head) -> None:  # noqa: ANN401 - py-lmdb exports no name for a database
    transaction.put(b"head", _RECORD.pack(FORMAT, head.epoch_leaves, head.first, head.size), db=database)
    for level, row in head.bottoms.items():
        transaction.put(b"row-%d" % level, row, db=database)
