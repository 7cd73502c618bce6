"""Stores in memory, behind the ports: what they hold outlives the node object, as a disk outlives a process."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Lock

from audit.errors import DiskFull
from crypto.engine import Engine
from crypto.merkle import SM3_TREE, inclusion_nodes, merkle_levels, range_nodes
from crypto.packed import Packed
from crypto.seal import open_record, seal_segments
from crypto.sm3 import sm3
from node.errors import DatasetPurged, DatasetUnknown, FetchUnfinished
from node.ports import Staging

SEGMENT_RECORDS = 4


class Killed(Exception):
    """The process is gone."""


class Fuse:
    """Counts a node's durable steps and kills the node before or after one of them. 0: never.

    Points 2n - 1 and 2n stand before and after the n-th step: the fault matrix is failure × {persisted, not}.
    """

    def __init__(self, kill_at: int = 0) -> None:
        self.points = 0
        self._kill_at = kill_at
        self.is_blown = False
        self.labels: list[str] = []

    def step(self, label: str, act: Callable[[], None]) -> None:
        """Do a durable act, unless the node dies before it; it may die after."""
        self._burn(f"before {label}")
        act()
        self._burn(f"after {label}")

    def _burn(self, label: str) -> None:
        self.points += 1
        self.labels.append(label)
        if self.is_blown or self.points == self._kill_at:
            self.is_blown = True
            raise Killed(label)


class MemoryLog:
    """An audit log whose entries are on `disk` at once. `fail_next`: entries that a full disk refuses."""

    def __init__(self, disk: list[bytes], fuse: Fuse) -> None:
        self.disk = disk
        self._fuse = fuse
        self._lock = Lock()
        self.on_commit: Callable[[int, Sequence[bytes]], None] = lambda _first, _entries: None
        self.fail_next = 0

    @property
    def size(self) -> int:
        return len(self.disk)

    def submit(self, entry: bytes) -> Future[int]:
        future: Future[int] = Future()
        with self._lock:
            if self.fail_next:
                self.fail_next -= 1
                future.set_exception(DiskFull("the disk is full"))
                return future
            event = entry.split(b"\n", 3)[2].decode()
            try:
                self._fuse.step(event, lambda: self.disk.append(entry))
                self.on_commit(len(self.disk) - 1, [entry])
            except Killed as killed:
                future.set_exception(killed)
                return future
            future.set_result(len(self.disk) - 1)
        return future

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        return iter(self.disk[start:stop])

    def entry(self, index: int) -> bytes:
        return self.disk[index]


class MemoryTree:
    """The tree over such a log."""

    def __init__(self, disk: list[bytes], engine: Engine) -> None:
        self._disk = disk
        self._engine = engine

    @property
    def size(self) -> int:
        return len(self._disk)

    def root_at(self, size: int) -> bytes:
        return self._levels(size)[-1] if size else SM3_TREE.empty()

    def inclusion(self, index: int, size: int) -> list[bytes]:
        levels = self._levels(size)
        return [levels[level][32 * at : 32 * at + 32] for level, at in inclusion_nodes(index, size)]

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        from crypto.merkle import consistency_path  # noqa: PLC0415  # used by few tests

        levels = self._levels(new_size)
        return consistency_path(SM3_TREE, lambda level, at: levels[level][32 * at : 32 * at + 32], old_size, new_size)

    def subtrees(self, start: int, stop: int) -> list[bytes]:
        levels = self._levels(len(self._disk))
        return [levels[level][32 * at : 32 * at + 32] for level, at in range_nodes(start, stop)]

    def _levels(self, size: int) -> list[bytes]:
        leaves = b"".join(SM3_TREE.leaf(entry) for entry in self._disk[:size])
        return merkle_levels(self._engine, leaves)


class MemoryTable:
    """An ordered map."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        self.rows.pop(key, None)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(self.rows):
            if key.startswith(prefix):
                yield key, self.rows[key]


class MemoryLedgerStore:
    """The ledger's tables."""

    def __init__(self) -> None:
        self.applied = 0
        self.tables: dict[str, MemoryTable] = {}

    def table(self, name: str) -> MemoryTable:
        return self.tables.setdefault(name, MemoryTable())

    def advance(self, applied: int) -> None:
        self.applied = applied


