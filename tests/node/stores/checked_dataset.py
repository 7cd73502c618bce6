"""Publishing to a dataset, and the one checker that looks at everything the dataset holds, as requesters do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from crypto.engine import Engine
from crypto.merkle import SM3_TREE, merkle_levels, verify_inclusion
from crypto.packed import Packed
from crypto.seal import open_segments, segment_header
from crypto.sm3 import sm3
from node.ports import DatasetStore
from node.stores import rewrapping, sealed_dataset, staging
from node.stores.datasets import DatasetDirectory
from node.stores.sealed_dataset import DatasetMeans, SealedDataset

DATASET = b"d" * 32
PROVIDER = "11370700004258746X"
_LOOKED_UP = 300  # records of a large dataset that are looked up one by one; a small one's all are


@dataclass(frozen=True)
class Row:
    """A record as it was published, and its key."""

    record: bytes
    key: str


def rows(start: int, count: int, keys: int = 1 << 20) -> list[Row]:
    """Records that are all different, under at most `keys` different keys."""
    return [
        Row(b'["%d","%b"]' % (number, b"x" * (number % 7)), f"键{number % keys}")
        for number in range(start, start + count)
    ]


def cut_small(patch: pytest.MonkeyPatch) -> None:
    """Make every piece small, so that few records take every path: segments of 4 records, groups of 3 segments, about
    two groups in a transaction of the tree, and 16 keys in one of the index, and 6 rows in one of a re-wrap.
    """
    patch.setattr(staging, "SEGMENT_RECORDS", 4)
    patch.setattr(staging, "GROUP_SEGMENTS", 3)
    patch.setattr(sealed_dataset, "_APPEND_BYTES", 900)
    patch.setattr(sealed_dataset, "_INDEX_KEYS", 16)
    patch.setattr(rewrapping, "BATCH_ROWS", 6)


def directory(path: Path, means: DatasetMeans) -> DatasetDirectory:
    """The datasets of a provider."""
    return DatasetDirectory(path, PROVIDER, means)


def publish(dataset: DatasetStore, version: Sequence[Row], batch: int = 10) -> int:
    """Publish one version in batches."""
    begun = dataset.begin_append()
    for start in range(0, len(version), batch):
        some = version[start : start + batch]
        begun.add(Packed.of(row.record for row in some), Packed.of(row.key.encode() for row in some))
    return begun.commit()


def check_dataset(dataset: SealedDataset, published: Sequence[Row], engine: Engine) -> None:
    """Everything that the dataset gives is what was published, and all its parts agree with one another."""
    size = len(published)
    assert dataset.size == size
    if size == 0:
        assert dataset.root(0) == SM3_TREE.empty()
        assert dataset.find("键0", 1 << 40) is None
        return
    leaves = _check_segments(dataset, published, engine)
    root = merkle_levels(engine, leaves)[-1]
    assert dataset.root(size) == root
    for smaller in {1, size // 2, size - 1} - {0}:
        assert dataset.root(smaller) == merkle_levels(engine, leaves[: 32 * smaller])[-1]
    for index in {0, size // 3, size - 1}:
        verify_inclusion(
            SM3_TREE, leaves[32 * index : 32 * index + 32], index, size, dataset.inclusion(index, size), root
        )
    some = range(0, size, 1 + size // _LOOKED_UP)
    for index in some:
        record, salt, leaf = dataset.open_record(index)
        assert record == published[index].record
        assert leaf == sm3(b"\0" + salt + record) == leaves[32 * index : 32 * index + 32]
    for limit in {size, size // 2, 1}:
        newest = {row.key: index for index, row in enumerate(published[:limit])}
        for index in some:
            key = published[index].key
            assert dataset.find(key, limit) == newest.get(key)


def _check_segments(dataset: SealedDataset, published: Sequence[Row], engine: Engine) -> bytes:
    """The segments lie end to end, are the ones of their digests, and open to the records; gives the leaf hashes."""
    size = len(published)
    found = list(dataset.blobs(0, size))
    blobs = [blob for _, blob in found]
    firsts = [first for first, _ in found]
    headers = [segment_header(blob) for blob in blobs]
    assert [header.first_index for header in headers] == firsts
    bounds = [*firsts, size]
    assert bounds[0] == 0
    assert [header.count for header in headers] == [stop - start for start, stop in pairwise(bounds)]
    digests, secrets = dataset.digests(0, size), dataset.secrets(0, size)
    assert digests == b"".join(sm3(blob) for blob in blobs)
    assert len({secrets[at : at + 32] for at in range(0, len(secrets), 32)}) == len(blobs)
    opened, leaves = open_segments(engine, dataset.dataset_id, secrets, blobs)
    assert [record for segment in opened for record in segment] == [row.record for row in published]
    for place, (start, stop) in enumerate(pairwise(bounds)):
        # Any range within one segment is answered by that segment alone.
        assert list(dataset.blobs(stop - 1, stop)) == list(dataset.blobs(start, stop)) == [found[place]]
        assert dataset.digests(stop - 1, stop) == digests[32 * place : 32 * place + 32]
        assert dataset.secrets(start, start + 1) == secrets[32 * place : 32 * place + 32]
    return leaves
