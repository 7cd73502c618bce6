"""What is to be started: one process, or a validator each of a state directory that is made if it is new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node.engine.description import EngineDescription
from node.engine.founding import (
    ADDRESS,
    HOMES,
    LOG,
    Ports,
    found,
    founded,
    open_validators,
    public_values,
    read_founders,
    secret_values,
    write_files,
)
from node.errors import ConfigurationInvalid


@dataclass(frozen=True)
class Plan:
    """A process to start.

    Attributes:
        name: for people.
        arguments: with their placeholders.
        values: what stands for them, secrets left out.
        port: of its JSON-RPC.
        log: where what it prints goes; None for our own standard error.
        secrets: opens its secrets for it: what stands for their placeholders, and the descriptors that it inherits for them.
        number: the validator's; 0 for a process without validators.
        rpc_path: of its JSON-RPC.
        ready_path: what answers 200 when it is ready; empty where its JSON-RPC tells.
    """

    name: str
    arguments: Sequence[str]
    values: Mapping[str, str]
    port: int
    log: Path | None
    secrets: Callable[[], AbstractContextManager[tuple[dict[str, str], list[int]]]]
    number: int = 0
    rpc_path: str = ""
    ready_path: str = ""

    @property
    def endpoint(self) -> str:
        """Where its JSON-RPC is."""
        return f"http://{ADDRESS}:{self.port}{self.rpc_path}"

    @property
    def ready_address(self) -> str:
        """What answers 200 when it is ready; empty where its JSON-RPC tells."""
        return f"http://{ADDRESS}:{self.port}{self.ready_path}" if self.ready_path else ""


def count_processes(engine: EngineDescription, state: Path, asked: int | None) -> int:
    """How many processes to start: what was asked for, what the directory was made for, or what the network file says.

    Raises:
        ConfigurationInvalid: the engine is one process, the directory was made for another number, or that is too few.
    """
    if not engine.validators:
        if asked not in {None, 1}:
            raise ConfigurationInvalid(
                f"{engine.program} is one process; a network of several validators has `validators` in its [engine]"
            )
        return 1
    existing = founded(state)
    if existing and asked not in {None, existing}:
        raise ConfigurationInvalid(f"{state} was made for {existing} validators; start those, or use another directory")
    if asked is not None and asked < engine.fewest:
        raise ConfigurationInvalid(f"{engine.program} does not get ready with fewer than {engine.fewest} validators")
    return existing or asked or engine.validators


def least_height(engine: EngineDescription, count: int) -> int:
    """Blocks that each process must have for the network to be ready.

    As many as there are validators, since none can make so many without the others. Where a process says itself that it is ready,
    none: there are engines that make no block while nobody wants one.
    """
    return count if engine.validators and not engine.ready_path else 0


def plan_process(engine: EngineDescription, state: Path, port: int) -> Plan:
    """The one process of an engine without validators."""
    values = {
        "port": str(port),
        "chain_id": str(engine.chain_id),
        "home": str(state),
        "state": str(state / "state.json"),
    }
    return Plan(
        engine.program,
        engine.arguments,
        values,
        port,
        None,
        lambda: nullcontext(({}, [])),
        rpc_path=engine.rpc_path,
        ready_path=engine.ready_path,
    )


def plan_validators(  # noqa: PLR0913, PLR0917 (everything that a network of one machine is made of)
    engine: EngineDescription,
    program: Path,
    state: Path,
    count: int,
    passphrase: str,
    ports: Ports,
    *,
    random: Callable[[int], bytes],
    clock: Callable[[], float],
    made: Callable[[int], None] = lambda _: None,
) -> list[Plan]:
    """The validators of a directory, which are made first if there are none.

    Args:
        engine: what kind of network.
        program: the engine's program, which may have to prepare something.
        state: an existing directory, by its whole path.
        count: from `count_processes`.
        passphrase: opens the keys.
        ports: the first of each kind.
        random: gives so many random bytes.
        clock: Unix time, s.
        made: told how many new validators are ready.

    Raises:
        ChainProgramFailed, ChainProgramUnavailable, FileUnusable: the directory cannot be made.
        KeyInvalid, KeyFileExposed: the keys do not open.
    """
    if not founded(state):
        found(engine, program, state, count, passphrase, random=random, clock=clock, made=made)
    validators = open_validators(engine, state / HOMES, passphrase, ports)
    write_files(engine, validators, read_founders(state / HOMES))
    return [
        Plan(
            f"validator {validator.number}",
            engine.arguments,
            public_values(engine, validator, validators),
            validator.rpc_port,
            validator.home / LOG,
            partial(secret_values, validator, passphrase),
            validator.number,
            engine.rpc_path,
            engine.ready_path,
        )
        for validator in validators
    ]
