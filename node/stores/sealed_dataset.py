"""One dataset of this provider (`node.ports.DatasetStore`): a Merkle log of sealed segments, an index beside it, and the steps
by which a publication becomes part of both.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from audit.errors import DiskFull, StoreDamaged, StoreLocked
from audit.files import disk_errors, sync_directory
from audit.store import TreeStore
from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.seal import open_record, segment_header
from node.errors import DatasetPurged, RangeInvalid
from node.ports import Random
from node.stores.at_rest import AtRest
from node.stores.dataset_index import HASH_SIZE, DatasetIndex, Row
from node.stores.dataset_keys import DatasetKeys
from node.stores.environment import GIGABYTE
from node.stores.gate import Gate
from node.stores.key_index import key_digest
from node.stores.memory import give_back
from node.stores.publication import (
    Frame,
    PublicationWriter,
    count_records,
    partial_path,
    read_frames,
    read_start,
    ready_path,
)
from node.stores.staging import SealedStaging, StagingPlace

_APPEND_BYTES = 16 * 1024 * 1024  # of segments in one transaction of the tree
_INDEX_KEYS = 1 << 19  # keys in one transaction of the index: sorted together, so that each page is written once
_BLOBS_AT_ONCE = 16  # segments read in one go
_REMAP_BYTES = 64 * 1024 * 1024  # read, before the environments are opened anew
_HEADROOM = 64 * 1024 * 1024  # bytes of disk to be left free


def free_bytes(path: Path) -> int:
    """Bytes that are free where `path` lies."""
    return shutil.disk_usage(path).free


@dataclass(frozen=True)
class DatasetMeans:
    """What datasets are made with.

    Attributes:
        engine: what computes.
        random: randomness.
        at_rest: gives the node's at-rest keys, which may be others from one call to the next.
        map_bytes: address space for each dataset's tree and index; disk is used as they fill.
        max_publish_bytes: sealed bytes that one publication may have.
        free_bytes: how much room there is.
    """

    engine: Engine
    random: Random
    at_rest: AtRest
    map_bytes: int = 64 * GIGABYTE
    max_publish_bytes: int = 4 * GIGABYTE
    free_bytes: Callable[[Path], int] = free_bytes


class SealedDataset:
    """One dataset. Reads are safe from any thread, also while a version is staged and committed; one staging at a time.

    LMDB keeps the pages that it wrote, and the kernel maps those that were read, for as long as an environment is open. So both
    environments are opened anew after a publication, and after so many bytes were read: a node's memory stays as it is, whatever it serves.
    """

    def __init__(self, path: Path, dataset_id: bytes, means: DatasetMeans) -> None:
        self._path = path
        self._id = dataset_id
        self._means = means
        self._keys = DatasetKeys(means.engine, means.random, means.at_rest, dataset_id)
        self._opened_index_secret: bytes | None = None
        self._staging = threading.Lock()
        self._gate = Gate()
        self._bytes_read = 0  # since the environments were opened
        self._is_retired = False
        self._open()
        try:
            self._size = self._recover()
        except BaseException:
            self.close()
            raise

    @property
    def dataset_id(self) -> bytes:
        """Its id, 32 bytes."""
        return self._id

    @property
    def size(self) -> int:
        """Records committed."""
        return self._size

    def root(self, size: int) -> bytes:
        """Root of the tree over the first `size` records."""
        with self._in_use():
            return self._tree.root_at(size)

    def blobs(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """(first record index, sealed segment) of the segments that cover records start to stop, read as they are taken."""
        self._check_range(start, stop)
        while start < stop:
            with self._in_use():
                some = list(islice(self._tree.segments(start, stop), _BLOBS_AT_ONCE))
            for first, count, blob in some:
                yield first, blob
                start = first + count
                self._bytes_read += len(blob)
            self.note_read(0)

    def secrets(self, start: int, stop: int) -> bytes:
        """Secrets of those segments, 32 bytes each, unwrapped. Raises StoreDamaged."""
        with self._in_use():
            return self._secrets(start, stop)

    def _secrets(self, start: int, stop: int) -> bytes:
        rows = self._rows(start, stop)
        try:
            return self._keys.unwrap([first for first, _ in rows], [value[HASH_SIZE:] for _, value in rows])
        except (DecryptionFailed, EncodingInvalid) as cause:
            raise StoreDamaged(
                f"the index of {self._path} holds a secret that this node's key does not open"
            ) from cause

    def _index_secret(self) -> bytes:
        """The secret of the key index, opened once."""
        if self._opened_index_secret is None:
            try:
                self._opened_index_secret = self._keys.unwrap_index_secret(self._index.index_secret())
            except (DecryptionFailed, EncodingInvalid) as cause:
                raise StoreDamaged(f"the secret of the index of {self._path} does not open") from cause
        return self._opened_index_secret

    def digests(self, start: int, stop: int) -> bytes:
        """SM3 digests of those segments, 32 bytes each."""
        with self._in_use():
            return b"".join(value[:HASH_SIZE] for _, value in self._rows(start, stop))

    def find(self, key: str, size: int) -> int | None:
        """Index of the newest record with this key among the first `size`."""
        with self._in_use():
            return self._index.newest(key_digest(self._index_secret(), key.encode()), min(size, self._size))

    def open_record(self, index: int) -> tuple[bytes, bytes, bytes]:
        """(record, salt, leaf hash), checked against the stored leaf. Raises StoreDamaged where they differ."""
        self._check_range(index, index + 1)
        with self._in_use():
            _, _, blob = self._tree.segment_at(index)
            secrets = self._secrets(index, index + 1)
            stored = self._tree.leaf_hash(index)
        try:
            record, salt, leaf_hash = open_record(self._means.engine, secrets, blob, index)
        except (DecryptionFailed, EncodingInvalid) as cause:
            raise StoreDamaged(f"record {index} does not open") from cause
        if leaf_hash != stored:
            raise StoreDamaged(f"record {index} is not what the tree commits to")
        return record, salt, leaf_hash

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion path of a record in the tree of the first `size`."""
        with self._in_use():
            return self._tree.inclusion(index, size)

    @property
    def keys(self) -> DatasetKeys:
        """What wraps its secrets at rest."""
        return self._keys

    @contextmanager
    def index_in_use(self) -> Iterator[DatasetIndex]:
        """The index, which is not closed meanwhile; not for long, since whoever wants to close it waits. Raises DatasetPurged."""
        with self._in_use():
            yield self._index

    def note_read(self, size: int) -> None:
        """Count bytes that were read; after so many, the environments are opened anew. Not within `index_in_use`."""
        self._bytes_read += size
        if self._bytes_read >= _REMAP_BYTES:
            self._remap()

    def waiting_secrets(self) -> Iterator[bytes]:
        """The wrapped secrets of a publication that is decided and not applied, if there is one. Raises StoreDamaged."""
        ready = ready_path(self._path)
        try:
            for frame in read_frames(ready, with_blobs=False):
                yield from frame.wrapped
        except StoreDamaged:
            if ready.exists():
                raise
            # There is none, or it was applied before it could be opened, and the index has its secrets.

    def complete_waiting(self) -> None:
        """Apply such a publication, unless there is no room or another is under way. Raises StoreDamaged."""
        if ready_path(self._path).exists() and self._staging.acquire(blocking=False):
            try:
                self._size = self._recover()
            finally:
                self._staging.release()

    def begin_append(self) -> SealedStaging:
        """Begin the next version. Raises StoreLocked while another is open, DatasetPurged, DiskFull."""
        self._check_not_retired()
        if not self._staging.acquire(blocking=False):
            raise StoreLocked("another publication to this dataset is under way")
        try:
            return SealedStaging(self._place())
        except BaseException:
            self._staging.release()
            raise

    def retire(self) -> None:
        """Close it for good, because it is to be destroyed: whoever still holds it is refused with DatasetPurged from now on, and
        whoever is reading is waited for. Raises StoreLocked while a version is staged.
        """
        if not self._staging.acquire(blocking=False):
            raise StoreLocked("a publication to this dataset is under way")
        # The lock is not given back: there is no next version.
        with self._gate.alone():
            self._is_retired = True
            self._close()

    def close(self) -> None:
        """Close tree and index."""
        with self._gate.alone():
            self._close()

    def _open(self) -> None:
        means = self._means
        self._tree = TreeStore.open(self._path / "tree", means.engine, map_bytes=means.map_bytes)
        try:
            self._index = DatasetIndex(self._path / "index", means.map_bytes)
        except BaseException:
            self._tree.close()
            raise
        self._bytes_read = 0

    def _close(self) -> None:
        self._tree.close()
        self._index.close()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Use the environments, which are not taken away meanwhile."""
        with self._gate.shared():
            self._check_not_retired()
            yield

    def _check_not_retired(self) -> None:
        if self._is_retired:
            raise DatasetPurged("the dataset is purged", dataset=self._id.hex())

    def _remap(self) -> None:
        """Open both environments anew."""
        with self._gate.alone():
            self._check_not_retired()
            self._close()
            give_back()
            self._open()

    def _index_secret_in_use(self) -> bytes:
        with self._in_use():
            return self._index_secret()

    def _place(self) -> StagingPlace:
        self._size = self._recover()
        if ready_path(self._path).exists():
            raise DiskFull("an earlier publication waits for space to be completed")
        means = self._means
        return StagingPlace(
            self._path,
            self._id,
            self._size,
            self._keys,
            self._index_secret_in_use,
            means.engine,
            means.random,
            means.max_publish_bytes,
            self._publish,
            self._staging.release,
        )

    def _recover(self) -> int:
        """Bring the directory to a state without a publication, and give the size. Without room for what is decided, the
        dataset stays at its earlier size.
        """
        ready = ready_path(self._path)
        with disk_errors(self._path):
            partial_path(self._path).unlink(missing_ok=True)
        if not ready.exists():
            return self._tree.size
        try:
            return self._apply(ready)
        except DiskFull:
            return read_start(ready, self._id)

    def _publish(self, writer: PublicationWriter) -> int:
        """Decide a staged publication and apply it."""
        # Space is asked for before the decision, since afterwards there is no way back.
        if self._means.free_bytes(self._path) < writer.written + writer.written // 4 + _HEADROOM:
            raise DiskFull(f"the disk has no room for {writer.written} bytes more: {self._path}")
        writer.complete()
        ready = ready_path(self._path)
        try:
            self._size = self._apply(ready)
        except DiskFull:
            if self._tree.size == self._size:
                # Nothing is in the tree yet, so the decision can be taken back.
                with disk_errors(ready):
                    ready.unlink()
                    sync_directory(self._path)
                raise
            raise DiskFull(
                "the publication is decided; it is completed when there is space, so do not repeat it"
            ) from None
        self._remap()
        return self._size

    def _apply(self, ready: Path) -> int:
        """Append a publication to the tree, then index it, then delete it. May be begun again after any crash."""
        with self._gate.shared():
            return self._apply_in_place(ready)

    def _apply_in_place(self, ready: Path) -> int:
        start = read_start(ready, self._id)
        stop = start + count_records(ready)
        if not start <= self._tree.size <= stop:
            raise StoreDamaged(f"{ready} is of records {start} to {stop}, and the tree has {self._tree.size}")
        # A crash between two transactions: the tree ends at a frame's end, and the frames before it are passed over.
        self._append(ready, start)
        # The index follows the tree, so that it never holds what the tree does not. A crash here: entries that are there
        # are written again, the same.
        self._index_segments(ready, start)
        with disk_errors(ready):
            ready.unlink()
            sync_directory(self._path)
        # A crash before the deletion is durable: everything is passed over or written again, the same.
        return self._tree.size

    def _append(self, ready: Path, start: int) -> None:
        batch: list[tuple[bytes, bytes]] = []
        size, at = 0, start
        for frame in read_frames(ready, with_blobs=True):
            if _sealed_for(frame, ready) != at:
                raise StoreDamaged(f"{ready} was sealed for another place than record {at}")
            if at >= self._tree.size:
                batch += _appends(frame)
                size += sum(map(len, frame.blobs))
                if size >= _APPEND_BYTES:
                    self._tree.append_many(batch)
                    batch, size = [], 0
            at += frame.records
        if batch:
            self._tree.append_many(batch)
        if self._tree.size != at:
            raise StoreDamaged(f"the tree of {self._path} has {self._tree.size} records, not {at}")

    def _index_segments(self, ready: Path, start: int) -> None:
        rows: list[Row] = []
        keys: list[bytes] = []
        at = keys_start = start
        for frame in read_frames(ready, with_blobs=False):
            first = at
            for place, (count, wrapped) in enumerate(zip(frame.counts, frame.wrapped, strict=True)):
                digest = frame.digests[HASH_SIZE * place : HASH_SIZE * (place + 1)]
                rows.append((first, digest + wrapped))
                first += count
            at = first
            if frame.keys is not None:
                keys.append(frame.keys)
            if at - keys_start >= _INDEX_KEYS:
                self._index.write(rows, b"".join(keys), keys_start)
                rows, keys, keys_start = [], [], at
        self._index.write(rows, b"".join(keys), keys_start)

    def _rows(self, start: int, stop: int) -> list[Row]:
        """(first record index, digest ‖ wrapped secret) of the segments that cover records start to stop."""
        self._check_range(start, stop)
        return self._index.rows(start, stop)

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start < stop <= self._size:
            raise RangeInvalid(f"the dataset has {self._size} records, not {start} to {stop}")


def _sealed_for(frame: Frame, ready: Path) -> int:
    """The index in the dataset that is sealed into a frame's first segment."""
    try:
        return segment_header(frame.blobs[0]).first_index
    except EncodingInvalid as cause:
        raise StoreDamaged(f"{ready} holds what is no segment") from cause


def _appends(frame: Frame) -> list[tuple[bytes, bytes]]:
    """What the tree takes: for each segment its leaf hashes and the segment."""
    appends = []
    at = 0
    for count, blob in zip(frame.counts, frame.blobs, strict=True):
        appends.append((frame.leaf_hashes[HASH_SIZE * at : HASH_SIZE * (at + count)], blob))
        at += count
    return appends
