"""Adding a validator to a network that runs, and removing one: the present ones vote, and nothing is done before they have.

Each step can be cut short and is then taken up by the same command: a validator that was made and is none yet is the one that `add` goes
on with, and one that was voted out and is still there is one that `remove` only has to clear away.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from node.chain.network import FinalityRule, Network, load_network
from node.engine.children import end_of, run
from node.engine.control import ask
from node.engine.description import NODE_FILE, EngineDescription, fill, load_engine, node_file
from node.engine.founding import numbers
from node.engine.growing import join, leave
from node.engine.owning import Description, Running, read_description
from node.engine.votes import CANDIDATE, Call, ProgramCall, Quorum, Votes, accounts_in
from node.engine.watching import call, height_of
from node.errors import (
    ChainProgramFailed,
    ChainUnavailable,
    ConfigurationInvalid,
    FileUnusable,
    ValidatorsTooFew,
)

CALL_SECONDS = 30.0
CATCH_UP_SECONDS = 600.0  # a long chain has to be read whole
VOTE_SECONDS = 120.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Clock:
    """Time, passed in: `monotonic` in seconds, and how to wait."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Electorate:
    """The validators of a running network, and how they are changed.

    Args:
        state: the state directory, by its whole path; the caller holds `changing` for it.
        passphrase: opens the validators' keys.
        random: gives so many random bytes.
        say: told each step, for people.
        clock: time.

    Raises:
        NetworkNotRunning: nothing runs there.
        ConfigurationInvalid: the network file cannot be read any more.
    """

    def __init__(
        self,
        state: Path,
        passphrase: str,
        *,
        random: Callable[[int], bytes],
        say: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self._state = state
        self._passphrase = passphrase
        self._random = random
        self._say = say
        self._clock = clock or Clock()
        self._running = read_description(ask(state, "describe"))
        self._rules: Network = load_network(self._running.file)
        self._engine: EngineDescription = load_engine(self._running.file)

    def add(self) -> Running:
        """Make one more validator, start it, and have the others vote it in. Gives it as it runs.

        Raises:
            ValidatorsTooFew: too few run to make the blocks that the votes stand in.
            ConfigurationInvalid: the network file does not say how validators vote, or its rule of finality is too weak for so many.
            ChainProgramFailed: a vote, or the new validator, failed, or it took too long. It is none then; the command can be repeated.
            KeyInvalid, FileUnusable: it could not be made.
        """
        signers = self.signers()
        voters = self._voters(signers)
        self._check_votes(voters, signers)
        self._check_finality(len(signers) + 1)
        number = self._unelected(signers)
        if number:
            self._say(f"validator {number} was made before and is none of the network's yet; it is taken up again")
        else:
            number = join(self._engine, self._running.program, self._state, self._passphrase, random=self._random)
            self._say(f"validator {number} is made")
        candidate = self._started(number)
        self._write_node_file()
        self._say(f"{candidate.name} has the chain; {len(voters)} vote on it")
        self._elect(self._votes.add, candidate.account, voters, wanted=True)
        return candidate

    def remove(self, number: int) -> Path:
        """Have the validators vote one out, end it, and move its files away. Gives where to.

        Raises:
            ValidatorUnknown: there is no such validator.
            ConfigurationInvalid: the network file does not say how validators vote.
            ValidatorsTooFew: those that are left and run could make no blocks, or too few run to vote.
            ChainProgramFailed: a vote failed, or it took too long. The command can be repeated.
        """
        leaving = self._running.validator(number)
        signers = self.signers()
        if leaving.account in signers:
            voters = self._voters(signers)
            left = signers - {leaving.account}
            staying = [process for process in voters if process.account in left]
            needed = self._votes.quorum.of(len(left))
            if not left or len(staying) < needed:
                raise ValidatorsTooFew(
                    f"without {leaving.name} there are {len(left)} validators, of which {len(staying)} run; "
                    f"to make blocks takes {max(needed, 1)}",
                    left=len(left),
                    running=len(staying),
                )
            self._check_votes(voters, signers)
            self._say(f"{len(voters)} vote on {leaving.name}")
            self._elect(self._votes.remove, leaving.account, voters, wanted=False)
        self._running = read_description(ask(self._state, "end", number))
        gone = leave(self._state, number, leaving.account)
        self._write_node_file()
        return gone

    def restart(self, number: int) -> Running:
        """Start a validator that is down, or one again that runs, and wait until it has the others' blocks. Raises as `add`."""
        self._running.validator(number)
        return self._started(number)

    def signers(self) -> frozenset[str]:
        """The accounts of the present validators, as one that runs names them. Raises ChainUnavailable if none does."""
        answers = (
            self._asked(process, self._votes.listing, "") for process in self._running.processes if process.alive
        )
        for code, text in answers:
            accounts = accounts_in(text)
            if code == 0 and accounts:
                return accounts
        raise ChainUnavailable(f"no process of the network of {self._state} says who its validators are")

    @property
    def _votes(self) -> Votes:
        if self._engine.votes is None:
            raise ConfigurationInvalid(
                f"{self._running.file} has no [engine.votes]: it does not say how the network's validators are changed"
            )
        return self._engine.votes

    def _voters(self, signers: frozenset[str]) -> list[Running]:
        return [process for process in self._running.processes if process.alive and process.account in signers]

    def _check_votes(self, voters: list[Running], signers: frozenset[str]) -> None:
        needed = max(self._votes.quorum.of(len(signers)), Quorum.MORE_THAN_HALF.of(len(signers)))
        if len(voters) < needed:
            raise ValidatorsTooFew(
                f"{len(voters)} of {len(signers)} validators run; to vote and to make blocks takes {needed}",
                running=len(voters),
                needed=needed,
            )

    def _check_finality(self, validators: int) -> None:
        """A block is final by depth when more than half must have built on it, which takes the more blocks the more there are."""
        depth = Quorum.MORE_THAN_HALF.of(validators)
        if self._rules.finality is FinalityRule.DEPTH and self._rules.depth < depth:
            raise ConfigurationInvalid(
                f"with {validators} validators finality.blocks of the network file must be {depth} at least, for every "
                f"member, before one is added; it is {self._rules.depth}",
                setting="finality.blocks",
            )

    def _unelected(self, signers: frozenset[str]) -> int:
        """The first validator that was made and is none of the network's; 0 if there is none."""
        elected = {process.number for process in self._running.processes if process.account in signers}
        return min(set(numbers(self._state)) - elected, default=0)

    def _started(self, number: int) -> Running:
        """Have it started, and wait until it is as high as the others are now; then settle it."""
        others = [process for process in self._running.processes if process.alive and process.number != number]
        target = max((height_of(process, self._rules) or 0 for process in others), default=0)
        self._running = read_description(ask(self._state, "restart", number))
        process = self._running.validator(number)

        def caught_up() -> bool:
            if not read_description(ask(self._state, "describe")).validator(number).alive:
                raise ChainProgramFailed(
                    f"{process.name} ended; {process.log} ends with:\n{end_of(Path(process.log))}", process=process.name
                )
            height = height_of(process, self._rules)
            return height is not None and height >= target

        self._wait(caught_up, CATCH_UP_SECONDS, f"{process.name} did not come to block {target}")
        if self._engine.settle:
            arguments = fill(self._engine.settle, process.values)
            code = run([str(self._running.program), *arguments], Path(process.log))
            if code != 0:
                raise ChainProgramFailed(f"{process.name} could not be settled, code {code}", process=process.name)
        return process

    def _elect(self, vote: Call, account: str, voters: list[Running], *, wanted: bool) -> None:
        """Have each vote, wait until it is done, and end the voting. `wanted`: whether the account is a validator then."""
        for process in voters:
            self._do(process, vote, account)
        self._wait(
            lambda: (account in self.signers()) is wanted,
            VOTE_SECONDS,
            f"the votes were cast and {account} is {'no' if wanted else 'still a'} validator",
        )
        if self._votes.close is not None:
            for process in voters:
                self._do(process, self._votes.close, account)

    def _do(self, process: Running, request: Call, account: str) -> None:
        code, text = self._asked(process, request, account)
        if code != 0:
            raise ChainProgramFailed(
                f"{process.name} could not vote, code {code}: {text.strip()}", process=process.name
            )

    def _asked(self, process: Running, request: Call, account: str) -> tuple[int, str]:
        """The exit code and what was answered, one beside the other; 1 for a call that was refused."""
        values = {**process.values, CANDIDATE: account}
        if isinstance(request, ProgramCall):
            return _output([str(self._running.program), *fill(request.arguments, values)])
        params = [value.format_map(values) if isinstance(value, str) else value for value in request.params]
        try:
            return 0, json.dumps(call(process, self._rules, request.method, *params))
        except ChainUnavailable as cause:
            return 1, str(cause)

    def _wait(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = self._clock.monotonic() + seconds
        while not holds():
            if self._clock.monotonic() > deadline:
                raise ChainProgramFailed(f"{otherwise} within {seconds:.0f} s")
            self._clock.sleep(_LOOK_SECONDS)

    def _write_node_file(self) -> None:
        """The nodes' network file names the validators that there are; a node reads it at its next start."""
        text = node_file(self._running.file, [process.endpoint for process in self._running.processes])
        try:
            (self._state / NODE_FILE).write_text(text, encoding="utf-8")
        except OSError as cause:
            raise FileUnusable(f"{self._state / NODE_FILE} cannot be written: {cause.strerror}") from cause


def describe(state: Path) -> Description:
    """The network that runs in a state directory. Raises NetworkNotRunning."""
    return read_description(ask(state, "describe"))


def _output(command: list[str]) -> tuple[int, str]:
    try:
        finished = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        return 1, type(cause).__name__
    return finished.returncode, (finished.stdout + finished.stderr).decode(errors="replace")
