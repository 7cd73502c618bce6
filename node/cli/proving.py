"""Commands of an auditor: trail, evidence, verify. `verify` opens one file and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from audit.verifier import Trust, report_document, verdict
from audit.verify import read_trust, verify_evidence
from crypto.engine import load_engine
from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.names import GRANT_HELP, grant_id
from node.cli.output import Exit, line, table, write_file
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, reporting

trail_epilog = "Example: kiteline trail 9b02c4e1"
evidence_epilog = "Example: kiteline evidence --member 11370700004258746X --index 12 --to delivery.evidence"


def trail(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Show every step of a grant from both sides' logs, each proven, and name gaps and contradictions."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        answer = client.department.GetTrail(pb.GetTrailRequest(grant_id=identity))
        steps = [
            {
                "member": step.member_id,
                "index": step.index,
                "time": datetime.fromtimestamp(step.time_milliseconds / 1_000, UTC).isoformat(timespec="milliseconds"),
                "event": step.event,
                "outcome": step.outcome,
                "actor": step.actor,
                "sequence": step.sequence,
                "proven": step.proven,
                "note_digest": step.note_digest.hex(),
                "anchor_state": step.anchor_state,
            }
            for step in answer.steps
        ]
        findings = [{"kind": finding.kind, "says": finding.says} for finding in answer.findings]
        holds = not findings and all(step.proven for step in answer.steps)
        columns = ["time (UTC)", "member", "index", "event", "outcome", "delivery", "proven", "chain"]
        rows = [
            [
                _moment(step.time_milliseconds),
                *(
                    step.member_id,
                    step.index,
                    step.event,
                    step.outcome,
                    step.sequence or "",
                    step.proven,
                    step.anchor_state,
                ),
            ]
            for step in answer.steps
        ]
        drawn = table(f"Trail of {identity.hex()}", columns, rows, right={"index", "delivery"}, folds={"outcome"})
        output.result({"grant": identity.hex(), "steps": steps, "findings": findings, "holds": holds}, drawn)
        if not as_json:
            for finding in findings:
                output.people.print(line((finding["kind"], "bold red"), f" {finding['says']}"))
            if holds:
                output.people.print(line(("every step is proven, both sides agree, nothing is missing", "green")))
            elif not findings:
                output.people.print(line(("a step is not proven", "bold red")))
        if not holds:
            raise typer.Exit(Exit.DOES_NOT_HOLD)


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def evidence(
    member: Annotated[str, typer.Option(help="Whose log: the member's credit code.")],
    index: Annotated[int, typer.Option(min=0, help="Index of the entry, as the trail gives it.")],
    to: Annotated[Path, typer.Option(help="File to write.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Save the evidence file of one log entry, to be verified offline."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.GetMemberEvidence(pb.GetMemberEvidenceRequest(member_id=member, index=index))
        write_file(to, answer.evidence)
        output.result({"member": member, "index": index, "bytes": len(answer.evidence), "file": str(to)})
        output.note(f"Anyone verifies it offline: kiteline verify {to}")


verify_epilog = "Example: kiteline verify receipt.evidence --trust trust.json"


def verify(
    file: Annotated[Path, typer.Argument(help="Evidence file.", exists=True, dir_okay=False)],
    trust: Annotated[
        Path | None, typer.Option(help="What you know from elsewhere, from `kiteline chain trust`.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Verify an evidence file offline: opens this file, and the trust file if you give one, and nothing else. Without one nothing
    is proved, since anybody can write such a file with keys of their own.
    """
    with reporting(as_json=as_json) as output:
        report = verify_evidence(load_engine(), file.read_bytes(), read_trust(trust) if trust else Trust())
        rows = [
            ["holds" if link.holds else "DOES NOT HOLD", link.name, link.says, link.rests_on] for link in report.links
        ]
        output.result(
            report_document(str(file), report),
            table(
                f"Evidence {file}",
                ["verdict", "link", "what it says", "rests on"],
                rows,
                folds={"what it says", "rests on"},
            ),
        )
        if not as_json:
            advice = "" if report.holds else "; keep the file, it is evidence itself"
            output.people.print(line((verdict(report) + advice, "green" if report.proven else "bold red")))
        if report.holds and not report.proven:
            output.note(
                "What you know comes from a member that you choose, by another way than the file: kiteline chain trust"
            )
        if not report.proven:
            raise typer.Exit(Exit.DOES_NOT_HOLD)
