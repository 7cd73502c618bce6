"""A dataset gives back what was published, version upon version, under roots and keys that agree with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import StoreDamaged, StoreLocked
from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from node.errors import RangeInvalid
from node.stores.at_rest import AtRestKeys
from node.stores.sealed_dataset import DatasetMeans, SealedDataset, free_bytes
from tests.node.stores.checked_dataset import DATASET, PROVIDER, Row, check_dataset, cut_small, directory, publish, rows
from tests.node.stores.conftest import AT_REST_KEY, at_rest


@pytest.fixture
def dataset(tmp_path: Path, means: DatasetMeans) -> SealedDataset:
    return directory(tmp_path / "datasets", means).create(DATASET)


def reopened(dataset: SealedDataset, means: DatasetMeans) -> SealedDataset:
    dataset.close()
    return directory(dataset._path.parent, means).open(DATASET)


def test_versions_in_segments_of_full_size_are_read_back_also_after_a_restart(
    dataset: SealedDataset, means: DatasetMeans
) -> None:
    """Two segments of 4,096 records and a rest; then a version whose segments are filled by bytes, not by records."""
    first = rows(0, 9_000, keys=7_000)
    second = [Row(b'["%d%b"]' % (number, b"y" * 300_000), f"大{number}") for number in range(9)]
    assert publish(dataset, first, 4_000) == 9_000
    check_dataset(dataset, first, means.engine)
    root = dataset.root(9_000)
    assert publish(dataset, second, 2) == 9_009
    check_dataset(dataset, [*first, *second], means.engine)
    assert dataset.root(9_000) == root
    assert [start for start, _ in dataset.blobs(0, 9_009)] == [0, 4_096, 8_192, 9_000, 9_003, 9_006]
    dataset = reopened(dataset, means)
    check_dataset(dataset, [*first, *second], means.engine)
    dataset.close()


def test_many_small_versions_are_one_dataset(
    dataset: SealedDataset, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    published: list[Row] = []
    for count in (1, 3, 4, 5, 12, 13, 30, 1):
        version = rows(len(published), count, keys=9)
        assert publish(dataset, version, 7) == len(published) + count
        published += version
        check_dataset(dataset, published, means.engine)
    dataset = reopened(dataset, means)
    check_dataset(dataset, published, means.engine)
    dataset.close()


def test_the_newest_record_of_a_key_is_found_within_the_size_asked_for(
    dataset: SealedDataset, means: DatasetMeans
) -> None:
    """A query answers from a published version, so what a later one says of the key does not count."""
    publish(dataset, [Row(b'["1"]', "k"), Row(b'["2"]', "k"), Row(b'["3"]', "other")])
    publish(dataset, [Row(b'["4"]', "k")])
    assert [dataset.find("k", size) for size in range(6)] == [None, 0, 1, 1, 3, 3]
    assert dataset.find("other", 2) is None
    assert dataset.find("other", 1 << 40) == 2
    assert dataset.find("K", 4) is None
    assert dataset.find("", 4) is None
    dataset.close()


def test_a_dataset_without_a_key_field_finds_nothing_and_holds_everything(
    dataset: SealedDataset, means: DatasetMeans
) -> None:
    staging = dataset.begin_append()
    staging.add(Packed.of([b'["1"]', b'["2"]']), None)
    assert staging.commit() == 2
    assert [dataset.open_record(index)[0] for index in (0, 1)] == [b'["1"]', b'["2"]']
    assert dataset.find("1", 2) is None
    dataset.close()


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (3, 3), (4, 3), (-1, 2), (0, 31), (30, 31), (1 << 64, 2 << 64)])
def test_a_range_that_the_dataset_does_not_have_is_refused(
    dataset: SealedDataset, means: DatasetMeans, start: int, stop: int
) -> None:
    publish(dataset, rows(0, 30))
    reads: list[Callable[[int, int], object]] = [
        lambda low, high: list(dataset.blobs(low, high)),
        dataset.digests,
        dataset.secrets,
    ]
    for read in reads:
        with pytest.raises(RangeInvalid, match="has 30 records"):
            read(start, stop)
    dataset.close()


def test_a_size_or_record_beyond_the_end_is_refused(dataset: SealedDataset, means: DatasetMeans) -> None:
    publish(dataset, rows(0, 30))
    for index in (-1, 30):
        with pytest.raises(RangeInvalid):
            dataset.open_record(index)
    for size in (-1, 31):
        with pytest.raises(EncodingInvalid):
            dataset.root(size)
    for index, size in ((30, 30), (-1, 30), (0, 31), (0, 0)):
        with pytest.raises(EncodingInvalid):
            dataset.inclusion(index, size)
    dataset.close()


def test_an_empty_dataset_has_the_root_of_nothing_and_no_record(dataset: SealedDataset, means: DatasetMeans) -> None:
    check_dataset(dataset, [], means.engine)
    with pytest.raises(RangeInvalid):
        dataset.digests(0, 1)
    dataset.close()


def test_one_version_is_staged_at_a_time(dataset: SealedDataset, means: DatasetMeans) -> None:
    begun = dataset.begin_append()
    with pytest.raises(StoreLocked, match="under way"):
        dataset.begin_append()
    begun.abandon()
    publish(dataset, rows(0, 5))
    second = dataset.begin_append()
    second.abandon()
    check_dataset(dataset, rows(0, 5), means.engine)
    dataset.close()


def test_nothing_on_the_disk_is_plaintext(tmp_path: Path, dataset: SealedDataset, means: DatasetMeans) -> None:
    secret, key = b"a citizen's secret", "37070219700101123X"
    begun = dataset.begin_append()
    begun.add(Packed.of([b'["' + secret + b'"]']), Packed.of([key.encode()]))
    begun._seal(everything=True)
    begun._writer._file.flush()
    staged = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    begun.commit()
    segment_secret = dataset.secrets(0, 1)
    index_secret = dataset._index_secret()
    dataset.close()
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert max(map(len, stored)) > 4_096
    for content in staged + stored:
        for plain in (secret, key.encode(), segment_secret[:16], segment_secret[16:], AT_REST_KEY, index_secret):
            assert plain not in content
    assert AT_REST_KEY.decode() not in repr(means) + repr(at_rest())


def test_everything_is_for_its_owner_alone(tmp_path: Path, dataset: SealedDataset, means: DatasetMeans) -> None:
    publish(dataset, rows(0, 5))
    begun = dataset.begin_append()
    home = tmp_path / "datasets" / DATASET.hex()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"publication.partial", "data.mdb"} <= {path.name for path in files}
    assert [path for path in [home.parent, home, *files] if path.stat().st_mode & 0o077] == []
    begun.abandon()
    dataset.close()


def test_another_nodes_key_opens_nothing_and_finds_nothing(dataset: SealedDataset, means: DatasetMeans) -> None:
    publish(dataset, rows(0, 5))
    stranger = reopened(dataset, replace(means, at_rest=lambda: AtRestKeys(1, {1: bytes(16)})))
    reads: list[Callable[[], object]] = [
        lambda: stranger.secrets(0, 5),
        lambda: stranger.open_record(2),
        lambda: stranger.find(rows(0, 1)[0].key, 5),
        lambda: publish(stranger, rows(5, 5)),
    ]
    for read in reads:
        with pytest.raises(StoreDamaged):
            read()
    stranger.close()


def test_a_secret_is_bound_to_its_dataset_and_place(tmp_path: Path, means: DatasetMeans) -> None:
    """Whoever may write to the disk cannot make the node give out another segment's secret."""
    datasets = directory(tmp_path, means)
    one, other = datasets.create(DATASET), datasets.create(b"e" * 32)
    wrapped = one._keys.wrap([0], bytes(32))
    assert one._keys.unwrap([0], wrapped) == bytes(32)
    assert one._index_secret() != other._index_secret()
    for keys, first in ((one._keys, 1), (other._keys, 0)):
        with pytest.raises(DecryptionFailed):
            keys.unwrap([first], wrapped)
    datasets.close()


