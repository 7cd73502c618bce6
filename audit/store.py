"""The Merkle log on disk: opaque segments, fat tiles and a head, in LMDB; used for audit logs and for datasets alike.

Layout, format 1, chosen for 10⁹ leaves on one machine:

    lock                     held by the one writer
    epochs/0000/data.mdb     an environment for about `epoch_leaves` leaves; the last one grows, the others are never written again
      head                   format, origin, first leaf, size; bottom rows of the unfinished tiles, one key a tile level
      segments               index of the first leaf, u64be → count u32be ‖ the caller's bytes
      tiles-0 … tiles-4      index of the tile, u64be → 510 nodes of 32 bytes; full tiles only

A tile lies in the epoch in which it became full. A commit is one transaction in one environment, so it is there as a whole or not at
all; a segment never lies in two epochs. Keys only grow, so pages fill up. Opening reads the head record and nothing else.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lmdb

from audit.environment import DATA_FILE, WriterLock, mapped, open_environment, writing
from audit.errors import StoreAbsent, StoreDamaged, StoreExists, StoreVersion
from audit.tiles import TILE_BYTES, FullTile, Rows, leaves_of_tile, node_in_tile, tile_of
from crypto.engine import Engine
from crypto.errors import EncodingInvalid
from crypto.merkle import HASH_SIZE, SM3_TREE, NodeReader, consistency_path, inclusion_path, tree_root

FORMAT = 1
EPOCH_LEAVES = 1 << 26
MAP_BYTES = 64 << 30  # address space of an epoch; the file grows as it fills
TILE_LEVELS = 5  # 256^5 = 2^40 leaves
MAX_SEGMENT_LEAVES = 1 << 24
_DATABASES = 2 + TILE_LEVELS
_HEAD = struct.Struct(">HQQQ")  # format, epoch leaves, first leaf of this epoch, size
_KEY = struct.Struct(">Q")
_COUNT = struct.Struct(">I")

Append = tuple[bytes, bytes]  # leaf hashes, n × 32 bytes; segment


@dataclass(frozen=True)
class _Head:
    epoch_leaves: int
    first: int
    size: int
    origin: str
    bottoms: dict[int, bytes]


class _Epoch:
    """One environment. `first`: the index of its first leaf."""

    def __init__(self, path: Path, map_bytes: int, *, read_only: bool) -> None:
        self.environment = open_environment(path, _DATABASES, map_bytes, read_only=read_only)
        try:
            # In a read-only environment a database that is absent cannot be made; that store is damaged.
            self.head = self.environment.open_db(b"head")
            self.segments = self.environment.open_db(b"segments")
            self.tiles = [self.environment.open_db(b"tiles-%d" % level) for level in range(TILE_LEVELS)]
        except lmdb.Error as cause:
            self.environment.close()
            raise mapped(cause, path) from cause
        self.first = 0

    def read_head(self) -> _Head:
        with self.environment.begin() as transaction:
            raw = transaction.get(b"head", db=self.head)
            origin = transaction.get(b"origin", db=self.head)
            rows = [transaction.get(b"row-%d" % level, db=self.head) for level in range(TILE_LEVELS)]
        if raw is None or origin is None or len(raw) != _HEAD.size:
            raise StoreDamaged("the store has no head record", path=self.environment.path())
        form, epoch_leaves, first, size = _HEAD.unpack(raw)
        if form != FORMAT:
            raise StoreVersion(
                f"the store is of format {form}, this program writes {FORMAT}", path=self.environment.path()
            )
        bottoms = {level: bytes(row) for level, row in enumerate(rows) if row}
        return _Head(epoch_leaves, first, size, bytes(origin).decode(), bottoms)


class TreeStore:
    """A Merkle log. Made by `create` or `open`; one writer, any number of readers. Not for use across a fork.

    Reads may come from any thread while another appends: they see a size that was complete when they began.
    """

    def __init__(self, path: Path, engine: Engine, map_bytes: int, lock: WriterLock | None) -> None:
        self._path = path
        self._engine = engine
        self._map_bytes = map_bytes
        self._lock = lock
        self._epochs: list[_Epoch] = []
        self._rows = Rows.empty()
        self.origin = ""
        self._epoch_leaves = EPOCH_LEAVES

    @classmethod
    def create(
        cls, path: Path, origin: str, engine: Engine, *, map_bytes: int = MAP_BYTES, epoch_leaves: int = EPOCH_LEAVES
    ) -> TreeStore:
        """A new, empty store. Raises StoreExists, StoreLocked, DiskFull."""
        if (path / "epochs").exists():
            raise StoreExists(f"{path} holds a store already", path=path)
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = cls(path, engine, map_bytes, WriterLock(path / "lock"))
        try:
            store.origin, store._epoch_leaves = origin, epoch_leaves
            store._begin_epoch()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, engine: Engine, *, map_bytes: int = MAP_BYTES, read_only: bool = False) -> TreeStore:
        """A store that exists. Raises StoreAbsent, StoreLocked, StoreVersion, StoreDamaged."""
        names = sorted(child.name for child in (path / "epochs").glob("[0-9]*")) if path.is_dir() else []
        if not names or not (path / "epochs" / names[0] / DATA_FILE).exists():
            raise StoreAbsent(f"there is no store in {path}", path=path)
        store = cls(path, engine, map_bytes, None if read_only else WriterLock(path / "lock"))
        try:
            store._load(names, read_only=read_only)
        except BaseException:
            store.close()
            raise
        return store

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._rows.size

    def root(self) -> bytes:
        """The root over all leaves."""
        return self._rows.root()

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` leaves."""
        rows = self._rows
        self._check_size(rows, size)
        return rows.root() if size == rows.size else tree_root(SM3_TREE, self._reader(rows), size)

    def leaf_hash(self, index: int) -> bytes:
        """The hash of a leaf."""
        rows = self._rows
        self._check_index(rows, index)
        return self._read(rows, 0, index)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion path of a leaf in the tree of the first `size` leaves."""
        rows = self._rows
        self._check_size(rows, size)
        if not 0 <= index < size:
            raise EncodingInvalid(f"a tree of {size} leaves has no leaf {index}")
        return inclusion_path(SM3_TREE, self._reader(rows), index, size)

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The consistency path between the trees of the first `old_size` and `new_size` leaves."""
        rows = self._rows
        self._check_size(rows, new_size)
        if not 0 < old_size <= new_size:
            raise EncodingInvalid(f"no consistency path leads from {old_size} to {new_size} leaves")
        return consistency_path(SM3_TREE, self._reader(rows), old_size, new_size)

    def append(self, leaf_hashes: bytes, segment: bytes) -> int:
        """Append one segment and the hashes of its leaves, durable on return; gives the first leaf's index."""
        return self.append_many([(leaf_hashes, segment)])

    def append_many(self, appends: Sequence[Append]) -> int:
        """Append segments in one transaction with one sync: all of them, or on any error none.

        Returns:
            The index of the first leaf.

        Raises:
            DiskFull: nothing was changed; appending works again when there is room.
            EncodingInvalid: a segment without leaves or with more than 2²⁴.
        """
        for leaf_hashes, _ in appends:
            count, rest = divmod(len(leaf_hashes), HASH_SIZE)
            if rest or not 1 <= count <= MAX_SEGMENT_LEAVES:
                raise EncodingInvalid("a segment has from 1 to 2^24 leaf hashes of 32 bytes")
        if self._lock is None:
            raise EncodingInvalid("this store was opened for reading")
        epoch = self._epochs[-1]
        if self.size - epoch.first >= self._epoch_leaves:
            epoch = self._begin_epoch()
        first = self.size
        rows, full = self._rows.extended(self._engine, b"".join(leaves for leaves, _ in appends))
        with writing(epoch.environment) as transaction:
            at = first
            for leaf_hashes, segment in appends:
                count = len(leaf_hashes) // HASH_SIZE
                value = _COUNT.pack(count) + segment
                transaction.put(_KEY.pack(at), value, db=epoch.segments, append=True)
                at += count
            for tile in full:
                transaction.put(_KEY.pack(tile.index), tile.nodes, db=epoch.tiles[tile.level], append=True)
            self._put_head(transaction, epoch, rows, full)
        # A crash before this line leaves either the old head or the new one on disk, and `open` reads whichever it is.
        self._rows = rows
        return first

    def segment_at(self, index: int) -> tuple[int, int, bytes]:
        """(index of its first leaf, number of leaves, bytes) of the segment that holds a leaf."""
        self._check_index(self._rows, index)
        return next(self.segments(index, index + 1))

    def segments(self, start: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
        """(first leaf, number of leaves, bytes) of the segments that hold leaves start to stop, in order."""
        stop = min(stop, self.size)
        while start < stop:
            epoch = self._epoch_of(start)
            # A batch a transaction: a reader that stays open would keep old pages from being reused.
            for first, count, segment in self._scan(epoch, start, stop):
                yield first, count, segment
                start = first + count

    def refresh(self) -> None:
        """For a store opened for reading: see what the writer has appended since."""
        if self._lock is None:
            names = sorted(child.name for child in (self._path / "epochs").glob("[0-9]*"))
            self._close_epochs()
            self._load(names, read_only=True)

    def close(self) -> None:
        """Close the environments and let go of the lock."""
        self._close_epochs()
        if self._lock is not None:
            self._lock.release()

    def _load(self, names: Sequence[str], *, read_only: bool) -> None:
        head: _Head | None = None
        for name in names:
            epoch = _Epoch(self._path / "epochs" / name, self._map_bytes, read_only=read_only)
            self._epochs.append(epoch)
            try:
                head = epoch.read_head()
            except StoreDamaged:
                # A kill between making a new epoch and its first commit leaves it empty, and the one before is the last.
                if len(self._epochs) < len(names) or head is None:
                    raise
                self._put_first_head(epoch, head)
                head = epoch.read_head()
            epoch.first = head.first
        if head is None:
            raise StoreAbsent(f"there is no store in {self._path}", path=self._path)
        self.origin, self._epoch_leaves = head.origin, head.epoch_leaves
        self._rows = Rows.rebuild(self._engine, head.size, head.bottoms)

    def _begin_epoch(self) -> _Epoch:
        path = self._path / "epochs" / f"{len(self._epochs):04}"
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        epoch = _Epoch(path, self._map_bytes, read_only=False)
        epoch.first = self.size
        head = _Head(self._epoch_leaves, self.size, self.size, self.origin, self._rows.bottoms())
        self._put_first_head(epoch, head)
        self._epochs.append(epoch)
        return epoch

    def _put_first_head(self, epoch: _Epoch, head: _Head) -> None:
        epoch.first = head.size
        with writing(epoch.environment) as transaction:
            record = _HEAD.pack(FORMAT, head.epoch_leaves, head.size, head.size)
            transaction.put(b"head", record, db=epoch.head)
            transaction.put(b"origin", head.origin.encode(), db=epoch.head)
            for level, row in head.bottoms.items():
                transaction.put(b"row-%d" % level, row, db=epoch.head)

    def _put_head(self, transaction: lmdb.Transaction, epoch: _Epoch, rows: Rows, full: Sequence[FullTile]) -> None:
        record = _HEAD.pack(FORMAT, self._epoch_leaves, epoch.first, rows.size)
        transaction.put(b"head", record, db=epoch.head)
        bottoms = rows.bottoms()
        changed = {0} | {tile.level for tile in full} | {tile.level + 1 for tile in full}
        for level in sorted(changed & set(range(TILE_LEVELS))):
            transaction.put(b"row-%d" % level, bottoms.get(level, b""), db=epoch.head)

    def _scan(self, epoch: _Epoch, start: int, stop: int, batch: int = 64) -> Iterator[tuple[int, int, bytes]]:
        found: list[tuple[int, int, bytes]] = []
        with epoch.environment.begin() as transaction, transaction.cursor(db=epoch.segments) as cursor:
            # The segment that holds `start` begins at it or before it.
            there = cursor.set_range(_KEY.pack(start))
            if not there or cursor.key() != _KEY.pack(start):
                there = cursor.prev() if there else cursor.last()
            while there and len(found) < batch:
                (first,) = _KEY.unpack(cursor.key())
                value = cursor.value()
                (count,) = _COUNT.unpack_from(value)
                if first >= stop:
                    break
                found.append((first, count, value[_COUNT.size :]))
                there = cursor.next()
        if not found or not found[0][0] <= start < found[0][0] + found[0][1]:
            raise StoreDamaged(f"the store has no segment with leaf {start}", path=self._path)
        yield from found

    def _reader(self, rows: Rows) -> NodeReader:
        return partial(self._read, rows)

    def _read(self, rows: Rows, level: int, index: int) -> bytes:
        """A complete node of the tree."""
        held = rows.node(level, index)
        if held is not None:
            return held
        tile_level, tile_index = tile_of(level, index)
        epoch = self._epoch_of(leaves_of_tile(tile_level, tile_index) - 1)
        with epoch.environment.begin() as transaction:
            tile = transaction.get(_KEY.pack(tile_index), db=epoch.tiles[tile_level])
        if tile is None or len(tile) != TILE_BYTES:
            raise StoreDamaged(f"the store has no tile {tile_level}/{tile_index}", path=self._path)
        return node_in_tile(tile, level, index)

    def _epoch_of(self, index: int) -> _Epoch:
        return self._epochs[bisect_right(self._epochs, index, key=lambda epoch: epoch.first) - 1]

    @staticmethod
    def _check_size(rows: Rows, size: int) -> None:
        if not 0 <= size <= rows.size:
            raise EncodingInvalid(f"the log has {rows.size} leaves, not {size}")

    @staticmethod
    def _check_index(rows: Rows, index: int) -> None:
        if not 0 <= index < rows.size:
            raise EncodingInvalid(f"the log has {rows.size} leaves and none at {index}")

    def _close_epochs(self) -> None:
        for epoch in self._epochs:
            epoch.environment.close()
        self._epochs = []
