"""`kiteline chain`: run a chain, deploy the contracts, look, anchor now; membership is in `governing`, validators are in `steering`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kiteline.exchange.v1 import department_pb2 as pb
from node.cli import funding, governing, steering
from node.cli.connection import connected
from node.cli.output import Exit, pairs, write_file
from node.cli.session import DEFAULT_CONFIG, ConfigOption, JSONOption, passphrase, reporting, settings_of
from node.cli.starting import up

app = typer.Typer(no_args_is_help=True, help="The consortium's chain: run, fund, deploy, admit, propose, look, anchor.")


app.command(epilog="Example: kiteline chain up --network clique --validators 4 --state chain")(up)
app.command(epilog=steering.down_epilog)(steering.down)
app.command("add-validator", epilog=steering.add_epilog)(steering.add_validator)
app.command("remove-validator", epilog=steering.remove_epilog)(steering.remove_validator)
app.command("restart-validator", epilog=steering.restart_epilog)(steering.restart_validator)


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


app.command("fund", epilog=funding.fund_epilog)(funding.fund)
app.command("treasury", epilog=funding.treasury_epilog)(funding.treasury)
app.command("admit", epilog=governing.admit_epilog)(governing.admit)
app.command("proposals", epilog=governing.proposals_epilog)(governing.proposals)
app.add_typer(governing.propose, name="propose")
app.command("approve", epilog=governing.approve_epilog)(governing.approve)


@app.command(epilog="Example: kiteline chain status --json")
def status(
    state: Annotated[
        Path | None,
        typer.Option(
            help="Show the processes of the `kiteline chain up` of this state directory; no node is asked.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JSONOption = False,
) -> None:
    """Show how the node sees the chain, or how a network of this machine is. Ends with 3 while none answers, or no blocks are made."""
    if state is not None:
        with reporting(as_json=as_json) as output:
            steering.processes(output, state)
        return
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

        with output.progress("blocks read for their seals", None) as bar:
            document = trust_document(settings_of(config), passphrase(), governing.now_ms, bar.to)
        write_file(to, document.text.encode())
        output.result({"file": str(to), "members": document.members, "blocks": document.blocks})
        output.note(f"An auditor verifies with it: kiteline verify FILE --trust {to}")
