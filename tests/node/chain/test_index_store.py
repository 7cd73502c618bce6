"""The event index: blocks applied and taken back in any order leave what the remaining blocks lead to."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import lmdb
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crypto.errors import Refusal
from node.chain import index_store
from node.chain.index_store import IndexStore, open_environment, writing
from node.errors import ChainStoreUnusable
from node.model.chain import Block

IDENTITY = b"one deployment"
KEPT = 6
keys = st.sampled_from([b"a", b"a\0", b"ab", b"b", b"b\xff", b"\xff"])
changes = st.lists(st.tuples(keys, st.binary(max_size=3)), max_size=4)


class IndexMachine(RuleBasedStateMachine):
    """An index beside its model: the blocks that it still refers to, with the rows as they were after each."""

    path: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.path, ignore_errors=True)
        self.store: IndexStore
        self.blocks: list[Block] = []
        self.states: list[dict[bytes, bytes]] = []
        self.forks = 0

    @property
    def rows(self) -> dict[bytes, bytes]:
        return self.states[-1] if self.states else {}

    @initialize()
    def create(self) -> None:
        self.store = IndexStore.create(self.path, IDENTITY)

    @rule(given_blocks=st.lists(st.tuples(st.integers(1, 3), changes), min_size=1, max_size=4))
    def apply(self, given_blocks: list[tuple[int, list[tuple[bytes, bytes]]]]) -> None:
        with self.store.batch() as batch:
            for step, some in given_blocks:
                number = (self.blocks[-1].number if self.blocks else 0) + step
                rows = dict(self.rows)
                for key, value in some:
                    assert batch.get(key) == rows.get(key)
                    batch.put(key, value)
                    rows[key] = value
                block = Block(number, bytes([self.forks % 256, number % 256] * 16), 1_000 + number)
                batch.finish_block(block)
                self.blocks.append(block)
                self.states.append(rows)
            assert batch.changed == dict(change for _, some in given_blocks for change in some)
        # The oldest are forgotten for good.
        self.blocks, self.states = self.blocks[-KEPT:], self.states[-KEPT:]

    @rule(some=changes)
    def fail(self, some: list[tuple[bytes, bytes]]) -> None:
        """An error within a batch undoes all of it, finished blocks as well."""
        with pytest.raises(KeyboardInterrupt), self.store.batch() as batch:
            for key, value in some:
                batch.put(key, value)
            batch.finish_block(Block(1 << 40, bytes(32), 1))
            raise KeyboardInterrupt

    @precondition(lambda self: len(self.blocks) > 0)
    @rule(back=st.integers(0, KEPT + 2))
    def take_back(self, back: int) -> None:
        before = self.rows
        ancestor = self.blocks[-1 - back] if back < len(self.blocks) else Block(0, bytes(32), 0) if back % 2 else None
        changed = self.store.undo_above(ancestor)
        kept = max(len(self.blocks) - back, 0)
        self.blocks, self.states = self.blocks[:kept], self.states[:kept]
        after = self.rows
        assert {key: after.get(key) for key in changed} == changed
        assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} <= changed.keys()
        self.forks += 1

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = IndexStore.open_or_create(self.path, IDENTITY)

    @precondition(lambda self: len(self.blocks) > 0)
    @rule(below=st.integers(0, 3))
    def apply_out_of_order(self, below: int) -> None:
        number = max(self.blocks[-1].number - below, 0)
        with pytest.raises(ChainStoreUnusable), self.store.batch() as batch:
            batch.put(b"a", b"twice")
            batch.finish_block(Block(number, bytes(32), 1))

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def it_is_what_its_blocks_lead_to(self) -> None:
        rows = self.rows
        assert dict(self.store.scan(b"")) == rows
        assert list(self.store.references()) == self.blocks[::-1]
        assert self.store.head() == (self.blocks[-1] if self.blocks else None)
        for block in self.blocks:
            assert self.store.reference(block.number) == block
        assert self.store.reference(1 << 40) is None
        for prefix in (b"", b"a", b"b", b"c"):
            expected = sorted(item for item in rows.items() if item[0].startswith(prefix))
            assert list(self.store.scan(prefix)) == expected
            assert self.store.last(prefix) == (expected[-1] if expected else None)
        for key in (b"a", b"ab", b"nothing"):
            assert self.store.get(key) == rows.get(key)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


def test_an_index_is_what_its_blocks_lead_to_under_any_order_of_what_can_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_store, "KEPT_BLOCKS", KEPT)
    machine = type("Machine", (IndexMachine,), {"path": tmp_path / "index"})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))


def test_the_last_row_of_a_prefix_is_that_of_the_greatest_size(tmp_path: Path) -> None:
    store = IndexStore.create(tmp_path / "index", IDENTITY)
    greatest = (1 << 64) - 1
    with store.batch() as batch:
        for size in (1, 256, greatest):
            batch.put(b"alog" + size.to_bytes(8, "big"), b"%d" % size)
        batch.put(b"aloh" + bytes(8), b"of another log")
        batch.finish_block(Block(1, bytes(32), 1))
    assert store.last(b"alog") == (b"alog" + b"\xff" * 8, b"%d" % greatest)
    assert store.last(b"alof") is None
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "of another format"])
def test_a_damaged_index_is_refused_and_made_anew_on_demand(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index"
    store = IndexStore.create(path, IDENTITY)
    with store.batch() as batch:
        batch.put(b"a", b"1")
        batch.finish_block(Block(1, bytes(32), 1))
    store.close()
    if damage == "garbage":
        (path / "data.mdb").write_bytes(b"\xa5" * 65_536)
    else:
        environment = open_environment(path, 4, 1 << 26)
        with writing(environment) as transaction:
            transaction.put(b"format", b"kiteline/chain-index/v0", db=environment.open_db(b"meta", transaction))
        environment.close()
    with pytest.raises(ChainStoreUnusable):
        IndexStore.open(path, IDENTITY)
    anew = IndexStore.open_or_create(path, IDENTITY)
    assert anew.head() is None
    assert anew.get(b"a") is None
    anew.close()


def test_used_up_address_space_is_one_refusal_and_undoes_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_store, "MAP_BYTES", 1 << 17)
    store = IndexStore.create(tmp_path / "index", IDENTITY)
    with pytest.raises(ChainStoreUnusable, match="address space"), store.batch() as batch:
        batch.put(b"a", bytes(1 << 18))
    with store.batch() as batch:
        batch.put(b"a", b"1")
        batch.finish_block(Block(1, bytes(32), 1))
    assert store.get(b"a") == b"1"
    store.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_of_the_disk_is_a_refusal_and_undoes_the_batch(tmp_path: Path, number: int) -> None:
    store = IndexStore.create(tmp_path / "index", IDENTITY)
    with pytest.raises(Refusal, match=os.strerror(number)), store.batch() as batch:
        batch.put(b"a", b"1")
        batch.finish_block(Block(1, bytes(32), 1))
        raise lmdb.DiskError(os.strerror(number)) if number == errno.ENOSPC else lmdb.Error(os.strerror(number))
    assert store.head() is None
    assert store.get(b"a") is None
    store.close()
