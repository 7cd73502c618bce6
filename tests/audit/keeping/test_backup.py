"""Backups: hot, incremental, verified as they are written; what is wrong with one is said, and what was there stays."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from audit.environment import WriterLock
from audit.errors import CopyInvalid, StoreAbsent, StoreDamaged, StoreExists, StoreLocked
from audit.keeping.backup import CHECKPOINT, Copied, back_up, restore
from audit.keeping.check import Check
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import SMALL_MAP
from tests.audit.forks import Forks
from tests.audit.growing_log import GrowingLog
from tests.audit.keeping.keeping_process import (
    CHMOD,
    FSYNC,
    KILL,
    MKDIR,
    NAMES,
    NO_SPACE,
    RENAME,
    RMDIR,
    SYNCS,
    Kind,
    needs_strace,
    run,
    strikes,
)
from tests.audit.keeping.kept_log import KeptLog, build, edit, flipped, mixed_batches, note_of, rows_of
from tests.conftest import ROOT

EPOCH_LEAVES = 1_000


@pytest.fixture
def kept(tmp_path: Path, engine: Engine, key: SM2PrivateKey) -> KeptLog:
    """A log of three epochs."""
    return build(tmp_path / "node", engine, key, batches=mixed_batches(5, 2_600, 300), epoch_leaves=EPOCH_LEAVES)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def _back_up(kept: KeptLog, to: Path, engine: Engine, *, full: bool = False) -> Copied:
    return back_up(kept.path, to, engine, kept.expected(), full=full, map_bytes=SMALL_MAP)


def _append(kept: KeptLog, engine: Engine, count: int) -> None:
    """More entries, and a new signed head over them."""
    drawn = random.Random(count)
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        for at in range(0, count, 200):
            log.append_many(Packed.of([drawn.randbytes(30) for _ in range(min(200, count - at))]))
    kept.sign(engine)


def _entries(path: Path, engine: Engine) -> list[bytes]:
    store = TreeStore.open(path, engine, map_bytes=SMALL_MAP, read_only=True)
    try:
        return list(AuditLog.reader(store))
    finally:
        store.close()


def _holds(kept: KeptLog, backup: Path, engine: Engine) -> int:
    """Check a backup as an operator would, against its own head and the log's anchors; gives its size."""
    expected = replace(kept.expected(), checkpoint=backup / CHECKPOINT)
    check = Check(backup, engine, replace(expected, anchors=()), at_rest=True, map_bytes=SMALL_MAP)
    assert list(check.findings()) == []
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        assert check.size <= log.size
        assert log.tree.root_at(check.size) == check.root
    return check.size


def _left_over(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir() if file.name.startswith(".")] if directory.exists() else []


def test_a_backup_is_the_log_with_its_signed_head(kept: KeptLog, to: Path, engine: Engine) -> None:
    copied = _back_up(kept, to, engine)
    assert (copied.size, copied.checkpoint.size, copied.new, copied.kept) == (2_600, 2_600, (0, 1, 2), ())
    assert _entries(to, engine) == _entries(kept.path, engine)
    assert (to / CHECKPOINT).read_bytes() == kept.head.read_bytes()
    assert _holds(kept, to, engine) == 2_600
    assert not _left_over(to)


def test_full_epochs_are_copied_once(kept: KeptLog, to: Path, engine: Engine) -> None:
    _back_up(kept, to, engine)
    files = sorted(to.glob("epochs/*/data.mdb"))
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    _append(kept, engine, 1_500)
    copied = _back_up(kept, to, engine)
    assert (copied.kept, copied.new, copied.size) == ((0, 1), (2, 3), 4_100)
    after = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    assert (after[:2], after[2] == before[2]) == (before[:2], False)
    assert _entries(to, engine) == _entries(kept.path, engine)
    # With nothing new, the open epoch alone is copied again.
    assert _back_up(kept, to, engine).new == (3,)


