"""Commands of a department that offers data: publish, catalogue, grants, decide, revoke, explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.output import table
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, hex_id, reporting
from node.formats import open_source

SHARING = {"unconditional": 1, "conditional": 2, "not-shared": 3}
SHARING_NAMES = {number: name for name, number in SHARING.items()}
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
        with output.progress(f"publish {dataset}", source.record_estimate) as bar:
            sealed, last = 0, pb.PublishResponse()
            for last in client.publish(described.dataset_id, source.batches()):
                sealed = last.sealed_count
                bar.to(sealed)
            bar.to(sealed, sealed)
        output.result(
            {
                "dataset": described.dataset_id.hex(),
                "records": sealed,
                "seconds": round(client.last_stream_seconds, 3),
                "records_per_second": round(sealed / max(client.last_stream_seconds, 1e-9)),
                "version": last.version_note.decode(),
                "transaction": last.transaction_hash.hex(),
            }
        )


def catalogue(
    contains: Annotated[str, typer.Argument(help="Show only what contains this text.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """List the datasets that the consortium's members offer."""
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
                "fields": [field.name for field in entry.fields],
                "key": entry.key_field,
            }
            for entry in entries
        ]
        columns = ["dataset", "name", "title", "provider_name", "sharing", "level", "records"]
        rows = [[document[column] for column in columns] for document in documents]
        output.result({"entries": documents}, table("Catalogue", columns, rows))


def grants(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """List the grants that this department asked for or is asked for."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        documents = [
            {
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
            for grant in client.department.ListGrants(pb.ListGrantsRequest()).grants
        ]
        columns = ["grant", "requester", "provider", "state", "used", "quota", "last_sequence", "purpose"]
        rows = [[document[column] for column in columns] for document in documents]
        output.result({"grants": documents}, table("Grants", columns, rows))


def decide(
    grant: Annotated[str, typer.Argument(help="The grant, 64 hexadecimal digits.")],
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
        answer = client.department.DecideGrant(
            pb.DecideGrantRequest(
                grant_id=hex_id(grant, "grant"),
                approve=approve,
                reason=reason,
                fields=[name for name in fields.split(",") if name],
                quota=quota,
                expiry_seconds=expiry_seconds,
            )
        )
        state = "approved" if approve else "denied"
        output.result({"grant": grant, "state": state, "transaction": answer.transaction_hash.hex()})


def revoke(
    grant: Annotated[str, typer.Argument(help="The grant, 64 hexadecimal digits.")],
    reason: Annotated[str, typer.Option(help="Why, one line.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Revoke a grant: no new order, running streams are cut, keys not yet released never are."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.RevokeGrant(pb.RevokeGrantRequest(grant_id=hex_id(grant, "grant"), reason=reason))
        output.result({"grant": grant, "state": "revoked", "transaction": answer.transaction_hash.hex()})


def explain(
    grant: Annotated[str, typer.Argument(help="The grant, 64 hexadecimal digits.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Say in full why a grant does or does not allow an order now."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.Explain(pb.ExplainRequest(grant_id=hex_id(grant, "grant")))
        output.result(
            {
                "grant": grant,
                "allowed": answer.allowed,
                "reason": answer.reason,
                "explanations": list(answer.explanations),
            },
            "\n".join(["allowed" if answer.allowed else f"refused: {answer.reason}", *answer.explanations]),
        )


def _conditions(texts: list[str]) -> dict[str, str]:
    conditions: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter("must be FIELD=VALUE", param_hint="--where")
        conditions[name] = value
    return conditions
