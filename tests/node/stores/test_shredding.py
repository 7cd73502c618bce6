"""After a shred no file of the directory holds a record, a secret or a key any more, wherever the shred was cut short."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import StoreDamaged, StoreLocked
from crypto.packed import Packed
from node.errors import DatasetPurged
from node.stores.dataset_index import INDEX_KIND
from node.stores.datasets import DatasetDirectory
from node.stores.environment import Environment
from node.stores.publication import ready_path
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from node.stores.shredding import MARKER, is_shredded
from tests.node.stores.checked_dataset import DATASET, check_dataset, cut_small, directory, publish, rows
from tests.node.stores.conftest import MAP_BYTES
from tests.node.stores.durable_steps import Step, SyncedDisk, watch

FIRST, SECOND = rows(0, 30), rows(30, 45)
OTHER = b"e" * 32


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_small(monkeypatch)


@pytest.fixture
def original(tmp_path: Path, means: DatasetMeans) -> Path:
    """Datasets of which one has two versions, so that the first one's pages were written anew and are free."""
    path = tmp_path / "original"
    datasets = directory(path, means)
    dataset = datasets.create(DATASET)
    publish(dataset, FIRST)
    publish(dataset, SECOND)
    datasets.close()
    return path


def secrets_at_rest(home: Path, scratch: Path) -> dict[str, list[bytes]]:
    """What must be gone, read from a copy: wrapped secrets, entries of the key index, and a piece of each sealed segment."""
    shutil.copytree(home, scratch)
    index = Environment.open(scratch / "index", INDEX_KIND, MAP_BYTES)
    of_segments, of_keys = index.database("segments"), index.database("keys")
    with index.reading() as txn:
        segments = [value[32:] for _, value in txn.cursor(db=of_segments)]
        keys = [key for key, _ in txn.cursor(db=of_keys)]
    index.close()
    return {"wrapped secrets": segments, "key index": keys}


def sealed_pieces(dataset: SealedDataset) -> list[bytes]:
    """The ciphertext's end and the tag of each segment."""
    return [blob[-48:] for _, blob in dataset.blobs(0, dataset.size)]


def everything(path: Path) -> bytes:
    """Every byte of every file below a directory, and every name."""
    files = sorted(path.rglob("*"))
    return b"\0".join(str(file).encode() + b"\0" + (file.read_bytes() if file.is_file() else b"") for file in files)


def found(path: Path, wanted: dict[str, list[bytes]]) -> dict[str, int]:
    """How many of each kind lie somewhere below a directory."""
    held = everything(path)
    return {kind: sum(one in held for one in ones) for kind, ones in wanted.items()}


def wanted_of(original: Path, tmp_path: Path, means: DatasetMeans) -> dict[str, list[bytes]]:
    """What the scan looks for, and the proof that it would find it."""
    wanted = secrets_at_rest(original / DATASET.hex(), tmp_path / "scratch")
    datasets = directory(original, means)
    wanted["sealed segments"] = sealed_pieces(datasets.open(DATASET))
    datasets.close()
    assert found(original, wanted) == {kind: len(ones) for kind, ones in wanted.items()}
    assert min(map(len, wanted.values())) >= 15
    assert len(wanted["key index"]) == len(FIRST) + len(SECOND)
    return wanted


def check_gone(path: Path, wanted: dict[str, list[bytes]]) -> None:
    """Nothing is left of the dataset but the marker."""
    assert found(path, wanted) == dict.fromkeys(wanted, 0)
    assert [file.name for file in (path / DATASET.hex()).rglob("*")] == [MARKER]
    assert (path / DATASET.hex() / MARKER).read_bytes() == b"kiteline/purged/v1\n"


def test_no_byte_of_a_shredded_dataset_is_left(original: Path, tmp_path: Path, means: DatasetMeans) -> None:
    wanted = wanted_of(original, tmp_path, means)
    datasets = directory(original, means)
    other = datasets.create(OTHER)
    publish(other, FIRST)
    size = sum(file.stat().st_size for file in (original / DATASET.hex()).rglob("*") if file.is_file())
    assert datasets.shred(DATASET) == size
    check_gone(original, wanted)
    check_dataset(other, FIRST, means.engine)
    assert datasets.shred(DATASET) == 0
    check_gone(original, wanted)
    assert list(datasets.ids()) == [DATASET, OTHER]
    for refused in (datasets.open, datasets.create):
        with pytest.raises(DatasetPurged):
            refused(DATASET)
    datasets.close()


