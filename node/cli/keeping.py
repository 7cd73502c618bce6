"""`kiteline audit`: what keeps a log whole: check it, back it up, restore it, archive what is old. `mirroring` follows another's.

These commands read the log's files beside a running node and never append to its log. They take the log of the node that a configuration describes, or the one in
a directory (`--log`): a copy on a disk, a backup, a mirror.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from audit.keeping.archive import Archive
from audit.keeping.backup import Copied, back_up
from audit.keeping.backup import restore as put_back
from audit.keeping.check import Check
from node.cli import kept
from node.cli.known import anchor_of, log_at
from node.cli.output import Exit
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, holding

app = typer.Typer(no_args_is_help=True, help="Keep a log whole and prove it: check, back up, restore, mirror, archive.")

MAX_FINDINGS = 1_000  # shown; a log with more is not read to its end
_UNVERIFIED = "the signature of the head was not verified: no key is known; give --trust"

LogOption = Annotated[
    Path | None, typer.Option("--log", help="A log's directory instead of the node's: a copy, a backup, a mirror.")
]
HeadOption = Annotated[
    Path | None,
    typer.Option("--head", help="File with its newest signed head. Default: the node's, or DIR/checkpoint."),
]
TrustOption = Annotated[
    Path | None, typer.Option("--trust", help="Keys that are known from elsewhere, from `kiteline chain trust`.")
]


@app.command(epilog="Example: kiteline audit check --config civil/kiteline.toml")
def check(
    first: Annotated[int, typer.Option(min=0, help="First entry of an interval.")] = 0,
    count: Annotated[int, typer.Option(min=0, help="How many entries. 0: to the end.")] = 0,
    anchor: Annotated[
        list[str] | None, typer.Option(help="SIZE:ROOT (hexadecimal) of a head; may be repeated.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Directory of its secondary index. Default: the node's.")] = None,
    skip_index: Annotated[bool, typer.Option("--skip-index", help="Do not compare the secondary index.")] = False,
    log: LogOption = None,
    head: HeadOption = None,
    trust: TrustOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Re-hash a log and compare every entry, tile, head, anchor and index row. Exit code 4 if anything does not hold."""
    with holding(as_json=as_json) as output:
        at = log_at(config, log, head, trust)
        expected = replace(at.expected, anchors=(*at.expected.anchors, *map(anchor_of, anchor or ())))
        expected = replace(expected, index=None if skip_index else index or expected.index)
        stop = first + count if count else None
        with output.progress("entries", None) as bar:
            made = Check(at.path, at.engine, expected, start=first, stop=stop, progress=bar.to, map_bytes=at.map_bytes)
            findings = list(islice(made.findings(), MAX_FINDINGS))
        signed = made.checkpoint
        document: dict[str, object] = {
            "log": str(at.path),
            "origin": made.origin,
            "entries": made.size,
            "root": made.root.hex() if made.root is not None else None,
            "rehashed": [made.start, made.stop],
            "signed_head": signed.size if signed is not None else None,
            "signature_verified": signed is not None and bool(expected.keys),
            "anchors": len(expected.anchors),
            "archived": [list(one) for one in made.archived],
            "findings": [finding.document() for finding in findings],
            "holds": not findings,
        }
        output.result(document, kept.found(findings, at.path) if findings else kept.checked(made, at.path, expected))
        if at.missing and not expected.anchors:
            output.note(f"no anchor was compared: {at.missing}")
        if signed is None:
            output.note("no signed head was compared: give --head")
        elif not expected.keys:
            output.note(_UNVERIFIED)
        if findings:
            kept.say_what_next(output, len(findings), most=MAX_FINDINGS)
            raise typer.Exit(Exit.DOES_NOT_HOLD)
        output.note("everything that was compared holds")


