"""`kiteline keys`: the key store of this node, and its rotations."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.output import Output, table
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, passphrase, reporting, settings_of
from node.model.lines import write_time

if TYPE_CHECKING:
    from node.keys.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="List, rotate and recover this node's keys.")


@app.command("list", epilog="Example: kiteline keys list")
def list_keys(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """List the keys with their states, and the rotation under way. Needs no passphrase and no running node."""
    with reporting(as_json=as_json) as output:
        from node.keys.store import read_manifest  # noqa: PLC0415 - opens libraries that most commands do without

        _show(output, read_manifest(settings_of(config).keys_directory))


@app.command("adopt", epilog="Example: kiteline keys adopt renewed/keys")
def adopt(
    renewed: Annotated[Path, typer.Argument(help="`keys` directory that `kiteline init` made for the same member.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Take over keys that the council has put in force for this member. The node must be stopped; both stores have one passphrase."""
    with reporting(as_json=as_json) as output:
        from crypto.engine import load_engine  # noqa: PLC0415 - likewise
        from node.keys.material import Means  # noqa: PLC0415 - likewise
        from node.keys.store import KeyStore  # noqa: PLC0415 - likewise

        settings = settings_of(config)
        means = Means(load_engine(settings.engine), passphrase(), os.urandom, lambda: time.time_ns() // 1_000_000)
        with (
            KeyStore.open(renewed, means, exclusive=False) as other,
            KeyStore.open(settings.keys_directory, means) as own,
        ):
            _show(output, own.adopt(other))
        output.note("Start the node; the keys that were replaced retire by themselves.")


def _show(output: Output, manifest: Manifest) -> None:
    rotation = manifest.rotation
    document = {
        "member": manifest.member_id,
        "keys": [
            {
                "kind": one.kind.value,
                "number": one.number,
                "state": one.state.value,
                "digest": one.digest.hex(),
                "since": write_time(one.since_ms),
            }
            for one in manifest.keys
        ],
        "rotation": rotation
        and {
            "kind": rotation.kind.value,
            "number": rotation.number,
            "step": rotation.step.value,
            "mode": rotation.mode.value,
            "begun": write_time(rotation.begun_ms),
        },
    }
    rows = [[one.kind, one.number, one.state, write_time(one.since_ms), one.digest.hex()] for one in manifest.keys]
    output.result(
        document,
        table(f"Keys of {manifest.member_id}", ["kind", "number", "state", "since", "digest"], rows, right=["number"]),
    )
    if rotation is not None:
        output.note(
            f"The rotation to {rotation.kind} {rotation.number} is {rotation.step}; `kiteline keys commit` ends it, `kiteline keys undo` takes it back."
        )
