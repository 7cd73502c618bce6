"""What the command that runs a network does for others that ask it: say what runs, start a validator, end one.

It alone starts and ends processes, so that none outlives it. Which validators there are is said by the state directory; what makes one a
validator of the network, the votes of the others, is none of its business (node.engine.electing).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.engine.control import Answer
from node.engine.description import EngineDescription
from node.engine.founding import Ports, numbers
from node.engine.plans import plan_validators
from node.engine.running import RunningNetwork
from node.errors import ValidatorUnknown


@dataclass(frozen=True)
class Running:
    """A process as the owner of the network describes it.

    Attributes:
        number: the validator's; 0 for a process without validators.
        values: what stands for the placeholders of its arguments, secrets left out.
    """

    name: str
    number: int
    pid: int
    alive: bool
    endpoint: str
    log: str
    values: Mapping[str, str]

    @property
    def account(self) -> str:
        """The account that it makes blocks with, 0x and lower-case digits; empty without one."""
        return self.values.get("account", "").lower()


@dataclass(frozen=True)
class Description:
    """A network that runs. `file`: the network file that it was started from; `program`: its engine's program."""

    pid: int
    network: str
    file: Path
    program: Path
    ports: Ports
    processes: tuple[Running, ...]

    def validator(self, number: int) -> Running:
        """One validator. Raises ValidatorUnknown."""
        for process in self.processes:
            if process.number == number:
                return process
        known = ", ".join(str(process.number) for process in self.processes if process.number) or "none"
        raise ValidatorUnknown(f"there is no validator {number}; there are {known}", number=number)


class Owner:
    """Answers for a running network; for the thread that started it.

    Args:
        running: its processes.
        network: its name.
        file: the network file, by its whole path.
        engine: how its processes are started.
        program: the engine's program.
        state: the state directory.
        passphrase: opens the validators' keys.
        ports: the first of each kind.
        say: told what was asked, for the operator's eyes.
    """

    def __init__(  # noqa: PLR0913 (everything that a network of one machine is made of)
        self,
        running: RunningNetwork,
        *,
        network: str,
        file: Path,
        engine: EngineDescription,
        program: Path,
        state: Path,
        passphrase: str,
        ports: Ports,
        say: Callable[[str], None],
    ) -> None:
        self._running = running
        self._network = network
        self._file = file
        self._engine = engine
        self._program = program
        self._state = state
        self._passphrase = passphrase
        self._ports = ports
        self._say = say

    def handle(self, ask: str, number: int) -> Answer:
        """Answer a request of node.engine.control. Raises ValidatorUnknown, and what a start raises."""
        if ask != "describe":
            self._say(f"asked to {ask} validator {number}")
            if number not in numbers(self._state):
                raise ValidatorUnknown(f"there is no validator {number} in {self._state}", number=number)
        if ask == "restart":
            plans = plan_validators(
                self._engine,
                self._program,
                self._state,
                0,
                self._passphrase,
                self._ports,
                random=os.urandom,
                clock=time.time,
            )
            self._running.start(next(plan for plan in plans if plan.number == number))
        elif ask == "end":
            self._running.end(number)
        return self._describe()

    def _describe(self) -> Answer:
        alive = self._running.alive
        return {
            "pid": os.getpid(),
            "network": self._network,
            "file": str(self._file),
            "program": str(self._program),
            "ports": [self._ports.rpc, self._ports.peer],
            "processes": [
                {
                    "name": plan.name,
                    "number": plan.number,
                    "pid": pid,
                    "alive": pid in alive,
                    "endpoint": plan.endpoint,
                    "log": str(plan.log or ""),
                    "values": dict(plan.values),
                }
                for plan, pid in self._running.processes
            ],
        }


def read_description(answer: dict[str, Any]) -> Description:
    """What `Owner` answered."""
    return Description(
        answer["pid"],
        answer["network"],
        Path(answer["file"]),
        Path(answer["program"]),
        Ports(*answer["ports"]),
        tuple(Running(**process) for process in answer["processes"]),
    )