class MemoryDataset:
    """One dataset: small segments, so that few records make many."""

    def __init__(self, dataset_id: bytes, engine: Engine) -> None:
        self.dataset_id = dataset_id
        self._engine = engine
        self.firsts: list[int] = []
        self.sealed: list[bytes] = []
        self.keys: list[bytes] = []  # secret of each segment
        self.leaves = b""
        self.index: dict[str, list[int]] = {}
        self.is_shredded = False

    def destroy(self) -> None:
        """Leave nothing; whoever holds it is refused."""
        self.is_shredded = True
        self.firsts, self.sealed, self.keys, self.leaves, self.index = [], [], [], b"", {}

    def check_whole(self) -> None:
        """Raise DatasetPurged after `destroy`."""
        if self.is_shredded:
            raise DatasetPurged("the dataset is purged")

    @property
    def size(self) -> int:
        return len(self.leaves) // 32

    def root(self, size: int) -> bytes:
        return merkle_levels(self._engine, self.leaves[: 32 * size])[-1] if size else SM3_TREE.empty()

    def blobs(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for at in self._covering(start, stop):
            self.check_whole()
            yield self.firsts[at], self.sealed[at]

    def secrets(self, start: int, stop: int) -> bytes:
        return b"".join(self.keys[at] for at in self._covering(start, stop))

    def digests(self, start: int, stop: int) -> bytes:
        return self._engine.sm3_many(Packed.of(blob for _, blob in self.blobs(start, stop)))

    def find(self, key: str, size: int) -> int | None:
        self.check_whole()
        found = [index for index in self.index.get(key, []) if index < size]
        return found[-1] if found else None

    def open_record(self, index: int) -> tuple[bytes, bytes, bytes]:
        self.check_whole()
        at = bisect_right(self.firsts, index) - 1
        return open_record(self._engine, self.keys[at], self.sealed[at], index)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        levels = merkle_levels(self._engine, self.leaves[: 32 * size])
        return [levels[level][32 * at : 32 * at + 32] for level, at in inclusion_nodes(index, size)]

    def begin_append(self) -> Staging:
        self.check_whole()
        return MemoryStaging(self)

    def extend(self, records: list[bytes], keys: list[str]) -> None:
        """Seal and append."""
        start = self.size
        groups = [records[at : at + SEGMENT_RECORDS] for at in range(0, len(records), SEGMENT_RECORDS)]
        segments = []
        position = start
        for group in groups:
            segments.append((position, Packed.of(group)))
            position += len(group)
        secrets = os.urandom(32 * len(groups))
        blobs, leaves = seal_segments(self._engine, self.dataset_id, secrets, os.urandom(12 * len(groups)), segments)
        self.firsts += [first for first, _ in segments]
        self.sealed += blobs
        self.keys += [secrets[at : at + 32] for at in range(0, len(secrets), 32)]
        self.leaves += leaves
        for offset, key in enumerate(keys):
            self.index.setdefault(key, []).append(start + offset)

    def _covering(self, start: int, stop: int) -> range:
        self.check_whole()
        first = bisect_right(self.firsts, start) - 1
        last = bisect_right(self.firsts, stop - 1)
        return range(first, last)


class MemoryStaging:
    """A version to be."""

    def __init__(self, dataset: MemoryDataset) -> None:
        self._dataset = dataset
        self._records: list[bytes] = []
        self._keys: list[str] = []

    @property
    def size(self) -> int:
        return self._dataset.size + len(self._records)

    def add(self, records: Packed, keys: Packed | None) -> None:
        self._records += list(records)
        self._keys += [key.decode() for key in keys] if keys is not None else []

    def commit(self) -> int:
        self._dataset.extend(self._records, self._keys)
        return self._dataset.size

    def abandon(self) -> None:
        self._records, self._keys = [], []


class MemoryDatasets:
    """A provider's datasets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.held: dict[bytes, MemoryDataset] = {}
        self.step: Callable[[str, Callable[[], None]], None] = lambda _, act: act()

    def create(self, dataset_id: bytes) -> MemoryDataset:
        if dataset_id in self.held:
            self.held[dataset_id].check_whole()
        return self.held.setdefault(dataset_id, MemoryDataset(dataset_id, self._engine))

    def open(self, dataset_id: bytes) -> MemoryDataset:
        if dataset_id not in self.held:
            raise DatasetUnknown("this node holds no such dataset")
        self.held[dataset_id].check_whole()
        return self.held[dataset_id]

    def shred(self, dataset_id: bytes) -> int:
        held = self.held.setdefault(dataset_id, MemoryDataset(dataset_id, self._engine))
        destroyed = sum(map(len, held.sealed))
        if not held.is_shredded:
            self.step("shred", held.destroy)
        return destroyed

    def ids(self) -> Sequence[bytes]:
        return list(self.held)


class VaultDisk:
    """What is on disk for one grant."""

    def __init__(self) -> None:
        self.order_id = b""
        self.segments: dict[int, list[bytes]] = {}
        self.keys: dict[int, bytes] = {}
        self.plaintext: dict[int, Packed] = {}
        self.finished: tuple[bytes, int] | None = None


class MemoryVault:
    """A vault whose every write may be the node's last."""

    def __init__(self, disk: VaultDisk, fuse: Fuse) -> None:
        self._disk = disk
        self._fuse = fuse

    def begin(self, order_id: bytes) -> None:
        def act() -> None:
            if self._disk.order_id != order_id:
                self._disk.order_id, self._disk.plaintext, self._disk.finished = order_id, {}, None

        self._fuse.step("begin", act)

    def store_segments(self, sequence: int, blobs: Sequence[bytes]) -> None:
        self._fuse.step("segments", lambda: self._disk.segments.__setitem__(sequence, list(blobs)))

    def segments(self, sequence: int) -> Sequence[bytes] | None:
        return self._disk.segments.get(sequence)

    def store_keys(self, sequence: int, wrapped_secrets: bytes) -> None:
        self._fuse.step("keys", lambda: self._disk.keys.__setitem__(sequence, wrapped_secrets))

    def keys(self, sequence: int) -> bytes | None:
        return self._disk.keys.get(sequence)

    def released_digest(self, sequence: int) -> bytes | None:
        held = self._disk.keys.get(sequence)
        return None if held is None else sm3(held)

    def write_plaintext(self, sequence: int, records: Packed, leaf_hashes: bytes) -> None:
        assert len(leaf_hashes) == 32 * len(records)
        self._fuse.step("plaintext", lambda: self._disk.plaintext.__setitem__(sequence, records))

    def finish(self, root: bytes, size: int) -> str:
        self._fuse.step("finish", lambda: setattr(self._disk, "finished", (root, size)))
        return "records.jsonl"

    def records(self) -> Iterator[Packed]:
        if self._disk.finished is None:
            raise FetchUnfinished("nothing is finished")
        return iter([self._disk.plaintext[sequence] for sequence in sorted(self._disk.plaintext)])
