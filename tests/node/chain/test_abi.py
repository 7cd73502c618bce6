"""Calls, events and errors are coded as Solidity codes them, and hostile ones stop nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from node.chain.abi import ContractABI, ErrorBook
from node.chain.json_rpc import LogRecord
from node.errors import ChainMismatch

PAIR: list[dict[str, Any]] = [{"name": "data", "type": "bytes"}, {"name": "place", "type": "string"}]
ABI: list[dict[str, Any]] = [
    {"type": "constructor", "inputs": [{"name": "count", "type": "uint16"}]},
    {"type": "function", "name": "set", "inputs": [{"name": "pair", "type": "tuple", "components": PAIR}]},
    {
        "type": "event",
        "name": "Set",
        "inputs": [
            {"name": "id", "type": "bytes32", "indexed": True},
            {"name": "count", "type": "uint32", "indexed": False},
            {"name": "pair", "type": "tuple", "components": PAIR, "indexed": False},
            {"name": "who", "type": "address", "indexed": True},
        ],
    },
    {
        "type": "error",
        "name": "Wrong",
        "inputs": [{"name": "id", "type": "bytes32"}, {"name": "note", "type": "string"}],
    },
    {"type": "error", "name": "Plain", "inputs": []},
]
CONTRACT = ContractABI(ABI)
TOPIC = keccak(b"Set(bytes32,uint32,(bytes,string),address)")


def log(topics: tuple[bytes, ...], data: bytes) -> LogRecord:
    """A log record of no particular place."""
    return LogRecord(bytes(20), topics, data, 1, bytes(32), bytes(32), 0)


def test_a_call_is_selector_and_arguments() -> None:
    data = CONTRACT.call("set", (b"x", "y"))
    assert data[:4] == keccak(b"set((bytes,string))")[:4]
    assert data[4:] == encode(["(bytes,string)"], [(b"x", "y")])
    assert CONTRACT.creation(b"code", 5) == b"code" + encode(["uint16"], [5])


@given(st.binary(max_size=80), st.text(max_size=40), st.integers(0, 2**32 - 1))
def test_an_event_gives_its_parameters_in_declared_order(data: bytes, place: str, count: int) -> None:
    who = b"\1" * 20
    event = CONTRACT.event(
        log((TOPIC, b"\2" * 32, bytes(12) + who), encode(["uint32", "(bytes,string)"], [count, (data, place)]))
    )
    assert event is not None
    assert event.name == "Set"
    assert event.values == (b"\2" * 32, count, (data, place), "0x" + who.hex())


def test_a_string_that_is_no_text_is_replaced() -> None:
    data = encode(["uint32", "(bytes,bytes)"], [1, (b"", b"a\xffb")])
    event = CONTRACT.event(log((TOPIC, bytes(32), bytes(32)), data))
    assert event is not None
    assert event.values[2][1] == "a\ufffdb"


@given(st.binary(max_size=200))
def test_an_ill_formed_event_is_read_or_is_a_mismatch(data: bytes) -> None:
    with contextlib.suppress(ChainMismatch):
        CONTRACT.event(log((TOPIC, bytes(32), bytes(32)), data))


def test_an_event_with_too_few_topics_is_refused_and_an_unknown_one_passed_over() -> None:
    with pytest.raises(ChainMismatch):
        CONTRACT.event(log((TOPIC,), encode(["uint32", "(bytes,string)"], [1, (b"", "")])))
    assert CONTRACT.event(log((bytes(32),), b"")) is None
    assert CONTRACT.event(log((), b"")) is None


def test_errors_are_told_with_their_values() -> None:
    book = ErrorBook([CONTRACT])
    wrong = keccak(b"Wrong(bytes32,string)")[:4]
    member = b"113707000000000014".ljust(32, b"\0")
    assert (
        book.explain(wrong + encode(["bytes32", "string"], [member, "hm"])) == "Wrong(id=113707000000000014, note=hm)"
    )
    assert book.explain(keccak(b"Plain()")[:4]) == "Plain()"
    assert book.explain(keccak(b"Error(string)")[:4] + encode(["string"], ["no"])) == "no"
    assert book.explain(keccak(b"Panic(uint256)")[:4] + encode(["uint256"], [17])) == "Panic(code=0x11)"
    assert book.explain(b"\1\2\3\4").startswith("an error that no contract of ours declares")
    assert book.explain(wrong + b"\1").startswith("an ill-formed error")


@given(st.binary(max_size=120))
def test_no_returned_bytes_make_the_explanation_fail(returned: bytes) -> None:
    assert ErrorBook([CONTRACT]).explain(returned)
