"""What a person or a script sees: tables and colours, or one JSON document; and the exit codes.

Exit codes: 0 done; 1 refused, the reason says why; 2 wrong usage; 3 the node, a peer or the chain cannot be reached,
try again; 4 a verification found something that does not hold; 70 a defect of Kiteline; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from crypto.errors import Refusal
from node.errors import FileUnusable

# A reader that is no terminal has no width to ask for; lines that a program or a file gets are rather long than folded.
_UNBOUND_WIDTH = 180
_ANY_WIDTH = 100_000


class Exit(IntEnum):
    """Exit codes; their meaning never changes."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    DOES_NOT_HOLD = 4
    DEFECT = 70
    INTERRUPTED = 130


_UNAVAILABLE = {
    "CHAIN_UNAVAILABLE",
    "CHAIN_PROGRAM_FAILED",
    "NETWORK_NOT_RUNNING",
    "NODE_UNAVAILABLE",
    "PEER_UNAVAILABLE",
}
_DOES_NOT_HOLD = {"ROOT_MISMATCH", "DELIVERY_INVALID", "EVIDENCE_INVALID", "PROOF_INVALID", "SIGNATURE_INVALID"}
_OTHERS = {"INTERNAL": Exit.DEFECT, "WRONG_USAGE": Exit.USAGE, "INTERRUPTED": Exit.INTERRUPTED}


def exit_code(reason: str) -> Exit:
    """The exit code of a refusal with this reason."""
    if reason in _UNAVAILABLE:
        return Exit.UNAVAILABLE
    if reason in _DOES_NOT_HOLD:
        return Exit.DOES_NOT_HOLD
    return _OTHERS.get(reason, Exit.REFUSED)


class _Console(Console):
    """Rich's console, which would end the program with 1, a refusal's code, when its reader goes away."""

    def on_broken_pipe(self) -> None:
        """Leave it to the command, as for any other stream."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBOUND_WIDTH
    return console


@dataclass
class Output:
    """Where a command's results go. `as_json`: one document on standard output and nothing else there."""

    as_json: bool = False
    people: Console = field(default_factory=lambda: _console(stderr=False))
    asides: Console = field(default_factory=lambda: _console(stderr=True))

    def result(self, document: Mapping[str, object], text: Text | Table | None = None) -> None:
        """Show a result: `document` to scripts, `text` (or the document, line by line) to people."""
        if self.as_json:
            self._write(json.dumps(document, ensure_ascii=False, default=str))
        elif isinstance(text, Table):
            self._draw(text)
        else:
            self.people.print(pairs(document) if text is None else text)

    def note(self, text: str) -> None:
        """Say something to a person only, such as what to do next."""
        if not self.as_json:
            self.asides.print(spoken(text), style="dim")

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
            self._write(json.dumps(document, ensure_ascii=False))
        else:
            self.asides.print(line((refusal.reason, "bold red"), f" {refusal}"))
            self.asides.print(line(f"  {refusal.remedy}"))
            # What the sentence leaves out, the number of an incident above all.
            for name, value in refusal.details.items():
                if value not in str(refusal):
                    self.asides.print(line((f"  {name}: {value}", "dim")))
        return exit_code(refusal.reason)

    @staticmethod
    def _write(document: str) -> None:
        sys.stdout.write(document + "\n")
        # Here and now, where it is still known what to do if the reader is gone.
        sys.stdout.flush()

    def _draw(self, drawn: Table) -> None:
        """Show a table; without rows, nothing. Where it does not fit, all columns but the first, the id, are folded."""
        if not drawn.row_count:
            return
        needed = self.people.measure(drawn, options=self.people.options.update(width=_ANY_WIDTH)).minimum
        if needed > self.people.width:
            for column in drawn.columns[1:]:
                column.no_wrap = False
        self.people.print(drawn)

    @contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[ProgressBar]:
        """A progress bar on standard error, which work that is refused takes with it; silent for scripts."""
        bar = Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[cyan]{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=self.asides,
            disable=not self.asides.is_terminal,
        )
        with bar:
            try:
                yield ProgressBar(bar, title, total)
            except BaseException:
                bar.live.transient = True
                raise


class ProgressBar:
    """One bar; `to` moves it."""

    def __init__(self, bar: Progress, title: str, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task(spoken(title).plain, total=total, rate="")

    def to(self, completed: int, total: int | None = None) -> None:
        """Move to `completed` records, of `total` if it is known by now."""
        task = self._bar.tasks[0]
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._bar.update(self._task, completed=completed, total=total if total is not None else task.total, rate=rate)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    folds: Collection[str] = (),
) -> Table:
    """A table for people. `right`: the columns of figures; `folds`: those of free text, which give way first."""
    drawn = Table(
        title=spoken(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        drawn.add_column(column, overflow="fold", justify=justify, no_wrap=column not in folds)
    for row in rows:
        drawn.add_row(*(spoken(cell) for cell in row))
    return drawn


def pairs(document: Mapping[str, object]) -> Table:
    """Name and value, a line each."""
    drawn = Table(show_header=False, box=None, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in document.items():
        drawn.add_row(spoken(name.replace("_", " ")), spoken(value))
    return drawn


def spoken(value: object) -> Text:
    """A value as a person reads it. What others wrote is text and nothing else: it neither colours nor moves the screen."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return Text("".join(char if char.isprintable() or char == "\n" else "�" for char in text))


def line(*parts: str | tuple[str, str]) -> Text:
    """A line of several parts, each plain or with the style that follows it."""
    return Text.assemble(
        *(spoken(part) if isinstance(part, str) else (spoken(part[0]).plain, part[1]) for part in parts)
    )


def write_file(path: Path, content: bytes) -> None:
    """Write a result into the file that was named. Raises FileUnusable."""
    try:
        path.write_bytes(content)
    except OSError as cause:
        raise FileUnusable(f"{path} cannot be written: {cause.strerror}", path=path) from cause


def debugging() -> bool:
    """Whether a defect should show its traceback."""
    return os.environ.get("KITELINE_DEBUG") == "1"


__all__ = ["Exit", "Output", "ProgressBar", "exit_code", "line", "pairs", "spoken", "table", "write_file"]
