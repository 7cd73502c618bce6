"""What is Clique's own: validators take turns, the seal of each block names one of them, and they vote each other in and out."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from node.chain.block_evidence import raw_header
from node.chain.finality import header_at
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, read_bytes, read_object
from scripts.local_consortium import CIVIL_AFFAIRS, CommandFailed
from tests.support.clique import VALIDATORS, Validators, signer
from tests.support.networks import RunningNetwork, wait_until

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(900),  # the engine may have to be built first
    pytest.mark.parametrize("running", ["clique"], indirect=True, scope="session"),
]


def sealer(running: RunningNetwork, number: int) -> str:
    """Who sealed the block of this number."""
    wait_until(lambda: header_at(running.endpoints, number) is not None)
    header = header_at(running.endpoints, number)
    assert header is not None
    return signer(raw_header(running.network, running.endpoints, number, header.hash))


def test_every_validator_seals_blocks(running: RunningNetwork) -> None:
    known = set(Validators(running.consortium).accounts())
    assert len(known) == VALIDATORS
    signers: set[str] = set()
    for number in count(1):
        signers.add(sealer(running, number))
        if signers == known:
            break
        assert number < 20 * VALIDATORS, "a validator never has its turn"


def test_what_is_handed_to_one_validator_is_mined_by_whoever_has_the_next_turn(running: RunningNetwork) -> None:
    """Founding sent all its transactions to the endpoint that is named first; alone, it would have mined them all."""
    network, endpoints = running.network, running.endpoints
    signers = set()
    for number in range(1, running.height() + 1):
        block = read_object(endpoints.ask("eth_getBlockByNumber", hex(number), WITHOUT_TRANSACTIONS))
        if block["transactions"]:
            signers.add(signer(raw_header(network, endpoints, number, read_bytes(block["hash"]))))
    assert len(signers) > 1


def test_an_auditor_who_knows_no_block_rests_on_the_validators_seals(running: RunningNetwork, tmp_path: Path) -> None:
    grant, _ = running.exchange(tmp_path)
    running.consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    file, trust = running.evidence(grant, tmp_path)
    (header,) = re.findall(r"^header (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    accounts = set(Validators(running.consortium).accounts())
    assert signer(base64.b64decode(header, validate=True)) in accounts
    known = json.loads(trust.read_text(encoding="utf-8"))
    (sets,) = known["validators"].values()
    assert [set(one["accounts"]) for one in sets] == [accounts]
    trust.write_text(json.dumps(known | {"blocks": []}), encoding="utf-8")
    verdict = running.consortium.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert verdict["proven"]
    links = {link["name"]: link for link in verdict["links"]}
    assert links["seals clique"]["holds"]
    assert "is sealed by validators" in links["block clique"]["says"]


def test_a_fifth_validator_is_voted_in_and_out_again_while_an_anchor_goes_through(
    running: RunningNetwork, tmp_path: Path
) -> None:
    clique = running.consortium
    state = ["--state", str(clique.directory / "chain")]
    before = set(Validators(clique).accounts())
    with ThreadPoolExecutor(max_workers=1) as pool:
        anchor = pool.submit(clique.kiteline, CIVIL_AFFAIRS, "chain", "anchor")
        added = clique.kiteline(None, "chain", "add-validator", *state)
        during = anchor.result()
    assert (added["number"], added["validators"]) == (VALIDATORS + 1, VALIDATORS + 1)
    digest = f"0x{during['transaction'].removeprefix('0x')}"
    assert read_object(running.endpoints.ask("eth_getTransactionReceipt", digest))
    joined, account = running.height(), added["account"].removeprefix("0x").lower()
    sealed = range(joined, joined + 4 * added["validators"])
    wait_until(lambda: running.height() >= sealed[-1] + running.network.depth)
    assert account in {sealer(running, number) for number in sealed}
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
    height = running.height()
    wait_until(lambda: running.height() >= height + VALIDATORS)

    # The votes in the blocks tell an auditor who might seal when.
    wait_until(lambda: running.height() >= height + VALIDATORS + running.network.depth)
    trust = tmp_path / "trust.json"
    clique.kiteline(CIVIL_AFFAIRS, "chain", "trust", "--to", str(trust))
    (sets,) = json.loads(trust.read_text(encoding="utf-8"))["validators"].values()
    assert [set(one["accounts"]) for one in sets] == [before, before | {account}, before]
    assert 0 < sets[1]["since"] <= joined + 1 < sets[2]["since"]


def test_validators_that_were_killed_are_brought_back_by_number_or_all_together(running: RunningNetwork) -> None:
    consortium = running.consortium

    def chain(command: str, *arguments: str) -> Any:  # noqa: ANN401 - a JSON document
        return consortium.kiteline(None, "chain", command, *arguments, "--state", str(consortium.directory / "chain"))

    for victim in consortium.chain_processes[VALIDATORS // 2 :]:
        os.kill(victim["pid"], signal.SIGKILL)
        wait_until(lambda victim=victim: not Path(f"/proc/{victim['pid']}").exists())  # type: ignore[misc]
    with pytest.raises(CommandFailed, match="makes_blocks") as caught:
        chain("status")
    assert (caught.value.code, caught.value.document["makes_blocks"]) == (3, False)
    started = chain("restart-validator", str(VALIDATORS))
    assert started["pid"] != victim["pid"]
    status = chain("status")
    assert status["makes_blocks"]
    assert [one["alive"] for one in status["processes"]] == [True, True, False, True]

    before = status["block"]
    assert consortium.chain is not None
    assert chain("down")["pid"] == consortium.chain.pid
    assert not consortium.chain.running
    assert not any(Path(f"/proc/{one['pid']}").exists() for one in status["processes"])
    consortium.start_chain()
    status = chain("status")
    assert all(one["alive"] for one in status["processes"])
    assert status["block"] >= before
    assert status["makes_blocks"]
