"""Run the writer process, end it in some way, and check that the log has everything that was promised.

    python -m tests.audit.kills COUNT SEED ENGINE

kills a writer COUNT times, each time a moment after so many acknowledged entries, both drawn with the seed, checks the whole log after each,
and prints a summary as JSON; 1 where an acknowledged entry was lost.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.errors import StoreAbsent
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine, load_engine
from crypto.merkle import SM3_TREE, merkle_levels, verify_consistency, verify_inclusion
from crypto.packed import Packed
from tests.audit.forks import Forks
from tests.audit.writer_process import MAP_BYTES, ORIGIN, content

WRITER = "tests.audit.writer_process"
EPOCH_LEAVES = 4
ENDLESS = 1_000_000  # entries, of a writer that is to be killed
_AFTER = b"an entry after the fault"
_MOMENT_SECONDS = 0.003  # at most, from the last acknowledgement that is waited for to the kill: some commits long
_LONG = 2_000  # entries; a log that has more is left, so that checking all of it stays quick

Name = tuple[int, int]  # thread, number


@dataclass
class Outcome:
    """What a writer said before it ended. `acknowledged`: index by entry; `full`: how often it met a full disk; `commits`: if it came to its end."""

    code: int
    acknowledged: dict[Name, int] = field(default_factory=dict)
    full: int = 0
    stopped: list[str] = field(default_factory=list)
    commits: int = 0
    errors: str = ""

    @classmethod
    def of(cls, code: int, output: str, errors: str = "") -> Outcome:
        """Read it from the process's output."""
        outcome = cls(code, errors=errors)
        for line in output.splitlines():
            word, *rest = line.split(" ")
            if word == "ack":
                index, thread, number = map(int, rest)
                outcome.acknowledged[thread, number] = index
            elif word == "full":
                outcome.full += 1
            elif word == "stopped":
                outcome.stopped += rest
            elif word == "done":
                outcome.commits = int(rest[0])
        return outcome


def writer(
    path: Path, mode: str, *, threads: int, each: int, epoch_leaves: int = EPOCH_LEAVES, first: int = 0, engine: str
) -> list[str]:
    """The arguments of a writer."""
    return [str(path), mode, *map(str, (threads, each, epoch_leaves, first)), engine]


def run(writers: Forks, arguments: Sequence[str], tracing: Sequence[str] | None = None) -> Outcome:
    """Run a writer to its end, whatever that is. `tracing`: the strace that is attached to it."""
    with writers.start(arguments) as child:
        if tracing is not None:
            child.traced_by(tracing)
        child.begin()
        return Outcome.of(*child.end())


def run_and_kill(writers: Forks, arguments: Sequence[str], acknowledged: int, moment_seconds: float) -> Outcome:
    """Kill a writer so long after it has acknowledged so many entries; it may be anywhere in what follows."""
    with writers.start(arguments) as child:
        child.begin()
        lines = [child.output.readline() for _ in range(acknowledged)]
        time.sleep(moment_seconds)
        child.kill()
        code, rest, errors = child.end()
    return Outcome.of(code, "".join(lines) + rest, errors)


def check_log(path: Path, engine: Engine, promised: dict[Name, int]) -> list[bytes]:
    """Open the log as a node would, check everything, and append to it; gives the writers' entries.

    `promised`: the entries that were acknowledged, with their indices.
    """
    try:
        log = AuditLog.open(path, engine, map_bytes=MAP_BYTES)
    except StoreAbsent:
        assert not promised, "a store is gone that acknowledged entries"
        log = AuditLog.create(path, ORIGIN, engine, map_bytes=MAP_BYTES, epoch_leaves=EPOCH_LEAVES)
    with log:
        entries = list(log.entries(0, log.size))
        for (thread, number), index in promised.items():
            assert entries[index] == content(thread, number), f"entry {index} is not the one that was acknowledged"
        written = [entry for entry in entries if entry != _AFTER]
        _check_contents(written)
        _check_tree(log, engine, entries)
        assert log.append_many(Packed.of([_AFTER])) == len(entries)
        _check_tree(log, engine, [*entries, _AFTER])
    with AuditLog.open(path, engine, map_bytes=MAP_BYTES) as log:
        assert list(log.entries(0, log.size)) == [*entries, _AFTER]
    return written


