"""`kiteline chain up`: a network of one process or of several validators on this machine, until interrupted."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from node.cli.output import Output, table, write_file
from node.cli.session import JSONOption, passphrase, reporting
from node.errors import ConfigurationInvalid, FileUnusable, PortTaken

if TYPE_CHECKING:
    from node.engine.description import EngineDescription
    from node.engine.plans import Plan
    from node.engine.running import RunningNetwork

NETWORKS = Path(__file__).resolve().parent.parent.parent / "network_configs"
LAST_PORT = 65_535


def up(
    network: Annotated[str, typer.Option(help="Network file, or the name of a folder of network_configs.")],
    state: Annotated[Path, typer.Option(help="Directory that keeps the chain's state.")],
    validators: Annotated[
        int | None,
        typer.Option(min=1, max=16, help="Validators to start, where the network has some.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=LAST_PORT, help="Port of the first process; others follow it.")
    ] = 8545,
    peer_port: Annotated[
        int,
        typer.Option(min=1, max=LAST_PORT, help="Port on which the first validator meets its peers; others follow it."),
    ] = 30303,
    as_json: JSONOption = False,
) -> None:
    """Run a network on this machine until interrupted, with its state on disk. Its engine is built first where it is not installed."""
    with reporting(as_json=as_json) as output, ExitStack() as holding:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupted)
        # web3 takes a second to import.
        from node.chain.network import load_network  # noqa: PLC0415
        from node.engine.control import Control, running_in  # noqa: PLC0415
        from node.engine.description import NODE_FILE, load_engine, node_file  # noqa: PLC0415
        from node.engine.founding import Ports, numbers  # noqa: PLC0415
        from node.engine.owning import Owner  # noqa: PLC0415
        from node.engine.plans import count_processes, least_height, plan_process  # noqa: PLC0415
        from node.engine.running import RunningNetwork  # noqa: PLC0415

        file = _network_file(network).resolve()
        engine, rules = load_engine(file), load_network(file)
        count = count_processes(engine, state, validators)
        secret = _secret() if engine.validators else ""
        state = _made(state)
        holding.enter_context(running_in(state))
        places = [number - 1 for number in numbers(state) or range(1, count + 1)]
        _check_ports(
            [first + place for first in ([port, peer_port] if engine.validators else [port]) for place in places]
        )
        program = _program(output, engine)
        if engine.validators:
            plans = _validators(output, engine, program, state, count, secret, port, peer_port)
        else:
            plans = [plan_process(engine, state, port)]
        with RunningNetwork(program, plans, rules) as running:
            with output.progress("processes answer", count) as bar:
                running.wait_until_ready(bar.to)
            running.settle(engine.settle)
            height = least_height(engine, count)
            if height:
                with output.progress("processes make blocks", count) as bar:
                    running.wait_until_ready(bar.to, least_height=height)
            write_file(state / NODE_FILE, node_file(file, [plan.endpoint for plan in plans]).encode())
            # The log of a network: with --json too, since the document on standard output is whole by now.
            say = partial(output.asides.print, style="dim", markup=False)
            owner = Owner(
                running,
                network=rules.name,
                file=file,
                engine=engine,
                program=program,
                state=state,
                passphrase=secret,
                ports=Ports(port, peer_port),
                say=say,
            )
            try:
                with Control(state, running.call, owner.handle, lambda one: say(f"refused: {one.reason} {one}")):
                    _show(output, rules.name, state, running, paid=engine.treasury)
                    running.wait(
                        lambda one: say(f"{one.plan.name} ended with code {one.code}; {one.left} go on without it")
                    )
            except KeyboardInterrupt:
                output.note("stopping")


def _network_file(name: str) -> Path:
    """A file of that name, or that of the network that ships under it."""
    if Path(name).is_file():
        return Path(name)
    shipped = sorted(path.parent.name for path in NETWORKS.glob("*/network.toml"))
    if name in shipped:
        return NETWORKS / name / "network.toml"
    raise ConfigurationInvalid(f"there is no file {name}, and no network of that name; there are {', '.join(shipped)}")


def _secret() -> str:
    from node.engine.founding import one_line  # noqa: PLC0415 - likewise

    return one_line(passphrase())


def _made(state: Path) -> Path:
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise FileUnusable(f"{state} cannot be made: {cause.strerror}", path=state) from cause
    return state.resolve()


def _check_ports(ports: list[int]) -> None:
    """Raise PortTaken now, in words, rather than have a process end."""
    if max(ports) > LAST_PORT or len(set(ports)) != len(ports):
        raise ConfigurationInvalid(
            "the ports of the processes and those for their peers overlap, or go beyond the last"
        )
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as cause:
                raise PortTaken(f"port {port} cannot be listened on: {cause.strerror}", port=port) from cause


def _program(output: Output, engine: EngineDescription) -> Path:
    from node.engine.program import build_program, find_program  # noqa: PLC0415 - likewise

    program = find_program(engine)
    if program is not None:
        return program
    if engine.go is not None:
        output.note(f"{engine.program} is not here; it is built once from {engine.go.package}, which takes minutes")
    with output.progress("packages compiled", None) as bar:
        return build_program(engine, compiled=bar.to)


def _validators(
    output: Output,
    engine: EngineDescription,
    program: Path,
    state: Path,
    count: int,
    secret: str,
    port: int,
    peer_port: int,
) -> list[Plan]:
    from node.engine.founding import Ports  # noqa: PLC0415 - likewise
    from node.engine.plans import plan_validators  # noqa: PLC0415 - likewise

    with output.progress("validators made or opened", count) as bar:
        plans = plan_validators(
            engine,
            program,
            state,
            count,
            secret,
            Ports(port, peer_port),
            random=os.urandom,
            clock=time.time,
            made=bar.to,
        )
        bar.to(count)
    return plans


def _show(output: Output, name: str, state: Path, running: RunningNetwork, *, paid: bool) -> None:
    from node.engine.description import NODE_FILE  # noqa: PLC0415 - likewise
    from node.engine.founding import HOMES, TREASURY  # noqa: PLC0415 - likewise

    processes = running.processes
    treasury = state / HOMES / TREASURY
    document = {
        "network": name,
        "port": processes[0][0].port,
        "state": str(state),
        "network_file": str(state / NODE_FILE),
        "treasury": str(treasury) if paid else None,
        "processes": [
            {"name": plan.name, "pid": pid, "endpoint": plan.endpoint, "log": plan.log and str(plan.log)}
            for plan, pid in processes
        ],
    }
    rows = [[plan.name, pid, plan.endpoint, plan.log or "here"] for plan, pid in processes]
    output.result(document, table(name, ["process", "id", "endpoint", "log"], rows, right=["id"]))
    if paid:
        output.note(
            "Transactions are paid for here. Give each member's account money once: "
            f"kiteline chain fund admission.json --treasury {treasury} --network {state / NODE_FILE}"
        )
    output.note(f"Nodes reach it by {state / NODE_FILE}. Ctrl-C stops it; its state stays in {state}.")


def _interrupted(_signal: int, _frame: object) -> NoReturn:
    # Once is enough: what follows ends every process in bounded time.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
