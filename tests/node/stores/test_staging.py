"""Staging: however the batches come, the same segments are sealed; what is wrong or too much leaves nothing behind."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.engine import Engine
from crypto.packed import Packed
from node.errors import InternalError, RequestTooLarge
from node.model.records import MAX_RECORD_SIZE
from node.stores import staging
from node.stores.publication import partial_path, ready_path
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from node.stores.staging import SealedStaging
from tests.node.stores.checked_dataset import DATASET, Row, check_dataset, cut_small, directory, publish, rows


@pytest.fixture
def dataset(tmp_path: Path, means: DatasetMeans) -> SealedDataset:
    return directory(tmp_path, means).create(DATASET)


def add(begun: SealedStaging, some: list[Row]) -> None:
    begun.add(Packed.of(row.record for row in some), Packed.of(row.key.encode() for row in some))


def untouched(dataset: SealedDataset, engine: Engine) -> None:
    """Nothing was published or left, and the next version can be staged."""
    assert list(dataset._path.glob("publication.*")) == []
    check_dataset(dataset, [], engine)
    publish(dataset, rows(0, 5))
    check_dataset(dataset, rows(0, 5), engine)
    dataset.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 90), max_size=6), st.integers(0, 20))
def test_the_segments_do_not_depend_on_the_batches(
    tmp_path_factory: pytest.TempPathFactory, means: DatasetMeans, batches: list[int], before: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        dataset = directory(tmp_path_factory.mktemp("datasets"), means).create(DATASET)
        everything = rows(0, before + sum(batches), keys=50)
        publish(dataset, everything[:before], 100)
        begun = dataset.begin_append()
        assert begun.size == before
        for start, stop in pairwise([before + sum(batches[:count]) for count in range(len(batches) + 1)]):
            add(begun, everything[start:stop])
            assert begun.size == stop
            assert dataset.size == before
        assert begun.commit() == len(everything)
        check_dataset(dataset, everything, means.engine)
        firsts = [first for first, _ in dataset.blobs(0, len(everything))] if everything else []
        assert firsts == [*range(0, before, 4), *range(before, len(everything), 4)]
        dataset.close()


def test_what_waits_in_memory_is_bounded_while_records_come(
    dataset: SealedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    begun = dataset.begin_append()
    sealed = []
    for start in range(0, 300, 10):
        add(begun, rows(start, 10))
        assert begun._pending_records < 12
        assert sum(map(len, begun._pending)) == begun._pending_records
        sealed.append(begun._writer.written)
    assert sealed == sorted(sealed)
    assert len(set(sealed)) > 20
    assert begun.commit() == 300
    dataset.close()


def test_a_large_record_counts_by_its_bytes(dataset: SealedDataset, means: DatasetMeans) -> None:
    longest = [Row(b'["%d' % number + b"z" * (MAX_RECORD_SIZE - 5) + b'"]', f"{number}") for number in range(3)]
    begun = dataset.begin_append()
    for row in longest:
        add(begun, [row])
    assert begun._pending_bytes <= staging.GROUP_BYTES
    begun.commit()
    assert [first for first, _ in dataset.blobs(0, 3)] == [0, 1, 2]
    check_dataset(dataset, longest, means.engine)
    dataset.close()


def test_sealing_goes_on_when_bytes_rather_than_records_fill_a_group(dataset: SealedDataset) -> None:
    begun = dataset.begin_append()
    head = begun._writer.written
    heavy = [Row(b'["%d' % number + b"z" * 900_000 + b'"]', f"{number}") for number in range(10)]
    add(begun, heavy)
    assert begun._writer.written > head + 8 * 900_000
    assert begun._pending_bytes < 2 * 900_100
    begun.abandon()
    dataset.close()


def test_a_version_without_records_changes_nothing(dataset: SealedDataset, means: DatasetMeans) -> None:
    assert dataset.begin_append().commit() == 0
    begun = dataset.begin_append()
    begun.add(Packed.of([]), Packed.of([]))
    begun.add(Packed.of([]), Packed.of([]))
    assert begun.commit() == 0
    untouched(dataset, means.engine)


def test_an_abandoned_version_leaves_nothing(
    dataset: SealedDataset, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    begun = dataset.begin_append()
    add(begun, rows(100, 40))
    assert partial_path(dataset._path).exists()
    begun.abandon()
    begun.abandon()
    untouched(dataset, means.engine)


def test_a_staging_that_ended_takes_nothing_more(dataset: SealedDataset, means: DatasetMeans) -> None:
    committed, abandoned = dataset.begin_append(), None
    add(committed, rows(0, 5))
    committed.commit()
    committed.abandon()
    abandoned = dataset.begin_append()
    abandoned.abandon()
    committed.abandon()
    for ended in (committed, abandoned):
        with pytest.raises(InternalError, match="committed or abandoned"):
            add(ended, rows(5, 1))
        with pytest.raises(InternalError, match="committed or abandoned"):
            ended.commit()
    assert not ready_path(dataset._path).exists()
    check_dataset(dataset, rows(0, 5), means.engine)
    dataset.close()


def test_a_staging_that_ended_does_not_free_the_place_of_the_next(dataset: SealedDataset) -> None:
    ended = dataset.begin_append()
    ended.abandon()
    begun = dataset.begin_append()
    ended.abandon()
    with pytest.raises(Exception, match="under way"):
        dataset.begin_append()
    begun.abandon()
    dataset.close()


@pytest.mark.parametrize(
    "batches",
    [
        [(1, 1), (1, None)],
        [(1, None), (1, 1)],
        [(2, 1)],
        [(1, 2)],
        [(0, 0), (1, None)],
    ],
)
def test_either_every_record_has_a_key_or_none(
    dataset: SealedDataset, means: DatasetMeans, batches: list[tuple[int, int | None]]
) -> None:
    begun = dataset.begin_append()
    *earlier, (records, keys) = batches

    def stage(count: int, key_count: int | None) -> None:
        begun.add(Packed.of([b"[1]"] * count), None if key_count is None else Packed.of([b"k"] * key_count))

    for batch in earlier:
        stage(*batch)
    with pytest.raises(InternalError, match="every record has a key or none"):
        stage(records, keys)
    with pytest.raises(InternalError):
        begun.commit()
    untouched(dataset, means.engine)


def test_a_publication_above_its_limit_is_refused_as_soon_as_it_shows(
    tmp_path: Path, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    dataset = directory(tmp_path, replace(means, max_publish_bytes=2_000)).create(DATASET)
    begun = dataset.begin_append()
    add(begun, rows(0, 12))
    with pytest.raises(RequestTooLarge) as refused:
        for start in range(12, 120, 12):
            add(begun, rows(start, 12))
    assert refused.value.details == {"limit": "2000"}
    at_the_end = dataset.begin_append()
    add(at_the_end, [Row(b'["%b"]' % (b"x" * 3_000), "k")])
    with pytest.raises(RequestTooLarge):
        at_the_end.commit()
    untouched(dataset, means.engine)


@pytest.mark.parametrize("failing", ["engine", "random"])
def test_a_failure_while_sealing_ends_the_staging_and_leaves_nothing(
    tmp_path: Path, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    cut_small(monkeypatch)
    is_broken = False

    def random(size: int) -> bytes:
        if is_broken and failing == "random":
            raise RuntimeError("no entropy")
        return os.urandom(size)

    dataset = directory(tmp_path, replace(means, random=random)).create(DATASET)
    begun = dataset.begin_append()
    add(begun, rows(100, 12))
    is_broken = True
    with monkeypatch.context() as patch:
        if failing == "engine":
            patch.setattr(staging, "seal_segments", _broken)
        with pytest.raises(RuntimeError):
            add(begun, rows(112, 12))
    is_broken = False
    with pytest.raises(InternalError):
        begun.commit()
    untouched(dataset, means.engine)


def _broken(*_given: object) -> None:
    raise RuntimeError("the engine failed")
