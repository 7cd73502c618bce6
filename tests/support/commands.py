"""The `kiteline` command as an operator meets it: its exit code, and the reasons that it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from scripts.local_consortium import LocalConsortium

START_SECONDS = 60.0  # a command that takes longer hangs


@dataclass(frozen=True)
class Ended:
    """How a command ended that could not do its work."""

    code: int
    reasons: list[str]
    printed: str


def run(consortium: LocalConsortium, *arguments: str, environment: dict[str, str] | None = None) -> Ended:
    """Run a command as an operator would, to its end."""
    finished = subprocess.run(
        [sys.executable, "-m", "node.cli.main", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **consortium.environment, **(environment or {})},
        timeout=START_SECONDS,
        check=False,
    )
    printed = finished.stdout.decode() + finished.stderr.decode()
    first_words = [line.partition(" ")[0] for line in printed.splitlines()]
    return Ended(finished.returncode, [word for word in first_words if re.fullmatch("[A-Z]+(_[A-Z]+)+", word)], printed)