def test_a_log_is_backed_up_while_another_process_writes_it(
    tmp_path: Path, to: Path, engine: Engine, key: SM2PrivateKey
) -> None:
    with GrowingLog(tmp_path / "node", key, 2_000) as growing:
        sizes = []
        for _ in range(4):
            growing.begin()
            copied = _back_up(growing.kept, to, engine)
            assert copied.checkpoint.size <= copied.size
            sizes.append(copied.size)
            assert copied.size <= growing.wait()
        assert sizes == sorted(sizes)
        assert copied.kept
    assert _holds(growing.kept, to, engine) == sizes[-1]
    assert _entries(to, engine) == _entries(growing.kept.path, engine)[: sizes[-1]]


def test_a_backup_of_a_log_that_is_damaged_is_deleted_and_says_where(kept: KeptLog, to: Path, engine: Engine) -> None:
    _back_up(kept, to, engine)
    before = _contents(to)
    _append(kept, engine, 1_500)
    file = kept.files[2]
    row, _ = rows_of(file, b"segments")[1]
    edit(file, b"segments", row, lambda held: flipped(held, len(held) - 1, 0))
    with pytest.raises(CopyInvalid, match="segment: entry") as refused:
        _back_up(kept, to, engine)
    assert refused.value.details["part"] == "segment"
    assert "epoch 2" in refused.value.details["place"]
    assert _contents(to) == before
    assert _holds(kept, to, engine) == 2_600


def test_a_first_backup_that_does_not_verify_leaves_nothing(kept: KeptLog, to: Path, engine: Engine) -> None:
    edit(kept.files[0], b"tiles-0", bytes(8), lambda held: flipped(held, 77, 0))
    with pytest.raises(CopyInvalid, match="tile"):
        _back_up(kept, to, engine)
    assert [file.name for file in to.iterdir()] == ["lock"]


def test_a_log_that_went_back_never_takes_the_place_of_its_backup(
    kept: KeptLog, to: Path, engine: Engine, tmp_path: Path
) -> None:
    shutil.copytree(kept.path, tmp_path / "old")
    old_head = kept.head.read_bytes()
    _append(kept, engine, 300)
    _back_up(kept, to, engine)
    before = _contents(to)
    shutil.rmtree(kept.path)
    shutil.copytree(tmp_path / "old", kept.path)
    kept.head.write_bytes(old_head)
    with pytest.raises(CopyInvalid, match="the backup that is there has 2900 entries of this log, the store 2600"):
        _back_up(kept, to, engine)
    # It grows again, with other entries.
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        log.append_many(Packed.of([b"another history"] * 400))
    kept.sign(engine)
    with pytest.raises(CopyInvalid, match="the first 2900 entries are not those of the backup that is there"):
        _back_up(kept, to, engine)
    assert _contents(to) == before


def test_without_a_signed_head_there_is_no_backup(kept: KeptLog, to: Path, engine: Engine) -> None:
    kept.head.unlink()
    with pytest.raises(CopyInvalid, match="no signed head"):
        _back_up(kept, to, engine)
    assert not to.exists()


def test_a_head_that_somebody_else_signed_spoils_a_backup(kept: KeptLog, to: Path, engine: Engine) -> None:
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        kept.head.write_bytes(note_of(engine, SM2PrivateKey.generate(os.urandom), log))
    with pytest.raises(CopyInvalid, match="no head that the log's member signed"):
        _back_up(kept, to, engine)


def test_a_full_backup_reads_what_lay_there_already(kept: KeptLog, to: Path, engine: Engine) -> None:
    _back_up(kept, to, engine)
    file = to / "epochs" / "0000" / "data.mdb"
    row, _ = rows_of(file, b"segments")[1]
    edit(file, b"segments", row, lambda held: flipped(held, len(held) - 1, 0))
    assert _back_up(kept, to, engine).kept == (0, 1)
    with pytest.raises(CopyInvalid, match="epoch 0"):
        _back_up(kept, to, engine, full=True)


def test_two_backups_to_one_place_are_one_at_a_time(kept: KeptLog, to: Path, engine: Engine) -> None:
    to.mkdir()
    lock = WriterLock(to / "lock")
    with pytest.raises(StoreLocked):
        _back_up(kept, to, engine)
    lock.release()
    _back_up(kept, to, engine)


def test_a_source_that_is_no_data_file_is_named(kept: KeptLog, to: Path, engine: Engine) -> None:
    kept.files[2].write_bytes(b"nonsense" * 4_096)
    with pytest.raises(StoreDamaged, match="0002"):
        _back_up(kept, to, engine)
    assert not _left_over(to)


