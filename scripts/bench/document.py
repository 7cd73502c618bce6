"""docs/benchmarks.md: what each table shows, in which order, and how to repeat it. It holds no figure of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.bench.figures import Figure, markdown, memory_table, table_of


@dataclass(frozen=True)
class Table:
    """A subject. `name` is the one of its file in tests/bench; `intro` says what is compared with what."""

    name: str
    title: str
    intro: str
    with_seconds: bool = False


TABLES = (
    Table(
        "engines",
        "Engines",
        "One thread, one call after another. `raw cryptography` and `raw gmssl` are those packages called in a loop; cryptography has no SM2, gmssl no GCM.",
    ),
    Table(
        "seal",
        "Sealing and opening",
        "SM4-GCM of every segment, the salted leaf of every record, and the whole tree. The baseline does the same work, to the same bytes, in loops over cryptography.",
    ),
    Table(
        "audit_log",
        "Audit log",
        "The baseline is py-lmdb alone, with the very bytes that the log had it write (in the appends: the same segments and tiles in as many commits) and the same sync a commit; it hashes nothing. "
        "With many callers, the log gathers what waits into one commit, and raw LMDB commits for each.",
    ),
    Table(
        "at_rest",
        "Keys at rest",
        "Every segment's secret under another at-rest key, in batches of 4,096 with a sync each; each is opened, wrapped and opened again. The baseline is py-lmdb alone that reads and writes over the very same rows in as many commits. "
        "Reads go all over the dataset, from one thread, with nothing else and with a re-wrap in another.",
    ),
    Table(
        "exchange",
        "Publishing and bulk exchange",
        "Real node processes on one machine. A publication is over when its version is on the chain, a fetch when the verified plaintext is on the requester's disk. The baseline is a plain gRPC "
        "stream between two processes over the same mutual TLS: the same sealed segments, a message each, out of memory and into nothing. Bytes are sealed bytes.",
        with_seconds=True,
    ),
    Table(
        "chain",
        "Chains",
        "Each network that the machine can run, all its validators on it, one member's account. An anchor is over when its block is final by the network's rule and indexed; the baseline signs the same call beforehand, hands it to the "
        "same endpoint and asks for a receipt in whatever block. A receipt of an exchange waits besides for the next turn of the schedule (`chain.anchor_interval_seconds`, 10 s as shipped). The verifier is the one file, without the "
        "engine. The index is emptied and filled anew. The gas of each call stands in tests/contracts/gas.toml.",
    ),
    Table(
        "query",
        "Queries",
        "One record by its key among all villages: the caller, two node processes and the chain share the machine. Every answer is proven, signed, receipted and logged durably on both sides. "
        "The baseline is one bare gRPC call over the same mutual TLS to one process that echoes it. Each caller has its own connection and asks again when it has its answer.",
    ),
)

_HEAD = """# Benchmarks

`make bench` measures and writes this file; no figure in it is typed by hand. *ratio* is work a second, divided by that of the baseline (the line with 1) **in the same run**: it is what counts, since absolute
figures move with the machine and with whatever else runs on it. Rates are of the median round, and *spread* is the distance between the
quartiles of the rounds over it: where it is large, something else was running. p50 and p99 are of single calls.
"""
_MEMORY = "The most memory that each process held resident at once, pages of its mapped stores included, since it was started:"
_TAIL = """## Repeat it

```sh
make bench                    # everything, and write this file
make bench ONLY=audit_log     # print one of: {names}
.venv/bin/python -m scripts.bench --only engines -- -k sm2    # whatever pytest takes, after --
```

Stores lie in `.kiteline/bench` meanwhile, since a file system in memory would make every sync free. What is measured stands in `tests/bench`, one file a table.
"""


def compose(machine: Sequence[tuple[str, str]], figures: Sequence[Figure]) -> str:
    """The whole document."""
    parts = [_HEAD, "## Machine\n", *markdown(["", ""], machine, text_columns=2), ""]
    parts += tables(figures)
    parts += [_TAIL.format(names=", ".join(table.name for table in TABLES)).rstrip()]
    return "\n".join(parts) + "\n"


def with_table(text: str, name: str, figures: Sequence[Figure], date: str) -> str:
    """The document with one table measured anew, of which all figures are: in place of the one there is, or before the one that it should stand before."""
    titles = [table.title for table in TABLES] + ["Repeat it"]
    at = [table.name for table in TABLES].index(name)
    section = "\n".join([*tables(figures), f"Measured by itself on {date}.", "", ""])
    start = text.find(f"## {titles[at]}\n")
    following = next(place for title in titles[at + 1 :] if (place := text.find(f"## {title}\n")) >= 0)
    return text[: following if start < 0 else start] + section + text[following:]


def tables(figures: Sequence[Figure]) -> list[str]:
    """The lines of every table that has figures."""
    lines: list[str] = []
    for table in TABLES:
        own = [figure for figure in figures if figure.table == table.name]
        if not own:
            continue
        lines += [f"## {table.title}", "", table.intro, "", *table_of(own, with_seconds=table.with_seconds), ""]
        if memory := memory_table(own):
            lines += [_MEMORY, "", *memory, ""]
    return lines
