"""Commands that a document gives, run as they stand there, each by whom its comment names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

COMMAND_SECONDS = 60
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Actor = TypeVar("Actor")


def acts(document: Path, number: int, actors: Mapping[str, Actor], first: Actor) -> list[tuple[str, Actor]]:
    """The lines of a shell block, each with who acts: a comment that begins with nobody's name goes on with the one before."""
    found, actor = [], first
    for line in _BLOCK.findall(document.read_text(encoding="utf-8"))[number].splitlines():
        command, _, comment = line.partition(" #")
        actor = next((who for words, who in actors.items() if comment.strip().startswith(words)), actor)
        found.append((command.strip(), actor))
    return found


def filled(line: str, known: Mapping[str, str]) -> str:
    """The line with what its words in capitals stand for."""
    for name, value in known.items():
        line = line.replace(name, value)
    return line


def environment() -> dict[str, str]:
    """Where `kiteline` is found."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(command: str, directory: Path, given: Mapping[str, str], *, within: Sequence[str] = (), code: int = 0) -> str:
    """Run a line in a shell; gives what it printed, and fails with everything it said unless it ended with `code`.

    `within`: a program, with its options, that runs the shell.
    """
    finished = subprocess.run(
        [*within, "/bin/bash", "-c", command],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        env={**os.environ, **environment(), **given},
        check=False,
    )
    assert finished.returncode == code, f"{command}\n{finished.stdout}{finished.stderr}"
    return finished.stdout
