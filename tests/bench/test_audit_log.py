"""The audit log against py-lmdb alone: the same bytes, the same number of commits, the same disk, one sync a commit."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from audit.log import AuditLog, GroupCommit
from crypto.engine import Engine
from crypto.packed import Packed
from tests.bench.measure import Line, measure, note_latencies, round_seconds
from tests.bench.raw_lmdb import Put, commits_of, raw_environment, write_commits
from tests.crypto.engines_at_hand import engine_named, fastest_engine

pytestmark = pytest.mark.bench

Fresh = Callable[[], Path]
Result = TypeVar("Result")

ENTRY_BYTES = 256
BATCH = GroupCommit().max_entries
BATCHES = 48
RAW = "raw LMDB"
ORIGIN = "kiteline/bench/audit/SM3"
CALLERS = 64
ACKS_EACH = 10


@pytest.fixture(scope="module")
def batches() -> list[list[bytes]]:
    """Entries, as many in each batch as one commit takes."""
    data = np.random.default_rng(seed=4).bytes(ENTRY_BYTES * BATCH * BATCHES)
    entries = [data[at : at + ENTRY_BYTES] for at in range(0, len(data), ENTRY_BYTES)]
    return [entries[at : at + BATCH] for at in range(0, len(entries), BATCH)]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Fresh]:
    """Gives a path where nothing is yet, each time another."""
    numbers = count()
    yield lambda: tmp_path / str(next(numbers))
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("contender", ["multibuffer", "openssl", RAW])
def test_append_in_batches(
    benchmark: BenchmarkFixture, contender: str, batches: list[list[bytes]], fresh: Fresh
) -> None:
    total = sum(map(len, batches))
    work: Callable[[], int]
    if contender == RAW:
        path = fresh()
        _append(fastest_engine(), lambda: path, batches)
        commits = commits_of(path / "epochs" / "0000")
        work, expected = partial(_write, fresh, commits), sum(len(value) for puts in commits for _, _, value in puts)
        assert len(commits) == len(batches)
    else:
        work, expected = partial(_append, engine_named(contender), fresh, batches), total
    task = f"append, {BATCH:,} entries of {ENTRY_BYTES} bytes a commit"
    line = Line("audit_log", task, _by(contender), contender == RAW)
    units = {"records": total, "bytes": total * ENTRY_BYTES}
    assert measure(benchmark, line, work, units, rounds=5) == expected


@pytest.mark.parametrize("contender", ["multibuffer", "openssl", RAW])
def test_one_entry_and_its_acknowledgement(
    benchmark: BenchmarkFixture, contender: str, batches: list[list[bytes]], fresh: Fresh
) -> None:
    """Each round is one entry, acknowledged when it is on disk."""
    entries, units = iter(batches[0]), {"calls": 1}
    line = Line("audit_log", "one entry and its durable acknowledgement, one caller", _by(contender), contender == RAW)
    if contender == RAW:
        with raw_environment(fresh()) as (environment, databases):
            put = _raw_put(environment, databases[b"segments"])
            measure(benchmark, line, partial(_with_next, put, entries), units, rounds=400, warmup_rounds=20)
    else:
        with AuditLog.create(fresh(), ORIGIN, engine_named(contender)) as log:
            work = partial(_with_next, partial(_acknowledged, log), entries)
            assert measure(benchmark, line, work, units, rounds=400, warmup_rounds=20) == log.size - 1
    note_latencies(benchmark, round_seconds(benchmark))


@pytest.mark.parametrize("contender", ["multibuffer", "openssl", RAW])
def test_one_entry_each_of_many_callers(
    benchmark: BenchmarkFixture, contender: str, batches: list[list[bytes]], fresh: Fresh
) -> None:
    """Group commit: entries of callers who wait at the same time share a sync."""
    task = f"one entry and its durable acknowledgement, {CALLERS} callers"
    line = Line("audit_log", task, _by(contender), contender == RAW)
    units = {"calls": CALLERS * ACKS_EACH}
    seconds: list[float] = []
    if contender == RAW:
        with raw_environment(fresh()) as (environment, databases):
            put = _raw_put(environment, databases[b"segments"])
            measure(benchmark, line, partial(_from_many_threads, put, batches[0], seconds), units, rounds=3)
    else:
        with AuditLog.create(fresh(), ORIGIN, engine_named(contender)) as log:
            submit = partial(_acknowledged, log)
            measure(benchmark, line, partial(_from_many_threads, submit, batches[0], seconds), units, rounds=3)
            assert log.size == len(seconds)
    note_latencies(benchmark, seconds[CALLERS * ACKS_EACH :])


def _append(engine: Engine, fresh: Fresh, batches: list[list[bytes]]) -> int:
    """Hand in every batch, wait for the last to be durable, and give how many entries there are."""
    with AuditLog.create(fresh(), ORIGIN, engine) as log:
        acknowledged = [log.submit_many(Packed.of(batch)) for batch in batches]
        for each in acknowledged:
            each.result()
        return log.size


def _write(fresh: Fresh, commits: list[list[Put]]) -> int:
    return write_commits(fresh(), commits)


def _acknowledged(log: AuditLog, entry: bytes) -> int:
    return log.submit(entry).result()


def _with_next(call: Callable[[bytes], Result], entries: Iterator[bytes]) -> Result:
    return call(next(entries))


def _raw_put(environment: lmdb.Environment, database: Any) -> Callable[[bytes], None]:  # noqa: ANN401 - py-lmdb exports no name for it
    """Put one value under the next number, durably."""
    numbers = count()

    def put(value: bytes) -> None:
        with environment.begin(write=True) as transaction:
            # Writers come one at a time, so the numbers rise.
            transaction.put(next(numbers).to_bytes(8, "big"), value, db=database, append=True)

    return put


def _from_many_threads(call: Callable[[bytes], object], entries: list[bytes], seconds: list[float]) -> None:
    """Have every caller make its calls one after another, all callers at once; adds how long each call took."""
    begin = threading.Barrier(CALLERS)

    def run(own: list[bytes]) -> None:
        begin.wait()
        for entry in own:
            begun = time.perf_counter()
            call(entry)
            seconds.append(time.perf_counter() - begun)

    parts = [entries[ACKS_EACH * at : ACKS_EACH * (at + 1)] for at in range(CALLERS)]
    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _by(contender: str) -> str:
    return contender if contender == RAW else f"audit log, {contender}"
