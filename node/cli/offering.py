"""Commands of a department that offers data: publish, catalogue, grants, decide, revoke, explain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.names import GRANT_HELP, grant_id, short
from node.cli.output import line, pairs, table
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, reporting, settings_of
from node.errors import GrantUnknown, RecordInvalid
from node.formats import open_source

SHARING = {"unconditional": 1, "conditional": 2, "not-shared": 3}
SHARING_NAMES = {number: name for name, number in SHARING.items()}
DATASET_STATE_NAMES = {number: name.removeprefix("DATASET_STATE_").lower() for name, number in pb.DatasetState.items()}
STATE_NAMES = {number: name.removeprefix("GRANT_STATE_").lower() for name, number in pb.GrantState.items()}

publish_epilog = (
    "Example: kiteline publish villages.csv --dataset villages --title 'Villages' --key code --where cityCode=3707"
)


def publish(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet file.", exists=True, dir_okay=False)],
    dataset: Annotated[str, typer.Option(help="Local name of the dataset: lower-case letters, digits, hyphens.")],
    title: Annotated[str, typer.Option(help="Title for people. Default: the name.")] = "",
    key: Annotated[str, typer.Option(help="Field that queries look up. Default: no queries.")] = "",
    where: Annotated[list[str] | None, typer.Option(help="Only rows whose FIELD=VALUE; may be repeated.")] = None,
    level: Annotated[int, typer.Option(min=1, max=4, help="Classification level, 1 is the lowest.")] = 1,
    sharing: Annotated[str, typer.Option(help="unconditional, conditional or not-shared.")] = "conditional",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Seal a file's records into a dataset, as one new version, and anchor it."""
    if sharing not in SHARING:
        raise typer.BadParameter("must be unconditional, conditional or not-shared", param_hint="--sharing")
    conditions = _conditions(where or [])
    with reporting(as_json=as_json) as output, connected(config) as client:
        source = open_source(file, conditions)
        # A file that cannot be read is refused before the dataset is in the catalogue for all to see.
        batches = source.batches()
        first = next(batches, None)
        if first is None:
            raise RecordInvalid(f"{file.name} has no record to publish")
        described = client.department.DescribeDataset(
            pb.DescribeDatasetRequest(
                name=dataset,
                title=title or dataset,
                fields=[pb.Field(name=name) for name in source.fields],
                key_field=key,
                level=level,
                sharing_type=pb.SharingType.Name(SHARING[sharing]),
            )
        )
        # How many rows a condition leaves is known when they are read.
        estimate = None if conditions else source.record_estimate
        with output.progress(f"publish {dataset}", estimate) as bar:
            sealed, last = 0, pb.PublishResponse()
            for last in client.publish(described.dataset_id, chain([first], batches)):
                sealed = last.sealed_count
                bar.to(sealed)
            bar.to(sealed, sealed)
        seconds = client.last_stream_seconds
        rate = round(sealed / max(seconds, 1e-9))
        document = {
            "dataset": described.dataset_id.hex(),
            "records": sealed,
            "seconds": round(seconds, 3),
            "records_per_second": rate,
            "version": last.version_note.decode(),
            "transaction": last.transaction_hash.hex(),
        }
        output.result(
            document,
            pairs(
                {
                    "dataset": described.dataset_id.hex(),
                    "records": f"{sealed:,} sealed, logged and anchored",
                    "took": f"{seconds:.2f} s, {rate:,} records/s",
                    "transaction": last.transaction_hash.hex(),
                }
            ),
        )
        output.note("Other departments find it with `kiteline catalogue`; `kiteline grants` shows who asks.")


