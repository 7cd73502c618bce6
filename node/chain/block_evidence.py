"""A block's header and receipts in the encoding that its hash and its receipts root are computed over.

The endpoint hands the header out raw where it can (`debug_getRawHeader`); else it is encoded again from its fields. It
is checked against the block hash, so a wrong guess about an engine shows at once.
"""

from __future__ import annotations

from typing import Any

import rlp
from eth_hash.auto import keccak

from node.chain.endpoints import Endpoints
from node.chain.json_rpc import (
    HASH_BYTES,
    WITHOUT_TRANSACTIONS,
    Fault,
    hexadecimal,
    read_bytes,
    read_object,
    read_quantity,
)
from node.chain.network import HeaderRule, Network
from node.errors import ChainMismatch, ChainUnavailable

EXTRA_DATA = 12  # place of the extra data in a header's list
ETHEREUM_FIELDS = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
QUANTITIES = frozenset(
    {
        *("difficulty", "number", "gasLimit", "gasUsed", "timestamp"),
        *("baseFeePerGas", "blobGasUsed", "excessBlobGas", "extDataGasUsed", "blockGasCost", "timestampMilliseconds"),
        "minDelayExcess",
    }
)


def raw_header(network: Network, endpoints: Endpoints, number: int, block_hash: bytes) -> bytes:
    """The RLP whose Keccak-256 is the hash of this block.

    Raises:
        ChainMismatch: the network's header rule does not lead to the hash, or there is no rule for it.
        ChainUnavailable: no endpoint answers, or none knows the block.
    """
    if network.header is HeaderRule.NONE:
        raise ChainMismatch(f"the block hash of {network.name} cannot be computed from its headers")
    answer = endpoints.attempt("debug_getRawHeader", hex(number))
    if not isinstance(answer, Fault) and answer is not None:
        header = _sealed(network, read_bytes(answer))
        if keccak(header) == block_hash:
            return header
    block = endpoints.ask("eth_getBlockByHash", hexadecimal(block_hash), WITHOUT_TRANSACTIONS)
    if block is None:
        raise ChainUnavailable(f"no endpoint knows the block {hexadecimal(block_hash)}", block=number)
    header = _sealed(network, encode_header(read_object(block), network.header_fields or ETHEREUM_FIELDS))
    if keccak(header) != block_hash:
        raise ChainMismatch(
            f"the header of block {number} does not lead to its hash; correct [header] of network {network.name}",
            block=number,
        )
    return header


def encode_header(block: dict[str, Any], fields: tuple[str, ...]) -> bytes:
    """RLP of a header from its JSON-RPC fields; those that the block lacks are newer than its chain."""
    return bytes(rlp.encode([_item(field, block[field]) for field in fields if block.get(field) is not None]))


def encoded_receipts(endpoints: Endpoints, block_hash: bytes) -> list[bytes]:
    """Every receipt of a block in consensus encoding (EIP-2718), by transaction. Raises ChainUnavailable."""
    answer = endpoints.attempt("eth_getBlockReceipts", hexadecimal(block_hash))
    if not isinstance(answer, list):
        block = read_object(endpoints.ask("eth_getBlockByHash", hexadecimal(block_hash), WITHOUT_TRANSACTIONS))
        answer = [endpoints.ask("eth_getTransactionReceipt", digest) for digest in block.get("transactions", [])]
    receipts = [read_object(item) for item in answer]
    return [encode_receipt(receipt) for receipt in sorted(receipts, key=_place)]


def encode_receipt(receipt: dict[str, Any]) -> bytes:
    """Consensus encoding of a receipt from its JSON-RPC fields."""
    logs = [
        [
            read_bytes(log.get("address")),
            [read_bytes(topic, HASH_BYTES) for topic in log.get("topics", [])],
            read_bytes(log.get("data")),
        ]
        for log in receipt.get("logs", [])
    ]
    fields = [
        read_quantity(receipt.get("status")),
        read_quantity(receipt.get("cumulativeGasUsed")),
        read_bytes(receipt.get("logsBloom")),
        logs,
    ]
    kind = read_quantity(receipt.get("type", "0x0"))
    return (bytes([kind]) if kind else b"") + bytes(rlp.encode(fields))


def _place(receipt: dict[str, Any]) -> int:
    return read_quantity(receipt.get("transactionIndex"))


def _item(field: str, value: object) -> int | bytes:
    return read_quantity(value) if field in QUANTITIES else read_bytes(value)


def _sealed(network: Network, header: bytes) -> bytes:
    """The header as its hash covers it. QBFT puts its seals of that hash into the extra data, so that for the hash the list
    there names round 0 and no seals.
    """
    if network.header is not HeaderRule.BFT_EXTRA:
        return header
    try:
        fields = rlp.decode(header)
        vanity, validators, vote, *_ = rlp.decode(fields[EXTRA_DATA])
        fields[EXTRA_DATA] = rlp.encode([vanity, validators, vote, 0, []])
        return bytes(rlp.encode(fields))
    except (rlp.exceptions.RLPException, ValueError, IndexError) as cause:
        raise ChainMismatch(f"the extra data of {network.name} is not that of QBFT") from cause
