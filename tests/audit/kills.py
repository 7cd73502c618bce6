"""Run the writer process, end it in some way, and check that the log has everything that was promised.

    python -m tests.audit.kills COUNT SEED ENGINE

kills a writer COUNT times, each time a moment after so many acknowledged entries, both drawn with the seed, checks the whole log after each, and prints a
summary as JSON; 1 where an acknowledged entry was lost. Its writers are forks of itself, which spares each the starting of an interpreter.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from audit.errors import StoreAbsent
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine, load_engine
from crypto.merkle import SM3_TREE, merkle_levels, verify_consistency, verify_inclusion
from crypto.packed import Packed
from tests.audit.writer_process import MAP_BYTES, ORIGIN, content, work
from tests.conftest import ROOT

SECONDS = 120  # after which a writer is taken to hang
EPOCH_LEAVES = 4
ENDLESS = 1_000_000  # entries, of a writer that is to be killed
_AFTER = b"an entry after the fault"
_LONG = 2_000  # entries; a log that has more is left, so that checking all of it stays quick

_MOMENT_SECONDS = 0.003  # at most, from the last acknowledgement that is waited for to the kill: some commits long

Name = tuple[int, int]  # thread, number
# Runs a writer with the arguments of `writer_process` before the engine, and kills it so long after so many acknowledgements.
Strike = Callable[[list[str], Engine, int, float], "Outcome"]


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
    """The command that runs the writer."""
    return _command([str(path), mode, *map(str, (threads, each, epoch_leaves, first))], engine)


def _command(arguments: list[str], engine: str) -> list[str]:
    return [sys.executable, "-m", "tests.audit.writer_process", *arguments, engine]


def run(command: Sequence[str]) -> Outcome:
    """Run a writer to its end, whatever that is."""
    ended = subprocess.run(
        command, cwd=ROOT, env=_environment(), capture_output=True, timeout=SECONDS, check=False, text=True
    )
    return Outcome.of(ended.returncode, ended.stdout, ended.stderr)


def start_and_kill(arguments: list[str], engine: Engine, acknowledged: int, moment_seconds: float) -> Outcome:
    """A Strike at a process that is started anew."""
    command = _command(arguments, engine.name)
    with subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(acknowledged)]
            time.sleep(moment_seconds)
        finally:
            process.kill()
        rest = process.stdout.read()
    return Outcome.of(process.returncode, "".join(lines) + rest)


def fork_and_kill(arguments: list[str], engine: Engine, acknowledged: int, moment_seconds: float) -> Outcome:
    """A Strike at a fork of this process, which must have no thread and no environment of LMDB open."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.dup2(writing, sys.stdout.fileno())
            os.close(reading)
            os.close(writing)
            work(arguments, engine)
        except BaseException:  # noqa: BLE001 - what it was is printed, and told by the code
            traceback.print_exc()
        finally:
            # The rest of the program is the parent's.
            os._exit(os.EX_SOFTWARE)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as output:
        try:
            lines = [output.readline() for _ in range(acknowledged)]
            time.sleep(moment_seconds)
        finally:
            os.kill(process, signal.SIGKILL)
        rest = output.read()
    _, status = os.waitpid(process, 0)
    return Outcome.of(os.waitstatus_to_exitcode(status), "".join(lines) + rest)


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


def kill_at_random(
    path: Path, engine: Engine, count: int, seed: int, strike: Strike = start_and_kill
) -> dict[str, int]:
    """Kill a writer `count` times, mostly on a log that earlier ones were killed at. Raises AssertionError at any fault but a loss, which is counted.

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
        arguments = [str(log), mode, *map(str, (threads, ENDLESS, epoch_leaves, first))]
        outcome = strike(arguments, engine, drawn.randint(1, 80), drawn.uniform(0, _MOMENT_SECONDS))
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


def _environment() -> dict[str, str]:
    # Without it the interpreter writes files of its own, which a fault would strike.
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def main(arguments: list[str]) -> int:
    """See the module."""
    count, seed, name = arguments
    with tempfile.TemporaryDirectory() as directory:
        totals = kill_at_random(Path(directory), load_engine(name), int(count), int(seed), fork_and_kill)
    sys.stdout.write(json.dumps(totals) + "\n")
    return 1 if totals["lost"] else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
