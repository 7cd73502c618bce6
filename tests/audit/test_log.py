"""The audit log: what is acknowledged is durable, in order, and seen by the projection before its caller."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest

from audit.errors import DiskFull, EntryInvalid, LogClosed
from audit.log import AuditLog
from crypto.engine import Engine
from crypto.merkle import SM3_TREE, merkle_levels, verify_inclusion
from crypto.packed import Packed
from tests.audit.conftest import ORIGIN, SMALL_MAP
from tests.conftest import ROOT


def test_entries_of_many_callers_are_all_there_in_an_order_that_the_projection_saw(
    tmp_path: Path, engine: Engine
) -> None:
    seen: list[bytes] = []

    def projected(first: int, entries: Packed) -> None:
        assert first == len(seen)
        seen.extend(entries)

    with AuditLog.create(tmp_path / "log", ORIGIN, engine, on_commit=projected, map_bytes=SMALL_MAP) as log:
        futures = []
        gate = threading.Barrier(8)

        def call(caller: int) -> None:
            gate.wait()
            futures.extend([(log.submit(b"%d-%d" % (caller, turn)), b"%d-%d" % (caller, turn)) for turn in range(200)])

        threads = [threading.Thread(target=call, args=(caller,)) for caller in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait([future for future, _ in futures])
        assert log.size == 1_600
        for future, entry in futures:
            assert log.entry(future.result()) == entry
        assert list(log.entries(0, log.size)) == seen
        # One sync a batch and not an entry: far fewer commits than entries.
        assert log.commits < 800


def test_every_entry_is_proven_by_the_tree(tmp_path: Path, engine: Engine) -> None:
    entries = [b"entry %d" % number for number in range(300)]
    with AuditLog.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP) as log:
        assert log.append_many(Packed.of(entries)) == 0
        root = log.tree.root()
        leaves = b"".join(SM3_TREE.leaf(entry) for entry in entries)
        assert root == merkle_levels(engine, leaves)[-1]
        for index in (0, 1, 255, 256, 299):
            verify_inclusion(SM3_TREE, SM3_TREE.leaf(entries[index]), index, 300, log.tree.inclusion(index, 300), root)


def test_a_full_disk_fails_its_callers_and_later_ones_are_served(tmp_path: Path, engine: Engine) -> None:
    with AuditLog.create(tmp_path / "log", ORIGIN, engine, map_bytes=1 << 20) as log:
        log.submit(b"before").result()
        with pytest.raises(DiskFull):
            log.submit_many(Packed.of([b"x" * 1_000_000] * 2)).result()
        assert log.submit(b"after").result() == 1
        assert list(log.entries(0, 2)) == [b"before", b"after"]


def test_a_projection_that_fails_stops_the_log_rather_than_diverge(tmp_path: Path, engine: Engine) -> None:
    def failing(first: int, entries: Packed) -> None:
        raise RuntimeError("a defect")

    with AuditLog.create(tmp_path / "log", ORIGIN, engine, on_commit=failing, map_bytes=SMALL_MAP) as log:
        with pytest.raises(LogClosed):
            log.submit(b"one").result()
        with pytest.raises(LogClosed):
            log.submit(b"two").result()


def test_closing_writes_what_waits_and_takes_nothing_more(tmp_path: Path, engine: Engine) -> None:
    log = AuditLog.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)
    futures = [log.submit(b"%d" % number) for number in range(50)]
    log.close()
    assert [future.result() for future in futures] == list(range(50))
    with pytest.raises(LogClosed):
        log.submit(b"late")


@pytest.mark.parametrize("entry", [b"", b"x" * (2 * 1_048_576 + 1)])
def test_an_empty_or_oversized_entry_is_refused(tmp_path: Path, engine: Engine, entry: bytes) -> None:
    with AuditLog.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP) as log:
        with pytest.raises(EntryInvalid):
            log.submit(entry)
        assert log.size == 0


CHILD = """
import sys
from pathlib import Path
from audit.log import AuditLog
from crypto.engine import load_engine
with AuditLog.create(Path(sys.argv[1]), sys.argv[2], load_engine(), map_bytes=1 << 26) as log:
    number = 0
    while True:
        index = log.submit(b"entry %d" % number).result()
        print(index, flush=True)
        number += 1
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path, engine: Engine) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "log"), ORIGIN], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    try:
        acknowledged = [int(child.stdout.readline()) for _ in range(200)]
    finally:
        child.kill()
        acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
        child.wait()
        child.stdout.close()
    with AuditLog.open(tmp_path / "log", engine, map_bytes=SMALL_MAP) as log:
        assert log.size >= len(acknowledged)
        assert list(log.entries(0, len(acknowledged))) == [b"entry %d" % index for index in acknowledged]
        leaves = b"".join(SM3_TREE.leaf(entry) for entry in log.entries(0, log.size))
        assert log.tree.root() == merkle_levels(engine, leaves)[-1]
