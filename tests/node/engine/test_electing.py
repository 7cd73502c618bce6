"""A network that runs gets one validator more, and one less, by the votes of those that it has; too few are left alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crypto.errors import KeyInvalid
from node.chain.network import load_network
from node.cli.output import Exit
from node.engine.control import ask
from node.engine.description import NODE_FILE, load_engine
from node.engine.electing import Electorate, describe
from node.engine.founding import FOUNDERS, HOMES, numbers
from node.engine.growing import join
from node.engine.watching import look, makes_blocks
from node.errors import ConfigurationInvalid, ValidatorsTooFew, ValidatorUnknown
from scripts.processes import Child, free_ports
from tests.node.cli.desk import PASSPHRASE, kiteline
from tests.node.engine import voting_engine
from tests.node.engine.test_running import wait_until

pytestmark = pytest.mark.process

SECRET = PASSPHRASE.decode()
START_SECONDS = 60.0
NETWORK = """
name = "voting"
chain_id = 7
endpoints = ["http://127.0.0.1:1"]
[finality]
rule = "depth"
blocks = 3
[fees]
rule = "zero"
[header]
rule = "none"
[poll]
interval_milliseconds = 100
[engine]
program = "voting-engine"
validators = 3
files = ["genesis.json"]
arguments = ["serve", "{port}", "{home}", "{account}"]
block_seconds = 1
[engine.votes]
quorum = "more-than-half"
list = ["list", "{home}"]
add = ["vote", "{home}", "{account}", "{candidate}", "yes"]
remove = ["vote", "{home}", "{account}", "{candidate}", "no"]
"""
# The same network with votes by JSON-RPC, and validators that sign blocks with the key of their connections.
BY_RPC = (
    NETWORK[: NETWORK.index("[engine.votes]")].replace("validators = 3", 'validators = 3\nsealing_key = "node-key"')
    + """
