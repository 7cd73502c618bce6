"""Publishing and fetching between node processes, against a raw gRPC stream of the same bytes.

A fetch ends when every record was delivered, receipted, opened, checked against the anchored root and written to the requester's disk.
The raw stream does nothing but receive: it is what is left of a fetch when everything that Kiteline does is taken away.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from node.formats import open_source
from tests.bench.measure import Line, measure, note, note_memory
from tests.bench.raw_grpc import SERVICE
from tests.bench.villages import VILLAGES
from tests.bench.world import Access, Published, World, raw_server

pytestmark = [pytest.mark.bench, pytest.mark.process, pytest.mark.timeout(600)]

PUBLISH = "publish: read the CSV file, seal, index, log, anchor"
FETCH = "fetch: order, delivery, receipt, key, check, plaintext on disk"
RAW = "raw gRPC stream of the same sealed bytes"
LONG_RECORDS, LONG_RECORD_BYTES = 131_072, 1_024


def test_fetch_villages(benchmark: BenchmarkFixture, world: World, villages: Published) -> None:
    _measure_fetch(benchmark, Line("exchange", _task(world, villages, "villages"), FETCH), world, villages)
    note_memory(benchmark, world.past(), world.peaks())


def test_receive_villages_raw(benchmark: BenchmarkFixture, world: World, villages: Published, tmp_path: Path) -> None:
    line = Line("exchange", _task(world, villages, "villages"), RAW, is_baseline=True)
    _measure_raw(benchmark, line, villages, tmp_path)


def test_publish_villages(benchmark: BenchmarkFixture, world: World, villages: Published) -> None:
    work = partial(world.publish_only, open_source(VILLAGES))
    line = Line("exchange", _task(world, villages, "villages"), PUBLISH)
    _, records = measure(benchmark, line, work, _units(villages), rounds=3, warmup_rounds=0)
    assert records == villages.records
    note_memory(benchmark, world.past(), world.peaks())


@pytest.fixture(scope="module")
def long_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records that are long beside what they cost each: a number and random digits."""
    path = tmp_path_factory.mktemp("source") / "long.csv"
    digits = np.random.default_rng(seed=5).bytes(LONG_RECORDS * LONG_RECORD_BYTES // 2).hex()
    with path.open("w", encoding="ascii") as file:
        file.write("number,digits\n")
        for at in range(LONG_RECORDS):
            # Brackets, quotes, comma and the number of eight digits take the rest.
            file.write(f"{at:08},{digits[LONG_RECORD_BYTES * at : LONG_RECORD_BYTES * (at + 1) - 15]}\n")
    return path


@pytest.fixture(scope="module")
def long(world: World, long_source: Path) -> Published:
    """Those records, published."""
    return world.publish(open_source(long_source))


def test_publish_long_records(benchmark: BenchmarkFixture, world: World, long: Published, long_source: Path) -> None:
    work = partial(world.publish_only, open_source(long_source))
    line = Line("exchange", _task(world, long, "records of 1 KiB"), PUBLISH)
    _, records = measure(benchmark, line, work, _units(long), rounds=2, warmup_rounds=0)
    assert records == long.records


def test_receive_long_records_raw(benchmark: BenchmarkFixture, world: World, long: Published, tmp_path: Path) -> None:
    line = Line("exchange", _task(world, long, "records of 1 KiB"), RAW, is_baseline=True)
    _measure_raw(benchmark, line, long, tmp_path)


def test_fetch_long_records(benchmark: BenchmarkFixture, world: World, long: Published) -> None:
    _measure_fetch(benchmark, Line("exchange", _task(world, long, "records of 1 KiB"), FETCH), world, long)


def _measure_raw(benchmark: BenchmarkFixture, line: Line, published: Published, directory: Path) -> None:
    with raw_server(directory, published.sealed) as access:
        received = measure(benchmark, line, partial(_receive, access), _units(published), rounds=9)
    assert received == sum(map(len, published.sealed))


def _measure_fetch(benchmark: BenchmarkFixture, line: Line, world: World, published: Published) -> None:
    """Each round has a grant of its own, which is asked for and given before the clock runs."""
    note(benchmark, line, _units(published))

    def granted() -> tuple[tuple[bytes], dict[str, object]]:
        return (world.grant(published.dataset_id),), {}

    summary = benchmark.pedantic(world.fetch, setup=granted, rounds=5, warmup_rounds=1)
    assert summary.record_count == published.records
    assert summary.engine == world.engine


def _receive(access: Access) -> int:
    """Receive the whole stream and give how many bytes came."""

    async def received() -> int:
        async with access.channel() as channel:
            size = 0
            async for message in channel.unary_stream(f"/{SERVICE}/Stream")(b""):
                size += len(message)
            return size

    return asyncio.run(received())


def _task(world: World, published: Published, what: str) -> str:
    return f"{published.records:,} {what}, {world.engine}"


def _units(published: Published) -> dict[str, int]:
    return {"records": published.records, "bytes": sum(map(len, published.sealed))}