def _check_contents(entries: Sequence[bytes]) -> None:
    """Every entry is one that a thread wrote, whole and once, and a thread's entries stand in the order in which it wrote them."""
    last: dict[int, int] = {}
    for entry in entries:
        thread, number = (int(part) for part in entry.split(b" ", 2)[1].split(b"/"))
        assert entry == content(thread, number), "an entry is damaged"
        assert number > last.get(thread, -1), f"of thread {thread}, entry {number} follows {last.get(thread)}"
        last[thread] = number


def _check_tree(log: AuditLog, engine: Engine, entries: Sequence[bytes]) -> None:
    """The root is the one over all entries, each hashed by itself, and paths lead to it."""
    size = len(entries)
    assert log.size == size
    if not size:
        return
    leaves = [SM3_TREE.leaf(entry) for entry in entries]
    root = merkle_levels(engine, b"".join(leaves))[-1]
    assert log.tree.root() == root
    for index in {*range(0, size, max(size // 16, 1)), size - 1}:
        verify_inclusion(SM3_TREE, leaves[index], index, size, log.tree.inclusion(index, size), root)
        old = merkle_levels(engine, b"".join(leaves[: index + 1]))[-1]
        verify_consistency(SM3_TREE, index + 1, old, size, root, log.tree.consistency(index + 1, size))


def kill_at_random(writers: Forks, path: Path, engine: Engine, count: int, seed: int) -> dict[str, int]:
    """Kill a writer `count` times, mostly on a log that earlier ones were killed at. Raises AssertionError at any fault but a
    loss, which is counted.

    Returns:
        Totals: kills, logs, entries that were acknowledged, those of them that were lost, entries found, and epochs of the logs.
    """
    drawn = random.Random(seed)
    totals = dict.fromkeys(("kills", "logs", "acknowledged", "lost", "entries", "epochs"), 0)
    log, promised, written, is_new = path, dict[Name, int](), 0, True
    for turn in range(count):
        if is_new:
            log, promised, written = path / f"log-{turn}", {}, 0
            totals["logs"] += 1
        threads, epoch_leaves = drawn.choice([1, 2, 8, 24]), drawn.choice([16, 64, 300])
        first = turn * 100  # so that no two writers write the same entry
        mode = "open" if promised else "create"
        arguments = writer(
            log, mode, threads=threads, each=ENDLESS, epoch_leaves=epoch_leaves, first=first, engine=engine.name
        )
        outcome = run_and_kill(writers, arguments, drawn.randint(1, 80), drawn.uniform(0, _MOMENT_SECONDS))
        assert outcome.code == -signal.SIGKILL, f"the writer ended by itself with {outcome.code}: {outcome.stopped}"
        assert not outcome.stopped
        assert not promised.keys() & outcome.acknowledged.keys()
        promised |= outcome.acknowledged
        totals["kills"] += 1
        totals["acknowledged"] += len(outcome.acknowledged)
        lost = count_lost(log, engine, promised)
        totals["lost"] += lost
        found = written if lost else len(check_log(log, engine, promised))
        totals["entries"] += found - written
        written, is_new = found, bool(lost) or found > _LONG
    totals["epochs"] = sum(1 for _ in path.glob("log-*/epochs/[0-9]*"))
    return totals


def count_lost(path: Path, engine: Engine, promised: dict[Name, int]) -> int:
    """How many of the entries that were acknowledged do not stand at their index."""
    try:
        store = TreeStore.open(path, engine, read_only=True, map_bytes=MAP_BYTES)
    except StoreAbsent:
        return len(promised)
    try:
        entries = list(AuditLog.reader(store))
    finally:
        store.close()
    return sum(entries[index : index + 1] != [content(*name)] for name, index in promised.items())


def main(arguments: list[str]) -> int:
    """See the module."""
    count, seed, name = arguments
    with tempfile.TemporaryDirectory() as directory, Forks(WRITER) as writers:
        totals = kill_at_random(writers, Path(directory), load_engine(name), int(count), int(seed))
    sys.stdout.write(json.dumps(totals) + "\n")
    return 1 if totals["lost"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
