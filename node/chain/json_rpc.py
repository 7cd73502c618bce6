"""What an endpoint answers over JSON-RPC, read strictly: an endpoint is another's program and may say anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from node.errors import ChainUnavailable

HASH_BYTES = 32
ADDRESS_BYTES = 20
MAX_QUANTITY = 2**256 - 1  # a word of the EVM
MAX_NUMBER = 2**63 - 1  # of a block, a second, a place in a block: what the stores keep
WITHOUT_TRANSACTIONS = False  # second parameter of eth_getBlockBy…: hashes of transactions only
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


@dataclass(frozen=True)
class Fault:
    """An error object of JSON-RPC: the endpoint answered, and refused. `data`: what a contract returned, if anything."""

    code: int
    message: str
    data: bytes = b""


@dataclass(frozen=True)
class Header:
    """The part of a block header that indexing needs. `time`: Unix time, s."""

    number: int
    hash: bytes
    parent_hash: bytes
    time: int


@dataclass(frozen=True)
class LogRecord:
    """An event as the chain keeps it, undecoded."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction. `contract`: address that it created, if it did."""

    transaction_hash: bytes
    succeeded: bool
    block_number: int
    block_hash: bytes
    transaction_index: int
    contract: bytes
    logs: tuple[LogRecord, ...]


def read_header(answer: object) -> Header | None:
    """A block, or None where the chain has none there."""
    if answer is None:
        return None
    block = read_object(answer)
    return Header(
        number=read_quantity(block.get("number"), MAX_NUMBER),
        hash=read_bytes(block.get("hash"), HASH_BYTES),
        parent_hash=read_bytes(block.get("parentHash"), HASH_BYTES),
        time=read_quantity(block.get("timestamp"), MAX_NUMBER),
    )


def read_logs(answer: object) -> list[LogRecord]:
    """A list of events."""
    if not isinstance(answer, list):
        raise ChainUnavailable("an endpoint answered something else than a list of events")
    return [read_log(item) for item in answer]


def read_log(answer: object) -> LogRecord:
    """One event that stands in a block."""
    log = read_object(answer)
    topics = log.get("topics")
    if not isinstance(topics, list) or log.get("removed") is True:
        raise ChainUnavailable("an endpoint answered with an event that is in no block")
    return LogRecord(
        address=read_bytes(log.get("address"), ADDRESS_BYTES),
        topics=tuple(read_bytes(topic, HASH_BYTES) for topic in topics),
        data=read_bytes(log.get("data")),
        block_number=read_quantity(log.get("blockNumber"), MAX_NUMBER),
        block_hash=read_bytes(log.get("blockHash"), HASH_BYTES),
        transaction_hash=read_bytes(log.get("transactionHash"), HASH_BYTES),
        log_index=read_quantity(log.get("logIndex"), MAX_NUMBER),
    )


def read_receipt(answer: object) -> Receipt | None:
    """A receipt, or None while the transaction is in no block."""
    if answer is None:
        return None
    receipt = read_object(answer)
    if receipt.get("blockHash") is None:
        return None  # some engines answer for a transaction that still waits
    contract = receipt.get("contractAddress")
    return Receipt(
        transaction_hash=read_bytes(receipt.get("transactionHash"), HASH_BYTES),
        succeeded=read_quantity(receipt.get("status")) == 1,
        block_number=read_quantity(receipt.get("blockNumber"), MAX_NUMBER),
        block_hash=read_bytes(receipt.get("blockHash"), HASH_BYTES),
        transaction_index=read_quantity(receipt.get("transactionIndex"), MAX_NUMBER),
        contract=b"" if contract is None else read_bytes(contract, ADDRESS_BYTES),
        logs=tuple(read_logs(receipt.get("logs"))),
    )


def read_object(answer: object) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(answer, dict):
        raise ChainUnavailable("an endpoint answered something else than an object")
    return answer


def read_quantity(answer: object, highest: int = MAX_QUANTITY) -> int:
    """A number from 0 to `highest`, 0x and hexadecimal."""
    if not isinstance(answer, str) or not _QUANTITY.fullmatch(answer):
        raise ChainUnavailable("an endpoint answered something else than a number")
    number = int(answer, 16)
    if number > highest:
        raise ChainUnavailable("an endpoint answered with a number that nothing can have")
    return number


def read_bytes(answer: object, size: int | None = None) -> bytes:
    """Bytes, 0x and hexadecimal; of `size` if that is given."""
    if not isinstance(answer, str) or not answer.startswith("0x"):
        raise ChainUnavailable("an endpoint answered something else than bytes")
    try:
        decoded = bytes.fromhex(answer[2:])
    except ValueError as cause:
        raise ChainUnavailable("an endpoint answered something else than bytes") from cause
    if size is not None and len(decoded) != size:
        raise ChainUnavailable(f"an endpoint answered with {len(decoded)} bytes where {size} belong")
    return decoded


def hexadecimal(data: bytes) -> str:
    """Bytes as JSON-RPC spells them."""
    return "0x" + data.hex()
