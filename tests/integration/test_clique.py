"""A consortium on four real validators of Clique: anchored to the final block, proven offline, and up without one of them."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from eth_hash.auto import keccak

from node.chain.block_evidence import raw_header
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head, header_at
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, read_bytes, read_object, read_quantity
from node.chain.network import Network, load_network
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, LocalConsortium
from scripts.processes import Child, free_ports
from tests.support.clique import CLIQUE, VALIDATORS, Validators, require_clique, signer

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]  # the engine may have to be built first

WAIT_SECONDS = 120.0
ROWS = 500


@pytest.fixture(scope="session")
def clique(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """Four validators and two members; whatever happens, no process stays."""
    require_clique()
    directory = tmp_path_factory.mktemp("clique")
    with LocalConsortium(directory, [CIVIL_AFFAIRS, HEALTH], network=CLIQUE) as started:
        yield started


@pytest.fixture(scope="session")
def network(clique: LocalConsortium) -> Network:
    """The network as the members know it."""
    return load_network(clique.directory / "network.toml")


@pytest.fixture(scope="session")
def endpoints(network: Network) -> Iterator[Endpoints]:
    """The validators' JSON-RPC."""
    with closing(Endpoints(network)) as opened:
        yield opened


@pytest.fixture(scope="session")
def people(clique: LocalConsortium, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A published dataset: its id and its lines."""
    path = tmp_path_factory.mktemp("source") / "people.csv"
    lines = ["no,name", *(f"K{number:05},Person {number}" for number in range(ROWS))]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    published = clique.kiteline(CIVIL_AFFAIRS, "publish", str(path), "--dataset", "people", "--key", "no")
    return str(published["dataset"]), lines


def exchange(consortium: LocalConsortium, dataset: str, directory: Path) -> tuple[str, list[str]]:
    """Request, approve, fetch and export: the grant, and the lines that arrived."""
    grant = str(consortium.kiteline(HEALTH, "request", dataset, "--purpose", "to test")["grant"])
    consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
    assert consortium.kiteline(HEALTH, "fetch", grant)["records"] == ROWS
    target = directory / f"{grant[:8]}.csv"
    consortium.kiteline(HEALTH, "export", grant, "--to", str(target))
    return grant, target.read_text(encoding="utf-8").splitlines()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what is sure to come; fail if it does not."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def height(endpoints: Endpoints) -> int:
    """The newest block's number."""
    return read_quantity(endpoints.ask("eth_blockNumber"))


def test_every_validator_seals_blocks_and_all_have_the_same_ones(
    clique: LocalConsortium, network: Network, endpoints: Endpoints
) -> None:
    known = set(Validators(clique).accounts())
    assert len(known) == len(network.endpoints) == VALIDATORS
    signers: set[str] = set()
    for number in count(1):
        wait_until(lambda number=number: header_at(endpoints, number) is not None)  # type: ignore[misc]
        header = header_at(endpoints, number)
        assert header is not None
        raw = raw_header(network, endpoints, number, header.hash)
        assert keccak(raw) == header.hash
        signers.add(signer(raw))
        if signers == known:
            break
        assert number < 20 * VALIDATORS, "a validator never has its turn"
    final = final_head(network, endpoints)
    assert final is not None
    for endpoint in network.endpoints:
        with closing(Endpoints(replace(network, endpoints=(endpoint,)))) as one:
            assert header_at(one, final.number) == final


def test_what_is_handed_to_one_validator_is_mined_by_whoever_has_the_next_turn(
    clique: LocalConsortium, network: Network, endpoints: Endpoints
) -> None:
    """Founding sent all its transactions to the endpoint that is named first; alone, it would have mined them all."""
    signers = set()
    for number in range(1, height(endpoints) + 1):
        block = read_object(endpoints.ask("eth_getBlockByNumber", hex(number), WITHOUT_TRANSACTIONS))
        if block["transactions"]:
            signers.add(signer(raw_header(network, endpoints, number, read_bytes(block["hash"]))))
    assert len(signers) > 1


def test_an_exchange_is_anchored_and_its_evidence_holds_offline(
    clique: LocalConsortium, network: Network, endpoints: Endpoints, people: tuple[str, list[str]], tmp_path: Path
) -> None:
    dataset, lines = people
    grant, arrived = exchange(clique, dataset, tmp_path)
    assert arrived == lines
    clique.kiteline(HEALTH, "chain", "anchor")
    anchored = clique.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    mined = read_object(endpoints.ask("eth_getTransactionReceipt", f"0x{anchored['transaction'].removeprefix('0x')}"))
    assert height(endpoints) >= read_quantity(mined["blockNumber"]) + network.depth, (
        "an anchor is told of when its block is final"
    )
    trail = clique.kiteline(CIVIL_AFFAIRS, "trail", grant)
    assert (trail["holds"], trail["findings"]) == (True, [])
    receipt = next(step for step in trail["steps"] if step["event"] == "RECEIPT_RECEIVED")
    file, trust = tmp_path / "receipt.evidence", tmp_path / "trust.json"
    options = ["--member", receipt["member"], "--index", str(receipt["index"]), "--to", str(file)]
    clique.kiteline(CIVIL_AFFAIRS, "evidence", *options)
    clique.kiteline(CIVIL_AFFAIRS, "chain", "trust", "--to", str(trust))
    verdict = clique.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert verdict["proven"]
    assert {"anchor clique", "seals clique", "block clique"} <= {link["name"] for link in verdict["links"]}
    # An auditor who knows no block rests on the validators' seals.
    known = json.loads(trust.read_text(encoding="utf-8"))
    (sets,) = known["validators"].values()
    assert [set(one["accounts"]) for one in sets] == [set(Validators(clique).accounts())]
    trust.write_text(json.dumps(known | {"blocks": []}), encoding="utf-8")
    verdict = clique.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert verdict["proven"]
    (block,) = [link for link in verdict["links"] if link["name"] == "block clique"]
    assert "is sealed by validators" in block["says"]
    (header,) = re.findall(r"^header (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert signer(base64.b64decode(header, validate=True)) in set(Validators(clique).accounts())


def test_a_fifth_validator_is_voted_in_and_out_again_while_an_anchor_goes_through(
    clique: LocalConsortium, network: Network, endpoints: Endpoints, people: tuple[str, list[str]]
) -> None:
    state = ["--state", str(clique.directory / "chain")]
    with ThreadPoolExecutor(max_workers=1) as pool:
        anchor = pool.submit(clique.kiteline, CIVIL_AFFAIRS, "chain", "anchor")
        added = clique.kiteline(None, "chain", "add-validator", *state)
        during = anchor.result()
    assert (added["number"], added["validators"]) == (VALIDATORS + 1, VALIDATORS + 1)
    assert read_object(endpoints.ask("eth_getTransactionReceipt", f"0x{during['transaction'].removeprefix('0x')}"))
    joined, account = height(endpoints), added["account"].removeprefix("0x")
    sealed = range(joined, joined + 4 * added["validators"])
    wait_until(lambda: height(endpoints) >= sealed[-1] + network.depth)
    headers = {number: header_at(endpoints, number) for number in sealed}
    assert account in {
        signer(raw_header(network, endpoints, number, header.hash)) for number, header in headers.items() if header
    }
    status = clique.kiteline(None, "chain", "status", *state)
    assert status["makes_blocks"]
    assert [(one["number"], one["alive"], one["peers"]) for one in status["processes"]] == [
        (number, True, VALIDATORS) for number in range(1, VALIDATORS + 2)
    ]

    with ThreadPoolExecutor(max_workers=1) as pool:
        anchor = pool.submit(clique.kiteline, CIVIL_AFFAIRS, "chain", "anchor")
        removed = clique.kiteline(None, "chain", "remove-validator", str(added["number"]), *state)
        anchor.result()
    assert removed["validators"] == VALIDATORS
    assert not Path(f"/proc/{added['pid']}").exists()
    before = height(endpoints)
    wait_until(lambda: height(endpoints) >= before + VALIDATORS)


def test_a_validator_that_was_killed_is_brought_back(clique: LocalConsortium) -> None:
    state = ["--state", str(clique.directory / "chain")]
    victim = clique.chain_processes[VALIDATORS - 1]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{victim['pid']}").exists())
    down = clique.kiteline(None, "chain", "status", *state)
    assert [one["alive"] for one in down["processes"]] == [True] * (VALIDATORS - 1) + [False]
    started = clique.kiteline(None, "chain", "restart-validator", str(VALIDATORS), *state)
    assert started["pid"] != victim["pid"]
    status = clique.kiteline(None, "chain", "status", *state)
    assert all(one["alive"] and one["block"] is not None for one in status["processes"])


def test_the_exchange_goes_on_without_one_validator(
    clique: LocalConsortium, endpoints: Endpoints, people: tuple[str, list[str]], tmp_path: Path
) -> None:
    """The one that dies is the one that the nodes ask first."""
    dataset, lines = people
    victim = clique.chain_processes[0]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{victim['pid']}").exists())
    before = height(endpoints)
    _, arrived = exchange(clique, dataset, tmp_path)
    assert arrived == lines
    clique.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    assert height(endpoints) > before
    assert clique.kiteline(HEALTH, "status")["chain_reachable"]
    assert clique.chain is not None
    assert clique.chain.running


def test_a_network_ends_with_its_command_and_goes_on_where_it_stopped(clique: LocalConsortium, tmp_path: Path) -> None:
    state, ports = tmp_path / "state", free_ports(4)
    options = ["--network", "clique", "--state", str(state), "--port", str(ports), "--peer-port", str(ports + 2)]
    heights = []
    for start, validators in enumerate((["--validators", "2"], [])):
        log = tmp_path / f"{start}.log"
        command = clique._command("chain", "up", *options, *validators, "--json")
        child = Child("second network", command, log, clique.environment)
        try:
            child.wait_until(lambda log=log: log.read_bytes().startswith(b"{"), WAIT_SECONDS)  # type: ignore[misc]
            document = json.loads(log.read_text(encoding="utf-8").splitlines()[0])
            processes = [process["pid"] for process in document["processes"]]
            assert len(processes) == 2
            with closing(Endpoints(load_network(Path(document["network_file"])))) as endpoints:
                heights.append(height(endpoints))
            if start == 0:
                assert clique.kiteline(None, "chain", "down", "--state", str(state))["pid"] == child.pid
                assert not child.running
        finally:
            code = child.stop()
        assert code == 0, child.log_end()
        assert not any(Path(f"/proc/{process}").exists() for process in processes)
    assert heights[1] > heights[0]