# Restoring.


def test_a_restored_log_is_the_same_and_goes_on(kept: KeptLog, to: Path, engine: Engine, tmp_path: Path) -> None:
    _back_up(kept, to, engine)
    place = tmp_path / "new" / "log"
    restored = restore(to, place, engine, replace(kept.expected(), checkpoint=None))
    assert (restored.size, restored.new) == (2_600, (0, 1, 2))
    assert _entries(place, engine) == _entries(kept.path, engine)
    for path in (kept.path, place):
        with AuditLog.open(path, engine, map_bytes=SMALL_MAP) as log:
            log.append_many(Packed.of([b"the next"] * 2_000))
    with AuditLog.open(place, engine, map_bytes=SMALL_MAP) as log:
        root = log.tree.root()
    assert list(Check(place, engine, map_bytes=SMALL_MAP).findings()) == []
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        assert log.tree.root() == root


def test_an_empty_directory_may_be_restored_into_and_no_other(
    kept: KeptLog, to: Path, engine: Engine, tmp_path: Path
) -> None:
    _back_up(kept, to, engine)
    place = tmp_path / "log"
    place.mkdir()
    restore(to, place, engine, replace(kept.expected(), checkpoint=None))
    before = _contents(place)
    with pytest.raises(StoreExists):
        restore(to, place, engine, replace(kept.expected(), checkpoint=None))
    assert _contents(place) == before


@pytest.mark.parametrize("what", ["segment", "tile", "head", "checkpoint"])
def test_a_backup_that_does_not_verify_is_not_restored(
    kept: KeptLog, to: Path, engine: Engine, tmp_path: Path, what: str
) -> None:
    _back_up(kept, to, engine)
    file = to / "epochs" / "0001" / "data.mdb"
    match what:
        case "segment":
            edit(file, b"segments", rows_of(file, b"segments")[0][0], lambda held: flipped(held, len(held) - 1, 0))
        case "tile":
            edit(file, b"tiles-0", rows_of(file, b"tiles-0")[0][0], lambda held: flipped(held, 100, 0))
        case "head":
            edit(file, b"head", b"row-0", lambda held: flipped(held, 40, 0))
        case _:
            head = to / CHECKPOINT
            head.write_bytes(flipped(head.read_bytes(), 60, 0))
    with pytest.raises(CopyInvalid, match=what):
        restore(to, tmp_path / "log", engine, replace(kept.expected(), checkpoint=None))
    assert not (tmp_path / "log").exists()
    assert not _left_over(tmp_path)


def test_a_backup_older_than_the_anchors_is_restored_for_what_it_is_but_not_if_they_contradict_it(
    kept: KeptLog, to: Path, engine: Engine, tmp_path: Path
) -> None:
    _back_up(kept, to, engine)
    newer = (3_000, os.urandom(32))
    expected = replace(kept.expected(), checkpoint=None, anchors=[*kept.anchors, newer])
    assert restore(to, tmp_path / "log", engine, expected).size == 2_600
    contradicted = replace(expected, anchors=[(2_000, os.urandom(32)), newer])
    with pytest.raises(CopyInvalid, match="anchor"):
        restore(to, tmp_path / "other", engine, contradicted)


def test_where_there_is_no_backup_nothing_is_restored(tmp_path: Path, engine: Engine, kept: KeptLog) -> None:
    with pytest.raises(StoreAbsent):
        restore(tmp_path / "none", tmp_path / "log", engine, kept.expected())


# The disk, and the end of the process.


