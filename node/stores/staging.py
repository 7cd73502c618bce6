"""Staging the next version of a dataset (`node.ports.Staging`): records are cut into segments, sealed, and written to the
publication file as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crypto.engine import Engine
from crypto.packed import Packed
from crypto.seal import NONCE_SIZE, SECRET_SIZE, seal_segments
from node.errors import InternalError, RequestTooLarge
from node.model.batches import cut
from node.ports import Random
from node.stores.dataset_keys import DatasetKeys
from node.stores.key_index import DIGEST_SIZE, key_digests
from node.stores.publication import Frame, PublicationWriter

SEGMENT_RECORDS = 4_096
SEGMENT_BYTES = 1024 * 1024  # of plaintext, offsets counted in
# One call of the engine seals so many segments: its lanes are full, and a batch of the largest stays small in memory.
GROUP_SEGMENTS = 16
GROUP_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class StagingPlace:
    """What a staging needs of its dataset.

    Attributes:
        directory: of the dataset.
        dataset_id: 32 bytes.
        size: records of the dataset before.
        keys: wraps the dataset's secrets at rest.
        index_secret: gives the secret under which the digests of record keys are made; raises StoreDamaged.
        engine: what computes.
        random: randomness.
        max_bytes: sealed bytes that one publication may have.
        publish: makes the complete publication file part of the dataset and gives the new size.
        release: lets the next staging begin.
    """

    directory: Path
    dataset_id: bytes
    size: int
    keys: DatasetKeys
    index_secret: Callable[[], bytes]
    engine: Engine
    random: Random
    max_bytes: int
    publish: Callable[[PublicationWriter], int]
    release: Callable[[], None]


class SealedStaging:
    """Records on their way into a dataset. One thread at a time. An `add` or `commit` that fails abandons everything."""

    def __init__(self, place: StagingPlace) -> None:
        self._place = place
        self._sealed_size = place.size
        self._pending: list[Packed] = []
        self._pending_keys: list[bytes] = []
        self._pending_records = 0
        self._pending_bytes = 0
        self._has_keys: bool | None = None
        self._writer = PublicationWriter(place.directory, place.dataset_id, place.size)
        self._is_open = True

    @property
    def size(self) -> int:
        """Records of the dataset with those staged so far."""
        return self._sealed_size + self._pending_records

    def add(self, records: Packed, keys: Packed | None) -> None:
        """Stage a batch of checked records. Raises DiskFull, RequestTooLarge."""
        self._check_open()
        try:
            self._take(records, keys)
            if self._pending_records >= GROUP_SEGMENTS * SEGMENT_RECORDS or self._pending_bytes >= GROUP_BYTES:
                self._seal(everything=False)
        except BaseException:
            self.abandon()
            raise

    def commit(self) -> int:
        """Make what was staged part of the dataset and give the new size. Raises DiskFull, RequestTooLarge."""
        self._check_open()
        try:
            self._seal(everything=True)
            if self._sealed_size == self._place.size:
                return self._place.size
            return self._place.publish(self._writer)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Forget what was staged and is not committed."""
        if self._is_open:
            self._is_open = False
            self._pending, self._pending_keys = [], []
            try:
                self._writer.discard()
            finally:
                self._place.keys.forget_staged()
                self._place.release()

    def _take(self, records: Packed, keys: Packed | None) -> None:
        if self._has_keys is None:
            self._has_keys = keys is not None
        if self._has_keys != (keys is not None) or (keys is not None and len(keys) != len(records)):
            raise InternalError("either every record has a key or none has")
        if not len(records):
            return
        if keys is not None:
            self._pending_keys.append(key_digests(self._place.engine, self._place.index_secret(), keys))
        self._pending.append(records)
        self._pending_records += len(records)
        self._pending_bytes += len(records.data)

    def _seal(self, *, everything: bool) -> None:
        """Seal the segments that are full, or all."""
        if not self._pending:
            return
        joined = Packed.joined(self._pending)
        digests = b"".join(self._pending_keys)
        group: list[Packed] = []
        taken, group_bytes = 0, 0
        for segment in cut(joined, SEGMENT_RECORDS, SEGMENT_BYTES):
            is_last = taken + sum(map(len, group)) + len(segment) == len(joined)
            if is_last and not everything:
                break
            group.append(segment)
            group_bytes += len(segment.data)
            if is_last or len(group) == GROUP_SEGMENTS or group_bytes >= GROUP_BYTES:
                taken = self._write_group(group, digests, taken)
                group, group_bytes = [], 0
        if group:
            taken = self._write_group(group, digests, taken)
        rest = joined.slice(taken, len(joined))
        self._pending = [rest] if len(rest) else []
        self._pending_keys = [digests[taken * DIGEST_SIZE :]] if self._has_keys else []
        self._pending_records, self._pending_bytes = len(rest), len(rest.data)

    def _write_group(self, group: list[Packed], digests: bytes, taken: int) -> int:
        """Seal and write segments of which the first begins at pending record `taken`; gives where the last ends."""
        place = self._place
        counts = [len(segment) for segment in group]
        firsts = [self._sealed_size + at for at in np.cumsum([0, *counts[:-1]]).tolist()]
        secrets = place.random(SECRET_SIZE * len(group))
        nonces = place.random(NONCE_SIZE * len(group))
        blobs, leaf_hashes = seal_segments(
            place.engine, place.dataset_id, secrets, nonces, list(zip(firsts, group, strict=True))
        )
        wrapped = place.keys.wrap_staged(firsts, secrets)
        stop = taken + sum(counts)
        keys = digests[taken * DIGEST_SIZE : stop * DIGEST_SIZE] if self._has_keys else None
        if self._writer.written + sum(map(len, blobs)) > place.max_bytes:
            raise RequestTooLarge(f"a publication has at most {place.max_bytes} sealed bytes", limit=place.max_bytes)
        blob_digests = place.engine.sm3_many(Packed.of(blobs))
        self._writer.write(Frame(counts, wrapped, blob_digests, leaf_hashes, keys, blobs))
        self._sealed_size += sum(counts)
        self._pending_records -= sum(counts)
        return stop

    def _check_open(self) -> None:
        if not self._is_open:
            raise InternalError("this staging was committed or abandoned")