[engine.votes]
quorum = "two-thirds"
list = { method = "votes_list", params = [] }
add = { method = "votes_cast", params = ["{candidate}", true] }
remove = { method = "votes_cast", params = ["{candidate}", false] }
"""
)


@dataclass(frozen=True)
class Place:
    """A network that runs: its state directory, its network file and its program."""

    state: Path
    file: Path
    program: Path

    def electorate(self, secret: str = SECRET) -> Electorate:
        """Whoever changes its validators."""
        return Electorate(self.state, secret, random=os.urandom)

    def kill(self, number: int) -> None:
        """Kill a validator, and wait until the network knows."""
        os.kill(describe(self.state).validator(number).pid, signal.SIGKILL)
        wait_until(lambda: not describe(self.state).validator(number).alive)

    def validators(self) -> list[str]:
        """The accounts that the chain itself has."""
        with voting_engine.chain(self.state / HOMES / "1") as chain:
            return list(chain["validators"])


@pytest.fixture
def network() -> str:
    """The network file of the place."""
    return NETWORK


@pytest.fixture
def place(tmp_path: Path, network: str) -> Iterator[Place]:
    """Three validators, run by the command itself."""
    program = tmp_path / "bin" / "voting-engine"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {voting_engine.__file__} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    file = tmp_path / "network.toml"
    file.write_text(network, encoding="utf-8")
    # The founders' digits, with nothing between: the engine's own list is made of it.
    (tmp_path / "genesis.json").write_text('"${validator_accounts}"', encoding="ascii")
    ports = free_ports(32)
    options = ["--network", str(file), "--state", str(tmp_path / "state"), "--json"]
    options += ["--port", str(ports), "--peer-port", str(ports + 16)]
    environment = {
        "KITELINE_PASSPHRASE": SECRET,
        "KITELINE_PASSPHRASE_FILE": "",
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    log = tmp_path / "up.log"
    child = Child("up", [sys.executable, "-m", "node.cli.main", "chain", "up", *options], log, environment)
    try:
        child.wait_until(lambda: log.read_bytes().startswith(b"{"), START_SECONDS)
        yield Place(tmp_path / "state", file, program)
    finally:
        assert child.stop() == 0, child.log_end()


def test_four_become_of_three_and_three_of_four_and_a_number_is_used_again(place: Place) -> None:
    founders = (place.state / HOMES / FOUNDERS).read_text(encoding="ascii")
    added = place.electorate().add()
    assert (added.number, added.account in place.validators(), len(place.validators())) == (4, True, 4)
    assert describe(place.state).validator(4).alive
    assert (place.state / HOMES / FOUNDERS).read_text(encoding="ascii") == founders
    genesis = {(place.state / HOMES / str(number) / "genesis.json").read_bytes() for number in numbers(place.state)}
    assert len(genesis) == 1, "the newcomer has the founders' genesis"
    endpoints = tomllib.loads((place.state / NODE_FILE).read_text(encoding="utf-8"))["endpoints"]
    assert endpoints == [process.endpoint for process in describe(place.state).processes]
    assert len(endpoints) == 4

    leaving = describe(place.state).validator(2)
    gone = place.electorate().remove(2)
    assert gone == place.state / "removed" / f"2-{leaving.account}"
    assert (gone / "keystore" / "account.json").is_file()
    assert not Path(f"/proc/{leaving.pid}").exists()
    assert leaving.account not in place.validators()
    assert numbers(place.state) == [1, 3, 4]
    assert place.electorate().add().number == 2


@pytest.mark.parametrize("network", [BY_RPC], ids=["json-rpc"])
def test_votes_are_calls_of_the_json_rpc_where_the_network_file_says_so(place: Place) -> None:
    added = place.electorate().add()
    assert added.account in place.validators()
    # Two thirds of four are three, so that one may be down, and is voted out by the rest.
    place.kill(2)
    gone = describe(place.state).validator(2).account
    place.electorate().remove(2)
    assert gone not in place.validators()
    # Of the three that are left two must run.
    place.kill(3)
    with pytest.raises(ValidatorsTooFew, match="without validator 1 there are 2 validators, of which 1 run"):
        place.electorate().remove(1)


def test_without_a_majority_nothing_is_changed_and_a_restarted_one_brings_it_back(place: Place) -> None:
    rules, before = load_network(place.file), place.validators()
    place.kill(2)
    with pytest.raises(ValidatorsTooFew, match="without validator 1 there are 2 validators, of which 1 run"):
        place.electorate().remove(1)
    assert makes_blocks(look(describe(place.state), rules), rules, 1)
    place.kill(3)
    with pytest.raises(ValidatorsTooFew, match="1 of 3 validators run; to vote and to make blocks takes 2"):
        place.electorate().add()
    views = look(describe(place.state), rules)
    assert [(view.process.alive, view.height is None) for view in views] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    ticks = iter(range(100))
    assert not makes_blocks(views, rules, 1, monotonic=lambda: next(ticks), sleep=lambda _: None)
    # A block that was on its way is no proof that more will come.
    with voting_engine.chain(place.state / HOMES / "1") as chain:
        chain["height"] += 1
    ticks = iter(range(100))
    assert not makes_blocks(views, rules, 1, monotonic=lambda: next(ticks), sleep=lambda _: None)
    assert (place.validators(), numbers(place.state)) == (before, [1, 2, 3])

    started = place.electorate().restart(3)
    assert describe(place.state).validator(3).pid == started.pid
    assert makes_blocks(look(describe(place.state), rules), rules, 1)
    # One that is down is voted out by those that run.
    place.electorate().remove(2)
    assert numbers(place.state) == [1, 3]


def test_the_commands_say_how_the_network_is_and_end_with_the_code_for_it(place: Place) -> None:
    state = ["--state", str(place.state)]
    environment = {"KITELINE_PASSPHRASE": SECRET}
    healthy = kiteline("chain", "status", *state, "--json", environment=environment)
    document = json.loads(healthy.out)
    assert (healthy.code, document["makes_blocks"], document["network"]) == (Exit.DONE, True, "voting")
    assert [(one["number"], one["alive"], one["peers"]) for one in document["processes"]] == [
        (number, True, 1) for number in (1, 2, 3)
    ]
    assert {one["account"] for one in document["processes"]} == set(place.validators())
    second = kiteline(
        *("chain", "up", "--network", str(place.file), *state, "--json"),
        environment={**environment, "PATH": f"{place.program.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert (second.code, json.loads(second.out)["error"]["reason"]) == (Exit.REFUSED, "NETWORK_HELD")
    refused = kiteline("chain", "remove-validator", "7", *state, "--json", environment=environment)
    assert (refused.code, json.loads(refused.out)["error"]["reason"]) == (Exit.REFUSED, "VALIDATOR_UNKNOWN")

    place.kill(1)
    place.kill(3)
    stuck = kiteline("chain", "status", *state, "--json", environment=environment)
    document = json.loads(stuck.out)
    assert (stuck.code, document["makes_blocks"]) == (Exit.UNAVAILABLE, False)
    assert [one["alive"] for one in document["processes"]] == [False, True, False]
    shown = kiteline("chain", "restart-validator", "3", *state, environment=environment)
    assert (shown.code, "validator 3" in shown.out) == (Exit.DONE, True)

    assert ask(place.state, "describe")["pid"] == document["pid"]
    with pytest.raises(ValidatorUnknown):
        ask(place.state, "end", 7)
    log = (place.state.parent / "up.log").read_text(encoding="utf-8")
    for said in (
        "validator 1 ended with code -9; 2 go on",
        "asked to restart validator 3",
        "refused: VALIDATOR_UNKNOWN",
    ):
        assert said in log

    ended = kiteline("chain", "down", *state, "--json", environment=environment)
    assert ended.code == Exit.DONE
    assert not Path(f"/proc/{document['processes'][1]['pid']}").exists()
    for command in ("down", "status"):
        nothing = kiteline("chain", command, *state, "--json", environment=environment)
        assert (nothing.code, json.loads(nothing.out)["error"]["reason"]) == (
            Exit.UNAVAILABLE,
            "NETWORK_NOT_RUNNING",
        )


def test_what_was_cut_short_is_taken_up_again(place: Place) -> None:
    engine = load_engine(place.file)
    assert join(engine, place.program, place.state, SECRET, random=os.urandom) == 4
    assert place.electorate().add().number == 4, "the one that was made, and no fifth"
    assert numbers(place.state) == [1, 2, 3, 4]
    # Voted out, and then the command ended.
    account = describe(place.state).validator(4).account
    for voter in describe(place.state).processes[:3]:
        voting_engine.vote(Path(voter.values["home"]), voter.account, account, "no")
    assert account not in place.validators()
    place.electorate().remove(4)
    assert numbers(place.state) == [1, 2, 3]


def test_what_is_not_there_or_does_not_fit_is_refused_and_changes_nothing(place: Place) -> None:
    before = place.validators()
    for act in (place.electorate().remove, place.electorate().restart):
        with pytest.raises(ValidatorUnknown, match="there is no validator 7; there are 1, 2, 3"):
            act(7)
    with pytest.raises(KeyInvalid):
        place.electorate("another").add()
    # Three blocks are final for four and five validators, not for six.
    place.file.write_text(NETWORK.replace("blocks = 3", "blocks = 2"), encoding="utf-8")
    with pytest.raises(ConfigurationInvalid, match=r"with 4 validators finality\.blocks .* must be 3 at least"):
        place.electorate().add()
    place.file.write_text(NETWORK[: NETWORK.index("[engine.votes]")], encoding="utf-8")
    with pytest.raises(ConfigurationInvalid, match=r"has no \[engine\.votes\]"):
        place.electorate().add()
    assert (place.validators(), numbers(place.state)) == (before, [1, 2, 3])
    assert json.loads((place.state / HOMES / FOUNDERS).read_text(encoding="ascii"))["accounts"] == before
