"""`make bench-log`: measure the log alone, and Tessera beside it, and write docs/benchmarks-log.md.

Every measurement is a process of its own, out of tests/bench/log, tests/audit/kills.py or tests/bench/tessera, that prints JSON. It begins when the
machine is quiet, or after `--patience`. Stores lie in `.kiteline` meanwhile, or where `--stores` says, and are removed. With `--only`, one subject is
measured and printed, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crypto.engine import survey_engines
from scripts.bench.load import wait_for_quiet
from scripts.bench.machine import describe
from scripts.bench_log_document import SUBJECTS, Measured, compose, sections

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".kiteline"
DOCUMENT = ROOT / "docs" / "benchmarks-log.md"
RESULTS = HOME / "bench-log.json"
TESSERA = ROOT / "tests" / "bench" / "tessera"
ENGINES = ("multibuffer", "openssl")
BYTES_PER_ENTRY = 450  # on disk at most, of either log, with what is written meanwhile
SECONDS = 3_600  # that one measurement may take
# How many wait at once, and how often each. All of them share a batch, so there must be many more turns than a 99th percentile needs.
CALLERS = ((1, 1_000), (16, 500), (1_000, 300))
PUBLISHED = 20  # likewise; a publication waits for a tenth of a second
PROOFS, ROUNDS = 10_000, 2


class Bench:
    """The measurements, by subject."""

    def __init__(self, settings: argparse.Namespace) -> None:
        self._settings = settings
        # A first turn is not counted, so there are two at least.
        self._callers = [(callers, max(2, each * settings.turns // 100)) for callers, each in CALLERS]
        self._published = max(2, PUBLISHED * settings.turns // 100)
        self._engines = [one.name for one in survey_engines() if one.usable and one.name in ENGINES]
        self._others: list[float] = []

    def busy(self) -> tuple[float, float]:
        """Least and most cores that were busy with other work when a measurement began."""
        return min(self._others), max(self._others)

    def append(self) -> Measured:
        """Durable appends against raw LMDB."""
        return [
            self._log("appending", engine, str(self._settings.rounds), str(self._settings.batches))
            for engine in self._engines
        ]

    def wait(self) -> Measured:
        """One-entry acknowledgements."""
        ways = [
            (engine, callers, each, way)
            for engine in self._engines
            for callers, each in self._callers
            for way in ("threads", "tasks", "callbacks")
        ]
        every = [(self._engines[0], *self._callers[0], "raw"), *ways]
        return [self._log("waiting", engine, str(callers), str(each), way) for engine, callers, each, way in every]

    def large(self) -> Measured:
        """A large log."""
        return [self._large(self._settings.entries)]

    def kills(self) -> Measured:
        """Random kills, on two cores at once."""
        shares = [self._settings.kills // 2, self._settings.kills - self._settings.kills // 2]
        with ThreadPoolExecutor(len(shares)) as pool:
            work = [
                pool.submit(self._python, "tests.audit.kills", str(share), str(seed), self._engines[0])
                for seed, share in enumerate(shares, start=1)
                if share
            ]
            parts = [one.result() for one in work]
        return [{key: sum(part[key] for part in parts) for key in parts[0]} | {"engine": self._engines[0]}]

    def tessera(self) -> Measured:
        """Tessera, and a log of ours of the same size; ours alone where Go is missing."""
        count = self._settings.tessera_entries
        found: dict[str, Any] = {"entries": count, "ours": self._large(count)}
        found |= {f"ours {callers}": self._tasks(callers, each) for callers, each in self._callers}
        go = shutil.which("go")
        if go is None:
            return [found]
        program = HOME / "go" / "tessera-bench"
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([go, "build", "-buildvcs=false", "-o", str(program), "."], cwd=TESSERA, check=True)
        with self._space(count) as directory:

            def run(name: str, *arguments: str) -> None:
                found[name] = self._printed([str(program), "-directory", str(directory), *arguments])

            # Batches of 8,192 as ours; they close by age, and the longer age gives Tessera the larger batches and the higher rate.
            run("append", "-age", "200ms", "append", str(count))
            run("open", "open")
            run("prove", "prove", str(PROOFS), str(ROUNDS))
            run("check", "check")
        for callers, each in self._callers:
            with self._space(callers * each) as directory:
                # A batch closes as soon as every caller is back, which is the best that it can do for them.
                size = ["-batch", str(callers)]
                run(f"acknowledge {callers}", *size, "acknowledge", str(callers), str(each))
                run(f"publish {callers}", *size, "publish", str(callers), str(self._published))
        return [found]

    def _large(self, count: int) -> dict[str, Any]:
        engine = self._engines[0]
        found: dict[str, Any] = {"engine": engine, "entries": count}
        with self._space(count) as directory:

            def run(name: str, engine: str, *arguments: str) -> None:
                found[name] = self._python("tests.bench.log.large", str(directory), engine, *arguments)

            run("build", engine, "build", str(count))
            run("open", engine, "open")
            run("prove", engine, "prove", str(PROOFS), str(ROUNDS))
            for each in self._engines:
                run(f"check {each}", each, "check")
        return found

    def _tasks(self, callers: int, each: int) -> dict[str, Any]:
        """Acknowledgements of the fastest engine to callers that wait as the node's do."""
        return self._log("waiting", self._engines[0], str(callers), str(each), "tasks")

    def _log(self, module: str, engine: str, *arguments: str) -> dict[str, Any]:
        with self._space(2_000_000) as directory:
            return self._python(f"tests.bench.log.{module}", str(directory), engine, *arguments)

    def _python(self, module: str, *arguments: str) -> dict[str, Any]:
        return self._printed([sys.executable, "-m", module, *arguments])

    def _printed(self, command: list[str]) -> dict[str, Any]:
        """What a measurement prints."""
        others = wait_for_quiet(self._settings.patience)
        self._others.append(others)
        words = " ".join(word for word in command[1:] if "/" not in word)
        print(f"measuring {Path(command[0]).name} {words} ({others:.2f} cores busy with other work)", flush=True)
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
        if ended.returncode:
            raise SystemExit(f"{words} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    @contextmanager
    def _space(self, entries: int) -> Iterator[Path]:
        """A directory for stores, if the disk has room."""
        stores: Path = self._settings.stores
        stores.mkdir(parents=True, exist_ok=True)
        needed, free = entries * BYTES_PER_ENTRY, shutil.disk_usage(stores).free
        if needed > free:
            raise SystemExit(f"{needed / 1e9:.1f} GB are needed in {stores} and {free / 1e9:.1f} GB are free")
        with tempfile.TemporaryDirectory(prefix="bench-log-", dir=stores) as directory:
            yield Path(directory)


def main() -> int:
    """Measure, print, and write the document if everything was measured in full."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SUBJECTS, help="measure one subject and print it")
    parser.add_argument("--entries", type=int, default=10_000_000, help="of the large log")
    parser.add_argument(
        "--tessera-entries", type=int, default=1_000_000, help="of Tessera's log, and of ours beside it"
    )
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=100, help="of each waiting caller, in per cent of the usual")
    parser.add_argument("--rounds", type=int, default=7, help="of appending, by the log and by LMDB in turn")
    parser.add_argument("--batches", type=int, default=64, help="of 8,192 entries, in each of those rounds")
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds that a measurement waits for other work to end"
    )
    parser.add_argument("--stores", type=Path, default=HOME, help="where the logs lie meanwhile")
    settings = parser.parse_args()
    HOME.mkdir(exist_ok=True)
    settings.stores.mkdir(parents=True, exist_ok=True)
    # Before anything runs, so that the load is not our own.
    machine = describe(f"{datetime.now(UTC):%Y-%m-%d}", settings.stores)
    bench = Bench(settings)
    subjects: dict[str, Callable[[], Measured]] = {name: getattr(bench, name) for name in SUBJECTS}
    found = {name: measure() for name, measure in subjects.items() if settings.only in {None, name}}
    print("\n".join(sections(found)))
    if settings.only is None:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        least, most = bench.busy()
        machine.append(("cores busy with other work when a measurement began", f"{least:.2f} to {most:.2f}"))
        DOCUMENT.write_text(compose(machine, found), encoding="utf-8")
        print(f"wrote {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
