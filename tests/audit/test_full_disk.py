"""A disk that is really full: a small file system in memory, in a mount namespace of its own.

A real one refuses in ways that an injected fault does not: it takes a part of what it is given, and says that it is full with the next call.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.process

FILLER = """
import os, sys
from pathlib import Path
from audit.errors import DiskFull
from audit.log import AuditLog
from crypto.engine import load_engine
from crypto.merkle import SM3_TREE, merkle_levels

path, engine = Path(sys.argv[1]), load_engine("openssl")
ballast = path / "ballast"
ballast.write_bytes(bytes(int(sys.argv[2])))
log = AuditLog.create(path / "log", "origin", engine, map_bytes=1 << 26, epoch_leaves=int(sys.argv[3]))
entries, refused, number = [], 0, 0
while refused < 40:
    entry = b"entry %d " % number + bytes(number * 977 % 9_000)
    try:
        assert log.submit(entry).result(60) == len(entries)
        entries.append(entry)
    except DiskFull:
        refused += 1
    number += 1
    assert log.size == len(entries)
full = len(entries)
ballast.unlink()
for number in range(10):
    assert log.submit(b"space is back %d" % number).result(60) == len(entries)
    entries.append(b"space is back %d" % number)
for _ in range(2):
    assert list(log.entries(0, log.size)) == entries
    assert log.tree.root() == merkle_levels(engine, b"".join(map(SM3_TREE.leaf, entries)))[-1]
    log.close()
    log = AuditLog.open(path / "log", engine, map_bytes=1 << 26)
log.close()
print(full, len(list((path / "log" / "epochs").iterdir())))
"""


def _mounted(directory: Path, kilobytes: int, *command: str) -> list[str]:
    """The command, where `directory` is a file system of that size."""
    mount = f'mount -t tmpfs -o size={kilobytes}k none "$0" && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(directory), *command]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on the PATH to mount a small file system with")
    tried = subprocess.run(_mounted(tmp_path, 64, "true"), capture_output=True, check=False, timeout=60)
    if tried.returncode:
        pytest.skip(f"this system lets nobody mount a small file system: {tried.stderr.decode().strip()}")
    return tmp_path


# Where the disk becomes full within the making of an epoch, LMDB's table of readers would end the process (709, 732, 824 among others).
@pytest.mark.parametrize(
    ("kilobytes", "epoch_leaves"), [(700, 1 << 20), (709, 9), (732, 9), (824, 9), (1_000, 20), (1_003, 7), (1_031, 50)]
)
def test_a_disk_that_is_really_full_is_told_and_the_same_process_goes_on_when_space_is_back(
    disk: Path, kilobytes: int, epoch_leaves: int
) -> None:
    child = (sys.executable, "-c", FILLER, str(disk), str(300 << 10), str(epoch_leaves))
    command = _mounted(disk, kilobytes, *child)
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=200, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    entries, epochs = map(int, ended.stdout.split())
    assert entries > 10
    assert (epochs > 1) == (epoch_leaves < entries)
