"""A bit that flips on the disk is noticed: by the node that reads the record, or by the checks that a requester makes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.environment import LIB_VERSION
from audit.errors import StoreAbsent, StoreDamaged, StoreVersion
from crypto.engine import Engine
from crypto.errors import Refusal
from crypto.merkle import SM3_TREE, merkle_levels, verify_inclusion
from crypto.seal import open_segments, segment_header
from crypto.sm3 import sm3
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from tests.node.stores.checked_dataset import DATASET, cut_small, directory, publish, rows
from tests.node.stores.conftest import MAP_BYTES, at_rest

RECORDS = rows(0, 300)
TREE, INDEX = "tree/epochs/0000", "index"
FIRST = (8).to_bytes(8, "big")  # the segment that begins at record 8
HEAD = 4  # bytes that the tree puts before a segment
Change = Callable[[bytes], bytes]


def flip(position: int, bit: int = 0) -> Change:
    """Flip one bit of the byte at a position, counted from the end if it is negative."""

    def changed(value: bytes) -> bytes:
        at = position % len(value)
        return value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]

    return changed


def edit(home: Path, place: str, database: str, key: bytes, change: Change) -> None:
    """Change one value in one of the dataset's environments, which is not open."""
    environment = lmdb.open(str(home / place), max_dbs=8, map_size=MAP_BYTES, lib_version=LIB_VERSION)
    named = environment.open_db(database.encode(), create=False)
    with environment.begin(write=True) as transaction:
        value = transaction.get(key, db=named)
        assert value is not None
        transaction.put(key, change(value), db=named)
    environment.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """A dataset of 300 records, that is a full tile and an unfinished one, in segments of 4."""
    path = tmp_path_factory.mktemp("original") / "datasets"
    datasets = directory(path, means_of(engine))
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        publish(datasets.create(DATASET), RECORDS)
    datasets.close()
    return path


def means_of(engine: Engine) -> DatasetMeans:
    return DatasetMeans(engine, os.urandom, at_rest, map_bytes=MAP_BYTES)


@pytest.fixture(scope="module")
def root(original: Path, engine: Engine) -> bytes:
    """What the version note states."""
    dataset = directory(original, means_of(engine)).open(DATASET)
    found = dataset.root(len(RECORDS))
    dataset.close()
    return found


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    """A copy of the dataset's directory, to be damaged."""
    shutil.copytree(original, tmp_path / "datasets")
    return tmp_path / "datasets" / DATASET.hex()


def opened(home: Path, engine: Engine) -> SealedDataset:
    return directory(home.parent, means_of(engine)).open(DATASET)


def holds(home: Path, engine: Engine, root: bytes) -> bool:
    """Whether all the checks are passed that requesters make, in bulk and by single queries."""
    size = len(RECORDS)
    try:
        dataset = opened(home, engine)
    except Refusal:
        return False
    try:
        blobs = [blob for _, blob in dataset.blobs(0, size)]
        if dataset.digests(0, size) != b"".join(sm3(blob) for blob in blobs):
            return False
        at = 0
        for header in map(segment_header, blobs):
            if header.first_index != at:
                return False
            at += header.count
        _, leaves = open_segments(engine, DATASET, dataset.secrets(0, size), blobs)
        if merkle_levels(engine, leaves)[-1] != root:
            return False
        for index in range(size):
            _, _, leaf = dataset.open_record(index)
            verify_inclusion(SM3_TREE, leaf, index, size, dataset.inclusion(index, size), root)
    except Refusal:
        return False
    finally:
        dataset.close()
    return True


def test_what_is_whole_passes_every_check(home: Path, engine: Engine, root: bytes) -> None:
    assert holds(home, engine, root)


