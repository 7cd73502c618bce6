"""How long one entry waits for its durable acknowledgement, by how many callers wait at once and how they wait.

    python -m tests.bench.log.waiting DIRECTORY ENGINE CALLERS EACH threads|tasks|callbacks|raw

Each caller hands in its next entry when the last is acknowledged. `tasks` are those of asyncio, as the node waits; `callbacks` wait without a
thread or a task of their own; `raw` is one thread and py-lmdb alone, a commit an entry.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from audit.log import AuditLog
from crypto.engine import load_engine
from node.app.process import calm_collector
from tests.bench.log.appending import ENTRY_BYTES, ORIGIN
from tests.bench.raw_lmdb import raw_environment

Seconds = list[list[float]]  # of each caller, one after another


def main(arguments: list[str]) -> int:
    """Measure."""
    directory, name, *numbers, way = arguments
    calm_collector()  # as a node does
    callers, each = map(int, numbers)
    path = Path(directory) / "log"
    entries = [np.random.default_rng(seed=number).bytes(ENTRY_BYTES) for number in range(callers)]
    seconds: Seconds = [[] for _ in range(callers)]
    if way == "raw":
        total, commits = _raw(path, entries[0], each, seconds), each
    else:
        wait = {"threads": _threads, "tasks": _tasks, "callbacks": _callbacks}[way]
        with AuditLog.create(path, ORIGIN, load_engine(name)) as log:
            total = wait(log, entries, each, seconds)
            commits = log.commits
    # The first entry of each caller finds nobody before it.
    warm = np.array([one for own in seconds for one in own[1:]])
    measured = {
        "engine": name,
        "callers": callers,
        "way": way,
        "entries": callers * each,
        "entries_per_second": callers * each / total,
        "entries_per_commit": callers * each / commits,
        "p50": float(np.percentile(warm, 50)),
        "p99": float(np.percentile(warm, 99)),
        "processor_seconds_per_entry": time.process_time() / (callers * each),
    }
    sys.stdout.write(json.dumps(measured) + "\n")
    return 0


def _raw(path: Path, entry: bytes, each: int, seconds: Seconds) -> float:
    with raw_environment(path) as (environment, databases):
        begun = time.perf_counter()
        for number in range(each):
            start = time.perf_counter()
            with environment.begin(write=True) as transaction:
                transaction.put(number.to_bytes(8, "big"), entry, db=databases[b"segments"], append=True)
            seconds[0].append(time.perf_counter() - start)
        return time.perf_counter() - begun


def _threads(log: AuditLog, entries: list[bytes], each: int, seconds: Seconds) -> float:
    gate = threading.Barrier(len(entries) + 1)

    def call(entry: bytes, own: list[float]) -> None:
        gate.wait()
        for _ in range(each):
            start = time.perf_counter()
            log.submit(entry).result()
            own.append(time.perf_counter() - start)

    threads = [threading.Thread(target=call, args=pair) for pair in zip(entries, seconds, strict=True)]
    for thread in threads:
        thread.start()
    gate.wait()
    begun = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def _tasks(log: AuditLog, entries: list[bytes], each: int, seconds: Seconds) -> float:
    async def call(entry: bytes, own: list[float]) -> None:
        for _ in range(each):
            start = time.perf_counter()
            await log.submit_async(entry)
            own.append(time.perf_counter() - start)

    async def all_of_them() -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(call(*pair) for pair in zip(entries, seconds, strict=True)))
        return time.perf_counter() - begun

    return asyncio.run(all_of_them())


def _callbacks(log: AuditLog, entries: list[bytes], each: int, seconds: Seconds) -> float:
    left = len(entries)
    all_done = threading.Event()

    def caller(entry: bytes, own: list[float]) -> Callable[[], None]:
        start = 0.0

        def submit() -> None:
            nonlocal start
            start = time.perf_counter()
            log.submit(entry).add_done_callback(acknowledged)

        def acknowledged(_: Future[int]) -> None:
            nonlocal left
            own.append(time.perf_counter() - start)
            if len(own) < each:
                submit()
                return
            left -= 1  # only the log's writing thread comes here
            if not left:
                all_done.set()

        return submit

    callers = [caller(*pair) for pair in zip(entries, seconds, strict=True)]
    begun = time.perf_counter()
    for submit in callers:
        submit()
    all_done.wait()
    return time.perf_counter() - begun


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
