"""The directory of a provider's datasets: create is not open, and what is open is the same for all who ask."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from audit.errors import StoreDamaged, StoreExists, StoreLocked
from node.errors import DatasetUnknown
from node.stores.datasets import DatasetDirectory
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from tests.node.stores.checked_dataset import DATASET, PROVIDER, check_dataset, directory, publish, rows

OTHER = b"\x00" * 32


def test_a_dataset_is_created_once_and_opened_only_if_it_was(tmp_path: Path, means: DatasetMeans) -> None:
    datasets = directory(tmp_path / "datasets", means)
    for unknown in (DATASET, b"", b"d" * 31, b"d" * 33):
        with pytest.raises(DatasetUnknown):
            datasets.open(unknown)
    assert list(datasets.ids()) == []
    created = datasets.create(DATASET)
    assert datasets.open(DATASET) is created
    with pytest.raises(StoreExists):
        datasets.create(DATASET)
    with pytest.raises(DatasetUnknown):
        datasets.create(b"d" * 31)
    datasets.close()
    with pytest.raises(StoreExists):
        directory(tmp_path / "datasets", means).create(DATASET)


def test_all_datasets_are_listed_in_order_after_a_restart_and_nothing_else_is(
    tmp_path: Path, means: DatasetMeans
) -> None:
    datasets = directory(tmp_path, means)
    for dataset_id in (DATASET, OTHER, b"\xff" * 32):
        publish(datasets.create(dataset_id), rows(0, 3))
    datasets.close()
    (tmp_path / f"{DATASET.hex()}.partial").mkdir()
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ("f" * 63)).mkdir()
    (tmp_path / ("e" * 64)).write_bytes(b"no directory")
    datasets = directory(tmp_path, means)
    assert list(datasets.ids()) == [OTHER, DATASET, b"\xff" * 32]
    for dataset_id in datasets.ids():
        assert datasets.open(dataset_id).dataset_id == dataset_id
        check_dataset(datasets.open(dataset_id), rows(0, 3), means.engine)
    datasets.close()


def test_a_dataset_is_open_in_one_process_at_a_time(tmp_path: Path, means: DatasetMeans) -> None:
    first, second = directory(tmp_path, means), directory(tmp_path, means)
    first.create(DATASET)
    with pytest.raises(StoreLocked):
        second.open(DATASET)
    first.close()
    check_dataset(second.open(DATASET), [], means.engine)
    second.close()


def test_a_dataset_that_could_not_be_opened_can_be_once_it_is_mended(tmp_path: Path, means: DatasetMeans) -> None:
    datasets = directory(tmp_path, means)
    datasets.create(DATASET)
    datasets.close()
    data = tmp_path / DATASET.hex() / "index" / "data.mdb"
    whole = data.read_bytes()
    data.write_bytes(whole[:4_096])
    for _ in range(2):
        with pytest.raises(StoreDamaged):
            datasets.open(DATASET)
    data.write_bytes(whole)
    check_dataset(datasets.open(DATASET), [], means.engine)
    datasets.close()


def test_several_threads_open_one_dataset(tmp_path: Path, means: DatasetMeans) -> None:
    datasets = directory(tmp_path, means)
    datasets.create(DATASET)
    datasets.close()
    gate = threading.Barrier(6)
    found: list[SealedDataset | BaseException] = []

    def work() -> None:
        gate.wait()
        try:
            found.append(datasets.open(DATASET))
        except BaseException as failure:  # noqa: BLE001  # compared by the test
            found.append(failure)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [datasets.open(DATASET)] * 6
    datasets.close()


def test_the_directory_is_made_and_one_that_cannot_be_is_a_refusal(tmp_path: Path, means: DatasetMeans) -> None:
    DatasetDirectory(tmp_path / "a" / "b", PROVIDER, means).close()
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreDamaged):
        DatasetDirectory(tmp_path / "file", PROVIDER, means)
    datasets = DatasetDirectory(tmp_path / "a" / "b", PROVIDER, means)
    (tmp_path / "a" / "b").rmdir()
    with pytest.raises(StoreDamaged):
        datasets.ids()
