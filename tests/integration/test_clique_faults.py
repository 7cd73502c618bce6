"""Clique that fails: validators that die until there is no majority, and a network cut in two whose halves both make blocks."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from crypto.errors import Refusal
from kiteline.exchange.v1 import department_pb2 as pb
from node.chain.abi import Event
from node.chain.deployment import load_deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head, header_at
from node.chain.interfaces import load_interfaces
from node.chain.json_rpc import hexadecimal, read_logs
from node.chain.network import load_network
from node.cli.output import Exit
from node.errors import ChainUnavailable
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium, MemberPlan
from tests.support.clique import CLIQUE, Validators, file_with
from tests.support.networks import require
from tests.support.peer_client import department, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]  # the engine may have to be built first

ROWS = 200
STALLED_SECONDS = 6  # the test's own, so that nobody has to wait for the operators' twenty
BOTH = (CIVIL_AFFAIRS, HEALTH)


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """Four validators and two members; whatever happens, no process stays."""
    require("clique")
    with LocalConsortium(tmp_path_factory.mktemp("faults"), BOTH, network=CLIQUE) as started:
        yield started


@pytest.fixture(scope="module")
def validators(consortium: LocalConsortium) -> Validators:
    """The four."""
    return Validators(consortium)


@pytest.fixture(scope="module")
def dataset(consortium: LocalConsortium, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A published dataset's id."""
    path = tmp_path_factory.mktemp("source") / "people.csv"
    lines = ["no,name", *(f"K{number:05},Person {number}" for number in range(ROWS))]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return str(
        consortium.kiteline(CIVIL_AFFAIRS, "publish", str(path), "--dataset", "people", "--key", "no")["dataset"]
    )


def restart(consortium: LocalConsortium, member: MemberPlan, network: Path | None = None, **chain: int) -> None:
    """Start a member's node anew with another network file, and other settings of the table `chain`.

    It is killed: asked to end, it would wait for a last anchor, and not every network here makes blocks.
    """
    consortium.nodes[member.slug].kill()
    path = consortium.config(member)
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    settings["chain"] |= chain
    if network is not None:
        settings["chain"]["network_file"] = str(network)
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    consortium.start_node(member)


def events(consortium: LocalConsortium, contract: str) -> list[tuple[Event, int]]:
    """Every event of a contract in final blocks and its block's time (Unix s), in the chain's order, as an endpoint tells it now."""
    network = load_network(consortium.directory / "network.toml")
    address = load_deployment(consortium.directory / "contracts.toml").address(contract)
    interface = load_interfaces()[contract]
    with closing(Endpoints(network)) as endpoints:
        head = final_head(network, endpoints)
        assert head is not None
        asked = {"address": hexadecimal(address), "fromBlock": "0x0", "toBlock": hex(head.number)}
        found = []
        for log in read_logs(endpoints.ask("eth_getLogs", asked)):
            event, header = interface.event(log), header_at(endpoints, log.block_number)
            if event is not None and header is not None:
                found.append((event, header.time))
        return found


def anchored_sizes(consortium: LocalConsortium, member: MemberPlan) -> list[int]:
    """Of the heads of a member's log, in the chain's order."""
    return [
        event.values[2]
        for event, _ in events(consortium, "Anchors")
        if event.values[1].rstrip(b"\0").decode() == member.member_id
    ]


def status_of(consortium: LocalConsortium, member: MemberPlan) -> dict[str, Any]:
    """What a node says of itself, also while the chain is out of reach, which the exit code tells."""
    try:
        document: dict[str, Any] = consortium.kiteline(member, "status")
    except CommandFailed as failed:
        if failed.code != Exit.UNAVAILABLE:
            raise
        document = failed.document
        assert not document["chain_reachable"]
    return document


def is_settled(consortium: LocalConsortium, member: MemberPlan, entries: int) -> bool:
    """Whether so many entries of a node's log are on the chain for good, and no transaction of it waits."""
    status = status_of(consortium, member)
    return bool(
        status["chain_reachable"] and not status["pending_transactions"] and status["anchored_entries"] >= entries
    )


def approved_at(consortium: LocalConsortium, grant: str) -> list[int]:
    """The times, Unix s, of the final blocks that have an approval of this grant."""
    return [
        time
        for event, time in events(consortium, "Grants")
        if event.name == "GrantApproved" and event.values[0] == bytes.fromhex(grant)
    ]


@dataclass
class Load:
    """What a department's program has done so far. `refusals`: by reason."""

    answers: int
    refusals: Counter[str]


@contextmanager
def queries(consortium: LocalConsortium, grant: str) -> Iterator[Load]:
    """One program of the requester that asks for one record after another."""
    load, stop = Load(0, Counter()), threading.Event()

    def ask() -> None:
        with department(consortium, HEALTH) as client:
            while not stop.is_set():
                wanted = pb.QueryRecordRequest(grant_id=bytes.fromhex(grant), key=f"K{load.answers % ROWS:05}")
                try:
                    answer = client.department.QueryRecord(wanted)
                except Refusal as refusal:
                    load.refusals[refusal.reason] += 1
                else:
                    assert answer.proven
                    load.answers += 1
                stop.wait(0.05)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()