def test_a_disk_that_fills_up_fails_the_backup_and_keeps_the_one_before(
    kept: KeptLog, engine: Engine, tmp_path: Path
) -> None:
    """A real small disk, mounted in a name space of its own."""
    unshare = [shutil.which("unshare") or "unshare", "--user", "--map-root-user", "--mount"]
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run([*unshare, *mounting], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    _append(kept, engine, 30_000)
    whole = sum(file.stat().st_size for file in kept.files)
    assert whole > 4 << 20
    key = kept.key.public_key.to_bytes().hex()
    command = [sys.executable, "-m", "tests.audit.keeping.keeping_process", "backup"]
    backing_up = [*command, str(kept.path), str(disk / "backup"), str(kept.head), key]
    program = f"{' '.join(mounting)} && {' '.join(backing_up)}; find {disk} -type f; df --output=used {disk} | tail -1"
    ended = subprocess.run(
        [*unshare, "sh", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("DISK_FULL"), ended
    assert lines[1:-1] == [str(disk / "backup" / "lock")]
    assert int(lines[-1]) < 100


@pytest.mark.process
@needs_strace
@pytest.mark.parametrize(("kinds", "expected"), [((RENAME,), {RENAME}), (SYNCS, {FSYNC})], ids=["rename", "sync"])
def test_a_write_that_the_disk_refuses_fails_the_backup_and_nothing_else(
    kept: KeptLog,
    to: Path,
    engine: Engine,
    tmp_path: Path,
    kinds: tuple[Kind, ...],
    expected: set[Kind],
    keepers: Forks,
) -> None:
    _back_up(kept, to, engine)
    _append(kept, engine, 1_000)
    key = kept.key.public_key.to_bytes().hex()
    struck: set[Kind] = set()
    for turn, strike in enumerate(strikes(keepers, kinds, NO_SPACE)):
        own = tmp_path / f"backup-{turn}"
        shutil.copytree(to, own)
        ended = strike.run("backup", kept.path, own, kept.head, key)
        assert not _left_over(own)
        assert _holds(kept, own, engine) >= 2_600
        assert ended.stdout.startswith("DISK_FULL" if strike.hit else "done"), ended
        if strike.hit:
            struck.add(strike.kind)
    assert struck >= expected, struck


@pytest.mark.process
@needs_strace
def test_a_backup_that_is_killed_at_any_step_is_whole_and_is_taken_up_again(
    kept: KeptLog, to: Path, engine: Engine, tmp_path: Path, keepers: Forks
) -> None:
    _back_up(kept, to, engine)
    _append(kept, engine, 2_000)
    key = kept.key.public_key.to_bytes().hex()
    struck: set[Kind] = set()
    for turn, strike in enumerate(strikes(keepers, NAMES, KILL)):
        own = tmp_path / f"backup-{turn}"
        shutil.copytree(to, own)
        ended = strike.run("backup", kept.path, own, kept.head, key)
        assert strike.hit or ended.stdout == "done\n"
        assert _holds(kept, own, engine) >= 2_600
        assert _back_up(kept, own, engine).size == 4_600
        assert not _left_over(own)
        assert _holds(kept, own, engine) == 4_600
        if strike.hit:
            struck.add(strike.kind)
    assert struck >= {RENAME, MKDIR, CHMOD, RMDIR}, struck


@pytest.mark.process
@needs_strace
def test_a_restoring_that_is_killed_leaves_a_whole_log_or_none(
    kept: KeptLog, to: Path, engine: Engine, tmp_path: Path, keepers: Forks
) -> None:
    _back_up(kept, to, engine)
    key = kept.key.public_key.to_bytes().hex()
    place = tmp_path / "restored" / "log"
    struck: set[Kind] = set()
    for strike in strikes(keepers, NAMES, KILL):
        ended = strike.run("restore", to, place, key)
        assert strike.hit or ended.stdout == "done\n"
        assert strike.hit or place.exists()
        if place.exists():
            assert list(Check(place, engine, kept.expected(), map_bytes=SMALL_MAP).findings()) == []
            assert _entries(place, engine) == _entries(kept.path, engine)
            shutil.rmtree(place)
        if strike.hit:
            struck.add(strike.kind)
    assert struck >= {RENAME, MKDIR, CHMOD}, struck
    assert not _left_over(place.parent)


def _contents(directory: Path) -> dict[str, bytes]:
    files = [file for file in directory.rglob("*") if file.is_file() and file.name not in {"lock", "lock.mdb"}]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def test_the_process_that_the_faults_strike_does_its_work_where_none_does(
    kept: KeptLog, to: Path, keepers: Forks
) -> None:
    key = kept.key.public_key.to_bytes().hex()
    assert run(keepers, "backup", kept.path, to, kept.head, key).stdout == "done\n"