@pytest.mark.parametrize(
    ("place", "database", "key", "position", "index"),
    [
        pytest.param(TREE, "segments", FIRST, HEAD, 9, id="version of the segment"),
        pytest.param(TREE, "segments", FIRST, HEAD + 8, 9, id="its first index"),
        pytest.param(TREE, "segments", FIRST, HEAD + 12, 9, id="its number of records"),
        pytest.param(TREE, "segments", FIRST, HEAD + 13, 9, id="its nonce"),
        pytest.param(TREE, "segments", FIRST, HEAD + 25 + 4, 9, id="the offset of the record"),
        pytest.param(TREE, "segments", FIRST, HEAD + 25 + 20 + 9, 9, id="the record"),
        pytest.param(TREE, "tiles-0", bytes(8), 32 * 9, 9, id="the leaf in a full tile"),
        pytest.param(TREE, "head", b"row-0", 32 * (290 - 256) + 31, 290, id="the leaf in an unfinished tile"),
        pytest.param(INDEX, "segments", FIRST, 32, 9, id="version of the wrapped secret"),
        pytest.param(INDEX, "segments", FIRST, 36, 9, id="the number of its key"),
        pytest.param(INDEX, "segments", FIRST, 37, 9, id="its nonce in the index"),
        pytest.param(INDEX, "segments", FIRST, 49, 9, id="the secret"),
        pytest.param(INDEX, "segments", FIRST, -1, 9, id="its tag in the index"),
    ],
)
def test_a_record_whose_bytes_were_damaged_is_not_given_out(
    home: Path, engine: Engine, root: bytes, place: str, database: str, key: bytes, position: int, index: int
) -> None:
    edit(home, place, database, key, flip(position))
    dataset = opened(home, engine)
    with pytest.raises(StoreDamaged):
        dataset.open_record(index)
    # Its neighbours in other segments are served.
    assert dataset.open_record(100)[0] == RECORDS[100].record
    dataset.close()
    assert not holds(home, engine, root)


@pytest.mark.parametrize(
    ("place", "position"),
    [
        pytest.param(TREE, -1, id="the tag of the segment"),
        pytest.param(TREE, HEAD + 25 + 20, id="another record of the segment"),
        pytest.param(INDEX, 0, id="the digest of the segment"),
    ],
)
def test_damage_beside_a_record_does_not_hinder_its_query_and_is_noticed_in_bulk(
    home: Path, engine: Engine, root: bytes, place: str, position: int
) -> None:
    edit(home, place, "segments", FIRST, flip(position))
    dataset = opened(home, engine)
    assert dataset.open_record(11)[0] == RECORDS[11].record
    dataset.close()
    assert not holds(home, engine, root)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_bit_of_segments_tree_and_secrets_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, original: Path, engine: Engine, root: bytes, data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("copy") / "datasets" / DATASET.hex()
    shutil.copytree(original / DATASET.hex(), home)
    first = (4 * data.draw(st.integers(0, 74), label="segment")).to_bytes(8, "big")
    place, database, key, start = data.draw(
        st.sampled_from(
            [
                (TREE, "segments", first, HEAD),
                (INDEX, "segments", first, 0),
                (TREE, "tiles-0", bytes(8), 0),
                (TREE, "head", b"row-0", 0),
                (TREE, "head", b"row-1", 0),
            ]
        )
    )

    def change(value: bytes) -> bytes:
        position = data.draw(st.integers(start, len(value) - 1), label="position")
        return flip(position, data.draw(st.integers(0, 7), label="bit"))(value)

    edit(home, place, database, key, change)
    try:
        assert not holds(home, engine, root)
    finally:
        shutil.rmtree(home.parent)


def test_a_dataset_whose_parts_are_missing_or_foreign_is_not_opened(home: Path, engine: Engine) -> None:
    shutil.move(home / INDEX, home / "aside")
    with pytest.raises(StoreAbsent):
        opened(home, engine)
    shutil.move(home / "aside", home / INDEX)
    shutil.move(home / "tree", home / "aside")
    with pytest.raises(StoreAbsent):
        opened(home, engine)
    shutil.move(home / "aside", home / "tree")
    environment = lmdb.open(str(home / INDEX), max_dbs=8, map_size=MAP_BYTES, lib_version=LIB_VERSION)
    with environment.begin(write=True) as transaction:
        transaction.put(b"kiteline", b"dataset index 3")
    environment.close()
    with pytest.raises(StoreVersion, match="dataset index 3"):
        opened(home, engine)


def test_an_index_that_was_cut_off_is_not_opened(home: Path, engine: Engine) -> None:
    data = home / INDEX / "data.mdb"
    data.write_bytes(data.read_bytes()[:8_192])
    with pytest.raises(StoreDamaged, match="truncated"):
        opened(home, engine)
