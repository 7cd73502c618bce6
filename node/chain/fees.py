"""What a transaction offers for being mined: nothing, or a base fee and a tip (EIP-1559).

The offer is the most that is paid; what is paid is the base fee of the block and the tip. So an offer of twice the present base fee costs
no more than the present one, and holds while the market rises.
"""

from __future__ import annotations

import rlp

from node.chain.endpoints import Endpoints
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, Fault, read_object, read_quantity
from node.chain.network import FeeRule, Network

MARKET_HEADROOM = 2  # times the present base fee: enough for six full blocks in a row
REPLACEMENT_PERCENT = 125  # of the former fee; pools ask for 110


def present_fees(network: Network, endpoints: Endpoints) -> dict[str, int]:
    """The fields of a transaction that offer what the network asks for now, wei a gas. Raises ChainUnavailable."""
    if network.fees is FeeRule.ZERO:
        return {"gasPrice": 0}
    tip = endpoints.attempt("eth_maxPriorityFeePerGas")
    priority = 1 if isinstance(tip, Fault) else max(1, read_quantity(tip))
    block = read_object(endpoints.ask("eth_getBlockByNumber", "latest", WITHOUT_TRANSACTIONS))
    base = read_quantity(block.get("baseFeePerGas", "0x0"))
    return {"maxFeePerGas": MARKET_HEADROOM * base + priority, "maxPriorityFeePerGas": priority, "type": 2}


def outbid(fees: dict[str, int], signed: bytes) -> dict[str, int] | None:
    """The fields of a replacement for a transaction that the market has left behind; None while what it offers is enough.

    Args:
        fees: what the network asks for now.
        signed: the transaction, of type 2.
    """
    tip, highest = _offered(signed)
    if fees["maxFeePerGas"] <= highest:
        return None
    tip = max(fees["maxPriorityFeePerGas"], tip * REPLACEMENT_PERCENT // 100 + 1)
    highest = max(fees["maxFeePerGas"], highest * REPLACEMENT_PERCENT // 100 + 1, tip)
    return {**fees, "maxFeePerGas": highest, "maxPriorityFeePerGas": tip}


def gas_of(signed: bytes) -> int:
    """The gas limit of a signed EIP-1559 transaction: item 4 of the list after its type byte."""
    return int.from_bytes(rlp.decode(signed[1:])[4], "big")


def _offered(signed: bytes) -> tuple[int, int]:
    """(tip, highest fee) of a signed EIP-1559 transaction: items 2 and 3 of the list after its type byte."""
    fields = rlp.decode(signed[1:])
    return int.from_bytes(fields[2], "big"), int.from_bytes(fields[3], "big")
