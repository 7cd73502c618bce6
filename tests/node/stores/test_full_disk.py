"""A disk that is full at any step of a publication is one refusal, which says whether the publication will still come."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from audit.errors import DiskFull, StoreDamaged
from crypto.engine import Engine
from node.stores.publication import partial_path, ready_path
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from tests.conftest import ROOT
from tests.node.stores.checked_dataset import DATASET, Row, check_dataset, cut_small, directory, publish, rows
from tests.node.stores.durable_steps import Callback, Step, watch

FIRST, SECOND, THIRD = rows(0, 30), rows(30, 45), rows(75, 20)
MAX_STEPS = 100


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


def full(step: Step) -> None:
    """What the system says when there is no room. Deleting needs none."""
    if step.kind == "commit":
        raise lmdb.DiskError(os.strerror(errno.ENOSPC))
    if step.kind != "delete":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(step.path))


def at_step(number: int, fault: Callback, *, stays: bool) -> Callback:
    """The fault strikes at one step, or at it and all that follow."""
    steps = 0

    def before(step: Step) -> None:
        nonlocal steps
        steps += 1
        if steps == number or (stays and steps > number):
            fault(step)

    return before


def refused(dataset: SealedDataset, version: Sequence[Row], before: Callback) -> DiskFull | None:
    """Publish while steps fail; the refusal, if there is one."""
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, before)
        try:
            publish(dataset, version)
        except DiskFull as refusal:
            return refusal
    return None


def settled(path: Path, means: DatasetMeans, refusal: DiskFull | None, *, reopen: bool) -> None:
    """With room again, the next publication works, and the refused one is there exactly if its refusal said so."""
    datasets = directory(path, means)
    dataset = datasets.open(DATASET)
    if reopen:
        datasets.close()
        dataset = directory(path, means).open(DATASET)
    publish(dataset, THIRD)
    is_decided = refusal is None or "decided" in str(refusal)
    check_dataset(dataset, [*FIRST, *(SECOND if is_decided else []), *THIRD], means.engine)
    dataset.close()


@pytest.mark.parametrize("stays", [False, True])
def test_a_full_disk_at_any_step_refuses_and_the_refusal_says_whether_the_version_will_come(
    tmp_path: Path,
    means: DatasetMeans,
    stays: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    outcomes = set()
    for number in range(1, MAX_STEPS):
        path = tmp_path / str(number)
        datasets = directory(path, means)
        dataset = datasets.create(DATASET)
        publish(dataset, FIRST)
        refusal = refused(dataset, SECOND, at_step(number, full, stays=stays))
        if refusal is not None:
            # Until there is room, what was published before is served as before.
            check_dataset(dataset, FIRST, means.engine)
            assert dataset.find(SECOND[0].key, 1 << 40) is None
            assert not partial_path(path / DATASET.hex()).exists()
            assert ready_path(path / DATASET.hex()).exists() <= ("decided" in str(refusal))
        datasets.close()
        settled(path, means, refusal, reopen=number % 2 == 0)
        outcomes.add(None if refusal is None else "decided" in str(refusal))
        if refusal is None:
            break
    assert number < MAX_STEPS - 1
    assert outcomes == {None, True, False}


def test_a_version_of_which_nothing_is_in_the_tree_yet_is_taken_back(tmp_path: Path, means: DatasetMeans) -> None:
    dataset = directory(tmp_path, means).create(DATASET)
    publish(dataset, FIRST)

    def full_for_every_commit(step: Step) -> None:
        if step.kind == "commit":
            full(step)

    refusal = refused(dataset, SECOND, full_for_every_commit)
    assert refusal is not None
    assert "decided" not in str(refusal)
    assert not ready_path(tmp_path / DATASET.hex()).exists()
    dataset.begin_append().abandon()
    check_dataset(dataset, FIRST, means.engine)
    dataset.close()


def test_while_a_decided_version_waits_for_room_no_other_begins(tmp_path: Path, means: DatasetMeans) -> None:
    dataset = directory(tmp_path, means).create(DATASET)
    publish(dataset, FIRST)
    commits = 0

    def full_from_the_second_commit(step: Step) -> None:
        nonlocal commits
        commits += step.kind == "commit"
        if commits >= 2:
            full(step)

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, full_from_the_second_commit)
        with pytest.raises(DiskFull, match="decided"):
            publish(dataset, SECOND)
        with pytest.raises(DiskFull, match="waits for space"):
            dataset.begin_append()
        dataset.close()
        # A restart without room serves the earlier version, too.
        dataset = directory(tmp_path, means).open(DATASET)
        check_dataset(dataset, FIRST, means.engine)
        with pytest.raises(DiskFull, match="waits for space"):
            dataset.begin_append()
    dataset.begin_append().abandon()
    check_dataset(dataset, [*FIRST, *SECOND], means.engine)
    dataset.close()


@pytest.mark.parametrize("stays", [False, True])
def test_a_failing_disk_at_any_step_is_a_refusal_and_never_half_a_version(
    tmp_path: Path,
    means: DatasetMeans,
    stays: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    def failing(step: Step) -> None:
        if step.kind == "commit":
            raise lmdb.Error(os.strerror(errno.EIO))
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(step.path))

    for number in range(1, MAX_STEPS):
        path = tmp_path / str(number)
        datasets = directory(path, means)
        dataset = datasets.create(DATASET)
        publish(dataset, FIRST)
        try:
            with pytest.MonkeyPatch.context() as patch:
                watch(patch, at_step(number, failing, stays=stays))
                publish(dataset, SECOND)
            is_refused = False
        except StoreDamaged:
            is_refused = True
        datasets.close()
        dataset = directory(path, means).open(DATASET)
        check_dataset(dataset, {30: FIRST, 75: FIRST + SECOND}[dataset.size], means.engine)
        dataset.close()
        if not is_refused:
            break
    assert 10 < number < MAX_STEPS - 1


def test_a_publication_that_would_not_fit_is_refused_before_it_is_decided(tmp_path: Path, means: DatasetMeans) -> None:
    room = 1 << 30
    measured = replace(means, free_bytes=lambda _path: room)
    dataset = directory(tmp_path, measured).create(DATASET)
    publish(dataset, FIRST)
    room = 64 * 1024 * 1024
    with pytest.raises(DiskFull, match="no room for"):
        publish(dataset, SECOND)
    check_dataset(dataset, FIRST, means.engine)
    room += 1 << 20
    publish(dataset, SECOND)
    check_dataset(dataset, [*FIRST, *SECOND], means.engine)
    dataset.close()


def test_a_full_disk_at_any_step_of_a_creation_is_one_refusal(
    tmp_path: Path, means: DatasetMeans, engine: Engine
) -> None:
    for number in range(1, MAX_STEPS):
        datasets = directory(tmp_path / str(number), means)
        is_refused = False
        try:
            with pytest.MonkeyPatch.context() as patch:
                watch(patch, at_step(number, full, stays=False))
                datasets.create(DATASET)
        except DiskFull:
            is_refused = True
        if is_refused and DATASET not in datasets.ids():
            datasets.create(DATASET)
        check_dataset(datasets.open(DATASET), [], engine)
        datasets.close()
        if not is_refused:
            break
    assert 5 < number < MAX_STEPS - 1


ON_A_SMALL_DISK = """
import os, subprocess, sys
from pathlib import Path
from audit.errors import DiskFull
from crypto.engine import load_engine
from node.stores.sealed_dataset import DatasetMeans
from tests.node.stores.checked_dataset import DATASET, check_dataset, directory, publish, rows
from tests.node.stores.conftest import at_rest
disk, size = Path(sys.argv[1]), int(sys.argv[2])
engine = load_engine()
# The room is asked of nobody, so that the disk itself has to say no.
means = DatasetMeans(engine, os.urandom, at_rest, map_bytes=1 << 28, free_bytes=lambda _path: 1 << 40)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "kiteline", str(disk)], check=True)
first, second, third = rows(0, 3_000), rows(3_000, 20_000), rows(23_000, 500)
dataset = directory(disk / "datasets", means).create(DATASET)
publish(dataset, first, 3_000)
subprocess.run(["mount", "-o", f"remount,size={size}k", str(disk)], check=True)
outcome = "published"
try:
    publish(dataset, second, 5_000)
except DiskFull as refusal:
    outcome = "decided" if "decided" in str(refusal) else "refused"
    assert dataset.size == 3_000
    dataset.open_record(17)
subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
dataset.close()
dataset = directory(disk / "datasets", means).open(DATASET)
publish(dataset, third)
check_dataset(dataset, [*first, *([] if outcome == "refused" else second), *third], engine)
dataset.close()
print(outcome)
"""


def test_a_disk_that_really_is_full_says_so_and_serves_on(tmp_path: Path) -> None:
    """A file system in memory, of which each child makes its own: full while the file, the tree or the index is written."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run(
            [*alone, "mount", "-t", "tmpfs", "x", str(tmp_path)], check=True, capture_output=True, timeout=30
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody mount a disk in a namespace of his own")
    outcomes = []
    for kilobytes in (1_000, 2_500, 4_000, 7_000):
        program = [*alone, sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path), str(kilobytes)]
        ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, (kilobytes, ended.stderr)
        outcomes.append(ended.stdout.strip())
    assert set(outcomes) == {"refused", "decided", "published"}
