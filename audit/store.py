"""The Merkle log on disk: opaque segments, fat tiles and a head, in LMDB; used for audit logs and for datasets alike.

Layout, format 1, chosen for 10⁹ leaves on one machine:

    lock                     held by the one writer
    epochs/0000/data.mdb     an environment for about `epoch_leaves` leaves; the last one grows, the others are never written again
      head                   format, origin, first leaf, size; bottom rows of the unfinished tiles, one key a tile level
      segments               index of the first leaf, u64be → count u32be ‖ the caller's bytes
      tiles-0 … tiles-4      index of the tile, u64be → 510 nodes of 32 bytes; full tiles only
    epochs/new/              an epoch that is being made; it gets its number when it is whole, and whoever finds it so may delete it

A tile lies in the epoch in which it became full. A commit is one transaction in one environment, so it is there as a whole or not at
all; a segment never lies in two epochs. Keys only grow, so pages fill up. Opening reads the head records and nothing else.
"""

from __future__ import annotations

import shutil
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb

from audit.environment import DATA_FILE, WriterLock, writing
from audit.epoch import SEALED, TILE_LEVELS, Epoch, Head
from audit.errors import DiskFull, EntryArchived, StoreAbsent, StoreDamaged, StoreExists
from audit.files import disk_errors, make_directory, sync_directory
from audit.proofs import Nodes
from audit.residency import AROUND_BYTES
from audit.tiles import TILE_BYTES, FullTile, Rows, leaves_of_tile
from crypto.engine import Engine
from crypto.errors import EncodingInvalid
from crypto.merkle import HASH_SIZE, SM3_TREE, consistency_nodes, inclusion_nodes, range_nodes, tree_root

EPOCH_LEAVES = 1 << 26
MAP_BYTES = 64 << 30  # address space of an epoch; the file grows as it fills
MAX_SEGMENT_LEAVES = 1 << 24
_NEW = "new"
_SCAN_BYTES = 8 << 20  # of segments read in one transaction
_MAPPED_BYTES = 64 << 20  # that reading may have mapped
_KEY = struct.Struct(">Q")
_COUNT = struct.Struct(">I")

Segment = (
    bytes | Sequence[bytes]
)  # whole, or in parts that are laid end to end where it is written, which saves a copy of all of it
Append = tuple[bytes, Segment]  # leaf hashes, n × 32 bytes; segment


@dataclass(frozen=True)
class Prepared:
    """Appends that are hashed and laid out and not on disk. `base`: the rows they go on; `rows`: those that they lead to."""

    appends: Sequence[Append]
    base: Rows
    rows: Rows
    full: Sequence[FullTile]


