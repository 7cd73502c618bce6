"""Run the benchmarks and write docs/benchmarks.md; with `--only`, print one table and write nothing.

What stands after `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime

from scripts.bench.document import TABLES, compose, tables, with_table
from scripts.bench.figures import read_figures
from scripts.bench.machine import describe
from scripts.local_consortium import ROOT

BENCHMARKS = ROOT / "tests" / "bench"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
HOME = ROOT / ".kiteline"
STORES = HOME / "bench"
MEASURED = HOME / "bench.json"


def main() -> int:
    """Measure; gives pytest's exit code where something went wrong, and then writes nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[table.name for table in TABLES], help="measure one subject and print it")
    parser.add_argument("--write", action="store_true", help="with --only: put that table into the document")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    arguments = parser.parse_args()
    HOME.mkdir(exist_ok=True)
    # Before anything runs, so that the load it tells of is not our own.
    machine = describe(f"{datetime.now(UTC):%Y-%m-%d}", HOME)
    files = [BENCHMARKS / f"test_{table.name}.py" for table in TABLES if arguments.only in {None, table.name}]
    command = [sys.executable, "-m", "pytest", *map(str, files), "--benchmark-only", "--benchmark-quiet", "-v"]
    command += [f"--benchmark-json={MEASURED}", f"--basetemp={STORES}", *arguments.pytest]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code:
        return code
    shutil.rmtree(STORES, ignore_errors=True)
    figures = read_figures(json.loads(MEASURED.read_text(encoding="utf-8")))
    if arguments.only and arguments.write:
        text, date = DOCUMENT.read_text(encoding="utf-8"), f"{datetime.now(UTC):%Y-%m-%d}"
        DOCUMENT.write_text(with_table(text, arguments.only, figures, date), encoding="utf-8")
        print(f"wrote {DOCUMENT.relative_to(ROOT)}")
        return 0
    if arguments.only or arguments.pytest:
        print("\n".join(tables(figures)))
        return 0
    DOCUMENT.write_text(compose(machine, figures), encoding="utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
