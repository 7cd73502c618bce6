"""`kiteline chain`: run the embedded chain, deploy the contracts, look, anchor now; membership is in `governing`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli import governing
from node.cli.connection import connected
from node.cli.output import Exit, pairs, spoken, write_file
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, passphrase, reporting, settings_of
from node.errors import ConfigurationInvalid, FileUnusable, PortTaken

app = typer.Typer(no_args_is_help=True, help="The consortium's chain: run, deploy, admit, propose, look, anchor.")
ROOT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS = 10


@app.command(epilog="Example: kiteline chain up --network network_configs/embedded/network.toml --state chain")
def up(
    network: Annotated[Path, typer.Option(help="Network file.", exists=True, dir_okay=False)],
    state: Annotated[Path, typer.Option(help="Directory that keeps the chain's state.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8545,
    as_json: JSONOption = False,
) -> None:
    """Run the network's engine on this machine until interrupted, with its state on disk."""
    with reporting(as_json=as_json) as output:
        name, program, arguments = _engine(network, state, port)
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise FileUnusable(f"{state} cannot be made: {cause.strerror}", path=state) from cause
        _check_port(port)
        output.result(
            {"network": name, "port": port, "state": str(state)},
            spoken(f"{name} on port {port}, state in {state}; Ctrl-C stops it"),
        )
        sys.stdout.flush()
        # Standard output is ours: with --json it is one document.
        child = subprocess.Popen([str(program), *arguments], stdout=sys.stderr)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.terminate()
            code = child.wait(STOP_SECONDS)
        if code not in {0, -signal.SIGTERM, -signal.SIGINT}:
            output.note(f"{program.name} ended with code {code}; what it printed above says why")
            raise typer.Exit(Exit.UNAVAILABLE)


@app.command(epilog="Example: kiteline chain deploy --founder civil/admission.json --config civil/kiteline.toml")
def deploy(
    founder: Annotated[list[Path], typer.Option(help="Admission file of a founding member; may be repeated.")],
    threshold: Annotated[int, typer.Option(min=1, help="Approvals that a change of membership needs.")] = 1,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Put the consortium's contracts on the chain and write the file that every member needs."""
    with reporting(as_json=as_json) as output:
        from node.app.consortium import deploy_consortium  # noqa: PLC0415 - web3 takes a second to import

        settings = settings_of(config)
        file = deploy_consortium(settings, passphrase(), founder, threshold, governing.now_ms)
        output.result({"contracts": str(file)})
        output.note(f"Hand {file.name} and the network file to every member; founders can run `kiteline serve` now.")


app.command("admit", epilog=governing.admit_epilog)(governing.admit)
app.command("proposals", epilog=governing.proposals_epilog)(governing.proposals)
app.add_typer(governing.propose, name="propose")
app.command("approve", epilog=governing.approve_epilog)(governing.approve)


@app.command(epilog="Example: kiteline chain status --json")
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Show how the node sees the chain. Ends with 3 while no endpoint of the chain answers."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.GetStatus(pb.GetStatusRequest())
        document = {
            "reachable": answer.chain_reachable,
            "chain_id": answer.chain_id,
            "block": answer.block_number,
            "pending_transactions": answer.pending_transactions,
            "log_entries": answer.log_size,
            "anchored_entries": answer.anchored_size,
        }
        output.result(document)
        if not answer.chain_reachable:
            output.note("No endpoint of the chain answers; the node goes on by itself when one does.")
            raise typer.Exit(Exit.UNAVAILABLE)


@app.command(epilog="Example: kiteline chain anchor")
def anchor(config: ConfigOption = DEFAULT_CONFIG, as_json: JSONOption = False) -> None:
    """Sign a checkpoint of the audit log and put it on the chain now rather than on schedule."""
    with reporting(as_json=as_json) as output, connected(config) as client:
        answer = client.department.AnchorNow(pb.AnchorNowRequest())
        note, transaction = answer.checkpoint_note.decode(), answer.transaction_hash.hex()
        size = note.split("\n")[1]
        output.result(
            {"checkpoint": note, "transaction": transaction},
            pairs({"anchored_entries": f"{int(size):,}", "transaction": transaction}),
        )


@app.command(epilog="Example: kiteline chain trust --to trust.json")
def trust(
    to: Annotated[Path, typer.Option(help="File to write.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Write what this department's own node knows from the chain, for `kiteline verify --trust` on a machine without network."""
    with reporting(as_json=as_json) as output:
        from node.app.consortium import trust_document  # noqa: PLC0415 - likewise

        document = trust_document(settings_of(config), passphrase(), governing.now_ms)
        write_file(to, document.text.encode())
        output.result({"file": str(to), "members": document.members, "blocks": document.blocks})
        output.note(f"An auditor verifies with it: kiteline verify FILE --trust {to}")


def _engine(network: Path, state: Path, port: int) -> tuple[str, Path, list[str]]:
    """The network's name, the engine's program and its arguments."""
    try:
        document = tomllib.loads(network.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ConfigurationInvalid(f"{network} cannot be read: {cause}") from cause
    engine = document.get("engine")
    if not isinstance(engine, dict):
        raise ConfigurationInvalid(f"{network} has no [engine]; this network is not run by one machine")
    try:
        name, program = str(document["name"]), ROOT / str(engine["program"])
        values = {"port": str(port), "chain_id": str(document["chain_id"]), "state": str(state / "state.json")}
        arguments = [str(argument).format(**values) for argument in engine["arguments"]]
    except (KeyError, TypeError, ValueError) as cause:
        raise ConfigurationInvalid(f"{network}: name, chain_id or [engine] is not complete") from cause
    if not program.exists():
        raise ConfigurationInvalid(f"{program} is not installed; run `make setup`")
    return name, program, arguments


def _check_port(port: int) -> None:
    """Raise PortTaken now, in words, rather than have the engine end."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as cause:
            raise PortTaken(f"port {port} cannot be listened on: {cause.strerror}", port=port) from cause
