"""The at-rest key is replaced under datasets that are read and published to: nothing is lost wherever it stops, and it can be undone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import DiskFull, StoreDamaged, StoreLocked
from crypto.packed import Packed
from node.stores.at_rest import AtRestHolder, AtRestKeys
from node.stores.datasets import DatasetDirectory
from node.stores.publication import ready_path
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from tests.conftest import ROOT
from tests.node.stores.checked_dataset import DATASET, Row, check_dataset, cut_small, directory, publish, rows
from tests.node.stores.conftest import AT_REST_KEY
from tests.node.stores.durable_steps import Step, watch
from tests.node.stores.killed_rewrap import NEW_KEY
from tests.node.stores.test_dataset_damage import edit, flip

OTHER = b"e" * 32
FIRST, SECOND, THIRD = rows(0, 90), rows(90, 45), rows(1_000, 20)
SEGMENTS = 2 * 23  # of FIRST, in segments of 4, in two datasets
VALUES = SEGMENTS + 2  # and the secret of each key index

OLD_ONLY = AtRestKeys(1, {1: AT_REST_KEY})
BOTH = AtRestKeys(2, {1: AT_REST_KEY, 2: NEW_KEY})
BACK = AtRestKeys(1, {1: AT_REST_KEY, 2: NEW_KEY})
NEW_ONLY = AtRestKeys(2, {2: NEW_KEY})


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


@pytest.fixture
def holder() -> AtRestHolder:
    return AtRestHolder(OLD_ONLY)


@pytest.fixture
def own(means: DatasetMeans, holder: AtRestHolder) -> DatasetMeans:
    """Means whose keys the test replaces."""
    return replace(means, at_rest=holder)


@pytest.fixture
def datasets(tmp_path: Path, own: DatasetMeans) -> DatasetDirectory:
    """Two datasets under key 1."""
    made = directory(tmp_path / "datasets", own)
    for dataset_id in (DATASET, OTHER):
        publish(made.create(dataset_id), FIRST)
    return made


def check_both(datasets: DatasetDirectory, means: DatasetMeans) -> None:
    for dataset_id in (DATASET, OTHER):
        check_dataset(datasets.open(dataset_id), FIRST, means.engine)


def reopened(path: Path, means: DatasetMeans, keys: AtRestKeys) -> DatasetDirectory:
    return directory(path, replace(means, at_rest=AtRestHolder(keys)))


def test_every_value_is_under_the_new_key_and_the_old_one_is_not_needed(
    datasets: DatasetDirectory, tmp_path: Path, own: DatasetMeans, holder: AtRestHolder
) -> None:
    before = [datasets.open(DATASET).secrets(0, 90), datasets.open(DATASET).digests(0, 90)]
    holder.replace(BOTH)
    assert (datasets.under(1), datasets.under(2)) == (VALUES, 0)
    told: list[tuple[int, int]] = []
    report = datasets.rewrap(2, lambda done, total: told.append((done, total)))
    assert (report.datasets, report.values, report.rewrapped) == (2, VALUES, VALUES)
    assert (report.waiting, report.damaged_count) == (0, 0)
    assert told[-1] == (VALUES, VALUES)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) >= 2 * (1 + 4)  # in batches
    assert (datasets.under(1), datasets.under(2)) == (0, VALUES)
    holder.replace(NEW_ONLY)
    check_both(datasets, own)
    datasets.close()
    again = reopened(tmp_path / "datasets", own, NEW_ONLY)
    check_both(again, own)
    assert [again.open(DATASET).secrets(0, 90), again.open(DATASET).digests(0, 90)] == before
    publish(again.open(DATASET), SECOND)
    check_dataset(again.open(DATASET), FIRST + SECOND, own.engine)
    again.close()


def test_doing_it_again_changes_nothing(datasets: DatasetDirectory, tmp_path: Path, holder: AtRestHolder) -> None:
    holder.replace(BOTH)
    datasets.rewrap(2, quiet)
    index = tmp_path / "datasets" / DATASET.hex() / "index" / "data.mdb"
    content = index.read_bytes()
    assert datasets.rewrap(2, quiet).rewrapped == 0
    assert index.read_bytes() == content
    datasets.close()


def test_new_values_are_wrapped_under_the_active_key_and_old_ones_read(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    holder.replace(BOTH)
    publish(datasets.open(DATASET), SECOND)
    datasets.create(b"f" * 32)
    assert (datasets.under(1), datasets.under(2)) == (VALUES, 12 + 1)
    check_dataset(datasets.open(DATASET), FIRST + SECOND, own.engine)
    datasets.close()


def test_a_rehearsal_writes_nothing_and_says_what_would_be_done(
    datasets: DatasetDirectory, tmp_path: Path, own: DatasetMeans, holder: AtRestHolder
) -> None:
    holder.replace(BOTH)

    def content() -> list[bytes]:
        return [path.read_bytes() for path in sorted(tmp_path.rglob("data.mdb"))]

    before = content()
    report = datasets.rehearse_rewrap(2, quiet)
    assert (report.datasets, report.values, report.rewrapped) == (2, VALUES, VALUES)
    assert content() == before
    assert datasets.under(1) == VALUES
    check_both(datasets, own)
    datasets.close()


def test_it_is_undone_half_way_and_done_after_all(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    holder.replace(BOTH)

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        datasets.rewrap(2, stop)
    half = datasets.under(2)
    assert 0 < half < VALUES
    assert datasets.under(1) == VALUES - half
    check_both(datasets, own)
    holder.replace(BACK)
    assert datasets.rewrap(1, quiet).rewrapped == half
    assert datasets.under(2) == 0
    holder.replace(OLD_ONLY)
    check_both(datasets, own)
    holder.replace(BOTH)
    assert datasets.rewrap(2, quiet).rewrapped == VALUES
    datasets.close()


def test_an_absent_key_is_named_and_nothing_changes(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    for call in (datasets.rewrap, datasets.rehearse_rewrap):
        with pytest.raises(StoreDamaged, match="at-rest key 3") as refused:
            call(3, quiet)
        assert refused.value.details == {"number": "3"}
    datasets.close()
    holder.replace(NEW_ONLY)
    for read in (
        lambda: datasets.open(DATASET).secrets(0, 90),
        lambda: datasets.open(DATASET).find("键0", 90),
        lambda: datasets.open(DATASET).open_record(3),
    ):
        with pytest.raises(StoreDamaged, match="at-rest key 1") as refused:
            read()
        assert refused.value.details == {"number": "1"}
    with pytest.raises(StoreDamaged, match=f"{VALUES} wrapped values do not open.*at-rest key 1"):
        datasets.rewrap(2, quiet)
    holder.replace(OLD_ONLY)
    check_both(datasets, own)
    datasets.close()


@pytest.mark.parametrize(
    ("database", "key", "position", "place"),
    [
        ("segments", (40).to_bytes(8, "big"), -1, "segment at record 40"),
        ("segments", (40).to_bytes(8, "big"), 32, "segment at record 40"),
        ("segments", (40).to_bytes(8, "big"), 33, "segment at record 40"),
        ("own", b"index secret", 20, "index secret"),
    ],
)
def test_a_damaged_value_is_named_and_all_others_are_brought_over(  # where it is damaged
    datasets: DatasetDirectory,
    tmp_path: Path,
    own: DatasetMeans,
    database: str,
    key: bytes,
    position: int,
    place: str,
) -> None:
    datasets.close()
    home = tmp_path / "datasets" / DATASET.hex()
    edit(home, "index", database, key, flip(position))
    again = reopened(tmp_path / "datasets", own, BOTH)
    for rewrap in (again.rehearse_rewrap, again.rewrap, again.rewrap):
        with pytest.raises(StoreDamaged, match=f"dataset {DATASET.hex()}, {place}") as refused:
            rewrap(2, quiet)
        assert refused.value.details["dataset"] == DATASET.hex()
        assert refused.value.details["place"] == place
        assert refused.value.details["damaged"] == "1"
    assert refused.value.details["rewrapped"] == "0"  # there was nothing else left
    check_dataset(again.open(OTHER), FIRST, own.engine)
    assert again.open(DATASET).open_record(80)[0] == FIRST[80].record
    # Mended, as from a backup, it is brought over like the rest.
    again.close()
    edit(home, "index", database, key, flip(position))
    again = reopened(tmp_path / "datasets", own, BOTH)
    assert again.under(1) == 1
    assert again.rewrap(2, quiet).rewrapped == 1
    check_both(again, own)
    again.close()


def test_a_dataset_that_cannot_be_opened_does_not_keep_the_others(
    datasets: DatasetDirectory, tmp_path: Path, own: DatasetMeans
) -> None:
    datasets.close()
    shutil.move(tmp_path / "datasets" / DATASET.hex() / "tree", tmp_path / "aside")
    again = reopened(tmp_path / "datasets", own, BOTH)
    with pytest.raises(StoreDamaged, match=f"dataset {DATASET.hex()}, store"):
        again.rewrap(2, quiet)
    shutil.move(tmp_path / "aside", tmp_path / "datasets" / DATASET.hex() / "tree")
    assert again.under(1) == VALUES // 2
    assert again.rewrap(2, quiet).rewrapped == VALUES // 2
    again.close()


def test_a_purged_dataset_is_passed_over_also_when_it_is_purged_meanwhile(
    datasets: DatasetDirectory, holder: AtRestHolder
) -> None:
    holder.replace(BOTH)

    def purge(done: int, _total: int) -> None:
        if done == 1:
            datasets.shred(DATASET)

    report = datasets.rewrap(2, purge)
    assert report.rewrapped == VALUES // 2
    assert (datasets.under(1), datasets.under(2)) == (0, VALUES // 2)
    datasets.close()


def test_one_rewrap_at_a_time(datasets: DatasetDirectory, holder: AtRestHolder) -> None:
    holder.replace(BOTH)
    refused: list[type[Exception]] = []

    def another(_done: int, _total: int) -> None:
        try:
            datasets.rewrap(1, quiet)
        except StoreLocked as refusal:
            refused.append(type(refusal))

    datasets.rewrap(2, another)
    assert set(refused) == {StoreLocked}
    datasets.close()


def test_a_publication_that_began_under_the_old_key_is_counted_until_it_is_brought_over(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    """The old key may be destroyed when nothing is under it: also nothing that is still on its way."""
    dataset = datasets.open(DATASET)
    begun = dataset.begin_append()
    _add(begun.add, SECOND[:30])
    holder.replace(BOTH)
    report = datasets.rewrap(2, quiet)
    assert report.waiting == datasets.under(1) == 7  # full segments; the rest is not sealed yet
    _add(begun.add, SECOND[30:])
    assert datasets.under(1) == 7
    begun.commit()
    assert datasets.under(1) == 7
    assert datasets.rewrap(2, quiet).rewrapped == 7
    assert datasets.under(1) == 0
    holder.replace(NEW_ONLY)
    check_dataset(dataset, FIRST + SECOND, own.engine)
    begun = dataset.begin_append()
    _add(begun.add, THIRD)
    assert datasets.under(2) == VALUES + 12 + 4
    begun.abandon()
    assert datasets.under(2) == VALUES + 12
    datasets.close()


def _add(add: Callable[[Packed, Packed], None], some: Sequence[Row]) -> None:
    add(Packed.of(row.record for row in some), Packed.of(row.key.encode() for row in some))


def test_versions_are_published_in_the_midst_of_it(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    dataset = datasets.open(DATASET)
    holder.replace(BOTH)
    published = list(FIRST)

    def more(_done: int, _total: int) -> None:
        version = rows(len(published), 7)
        publish(dataset, version)
        published.extend(version)
        check_dataset(dataset, published, own.engine)

    report = datasets.rewrap(2, more)
    assert len(published) >= 90 + 7 * 10
    assert report.rewrapped == VALUES
    assert datasets.under(1) == 0
    holder.replace(NEW_ONLY)
    check_dataset(dataset, published, own.engine)
    datasets.close()


def test_a_decided_publication_that_waits_for_room_is_counted_and_brought_over(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    dataset = datasets.open(DATASET)
    tree_commits = 0

    def full(step: Step) -> None:
        nonlocal tree_commits
        tree_commits += step.kind == "commit"
        if tree_commits >= 2:
            raise DiskFull("no room")

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, full)
        with pytest.raises(DiskFull, match="decided"):
            publish(dataset, SECOND)
        holder.replace(BOTH)
        assert ready_path(dataset._path).exists()
        assert datasets.under(1) == VALUES + 12
        report = datasets.rehearse_rewrap(2, quiet)
        assert (report.rewrapped, report.waiting) == (VALUES, 12)
    report = datasets.rewrap(2, quiet)
    assert (report.rewrapped, report.waiting) == (VALUES + 12, 0)
    assert datasets.under(1) == 0
    holder.replace(NEW_ONLY)
    check_dataset(dataset, FIRST + SECOND, own.engine)
    datasets.close()


def test_a_full_disk_stops_it_and_loses_nothing(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    holder.replace(BOTH)
    commits = 0

    def full(step: Step) -> None:
        nonlocal commits
        commits += step.kind == "commit"
        if commits > 3:
            raise DiskFull("no room")

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, full)
        with pytest.raises(DiskFull):
            datasets.rewrap(2, quiet)
    assert 0 < datasets.under(2) < VALUES
    check_both(datasets, own)
    datasets.rewrap(2, quiet)
    assert datasets.under(1) == 0
    datasets.close()


def test_readers_see_the_same_secrets_all_the_time(
    datasets: DatasetDirectory, own: DatasetMeans, holder: AtRestHolder
) -> None:
    """Three threads read while keys go to and fro, and every pass is made while a re-wrap is under way."""
    dataset: SealedDataset = datasets.open(DATASET)
    secrets = dataset.secrets(0, 90)
    done = threading.Event()
    passed = threading.Semaphore(0)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                assert dataset.secrets(0, 90) == secrets
                assert dataset.open_record(17)[0] == FIRST[17].record
                assert dataset.find(FIRST[40].key, 90) == 40
                passed.release()
        except BaseException as failure:  # noqa: BLE001  # reported by the test
            failures.append(failure)
            passed.release()

    def wait(_done: int, _total: int) -> None:
        assert passed.acquire(timeout=60)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for keys in (BOTH, BACK, BOTH):
            holder.replace(keys)
            datasets.rewrap(keys.active, wait)
    finally:
        done.set()
        for reader in readers:
            reader.join(60)
    assert failures == []
    assert datasets.under(1) == 0
    datasets.close()


def test_killed_at_any_step_the_same_call_finishes(
    datasets: DatasetDirectory, tmp_path: Path, own: DatasetMeans
) -> None:
    datasets.close()
    copies = tmp_path / "copies"
    copies.mkdir()
    program = [sys.executable, "-m", "tests.node.stores.killed_rewrap", str(tmp_path / "datasets"), str(copies)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    places = [(copies / line[:3], line[4:]) for line in ended.stdout.splitlines()]
    assert sum(place == "after commit index" for _, place in places) >= 2 * (1 + 4)
    assert places[-1][1] == "-"
    counted = []
    for path, place in places:
        try:
            again = reopened(path, own, BOTH)
            counted.append(again.under(2))
            assert again.under(1) == VALUES - counted[-1]
            check_both(again, own)
            assert again.rewrap(2, quiet).rewrapped == VALUES - counted[-1]
            again.close()
            again = reopened(path, own, NEW_ONLY)
            check_both(again, own)
            again.close()
        except Exception as failure:
            failure.add_note(f"killed {place}, {path}")
            raise
    assert counted == sorted(counted)
    assert (counted[0], counted[-1]) == (0, VALUES)


def test_no_key_is_shown() -> None:
    assert repr(BOTH) == "AtRestKeys(active=2, numbers=[1, 2])"
