"""Commands of an auditor with files: collect what both sides log about a grant, get a range, and make the finding."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from audit.report import Known, make_report, read_directory, read_known
from audit.report_page import render
from audit.verifier import Trust
from audit.verify import read_trust
from crypto.engine import load_engine
from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.names import GRANT_HELP, grant_id
from node.cli.output import Exit, line, table, write_file
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, reporting
from node.errors import FileExists, NotAnchored
from node.model.events import Event

collect_epilog = "Example: kiteline audit collect 9b02… --to handed-over/"
range_epilog = "Example: kiteline audit range --member 11370700004258746X --first 0 --count 500 --to log.range"
report_epilog = "Example: kiteline audit report handed-over/ --trust trust.json --html finding.html"


def collect(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    to: Annotated[Path, typer.Option(help="Directory to write to; made if there is none.", file_okay=False)],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Save the evidence of every step of a grant, from both sides' logs, one file each. What is not anchored yet is named, and the exit
    code is 3: it can be had after the next anchor.
    """
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        steps = client.department.GetTrail(pb.GetTrailRequest(grant_id=identity)).steps
        to.mkdir(parents=True, exist_ok=True)
        files: list[str] = []
        waiting: list[dict[str, object]] = []
        with output.progress("collect", len(steps)) as bar:
            for number, step in enumerate(steps, 1):
                wanted = pb.GetMemberEvidenceRequest(member_id=step.member_id, index=step.index)
                file = to / f"{step.member_id}-{step.index:08}.evidence"
                try:
                    write_file(file, client.department.GetMemberEvidence(wanted).evidence)
                    files.append(str(file))
                except NotAnchored:
                    # Reading the logs is logged, too: the newest of these entries are this reading's own.
                    if step.event != Event.AUDIT_READ:
                        waiting.append({"member": step.member_id, "index": step.index, "event": step.event})
                bar.to(number)
        document = {"grant": identity.hex(), "directory": str(to), "files": len(files), "not_anchored": waiting}
        rows = [[one["member"], one["index"], one["event"]] for one in waiting]
        drawn = table("Not anchored yet", ["member", "index", "event"], rows, right={"index"})
        output.result(document, drawn if waiting else None)
        if waiting:
            output.note(f"{len(waiting)} steps are not anchored yet; collect again after the next anchor")
            raise typer.Exit(Exit.UNAVAILABLE)
        output.note(
            f"The finding is made from them offline: kiteline audit report {to} --trust trust.json --html finding.html"
        )


def range_file(
    member: Annotated[str, typer.Option(help="Whose log: the member's credit code.")],
    to: Annotated[Path, typer.Option(help="File to write; its name should end in .range.", dir_okay=False)],
    first: Annotated[int, typer.Option(min=0, help="Index of the first entry.")] = 0,
    count: Annotated[int, typer.Option(min=0, help="How many entries at most. 0: as many as one file holds.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Save every entry of an interval of a member's log, with the proof that none is left out."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        if to.exists():
            raise FileExists(f"{to} exists", file=to)
        wanted = pb.GetMemberRangeRequest(member_id=member, first=first, count=count, anchored=True)
        content = b"".join(answer.piece for answer in client.department.GetMemberRange(wanted))
        write_file(to, content)
        held = content.split(b"\n", 3)[2].removeprefix(b"count ")
        output.result({"member": member, "first": first, "entries": int(held), "bytes": len(content), "file": str(to)})


def report(
    directory: Annotated[Path, typer.Argument(help="What was handed over.", exists=True, file_okay=False)],
    trust: Annotated[
        Path | None, typer.Option(help="What you know from elsewhere, from `kiteline chain trust`.", dir_okay=False)
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the finding as a page that opens anywhere.")] = None,
    document: Annotated[Path | None, typer.Option(help="Write the finding as JSON.")] = None,
    as_json: JSONOption = False,
) -> None:
    """Make a written finding from files alone: opens the directory and the trust file, no node and no network."""
    with reporting(as_json=as_json) as output:
        files = read_directory(directory)
        trusted, known = (read_trust(trust), read_known(trust)) if trust else (Trust(), Known())
        made = make_report(load_engine(), files, trusted, known, time.time_ns() // 1_000_000)
        if html is not None:
            write_file(html, render(made).encode())
        if document is not None:
            write_file(document, (json.dumps(made, ensure_ascii=False, indent=1) + "\n").encode())
        holding = sum(bool(file["proven"]) for file in made["files"])  # type: ignore[attr-defined]  # a JSON document
        rows = [[grant["grant"], len(grant["steps"]), len(grant["findings"])] for grant in made["grants"]]  # type: ignore[attr-defined]  # likewise
        output.result(
            made, table(f"{holding} of {len(files)} files are proved", ["grant", "statements", "findings"], rows)
        )
        if not as_json:
            findings = [*made["findings"], *(one for grant in made["grants"] for one in grant["findings"])]  # type: ignore[misc, attr-defined]  # likewise
            for finding in findings:
                output.people.print(line((finding["kind"], "bold red"), f" {finding['says']}"))
            if made["holds"]:
                output.people.print(line(("everything holds, and nothing contradicts anything else", "green")))
        if not made["holds"]:
            raise typer.Exit(Exit.DOES_NOT_HOLD)
