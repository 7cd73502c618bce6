"""Files and directories that are there, whole and durable, or not there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.errors import DiskFull, StoreDamaged
from audit.files import disk_errors, make_directory, read_whole, sync_directory, write_whole
from tests.node.stores.durable_steps import Step, SyncedDisk, watch

OLD, NEW = b"what stood there", [b"what ", b"", b"comes ", bytes(100_000)]


@pytest.fixture(params=[None, OLD], ids=["new", "replaced"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> bytes | None:
    """What stands under the name before."""
    if request.param is not None:
        (tmp_path / "file").write_bytes(request.param)
    before: bytes | None = request.param
    return before


def steps_of_writing(path: Path) -> list[str]:
    taken: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda step: taken.append(step.kind))
        write_whole(path, NEW)
    return taken


def test_a_file_is_written_for_its_owner_alone_and_read_back(tmp_path: Path, held: bytes | None) -> None:
    path = tmp_path / "file"
    assert read_whole(path) == held
    write_whole(path, NEW)
    assert read_whole(path) == b"".join(NEW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_content_is_synced_before_it_has_its_name_and_the_name_after(tmp_path: Path) -> None:
    taken = steps_of_writing(tmp_path / "file")
    assert taken[0] == "create"
    assert set(taken[1:-3]) == {"write"}
    assert taken[-3:] == ["sync", "rename", "sync"]


def test_after_a_power_cut_at_any_step_a_file_is_as_before_or_whole(tmp_path: Path, held: bytes | None) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if held is not None:
        (tmp_path / "file").replace(home / "file")
    disk = SyncedDisk(home)
    left: list[bytes | None] = []

    def cut(step: Step) -> None:
        disk.after(step)
        copy = tmp_path / f"{len(left)}"
        disk.write_to(copy)
        left.append(read_whole(copy / "file"))

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, cut)
        write_whole(home / "file", NEW)
    changed = left.index(b"".join(NEW))
    assert set(left[:changed]) == {held}
    assert set(left[changed:]) == {b"".join(NEW)}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_at_any_step_is_one_refusal_and_leaves_no_part(
    tmp_path: Path, held: bytes | None, number: int
) -> None:
    path = tmp_path / "file"
    expected = DiskFull if number in {errno.ENOSPC, errno.EDQUOT} else StoreDamaged
    taken = steps_of_writing(tmp_path / "other")
    (tmp_path / "other").unlink()
    for fails in range(len(taken)):
        steps = 0

        def failing(_step: Step, fails: int = fails) -> None:
            nonlocal steps
            steps += 1
            if steps == fails + 1:
                raise OSError(number, os.strerror(number))

        with pytest.MonkeyPatch.context() as patch:
            watch(patch, failing)
            with pytest.raises(expected) as refused:
                write_whole(path, NEW)
        assert isinstance(refused.value.__cause__, OSError)
        # Only the last sync comes after the name, and then the content is whole already.
        assert read_whole(path) == (b"".join(NEW) if fails == len(taken) - 1 else held)
        assert not (tmp_path / "file.partial").exists()


def test_a_part_that_an_earlier_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(b"longer than what is written now")
    write_whole(tmp_path / "file", [b"short"])
    assert (tmp_path / "file").read_bytes() == b"short"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_where_no_file_can_be_it_is_a_damaged_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no directory")
    for path in (tmp_path / "file" / "below", tmp_path / "absent" / "file"):
        with pytest.raises(StoreDamaged, match=str(path)):
            write_whole(path, [b"x"])
    with pytest.raises(StoreDamaged):
        read_whole(tmp_path)
    with pytest.raises(StoreDamaged):
        read_whole(tmp_path / "file" / "below")
    with pytest.raises(StoreDamaged):
        make_directory(tmp_path / "file")
    assert read_whole(tmp_path / "absent" / "file") is None


def test_directories_are_made_for_their_owner_alone_down_from_the_first_that_lacks(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")
    for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (tmp_path / "a").chmod(0o750)
    make_directory(tmp_path / "a" / "d")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o750


def test_directories_survive_a_power_cut_once_they_are_made(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    disk = SyncedDisk(home)
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, disk.after)
        make_directory(home / "a" / "b")
    disk.write_to(tmp_path / "copy")
    assert (tmp_path / "copy" / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("number", "expected", "told"),
    [
        (errno.ENOSPC, DiskFull, "the disk is full: /some/where"),
        (errno.EDQUOT, DiskFull, "the disk is full: /some/where"),
        (errno.EACCES, StoreDamaged, "/some/where: Permission denied"),
        (errno.EROFS, StoreDamaged, "/some/where: Read-only file system"),
        (None, StoreDamaged, "/some/where: Input/output error"),
    ],
)
def test_what_the_system_says_becomes_one_of_two_refusals(
    number: int | None, expected: type[DiskFull | StoreDamaged], told: str
) -> None:
    cause = OSError("as somebody raised it") if number is None else OSError(number, "as the system put it")
    with pytest.raises(expected) as refused, disk_errors(Path("/some/where")):
        raise cause
    assert str(refused.value) == told
    assert refused.value.__cause__ is cause


def test_other_errors_are_not_taken_for_the_disks(tmp_path: Path) -> None:
    with pytest.raises(KeyError), disk_errors(tmp_path):
        raise KeyError("a defect")

    def parts() -> Iterator[bytes]:
        yield b"first"
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        write_whole(tmp_path / "file", parts())
    assert read_whole(tmp_path / "file") is None


def test_syncing_a_directory_leaves_no_descriptor_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    sync_directory(tmp_path)

    def failing(_descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="broken"):
            sync_directory(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(NotADirectoryError):
        sync_directory(Path(__file__))
