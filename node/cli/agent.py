"""`kiteline keys agent`: the process that has the keys which the node's own must not have."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crypto.credit_code import check_credit_code
from node.cli.session import JSONOption, key_means, reporting

if TYPE_CHECKING:
    from crypto.errors import Refusal

app = typer.Typer(no_args_is_help=True, help="Keep the signing, encryption and account keys in a process of their own.")


@app.command(
    "create", epilog="Example: kiteline keys agent create /var/lib/kiteline-keys --member-id 11370700004258746X"
)
def create(
    directory: Annotated[Path, typer.Argument(help="Directory to make; must not exist or be empty.")],
    member_id: Annotated[str, typer.Option(help="Unified social credit code of the department.")],
    as_json: JSONOption = False,
) -> None:
    """Make the keys, under a passphrase of the agent's own."""
    with reporting(as_json=as_json) as output:
        from node.keys.agent import AGENT_KINDS  # noqa: PLC0415 - opens libraries that most commands do without
        from node.keys.store import KeyStore  # noqa: PLC0415 - likewise

        member = check_credit_code(member_id)
        with KeyStore.create(directory, member, key_means(os.environ.get("KITELINE_ENGINE")), AGENT_KINDS) as store:
            keys = {one.kind.value: one.digest.hex() for one in store.manifest.keys}
        output.result({"member": member, "directory": str(directory), "keys": keys})
        output.note("Start it with `kiteline keys agent serve`, then make the node with `kiteline init --key-agent`.")


@app.command(
    "serve",
    epilog="Example: kiteline keys agent serve /var/lib/kiteline-keys --socket /run/kiteline/keys.sock",
)
def serve(
    directory: Annotated[Path, typer.Argument(help="Directory that `kiteline keys agent create` made.")],
    socket: Annotated[Path, typer.Option(help="Unix socket to listen on; only its owner's processes are served.")],
    as_json: JSONOption = False,
) -> None:
    """Serve the keys to the node until it is asked to stop (SIGTERM or Ctrl-C)."""
    with reporting(as_json=as_json) as output:
        from node.keys.agent import KeyAgent  # noqa: PLC0415 - likewise
        from node.keys.store import KeyStore  # noqa: PLC0415 - likewise

        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        # A core file would have the keys in it.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        def say(operation: str, refusal: Refusal) -> None:
            output.asides.print(f"refused: {operation}: {refusal.reason} {refusal}", style="dim", markup=False)

        with (
            KeyStore.open(directory, key_means(os.environ.get("KITELINE_ENGINE"))) as store,
            KeyAgent(store, socket, say),
        ):
            output.result({"member": store.manifest.member_id, "socket": str(socket)})
            stop.wait()
        output.note("stopped")
