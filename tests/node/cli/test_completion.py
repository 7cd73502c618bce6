"""Completion: a script for each shell, and words that bash really gets from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.node.cli.desk import kiteline

# The names by which the shells' own machinery knows a completion.
MARKS = {
    "bash": "complete -o default -F _kiteline_completion kiteline",
    "zsh": "#compdef kiteline",
    "fish": "complete --command kiteline",
}
BIN = Path(sys.executable).parent


def _script(shell: str) -> str:
    finished = subprocess.run(
        [str(BIN / "kiteline")],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "_KITELINE_COMPLETE": f"source_{shell}"},
        check=True,
    )
    return finished.stdout


@pytest.mark.parametrize("shell", MARKS)
def test_a_script_is_printed_for_the_shell(shell: str) -> None:
    script = _script(shell)
    assert MARKS[shell] in script
    assert f"_KITELINE_COMPLETE=complete_{shell}" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("kiteline cha", {"chain"}),
        ("kiteline chain a", {"add-validator", "admit", "approve", "anchor"}),
        ("kiteline fetch --j", {"--json"}),
        ("kiteline e", {"engines", "explain", "export", "evidence"}),
    ],
)
def test_bash_completes_commands_and_options(typed: str, offered: set[str], tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(_script("bash"), encoding="utf-8")
    words = typed.split()
    asked = f'source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _kiteline_completion kiteline; echo "${{COMPREPLY[@]}}"'
    finished = subprocess.run(
        ["/bin/bash", "--norc", "-c", asked],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{BIN}:/usr/bin:/bin"},
        check=True,
    )
    assert set(finished.stdout.split()) == offered


def test_the_version_is_shown() -> None:
    finished = kiteline("--version")
    assert (finished.code, finished.out) == (0, f"kiteline {version('kiteline')}\n")
