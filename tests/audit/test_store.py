"""The Merkle log on disk: every root and proof equals the definition, and faults change nothing."""

from __future__ import annotations

import os
from itertools import accumulate
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.environment import LIB_VERSION
from audit.errors import DiskFull, StoreAbsent, StoreDamaged, StoreExists, StoreLocked, StoreVersion
from audit.store import TreeStore
from audit.tiles import TILE_BYTES
from crypto.engine import Engine
from crypto.errors import EncodingInvalid
from crypto.merkle import SM3_TREE, merkle_levels, verify_consistency, verify_inclusion
from crypto.sm3 import sm3
from tests.audit.conftest import ORIGIN, SMALL_MAP


def _leaves(start: int, count: int) -> bytes:
    return b"".join(sm3(index.to_bytes(8, "big")) for index in range(start, start + count))


def _root(engine: Engine, size: int) -> bytes:
    return merkle_levels(engine, _leaves(0, size))[-1] if size else SM3_TREE.empty()


@pytest.mark.parametrize("epoch_leaves", [256, 1_000, 1 << 26])
@settings(max_examples=12, deadline=None)
@given(counts=st.lists(st.sampled_from([1, 2, 7, 255, 256, 257, 700]), min_size=1, max_size=9), data=st.data())
def test_roots_proofs_and_segments_hold_across_tiles_epochs_and_a_new_opening(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, epoch_leaves: int, counts: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "log"
    store = TreeStore.create(path, ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=epoch_leaves)
    starts = [0, *accumulate(counts)]
    for start, count in zip(starts, counts, strict=False):
        assert store.append(_leaves(start, count), f"segment at {start}".encode()) == start
    held = store.root()
    store.close()
    store = TreeStore.open(path, engine, map_bytes=SMALL_MAP)
    total = starts[-1]
    assert (store.size, store.root(), store.origin) == (total, held, ORIGIN)
    assert held == _root(engine, total)
    for _ in range(8):
        size = data.draw(st.integers(1, total))
        index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
        root = store.root_at(size)
        assert root == _root(engine, size)
        verify_inclusion(SM3_TREE, store.leaf_hash(index), index, size, store.inclusion(index, size), root)
        verify_consistency(SM3_TREE, old, store.root_at(old), size, root, store.consistency(old, size))
        first, count, segment = store.segment_at(index)
        assert first <= index < first + count
        assert segment == f"segment at {first}".encode()
    assert sum(count for _, count, _ in store.segments(0, total)) == total
    store.close()


def test_create_is_not_open_and_open_is_not_create(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(StoreAbsent):
        TreeStore.open(tmp_path / "log", engine)
    TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP).close()
    with pytest.raises(StoreExists):
        TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path, engine: Engine) -> None:
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)
    with pytest.raises(StoreLocked):
        TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP)
    store.append(_leaves(0, 3), b"x")
    store.close()
    reader = TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP, read_only=True)
    assert reader.size == 3
    with pytest.raises(EncodingInvalid):
        reader.append(_leaves(3, 1), b"y")
    reader.close()


def test_a_full_map_changes_nothing_and_the_store_goes_on(tmp_path: Path, engine: Engine) -> None:
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=1 << 20)
    store.append(_leaves(0, 5), b"first")
    root = store.root()
    with pytest.raises(DiskFull):
        store.append(_leaves(5, 300), os.urandom(2 << 20))
    assert (store.size, store.root()) == (5, root)
    assert store.append(_leaves(5, 1), b"small") == 5
    assert store.root() == _root(engine, 6)
    store.close()


def test_a_batch_of_segments_is_one_commit_with_one_tile_write_each(tmp_path: Path, engine: Engine) -> None:
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)
    before = store._epochs[-1].environment.info()["last_txnid"]
    store.append_many([(_leaves(at, 512), b"x") for at in range(0, 4_096, 512)])
    assert store._epochs[-1].environment.info()["last_txnid"] == before + 1
    with store._epochs[-1].environment.begin() as transaction:
        assert transaction.stat(store._epochs[-1].tiles[0])["entries"] == 16
    store.close()


def test_a_store_of_another_format_is_refused(tmp_path: Path, engine: Engine) -> None:
    TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP).close()
    _edit(tmp_path / "log", lambda head: b"\xff\xff" + head[2:])
    with pytest.raises(StoreVersion):
        TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP)


def test_a_damaged_head_is_refused(tmp_path: Path, engine: Engine) -> None:
    TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP).close()
    _edit(tmp_path / "log", lambda head: head[:-1])
    with pytest.raises(StoreDamaged):
        TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, engine: Engine) -> None:
    TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP).close()
    (tmp_path / "log" / "epochs" / "0000" / "data.mdb").write_bytes(b"nonsense" * 4_096)
    with pytest.raises(StoreDamaged):
        TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP)


def test_an_epoch_that_was_begun_and_never_written_is_taken_up_again(tmp_path: Path, engine: Engine) -> None:
    """A kill between making the directory of a new epoch and its first commit."""
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=256)
    store.append(_leaves(0, 256), b"x")
    store.close()
    (tmp_path / "log" / "epochs" / "0001").mkdir()
    lmdb.open(str(tmp_path / "log" / "epochs" / "0001"), max_dbs=8, lib_version=LIB_VERSION).close()
    store = TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP)
    assert store.append(_leaves(256, 10), b"y") == 256
    assert store.root() == _root(engine, 266)
    store.close()


def test_what_is_not_a_whole_number_of_leaf_hashes_is_refused(tmp_path: Path, engine: Engine) -> None:
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)
    for leaves in (b"", b"x" * 31, b"x" * 33):
        with pytest.raises(EncodingInvalid):
            store.append(leaves, b"x")
    with pytest.raises(EncodingInvalid):
        store.leaf_hash(0)
    with pytest.raises(EncodingInvalid):
        store.root_at(1)
    store.close()


def test_a_fat_tile_holds_510_nodes() -> None:
    assert TILE_BYTES == 510 * 32


def _edit(path: Path, change: object) -> None:
    environment = lmdb.open(str(path / "epochs" / "0000"), max_dbs=8, map_size=SMALL_MAP, lib_version=LIB_VERSION)
    head = environment.open_db(b"head")
    with environment.begin(write=True) as transaction:
        transaction.put(b"head", change(transaction.get(b"head", db=head)), db=head)  # type: ignore[operator]  # a lambda of the tests above
    environment.close()


@pytest.mark.parametrize("pages", [2, 3, 10])
def test_a_file_that_was_cut_off_is_refused_rather_than_ending_the_process(
    tmp_path: Path, engine: Engine, pages: int
) -> None:
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)
    store.append(_leaves(0, 300), os.urandom(200_000))
    store.close()
    os.truncate(tmp_path / "log" / "epochs" / "0000" / "data.mdb", 4_096 * pages)
    with pytest.raises(StoreDamaged, match="truncated"):
        TreeStore.open(tmp_path / "log", engine, map_bytes=SMALL_MAP)