def catalogue(
    contains: Annotated[str, typer.Argument(help="Show only what contains this text.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """List the datasets that the consortium's members offer, and those that they purged."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        entries = client.department.ListCatalogue(pb.ListCatalogueRequest(contains=contains)).entries
        documents = [
            {
                "dataset": entry.dataset.dataset_id.hex(),
                "name": entry.name,
                "title": entry.title,
                "provider": entry.dataset.provider_id,
                "provider_name": entry.provider_name,
                "sharing": SHARING_NAMES.get(entry.sharing_type, "?"),
                "level": entry.level,
                "records": entry.dataset.record_count,
                "state": DATASET_STATE_NAMES.get(entry.state, "?"),
                "fields": [field.name for field in entry.fields],
                "key": entry.key_field,
            }
            for entry in entries
        ]
        columns = ["dataset", "name", "title", "provider", "sharing", "level", "records", "state"]
        rows = [
            [
                short(entry.dataset.dataset_id.hex()),
                *(entry.name, entry.title, entry.provider_name),
                *(SHARING_NAMES.get(entry.sharing_type, "?"), entry.level, f"{entry.dataset.record_count:,}"),
                DATASET_STATE_NAMES.get(entry.state, "?"),
            ]
            for entry in entries
        ]
        output.result(
            {"entries": documents},
            table("Catalogue", columns, rows, right={"level", "records"}, folds={"title", "provider"}),
        )
        if not entries:
            output.note(
                f"No dataset has {contains!r} in its name or title." if contains else "Nobody offers a dataset yet."
            )


def grants(
    grant: Annotated[str, typer.Argument(help="Show this one in full. " + GRANT_HELP)] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """List the grants that this department asked for or is asked for, or show one in full."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        held = list(client.department.ListGrants(pb.ListGrantsRequest()).grants)
        if grant:
            wanted = grant_id(client, grant)
            held = [one for one in held if one.grant_id == wanted]
            if not held:
                raise GrantUnknown("this department is no side of that grant")
        documents = [_grant_document(one) for one in held]
        drawn = pairs(_grant_in_full(held[0])) if grant else _grants_table(held, settings_of(config).member_id)
        output.result({"grants": documents}, drawn)
        if not held:
            output.note("No grant yet: `kiteline catalogue` lists what can be asked for, `kiteline request` asks.")


def decide(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    approve: Annotated[bool, typer.Option("--approve/--deny", help="Approve, or deny with a reason.")],
    reason: Annotated[str, typer.Option(help="Why; needed for a denial.")] = "",
    fields: Annotated[str, typer.Option(help="Narrow to these fields, comma-separated.")] = "",
    quota: Annotated[int, typer.Option(min=0, help="Narrow to this many orders.")] = 0,
    expiry_seconds: Annotated[int, typer.Option(min=0, help="Narrow to this Unix time.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Approve, narrow or deny a request made to this department."""
    if not approve and not reason:
        raise typer.BadParameter("a denial needs --reason", param_hint="--reason")
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        answer = client.department.DecideGrant(
            pb.DecideGrantRequest(
                grant_id=identity,
                approve=approve,
                reason=reason,
                fields=[name for name in fields.split(",") if name],
                quota=quota,
                expiry_seconds=expiry_seconds,
            )
        )
        state = "approved" if approve else "denied"
        output.result({"grant": identity.hex(), "state": state, "transaction": answer.transaction_hash.hex()})


def revoke(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    reason: Annotated[str, typer.Option(help="Why, one line.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Revoke a grant: no new order, running streams are cut, keys not yet released never are."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        answer = client.department.RevokeGrant(pb.RevokeGrantRequest(grant_id=identity, reason=reason))
        output.result({"grant": identity.hex(), "state": "revoked", "transaction": answer.transaction_hash.hex()})


def explain(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Say in full why a grant does or does not allow an order now."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        answer = client.department.Explain(pb.ExplainRequest(grant_id=identity))
        verdict = line(("allowed", "bold green") if answer.allowed else (f"refused: {answer.reason}", "bold red"))
        output.result(
            {
                "grant": identity.hex(),
                "allowed": answer.allowed,
                "reason": answer.reason,
                "explanations": list(answer.explanations),
            },
            Text("\n").join([verdict, *map(_judged, answer.explanations)]),
        )


def _judged(sentence: str) -> Text:
    """A sentence of an explanation; those that refuse begin with their reason."""
    refuses = re.match(r"[A-Z_]{2,}: ", sentence)
    return line(("✘", "red") if refuses else ("✔", "green"), f" {sentence}")


def _grant_document(grant: pb.Grant) -> dict[str, object]:
    return {
        "grant": grant.grant_id.hex(),
        "dataset": grant.dataset_id.hex(),
        "requester": grant.requester_id,
        "provider": grant.provider_id,
        "state": STATE_NAMES[grant.state],
        "used": grant.used,
        "quota": grant.quota,
        "expiry": grant.expiry_seconds,
        "last_sequence": grant.last_sequence,
        "fields": list(grant.fields),
        "purpose": grant.purpose,
    }


def _grant_in_full(grant: pb.Grant) -> dict[str, object]:
    """What an officer reads before deciding."""
    return {
        "grant": grant.grant_id.hex(),
        "dataset": grant.dataset_id.hex(),
        "requester": grant.requester_id,
        "provider": grant.provider_id,
        "state": STATE_NAMES[grant.state].replace("_", " "),
        "orders": f"{grant.used} of {grant.quota} used",
        "until": _day(grant.expiry_seconds),
        "deliveries": grant.last_sequence,
        "fields": list(grant.fields) or "all",
        "purpose": grant.purpose,
    }


def _grants_table(grants: Sequence[pb.Grant], own_id: str) -> Table:
    columns = ["grant", "who asks", "other side", "state", "orders", "until", "purpose"]
    rows = [
        [
            short(grant.grant_id.hex()),
            "we" if grant.requester_id == own_id else "they",
            grant.provider_id if grant.requester_id == own_id else grant.requester_id,
            STATE_NAMES[grant.state].replace("_", " "),
            f"{grant.used} of {grant.quota}",
            _day(grant.expiry_seconds),
            grant.purpose,
        ]
        for grant in grants
    ]
    return table("Grants", columns, rows, folds={"purpose"})


def _day(seconds: int) -> str:
    """The day of a Unix time, UTC; the chain's integer may lie beyond the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat() if seconds else "-"
    except (OverflowError, ValueError, OSError):
        return "for ever"


def _conditions(texts: list[str]) -> dict[str, str]:
    conditions: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter("must be FIELD=VALUE", param_hint="--where")
        conditions[name] = value
    return conditions
