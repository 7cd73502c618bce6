"""Commands of a department that asks for data: request, fetch, export, query."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.output import pairs
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, hex_id, reporting
from node.formats import open_sink

SECONDS_A_DAY = 86_400


def request(
    dataset: Annotated[str, typer.Argument(help="The dataset, 64 hexadecimal digits, as the catalogue gives it.")],
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
                dataset_id=hex_id(dataset, "dataset"),
                fields=[name for name in fields.split(",") if name],
                purpose=purpose,
                expiry_seconds=int(time.time()) + days * SECONDS_A_DAY,
                quota=quota,
            )
        )
        output.result({"grant": answer.grant_id.hex(), "transaction": answer.transaction_hash.hex()})


def fetch(
    grant: Annotated[str, typer.Argument(help="The grant, 64 hexadecimal digits.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Fetch everything that a grant covers, check every record against the chain, or go on where it stopped."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        summary = pb.FetchSummary()
        with output.progress("fetch", None) as bar:
            for progress in client.department.Fetch(pb.FetchRequest(grant_id=hex_id(grant, "grant"))):
                bar.to(progress.verified_count, progress.total_count)
                if progress.HasField("summary"):
                    summary = progress.summary
        seconds = summary.elapsed_milliseconds / 1_000
        output.result(
            {
                "grant": grant,
                "order": summary.order_id.hex(),
                "records": summary.record_count,
                "plaintext_bytes": summary.plaintext_bytes,
                "seconds": seconds,
                "records_per_second": round(summary.record_count / max(seconds, 1e-9)),
                "root": summary.root.hex(),
                "first_sequence": summary.first_sequence,
                "last_sequence": summary.last_sequence,
                "engine": summary.engine,
                "file": summary.path,
            }
        )


def export(
    grant: Annotated[str, typer.Argument(help="The grant whose fetch is finished.")],
    to: Annotated[Path, typer.Option(help="File to write: .csv, .jsonl or .parquet.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Write a fetched dataset as CSV, JSON Lines or Parquet."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        fields, batches = client.read_records(hex_id(grant, "grant"))
        written = 0
        with output.progress(f"export {to.name}", None) as bar, open_sink(to, fields, force=force) as sink:
            for batch in batches:
                sink.write(batch)
                written += len(batch)
                bar.to(written)
            bar.to(written, written)
        output.result({"grant": grant, "records": written, "file": str(to)})


def query(
    grant: Annotated[str, typer.Argument(help="The grant, 64 hexadecimal digits.")],
    key: Annotated[str, typer.Argument(help="Value of the dataset's key field.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Ask the provider for one record by its key."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.QueryRecord(pb.QueryRecordRequest(grant_id=hex_id(grant, "grant"), key=key))
        record = dict(zip(answer.fields, json.loads(answer.values), strict=True))
        document = {
            "grant": grant,
            "record": record,
            "proven": answer.proven,
            "sequence": answer.sequence,
            "record_index": answer.record_index,
        }
        output.result(document, pairs({**record, "proven": answer.proven, "sequence": answer.sequence}))


request_epilog = "Example: kiteline request 6f1c… --purpose 'match health stations to villages' --days 30 --quota 100"
fetch_epilog = "Example: kiteline fetch 9b02… && kiteline export 9b02… --to villages.parquet"
export_epilog = "Example: kiteline export 9b02… --to villages.csv"
query_epilog = "Example: kiteline query 9b02… 370702001001 --json | jq .record.name"
