"""Commands of an operator: init, serve, status, engines."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from crypto.credit_code import check_credit_code
from crypto.engine import survey_engines
from kiteline.exchange.v1 import department_pb2 as pb
from node.app.settings import FILE_NAME, Settings
from node.cli.connection import connected
from node.cli.output import Exit, line, pairs, table, write_file
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, passphrase, reporting, settings_of
from node.model.lines import write_time

WARNING_DAYS = 90  # before a certificate ends

init_epilog = (
    "Example: kiteline init civil --member-id 11370700004258746X --name 'Civil Affairs' --listen 127.0.0.1:7001 "
    "--network network.toml --contracts contracts.toml"
)
serve_epilog = "Example: KITELINE_PASSPHRASE_FILE=/run/secrets/kiteline kiteline serve --config civil/kiteline.toml"


def init(
    directory: Annotated[Path, typer.Argument(help="Directory to make; must not exist or be empty.")],
    member_id: Annotated[str, typer.Option(help="Unified social credit code of the department.")],
    name: Annotated[str, typer.Option(help="Its name, for people.")],
    listen: Annotated[str, typer.Option(help="host:port to serve on.")],
    network: Annotated[Path, typer.Option(help="Network file of the chain.", exists=True, dir_okay=False)],
    contracts: Annotated[Path, typer.Option(help="File with the consortium's contracts; may come later.")],
    advertise: Annotated[str, typer.Option(help="host:port that others reach it under. Default: as --listen.")] = "",
    roles: Annotated[str, typer.Option(help="department, authority, auditor; comma-separated.")] = "department",
    metrics_listen: Annotated[str, typer.Option(help="host:port of the Prometheus page. Default: none.")] = "",
    key_agent: Annotated[
        Path | None,
        typer.Option(help="Socket of the agent that has the signing, encryption and account keys.", show_default=False),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Make a node's keys, certificates and configuration, and the admission file to hand to the consortium."""
    with reporting(as_json=as_json) as output:
        from node.app.admission import admission_document, parse_roles  # noqa: PLC0415 - web3 takes a second to import
        from node.app.initialise import initialise  # noqa: PLC0415 - likewise

        home = directory.resolve()
        settings = Settings(
            head_file=home / "audit.head",
            member_id=check_credit_code(member_id),
            name=name,
            listen=listen,
            advertise=advertise or listen,
            keys_directory=home / "keys",
            data_directory=home / "data",
            network_file=network.resolve(),
            contracts_file=contracts.resolve(),
            client_certificates=(home / "keys" / "client.cert.pem",),
            security_certificates=(home / "keys" / "security.cert.pem",),
            metrics_listen=metrics_listen or None,
            key_agent=key_agent.resolve() if key_agent else None,
        )
        admission = initialise(home, settings, parse_roles(roles), passphrase(), os.urandom, _now_ms)
        file = home / "admission.json"
        text = json.dumps(admission_document(admission), ensure_ascii=False, indent=2) + "\n"
        write_file(file, text.encode())
        output.result({"member": member_id, "configuration": str(home / FILE_NAME), "admission": str(file)})
        output.note("Hand admission.json to an authority of the consortium; start with `kiteline serve` once admitted.")


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    json_logs: Annotated[
        bool,
        typer.Option("--json", help="Log one JSON object a line, also on a terminal; a refusal to start likewise."),
    ] = False,
) -> None:
    """Run the node until it is asked to stop (SIGTERM or Ctrl-C)."""
    with reporting(as_json=json_logs):
        settings, secret = settings_of(config), passphrase()
        # grpc and web3 take a second to import; whoever does not get to serve should not pay for it.
        from node.app.logging import configure_logging  # noqa: PLC0415
        from node.app.node import run_node  # noqa: PLC0415

        logger = configure_logging(as_json=json_logs or not sys.stderr.isatty())
        run_node(settings, secret, logger, clock=_now_ms, random=os.urandom)


