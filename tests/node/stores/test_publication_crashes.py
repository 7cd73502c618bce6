"""A publication that is cut short anywhere is in the dataset as a whole or not at all, and the next one works."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from crypto.engine import Engine
from node.stores.publication import partial_path, ready_path
from node.stores.sealed_dataset import DatasetMeans
from tests.conftest import ROOT
from tests.node.stores.checked_dataset import DATASET, Row, check_dataset, cut_small, directory, publish, rows
from tests.node.stores.durable_steps import Step, SyncedDisk, watch
from tests.node.stores.killed_publication import FIRST, SECOND

THIRD = rows(1_000, 20)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


@pytest.fixture
def original(tmp_path: Path, means: DatasetMeans) -> Path:
    """Datasets of which one has a first version."""
    path = tmp_path / "original"
    datasets = directory(path, means)
    publish(datasets.create(DATASET), FIRST)
    datasets.close()
    return path


@dataclass(frozen=True)
class Survivor:
    """What was left at one point."""

    path: Path
    place: str

    def check(self, means: DatasetMeans, expected: Sequence[Row] | None = None) -> int:
        """Open it, check that it is whole, publish to it; gives the size that it had. `expected` None: old or new."""
        datasets = directory(self.path, means)
        dataset = datasets.open(DATASET)
        size = dataset.size
        held = expected if expected is not None else {30: FIRST, 75: FIRST + SECOND}[size]
        check_dataset(dataset, held, means.engine)
        home = self.path / DATASET.hex()
        assert not partial_path(home).exists()
        assert not ready_path(home).exists()
        publish(dataset, THIRD)
        check_dataset(dataset, [*held, *THIRD], means.engine)
        datasets.close()
        return size


def test_a_publication_killed_at_any_step_is_there_from_its_rename_on_and_not_before(
    original: Path, tmp_path: Path, means: DatasetMeans
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    program = [sys.executable, "-m", "tests.node.stores.killed_publication", str(original), str(copies)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    killed = [Survivor(copies / line[:3], line[4:]) for line in ended.stdout.splitlines()]
    places = [survivor.place for survivor in killed]
    # The walk went through all that there is: records written, the decision, the tree and the index in several commits.
    assert places.count("after commit tree") >= 2
    assert places.count("after commit index") >= 2
    assert places[-1] == "-"
    decided = places.index("after rename publication.partial")
    for point, survivor in enumerate(killed):
        expected = FIRST + SECOND if point >= decided else FIRST
        try:
            survivor.check(means, expected)
        except Exception as failure:
            failure.add_note(f"killed {survivor.place}, {survivor.path}")
            raise


def test_a_power_cut_at_any_step_leaves_the_whole_publication_or_none(
    original: Path, tmp_path: Path, means: DatasetMeans
) -> None:
    disk = SyncedDisk(original)
    left: list[Survivor] = []

    def cut(step: Step) -> None:
        disk.after(step)
        left.append(Survivor(tmp_path / f"cut-{len(left)}", f"after {step}"))
        disk.write_to(left[-1].path)

    datasets = directory(original, means)
    dataset = datasets.open(DATASET)
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, cut)
        publish(dataset, SECOND)
    datasets.close()
    sizes = []
    for survivor in left:
        try:
            sizes.append(survivor.check(means))
        except Exception as failure:
            failure.add_note(f"power cut {survivor.place}")
            raise
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (30, 75)


def test_a_recovery_that_is_cut_short_is_recovered_from(original: Path, tmp_path: Path, means: DatasetMeans) -> None:
    datasets = directory(original, means)
    dataset = datasets.open(DATASET)

    def killed(step: Step) -> None:
        if step.kind == "commit":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, killed)
        with pytest.raises(KeyboardInterrupt):
            publish(dataset, SECOND)
    datasets.close()
    for commits in range(8):
        copy = tmp_path / f"copy-{commits}"
        shutil.copytree(original, copy)
        if not _open_and_stop(copy, means, commits):
            break
        Survivor(copy, f"at the {commits + 1}th commit of the recovery").check(means, FIRST + SECOND)
    assert commits >= 4


def _open_and_stop(path: Path, means: DatasetMeans, commits: int) -> bool:
    """Open the dataset, which recovers it, and stop at a commit; false if the recovery had no more than `commits`."""
    left = commits

    def stop(step: Step) -> None:
        nonlocal left
        left -= step.kind == "commit"
        if left < 0:
            raise KeyboardInterrupt

    datasets = directory(path, means)
    try:
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, stop)
            datasets.open(DATASET)
    except KeyboardInterrupt:
        return True
    finally:
        datasets.close()
    return False


def test_a_dataset_whose_creation_was_killed_is_created_again(
    tmp_path: Path, means: DatasetMeans, engine: Engine
) -> None:
    for last in range(1, 60):
        path = tmp_path / str(last)
        steps = 0

        def stop(_step: Step, last: int = last) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                raise KeyboardInterrupt

        datasets = directory(path, means)
        try:
            with pytest.MonkeyPatch.context() as patch:
                watch(patch, stop)
                datasets.create(DATASET)
        except KeyboardInterrupt:
            datasets.close()
            datasets = directory(path, means)
            if DATASET not in datasets.ids():
                datasets.create(DATASET)
        dataset = datasets.open(DATASET)
        check_dataset(dataset, [], engine)
        publish(dataset, FIRST)
        check_dataset(dataset, FIRST, engine)
        datasets.close()
        if steps < last:
            break
    assert 5 < last < 59
