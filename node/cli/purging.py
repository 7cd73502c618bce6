"""The command that ends a dataset: purge."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli.connection import connected
from node.cli.names import DATASET_HELP, SHOWN, dataset_id, short
from node.cli.output import pairs
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, reporting

purge_epilog = "Example: kiteline purge 6f1c09d2 --reason 'retention period over'"


def purge(
    dataset: Annotated[str, typer.Argument(help=DATASET_HELP)],
    reason: Annotated[str, typer.Option(help="Why, one line; it stands in the log for good.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the dataset's id again.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Destroy a dataset's records and keys for good, log the tombstone, and withdraw it. What was delivered stays provable."""
    if not yes and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here; give --yes", param_hint="--yes")
    with reporting(as_json=as_json) as output, connected(config) as client:
        identity = dataset_id(client, dataset)
        if not yes:
            output.note(f"This destroys every record of {identity.hex()} on this node. It cannot be undone.")
            typed = typer.prompt(f"Type the first {SHOWN} digits of its id, or all, to go on", err=True)
            if len(typed) < SHOWN or not identity.hex().startswith(typed):
                raise typer.BadParameter("that is not the dataset's id; nothing was done", param_hint="dataset")
        done = client.department.PurgeDataset(pb.PurgeDatasetRequest(dataset_id=identity, reason=reason))
        document = {
            "dataset": identity.hex(),
            "state": "purged",
            "records": done.record_count,
            "root": done.root.hex(),
            "destroyed_bytes": done.destroyed_bytes,
            "tombstone": done.purge_note.decode(),
            "transaction": done.transaction_hash.hex(),
        }
        drawn = pairs(
            {
                "dataset": identity.hex(),
                "destroyed": f"{done.record_count:,} records with their keys, salts and key index: "
                f"{done.destroyed_bytes:,} bytes overwritten and deleted",
                "remains": f"the log (versions, deliveries, receipts, the tombstone) and the root {short(done.root.hex())} on the "
                "chain; what others received stays with them",
                "transaction": done.transaction_hash.hex() or "withdrawn before",
            }
        )
        output.result(document, drawn)
        output.note(
            "Backups of this node's data directory from before still hold the records: age them out (docs/operator.md, Purge)."
        )
