"""A log that is read a great deal does not hold on to what it read."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import audit.store
from audit.epoch import Epoch
from audit.errors import StoreDamaged
from audit.residency import MappedPages
from audit.store import TreeStore
from crypto.engine import Engine
from crypto.merkle import SM3_TREE, verify_inclusion
from crypto.sm3 import sm3
from tests.audit.conftest import ORIGIN
from tests.conftest import ROOT

MAP = 1 << 30
SEGMENTS, LEAVES = 40, 4_096

READER = """
import sys
from pathlib import Path
import audit.store
from audit.store import TreeStore
from crypto.engine import load_engine

audit.store._MAPPED_BYTES = int(sys.argv[2])
store = TreeStore.open(Path(sys.argv[1]), load_engine("openssl"), map_bytes=1 << 30, read_only=sys.argv[3] == "read")

def resident():
    maps = Path("/proc/self/smaps").read_text().split("data.mdb\\n")[1:]
    return sum(int(part.split("Rss:")[1].split()[0]) for part in maps)

most = 0
for index in range(0, store.size, 128):
    store.inclusion(index, store.size)
    if index % 4096 == 0:
        store.segment_at(index)
    most = max(most, resident()) if index % 1024 == 0 else most
print(most)
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Path:
    """A store of some 40 MiB."""
    path = tmp_path_factory.mktemp("residency") / "log"
    store = TreeStore.create(path, ORIGIN, engine, map_bytes=MAP, epoch_leaves=50_000)
    for at in range(SEGMENTS):
        leaves = b"".join(sm3(b"%d" % number) for number in range(at * LEAVES, (at + 1) * LEAVES))
        store.append(leaves, bytes(200 * LEAVES))
    store.close()
    return path


@pytest.mark.parametrize("mode", ["read", "write"])
def test_reading_keeps_no_more_of_the_file_mapped_than_the_bound_says(path: Path, mode: str) -> None:
    resident = {}
    for bound in (4 << 20, 1 << 40):
        command = [sys.executable, "-c", READER, str(path), str(bound), mode]
        resident[bound] = int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120).stdout)
    # KiB; without a bound the same reading maps most of the file.
    assert resident[4 << 20] < 10 * 1_024 < 24 * 1_024 < resident[1 << 40]


def test_proofs_hold_while_pages_are_let_go_of_and_the_store_grows(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.store, "_MAPPED_BYTES", 1)
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=MAP, epoch_leaves=1_500)
    leaves = [sm3(b"%d" % number) for number in range(6_000)]
    store.append(b"".join(leaves[:1_000]), b"x")
    over = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not over.is_set():
                size, root = store.size, store.root_at(store.size)
                if (size, root) == (store.size, store.root()):
                    for index in (0, size // 3, size - 1):
                        verify_inclusion(SM3_TREE, leaves[index], index, size, store.inclusion(index, size), root)
        except BaseException as failure:  # noqa: BLE001 - whatever it was, the test tells it
            failures.append(failure)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for at in range(1_000, 6_000, 100):
        store.append(b"".join(leaves[at : at + 100]), b"x")
    over.set()
    for reader in readers:
        reader.join()
    store.close()
    assert failures == []


def test_a_closed_epoch_is_left_alone(path: Path) -> None:
    """What lies where its map was is not its own any more."""
    epoch = Epoch(path / "epochs" / "0000", MAP, read_only=True)
    epoch.let_go_of_pages()
    epoch.close()
    epoch.let_go_of_pages()
    with pytest.raises(StoreDamaged), epoch.reading():
        pass


def test_memory_that_is_no_map_of_a_file_is_left_alone() -> None:
    data = bytearray(b"precious" * 100_000)
    MappedPages(memoryview(data)).let_go()
    assert data == b"precious" * 100_000