def more_answers(load: Load, count: int = 10) -> None:
    """Wait until so many more questions were answered, with no refusal."""
    wanted = load.answers + count
    until(lambda: load.answers >= wanted or bool(load.refusals))
    assert not load.refusals


def kill(consortium: LocalConsortium, number: int) -> None:
    """End a validator as a power cut would."""
    process = consortium.chain_processes[number - 1]["pid"]
    os.kill(process, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{process}").exists())


def granted(consortium: LocalConsortium, dataset: str) -> str:
    """A grant that was requested and approved."""
    options = ["--purpose", "to test", "--quota", "100000"]
    grant = str(consortium.kiteline(HEALTH, "request", dataset, *options)["grant"])
    consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
    return grant


def test_an_exchange_outlives_one_validator_and_an_outage_and_nothing_is_lost_or_done_twice(
    consortium: LocalConsortium, validators: Validators, dataset: str
) -> None:
    network = consortium.directory / "network.toml"
    endpoints = [validators.endpoint(number) for number in validators.numbers]
    impatient = file_with(
        network,
        consortium.directory / "impatient.toml",
        endpoints,
        poll={"interval_milliseconds": 500, "stalled_seconds": STALLED_SECONDS},
    )
    for member in BOTH:
        restart(consortium, member, impatient, anchor_interval_seconds=2)
    grant = granted(consortium, dataset)
    with queries(consortium, grant) as load:
        more_answers(load)
        # One of four: a majority is left.
        kill(consortium, 4)
        height = validators.height(1)
        until(lambda: validators.height(1) >= height + 8)
        more_answers(load)
        anchored = consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
        assert anchored["transaction"]
        # Two of four: those that are left answer, and make no blocks.
        kill(consortium, 3)
        until(lambda: not any(status_of(consortium, member)["chain_reachable"] for member in BOTH))
        more_answers(load)
        assert not load.refusals
    trail = consortium.kiteline(HEALTH, "trail", grant)
    assert trail["holds"], trail["findings"]
    states = [step["anchor_state"] for step in trail["steps"]]
    assert states[0] == "final"
    assert {step["anchor_state"] for step in trail["steps"] if step["sequence"] == load.answers} == {"pending"}
    waiting = {member.slug: status_of(consortium, member) for member in BOTH}
    assert all(status["unanchored_seconds"] > 0 for status in waiting.values())
    assert all(status["log_entries"] > status["anchored_entries"] for status in waiting.values())

    # An outage that has lasted too long, also for a node that was started in it: the next question is refused, and says why.
    restart(consortium, CIVIL_AFFAIRS, max_outage_seconds=1)
    with queries(consortium, grant) as load:
        until(lambda: load.refusals[ChainUnavailable.reason] > 0)
        assert not load.answers
    restart(consortium, CIVIL_AFFAIRS, max_outage_seconds=86_400)
    with queries(consortium, grant) as load:
        more_answers(load, 3)

    # All validators again, on what they had on their disks.
    assert consortium.chain is not None
    consortium.chain.stop()
    consortium.start_chain()
    for member in BOTH:
        entries = waiting[member.slug]["log_entries"]
        until(lambda member=member, entries=entries: is_settled(consortium, member, entries))  # type: ignore[misc]
        sizes = anchored_sizes(consortium, member)
        assert sizes == sorted(set(sizes)), "an anchor is there twice, or out of order"
        assert sizes[-1] >= waiting[member.slug]["log_entries"]
    for member in BOTH:
        consortium.kiteline(member, "chain", "anchor")
    trail = consortium.kiteline(HEALTH, "trail", grant)
    assert trail["holds"], trail["findings"]
    # To read a log is logged, so the newest entries are the reader's own.
    assert {step["anchor_state"] for step in trail["steps"] if step["event"] != "AUDIT_READ"} == {"final"}
    sequences = Counter(step["sequence"] for step in trail["steps"] if step["event"] == "DELIVERY_SENT")
    assert set(sequences.values()) == {1}


class Cut:
    """A network whose two sides make blocks of their own; the provider sees one of them, the requester the other."""

    def __init__(self, consortium: LocalConsortium, validators: Validators, provider_rules: dict[str, object]) -> None:
        self._consortium = consortium
        self._validators = validators
        self.height = validators.stop_mining()
        self.lighter, self.heavier = validators.halves(self.height)
        directory = consortium.directory
        for member, side, rules in ((CIVIL_AFFAIRS, self.lighter, provider_rules), (HEALTH, self.heavier, {})):
            endpoints = [validators.endpoint(number) for number in side]
            poll = {"interval_milliseconds": 200}
            file = file_with(
                directory / "network.toml", directory / f"{member.slug}.toml", endpoints, poll=poll, **rules
            )
            restart(consortium, member, file, anchor_interval_seconds=86_400)
        validators.cut(self.lighter, self.heavier)
        self._waiting = self._count_waiting()

    def mine(self) -> None:
        """Let both sides make blocks, once a transaction more than there were when they were cut waits with each."""
        until(lambda: all(now > before for now, before in zip(self._count_waiting(), self._waiting, strict=True)))
        self._validators.start_mining()
        for side in (self.lighter, self.heavier):
            until(lambda side=side: self._block(side) is not None)  # type: ignore[misc]
            assert self._validators.transactions(side[0], self.height + 1) > 0
        self.lost = self._block(self.lighter)
        assert self.lost != self._block(self.heavier)

    def join(self) -> None:
        """Let the sides meet again, and wait until all have the same blocks and the lighter ones are gone."""
        self._validators.join(self.lighter, self.heavier)
        until(
            lambda: (
                all(self._validators.height(number) > self.height + 8 for number in self._validators.numbers)
                and len({self._block([number]) for number in self._validators.numbers}) == 1
            )
        )
        assert self._block(self.lighter) != self.lost, "no block was taken back, so nothing was tested"

    def _count_waiting(self) -> list[int]:
        return [self._validators.waiting(side[0]) for side in (self.lighter, self.heavier)]

    def _block(self, side: Sequence[int]) -> bytes | None:
        header = self._validators.header(side[0], self.height + 1)
        return None if header is None else header.hash


class Running:
    """A `kiteline` command that goes on beside the test."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def end(self) -> None:
        """Wait for its end; raise what it ended with."""
        until(lambda: self.is_done)
        if self.failure is not None:
            raise self.failure

    def _run(self, run: Callable[[], object]) -> None:
        try:
            run()
        except (CommandFailed, subprocess.SubprocessError, OSError) as failure:
            self.failure = failure


def check_done_once(consortium: LocalConsortium, grant: str) -> None:
    """One approval and each anchor once are on the chain, and keys went out under the grant after the block that has the approval."""
    (approved,) = approved_at(consortium, grant)
    for member in BOTH:
        sizes = anchored_sizes(consortium, member)
        assert sizes == sorted(set(sizes)), "an anchor is there twice, or out of order"
    assert consortium.kiteline(HEALTH, "fetch", grant)["records"] == ROWS
    trail = consortium.kiteline(CIVIL_AFFAIRS, "trail", grant)
    assert trail["holds"], trail["findings"]
    released = [step["time"] for step in trail["steps"] if step["event"] == "KEYS_RELEASED"]
    assert released
    assert all(datetime.fromisoformat(time).timestamp() > approved for time in released)


def test_what_was_in_blocks_that_were_taken_back_is_done_once_and_no_key_went_before(
    consortium: LocalConsortium, validators: Validators, dataset: str
) -> None:
    """By the network's own rule of finality, of which a fork of this kind never reaches the depth."""
    grant = str(consortium.kiteline(HEALTH, "request", dataset, "--purpose", "to test")["grant"])
    cut = Cut(consortium, validators, {})
    deciding = Running(lambda: consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve"))
    asking = Running(lambda: consortium.kiteline(HEALTH, "request", dataset, "--purpose", "to test"))
    cut.mine()
    # It is in a block of one side, and counts on neither.
    with pytest.raises(CommandFailed) as raised:
        consortium.kiteline(HEALTH, "fetch", grant)
    assert raised.value.reason == "GRANT_NOT_APPROVED"
    assert not deciding.is_done
    assert not asking.is_done
    cut.join()
    deciding.end()
    asking.end()
    check_done_once(consortium, grant)


def test_an_index_that_believed_in_blocks_that_were_taken_back_forgets_them_and_the_node_sends_again(
    consortium: LocalConsortium, validators: Validators, dataset: str
) -> None:
    """A provider whose operator set the finality too low: it takes the approval and the anchor back, and does both again."""
    grant = str(consortium.kiteline(HEALTH, "request", dataset, "--purpose", "to test")["grant"])
    cut = Cut(consortium, validators, {"finality": {"rule": "every-block"}})
    log = consortium.log(CIVIL_AFFAIRS)
    begun = log.stat().st_size
    deciding = Running(lambda: consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve"))
    # Another member's transaction makes the other side's block differ in more than its seal.
    asking = Running(lambda: consortium.kiteline(HEALTH, "request", dataset, "--purpose", "to test"))
    cut.mine()
    deciding.end()  # it counts at once here
    with pytest.raises(CommandFailed) as raised:
        consortium.kiteline(HEALTH, "fetch", grant)
    assert raised.value.reason == "GRANT_NOT_APPROVED"
    cut.join()
    asking.end()
    until(lambda: b"the chain was reorganised" in log.read_bytes()[begun:])
    until(lambda: len(approved_at(consortium, grant)) == 1)
    check_done_once(consortium, grant)