def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Describe the running node: member, engine, log, chain, datasets."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.GetStatus(pb.GetStatusRequest())
        document = {
            "member": answer.member_id,
            "name": answer.member_name,
            "version": answer.version,
            "engine": answer.engine,
            "listens_on": answer.listen_address,
            "uptime": str(timedelta(seconds=answer.uptime_seconds)),
            "log_entries": answer.log_size,
            "log_root": answer.log_root.hex(),
            "anchored_entries": answer.anchored_size,
            "unanchored_seconds": answer.unanchored_seconds,
            "certificate_expiry": write_time(1_000 * answer.certificate_expiry_seconds),
            "chain_reachable": answer.chain_reachable,
            "chain_id": answer.chain_id,
            "block": answer.block_number,
            "pending_transactions": answer.pending_transactions,
            "datasets": answer.dataset_count,
            "records": answer.record_count,
            "witnesses": list(answer.witnesses),
            "cosignatures_needed": answer.cosignatures_needed,
            "cosigned_by": list(answer.cosigned_by),
            "anchor_networks": [
                {"name": one.name, "reachable": one.reachable, "anchored_entries": one.anchored_size}
                for one in answer.anchor_networks
            ],
        }
        reachable = ("reachable", "green") if answer.chain_reachable else ("no endpoint answers", "bold red")
        pending = f"{answer.pending_transactions} transactions pending"
        drawn = pairs(
            {
                "member": f"{answer.member_id} {answer.member_name}",
                "node": f"version {answer.version}, engine {answer.engine}, on {answer.listen_address}",
                "up for": document["uptime"],
                "log": f"{answer.log_size:,} entries, {answer.anchored_size:,} of them anchored{_waiting(answer)}",
                "log root": answer.log_root.hex(),
                **({"witnesses": _witnesses(answer)} if answer.witnesses else {}),
                **{f"network {one.name}": _network(one) for one in answer.anchor_networks},
                "chain": line(reachable, f", id {answer.chain_id}, block {answer.block_number:,}, {pending}"),
                "certificate": _certificate(answer.certificate_expiry_seconds, time.time()),
                "offers": f"{answer.record_count:,} records in {answer.dataset_count:,} datasets",
            }
        )
        output.result(document, drawn)
        if not answer.chain_reachable:
            output.note(
                "Deliveries go on under known grants for max_outage_seconds; start the chain, or mend `endpoints`."
            )
            raise typer.Exit(Exit.UNAVAILABLE)


def _waiting(answer: pb.GetStatusResponse) -> str:
    waited = answer.unanchored_seconds
    return f"; the oldest of the others has waited {timedelta(seconds=waited)}" if waited else ""


def _certificate(expiry_seconds: int, now: float) -> Text:
    """Until when; loud while there is still time to rotate it in."""
    days = int((expiry_seconds - now) // 86_400)
    soon = ("; rotate it: kiteline keys rotate tls", "bold red") if days < WARNING_DAYS else ("", "")
    return line(f"valid until {write_time(1_000 * expiry_seconds)}, {days:,} days", soon)


def _network(one: pb.AnchorNetwork) -> Text:
    reachable = ("reachable", "green") if one.reachable else ("no endpoint answers", "bold red")
    return line(reachable, f", {one.anchored_size:,} entries anchored")


def _witnesses(answer: pb.GetStatusResponse) -> Text:
    """How the newest head fared; a head that too few signed is not anchored."""
    count, needed = len(answer.cosigned_by), answer.cosignatures_needed
    few = ("; no head is anchored until more sign", "bold red") if answer.log_size and count < needed else ("", "")
    missing = [one for one in answer.witnesses if one not in answer.cosigned_by]
    silent = f"; none from {', '.join(missing)}" if missing else ""
    return line(f"{count} of {len(answer.witnesses)} signed the newest head, {needed} are needed{silent}", few)


def engines(
    measure: Annotated[bool, typer.Option(help="Measure each engine for about a second.")] = True,
    as_json: JSONOption = False,
) -> None:
    """List the cryptographic engines, whether each passes its self-tests here, and its figures."""
    with reporting(as_json=as_json) as output:
        from node.app.engine_figures import figures  # noqa: PLC0415 - only this command measures

        documents: list[dict[str, object]] = []
        for report in survey_engines():
            document: dict[str, object] = {"engine": report.name, "usable": report.usable, "why": report.why}
            if report.engine is not None and measure:
                document |= figures(report.engine, time.perf_counter)
            documents.append(document)
        names = list(dict.fromkeys(name for document in documents for name in document))
        columns = {name: name.replace("_per_second", "/s").replace("_", " ") for name in names}
        rows = [[_figure(document.get(name, "")) for name in names] for document in documents]
        drawn = table(
            "Engines",
            list(columns.values()),
            rows,
            right=[name for name in columns.values() if "/s" in name],
            folds={"why"},
        )
        output.result({"engines": documents}, drawn)
        output.note("A node takes the first usable one; `engine` in its configuration insists on another.")


def _figure(value: object) -> object:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
