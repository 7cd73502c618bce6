"""The benchmark of the log runs, small, so that what it measures means nothing; its document says what was measured and no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scripts.bench.load import LIMIT_CORES, busy_cores, busy_seconds, wait_for_quiet
from scripts.bench_log_document import SUBJECTS, Measured, compose, sections
from tests.conftest import ROOT

SMALL = ("--entries", "20000", "--tessera-entries", "20000", "--kills", "2", "--turns", "1", "--rounds", "1")
TESSERA = ROOT / "tests" / "bench" / "tessera"


@pytest.mark.bench
@pytest.mark.process
@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subject_is_measured_and_printed_as_a_table(
    benchmark: BenchmarkFixture, tmp_path: Path, subject: str
) -> None:
    rest = ("--batches", "2", "--patience", "0", "--stores", str(tmp_path))
    command = [sys.executable, "-m", "scripts.bench_log", "--only", subject, *SMALL, *rest]
    ended = benchmark.pedantic(
        subprocess.run,
        args=(command,),
        kwargs={"cwd": ROOT, "capture_output": True, "text": True, "timeout": 280, "check": False},
        rounds=1,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = [line for line in ended.stdout.splitlines() if line.startswith("| ")]
    assert len(table) >= 3
    assert list(tmp_path.iterdir()) == [], "the stores are removed"


@pytest.mark.process
def test_the_program_in_go_is_formatted_and_vetted() -> None:
    go, formatter = shutil.which("go"), shutil.which("gofmt")
    if go is None or formatter is None:
        pytest.skip("no `go` on the PATH")
    for command in ([formatter, "-l", "."], [go, "vet", "./..."]):
        ended = subprocess.run(command, cwd=TESSERA, capture_output=True, text=True, timeout=280, check=False)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def test_what_was_wanted_and_not_reached_is_said_so() -> None:
    text = compose([("cores", "2")], {"append": [_append(0.59)]})
    assert "| at least 0.6 × | 0.59 × | **no** |" in text
    assert "| at least 0.6 × | 0.6 × | yes |" in compose([("cores", "2")], {"append": [_append(0.6)]})
    assert "below 10 ms" not in text, "what was not measured is not told of"


def test_lost_entries_are_told_as_they_were_counted() -> None:
    kills = {"kills": 7, "logs": 1, "epochs": 2, "acknowledged": 90, "lost": 3, "entries": 95, "engine": "openssl"}
    assert "| 7 | 1 | 2 | 90 | 3 | 95 |" in sections({"kills": [kills]})


def test_without_go_the_column_says_so() -> None:
    waited = {"p50": 0.001, "p99": 0.002, "entries_per_second": 5.0}
    ours = {
        "engine": "openssl",
        "build": {"entries_per_second": 9.0, "bytes_per_entry": 325.0, "allocated_per_entry": 326.0},
        "open": {"seconds": 0.5, "peak_bytes": 7e7},
        "prove": {"p50": 1e-5, "p99": 2e-5},
        "check openssl": {"entries_per_second": 8.0},
    }
    measured: Measured = [{"entries": 100, "ours": ours, "ours 16": waited}]
    rows = [line for line in sections({"tessera": measured}) if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) == 11
    assert all(row.endswith("| go is not installed | – |") for row in rows)


def test_time_that_cores_were_busy_leaves_out_idling_and_waiting_for_a_disk() -> None:
    assert busy_seconds("cpu  100 200 300 4000 500 60 70 80 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n") == pytest.approx(8.1)


def test_a_measurement_waits_for_a_quiet_machine_and_no_longer_than_it_may() -> None:
    samples, times = iter([2.0, LIMIT_CORES, 9.0]), iter(range(100))
    assert wait_for_quiet(50, lambda: next(samples), lambda: next(times)) == LIMIT_CORES
    assert wait_for_quiet(3, lambda: 2.0, _clock().__next__) == 2.0


def test_cores_are_looked_at() -> None:
    assert busy_cores() >= 0


def _clock() -> Iterator[int]:
    yield from range(10)


def _append(ratio: float) -> dict[str, Any]:
    return {
        "engine": "multibuffer",
        "entries_per_second": 2.0,
        "raw_entries_per_second": 4.0,
        "ratio": ratio,
        "ratios": [ratio],
        "bytes_per_entry": 325.0,
    }
