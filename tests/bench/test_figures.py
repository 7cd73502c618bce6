"""The tables of docs/benchmarks.md say what was measured and nothing else."""

from __future__ import annotations

import pytest

from scripts.bench.document import TABLES, compose, tables, with_table
from scripts.bench.figures import Figure, memory_table, read_figures, significant, table_of
from scripts.local_consortium import ROOT


def _figure(by: str, seconds: float, *, task: str = "append", is_baseline: bool = False, **units: int) -> Figure:
    return Figure("audit_log", task, by, is_baseline, seconds, units or {"records": 100})


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_ratio_is_work_a_second_over_that_of_the_same_tasks_baseline() -> None:
    slow, fast = _figure("log", 4.0, records=200), _figure("raw", 0.5, is_baseline=True)
    other = _figure("raw", 0.001, task="another", is_baseline=True)
    rows = [_cells(line) for line in table_of([slow, fast, other], with_seconds=True)[2:]]
    assert rows == [
        ["append", "raw", "0.5", "200", "0%", "1"],
        ["", "log", "4", "50", "0%", "0.25 ×"],
        ["another", "raw", "0.001", "100,000", "0%", "1"],
    ]


def test_what_has_no_baseline_in_the_same_run_has_no_ratio() -> None:
    alone, of_other_units = _figure("log", 1.0), _figure("log", 1.0, task="ack", calls=1)
    baseline = _figure("raw", 1.0, task="ack", is_baseline=True, records=5)
    rows = [_cells(line) for line in table_of([alone, of_other_units, baseline], with_seconds=False)[2:]]
    assert [row[-1] for row in rows] == ["–", "1", "–"]


def test_a_benchmark_is_read_as_pytest_benchmark_writes_it() -> None:
    told = {"table": "query", "task": "1 caller", "by": "query", "is_baseline": False, "units": {"calls": 30}}
    document = {
        "benchmarks": [
            {"extra_info": {**told, "p50_seconds": 0.01, "p99_seconds": 0.02}, "stats": {"median": 0.3, "iqr": 0.06}}
        ]
    }
    (figure,) = read_figures(document)
    assert figure == Figure(
        "query",
        "1 caller",
        "query",
        is_baseline=False,
        seconds=0.3,
        units={"calls": 30},
        p50_seconds=0.01,
        p99_seconds=0.02,
        spread=0.2,
    )
    line = table_of([figure], with_seconds=False)[2]
    assert _cells(line) == ["1 caller", "query", "100", "10", "20", "20%", "–"]


def test_a_process_is_shown_with_the_most_memory_that_it_held() -> None:
    figure = Figure(
        "exchange", "all", "fetch", False, 1.0, {"records": 1}, past="later", peak_bytes={"provider": 321_400_000}
    )
    assert _cells(memory_table([figure])[2]) == ["later", "provider", "321"]
    assert memory_table([_figure("log", 1.0)]) == []


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (0.045_21, "0.0452"),
        (1.0, "1"),
        (12.34, "12.3"),
        (123.4, "123"),
        (999.7, "1,000"),
        (1_234_567, "1,230,000"),
    ],
)
def test_a_figure_keeps_the_digits_that_count(value: float, written: str) -> None:
    assert significant(value) == written


def test_every_table_has_its_benchmarks_and_every_benchmark_its_table() -> None:
    files = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "bench").glob("test_*.py")}
    assert files - {"figures", "bench_log"} == {table.name for table in TABLES}


def test_the_document_holds_each_measured_table_once_and_the_machine() -> None:
    text = compose([("cores", "2")], [_figure("log", 1.0), _figure("raw", 1.0, is_baseline=True)])
    assert text.count("## Audit log\n") == 1
    assert "## Queries" not in text
    assert "| cores | 2 |" in text
    assert tables([]) == []


def test_one_table_can_be_measured_anew_by_itself() -> None:
    before = compose(
        [("CPU", "one")], [_figure("log", 4.0), Figure("query", "1 caller", "query", True, 1.0, {"calls": 9})]
    )
    chain = [Figure("chain", "one anchor", "anchor", True, 0.5, {"operations": 1})]
    added = with_table(before, "chain", chain, "2026-11-24")
    assert added.index("## Audit log") < added.index("## Chains") < added.index("## Queries")
    assert "Measured by itself on 2026-11-24." in added
    slower = [Figure("chain", "one anchor", "anchor", True, 2.0, {"operations": 1})]
    again = with_table(added, "chain", slower, "2026-11-25")
    assert again.count("## Chains") == 1
    assert "2026-11-24" not in again
    assert again.replace(again[again.index("## Chains") : again.index("## Queries")], "") == before
    last = with_table(before, "query", [Figure("query", "1 caller", "query", True, 2.0, {"calls": 9})], "2026-11-24")
    assert last.endswith(before[before.index("## Repeat it") :])