def test_a_staged_and_a_decided_publication_go_with_it(original: Path, tmp_path: Path, means: DatasetMeans) -> None:
    wanted = wanted_of(original, tmp_path, means)
    datasets = directory(original, means)
    third = rows(1_000, 20)

    def stop(step: Step) -> None:
        if step.kind == "commit":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            publish(datasets.open(DATASET), third)
    datasets.close()
    ready = ready_path(original / DATASET.hex())
    wanted["publication"] = [ready.read_bytes()[at : at + 61] for at in range(100, ready.stat().st_size - 61, 61)]
    assert len(wanted["publication"]) > 20
    directory(original, means).shred(DATASET)
    check_gone(original, wanted)


def test_whoever_holds_the_dataset_is_refused_from_then_on(original: Path, means: DatasetMeans) -> None:
    datasets = directory(original, means)
    dataset = datasets.open(DATASET)
    reading = dataset.blobs(0, 75)
    next(reading)
    datasets.shred(DATASET)
    uses: list[Callable[[], object]] = [
        lambda: list(dataset.blobs(0, 75)),
        lambda: dataset.secrets(0, 75),
        lambda: dataset.digests(0, 75),
        lambda: dataset.find("键3", 75),
        lambda: dataset.open_record(3),
        lambda: dataset.inclusion(3, 75),
        lambda: dataset.root(75),
        dataset.begin_append,
    ]
    for use in uses:
        with pytest.raises(DatasetPurged):
            use()
    with pytest.raises(DatasetPurged):
        # What was read before is given out; the next piece is not.
        list(reading)
    datasets.close()


def test_a_publication_under_way_keeps_the_dataset_from_being_shredded(original: Path, means: DatasetMeans) -> None:
    datasets = directory(original, means)
    dataset = datasets.open(DATASET)
    staging = dataset.begin_append()
    some = rows(75, 9)
    staging.add(Packed.of(row.record for row in some), Packed.of(row.key.encode() for row in some))
    with pytest.raises(StoreLocked):
        datasets.shred(DATASET)
    assert not is_shredded(original / DATASET.hex())
    assert staging.commit() == 84
    check_dataset(dataset, [*FIRST, *SECOND, *some], means.engine)
    assert datasets.shred(DATASET) > 0
    datasets.close()


def test_a_damaged_store_is_shredded_without_being_opened(original: Path, tmp_path: Path, means: DatasetMeans) -> None:
    wanted = wanted_of(original, tmp_path, means)
    file = original / DATASET.hex() / "index" / "data.mdb"
    file.write_bytes(bytes(8_192) + file.read_bytes()[8_192:])  # without LMDB's two meta pages
    datasets = directory(original, means)
    with pytest.raises(StoreDamaged):
        datasets.open(DATASET)
    datasets.shred(DATASET)
    check_gone(original, wanted)


def test_a_link_is_deleted_and_what_it_leads_to_stays(original: Path, tmp_path: Path, means: DatasetMeans) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_bytes(b"not the dataset's")
    (original / DATASET.hex() / "file").symlink_to(elsewhere / "kept")
    (original / DATASET.hex() / "folder").symlink_to(elsewhere)
    directory(original, means).shred(DATASET)
    check_gone(original, {})
    assert (elsewhere / "kept").read_bytes() == b"not the dataset's"


def test_a_dataset_that_was_never_made_cannot_be_made_afterwards(tmp_path: Path, means: DatasetMeans) -> None:
    datasets = directory(tmp_path, means)
    assert datasets.shred(DATASET) == 0
    check_gone(tmp_path, {})
    with pytest.raises(DatasetPurged):
        datasets.create(DATASET)


