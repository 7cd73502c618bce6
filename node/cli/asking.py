"""Commands of a department that asks for data: request, fetch, export, query."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.names import DATASET_HELP, GRANT_HELP, dataset_id, grant_id, short
from node.cli.output import pairs, table
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, reporting
from node.formats import open_sink

SECONDS_A_DAY = 86_400


def request(
    dataset: Annotated[str, typer.Argument(help=DATASET_HELP)],
    purpose: Annotated[str, typer.Option(help="What the data is for, one line.")],
    days: Annotated[int, typer.Option(min=1, max=3_650, help="How long the grant should last.")] = 30,
    quota: Annotated[int, typer.Option(min=1, help="How many orders it should allow.")] = 100,
    fields: Annotated[str, typer.Option(help="Fields, comma-separated. Default: all.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Ask a dataset's provider for a grant."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.RequestGrant(
            pb.RequestGrantRequest(
                dataset_id=dataset_id(client, dataset),
                fields=[name for name in fields.split(",") if name],
                purpose=purpose,
                expiry_seconds=int(time.time()) + days * SECONDS_A_DAY,
                quota=quota,
            )
        )
        output.result({"grant": answer.grant_id.hex(), "transaction": answer.transaction_hash.hex()})
        output.note(
            "The provider's officer decides: `kiteline grants` shows when. Then `kiteline fetch` it, or `query`."
        )


def fetch(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Fetch everything that a grant covers, check every record against the chain, or go on where it stopped."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        summary, identity = pb.FetchSummary(), grant_id(client, grant)
        with output.progress("fetch", None) as bar:
            for progress in client.department.Fetch(pb.FetchRequest(grant_id=identity)):
                bar.to(progress.verified_count, progress.total_count)
                if progress.HasField("summary"):
                    summary = progress.summary
        seconds = summary.elapsed_milliseconds / 1_000
        rate = round(summary.record_count / max(seconds, 1e-9))
        document = {
            "grant": identity.hex(),
            "order": summary.order_id.hex(),
            "records": summary.record_count,
            "plaintext_bytes": summary.plaintext_bytes,
            "seconds": seconds,
            "records_per_second": rate,
            "root": summary.root.hex(),
            "first_sequence": summary.first_sequence,
            "last_sequence": summary.last_sequence,
            "engine": summary.engine,
            "file": summary.path,
        }
        output.result(
            document,
            pairs(
                {
                    "grant": identity.hex(),
                    "records": f"{summary.record_count:,}, each checked against the root on the chain",
                    "took": f"{seconds:.2f} s, {rate:,} records/s, engine {summary.engine}",
                    "deliveries": f"{summary.first_sequence} to {summary.last_sequence}",
                    "root": summary.root.hex(),
                    "file": summary.path,
                }
            ),
        )
        output.note(f"Write it as a table: kiteline export {short(identity.hex())} --to FILE.csv (.jsonl, .parquet)")


def export(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    to: Annotated[Path, typer.Option(help="File to write: .csv, .jsonl or .parquet.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Write a fetched dataset as CSV, JSON Lines or Parquet."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        fields, batches = client.read_records(identity)
        written = 0
        with open_sink(to, fields, force=force) as sink, output.progress(f"export {to.name}", None) as bar:
            for batch in batches:
                sink.write(batch)
                written += len(batch)
                bar.to(written)
            bar.to(written, written)
        output.result(
            {"grant": identity.hex(), "records": written, "file": str(to)},
            pairs({"grant": identity.hex(), "records": f"{written:,}", "file": str(to)}),
        )


def query(
    grant: Annotated[str, typer.Argument(help=GRANT_HELP)],
    key: Annotated[str, typer.Argument(help="Value of the dataset's key field.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Ask the provider for one record by its key."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = grant_id(client, grant)
        answer = client.department.QueryRecord(pb.QueryRecordRequest(grant_id=identity, key=key))
        record = dict(zip(answer.fields, json.loads(answer.values), strict=True))
        document = {
            "grant": identity.hex(),
            "record": record,
            "proven": answer.proven,
            "sequence": answer.sequence,
            "record_index": answer.record_index,
        }
        drawn = table(
            f"Record {key}",
            ["field", "value"],
            [[name, _written(value)] for name, value in record.items()],
            folds={"value"},
        )
        output.result(document, drawn)
        proof = (
            "proven: it is the record that the root on the chain commits to"
            if answer.proven
            else "not proven: the grant narrows the fields, so the provider's signature alone vouches for it"
        )
        output.note(f"{proof}; delivery {answer.sequence}")


def _written(value: object) -> str:
    """A value of a record, as it is: a text without quotes, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


request_epilog = (
    "Example: kiteline request 6f1c09d2 --purpose 'match health stations to villages' --days 30 --quota 100"
)
fetch_epilog = "Example: kiteline fetch 9b02c4e1 && kiteline export 9b02c4e1 --to villages.parquet"
export_epilog = "Example: kiteline export 9b02c4e1 --to villages.csv"
query_epilog = "Example: kiteline query 9b02c4e1 370702001001 --json | jq .record.name"
