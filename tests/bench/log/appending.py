"""Durable appends in full batches, and the raw LMDB write of the same segments and tiles in the same run.

python -m tests.bench.log.appending DIRECTORY ENGINE ROUNDS BATCHES
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from audit.log import AuditLog, GroupCommit
from crypto.engine import Engine, load_engine
from crypto.packed import Packed
from tests.bench.raw_lmdb import Put, commits_of, raw_environment

ENTRY_BYTES = 256
BATCH = GroupCommit().max_entries
ORIGIN = "kiteline/bench/audit/SM3"


def main(arguments: list[str]) -> int:
    """Measure; the rounds of the two take turns, so that both meet whatever else the machine does."""
    directory, name, *numbers = arguments
    rounds, count = map(int, numbers)
    engine, path = load_engine(name), Path(directory)
    data = np.random.default_rng(seed=4)
    batches = [Packed.fixed(data.bytes(ENTRY_BYTES * BATCH), ENTRY_BYTES) for _ in range(count)]
    log_seconds, raw_seconds = [], []
    commits: list[list[Put]] = []
    for turn in range(rounds + 1):
        store = path / "log"
        seconds = _append(engine, store, batches)
        if not commits:
            commits = commits_of(store / "epochs" / "0000")
        size = (store / "epochs" / "0000" / "data.mdb").stat().st_size
        shutil.rmtree(store)
        raw = _write(path / "raw", commits)
        shutil.rmtree(path / "raw")
        # The first round warms both up.
        if turn:
            log_seconds.append(seconds)
            raw_seconds.append(raw)
    total = BATCH * count
    measured = {
        "engine": engine.name,
        "entries": total,
        "commits": len(commits),
        "entries_per_second": total / median(log_seconds),
        "raw_entries_per_second": total / median(raw_seconds),
        "ratio": median(raw / log for raw, log in zip(raw_seconds, log_seconds, strict=True)),
        "ratios": [raw / log for raw, log in zip(raw_seconds, log_seconds, strict=True)],
        "bytes_per_entry": size / total,
    }
    sys.stdout.write(json.dumps(measured) + "\n")
    return 0


def _append(engine: Engine, path: Path, batches: list[Packed]) -> float:
    """Hand in every batch and wait until the last is durable."""
    with AuditLog.create(path, ORIGIN, engine) as log:
        begun = time.perf_counter()
        futures = [log.submit_many(batch) for batch in batches]
        for future in futures:
            future.result()
        return time.perf_counter() - begun


def _write(path: Path, commits: list[list[Put]]) -> float:
    with raw_environment(path) as (environment, databases):
        begun = time.perf_counter()
        for puts in commits:
            with environment.begin(write=True) as transaction:
                for name, key, value in puts:
                    transaction.put(key, value, db=databases[name], append=True)
        return time.perf_counter() - begun


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
