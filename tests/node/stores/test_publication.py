"""The publication file: what is written is read back, and a file that is not whole, or not this dataset's, is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import StoreDamaged
from audit.store import TreeStore
from node.stores.dataset_index import HASH_SIZE
from node.stores.dataset_keys import WRAPPED_SIZE
from node.stores.datasets import DatasetDirectory
from node.stores.publication import (
    Frame,
    PublicationWriter,
    count_records,
    partial_path,
    read_frames,
    read_start,
    ready_path,
)
from node.stores.sealed_dataset import DatasetMeans
from tests.node.stores.checked_dataset import DATASET, check_dataset, cut_small, directory, publish, rows
from tests.node.stores.durable_steps import Step, watch

HEAD_SIZE, FRAME_SIZE = 45, 9
KEY_SIZE = 16
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """A frame of one to four segments of one to five records, whose bytes are as random as real ones."""
    counts = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    records = sum(counts)
    has_keys = draw(st.booleans())
    return Frame(
        counts,
        [os.urandom(WRAPPED_SIZE) for _ in counts],
        os.urandom(HASH_SIZE * len(counts)),
        os.urandom(HASH_SIZE * records),
        os.urandom(KEY_SIZE * records) if has_keys else None,
        [os.urandom(draw(st.integers(0, 60))) for _ in counts],
    )


def written(path: Path, size: int, given_frames: list[Frame]) -> Path:
    """A complete publication file."""
    writer = PublicationWriter(path, DATASET, size)
    for frame in given_frames:
        writer.write(frame)
    writer.complete()
    return ready_path(path)


def parts_of(frame: Frame) -> list[int]:
    """How many bytes each kind of part of a frame has, in order."""
    return [
        FRAME_SIZE,
        8 * len(frame.counts),
        WRAPPED_SIZE * len(frame.counts),
        len(frame.digests),
        len(frame.leaf_hashes),
        len(frame.keys or b""),
        sum(map(len, frame.blobs)),
    ]


@one_folder
@given(st.lists(frames(), max_size=4), st.integers(0, (1 << 64) - 1))
def test_frames_come_back_as_they_were_written(tmp_path: Path, given_frames: list[Frame], size: int) -> None:
    path = written(tmp_path, size, given_frames)
    assert not partial_path(tmp_path).exists()
    assert read_start(path, DATASET) == size
    assert list(read_frames(path, with_blobs=True)) == given_frames
    without = [Frame(f.counts, f.wrapped, f.digests, f.leaf_hashes, f.keys, []) for f in given_frames]
    assert list(read_frames(path, with_blobs=False)) == without
    assert count_records(path) == sum(frame.records for frame in given_frames)
    assert path.stat().st_size == HEAD_SIZE + sum(sum(parts_of(frame)) for frame in given_frames) + FRAME_SIZE


def test_the_file_reads_as_documented(tmp_path: Path) -> None:
    frame = Frame([2, 1], [b"w" * 65, b"W" * 65], b"d" * 32 + b"D" * 32, b"l" * 96, b"k" * 48, [b"one", b"three"])
    assert written(tmp_path, 7, [frame]).read_bytes() == (
        b"KLPB\x02" + (7).to_bytes(8, "big") + DATASET
        + b"\0\0\0\x02" + b"\0\0\0\x03" + b"\x01"
        + b"\0\0\0\x02" + b"\0\0\0\x03" + b"\0\0\0\x01" + b"\0\0\0\x05"
        + b"w" * 65 + b"W" * 65 + b"d" * 32 + b"D" * 32 + b"l" * 96 + b"k" * 48 + b"onethree"
        + bytes(9)
    )  # fmt: skip


def test_the_size_written_is_known_before_it_is_on_the_disk(tmp_path: Path) -> None:
    frame = Frame([1], [bytes(65)], bytes(32), bytes(32), None, [b"blob"])
    writer = PublicationWriter(tmp_path, DATASET, 0)
    assert writer.written == HEAD_SIZE
    writer.write(frame)
    assert writer.written == HEAD_SIZE + sum(parts_of(frame))
    assert not ready_path(tmp_path).exists()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@settings(parent=one_folder, max_examples=30)
@given(st.lists(frames(), min_size=1, max_size=3))
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, given_frames: list[Frame]) -> None:
    """Within each kind of part, and between any two, also exactly between two frames."""
    whole = written(tmp_path, 0, given_frames).read_bytes()
    boundaries, at = {0, HEAD_SIZE}, HEAD_SIZE
    for frame in given_frames:
        for part in parts_of(frame):
            at += part
            boundaries.add(at)
    cuts = {cut for boundary in boundaries for cut in (boundary - 1, boundary, boundary + 1)} | {len(whole) - 1}
    path = tmp_path / "cut"
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(whole)):
        path.write_bytes(whole[:cut])
        if cut < HEAD_SIZE:
            with pytest.raises(StoreDamaged, match="truncated"):
                read_start(path, DATASET)
        with pytest.raises(StoreDamaged):
            count_records(path)
        for with_blobs in (False, True):
            with pytest.raises(StoreDamaged):
                list(read_frames(path, with_blobs=with_blobs))


def test_a_file_that_goes_on_after_its_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 0, [])
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(StoreDamaged, match="after its end"):
        count_records(path)


@pytest.mark.parametrize(
    ("position", "what"),
    [(0, "magic"), (3, "magic"), (4, "version"), (13, "dataset"), (44, "dataset")],
)
def test_another_kind_of_file_version_or_dataset_is_refused(tmp_path: Path, position: int, what: str) -> None:
    path = written(tmp_path, 3, [])
    content = bytearray(path.read_bytes())
    content[position] ^= 3
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="no publication of this dataset"):
        read_start(path, DATASET)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        pytest.param(0, 0x7F, id="two billion segments"),
        pytest.param(3, 3, id="one segment more"),
        pytest.param(7, 4, id="one record more"),
        pytest.param(8, 0, id="no keys although they follow"),
        pytest.param(8, 2, id="neither keys nor none"),
        pytest.param(9, 0xFF, id="a segment of four billion records"),
        pytest.param(12, 0, id="a segment of no records"),
        pytest.param(13, 0xFF, id="a segment of four gigabytes"),
    ],
)
def test_a_frame_whose_numbers_were_damaged_is_refused(tmp_path: Path, position: int, value: int) -> None:
    frame = Frame([2, 1], [bytes(65)] * 2, bytes(64), b"l" * 96, b"k" * 48, [b"one", b"three"])
    path = written(tmp_path, 0, [frame])
    content = bytearray(path.read_bytes())
    content[HEAD_SIZE + position] = value
    path.write_bytes(content)
    with pytest.raises(StoreDamaged):
        count_records(path)
    with pytest.raises(StoreDamaged):
        list(read_frames(path, with_blobs=True))


def test_a_segment_without_records_is_refused_although_the_numbers_add_up(tmp_path: Path) -> None:
    path = written(tmp_path, 0, [Frame([0, 3], [bytes(65)] * 2, bytes(64), bytes(96), None, [b"", b"three"])])
    with pytest.raises(StoreDamaged, match="contradicts itself"):
        count_records(path)


def test_a_file_that_is_absent_is_a_damaged_store(tmp_path: Path) -> None:
    for read in (
        lambda path: read_start(path, DATASET),
        count_records,
        lambda path: list(read_frames(path, with_blobs=True)),
    ):
        with pytest.raises(StoreDamaged, match="No such file"):
            read(ready_path(tmp_path))


# A decided publication as a dataset finds it when it is opened.


@pytest.fixture
def decided(tmp_path: Path, means: DatasetMeans, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Datasets of which one has a first version, and a second one decided but not yet in the tree."""
    cut_small(monkeypatch)
    path = tmp_path / "datasets"
    dataset = directory(path, means).create(DATASET)
    publish(dataset, rows(0, 30))

    def killed(step: Step) -> None:
        if step.kind == "commit":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, killed)
        with pytest.raises(KeyboardInterrupt):
            publish(dataset, rows(30, 45))
    dataset.close()
    return path


