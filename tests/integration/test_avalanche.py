"""What is Avalanche's own: who its validators are, headers with fields beyond Ethereum's, and what a transaction costs."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests
import rlp
from eth_hash.auto import keccak

from audit.verifier import read_rlp
from node.chain.finality import final_head
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, read_object, read_quantity
from node.engine.founding import HOMES, Ports, open_validators
from node.engine.keys import SECRET_NAMES, KeyKind, secret_text
from scripts.local_consortium import CIVIL_AFFAIRS
from tests.support.networks import RunningNetwork

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(900),  # the engine may have to be built first
    pytest.mark.parametrize("running", ["avalanche"], indirect=True, scope="session"),
]

VALIDATORS = 5
ETHEREUM_FIELDS = 15  # of a header, before those that London and later upgrades added
RECEIPTS_ROOT = 5  # place in a header's list, from 0


def info(process: dict[str, Any], method: str, **parameters: object) -> Any:  # noqa: ANN401 - what the engine answers
    """Ask a validator about itself, beside its JSON-RPC for the chain."""
    base = str(process["endpoint"]).partition("/ext/")[0]
    path = "/ext/bc/P" if method.startswith("platform") else "/ext/info"
    question: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    return requests.post(base + path, json=question, timeout=10).json()["result"]


def test_each_process_is_the_validator_that_the_genesis_names(running: RunningNetwork) -> None:
    consortium = running.consortium
    passphrase = Path(consortium.environment["KITELINE_PASSPHRASE_FILE"]).read_text(encoding="ascii")
    validators = open_validators(running.engine, consortium.directory / "chain" / HOMES, passphrase, Ports(1, 1))
    assert len(validators) == len(consortium.chain_processes) == VALIDATORS
    for validator, process in zip(validators, consortium.chain_processes, strict=True):
        said, own = info(process, "info.getNodeID"), validator.public
        assert said["nodeID"] == f"NodeID-{own['node_id']}"
        assert said["nodePOP"] == {
            "publicKey": f"0x{own['bls_public_key']}",
            "proofOfPossession": f"0x{own['bls_proof']}",
        }
    current = info(consortium.chain_processes[0], "platform.getCurrentValidators")["validators"]
    assert {one["nodeID"] for one in current} == {f"NodeID-{one.public['node_id']}" for one in validators}


def test_no_key_of_a_validator_is_in_the_clear_on_the_disk_or_in_a_command_line(running: RunningNetwork) -> None:
    consortium = running.consortium
    state = consortium.directory / "chain"
    passphrase = Path(consortium.environment["KITELINE_PASSPHRASE_FILE"]).read_text(encoding="ascii")
    validators = open_validators(running.engine, state / HOMES, passphrase, Ports(1, 1))
    forms: set[bytes] = {passphrase.encode()}
    for validator in validators:
        assert validator.secrets.keys() == {KeyKind.CERTIFICATE, KeyKind.BLS}
        for kind, secret in validator.secrets.items():
            assert SECRET_NAMES[kind]
            text = secret_text(kind, secret)
            forms |= {secret, secret.hex().encode(), text.splitlines()[1] if kind is KeyKind.CERTIFICATE else text}
    places = [file for file in state.rglob("*") if file.is_file()]
    places += [Path(f"/proc/{process['pid']}/cmdline") for process in consortium.chain_processes]
    places += [Path(f"/proc/{process['pid']}/environ") for process in consortium.chain_processes]
    assert len(places) > 10 * VALIDATORS
    for place in places:
        content = place.read_bytes()
        assert not any(form in content for form in forms), place


def test_the_hash_of_a_block_is_that_of_all_its_fields_and_the_receipts_are_where_ethereum_has_them(
    running: RunningNetwork, tmp_path: Path
) -> None:
    grant, _ = running.exchange(tmp_path)
    anchored = running.consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    file, _ = running.evidence(grant, tmp_path)
    mined = read_object(running.endpoints.ask("eth_getTransactionReceipt", f"0x{anchored['transaction']}"))
    block = read_object(running.endpoints.ask("eth_getBlockByHash", mined["blockHash"], WITHOUT_TRANSACTIONS))
    (header,) = re.findall(r"^header (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    raw = base64.b64decode(header, validate=True)
    fields: Any = read_rlp(raw)
    assert len(fields) == len(running.network.header_fields) > ETHEREUM_FIELDS
    assert keccak(raw).hex() == str(block["hash"])[2:]
    assert fields[RECEIPTS_ROOT].hex() == str(block["receiptsRoot"])[2:]
    assert keccak(rlp.encode(fields[:ETHEREUM_FIELDS])) != keccak(raw)


def test_what_a_validator_serves_is_final(running: RunningNetwork) -> None:
    newest = running.height()
    final = final_head(running.network, running.endpoints)
    assert final is not None
    assert final.number >= newest > 0


def test_the_price_is_a_wei_and_the_treasury_paid(running: RunningNetwork) -> None:
    block = read_object(running.endpoints.ask("eth_getBlockByNumber", "latest", WITHOUT_TRANSACTIONS))
    assert read_quantity(block["baseFeePerGas"]) == 1
    assert running.consortium.treasury is not None
    address = json.loads(Path(running.consortium.treasury).read_text(encoding="ascii"))["address"]
    held = read_quantity(running.endpoints.ask("eth_getBalance", f"0x{address.removeprefix('0x')}", "latest"))
    assert 0 < held < 10**27 - 2 * 100 * 10**18, "two members were given a hundred coins each"
