"""The processes of a network on this machine: start them, wait until the network is there, watch them, end them all."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from node.chain.endpoints import Endpoints
from node.chain.json_rpc import read_quantity
from node.chain.network import Network
from node.engine.children import end_of, run, spawn, stop
from node.engine.description import fill
from node.engine.plans import Plan
from node.errors import ChainMismatch, ChainProgramFailed, ChainProgramUnavailable, ChainUnavailable

READY_SECONDS = 90.0  # from nothing to blocks; a slow disk takes most of it
_LOOK_SECONDS = 0.2
_ANSWER_SECONDS = 5.0
_ENDED_WELL = {0, -signal.SIGTERM, -signal.SIGINT}


@dataclass(frozen=True)
class Ended:
    """A process that ended by itself. `left`: how many still run."""

    plan: Plan
    code: int
    left: int


@dataclass(frozen=True, eq=False)
class _Process:
    plan: Plan
    child: subprocess.Popen[bytes]


class RunningNetwork:
    """Processes of one network; a context manager that leaves none of them. For the main thread, but for `call`.

    Args:
        program: what runs.
        plans: with what, one for each process.
        network: the rules of the chain; its endpoints are not looked at.
    """

    def __init__(self, program: Path, plans: Sequence[Plan], network: Network) -> None:
        self._program = program
        self._plans = list(plans)
        self._network = network
        self._running: list[_Process] = []
        self._events: queue.SimpleQueue[_Process | Callable[[], None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        try:
            for plan in self._plans:
                self._running.append(_Process(plan, self._start(plan)))
        except BaseException:
            self.stop()
            raise
        for process in self._running:
            self._watch(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process; those that do not end in time are killed."""
        stop([process.child for process in self._running])

    @property
    def processes(self) -> list[tuple[Plan, int]]:
        """Each process's plan and id, of those too that ended by themselves."""
        return [(process.plan, process.child.pid) for process in self._running]

    @property
    def alive(self) -> set[int]:
        """The ids of the processes that run."""
        return {process.child.pid for process in self._running if process.child.poll() is None}

    def call(self, event: Callable[[], None]) -> None:
        """Have something done by the thread that waits: the kernel binds a process to the thread that starts it. Any thread may ask."""
        self._events.put(event)

    def start(self, plan: Plan) -> int:
        """Start one more process, or one again that is stopped first if it runs. Gives its id. Raises ChainProgramUnavailable."""
        self.end(plan.number)
        process = _Process(plan, self._start(plan))
        self._running = sorted([*self._running, process], key=lambda one: one.plan.number)
        self._watch(process)
        return process.child.pid

    def end(self, number: int) -> None:
        """End a validator's process and forget it, if there is one."""
        for process in self._running:
            if process.plan.number == number:
                stop([process.child])
        self._running = [process for process in self._running if process.plan.number != number]

    def wait_until_ready(
        self, ready: Callable[[int], None] = lambda _: None, *, least_height: int = 0, seconds: float = READY_SECONDS
    ) -> None:
        """Wait until every process serves the chain, with so many blocks.

        Args:
            ready: told how many do.
            least_height: blocks that each must have.
            seconds: for how long at most.

        Raises:
            ChainProgramFailed: a process ended, or the time is over.
            ChainMismatch: the state directory belongs to another chain.
        """
        deadline = time.monotonic() + seconds
        waiting = [process.plan for process in self._running]
        while True:
            waiting = [plan for plan in waiting if not self._is_ready(plan, least_height)]
            ready(len(self._running) - len(waiting))
            if not waiting:
                return
            for process in self._running:
                if process.child.poll() is not None:
                    raise self._failed(process.plan, process.child.returncode)
            if time.monotonic() > deadline:
                raise ChainProgramFailed(
                    f"{waiting[0].name} was not ready within {seconds:.0f} s{_printed(waiting[0])}",
                    process=waiting[0].name,
                )
            time.sleep(_LOOK_SECONDS)

    def settle(self, arguments: Sequence[str]) -> None:
        """Run the program once more beside each process, with the process's own values, to its end. Raises ChainProgramFailed."""
        for process in self._running:
            plan = process.plan
            if not arguments or plan.log is None:
                continue
            code = run([str(self._program), *fill(arguments, plan.values)], plan.log)
            if code != 0:
                raise ChainProgramFailed(
                    f"{plan.name} could not be settled, code {code}{_printed(plan)}", process=plan.name
                )

    def wait(self, ended: Callable[[Ended], None]) -> None:
        """Do what `call` was given until no process is left; `ended` is told of each that ends by itself while others go on.

        Raises:
            ChainProgramFailed: the last one ended otherwise than by being asked to.
        """
        left = list(self._running)
        while left:
            event = self._events.get()
            if not isinstance(event, _Process):
                before = self._running
                event()
                left = [process for process in self._running if process in left or process not in before]
            elif event in left:
                left.remove(event)
                if left:
                    ended(Ended(event.plan, event.child.returncode, len(left)))
                elif event.child.returncode not in _ENDED_WELL:
                    raise self._failed(event.plan, event.child.returncode)

    def _start(self, plan: Plan) -> subprocess.Popen[bytes]:
        try:
            with plan.secrets() as (secrets, descriptors):
                command = [str(self._program), *fill(plan.arguments, {**plan.values, **secrets})]
                if plan.log is None:
                    # Standard output is ours: with --json it is one document.
                    return spawn(command, output=sys.stderr.fileno(), descriptors=descriptors)
                with plan.log.open("ab") as log:
                    return spawn(command, output=log, descriptors=descriptors)
        except OSError as cause:
            raise ChainProgramUnavailable(f"{self._program} cannot be run: {cause.strerror}") from cause

    def _watch(self, process: _Process) -> None:
        def wait() -> None:
            process.child.wait()
            self._events.put(process)

        threading.Thread(target=wait, daemon=True, name=f"watch-{process.child.pid}").start()

    def _is_ready(self, plan: Plan, least_height: int) -> bool:
        endpoints = Endpoints(replace(self._network, endpoints=(plan.endpoint,)))
        try:
            endpoints.check()
            if plan.ready_address and not _answers(plan.ready_address):
                return False
            return read_quantity(endpoints.ask("eth_blockNumber")) >= least_height
        except ChainMismatch:
            raise
        except ChainUnavailable:
            return False
        finally:
            endpoints.close()

    def _failed(self, plan: Plan, code: int) -> ChainProgramFailed:
        return ChainProgramFailed(f"{plan.name} ended with code {code}{_printed(plan)}", process=plan.name, code=code)


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=_ANSWER_SECONDS).status_code == requests.codes.ok
    except requests.RequestException:
        return False


def _printed(plan: Plan) -> str:
    if plan.log is None:
        return "; what it printed above says why"
    return f"; {plan.log} ends with:\n{end_of(plan.log)}"