def test_a_decided_publication_becomes_part_of_the_dataset_when_it_is_opened(
    decided: Path, means: DatasetMeans
) -> None:
    dataset = directory(decided, means).open(DATASET)
    check_dataset(dataset, rows(0, 75), means.engine)
    assert not ready_path(decided / DATASET.hex()).exists()
    dataset.close()


def refused_and_unchanged(path: Path, means: DatasetMeans, ready: Path) -> None:
    """The dataset is not opened, nothing of it has changed, and without the file it is as it was before."""
    content = ready.read_bytes()
    with pytest.raises(StoreDamaged):
        directory(path, means).open(DATASET)
    assert ready.read_bytes() == content
    ready.unlink()
    datasets = directory(path, means)
    check_dataset(datasets.open(DATASET), rows(0, 30), means.engine)
    datasets.close()


def test_a_decided_publication_that_was_cut_off_is_refused_before_any_of_it_is_appended(
    decided: Path, means: DatasetMeans, tmp_path: Path
) -> None:
    whole = ready_path(decided / DATASET.hex()).read_bytes()
    for number, cut in enumerate((0, 44, 45, 60, len(whole) // 2, len(whole) - 9, len(whole) - 1)):
        path = tmp_path / f"cut-{number}"
        shutil.copytree(decided, path)
        ready = ready_path(path / DATASET.hex())
        ready.write_bytes(whole[:cut])
        refused_and_unchanged(path, means, ready)


@pytest.mark.parametrize("before", [0, 29, 31, 1 << 40])
def test_a_decided_publication_of_another_size_of_the_dataset_is_refused(
    decided: Path, means: DatasetMeans, before: int
) -> None:
    """As when tree and publication come from different backups. What it would be appended at is sealed into it."""
    ready = ready_path(decided / DATASET.hex())
    content = ready.read_bytes()
    ready.write_bytes(content[:5] + before.to_bytes(8, "big") + content[13:])
    refused_and_unchanged(decided, means, ready)


def test_a_decided_publication_is_not_appended_to_an_older_tree(
    decided: Path, means: DatasetMeans, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    datasets = directory(older, means)
    publish(datasets.create(DATASET), rows(0, 10))
    datasets.close()
    home = decided / DATASET.hex()
    shutil.rmtree(home / "tree")
    shutil.copytree(older / DATASET.hex() / "tree", home / "tree")
    with pytest.raises(StoreDamaged, match="of records 30 to 75, and the tree has 10"):
        directory(decided, means).open(DATASET)
    tree = TreeStore.open(home / "tree", means.engine, map_bytes=means.map_bytes)
    assert tree.size == 10
    tree.close()


def test_a_partial_file_is_nobodys_and_is_deleted(decided: Path, means: DatasetMeans) -> None:
    home = decided / DATASET.hex()
    partial_path(home).write_bytes(b"half of something")
    datasets: DatasetDirectory = directory(decided, means)
    check_dataset(datasets.open(DATASET), rows(0, 75), means.engine)
    assert not partial_path(home).exists()
    datasets.close()
