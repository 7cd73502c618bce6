"""`kiteline chain down`, `add-validator`, `remove-validator`, `restart-validator`: what is asked of a network that `chain up` runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.output import Exit, Output, table
from node.cli.session import JSONOption, passphrase, reporting

if TYPE_CHECKING:
    from node.engine.electing import Electorate
    from node.engine.owning import Running
    from node.engine.watching import View

StateOption = Annotated[Path, typer.Option(help="State directory of a running `kiteline chain up`.")]
NumberArgument = Annotated[int, typer.Argument(help="The validator's number, from `kiteline chain status --state`.")]

down_epilog = "Example: kiteline chain down --state chain"
add_epilog = "Example: kiteline chain add-validator --state chain"
remove_epilog = "Example: kiteline chain remove-validator 5 --state chain"
restart_epilog = "Example: kiteline chain restart-validator 2 --state chain"


def down(state: StateOption, as_json: JSONOption = False) -> None:
    """End the network that runs in a state directory, and wait until all its processes have ended. Its state stays."""
    with reporting(as_json=as_json) as output:
        from node.engine.control import end_network  # noqa: PLC0415 - not every command needs it

        process = end_network(state)
        output.result({"state": str(state), "pid": process})
        output.note("It has ended; `kiteline chain up` on the same directory brings it back.")


def add_validator(state: StateOption, as_json: JSONOption = False) -> None:
    """Make one more validator in a running network, and have the present ones vote it in. Cut short, it is taken up by the next."""
    with reporting(as_json=as_json) as output:
        from node.engine.control import changing  # noqa: PLC0415 - likewise

        with changing(state):
            electorate = _electorate(output, state)
            added = electorate.add()
            _changed(output, electorate, added)
            output.note("Nodes find it in node-network.toml at their next start.")


def remove_validator(number: NumberArgument, state: StateOption, as_json: JSONOption = False) -> None:
    """Have the validators of a running network vote one out, and end it. What is left of it is moved out of the way."""
    with reporting(as_json=as_json) as output:
        from node.engine.control import changing  # noqa: PLC0415 - likewise

        with changing(state):
            electorate = _electorate(output, state)
            gone = electorate.remove(number)
            output.result(
                {"removed": number, "validators": len(electorate.signers()), "directory": str(gone)},
            )
            output.note(f"Its keys and its blocks are in {gone}; delete it when nobody asks for them any more.")


def restart_validator(number: NumberArgument, state: StateOption, as_json: JSONOption = False) -> None:
    """Bring back a validator of a running network that is down, or start it anew, and wait until it has all blocks."""
    with reporting(as_json=as_json) as output:
        from node.engine.control import changing  # noqa: PLC0415 - likewise

        with changing(state):
            started = _electorate(output, state).restart(number)
            output.result({"name": started.name, "number": number, "pid": started.pid, "endpoint": started.endpoint})


def processes(output: Output, state: Path) -> None:
    """Show the processes of a network of one machine. Ends with 3 while it makes no blocks."""
    # web3 takes a second to import.
    from node.chain.network import load_network  # noqa: PLC0415
    from node.engine.description import load_engine  # noqa: PLC0415
    from node.engine.electing import describe  # noqa: PLC0415
    from node.engine.watching import look, makes_blocks  # noqa: PLC0415

    running = describe(state)
    rules, engine = load_network(running.file), load_engine(running.file)
    views = look(running, rules)
    making = makes_blocks(views, rules, engine.block_seconds)
    document = {
        "network": running.network,
        "state": str(state),
        "pid": running.pid,
        "makes_blocks": making,
        "block": max((view.height or 0 for view in views), default=0),
        "processes": [_row(view) for view in views],
    }
    columns = ["process", "id", "alive", "endpoint", "block", "peers"]
    rows = [
        [
            view.process.name,
            view.process.pid,
            view.process.alive,
            view.process.endpoint,
            _said(view.height),
            _said(view.peers),
        ]
        for view in views
    ]
    output.result(document, table(running.network, columns, rows, right=["id", "block", "peers"]))
    if not making:
        output.note("No blocks are made. `kiteline chain restart-validator` brings back one that is down.")
        raise typer.Exit(Exit.UNAVAILABLE)


def _electorate(output: Output, state: Path) -> Electorate:
    from node.engine.electing import Electorate  # noqa: PLC0415 - web3 takes a second to import
    from node.engine.founding import one_line  # noqa: PLC0415 - likewise

    return Electorate(state.resolve(), one_line(passphrase()), random=os.urandom, say=output.note)


def _changed(output: Output, electorate: Electorate, added: Running) -> None:
    output.result(
        {
            "name": added.name,
            "number": added.number,
            "account": added.account,
            "pid": added.pid,
            "endpoint": added.endpoint,
            "validators": len(electorate.signers()),
        }
    )


def _row(view: View) -> dict[str, object]:
    process = view.process
    return {
        "name": process.name,
        "number": process.number,
        "pid": process.pid,
        "alive": process.alive,
        "account": process.account,
        "endpoint": process.endpoint,
        "block": view.height,
        "peers": view.peers,
        "log": process.log,
    }


def _said(value: int | None) -> str:
    return "–" if value is None else str(value)
