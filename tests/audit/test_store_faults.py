"""Bad input to the store: one clear error each, and nothing changed. And what must never change: an epoch that is full."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from lmdb.verify import verify

import audit.environment
from audit.errors import DiskFull, StoreAbsent, StoreDamaged, StoreExists, StoreLocked
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine
from crypto.merkle import SM3_TREE, verify_inclusion
from crypto.packed import Packed
from crypto.sm3 import sm3
from tests.audit.conftest import ORIGIN, SMALL_MAP
from tests.conftest import ROOT

NOBODY = 65_534  # a user who owns nothing


def _leaves(count: int) -> bytes:
    return b"".join(sm3(index.to_bytes(8, "big")) for index in range(count))


def _store(path: Path, engine: Engine, *counts: int, epoch_leaves: int = 1 << 20) -> Path:
    """A store with a segment for each count; gives its path."""
    store = TreeStore.create(path, ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=epoch_leaves)
    for count in counts:
        store.append(_leaves(count), os.urandom(20 * count))
    store.close()
    return path


def _state(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time of the last change and bytes of every file but those that say who is there."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.name not in {"lock", "lock.mdb"}]
    return {str(file): (file.stat().st_mode, file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    before = _state(path)
    yield
    assert _state(path) == before


# Stores that others hold, and places that are not stores.

HOLDER = """
import sys
from pathlib import Path
from audit.store import TreeStore
from crypto.engine import load_engine
store = TreeStore.open(Path(sys.argv[1]), load_engine("openssl"), map_bytes=1 << 26)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_store_that_another_process_holds_is_refused_until_that_process_ends(tmp_path: Path, engine: Engine) -> None:
    path = _store(tmp_path / "log", engine, 5)
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with _unchanged(path):
                for writer in (
                    lambda: TreeStore.open(path, engine, map_bytes=SMALL_MAP),
                    lambda: TreeStore.create(path, ORIGIN, engine, map_bytes=SMALL_MAP),
                ):
                    with pytest.raises(StoreLocked):
                        writer()
                TreeStore.open(path, engine, map_bytes=SMALL_MAP, read_only=True).close()
        finally:
            holder.kill()
    TreeStore.open(path, engine, map_bytes=SMALL_MAP).close()


def test_a_place_without_a_store_stays_as_it_is(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "file"):
        for read_only in (False, True):
            with pytest.raises(StoreAbsent):
                TreeStore.open(path, engine, read_only=read_only)
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_making_a_store_where_one_is_changes_nothing(tmp_path: Path, engine: Engine) -> None:
    path = _store(tmp_path / "log", engine, 5)
    with _unchanged(path), pytest.raises(StoreExists):
        TreeStore.create(path, ORIGIN, engine, map_bytes=SMALL_MAP)


