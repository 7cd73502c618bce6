"""docs/benchmarks-log.md: what was asked of the log, what was measured, and what stands beside it. It holds no figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from scripts.bench.figures import markdown, significant

SUBJECTS = ("append", "wait", "large", "kills", "tessera")
Measured = list[dict[str, Any]]
_Found = Mapping[str, Measured]

_HEAD = """# Benchmarks of the log

`make bench-log` measures and writes this file; no figure in it is typed by hand. Every figure is of a process of its own. What counts are the ratios within one run: absolute figures
move with the machine and with whatever else runs on it. Entries have 256 bytes. An entry is acknowledged when it is on disk, synced, and in the tree.
"""
_INTROS = {
    "append": """## Durable append

Batches of 8,192 entries, handed in as fast as they are taken. Beside it, py-lmdb alone writes the very segments and tiles that the log wrote, in as many commits
with the same sync, and hashes nothing. The two take turns; the ratio is the median of those of the turns.
""",
    "wait": """## One entry and its acknowledgement

Each caller hands in its next entry when the last is acknowledged. *Tasks* are those of asyncio, as in the node; *threads* have one each, which is Python's cost more
than the log's; *callbacks* wait without either. *Raw LMDB* is one thread and a commit an entry.
""",
    "large": """## A large log

Built in one process; opened, asked and re-hashed in fresh ones. What is resident includes the pages of the store that are mapped.
""",
    "kills": """## Random kills

A writer of 1 to 24 threads is killed (SIGKILL) a moment after so many acknowledged entries; number and moment are drawn with a seed. Mostly it works on a log at which others were
killed before it. After each kill the log is opened, and every acknowledged entry, every entry's content and order, the root over all, and proofs are checked.
A fault ends the run with an error, and nothing is written. A kill ends the process, not the machine: what a power cut would take is
what the syncs are for, and is tested call by call in `tests/audit/test_kill_matrix.py`.
""",
    "tessera": """## Beside Tessera

Tessera v1.0.4 with its POSIX driver (Go, SHA-256): the same entries on the same disk in the same run. Its acknowledgement is the future that `Add` returns, which its
documentation gives to an entry that is written and integrated. For acknowledgements its batches close as soon as every caller is back, for appending after 200 ms; both
suit it best. Callers are asyncio's tasks here and goroutines there. *Published* waits for the signed checkpoint, which it writes ten times a second at most; this log
signs one when it is asked.
""",
}
_TAIL = """## Repeat it

```sh
make bench-log                                              # everything, and write this file
.venv/bin/python -m scripts.bench_log --only wait           # print one of: {names}
.venv/bin/python -m scripts.bench_log --only large --entries 1000000
```

