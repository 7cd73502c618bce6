"""Anchors on each network that this machine can run, the index from nothing, and what evidence weighs.

An anchor is over when its block is final by the network's rule and indexed. The baseline signs the same call beforehand, hands it to the same
endpoint and asks for its receipt until there is one, in whatever block: no trial, no journal, no finality, no index.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount
from eth_account.types import TransactionDictType
from pytest_benchmark.fixture import BenchmarkFixture

from audit.verifier import read_file, verify
from audit.verify import read_trust
from crypto.engine import load_engine
from node.chain.account import account_of
from node.chain.adapter import Chain, open_chain
from node.chain.deployment import Deployment, load_deployment
from node.chain.endpoints import Endpoints
from node.chain.fees import present_fees
from node.chain.interfaces import load_interfaces
from node.chain.json_rpc import hexadecimal, read_logs, read_quantity
from node.chain.network import Network, load_network
from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, NETWORKS, LocalConsortium
from tests.bench.measure import Line, measure, note_latencies
from tests.support.keys import account_secret
from tests.support.networks import NAMES, require

pytestmark = [pytest.mark.bench, pytest.mark.process, pytest.mark.timeout(1_800)]

ALONE = 8  # anchors one after the other: each takes the network's whole way to finality
AT_ONCE = 128
SENDERS = 32
GAS = 300_000  # more than any anchor takes
EVENTS = 100_000
HEADS_A_CALL = 50
INDEXED_NETWORK = "embedded"


@dataclass(frozen=True)
class Party:
    """A network, and a member of a consortium on it whose node does not run."""

    consortium: LocalConsortium
    network: Network
    deployment: Deployment
    account: LocalAccount
    directory: Path

    def open(self, name: str) -> Chain:
        """The member's adapter, with stores of its own."""
        return open_chain(self.network, self.deployment, self.directory / name, self.account, clock=_now_ms)


@pytest.fixture(scope="module", params=NAMES)
def party(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Party]:
    """Each network that ships and can run here, with a member's account to send with."""
    require(request.param)
    directory = tmp_path_factory.mktemp(f"chain-{request.param}")
    file = NETWORKS / request.param / "network.toml"
    with LocalConsortium(directory / "consortium", [CIVIL_AFFAIRS, HEALTH, AUDIT], network=file) as consortium:
        assert consortium.nodes[AUDIT.slug].stop() == 0
        passphrase = (consortium.directory / "passphrase").read_bytes()
        account = account_of(account_secret(consortium.home(AUDIT) / "keys", passphrase, load_engine()))
        network = load_network(consortium.directory / "network.toml")
        yield Party(consortium, network, load_deployment(consortium.directory / "contracts.toml"), account, directory)


def test_raw_transaction(benchmark: BenchmarkFixture, party: Party) -> None:
    with closing(Endpoints(party.network, party.deployment)) as endpoints:
        anchors = load_interfaces()["Anchors"]
        nonce = count(read_quantity(endpoints.ask("eth_getTransactionCount", party.account.address, "latest")))
        fees = present_fees(party.network, endpoints)
        seconds: list[float] = []

        def send() -> None:
            call = anchors.call("anchor", secrets.token_bytes(32), 1, bytes([1]) * 32, bytes([2]) * 32)
            transaction: TransactionDictType = {
                "nonce": next(nonce),
                "gas": GAS,
                "value": 0,
                "data": call,
                "chainId": party.network.chain_id,
                "to": party.deployment.address("Anchors"),
                **fees,
            }
            signed = party.account.sign_transaction(transaction)
            begun = time.perf_counter()
            digest = endpoints.ask("eth_sendRawTransaction", hexadecimal(bytes(signed.raw_transaction)))
            while endpoints.ask("eth_getTransactionReceipt", digest) is None:
                time.sleep(0.01)
            seconds.append(time.perf_counter() - begun)

        line = Line("chain", _alone(party), "raw: send, ask for the receipt", is_baseline=True)
        measure(benchmark, line, send, {"operations": 1}, rounds=ALONE, warmup_rounds=1)
        note_latencies(benchmark, seconds[1:])


def test_anchors_one_after_the_other(benchmark: BenchmarkFixture, party: Party) -> None:
    with closing(party.open("alone")) as chain:
        chain.start()
        seconds: list[float] = []

        def anchor() -> None:
            begun = time.perf_counter()
            chain.writer.anchor(secrets.token_bytes(32), 1, bytes([1]) * 32, bytes([2]) * 32)
            seconds.append(time.perf_counter() - begun)

        line = Line("chain", _alone(party), "anchor: tried, journaled, sent, final, indexed")
        measure(benchmark, line, anchor, {"operations": 1}, rounds=ALONE, warmup_rounds=1)
        note_latencies(benchmark, seconds[1:])