@app.command(epilog="Example: kiteline audit backup /backup/civil --config civil/kiteline.toml")
def backup(
    to: Annotated[Path, typer.Argument(help="Directory of the backup; made if it is absent.", file_okay=False)],
    full: Annotated[bool, typer.Option("--full", help="Re-hash what lay there already, too.")] = False,
    log: LogOption = None,
    head: HeadOption = None,
    trust: TrustOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Copy a log while it is being written, and verify the copy against its signed head. Full epochs are copied once."""
    with holding(as_json=as_json) as output:
        at = log_at(config, log, head, trust)
        with output.progress("entries", None) as bar:
            copied = back_up(at.path, to, at.engine, at.expected, full=full, progress=bar.to, map_bytes=at.map_bytes)
        output.result(_copied(to, copied), kept.copied(to, copied, {}))
        if not at.expected.keys:
            output.note(_UNVERIFIED)
        output.note(f"verified; to look at it again: kiteline audit check --log {to}")


@app.command(epilog="Example: kiteline audit restore /backup/civil --config civil/kiteline.toml")
def restore(
    origin: Annotated[Path, typer.Argument(help="Directory of a backup or a mirror.", file_okay=False)],
    log: Annotated[
        Path | None, typer.Option("--log", help="Where to, instead of the node's log; absent or empty.")
    ] = None,
    trust: TrustOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Put a backup, or what a mirror has, where the node's log is to be; it is there once it has been verified in full."""
    with holding(as_json=as_json) as output:
        at = log_at(config, log, None, trust)
        with output.progress("entries", None) as bar:
            copied = put_back(origin, at.path, at.engine, at.expected, progress=bar.to)
        newest = max((size for size, _ in at.expected.anchors), default=None)
        anchored = f"{newest:,} entries" if newest is not None else "not known here"
        output.result(
            {**_copied(at.path, copied), "anchored_entries": newest},
            kept.copied(at.path, copied, {"on the chain": anchored}),
        )
        if not at.expected.keys:
            output.note(_UNVERIFIED)
        if newest is not None and newest > copied.size:
            output.note(
                f"the chain has {newest:,} entries of this log and this copy has {copied.size:,}: a node that is started on it will refuse with STORE_BEHIND. "
                "Move it away and restore from a newer backup, or from a member's mirror of this log"
            )


@app.command(epilog="Example: kiteline audit archive /archive/civil --config civil/kiteline.toml")
def archive(
    directory: Annotated[Path, typer.Argument(help="Directory of the archive.", file_okay=False)],
    epoch: Annotated[
        int | None, typer.Option(min=0, help="Number of the epoch. Default: all that are old enough.")
    ] = None,
    restore: Annotated[bool, typer.Option("--restore", help="Put the epoch back from the archive.")] = False,
    retention_days: Annotated[int | None, typer.Option(help="Default: the node's setting; 184 at least.")] = None,
    log: LogOption = None,
    head: HeadOption = None,
    trust: TrustOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Move the entries of full, old epochs elsewhere; heads and tiles stay, so roots and proofs go on working."""
    with holding(as_json=as_json) as output:
        if restore and epoch is None:
            raise typer.BadParameter("--restore puts one epoch back: give --epoch")
        at = log_at(config, log, head, trust)
        days = at.retention_days if retention_days is None else retention_days
        now_ms = time.time_ns() // 1_000_000
        with output.progress("entries", None) as bar:
            place = Archive(at.path, directory, at.engine, at.expected, bar.to)
            numbers = [epoch] if epoch is not None else place.old_enough(retention_days=days, now_ms=now_ms)
            done = [
                place.put_back(number) if restore else place.put_away(number, retention_days=days, now_ms=now_ms)
                for number in numbers
            ]
        document = [{"epoch": one.epoch, "entries": [one.first, one.stop], "file": str(one.file)} for one in done]
        output.result({"epochs": document}, kept.archived("Put back" if restore else "Archived", done))
        if done and not at.expected.keys:
            output.note(_UNVERIFIED)
        if not done:
            output.note(f"nothing to do: no epoch is full and has only entries that are older than {days} days")
        if done and not restore:
            output.note(
                "a node that runs goes on with the files it has open, and gives the space back when it is restarted"
            )


def _copied(place: Path, copied: Copied) -> Mapping[str, object]:
    return {
        "directory": str(place),
        "entries": copied.size,
        "signed_head": copied.checkpoint.size,
        "copied_epochs": list(copied.new),
        "kept_epochs": list(copied.kept),
    }