def test_a_marker_that_says_something_else_is_damage_and_destroys_nothing(original: Path, means: DatasetMeans) -> None:
    (original / DATASET.hex() / MARKER).write_bytes(b"kiteline/purged/v2\n")
    datasets = directory(original, means)
    before = everything(original)
    for refused in (datasets.open, datasets.create, datasets.shred):
        with pytest.raises(StoreDamaged):
            refused(DATASET)
    assert everything(original) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_shred_killed_at_any_step_is_finished_by_the_next(
    original: Path, tmp_path: Path, means: DatasetMeans, when: str
) -> None:
    wanted = wanted_of(original, tmp_path, means)
    whole = half = 0
    for last in range(1, 100):
        copy = tmp_path / f"copy-{last}"
        shutil.copytree(original, copy)
        steps = 0

        def stop(_step: Step, last: int = last) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                raise KeyboardInterrupt

        datasets = directory(copy, means)
        datasets.open(DATASET)
        is_killed = False
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, *((stop,) if when == "before" else (lambda _step: None, stop)))
            try:
                datasets.shred(DATASET)
            except KeyboardInterrupt:
                is_killed = True
        datasets.close()
        datasets = directory(copy, means)
        if is_shredded(copy / DATASET.hex()):
            half += is_killed
            with pytest.raises(DatasetPurged):
                datasets.open(DATASET)
            datasets.shred(DATASET)
            check_gone(copy, wanted)
        else:
            whole += 1
            check_dataset(datasets.open(DATASET), [*FIRST, *SECOND], means.engine)
        datasets.close()
        if not is_killed:
            break
    # Before the marker's name is there nothing happened; after it there were files to overwrite, to sync and to delete.
    assert whole >= 3
    assert half >= 12
    assert not is_killed


def test_a_power_cut_at_any_step_leaves_the_whole_dataset_or_none(
    original: Path, tmp_path: Path, means: DatasetMeans
) -> None:
    wanted = wanted_of(original, tmp_path, means)
    disk = SyncedDisk(original)
    left: list[Path] = []
    datasets = directory(original, means)
    datasets.open(DATASET)

    def cut(step: Step) -> None:
        disk.after(step)
        left.append(tmp_path / f"cut-{len(left)}")
        disk.write_to(left[-1])

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, cut)
        datasets.shred(DATASET)
    datasets.close()
    outcomes = [_outcome(path, wanted, means) for path in left]
    assert outcomes == sorted(outcomes)
    assert {False, True} == set(outcomes)
    # In the end nothing is left to the next call.
    assert [file.name for file in (left[-1] / DATASET.hex()).iterdir() if file.is_file()] == [MARKER]


def _outcome(path: Path, wanted: dict[str, list[bytes]], means: DatasetMeans) -> bool:
    """Whether the dataset is shredded, which the next call then finishes; else it is whole."""
    datasets: DatasetDirectory = directory(path, means)
    try:
        if not is_shredded(path / DATASET.hex()):
            check_dataset(datasets.open(DATASET), [*FIRST, *SECOND], means.engine)
            return False
        datasets.shred(DATASET)
        check_gone(path, wanted)
        return True
    finally:
        datasets.close()


def test_secrets_go_before_what_they_open(original: Path, means: DatasetMeans) -> None:
    order: list[Path] = []
    datasets = directory(original, means)
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda step: order.append(step.path) if step.kind == "delete" else None)
        datasets.shred(DATASET)
    home = original / DATASET.hex()
    areas = [path.relative_to(home).parts[0] for path in order]
    assert areas.index("tree") > areas.index("index")
    assert set(areas[areas.index("tree") :]) == {"tree"}


def test_every_file_is_overwritten_to_its_end_before_its_name_goes(
    original: Path, tmp_path: Path, means: DatasetMeans
) -> None:
    """Another name for each file shows what lay under the one that was deleted."""
    files = [file for file in (original / DATASET.hex()).rglob("*") if file.is_file()]
    sizes = {}
    for number, file in enumerate(files):
        (tmp_path / f"link-{number}").hardlink_to(file)
        sizes[number] = file.stat().st_size
    assert max(sizes.values()) > 20_000
    directory(original, means).shred(DATASET)
    for number, size in sizes.items():
        assert (tmp_path / f"link-{number}").read_bytes() == bytes(size)