Go is needed for Tessera; without it the column says so. What is measured stands in `tests/bench/log`, `tests/bench/tessera` and `tests/audit/kills.py`.
"""


@dataclass(frozen=True)
class _Wanted:
    """A figure that was asked for. `read` raises where this machine cannot give it."""

    what: str
    unit: str
    bound: float
    read: Callable[[_Found], float]
    more_is_better: bool = False

    def row(self, found: _Found) -> list[str]:
        value = self.read(found)
        holds = value >= self.bound if self.more_is_better else value < self.bound
        wanted = f"{'at least' if self.more_is_better else 'below'} {self.bound:g} {self.unit}"
        return [self.what, wanted, f"{significant(value)} {self.unit}", "yes" if holds else "**no**"]


_WANTED = (
    _Wanted(
        "durable append, beside raw LMDB (multibuffer)",
        "×",
        0.6,
        lambda found: _append(found)["ratio"],
        more_is_better=True,
    ),
    _Wanted("acknowledgement, 1,000 callers, p99", "ms", 10, lambda found: 1e3 * _wait(found, 1_000)["p99"]),
    _Wanted("warm inclusion proof, p50", "µs", 50, lambda found: 1e6 * _large(found, "prove")["p50"]),
    _Wanted("opening", "s", 1, lambda found: _large(found, "open")["seconds"]),
    _Wanted("resident after opening", "MB", 300, lambda found: _large(found, "open")["peak_bytes"] / 1e6),
    _Wanted("resident after 10,000 proofs", "MB", 300, lambda found: _large(found, "prove")["peak_bytes"] / 1e6),
    _Wanted("full re-hash (multibuffer)", "M entries/s", 2, lambda found: _rehash(found) / 1e6, more_is_better=True),
)


def compose(machine: Sequence[tuple[str, str]], found: _Found) -> str:
    """The whole document."""
    parts = [_HEAD, "## In short\n", *_short(found), "", *sections(found)]
    parts += ["## Machine\n", *markdown(["", ""], machine, text_columns=2), ""]
    parts += [_TAIL.format(names=", ".join(SUBJECTS)).rstrip()]
    return "\n".join(parts) + "\n"


def sections(found: _Found) -> list[str]:
    """The lines of every subject that was measured."""
    tables: dict[str, Callable[[_Found], list[str]]] = {
        "append": _append_table,
        "wait": _wait_table,
        "large": _large_table,
        "kills": _kills_table,
        "tessera": _tessera_table,
    }
    lines: list[str] = []
    for name, measured in found.items():
        if measured:
            lines += [_INTROS[name], *tables[name](found), ""]
    return lines


def _short(found: _Found) -> list[str]:
    rows = []
    for wanted in _WANTED:
        # What this machine cannot do, for want of an engine, is left out.
        with suppress(KeyError, StopIteration):
            rows.append(wanted.row(found))
    return markdown(["what", "wanted", "measured", "holds"], rows, text_columns=2)


def _append(found: _Found) -> dict[str, Any]:
    return next(one for one in found["append"] if one["engine"] == "multibuffer")


def _large(found: _Found, work: str) -> dict[str, Any]:
    measured: dict[str, Any] = found["large"][0][work]
    return measured


def _rehash(found: _Found) -> float:
    return float(_large(found, "check multibuffer")["entries_per_second"])


def _wait(found: _Found, callers: int, way: str = "tasks") -> dict[str, Any]:
    """Of the fastest engine, which comes first."""
    return next(one for one in found["wait"] if (one["callers"], one["way"]) == (callers, way))


def _append_table(found: _Found) -> list[str]:
    header = ["engine", "entries/s", "raw LMDB, entries/s", "ratio", "least and greatest", "bytes an entry"]
    rows = [
        [
            one["engine"],
            significant(one["entries_per_second"]),
            significant(one["raw_entries_per_second"]),
            significant(one["ratio"]) + " ×",
            f"{significant(min(one['ratios']))} to {significant(max(one['ratios']))}",
            significant(one["bytes_per_entry"]),
        ]
        for one in found["append"]
    ]
    return markdown(header, rows, text_columns=1)


def _wait_table(found: _Found) -> list[str]:
    header = ["engine", "callers", "p50 ms", "p99 ms", "entries/s", "entries a commit"]
    rows = []
    for one in found["wait"]:
        raw = one["way"] == "raw"
        rows.append(
            [
                "raw LMDB" if raw else one["engine"],
                "1 thread" if raw else f"{one['callers']:,} {one['way']}",
                significant(1e3 * one["p50"]),
                significant(1e3 * one["p99"]),
                significant(one["entries_per_second"]),
                significant(one["entries_per_commit"]),
            ]
        )
    return markdown(header, rows, text_columns=2)


def _large_table(found: _Found) -> list[str]:
    return markdown(["what", "figure"], [row for one in found["large"] for row in _large_rows(one)], text_columns=1)


def _large_rows(one: Mapping[str, Any]) -> Iterator[list[str]]:
    build, opened, proofs = one["build"], one["open"], one["prove"]
    yield ["entries", f"{one['entries']:,}"]
    yield [f"built ({one['engine']})", f"{significant(build['entries_per_second'])} entries/s"]
    yield ["on disk", f"{significant(build['bytes_per_entry'])} bytes an entry"]
    yield ["opening", f"{significant(1e3 * opened['seconds'])} ms"]
    yield ["the first acknowledgement after it", f"{significant(1e3 * opened['first_acknowledgement_seconds'])} ms"]
    yield ["resident at most, before opening", f"{significant(opened['peak_bytes_before'] / 1e6)} MB"]
    yield ["after opening", f"{significant(opened['peak_bytes'] / 1e6)} MB"]
    yield ["after 10,000 proofs all over the log", f"{significant(proofs['peak_bytes'] / 1e6)} MB"]
    yield [
        "warm inclusion proof, p50 and p99",
        f"{significant(1e6 * proofs['p50'])} and {significant(1e6 * proofs['p99'])} µs",
    ]
    for name, check in one.items():
        if name.startswith("check "):
            rate, alone = (significant(check[key]) for key in ("entries_per_second", "hashing_alone_per_second"))
            yield [f"full re-hash and comparison ({check['engine']})", f"{rate} entries/s"]
            yield ["its hashing alone, out of memory", f"{alone} entries/s"]


def _kills_table(found: _Found) -> list[str]:
    header = ["kills", "logs", "epochs", "acknowledged entries", "lost", "entries found"]
    rows = [
        [f"{one[key]:,}" for key in ("kills", "logs", "epochs", "acknowledged", "lost", "entries")]
        for one in found["kills"]
    ]
    return markdown(header, rows, text_columns=0)


def _tessera_table(found: _Found) -> list[str]:
    other = found["tessera"][0]
    ours = other["ours"]
    check = next(value for name, value in ours.items() if name.startswith("check "))
    rows = [
        _beside(
            f"appended entries/s, {other['entries']:,} entries",
            ours["build"]["entries_per_second"],
            _rate(other, "append"),
        ),
        _beside("bytes an entry", ours["build"]["bytes_per_entry"], _each(other, "bytes")),
        _beside("allocated on disk, bytes an entry", ours["build"]["allocated_per_entry"], _each(other, "allocated")),
        _beside("opening, ms", *(_scaled(one, "open", "seconds", 1e3) for one in (ours, other))),
        _beside(
            "resident at most after opening, MB", *(_scaled(one, "open", "peak_bytes", 1e-6) for one in (ours, other))
        ),
        _beside("warm inclusion proof, p50 µs", *(_scaled(one, "prove", "p50", 1e6) for one in (ours, other))),
        _beside("warm inclusion proof, p99 µs", *(_scaled(one, "prove", "p99", 1e6) for one in (ours, other))),
        _beside("full re-hash, entries/s", check["entries_per_second"], _rate(other, "check")),
    ]
    for name in other:
        word, _, number = name.partition(" ")
        if word == "ours" and number:
            rows += _waiting_rows(other, int(number))
    return markdown(["what", f"Kiteline ({ours['engine']})", "Tessera", "ours / theirs"], rows, text_columns=1)


def _waiting_rows(other: Mapping[str, Any], callers: int) -> Iterator[list[str]]:
    who = "1 caller" if callers == 1 else f"{callers:,} callers"
    acknowledged, published = f"acknowledge {callers}", f"publish {callers}"
    for key in ("p50", "p99"):
        mine = _scaled(other, f"ours {callers}", key, 1e3)
        yield _beside(f"acknowledged, {who}, {key} ms", mine, _scaled(other, acknowledged, key, 1e3))
    yield _beside(
        f"acknowledged, {who}, entries/s", other[f"ours {callers}"]["entries_per_second"], _rate(other, acknowledged)
    )
    if published in other:
        yield _beside(f"published, {who}, p50 ms", None, _scaled(other, published, "p50", 1e3))


def _beside(what: str, mine: float | None, theirs: float | None) -> list[str]:
    """A row. `theirs` is there unless nothing could build it."""
    if theirs is None:
        return [what, "–" if mine is None else significant(mine), "go is not installed", "–"]
    if mine is None:
        return [what, "–", significant(theirs), "–"]
    return [what, significant(mine), significant(theirs), significant(mine / theirs)]


def _scaled(one: Mapping[str, Any], work: str, key: str, scale: float) -> float | None:
    return scale * one[work][key] if work in one else None


def _rate(one: Mapping[str, Any], work: str) -> float | None:
    return one[work]["entries"] / one[work]["seconds"] if work in one else None


def _each(one: Mapping[str, Any], key: str) -> float | None:
    """Of an entry of a log that was appended to."""
    return one["append"][key] / one["append"]["entries"] if "append" in one else None
