"""One check of a whole dataset, made after whatever was done to it; and records to publish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crypto.engine import Engine
from crypto.merkle import SM3_TREE, tree_root_of_leaves, verify_inclusion
from crypto.packed import Packed
from crypto.seal import open_segments, segment_header
from crypto.sm3 import sm3
from node.stores.publication import partial_path, ready_path
from node.stores.sealed_dataset import SealedDataset

Row = tuple[str, bytes]  # key, record


def rows(start: int, stop: int, version: str = "") -> list[Row]:
    """Records `start` to `stop`, whose keys repeat every 1,000, so that there are newer and older ones."""
    return [(f"key-{number % 1000}", f'["key-{number % 1000}","{number}{version}"]'.encode()) for number in range(start, stop)]


def batch_of(given: Sequence[Row]) -> tuple[Packed, Packed]:
    """A batch for `Staging.add`."""
    return Packed.of(record for _, record in given), Packed.of(key.encode() for key, _ in given)


def publish(dataset: SealedDataset, given: Sequence[Row], batch: int = 700) -> int:
    """Stage and commit records."""
    staging = dataset.begin_append()
    for start in range(0, len(given), batch):
        staging.add(*batch_of(given[start : start + batch]))
        assert staging.size == dataset.size + min(start + batch, len(given))
    return staging.commit()


def check(dataset: SealedDataset, expected: Sequence[Row], engine: Engine) -> None:
    """Everything that a dataset promises holds for exactly these records, and no publication is left over."""
    size = len(expected)
    assert dataset.size == size
    assert not partial_path(dataset._path).exists()
    assert not ready_path(dataset._path).exists()
    if size == 0:
        return
    firsts = [first for first, _ in dataset.blobs(0, size)]
    blobs = [blob for _, blob in dataset.blobs(0, size)]
    assert firsts == [segment_header(blob).first_index for blob in blobs]
    assert dataset.digests(0, size) == b"".join(sm3(blob) for blob in blobs)
    segments, leaf_hashes = open_segments(engine, dataset.dataset_id, dataset.secrets(0, size), blobs)
    assert [record for segment in segments for record in segment] == [record for _, record in expected]
    root = dataset.root(size)
    assert tree_root_of_leaves(engine, leaf_hashes) == root
    newest = {key: index for index, (key, _) in enumerate(expected)}
    for key in list(newest)[::97]:
        assert dataset.find(key, size) == newest[key]
    assert dataset.find("nobody", size) is None
    for index in {0, size // 2, size - 1}:
        record, _, leaf_hash = dataset.open_record(index)
        assert record == expected[index][1]
        verify_inclusion(SM3_TREE, leaf_hash, index, size, dataset.inclusion(index, size), root)
        assert [blob for _, blob in dataset.blobs(index, index + 1)] == [
            blob for first, blob in zip(firsts, blobs, strict=True) if first <= index < first + segment_header(blob).count
        ]
        assert len(dataset.secrets(index, index + 1)) == 32


def bytes_on_disk(path: Path) -> bytes:
    """All that the files below a directory hold."""
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