def test_the_tree_names_its_provider_dataset_and_hash(dataset: SealedDataset, means: DatasetMeans) -> None:
    assert dataset._tree.origin == f"kiteline/{PROVIDER}/dataset/{DATASET.hex()}/SM3"
    assert dataset.dataset_id == DATASET
    dataset.close()


def test_secrets_and_nonces_are_drawn_afresh_for_every_segment(tmp_path: Path, engine: Engine) -> None:
    drawn: list[bytes] = []

    def random(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    means = DatasetMeans(engine, random, at_rest, map_bytes=1 << 28)
    dataset = directory(tmp_path, means).create(DATASET)
    publish(dataset, rows(0, 5))
    publish(dataset, rows(5, 5))
    blobs = [blob for _, blob in dataset.blobs(0, 10)]
    everything = b"".join(drawn)
    secrets = dataset.secrets(0, 10)
    for place, blob in enumerate(blobs):
        assert secrets[32 * place : 32 * place + 32] in drawn
        assert blob[13:25] in drawn
    assert len(everything) >= 2 * (32 + 12 + 12)
    assert len(set(drawn)) == len(drawn)
    dataset.close()


def test_readers_see_whole_versions_while_others_are_published(
    dataset: SealedDataset, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch)
    versions = [rows(40 * number, 40, keys=60) for number in range(12)]
    publish(dataset, versions[0])
    everything = [row for version in versions for row in version]
    done = threading.Event()
    failures: list[BaseException] = []
    passes: list[int] = []

    def read() -> None:
        try:
            while not done.is_set() or not passes:
                size = dataset.size
                assert size % 40 == 0
                index = (7 * len(passes)) % size
                assert dataset.open_record(index)[0] == everything[index].record
                newest = {row.key: place for place, row in enumerate(everything[:size])}
                assert dataset.find(everything[index].key, size) == newest[everything[index].key]
                assert len(dataset.digests(0, size)) == 32 * len(list(dataset.blobs(0, size)))
                passes.append(size)
        except BaseException as failure:  # noqa: BLE001  # reported by the test
            failures.append(failure)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in versions[1:]:
        publish(dataset, version)
    done.set()
    for reader in readers:
        reader.join(60)
    assert failures == []
    check_dataset(dataset, everything, means.engine)
    dataset.close()


def test_free_room_is_what_the_file_system_says(tmp_path: Path) -> None:
    said = os.statvfs(tmp_path)
    assert free_bytes(tmp_path) <= said.f_blocks * said.f_frsize
    assert free_bytes(tmp_path) > 0
