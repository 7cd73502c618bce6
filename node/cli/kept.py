"""What a person sees of a log that was checked, copied or archived. Scripts get the documents that `keeping` makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from audit.keeping.archive import Archived
from audit.keeping.backup import Copied
from audit.keeping.check import Check, Expected
from audit.keeping.findings import Finding
from node.cli.output import Output, pairs, table

SHOWN = 50  # findings that a person is shown


def checked(check: Check, path: Path, expected: Expected) -> Table:
    """A check that found nothing, in a few lines."""
    signed = check.checkpoint
    if signed is None:
        head = "none was given"
    else:
        head = f"{_entries(signed.size)}, {'signature verified' if expected.keys else 'signature not verified'}"
    return pairs(
        {
            "log": path,
            "origin": check.origin,
            "entries": f"{check.size:,}",
            "root": check.root.hex() if check.root is not None else "–",
            "re-hashed": _interval(check.start, check.stop),
            "signed head": head,
            "anchors": f"{len(expected.anchors):,} compared" if expected.anchors else "none compared",
            "index": "compared" if expected.index is not None else "not compared",
            "archived": ", ".join(_interval(first, stop) for first, stop, _ in check.archived) or "none",
        }
    )


def found(findings: Sequence[Finding], path: Path) -> Table:
    """What a check found, the first of it, each with its place; files are named from the log's directory."""
    rows = []
    for finding in findings[:SHOWN]:
        place, file = finding.place, finding.place.file
        if file is not None and file.is_relative_to(path):
            place = replace(place, file=file.relative_to(path))
        rows.append([finding.part, finding.says, place])
    return table(f"Findings in {path}", ["class", "what is wrong", "where"], rows, folds=["what is wrong", "where"])


def copied(place: Path, copy: Copied, more: Mapping[str, object]) -> Table:
    """A copy of a log that was verified."""
    return pairs(
        {
            "directory": place,
            "entries": f"{copy.size:,}",
            "signed head": _entries(copy.checkpoint.size),
            "epochs copied": _numbers(copy.new),
            "epochs kept": _numbers(copy.kept),
            **more,
        }
    )


def archived(title: str, done: Sequence[Archived]) -> Table:
    """Epochs that were archived or put back."""
    rows = [[one.epoch, f"{one.first:,}", f"{one.stop - 1:,}", one.file] for one in done]
    names = ["epoch", "first entry", "last entry", "file"]
    return table(title, names, rows, right=names[:3], folds=["file"])


def say_what_next(output: Output, count: int, *, most: int) -> None:
    """After findings. `most`: how many are looked for at most."""
    more = f", the first {SHOWN} are shown" if count > SHOWN else ""
    total = "1 finding" if count == 1 else f"{count:,}{' or more' if count == most else ''} findings"
    output.note(f"{total}{more}. What to do next:")
    output.note("  1. stop the node and keep these files as they are; they are evidence")
    output.note("  2. check the newest backup, or a member's mirror: kiteline audit check --log DIR")
    output.note("  3. move the log's directory away and put the good copy in its place: kiteline audit restore DIR")


def _numbers(numbers: Sequence[int]) -> str:
    """How many epochs and which, neighbours drawn together: 4 (numbers 0–2, 5)."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    named = ", ".join("–".join(map(str, run)) for run in runs)
    return f"{len(numbers):,} (number{'s' if len(numbers) > 1 else ''} {named})" if numbers else "none"


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _interval(first: int, stop: int) -> str:
    return "no entry" if stop <= first else f"entries {first:,} to {stop - 1:,}"
