"""A real chain behind an endpoint that leaves out, refuses or alters one thing: it is noticed, and nothing false is indexed."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.chain.adapter import Chain
from node.chain.interfaces import load_interfaces
from node.chain.journal_store import Call
from node.chain.json_rpc import hexadecimal
from node.errors import ChainMismatch, ChainUnavailable, TransactionRefused
from node.model.chain import Anchor
from tests.node.chain.test_endpoints import serving
from tests.support.anvil import Anvil
from tests.support.consortium import FIRST, SECOND, Consortium

LOG, DIGEST = b"\5" * 32, b"\7" * 32
ELSEWHERE = "0x" + "ee" * 32
Alteration = Callable[[dict[str, Any], Any], Any]  # the request and its true result, to what is answered


class Refusal(Exception):
    """The endpoint answers with an error object."""


@contextmanager
def altered(
    consortium: Consortium, directory: Path, alter: Alteration, passes: Callable[[str], bool] = bool
) -> Iterator[Chain]:
    """The second member's adapter, whose one endpoint alters what the chain answers. `passes`: which methods reach the chain."""

    def answer(request: dict[str, Any]) -> bytes:
        if not passes(request["method"]):
            try:
                result = alter(request, None)
            except Refusal as refusal:
                error = {"code": -32000, "message": str(refusal)}
                return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
            return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
        forwarded = urllib.request.Request(  # noqa: S310 (the test's own chain)
            consortium.anvil.url, json.dumps(request).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(forwarded, timeout=5) as answered:  # noqa: S310 (likewise)
            document: dict[str, Any] = json.load(answered)
        try:
            document["result"] = alter(request, document.pop("result", None))
            if document["result"] is not None:
                document.pop("error", None)
        except Refusal as refusal:
            document.pop("result", None)
            document["error"] = {"code": -32601, "message": str(refusal)}
        return json.dumps(document).encode()

    with serving(answer) as url:
        chain = consortium.open(consortium.members[1], directory, replace(consortium.network, endpoints=(url,)))
        try:
            yield chain
        finally:
            chain.close()


def honest(_request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
    return result


@pytest.fixture
def anchor(chain: Chain) -> Anchor:
    """An anchor on the true chain."""
    chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
    found = chain.view.newest_anchor(FIRST, LOG)
    assert found is not None
    return found


def test_another_chain_of_the_same_number_and_contracts_is_noticed(consortium: Consortium, tmp_path: Path) -> None:
    """As after a restart of the chain from scratch, where the same deployment gives the same addresses and code."""
    other = replace(consortium, deployment=replace(consortium.deployment, block_hash=os.urandom(32)))
    with altered(other, tmp_path / "second", honest) as chain:
        with pytest.raises(ChainMismatch, match="has another block"):
            chain.check()
        with pytest.raises(ChainMismatch, match="has another block"):
            chain.view.refresh()
        assert chain.view.members() == []


def test_an_endpoint_that_comes_to_serve_another_chain_takes_nothing_back(
    consortium: Consortium, tmp_path: Path, anchor: Anchor
) -> None:
    """It was checked before, and never failed to answer: a name that points elsewhere now, or a chain begun anew under the same address."""
    with Anvil(tmp_path / "other") as stranger:
        stranger.mine(50)
        address = [consortium.anvil.url]

        def moving(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
            return result if address[0] == consortium.anvil.url else stranger.rpc(request["method"], *request["params"])

        with altered(consortium, tmp_path / "second", moving) as chain:
            chain.view.refresh()
            members = chain.view.members()
            address[0] = stranger.url
            with pytest.raises(ChainMismatch, match="no code at the address"):
                chain.view.refresh()
            assert chain.view.members() == members
            assert chain.view.newest_anchor(FIRST, LOG) == anchor
            address[0] = consortium.anvil.url
            chain.view.refresh()
            assert chain.view.health().reachable


@pytest.mark.parametrize("moment", ["forwarded", "kept"])
def test_an_answer_that_is_no_verdict_on_a_transaction_leaves_it_under_way(
    consortium: Consortium, tmp_path: Path, moment: str
) -> None:
    """A limit on requests is no refusal: what was signed may be mined, so it is neither forgotten nor told as refused."""
    is_limited = [True]

    def limited(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_sendRawTransaction" and is_limited[0]:
            raise Refusal("daily request count exceeded, request rate limited")
        return result

    before = int(consortium.anvil.rpc("eth_getTransactionCount", consortium.members[1].account.address, "latest"), 16)
    passes = (lambda method: method != "eth_sendRawTransaction" or not is_limited[0]) if moment == "kept" else bool
    with altered(consortium, tmp_path / "second", limited, passes=passes) as chain:
        chain.view.refresh()
        with pytest.raises(ChainUnavailable, match=r"journaled and may still be mined.*rate limited"):
            chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
        assert chain.view.health().pending_transactions == 1
        is_limited[0] = False
        mined = chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
        assert [one.transaction_hash for one in chain.view.anchors(SECOND, LOG)] == [mined.transaction_hash]
        assert chain.view.health().pending_transactions == 0
    after = int(consortium.anvil.rpc("eth_getTransactionCount", consortium.members[1].account.address, "latest"), 16)
    assert after == before + 1


def test_a_transaction_that_no_engine_would_take_is_refused_and_forgotten(
    consortium: Consortium, tmp_path: Path
) -> None:
    def refusing(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_sendRawTransaction":
            raise Refusal("intrinsic gas too low: have 0, want 21000")
        return result

    with altered(
        consortium, tmp_path / "second", refusing, passes=lambda method: method != "eth_sendRawTransaction"
    ) as chain:
        chain.view.refresh()
        with pytest.raises(TransactionRefused, match="intrinsic gas too low"):
            chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
        assert chain.view.health().pending_transactions == 0


def test_what_was_lost_on_its_way_is_sent_again_although_nobody_repeats_the_call(
    consortium: Consortium, tmp_path: Path
) -> None:
    is_lossy = [True]

    def losing(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_sendRawTransaction" and is_lossy[0]:
            raise Refusal("internal error")
        return result

    passes: Callable[[str], bool] = lambda method: method != "eth_sendRawTransaction" or not is_lossy[0]  # noqa: E731
    with altered(consortium, tmp_path / "second", losing, passes=passes) as chain:
        chain.view.refresh()
        with pytest.raises(ChainUnavailable):
            chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
        is_lossy[0] = False
        consortium.anvil.mine()
        chain.view.refresh()  # a block: the transaction goes out
        chain.view.refresh()  # its own block
        assert chain.view.newest_anchor(SECOND, LOG) is not None
        assert chain.view.health().pending_transactions == 0


@pytest.mark.parametrize("field", ["transactionHash", "status"])
def test_a_receipt_of_another_transaction_or_half_a_receipt_ends_nothing(
    consortium: Consortium, tmp_path: Path, field: str
) -> None:
    is_lying = [True]

    def lying(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getTransactionReceipt" and result and is_lying[0]:
            return {**result, field: ELSEWHERE if field == "transactionHash" else "?"}
        return result

    with altered(consortium, tmp_path / "second", lying) as chain:
        chain.view.refresh()
        with pytest.raises(ChainUnavailable, match="journaled and may still be mined"):
            chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
        assert chain.view.health().pending_transactions == 1
        is_lying[0] = False
        chain.writer.anchor(LOG, 3, DIGEST, DIGEST)
        assert chain.view.health().pending_transactions == 0


def test_a_block_of_another_number_is_no_answer(consortium: Consortium, tmp_path: Path, anchor: Anchor) -> None:
    def off_by_one(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] != "latest" and result:
            return consortium.anvil.rpc("eth_getBlockByNumber", "0x0", False)
        return result

    with altered(consortium, tmp_path / "second", off_by_one) as chain:
        chain.endpoints._deployment = None  # its block would be found out at once
        with pytest.raises(ChainUnavailable, match="answered with block 0 where"):
            chain.view.refresh()
        assert chain.view.members() == []


def test_a_receipt_that_shows_late_ends_what_was_begun_again(consortium: Consortium, tmp_path: Path) -> None:
    """The count of an account told that the nonce is gone, by an endpoint that did not show the receipt yet: a second transaction was made for a thing
    that was done, and the chain does not mine it twice for that.
    """
    hidden = [True]

    def behind(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        return None if request["method"] == "eth_getTransactionReceipt" and hidden[0] else result

    with altered(consortium, tmp_path / "second", behind) as chain:
        chain.view.refresh()
        entry = chain.sender._begin("late", _anchor_call(consortium), again=False)
        chain.sender._rehearse = lambda _: 500_000  # type: ignore[method-assign, assignment]  # so does an endpoint that is behind
        renewed = chain.sender._revive(entry)
        assert renewed.nonce == entry.nonce + 1
        assert entry.hashes[0] in renewed.hashes
        hidden[0] = False
        mined = chain.sender.send("late", _anchor_call(consortium))
        assert mined.transaction_hash == entry.hashes[0]
        assert [one.size for one in chain.view.anchors(SECOND, LOG)] == [3]
        # The account goes on, whether the second one was mined, and refused, or not.
        chain.writer.anchor(LOG, 4, DIGEST, DIGEST)
        assert chain.view.health().pending_transactions == 0


def _anchor_call(consortium: Consortium) -> Call:
    data = load_interfaces()["Anchors"].call("anchor", LOG, 3, DIGEST, DIGEST)
    return Call(consortium.deployment.address("Anchors"), data, "Anchors.anchor")


def test_a_proof_is_made_also_where_an_endpoint_does_not_list_receipts(
    consortium: Consortium, tmp_path: Path, chain: Chain, anchor: Anchor
) -> None:
    def lacking(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getBlockReceipts":
            raise Refusal("the method does not exist")
        return result

    with altered(consortium, tmp_path / "second", lacking) as lame:
        assert lame.proofs.receipt_proof(anchor) == chain.proofs.receipt_proof(anchor)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_raw_header_is_taken_if_it_leads_to_the_hash_and_passed_over_if_not(
    consortium: Consortium,
    tmp_path: Path,
    chain: Chain,
    anchor: Anchor,
    is_right: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    proof = chain.proofs.receipt_proof(anchor)
    asked: list[str] = []

    def with_raw_headers(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        asked.append(request["method"])
        if request["method"] == "debug_getRawHeader":
            return hexadecimal(proof.header if is_right else proof.header[:-1] + b"?")
        return result

    with altered(consortium, tmp_path / "second", with_raw_headers) as helpful:
        assert helpful.proofs.receipt_proof(anchor) == proof
    assert ("eth_getBlockByHash" in asked) is not is_right


def test_receipts_that_do_not_lead_to_their_root_are_a_mismatch(
    consortium: Consortium, tmp_path: Path, anchor: Anchor
) -> None:
    def lying(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getBlockReceipts":
            return [{**receipt, "cumulativeGasUsed": "0x1"} for receipt in result]
        return result

    with (
        altered(consortium, tmp_path / "second", lying) as liar,
        pytest.raises(ChainMismatch, match="do not lead to their root"),
    ):
        liar.proofs.receipt_proof(anchor)


def test_a_block_whose_receipts_are_not_all_there_proves_nothing(
    consortium: Consortium, tmp_path: Path, anchor: Anchor
) -> None:
    def forgetful(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        return [] if request["method"] == "eth_getBlockReceipts" else result

    with (
        altered(consortium, tmp_path / "second", forgetful) as chain,
        pytest.raises(ChainUnavailable, match="does not list every receipt"),
    ):
        chain.proofs.receipt_proof(anchor)


def test_a_block_that_no_endpoint_keeps_proves_nothing(consortium: Consortium, tmp_path: Path, anchor: Anchor) -> None:
    def pruned(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "debug_getRawHeader":
            raise Refusal("the method does not exist")
        return None if request["method"] == "eth_getBlockByHash" else result

    with (
        altered(consortium, tmp_path / "second", pruned) as chain,
        pytest.raises(ChainUnavailable, match="no endpoint knows the block"),
    ):
        chain.proofs.receipt_proof(anchor)


@pytest.mark.parametrize("field", ["blockHash", "blockNumber"])
def test_events_of_blocks_that_are_not_on_the_chain_are_not_indexed(
    consortium: Consortium, tmp_path: Path, anchor: Anchor, field: str
) -> None:
    """The chain may move between two questions; an endpoint at which it always does is of no use."""

    def moving(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getLogs":
            return [{**log, field: ELSEWHERE if field == "blockHash" else "0xffff"} for log in result]
        return result

    with altered(consortium, tmp_path / "second", moving) as chain:
        with pytest.raises(ChainUnavailable, match="moved on during every attempt"):
            chain.view.refresh()
        assert chain.view.members() == []
        assert chain.view.newest_anchor(FIRST, LOG) is None


def test_an_endpoint_that_moves_once_is_read_at_the_next_attempt(
    consortium: Consortium, tmp_path: Path, anchor: Anchor
) -> None:
    moved: list[str] = []

    def moving_once(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getLogs" and result and not moved:
            moved.append("once")
            return [{**log, "blockHash": ELSEWHERE} for log in result]
        return result

    with altered(consortium, tmp_path / "second", moving_once) as chain:
        chain.view.refresh()
        assert chain.view.newest_anchor(FIRST, LOG) == anchor
    assert moved


def test_an_endpoint_that_lists_no_events_at_all_is_told_so(
    consortium: Consortium, tmp_path: Path, anchor: Anchor
) -> None:
    spans: list[int] = []

    def refusing(request: dict[str, Any], result: Any) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        if request["method"] == "eth_getLogs":
            asked = request["params"][0]
            spans.append(int(asked["toBlock"], 16) - int(asked["fromBlock"], 16) + 1)
            raise Refusal("logs are not kept")
        return result

    with (
        altered(consortium, tmp_path / "second", refusing) as chain,
        pytest.raises(ChainUnavailable, match="refused to list events: logs are not kept"),
    ):
        chain.view.refresh()
    # It was asked for ever smaller ranges, down to one block, before that was believed.
    assert spans == sorted(spans, reverse=True)
    assert spans[-1] == 1