class TreeStore:
    """A Merkle log. Made by `create` or `open`; one writer, any number of readers. Not for use across a fork.

    Reads may come from any thread while another appends: they see a size that was complete when they began.
    """

    def __init__(self, path: Path, engine: Engine, map_bytes: int, lock: WriterLock | None) -> None:
        self._path = path
        self._engine = engine
        self._map_bytes = map_bytes
        self._lock = lock
        self._epochs: list[Epoch] = []
        self._mapped_bytes = 0
        self._nodes = Nodes(self._tile)
        self._rows = Rows.empty()
        self.origin = ""
        self._epoch_leaves = EPOCH_LEAVES

    @classmethod
    def create(
        cls, path: Path, origin: str, engine: Engine, *, map_bytes: int = MAP_BYTES, epoch_leaves: int = EPOCH_LEAVES
    ) -> TreeStore:
        """A new, empty store. Raises StoreExists, StoreLocked, DiskFull."""
        make_directory(path)
        with disk_errors(path):
            store = cls(path, engine, map_bytes, WriterLock(path / "lock"))
        try:
            store._make(origin, epoch_leaves)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: Path, engine: Engine, *, map_bytes: int = MAP_BYTES, read_only: bool = False) -> TreeStore:
        """A store that exists. Raises StoreAbsent, StoreLocked, StoreVersion, StoreDamaged."""
        if not cls._names(path):
            raise StoreAbsent(f"there is no store in {path}", path=path)
        with disk_errors(path):
            store = cls(path, engine, map_bytes, None if read_only else WriterLock(path / "lock"))
        try:
            # Read again under the lock: its last holder may have begun an epoch meanwhile.
            store._load(cls._names(path), read_only=read_only)
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
        return rows.root() if size == rows.size else tree_root(SM3_TREE, self._nodes.reader(rows), size)

    def leaf_hash(self, index: int) -> bytes:
        """The hash of a leaf."""
        rows = self._rows
        self._check_index(rows, index)
        return self._nodes.reader(rows)(0, index)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion path of a leaf in the tree of the first `size` leaves."""
        rows = self._rows
        self._check_size(rows, size)
        if not 0 <= index < size:
            raise EncodingInvalid(f"a tree of {size} leaves has no leaf {index}")
        return self._nodes.path(rows, inclusion_nodes(index, size), size)

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The consistency path between the trees of the first `old_size` and `new_size` leaves."""
        rows = self._rows
        self._check_size(rows, new_size)
        if not 0 < old_size <= new_size:
            raise EncodingInvalid(f"no consistency path leads from {old_size} to {new_size} leaves")
        return self._nodes.path(rows, consistency_nodes(old_size, new_size), new_size)

    def subtrees(self, start: int, stop: int) -> list[bytes]:
        """The fewest complete subtrees over the leaves [start, stop), from left to right: what stands beside a range."""
        rows = self._rows
        self._check_size(rows, stop)
        read = self._nodes.reader(rows)
        return [read(*node) for node in range_nodes(start, stop)]

    def append(self, leaf_hashes: bytes, segment: Segment) -> int:
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
        return self.commit(self.prepare(appends))

    def prepare(self, appends: Sequence[Append], after: Prepared | None = None) -> Prepared:
        """The first half of an append: all hashing, no disk. May run while what is `after` is being committed."""
        for leaf_hashes, _ in appends:
            count, rest = divmod(len(leaf_hashes), HASH_SIZE)
            if rest or not 1 <= count <= MAX_SEGMENT_LEAVES:
                raise EncodingInvalid("a segment has from 1 to 2^24 leaf hashes of 32 bytes")
        base = self._rows if after is None else after.rows
        rows, full = base.extended(self._engine, b"".join(leaves for leaves, _ in appends))
        return Prepared(appends, base, rows, full)

    def is_next(self, prepared: Prepared) -> bool:
        """Whether it goes on the tree as it stands; if what it was prepared after did not come about, it does not."""
        return prepared.base is self._rows

    def commit(self, prepared: Prepared) -> int:
        """The second half: durable on return. Raises DiskFull; EncodingInvalid unless `is_next`."""
        if self._lock is None:
            raise EncodingInvalid("this store was opened for reading")
        if not self.is_next(prepared):
            raise EncodingInvalid("this was prepared for another state of the tree")
        epoch, first = self._epochs[-1], self.size
        if not epoch.is_open:
            epoch.mend(first)
        if first - epoch.first >= self._epoch_leaves or (first > epoch.first and epoch.is_nearly_full()):
            epoch = self._begin_epoch()
        try:
            with writing(epoch.environment) as transaction:
                self._put(transaction, epoch, prepared)
        except DiskFull:
            epoch.mend(first)
            raise
        # A crash before this line leaves either the old head or the new one on disk, and `open` reads whichever it is.
        self._rows = prepared.rows
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
            self._close_epochs()
            self._load(self._names(self._path), read_only=True)

    def close(self) -> None:
        """Close the environments and let go of the lock."""
        self._close_epochs()
        if self._lock is not None:
            self._lock.release()

    def _make(self, origin: str, epoch_leaves: int) -> None:
        if self._names(self._path):
            raise StoreExists(f"{self._path} holds a store already", path=self._path)
        self.origin, self._epoch_leaves = origin, epoch_leaves
        try:
            self._begin_epoch()
        except BaseException:
            # Whoever is told that there was no room finds nothing made.
            self._close_epochs()
            with suppress(OSError):
                self._place(0).rename(self._path / "epochs" / _NEW)
            raise

    def _place(self, number: int) -> Path:
        return self._path / "epochs" / f"{number:04}"

    @staticmethod
    def _names(path: Path) -> list[str]:
        """The names of the epochs that are there."""
        with disk_errors(path):
            try:
                return sorted(child.name for child in (path / "epochs").iterdir() if child.name[0].isdigit())
            except (FileNotFoundError, NotADirectoryError):
                return []

    def _load(self, names: Sequence[str], *, read_only: bool) -> None:
        head: Head | None = None
        for name in names:
            place = self._path / "epochs" / name
            with disk_errors(place):
                sealed = name != names[-1] and (place / DATA_FILE).stat().st_mode & 0o777 == SEALED
            epoch = Epoch(place, self._map_bytes, read_only=read_only, sealed=sealed)
            self._epochs.append(epoch)
            before, head = head, epoch.read_head()
            epoch.first = head.first
            if head.first != (before.size if before else 0):
                raise StoreDamaged(f"the store has no epoch with leaf {before.size if before else 0}", path=self._path)
            if name != names[-1] and not sealed and not read_only:
                # A kill between beginning an epoch and sealing the one before.
                with disk_errors(place):
                    epoch.seal()
        if head is None:
            raise StoreAbsent(f"there is no store in {self._path}", path=self._path)
        if self._epochs[-1].archived is not None:
            raise StoreDamaged("the open epoch of the store says that it is archived", path=self._path)
        self.origin, self._epoch_leaves = head.origin, head.epoch_leaves
        self._rows = Rows.rebuild(self._engine, head.size, head.bottoms)

    def _begin_epoch(self) -> Epoch:
        epochs = self._path / "epochs"
        new, place = epochs / _NEW, self._place(len(self._epochs))
        make_directory(epochs)
        with disk_errors(place):
            if not place.exists():
                # A crash before the renaming leaves what nobody reads, and this line removes.
                if new.exists():
                    shutil.rmtree(new)
                new.mkdir(mode=0o700)
                head = Head(self._epoch_leaves, self.size, self.size, self.origin, self._rows.bottoms())
                Epoch.make(new, self._map_bytes, head)
                new.rename(place)
            # Where this was refused, the next attempt comes here again: nothing is committed to a name that may yet be lost.
            sync_directory(epochs)
        epoch = Epoch(place, self._map_bytes, read_only=False)
        epoch.first = self.size
        self._epochs.append(epoch)
        if len(self._epochs) > 1:
            # A crash or a refusal here: the next opening seals it. Readers that are under way go on reading.
            with suppress(OSError):
                self._epochs[-2].seal()
        return epoch

    def _put(self, transaction: lmdb.Transaction, epoch: Epoch, prepared: Prepared) -> None:
        at = self.size
        for leaf_hashes, segment in prepared.appends:
            count = len(leaf_hashes) // HASH_SIZE
            parts = (segment,) if isinstance(segment, bytes) else segment
            value = b"".join((_COUNT.pack(count), *parts))
            transaction.put(_KEY.pack(at), value, db=epoch.segments, append=True)
            at += count
        for tile in prepared.full:
            transaction.put(_KEY.pack(tile.index), tile.nodes, db=epoch.tiles[tile.level], append=True)
        # Of the bottom rows those are written that changed; the lowest always does.
        bottoms = prepared.rows.bottoms()
        changed = {0} | {tile.level + step for tile in prepared.full for step in (0, 1)}
        rows = {level: bottoms.get(level, b"") for level in changed if level < TILE_LEVELS}
        epoch.put_head(transaction, Head(self._epoch_leaves, epoch.first, prepared.rows.size, self.origin, rows))

    def _scan(self, epoch: Epoch, start: int, stop: int) -> Iterator[tuple[int, int, bytes]]:
        if epoch.archived is not None:
            raise EntryArchived(f"entry {start} is archived in {epoch.archived}", index=start, archive=epoch.archived)
        found: list[tuple[int, int, bytes]] = []
        with epoch.reading() as transaction, transaction.cursor(db=epoch.segments) as cursor:
            # The segment that holds `start` begins at it or before it.
            there = cursor.set_range(_KEY.pack(start))
            if not there or cursor.key() != _KEY.pack(start):
                there = cursor.prev() if there else cursor.last()
            size = 0
            while there and size < _SCAN_BYTES:
                (first,) = _KEY.unpack(cursor.key())
                if first >= stop:
                    break
                value = cursor.value()
                (count,) = _COUNT.unpack_from(value)
                found.append((first, count, bytes(value[_COUNT.size :])))
                size += len(value)
                there = cursor.next()
        if not found or not found[0][0] <= start < found[0][0] + found[0][1]:
            raise StoreDamaged(f"the store has no segment with leaf {start}", path=self._path)
        self._has_read(size)
        yield from found

    def _has_read(self, size: int) -> None:
        """Keep bounded what reading has mapped. An addition that another thread undoes delays it, no more."""
        # Around the value, and around the page that leads to it.
        self._mapped_bytes += size + 2 * AROUND_BYTES
        if self._mapped_bytes > _MAPPED_BYTES:
            self._mapped_bytes = 0
            for epoch in self._epochs:
                epoch.let_go_of_pages()

    def _tile(self, level: int, index: int) -> bytes:
        epoch = self._epoch_of(leaves_of_tile(level, index) - 1)
        with epoch.reading() as transaction:
            tile = bytes(transaction.get(_KEY.pack(index), b"", db=epoch.tiles[level]))
        if len(tile) != TILE_BYTES:
            raise StoreDamaged(f"the store has no tile {level}/{index}", path=self._path)
        self._has_read(TILE_BYTES)
        return tile

    def _epoch_of(self, index: int) -> Epoch:
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
            epoch.close()
        self._epochs = []