def test_anchors_at_once(benchmark: BenchmarkFixture, party: Party) -> None:
    with closing(party.open("many")) as chain, ThreadPoolExecutor(SENDERS) as pool:
        chain.start()

        def anchor(_: int) -> None:
            chain.writer.anchor(secrets.token_bytes(32), 1, bytes([1]) * 32, bytes([2]) * 32)

        line = Line("chain", f"{AT_ONCE} anchors of one account at once, {party.network.name}", "anchor: likewise")
        measure(
            benchmark,
            line,
            lambda: list(pool.map(anchor, range(AT_ONCE))),
            {"operations": AT_ONCE},
            rounds=3,
            warmup_rounds=0,
        )


def test_evidence(benchmark: BenchmarkFixture, party: Party) -> None:
    consortium = party.consortium
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    file, trust_file = party.directory / "start.evidence", party.directory / "trust.json"
    options = ["--member", CIVIL_AFFAIRS.member_id, "--index", "0", "--to", str(file)]
    consortium.kiteline(CIVIL_AFFAIRS, "evidence", *options)
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "trust", "--to", str(trust_file))
    raw, trust = file.read_bytes(), read_trust(trust_file)
    (anchored,) = read_file(raw).proof.anchored
    seals = f", {1 + len(anchored.chain.later)} seals" if anchored.chain.later else ""
    line = Line("chain", f"verify evidence, {party.network.name}", f"verifier, {len(raw):,} bytes{seals}")

    def check() -> None:
        assert verify(raw, trust).proven

    measure(benchmark, line, check, {"operations": 1})


def test_catching_up(benchmark: BenchmarkFixture, party: Party) -> None:
    if party.network.name != INDEXED_NETWORK:
        pytest.skip(f"the index is filled from {INDEXED_NETWORK} alone")
    _make_events(party)
    log = Line(
        "chain", f"{EVENTS:,} events, {party.network.name}", "index from nothing: read, checked, applied, durable"
    )
    fresh = count()

    def catch_up() -> None:
        with closing(party.open(f"fresh-{next(fresh)}")) as chain:
            chain.view.refresh()
            assert sum(1 for _ in chain.index.scan(b"a")) >= EVENTS

    measure(benchmark, log, catch_up, {"records": EVENTS}, rounds=3, warmup_rounds=0)


def test_raw_events(benchmark: BenchmarkFixture, party: Party) -> None:
    """After the index, so that the events are there."""
    if party.network.name != INDEXED_NETWORK:
        pytest.skip(f"the index is filled from {INDEXED_NETWORK} alone")
    line = Line(
        "chain",
        f"{EVENTS:,} events, {party.network.name}",
        "raw: ask for the same ranges, decode JSON",
        is_baseline=True,
    )
    with closing(Endpoints(party.network, party.deployment)) as endpoints:
        head = read_quantity(endpoints.ask("eth_blockNumber"))
        address = hexadecimal(party.deployment.address("Anchors"))

        def read() -> None:
            found = 0
            for start in range(0, head + 1, party.network.range_blocks):
                stop = min(head, start + party.network.range_blocks - 1)
                asked = {"address": address, "fromBlock": hex(start), "toBlock": hex(stop)}
                found += len(read_logs(endpoints.ask("eth_getLogs", asked)))
            assert found >= EVENTS

        measure(benchmark, line, read, {"records": EVENTS}, rounds=3, warmup_rounds=0)


def _make_events(party: Party) -> None:
    """Put so many events on the chain, many in a call."""
    anchors = load_interfaces()["Anchors"]
    with closing(Endpoints(party.network, party.deployment)) as endpoints:
        nonce = read_quantity(endpoints.ask("eth_getTransactionCount", party.account.address, "latest"))
        gas_limit = 20_000_000
        log = secrets.token_bytes(32)
        for at in range(0, EVENTS, HEADS_A_CALL):
            heads = [(log, size, bytes([1]) * 32, bytes([2]) * 32) for size in range(at + 1, at + HEADS_A_CALL + 1)]
            transaction: TransactionDictType = {
                "nonce": nonce + at // HEADS_A_CALL,
                "gas": gas_limit,
                "value": 0,
                "data": anchors.call("anchorMany", heads),
                "chainId": party.network.chain_id,
                "to": party.deployment.address("Anchors"),
                "gasPrice": 0,
            }
            signed = party.account.sign_transaction(transaction)
            endpoints.ask("eth_sendRawTransaction", hexadecimal(bytes(signed.raw_transaction)))


def _alone(party: Party) -> str:
    return f"one anchor after another, {party.network.name}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
