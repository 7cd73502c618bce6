"""What a person or a script sees: tables and colours, or one JSON document; and the exit codes.

Exit codes: 0 done; 1 refused, the reason says why; 2 wrong usage; 3 the node, a peer or the chain cannot be reached,
try again; 4 a verification found something that does not hold; 70 a defect of Kiteline; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from crypto.errors import Refusal


class Exit(IntEnum):
    """Exit codes; their meaning never changes."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    DOES_NOT_HOLD = 4
    DEFECT = 70
    INTERRUPTED = 130


_UNAVAILABLE = {"CHAIN_UNAVAILABLE", "PEER_UNAVAILABLE", "NODE_UNAVAILABLE"}
_DOES_NOT_HOLD = {"ROOT_MISMATCH", "DELIVERY_INVALID", "EVIDENCE_INVALID", "PROOF_INVALID", "SIGNATURE_INVALID"}


def exit_code(reason: str) -> Exit:
    """The exit code of a refusal with this reason."""
    if reason in _UNAVAILABLE:
        return Exit.UNAVAILABLE
    if reason in _DOES_NOT_HOLD:
        return Exit.DOES_NOT_HOLD
    return Exit.DEFECT if reason == "INTERNAL" else Exit.REFUSED


@dataclass
class Output:
    """Where a command's results go. `as_json`: one document on standard output and nothing else there."""

    as_json: bool = False
    people: Console = field(default_factory=lambda: Console(stderr=False, highlight=False))
    asides: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def result(self, document: Mapping[str, object], text: str | Table | None = None) -> None:
        """Show a result: `document` to scripts, `text` (or the document, line by line) to people."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")
        elif text is None:
            self.people.print(pairs(document))
        else:
            self.people.print(text)

    def note(self, text: str) -> None:
        """Say something to a person only."""
        if not self.as_json:
            self.asides.print(text)

    def refusal(self, refusal: Refusal) -> Exit:
        """Show why not and what to do; gives the exit code."""
        if self.as_json:
            document = {
                "error": {
                    "reason": refusal.reason,
                    "message": str(refusal),
                    "remedy": refusal.remedy,
                    "details": refusal.details,
                }
            }
            sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        else:
            self.asides.print(f"[bold red]{refusal.reason}[/] {escape(str(refusal))}")
            self.asides.print(f"  {escape(refusal.remedy)}")
        return exit_code(refusal.reason)

    @contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[ProgressBar]:
        """A progress bar on standard error; silent for scripts."""
        bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[cyan]{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=self.asides,
            disable=not self.asides.is_terminal,
        )
        with bar:
            yield ProgressBar(bar, title, total)


class ProgressBar:
    """One bar; `to` moves it."""

    def __init__(self, bar: Progress, title: str, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task(title, total=total, rate="")

    def to(self, completed: int, total: int | None = None) -> None:
        """Move to `completed` records, of `total` if it is known by now."""
        task = self._bar.tasks[0]
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._bar.update(self._task, completed=completed, total=total if total is not None else task.total, rate=rate)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table for people."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(str(cell)) for cell in row))
    return drawn


def pairs(document: Mapping[str, object]) -> Table:
    """Name and value, a line each."""
    drawn = Table(show_header=False, box=None, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in document.items():
        drawn.add_row(name.replace("_", " "), escape(str(value)))
    return drawn


def escape(text: str) -> str:
    """Text that Rich shows as it is: what peers wrote must not colour our screen."""
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text).replace("[", "\\[")


def debugging() -> bool:
    """Whether a defect should show its traceback."""
    return os.environ.get("KITELINE_DEBUG") == "1"


__all__ = ["Exit", "Output", "ProgressBar", "escape", "exit_code", "pairs", "table"]
