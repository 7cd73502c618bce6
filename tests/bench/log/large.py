"""A large log: built in one process, then opened, asked for proofs and re-hashed in fresh ones.

python -m tests.bench.log.large DIRECTORY ENGINE build ENTRIES | open | prove LEAVES ROUNDS | check
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from audit.keeping.check import Check, Expected
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine, load_engine
from crypto.merkle import SM3_TREE, entry_leaves, merkle_levels, verify_inclusion
from crypto.packed import Packed
from tests.bench.log.appending import BATCH, ENTRY_BYTES, ORIGIN

_SCATTER = 2_654_435_761  # leaves all over the log, the same in every run
_WAITING = 32  # batches

Measured = dict[str, float]


def build(path: Path, engine: Engine, count: int) -> Measured:
    """Append so many entries in full batches."""
    drawn = np.random.default_rng(seed=5)
    begun = time.perf_counter()
    with AuditLog.create(path, ORIGIN, engine) as log:
        for each in _few_at_a_time(log, drawn, count):
            each()
        seconds = time.perf_counter() - begun
    files = list(path.glob("epochs/*/data.mdb"))
    return {
        "entries": count,
        "seconds": seconds,
        "entries_per_second": count / seconds,
        "bytes_per_entry": sum(file.stat().st_size for file in files) / count,
        "allocated_per_entry": sum(512 * file.stat().st_blocks for file in files) / count,
    }


def _few_at_a_time(log: AuditLog, drawn: np.random.Generator, count: int) -> Iterator[Callable[[], object]]:
    """Hands entries in and gives what waits for them, so that a disk that refuses is heard of."""
    waiting: list[Callable[[], object]] = []
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        waiting.append(log.submit_many(Packed.fixed(drawn.bytes(ENTRY_BYTES * size), ENTRY_BYTES)).result)
        if len(waiting) > _WAITING:
            yield waiting.pop(0)
    yield from waiting


def open_it(path: Path, engine: Engine) -> Measured:
    """Open it for writing, and append one entry."""
    before = peak_bytes()
    begun = time.perf_counter()
    log = AuditLog.open(path, engine)
    seconds = time.perf_counter() - begun
    after = peak_bytes()
    begun = time.perf_counter()
    log.submit(b"the first after opening").result()
    first = time.perf_counter() - begun
    size = log.size
    log.close()
    return {
        "entries": size,
        "seconds": seconds,
        "first_acknowledgement_seconds": first,
        "peak_bytes": after,
        "peak_bytes_before": before,
        "peak_bytes_with_an_append": peak_bytes(),
    }


def prove(path: Path, engine: Engine, leaves: int, rounds: int) -> Measured:
    """Inclusion paths in the whole tree, after a round that is not counted; each is verified once."""
    store = TreeStore.open(path, engine, read_only=True)
    size, root = store.size, store.root()
    chosen = [turn * _SCATTER % size for turn in range(leaves)]
    for index in chosen:
        verify_inclusion(SM3_TREE, store.leaf_hash(index), index, size, store.inclusion(index, size), root)
    seconds = []
    for _ in range(rounds):
        for index in chosen:
            begun = time.perf_counter()
            store.inclusion(index, size)
            seconds.append(time.perf_counter() - begun)
    store.close()
    return {
        "entries": size,
        "p50": float(np.percentile(seconds, 50)),
        "p99": float(np.percentile(seconds, 99)),
        "peak_bytes": peak_bytes(),
    }


def check(path: Path, engine: Engine) -> Measured:
    """Re-hash and compare everything that is stored, as `kiteline audit check` does; and what the hashing alone would take."""
    begun = time.perf_counter()
    checked = Check(path, engine, Expected(origin=ORIGIN))
    findings = list(checked.findings())
    seconds = time.perf_counter() - begun
    if findings:
        raise SystemExit(f"the check finds {findings[0]}")
    return {
        "entries": checked.size,
        "seconds": seconds,
        "entries_per_second": checked.size / seconds,
        "hashing_alone_per_second": _hashing_alone(engine),
        "peak_bytes": peak_bytes(),
    }


def _hashing_alone(engine: Engine, rounds: int = 40) -> float:
    """Entries a second of leaves and tree, out of memory and into nothing."""
    entries = Packed.fixed(np.random.default_rng(seed=6).bytes(ENTRY_BYTES * BATCH), ENTRY_BYTES)
    merkle_levels(engine, entry_leaves(engine, entries))
    begun = time.perf_counter()
    for _ in range(rounds):
        merkle_levels(engine, entry_leaves(engine, entries))
    return rounds * BATCH / (time.perf_counter() - begun)


def peak_bytes() -> int:
    """The most memory that this process has held resident at once."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1_024
    return 0


def main(arguments: list[str]) -> int:
    """Measure."""
    directory, name, work, *numbers = arguments
    programs: dict[str, Callable[..., Measured]] = {"build": build, "open": open_it, "prove": prove, "check": check}
    do = programs[work]
    measured = do(Path(directory) / "log", load_engine(name), *map(int, numbers))
    sys.stdout.write(json.dumps({"engine": name, **measured}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
