"""The benchmark of the log runs: small, so that what it measures means nothing, and whole, so that it does not rot."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from scripts.bench_log_document import SUBJECTS
from tests.conftest import ROOT

pytestmark = pytest.mark.process

SMALL = ("--entries", "20000", "--tessera-entries", "20000", "--kills", "2", "--turns", "1", "--rounds", "1")
TESSERA = ROOT / "tests" / "bench" / "tessera"


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subject_is_measured_and_printed_as_a_table(subject: str) -> None:
    if subject == "tessera" and shutil.which("go") is None:
        pytest.skip("no `go` on the PATH to build Tessera with")
    command = [sys.executable, "-m", "scripts.bench_log", "--only", subject, *SMALL, "--batches", "2"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = [line for line in ended.stdout.splitlines() if line.startswith("| ")]
    assert len(table) >= 3


def test_the_program_in_go_is_formatted_and_vetted() -> None:
    if shutil.which("go") is None:
        pytest.skip("no `go` on the PATH")
    for command in (["gofmt", "-l", "."], ["go", "vet", "./..."]):
        ended = subprocess.run(command, cwd=TESSERA, capture_output=True, text=True, timeout=280, check=False)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
