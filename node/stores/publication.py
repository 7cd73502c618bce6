"""The publication file: records of the next version, sealed and staged, and the journal from which they become part of the tree.

While records arrive the file is `publication.partial`; it may be deleted at any time. When it is whole and durable it is
renamed `publication.ready`, and from then on what is in it belongs to the dataset, whatever happens: it is appended to the
tree in steps that a restart takes up where they stopped. So a version of any size is all there or not at all, in bounded memory.

    head  = "KLPB" ‖ 0x02 ‖ size of the dataset before, u64be ‖ dataset id, 32
    frame = segments, u32be ‖ records, u32be ‖ 1 if keys follow, else 0 ‖ for each segment: count, u32be, length, u32be
            ‖ wrapped secrets ‖ SM3 of each segment ‖ leaf hashes ‖ digests of the keys ‖ segments
    end   = a frame of no segments, so that a file which was cut off between two frames is noticed
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from audit.errors import StoreDamaged
from audit.files import PRIVATE_FILE, disk_errors, sync_directory
from node.stores.dataset_index import HASH_SIZE
from node.stores.dataset_keys import WRAPPED_SIZE
from node.stores.key_index import DIGEST_SIZE as KEY_DIGEST_SIZE

_MAGIC = b"KLPB\x02"
_HEAD = struct.Struct(">5sQ32s")
_FRAME = struct.Struct(">IIB")
_END = _FRAME.pack(0, 0, 0)
_LENGTHS_SIZE = 8  # bytes: count and length of one segment


@dataclass(frozen=True)
class Frame:
    """Segments that were sealed by one call.

    Attributes:
        counts: records of each segment.
        wrapped: its secret, wrapped at rest.
        digests: SM3 of each segment, end to end.
        leaf_hashes: of all records, end to end.
        keys: digests of all records' keys, end to end, or None.
        blobs: the sealed segments; empty where a frame was read without them.
    """

    counts: list[int]
    wrapped: list[bytes]
    digests: bytes
    leaf_hashes: bytes
    keys: bytes | None
    blobs: list[bytes]

    @property
    def records(self) -> int:
        """Records of all segments."""
        return sum(self.counts)


class PublicationWriter:
    """Writes a publication file frame by frame."""

    def __init__(self, directory: Path, dataset_id: bytes, size: int) -> None:
        self._partial, self._ready = partial_path(directory), ready_path(directory)
        with disk_errors(self._partial):
            descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
            self._file: BinaryIO = os.fdopen(descriptor, "wb")
            self._file.write(_HEAD.pack(_MAGIC, size, dataset_id))
        self.written = _HEAD.size  # bytes

    def write(self, frame: Frame) -> None:
        """Append a frame. Raises DiskFull."""
        lengths = np.array([[count, len(blob)] for count, blob in zip(frame.counts, frame.blobs, strict=True)], ">u4")
        parts = [
            _FRAME.pack(len(frame.counts), frame.records, frame.keys is not None),
            lengths.tobytes(),
            *frame.wrapped,
            frame.digests,
            frame.leaf_hashes,
            frame.keys or b"",
            *frame.blobs,
        ]
        with disk_errors(self._partial):
            self._file.writelines(parts)
        self.written += sum(map(len, parts))

    def complete(self) -> None:
        """Make the file durable under its final name. Raises DiskFull; then nothing is decided."""
        with disk_errors(self._partial):
            self._file.write(_END)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            # A crash before this line: nothing was published, and the partial file is deleted. After it: everything was.
            self._partial.replace(self._ready)
            try:
                sync_directory(self._ready.parent)
            except OSError:
                # The caller is told that nothing was published, so nothing may come of it later.
                self._ready.unlink()
                raise

    def discard(self) -> None:
        """Close and delete the file, if it is not complete. A disk that fails here too is met by the next publication."""
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)
        with suppress(OSError):
            self._file.close()  # What was still to be flushed may not fit; it was to be thrown away.


def partial_path(directory: Path) -> Path:
    """Where a publication is staged."""
    return directory / "publication.partial"


def ready_path(directory: Path) -> Path:
    """Where a publication waits that is decided."""
    return directory / "publication.ready"


def read_start(path: Path, dataset_id: bytes) -> int:
    """The size that the dataset has before this publication. Raises StoreDamaged."""
    with disk_errors(path), path.open("rb") as file:
        magic, size, named = _HEAD.unpack(_exactly(file, _HEAD.size, path))
    if magic != _MAGIC or named != dataset_id:
        raise StoreDamaged(f"{path} is no publication of this dataset")
    return int(size)


def count_records(path: Path) -> int:
    """The records of a complete file, by the heads of its frames alone. Raises StoreDamaged unless it is whole."""
    count = 0
    with disk_errors(path), path.open("rb") as file:
        file.seek(_HEAD.size)
        while lengths := _frame_lengths(file, path):
            count += lengths.records
            file.seek(lengths.before_blobs + sum(lengths.sizes), os.SEEK_CUR)
        if file.read(1):
            raise StoreDamaged(f"{path} goes on after its end")
    return count


def read_frames(path: Path, *, with_blobs: bool) -> Iterator[Frame]:
    """The frames of a complete file, in order. Raises StoreDamaged."""
    with disk_errors(path), path.open("rb") as file:
        file.seek(_HEAD.size)
        while lengths := _frame_lengths(file, path):
            segments, records = len(lengths.counts), lengths.records
            wrapped = _exactly(file, WRAPPED_SIZE * segments, path)
            digests = _exactly(file, HASH_SIZE * segments, path)
            leaf_hashes = _exactly(file, HASH_SIZE * records, path)
            keys = _exactly(file, KEY_DIGEST_SIZE * records, path) if lengths.has_keys else None
            blobs = [_exactly(file, size, path) for size in lengths.sizes] if with_blobs else []
            if not with_blobs:
                file.seek(sum(lengths.sizes), os.SEEK_CUR)
            each = [wrapped[at : at + WRAPPED_SIZE] for at in range(0, len(wrapped), WRAPPED_SIZE)]
            yield Frame(lengths.counts, each, digests, leaf_hashes, keys, blobs)


@dataclass(frozen=True)
class _Lengths:
    """What a frame begins with: records and bytes of each of its segments, and whether keys follow."""

    counts: list[int]
    sizes: list[int]
    has_keys: bool

    @property
    def records(self) -> int:
        return sum(self.counts)

    @property
    def before_blobs(self) -> int:
        """Bytes that stand between these lengths and the segments."""
        of_segments = (WRAPPED_SIZE + HASH_SIZE) * len(self.counts)
        return of_segments + (HASH_SIZE + KEY_DIGEST_SIZE * self.has_keys) * self.records


def _frame_lengths(file: BinaryIO, path: Path) -> _Lengths | None:
    """The beginning of the next frame; None at the end."""
    head = _exactly(file, _FRAME.size, path)
    if head == _END:
        return None
    segments, records, has_keys = _FRAME.unpack(head)
    lengths = np.frombuffer(_exactly(file, _LENGTHS_SIZE * segments, path), ">u4").reshape(segments, 2)
    found = _Lengths(lengths[:, 0].tolist(), lengths[:, 1].tolist(), bool(has_keys))
    if found.records != records or has_keys > 1 or not all(found.counts):
        raise StoreDamaged(f"{path} has a frame that contradicts itself")
    return found


def _exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    # The file is asked first: reading takes memory for all that a damaged length announces.
    if size > os.fstat(file.fileno()).st_size - file.tell():
        raise StoreDamaged(f"{path} is truncated")
    return file.read(size)
