"""Queries for one record among the whole country's villages: from the department's program through two node processes and back.

Each is two calls over mutual TLS, orders, deliveries and receipts that are signed and verified, an encryption to the requester, a proof against
the anchored root, and durable entries in both logs. The baseline is one bare call over mutual TLS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Self

import grpc
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kiteline.exchange.v1 import department_pb2 as pb
from kiteline.exchange.v1.department_pb2_grpc import DepartmentServiceStub
from scripts.local_consortium import HEALTH
from tests.bench.measure import Line, measure, note_latencies
from tests.bench.raw_grpc import SERVICE
from tests.bench.villages import village_keys
from tests.bench.world import Access, Published, World, raw_server

pytestmark = [pytest.mark.bench, pytest.mark.process, pytest.mark.timeout(600)]

# A call made over a channel with one of the inputs; what it gives is checked by itself.
Call = Callable[[grpc.aio.Channel, str], Awaitable[None]]

CALLERS = [1, 16, 64]
CALLS = {1: 100, 16: 480, 64: 960}  # queries in a round
RAW_CALLS = 2_000
ROUNDS = 3
ECHO_BYTES = 1_024
DISTINCT_KEYS = 4_096


@pytest.mark.parametrize("callers", CALLERS)
def test_query(benchmark: BenchmarkFixture, world: World, villages: Published, callers: int) -> None:
    grant_id = world.grant(villages.dataset_id)

    async def query(channel: grpc.aio.Channel, key: str) -> None:
        request = pb.QueryRecordRequest(grant_id=grant_id, key=key)
        answer = await DepartmentServiceStub(channel).QueryRecord(request)
        assert answer.proven
        assert answer.values.startswith(f'["{key}"'.encode())

    line = Line("query", _task(callers), f"query, {world.engine}")
    load = _Load(world.access(HEALTH), query, callers, CALLS[callers], cycle(village_keys(DISTINCT_KEYS)))
    _measure(benchmark, line, load)


@pytest.mark.parametrize("callers", CALLERS)
def test_raw_call(benchmark: BenchmarkFixture, callers: int, tmp_path: Path) -> None:
    async def echo(channel: grpc.aio.Channel, text: str) -> None:
        sent = text.encode()
        assert await channel.unary_unary(f"/{SERVICE}/Echo")(sent) == sent

    line = Line("query", _task(callers), f"raw gRPC call of {ECHO_BYTES:,} bytes", is_baseline=True)
    with raw_server(tmp_path, []) as access:
        _measure(benchmark, line, _Load(access, echo, callers, RAW_CALLS, cycle(["x" * ECHO_BYTES])))


class _Load:
    """So many callers, each with a connection of its own, share a number of calls; each makes its next when it has an answer."""

    def __init__(self, access: Access, call: Call, callers: int, calls: int, inputs: Iterator[str]) -> None:
        self.calls = calls
        self.seconds: list[float] = []
        self._access = access
        self._call = call
        self._callers = callers
        self._inputs = inputs
        self._loop = asyncio.Runner()
        self._channels: Sequence[grpc.aio.Channel] = ()

    def __enter__(self) -> Self:
        self._loop.run(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._disconnect())
        self._loop.close()

    def run(self) -> None:
        """Make the calls; adds how long each took."""
        self._loop.run(self._run())

    async def _connect(self) -> None:
        self._channels = [self._access.channel() for _ in range(self._callers)]
        await asyncio.gather(*(channel.channel_ready() for channel in self._channels))

    async def _disconnect(self) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def _run(self) -> None:
        left = iter(range(self.calls))

        async def caller(channel: grpc.aio.Channel) -> None:
            for _ in left:
                begun = time.perf_counter()
                await self._call(channel, next(self._inputs))
                self.seconds.append(time.perf_counter() - begun)

        await asyncio.gather(*map(caller, self._channels))


def _measure(benchmark: BenchmarkFixture, line: Line, load: _Load) -> None:
    with load:
        measure(benchmark, line, load.run, {"calls": load.calls}, rounds=ROUNDS, warmup_rounds=1)
    measured = load.seconds[load.calls :]  # what came before warmed up
    assert len(measured) == ROUNDS * load.calls
    note_latencies(benchmark, measured)


def _task(callers: int) -> str:
    return "1 caller" if callers == 1 else f"{callers} callers"
