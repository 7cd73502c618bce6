"""Whatever an endpoint answers, it is a result, a fault or one clear error."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.adapter import Chain
from node.chain.endpoints import Endpoints
from node.chain.json_rpc import (
    Fault,
    read_bytes,
    read_header,
    read_logs,
    read_object,
    read_quantity,
    read_receipt,
)
from node.chain.network import FeeRule, FinalityRule, HeaderRule, Network
from node.errors import ChainUnavailable
from tests.support.consortium import FIRST, Consortium

Answer = Callable[[dict[str, Any]], bytes]


@contextmanager
def serving(answer: Answer, status: int = 200, location: str = "") -> Iterator[str]:
    """An HTTP server that answers each request as told; gives its address. `location`: where it sends its callers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = answer(asked)
            self.send_response(500 if body == b"broken" else status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def network(*endpoints: str) -> Network:
    """A network of these endpoints."""
    return Network(
        "test", 7, endpoints, FinalityRule.EVERY_BLOCK, FeeRule.ZERO, HeaderRule.ETHEREUM, 0.05, timeout_seconds=2.0
    )


def as_chain_seven(result: object) -> Answer:
    """Chain 7 that answers everything else with one result."""
    return lambda asked: json.dumps(
        {
            "jsonrpc": "2.0",
            "id": asked["id"],
            "result": "0x7" if asked["method"] == "eth_chainId" else result,
        }
    ).encode()


@pytest.mark.parametrize("body", [b"broken", b"", b"no json", b"[]", b"{}", b"\xff\xfe", b'"text"', b"[" * 100_000])
def test_an_endpoint_that_speaks_no_json_rpc_is_unavailable(body: bytes) -> None:
    with serving(lambda _: body) as url:
        endpoints = Endpoints(network(url))
        with pytest.raises(ChainUnavailable) as refusal:
            endpoints.ask("eth_blockNumber")
        assert "secret" not in str(refusal.value)
        endpoints.close()


def test_an_answer_to_another_request_is_none() -> None:
    """As a proxy or a cache that mixes them up gives it."""

    def late(asked: dict[str, Any]) -> bytes:
        return as_chain_seven("0x10")({**asked, "id": asked["id"] - (asked["method"] != "eth_chainId")})

    with serving(late) as url:
        endpoints = Endpoints(network(url))
        with pytest.raises(ChainUnavailable, match="answers another request"):
            endpoints.ask("eth_blockNumber")
        endpoints.close()


def test_an_error_without_an_id_is_a_fault() -> None:
    """The engine could not read the request, so it does not know its id."""

    def unread(asked: dict[str, Any]) -> bytes:
        if asked["method"] == "eth_chainId":
            return as_chain_seven(None)(asked)
        return b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}'

    with serving(unread) as url:
        endpoints = Endpoints(network(url))
        assert endpoints.attempt("eth_blockNumber") == Fault(-32700, "parse error")
        endpoints.close()


def test_an_endpoint_cannot_send_a_node_elsewhere() -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> bytes:
        asked.append(request["method"])
        return as_chain_seven("0x10")(request)

    with serving(answer) as elsewhere, serving(lambda _: b"", status=307, location=elsewhere) as url:
        endpoints = Endpoints(network(url))
        with pytest.raises(ChainUnavailable, match="HTTPError"):
            endpoints.ask("eth_blockNumber")
        endpoints.close()
    assert asked == []


