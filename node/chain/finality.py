"""Which blocks count: the newest block that is final under the network's rule."""

from __future__ import annotations

from typing import Protocol

from node.chain.endpoints import Endpoints
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, Header, read_header
from node.chain.network import FinalityRule, Network
from node.errors import ChainUnavailable
from node.model.chain import Block


class Finality(Protocol):
    """What a sender asks to know when a transaction is done."""

    def refresh(self) -> None:
        """Look at the chain again. Raises ChainUnavailable."""

    def final_block(self, number: int) -> Block | None:
        """The final block of this number, as of the last `refresh`; None while there is none."""


class HeadFinality:
    """Finality asked of the endpoints themselves, for whoever keeps no index: the deployment."""

    def __init__(self, network: Network, endpoints: Endpoints) -> None:
        self._network = network
        self._endpoints = endpoints
        self._final = -1  # number of the newest final block known

    def refresh(self) -> None:
        """Ask for the newest final block."""
        head = final_head(self._network, self._endpoints)
        self._final = -1 if head is None else head.number

    def final_block(self, number: int) -> Block | None:
        """The final block of this number."""
        header = header_at(self._endpoints, number) if number <= self._final else None
        return None if header is None else Block(header.number, header.hash, header.time)


def final_head(network: Network, endpoints: Endpoints) -> Header | None:
    """The newest final block; None while a young chain has none. Raises ChainUnavailable, ChainMismatch."""
    if network.finality is FinalityRule.FINALIZED_TAG:
        return read_header(endpoints.ask("eth_getBlockByNumber", "finalized", WITHOUT_TRANSACTIONS))
    head = read_header(endpoints.ask("eth_getBlockByNumber", "latest", WITHOUT_TRANSACTIONS))
    if head is None or network.depth == 0:
        return head
    return header_at(endpoints, head.number - network.depth) if head.number >= network.depth else None


def header_at(endpoints: Endpoints, number: int) -> Header | None:
    """The header of this number on the chain as it is now; None beyond its end."""
    header = read_header(endpoints.ask("eth_getBlockByNumber", hex(number), WITHOUT_TRANSACTIONS))
    if header is not None and header.number != number:
        raise ChainUnavailable(f"an endpoint answered with block {header.number} where {number} was asked for")
    return header
