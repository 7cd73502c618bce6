"""How a benchmark says what it measured, in the form that `scripts.bench` reads back out of pytest-benchmark's JSON.

Lines with the same table and task stand under each other; the one that is the baseline is what the others are divided by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

Result = TypeVar("Result")


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        table: one of `scripts.bench.document.TABLES`.
        task: what is done; the same for all who are compared.
        by: who does it.
        is_baseline: whether the others of the task are compared with this one.
    """

    table: str
    task: str
    by: str
    is_baseline: bool = False


def measure(
    benchmark: BenchmarkFixture,
    line: Line,
    work: Callable[[], Result],
    units: Mapping[str, int],
    rounds: int = 7,
    warmup_rounds: int = 1,
) -> Result:
    """Measure `work` and note the line. `units`: what one call of it does, the most telling first: records, operations, calls, bytes."""
    note(benchmark, line, units)
    result: Result = benchmark.pedantic(work, rounds=rounds, warmup_rounds=warmup_rounds)
    return result


def note(benchmark: BenchmarkFixture, line: Line, units: Mapping[str, int]) -> None:
    """Note the line of a benchmark."""
    benchmark.extra_info.update(
        table=line.table, task=line.task, by=line.by, is_baseline=line.is_baseline, units=dict(units)
    )


def note_latencies(benchmark: BenchmarkFixture, seconds: Sequence[float]) -> None:
    """Note how long single calls took."""
    p50, p99 = np.percentile(np.array(seconds), [50, 99])
    benchmark.extra_info.update(p50_seconds=float(p50), p99_seconds=float(p99), calls_measured=len(seconds))


def note_memory(benchmark: BenchmarkFixture, past: str, peak_bytes: Mapping[str, int]) -> None:
    """Note the most memory that each process held at once, and what it had done until then."""
    benchmark.extra_info.update(past=past, peak_bytes=dict(peak_bytes))


def round_seconds(benchmark: BenchmarkFixture) -> list[float]:
    """How long each round took, where a round is one call."""
    assert benchmark.stats is not None
    return [float(seconds) for seconds in benchmark.stats.stats.data]
