"""Whatever is done to a dataset in whatever order, it is what a plain list of records is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
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

from audit.errors import DiskFull, StoreLocked
from crypto.engine import Engine
from crypto.merkle import SM3_TREE, merkle_levels
from crypto.packed import Packed
from crypto.seal import open_segments
from crypto.sm3 import sm3
from node.errors import RangeInvalid
from node.stores.datasets import DatasetDirectory
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from node.stores.staging import SealedStaging
from tests.node.stores.checked_dataset import DATASET, Row, check_dataset, cut_small, directory
from tests.node.stores.durable_steps import Step, watch

KEYS = [f"键{number}" for number in range(6)]
fractions = st.floats(0, 1, allow_nan=False)


class DatasetMachine(RuleBasedStateMachine):
    """A dataset beside its model: the records published, those staged, and whether a decided version waits for room."""

    path: Path
    means: DatasetMeans

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.path, ignore_errors=True)
        self.room = 1 << 40
        self.datasets: DatasetDirectory
        self.dataset: SealedDataset
        self.staging: SealedStaging | None = None
        self.published: list[Row] = []
        self.sizes: list[int] = [0]
        self.staged: list[Row] = []
        self.waiting: list[Row] = []
        self.made = 0

    def _open(self) -> None:
        means = replace(self.means, free_bytes=lambda _path: self.room)
        self.datasets = directory(self.path, means)

    @initialize()
    def create(self) -> None:
        self._open()
        self.dataset = self.datasets.create(DATASET)

    @precondition(lambda self: self.staging is None)
    @rule()
    def begin(self) -> None:
        self.staging = self.dataset.begin_append()
        # With room again, what was decided is completed first.
        self._take(self.waiting)
        self.waiting = []
        self.staged = []

    @precondition(lambda self: self.staging is not None)
    @rule(count=st.integers(0, 40), first=st.integers(0, 5), step=st.integers(0, 5))
    def add(self, count: int, first: int, step: int) -> None:
        batch = [
            Row(b'["%d"]' % (self.made + place), KEYS[(first + step * place) % len(KEYS)]) for place in range(count)
        ]
        self.made += count
        assert self.staging is not None
        self.staging.add(Packed.of(row.record for row in batch), Packed.of(row.key.encode() for row in batch))
        self.staged += batch
        assert self.staging.size == len(self.published) + len(self.staged)

    @precondition(lambda self: self.staging is not None)
    @rule()
    def begin_another(self) -> None:
        with pytest.raises(StoreLocked):
            self.dataset.begin_append()

    @precondition(lambda self: self.staging is not None)
    @rule()
    def commit(self) -> None:
        assert self.staging is not None
        size = self.staging.commit()
        self._take(self.staged)
        assert size == len(self.published)
        self.staging, self.staged = None, []

    @precondition(lambda self: self.staging is not None)
    @rule()
    def abandon(self) -> None:
        assert self.staging is not None
        self.staging.abandon()
        self.staging, self.staged = None, []

    @precondition(lambda self: self.staging is not None and len(self.staged) > 0)
    @rule()
    def commit_without_room(self) -> None:
        assert self.staging is not None
        self.room = 0
        with pytest.raises(DiskFull, match="no room for"):
            self.staging.commit()
        self.room = 1 << 40
        self.staging, self.staged = None, []

    @precondition(lambda self: self.staging is not None and len(self.staged) > 0)
    @rule(commits=st.integers(0, 6))
    def commit_while_the_disk_fills_up(self, commits: int) -> None:
        """The disk takes so many commits and no more. The first are the tree's, the others the index's."""
        assert self.staging is not None
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, _full_after(commits))
            try:
                self.staging.commit()
            except DiskFull as refusal:
                if "decided" in str(refusal):
                    self.waiting = self.staged
            else:
                self._take(self.staged)
        self.staging, self.staged = None, []

    @rule()
    def reopen(self) -> None:
        if self.staging is not None:
            self.staging.abandon()
            self.staging, self.staged = None, []
        self.datasets.close()
        self._open()
        self.dataset = self.datasets.open(DATASET)
        self._take(self.waiting)
        self.waiting = []

    @rule(key=st.sampled_from([*KEYS, "none has this one"]), within=fractions, beyond=st.sampled_from([0, 0, 100]))
    def look_up(self, key: str, within: float, beyond: int) -> None:
        size = round(within * len(self.published)) + beyond
        newest = {row.key: index for index, row in enumerate(self.published[:size])}
        assert self.dataset.find(key, size) == newest.get(key)

    @precondition(lambda self: len(self.published) > 0)
    @rule(at=fractions, length=fractions)
    def read_range(self, at: float, length: float) -> None:
        size = len(self.published)
        start = min(round(at * size), size - 1)
        stop = start + 1 + round(length * (size - start - 1))
        found = list(self.dataset.blobs(start, stop))
        blobs = [blob for _, blob in found]
        assert self.dataset.digests(start, stop) == b"".join(map(sm3, blobs))
        opened, _ = open_segments(self.means.engine, DATASET, self.dataset.secrets(start, stop), blobs)
        first = found[0][0]
        records = [record for segment in opened for record in segment]
        assert first <= start < first + len(opened[0])
        assert records == [row.record for row in self.published[first : first + len(records)]]
        assert stop <= first + len(records) < stop + len(opened[-1])

    @rule(beyond=st.integers(1, 3))
    def read_beyond(self, beyond: int) -> None:
        size = len(self.published)
        with pytest.raises(RangeInvalid):
            self.dataset.secrets(max(size - 1, 0), size + beyond)

    @precondition(lambda self: hasattr(self, "dataset"))
    @invariant()
    def it_is_what_the_model_is(self) -> None:
        assert self.dataset.size == len(self.published)
        leaves = [self.dataset.open_record(index)[2] for index in range(len(self.published))]
        for size in self.sizes[-3:]:
            expected = merkle_levels(self.means.engine, b"".join(leaves[:size]))[-1] if size else SM3_TREE.empty()
            assert self.dataset.root(size) == expected

    def teardown(self) -> None:
        if hasattr(self, "dataset"):
            if self.staging is not None:
                self.staging.abandon()
            check_dataset(self.dataset, self.published, self.means.engine)
            self.datasets.close()

    def _take(self, version: list[Row]) -> None:
        self.published += version
        if version:
            self.sizes.append(len(self.published))


def _full_after(commits: int) -> Callable[[Step], None]:
    left = commits

    def before(step: Step) -> None:
        nonlocal left
        left -= step.kind == "commit"
        if left < 0 and step.kind == "commit":
            raise lmdb.DiskError("No space left on device")

    return before


def test_a_dataset_is_a_list_of_records_under_any_order_of_what_can_happen(
    tmp_path: Path, means: DatasetMeans, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    machine = type(
        "Machine", (DatasetMachine,), {"path": tmp_path / "datasets", "means": replace(means, random=os.urandom)}
    )
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))