def test_an_answer_that_does_not_end_in_time_is_given_up() -> None:
    """Each wait for bytes is short, and there are ever more of them."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1.5  # the timeout is 2 seconds: the first look after the beginning is in time, the second is not
        return now[0]

    long = as_chain_seven("0x" + "00" * 2_000_000)
    with serving(long) as url:
        endpoints = Endpoints(network(url), monotonic=monotonic)
        with pytest.raises(ChainUnavailable, match="Timeout"):
            endpoints.ask("eth_getCode")
        endpoints.close()


def test_an_answer_without_end_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.chain.endpoints.MAX_ANSWER_BYTES", 1_000)
    with serving(as_chain_seven("0x" + "00" * 1_000)) as url:
        endpoints = Endpoints(network(url))
        with pytest.raises(ChainUnavailable, match="does not answer eth_getCode"):
            endpoints.ask("eth_getCode")
        endpoints.close()


@pytest.mark.parametrize("answer", ["0x", "0x1_0", "0x 1", "0x-1", "0x1\n", "0x" + "f" * 65, "1", 1, None, "0X1"])
def test_a_number_has_one_spelling_and_fits_a_word(answer: object) -> None:
    with pytest.raises(ChainUnavailable):
        read_quantity(answer)


def test_no_block_has_a_number_that_the_index_cannot_keep() -> None:
    header = {
        "number": "0x8000000000000000",
        "hash": "0x" + "00" * 32,
        "parentHash": "0x" + "00" * 32,
        "timestamp": "0x1",
    }
    with pytest.raises(ChainUnavailable):
        read_header(header)
    assert read_header({**header, "number": "0x7fffffffffffffff"}) is not None


def test_a_silent_endpoint_is_passed_over_and_the_next_one_stays_preferred() -> None:
    asked: list[str] = []

    def answer(request: dict[str, Any]) -> bytes:
        asked.append(request["method"])
        return as_chain_seven("0x10")(request)

    with serving(lambda _: b"broken") as bad, serving(answer) as good:
        endpoints = Endpoints(network(bad, good))
        assert endpoints.ask("eth_blockNumber") == "0x10"
        assert endpoints.ask("eth_blockNumber") == "0x10"
        endpoints.close()
    assert asked == ["eth_chainId", "eth_blockNumber", "eth_blockNumber"]


@pytest.mark.parametrize(
    ("error", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x0102"}, b"\1\2"),
        ({"code": -32000, "message": "reverted", "data": {"data": "0x0102"}}, b"\1\2"),
        ({"code": -32000, "message": "reverted", "data": "Reverted 0x"}, b""),
        ({"code": -32000, "message": "reverted"}, b""),
        ("a sentence", b""),
    ],
)
def test_a_fault_keeps_what_the_contract_returned(error: object, data: bytes) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        if request["method"] == "eth_chainId":
            return as_chain_seven(None)(request)
        return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()

    with serving(answer) as url:
        endpoints = Endpoints(network(url))
        fault = endpoints.attempt("eth_call")
        assert isinstance(fault, Fault)
        assert fault.data == data
        with pytest.raises(ChainUnavailable, match="refused eth_call"):
            endpoints.ask("eth_call")
        endpoints.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("0x" + "00" * 32),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["number", "hash", "parentHash", "timestamp", "topics", "logs", "blockHash", "status"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_read_or_refused(answer: object) -> None:
    readers: list[Callable[[object], object]] = [
        read_header,
        read_logs,
        read_receipt,
        read_object,
        read_quantity,
        read_bytes,
    ]
    for reader in readers:
        try:
            reader(answer)
        except ChainUnavailable:
            continue


def test_an_engine_that_limits_ranges_is_asked_for_smaller_ones(
    chain: Chain, consortium: Consortium, tmp_path: Path
) -> None:
    log = os.urandom(32)
    for size in range(1, 12):
        chain.writer.anchor(log, size, b"\1" * 32, b"\2" * 32)
    refused: list[int] = []

    def answer(request: dict[str, Any]) -> bytes:
        if request["method"] == "eth_getLogs":
            span = int(request["params"][0]["toBlock"], 16) - int(request["params"][0]["fromBlock"], 16) + 1
            if span > 3:
                refused.append(span)
                error = {"code": -32005, "message": "query returned more than 10000 results"}
                return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
        forwarded = urllib.request.Request(  # noqa: S310 (the test's own chain)
            consortium.anvil.url, json.dumps(request).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(forwarded, timeout=5) as answered:  # noqa: S310 (likewise)
            body: bytes = answered.read()
        return body

    with serving(answer) as url:
        limited = consortium.open(
            consortium.members[1], tmp_path / "limited", replace(consortium.network, endpoints=(url,))
        )
        limited.view.refresh()
        assert [anchor.size for anchor in limited.view.anchors(FIRST, log)] == list(range(1, 12))
        assert refused
        limited.close()