@contextmanager
def _as_nobody(owned: Path) -> Iterator[None]:
    """As a user without privileges, to whom these files belong; the administrator may write anywhere."""
    if os.geteuid():
        yield
        return
    for path in (owned, *owned.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_directory_that_may_not_be_written_is_one_clear_error(engine: Engine, mode: int) -> None:
    # Not in pytest's own directory, which nobody else may enter.
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        home.chmod(0o755)
        path = _store(home / "log", engine, 5)
        (path / "lock").unlink()
        before = _state(path)
        with _as_nobody(path):
            path.chmod(mode)
            with pytest.raises(StoreDamaged, match=os.strerror(errno.EACCES)):
                TreeStore.open(path, engine, map_bytes=SMALL_MAP)
            with pytest.raises(StoreDamaged, match=os.strerror(errno.EACCES)):
                TreeStore.create(path / "inner", ORIGIN, engine, map_bytes=SMALL_MAP)
            path.chmod(0o700)
        assert _state(path) == before
    finally:
        shutil.rmtree(home)


# Files that are not as they were written.

CUTTER = """
import os, shutil, sys
from pathlib import Path
from audit.errors import StoreDamaged
from audit.store import TreeStore
from crypto.engine import load_engine

path, copy, engine = Path(sys.argv[1]), Path(sys.argv[2]), load_engine("openssl")
size = (path / "epochs/0000/data.mdb").stat().st_size
refused = 0
for left in sorted({*range(0, size, 4096), *range(1, size, 5003), size - 1}):
    for read_only in (True, False):
        shutil.copytree(path, copy)
        file = copy / "epochs/0000/data.mdb"
        os.truncate(file, left)
        before = file.read_bytes()
        try:
            TreeStore.open(copy, engine, map_bytes=1 << 26, read_only=read_only)
            print("opened at", left)
        except StoreDamaged:
            refused += 1
        assert file.read_bytes() == before, left
        shutil.rmtree(copy)
print("refused", refused)
"""


def test_a_file_that_is_cut_short_anywhere_is_refused_and_not_read_beyond_its_end(
    tmp_path: Path, engine: Engine
) -> None:
    """In a process of its own, since reading a map beyond the end of its file ends the process."""
    path = _store(tmp_path / "log", engine, 300, 700, 5)
    command = [sys.executable, "-c", CUTTER, str(path), str(tmp_path / "copy")]
    ended = subprocess.run(command, cwd=ROOT, timeout=200, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    said, times = ended.stdout.split()
    assert said == "refused"
    assert int(times) > 40


def test_pages_that_lmdb_gave_back_may_be_missing_at_the_end(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB need not write a page that it took and gave back in one commit, so a short file is damaged only if its verifier says so."""
    path = _store(tmp_path / "log", engine, 5)
    file = path / "epochs" / "0000" / "data.mdb"
    environment = lmdb.open(str(file.parent), max_dbs=9, map_size=SMALL_MAP, lib_version=0)
    database = environment.open_db(b"segments")
    with environment.begin(write=True) as transaction:
        transaction.put(b"\xff" * 8, bytes(40_000), db=database)
    with environment.begin(write=True) as transaction:
        transaction.delete(b"\xff" * 8, db=database)
    for _ in range(2):  # the newest commit's own pages go where older ones were
        with environment.begin(write=True) as transaction:
            transaction.put(b"another", b"x", db=environment.open_db(b"head", txn=transaction))
    environment.close()
    os.truncate(file, file.stat().st_size - 4_096)
    asked: list[str] = []

    def counted(name: str) -> object:
        asked.append(name)
        return verify(name)

    monkeypatch.setattr(audit.environment, "verify", counted)
    store = TreeStore.open(path, engine, map_bytes=SMALL_MAP)
    assert asked == [str(file)]
    assert store.append(_leaves(3), b"x") == 5
    store.close()


def test_an_epoch_without_its_file_is_refused(tmp_path: Path, engine: Engine) -> None:
    path = _store(tmp_path / "log", engine, 300, 300, 300, epoch_leaves=256)
    (path / "epochs" / "0001" / "data.mdb").unlink()
    for read_only in (False, True):
        with _unchanged(path), pytest.raises(StoreDamaged):
            TreeStore.open(path, engine, map_bytes=SMALL_MAP, read_only=read_only)


@pytest.mark.parametrize("lost", ["0000", "0001"])
def test_a_missing_epoch_is_named_by_the_leaf_that_is_missing(tmp_path: Path, engine: Engine, lost: str) -> None:
    path = _store(tmp_path / "log", engine, 300, 300, 300, epoch_leaves=256)
    shutil.rmtree(path / "epochs" / lost)
    with _unchanged(path), pytest.raises(StoreDamaged, match=f"leaf {300 * int(lost)}"):
        TreeStore.open(path, engine, map_bytes=SMALL_MAP)


def test_an_environment_of_the_other_format_of_lmdb_is_refused(tmp_path: Path, engine: Engine) -> None:
    path = _store(tmp_path / "log", engine, 5)
    epoch = path / "epochs" / "0000"
    shutil.rmtree(epoch)
    epoch.mkdir()
    lmdb.open(str(epoch), max_dbs=9, lib_version=1).close()
    with _unchanged(path), pytest.raises(StoreDamaged):
        TreeStore.open(path, engine, map_bytes=SMALL_MAP)


# What a commit must leave as it is.


def test_a_full_epoch_is_never_written_again(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "log"
    sealed: dict[Path, tuple[object, ...]] = {}

    def state(file: Path) -> tuple[object, ...]:
        status = file.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode & 0o777, file.read_bytes()

    def check() -> None:
        files = sorted(path.glob("epochs/*/data.mdb"))
        for file in files[:-1]:
            assert sealed.setdefault(file, state(file)) == state(file)
            assert state(file)[3] == 0o400
        assert state(files[-1])[3] == 0o600

    entries = [b"entry %d" % number for number in range(1_200)]
    with AuditLog.create(path, ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=200) as log:
        for at in range(0, 1_000, 100):
            log.append_many(Packed.of(entries[at : at + 100]))
            check()
    for at in (1_000, 1_100):
        with AuditLog.open(path, engine, map_bytes=SMALL_MAP) as log:
            log.append_many(Packed.of(entries[at : at + 100]))
            assert list(log.entries(0, log.size)) == entries[: at + 100]
            root = log.tree.root()
            for index in range(0, log.size, 37):
                proof = log.tree.inclusion(index, log.size)
                verify_inclusion(SM3_TREE, SM3_TREE.leaf(entries[index]), index, log.size, proof, root)
        check()
    assert len(sealed) == 5


def test_a_batch_that_does_not_fit_changes_no_byte_of_what_was_committed(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "log"
    store = TreeStore.create(path, ORIGIN, engine, map_bytes=1 << 20)
    store.append(_leaves(300), b"first")
    held = store.root(), store.inclusion(7, 300), store.segment_at(7)
    for _ in range(3):
        with pytest.raises(DiskFull):
            store.append(_leaves(300), os.urandom(2 << 20))
        assert (store.root(), store.inclusion(7, 300), store.segment_at(7)) == held
    store.close()
    store = TreeStore.open(path, engine, map_bytes=1 << 20)
    assert (store.root(), store.inclusion(7, 300), store.segment_at(7)) == held
    store.close()


# Opening costs the same whatever the size.

OPENER = """
import sys
from pathlib import Path
from audit.store import TreeStore
from crypto.engine import load_engine
store = TreeStore.open(Path(sys.argv[1]), load_engine("openssl"), map_bytes=1 << 32, read_only=sys.argv[2] == "read")
maps = Path("/proc/self/smaps").read_text().split("data.mdb\\n")[1:]
print(sum(int(part.split("Rss:")[1].split()[0]) for part in maps))
"""


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> list[Path]:
    """Two stores, one some thousand times the other."""
    made = []
    for count, segments in ((300, 1), (65_000, 5)):
        path = tmp_path_factory.mktemp("sizes") / "log"
        store = TreeStore.create(path, ORIGIN, engine, map_bytes=1 << 32)
        for _ in range(segments):
            store.append(os.urandom(32 * count), os.urandom(100 * count))
        store.close()
        made.append(path)
    return made


@pytest.mark.parametrize("mode", ["read", "write"])
def test_opening_touches_no_more_pages_of_a_large_store_than_of_a_small_one(sizes: list[Path], mode: str) -> None:
    files = [path / "epochs" / "0000" / "data.mdb" for path in sizes]
    assert files[1].stat().st_size > 400 * files[0].stat().st_size > 0
    resident = []
    for path in sizes:
        command = [sys.executable, "-c", OPENER, str(path), mode]
        resident.append(int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60).stdout))
    # KiB. The kernel maps what lies around a page along with it, 64 KiB at a time; LMDB touches a few places.
    assert 0 < resident[1] <= 1_024


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace on the PATH to count calls with")
def test_opening_makes_as_many_calls_for_a_large_store_as_for_a_small_one(
    sizes: list[Path], mode: str, tmp_path: Path
) -> None:
    counted = []
    for number, path in enumerate(sizes):
        trace = tmp_path / str(number)
        inner = [path / "epochs", path / "epochs" / "0000", *(path / "epochs" / "0000").iterdir(), path / "lock", path]
        paths = [argument for each in inner for argument in ("-P", str(each))]
        command = ["strace", "-f", "-qq", "-o", str(trace), *paths, sys.executable, "-c", OPENER, str(path), mode]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
        counted.append(len(re.findall(r"^\d+ +\w+\(", trace.read_text(encoding="utf-8"), re.MULTILINE)))
    assert counted[0] == counted[1] < 60
