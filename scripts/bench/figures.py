"""What the benchmarks measured, out of pytest-benchmark's JSON (tests/bench/measure.py puts it there), and how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_DIGITS = 3  # that count: more of them would not be the same in the next run
_UNITS = ("records", "operations", "calls", "bytes")  # as columns, from the left


@dataclass(frozen=True)
class Figure:
    """One benchmark.

    Attributes:
        table: which table it stands in.
        task: what was done.
        by: who did it.
        is_baseline: whether the task's others are compared with it.
        seconds: median of a round.
        units: what a round did, by name: those of _UNITS.
        p50_seconds, p99_seconds: of single calls, where they were timed.
        spread: distance of the quartiles over the median: how much the rounds differed.
        past, peak_bytes: where it was looked at, what the processes had done, and the most memory that each held at once.
    """

    table: str
    task: str
    by: str
    is_baseline: bool
    seconds: float
    units: Mapping[str, int]
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    spread: float = 0.0
    past: str = ""
    peak_bytes: Mapping[str, int] = field(default_factory=dict)

    def rate(self, unit: str) -> float:
        """Units a second."""
        return self.units[unit] / self.seconds


def read_figures(document: Mapping[str, Any]) -> list[Figure]:
    """The figures of a JSON document, in the order in which they were measured. Raises KeyError where one is not as measured here."""
    figures = []
    for benchmark in document["benchmarks"]:
        told = benchmark["extra_info"]
        figures.append(
            Figure(
                table=told["table"],
                task=told["task"],
                by=told["by"],
                is_baseline=told["is_baseline"],
                seconds=benchmark["stats"]["median"],
                units=told["units"],
                p50_seconds=told.get("p50_seconds"),
                p99_seconds=told.get("p99_seconds"),
                spread=benchmark["stats"]["iqr"] / benchmark["stats"]["median"],
                past=told.get("past", ""),
                peak_bytes=told.get("peak_bytes", {}),
            )
        )
    return figures


def table_of(figures: Sequence[Figure], *, with_seconds: bool) -> list[str]:
    """Lines of a Markdown table; a task's figures stand together, its baseline first."""
    units = [unit for unit in _UNITS if any(unit in figure.units for figure in figures)]
    timed = any(figure.p99_seconds is not None for figure in figures)
    header = ["what", "by", *(["seconds"] if with_seconds else []), *map(_unit_title, units)]
    header += [*(["p50 ms", "p99 ms"] if timed else []), "spread", "ratio"]
    rows = []
    for task, group in _by_task(figures):
        baseline = next((figure for figure in group if figure.is_baseline), None)
        for at, figure in enumerate(group):
            row = [task if at == 0 else "", figure.by, *([significant(figure.seconds)] if with_seconds else [])]
            row += [_rate(figure, unit) for unit in units]
            if timed:
                row += [_milliseconds(figure.p50_seconds), _milliseconds(figure.p99_seconds)]
            rows.append([*row, f"{figure.spread:.0%}", ratio(figure, baseline)])
    return markdown(header, rows, text_columns=2)


def memory_table(figures: Iterable[Figure]) -> list[str]:
    """Lines of a Markdown table of what processes held, where it was looked at."""
    rows = [
        [figure.past, process, significant(peak / 1e6)]
        for figure in figures
        for process, peak in figure.peak_bytes.items()
    ]
    return markdown(["engine and past", "process", "MB at most"], rows, text_columns=2) if rows else []


def ratio(figure: Figure, baseline: Figure | None) -> str:
    """How many times the baseline's rate this one is."""
    if figure.is_baseline:
        return "1"
    shared = [unit for unit in figure.units if baseline is not None and unit in baseline.units]
    if baseline is None or not shared:
        return "–"
    return significant(figure.rate(shared[0]) / baseline.rate(shared[0])) + " ×"


def significant(value: float) -> str:
    """A figure with the digits that count."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{_DIGITS}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (_DIGITS - 1) else f"{rounded:.{_DIGITS}g}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> list[str]:
    """A table whose first columns are text and whose others are figures."""
    marks = ["---" if at < text_columns else "---:" for at in range(len(header))]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def _by_task(figures: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(figure.task, []).append(figure)
    return [(task, sorted(group, key=lambda figure: not figure.is_baseline)) for task, group in groups.items()]


def _unit_title(unit: str) -> str:
    return "MB/s" if unit == "bytes" else f"{unit}/s"


def _rate(figure: Figure, unit: str) -> str:
    if unit not in figure.units:
        return ""
    return significant(figure.rate(unit) / 1e6 if unit == "bytes" else figure.rate(unit))


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else significant(seconds * 1_000)
