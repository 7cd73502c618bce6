"""A dataset opens its environments anew after a publication and after much was read, under readers who notice nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from node.stores import sealed_dataset
from node.stores.sealed_dataset import DatasetMeans
from tests.node.stores.checked_dataset import DATASET, check_dataset, cut_small, directory, publish, rows

READERS = 4
VERSIONS = 12


def test_readers_go_on_while_versions_are_published_and_environments_are_opened_anew(
    tmp_path: Path, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    monkeypatch.setattr(sealed_dataset, "_REMAP_BYTES", 500)
    dataset = directory(tmp_path / "datasets", means).create(DATASET)
    published = rows(0, 40)
    publish(dataset, published)
    root = dataset.root(40)
    over = threading.Event()
    failures: list[BaseException] = []
    rounds = [0] * READERS

    def read(reader: int) -> None:
        try:
            while not over.is_set() or rounds[reader] == 0:
                assert sum(1 for _ in dataset.blobs(0, 40)) == 10
                assert len(dataset.secrets(0, 40)) == 10 * 32
                assert dataset.root(40) == root
                assert dataset.find("键7", 40) == 7
                assert dataset.open_record(7)[0] == published[7].record
                rounds[reader] += 1
        except BaseException as failure:  # noqa: BLE001 - shown by the test
            failures.append(failure)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(READERS)]
    for thread in threads:
        thread.start()
    for _ in range(VERSIONS):
        version = rows(len(published), 30)
        publish(dataset, version)
        published = [*published, *version]
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(rounds)
    check_dataset(dataset, published, means.engine)
    dataset.close()
