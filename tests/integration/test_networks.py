"""What holds on every network, whatever its engine is: exchanged, anchored to the final block, proven offline, and up without one validator."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from eth_hash.auto import keccak

from node.chain.account import new_account, write_account
from node.chain.block_evidence import raw_header
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head, header_at
from node.chain.json_rpc import Header, read_object, read_quantity
from node.chain.network import FeeRule, load_network
from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, NETWORKS, CommandFailed
from scripts.processes import Child, free_ports
from tests.support.networks import WAIT_SECONDS, RunningNetwork, wait_until

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]  # an engine may have to be built first

CHEAP = 2  # cost of a guess at a keystore's passphrase, which this test need not make dear
STRANGER = "0x52908400098527886E0F7030069857D2E4169EE7"  # EIP-55's own example


def test_every_process_serves_the_same_final_blocks_and_their_headers_lead_to_their_hashes(
    running: RunningNetwork,
) -> None:
    network = running.network
    assert len(network.endpoints) == max(1, running.engine.validators)
    final = final_head(network, running.endpoints)
    assert final is not None
    for number in range(final.number + 1):
        header = header_at(running.endpoints, number)
        assert header is not None
        assert keccak(raw_header(network, running.endpoints, number, header.hash)) == header.hash
    for endpoint in network.endpoints:
        with closing(Endpoints(replace(network, endpoints=(endpoint,)))) as one:
            wait_until(lambda one=one: header_at(one, final.number) == final)  # type: ignore[misc]


def test_an_exchange_is_anchored_and_its_evidence_holds_offline(running: RunningNetwork, tmp_path: Path) -> None:
    consortium = running.consortium
    grant, arrived = running.exchange(tmp_path)
    assert arrived == running.lines
    consortium.kiteline(HEALTH, "chain", "anchor")
    anchored = consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    digest = f"0x{anchored['transaction'].removeprefix('0x')}"
    mined = read_object(running.endpoints.ask("eth_getTransactionReceipt", digest))
    final = final_head(running.network, running.endpoints)
    assert final is not None
    assert final.number >= read_quantity(mined["blockNumber"]), "an anchor is told of when its block is final"
    file, trust = running.evidence(grant, tmp_path)
    verdict = consortium.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert verdict["proven"]
    assert {f"anchor {running.name}", f"block {running.name}"} <= {link["name"] for link in verdict["links"]}
    (header,) = re.findall(r"^header (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    raw = base64.b64decode(header, validate=True)
    assert header_at(running.endpoints, read_quantity(mined["blockNumber"])) is not None
    # One byte of the header is another: its hash is that of no block.
    forged = base64.b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
    file.write_text(file.read_text(encoding="utf-8").replace(header, forged), encoding="utf-8")
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert not refused.value.document.get("proven", False)


def test_who_cannot_pay_is_told_so_and_once_it_has_money_it_takes_part(running: RunningNetwork, tmp_path: Path) -> None:
    """Where transactions cost nothing, an account needs no money, and `chain fund` says that."""
    consortium = running.consortium
    file = str(consortium.directory / "network.toml")
    if running.network.fees is FeeRule.ZERO:
        secret = Path(consortium.environment["KITELINE_PASSPHRASE_FILE"]).read_text(encoding="ascii")
        account = tmp_path / "treasury.json"
        write_account(account, new_account(os.urandom), secret, scrypt_n=CHEAP)
        with pytest.raises(CommandFailed, match="transactions cost nothing"):
            consortium.kiteline(None, "chain", "fund", STRANGER, "--treasury", str(account), "--network", file)
        return
    assert consortium.treasury is not None
    consortium._initialise(AUDIT)
    admission = str(consortium.home(AUDIT) / "admission.json")
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "admit", admission)
    consortium.start_node(AUDIT)
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(AUDIT, "chain", "anchor")
    assert refused.value.reason == "ACCOUNT_UNFUNDED"
    fund = ["chain", "fund", admission, "--treasury", consortium.treasury, "--network", file]
    (first,) = consortium.kiteline(None, *fund)["accounts"]
    assert (first["before_wei"], first["after_wei"]) == ("0", str(100 * 10**18))
    consortium.kiteline(AUDIT, "chain", "anchor")
    (again,) = consortium.kiteline(None, *fund, "--balance", "1")["accounts"]
    assert again["transaction"] is None
    assert 0 < int(again["after_wei"]) < int(first["after_wei"]), "the anchor was paid for"


def test_a_network_ends_with_its_command_and_goes_on_where_it_stopped(running: RunningNetwork, tmp_path: Path) -> None:
    validators = max(1, running.engine.validators)
    state, ports = tmp_path / "state", free_ports(2 * validators)
    options = ["--network", str(NETWORKS / running.name / "network.toml"), "--state", str(state)]
    options += ["--port", str(ports), "--peer-port", str(ports + validators)]
    heads: list[Header] = []
    for start in ("first", "second"):
        log = tmp_path / f"{start}.log"
        command = running.consortium._command("chain", "up", *options, "--json")
        child = Child("second network", command, log, running.consortium.environment)
        try:
            child.wait_until(lambda log=log: b'{"network"' in log.read_bytes(), WAIT_SECONDS)  # type: ignore[misc]
            line = next(line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{"))
            document = json.loads(line)
            processes = [process["pid"] for process in document["processes"]]
            assert len(processes) == validators
            if document["treasury"] and not heads:  # else an idle network may have no block to remember
                source = ["--treasury", document["treasury"], "--network", document["network_file"]]
                running.consortium.kiteline(None, "chain", "fund", STRANGER, *source)
            network = load_network(Path(document["network_file"]))
            with closing(Endpoints(network)) as endpoints:
                head = final_head(replace(network, depth=0), endpoints)
                assert head is not None
                assert all(header_at(endpoints, earlier.number) == earlier for earlier in heads)
                heads.append(head)
            if len(heads) == 1:
                down = running.consortium.kiteline(None, "chain", "down", "--state", str(state))
                assert down["pid"] == child.pid
                assert not child.running
        finally:
            code = child.stop()
        assert code == 0, child.log_end()
        assert not any(Path(f"/proc/{process}").exists() for process in processes)
    assert heads[1].number >= heads[0].number


def test_the_exchange_goes_on_without_one_validator(running: RunningNetwork, tmp_path: Path) -> None:
    """The one that dies is the one that the nodes ask first. Last, since it stays dead."""
    consortium = running.consortium
    if not running.engine.validators:
        pytest.skip(f"{running.name} is one process, and ends with it")
    victim = consortium.chain_processes[0]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{victim['pid']}").exists())
    before = running.height()
    _, arrived = running.exchange(tmp_path)
    assert arrived == running.lines
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    assert running.height() > before
    assert consortium.kiteline(HEALTH, "status")["chain_reachable"]
    assert consortium.chain is not None
    assert consortium.chain.running
