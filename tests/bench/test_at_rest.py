"""Re-wrapping a dataset's secrets under another at-rest key while it is read, against rewriting the same rows with py-lmdb alone."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import lmdb
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from audit.environment import LIB_VERSION
from crypto.packed import Packed
from node.stores import staging
from node.stores.at_rest import AtRestHolder, AtRestKeys
from node.stores.datasets import DatasetDirectory
from node.stores.rewrapping import BATCH_ROWS
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from tests.bench.measure import Line, measure, note_latencies, note_memory
from tests.crypto.engines_at_hand import engine_named

pytestmark = pytest.mark.bench

ROWS = 1_000_000  # segments: of one record each here, where real ones have up to 4,096
BATCH = 100_000  # records added at a time
READS = 1_000
READ_SEGMENTS = 16  # as one delivery has
RAW = "raw LMDB, no cryptography"
KEYS = AtRestKeys(1, {1: b"at-rest key of 1", 2: b"at-rest key of 2"})


@dataclass(frozen=True)
class Rewrapped:
    """A dataset whose keys go to and fro."""

    engine: str
    home: Path
    datasets: DatasetDirectory
    dataset: SealedDataset
    turns: Iterator[int]

    def rewrap(self, progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """Bring everything under the key that nothing is under; gives how many values that were."""
        return self.datasets.rewrap(next(self.turns), progress).rewrapped


@pytest.fixture(scope="module", params=["multibuffer", "openssl"])
def rewrapped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rewrapped]:
    """A dataset that was published as any is, but for its segments: as small as they can be."""
    engine = engine_named(request.param)
    directory = tmp_path_factory.mktemp("at-rest")
    datasets = DatasetDirectory(directory, "11370700004258746X", DatasetMeans(engine, os.urandom, AtRestHolder(KEYS)))
    dataset = datasets.create(b"d" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "SEGMENT_RECORDS", 1)
        patch.setattr(staging, "GROUP_SEGMENTS", 1_024)
        begun = dataset.begin_append()
        for start in range(0, ROWS, BATCH):
            begun.add(Packed.of(b'["%07d"]' % number for number in range(start, start + BATCH)), None)
        assert begun.commit() == ROWS
    yield Rewrapped(request.param, directory / (b"d" * 32).hex(), datasets, dataset, cycle([2, 1]))
    datasets.close()
    shutil.rmtree(directory)


def test_raw_rewrite(benchmark: BenchmarkFixture, rewrapped: Rewrapped, tmp_path: Path) -> None:
    """The same rows, in as many commits, written over with their own bytes turned round; each with a sync."""
    if rewrapped.engine != "multibuffer":
        pytest.skip("once is enough")
    shutil.copytree(rewrapped.home / "index", tmp_path / "index")
    line = Line("at_rest", f"re-wrap {ROWS:,} secrets", RAW, is_baseline=True)
    with closing(lmdb.open(str(tmp_path / "index"), max_dbs=4, map_size=1 << 34, lib_version=LIB_VERSION)) as opened:
        segments = opened.open_db(b"segments", create=False)
        count = measure(benchmark, line, lambda: _rewrite(opened, segments), {"operations": ROWS}, rounds=3)
    assert count == ROWS


def _rewrite(environment: lmdb.Environment, segments: lmdb._Database) -> int:
    count, at = 0, b""
    while True:
        with environment.begin(db=segments) as transaction, transaction.cursor() as cursor:
            rows = list(islice(iter(cursor), BATCH_ROWS)) if cursor.set_range(at) else []
        if not rows:
            return count
        with environment.begin(write=True) as transaction:
            for key, value in rows:
                assert transaction.get(key, db=segments) == value
                transaction.put(key, value[::-1], db=segments)
        count += len(rows)
        at = rows[-1][0] + b"\0"


def test_rewrap(benchmark: BenchmarkFixture, rewrapped: Rewrapped) -> None:
    line = Line("at_rest", f"re-wrap {ROWS:,} secrets", f"engine {rewrapped.engine}")
    before, most = _resident(), 0

    def look(_done: int, _total: int) -> None:
        nonlocal most
        most = max(most, _resident())

    count = measure(benchmark, line, lambda: rewrapped.rewrap(look), {"operations": ROWS}, rounds=3)
    assert count == ROWS + 1
    note_memory(benchmark, f"{rewrapped.engine}; re-wraps: 4", {"what it held more than before": most - before})


def test_reads(benchmark: BenchmarkFixture, rewrapped: Rewrapped) -> None:
    seconds: list[float] = []
    line = _reads_of(rewrapped, "nothing else", is_baseline=True)
    measure(benchmark, line, lambda: _read(rewrapped.dataset, seconds), {"calls": READS}, rounds=3)
    note_latencies(benchmark, seconds[READS:])


def test_reads_during_a_rewrap(benchmark: BenchmarkFixture, rewrapped: Rewrapped) -> None:
    seconds: list[float] = []
    done = threading.Event()
    begun = threading.Event()

    def rewrap() -> None:
        while not done.is_set():
            rewrapped.rewrap(lambda _done, _total: begun.set())

    other = threading.Thread(target=rewrap)
    other.start()
    try:
        assert begun.wait(60)
        line = _reads_of(rewrapped, "during a re-wrap", is_baseline=False)
        measure(benchmark, line, lambda: _read(rewrapped.dataset, seconds), {"calls": READS}, rounds=3)
    finally:
        done.set()
        other.join()
    note_latencies(benchmark, seconds[READS:])


def _reads_of(rewrapped: Rewrapped, beside: str, *, is_baseline: bool) -> Line:
    task = f"secrets of {READ_SEGMENTS} segments, engine {rewrapped.engine}"
    return Line("at_rest", task, beside, is_baseline)


def _read(dataset: SealedDataset, seconds: list[float]) -> None:
    """Calls all over the dataset, each timed."""
    for number in range(READS):
        start = (number * 7_919 * READ_SEGMENTS) % (ROWS - READ_SEGMENTS)
        begun = time.perf_counter()
        secrets = dataset.secrets(start, start + READ_SEGMENTS)
        seconds.append(time.perf_counter() - begun)
        assert len(secrets) == 32 * READ_SEGMENTS


def _resident() -> int:
    """Bytes that this process holds resident (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
