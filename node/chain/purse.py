"""How many transactions an account can still pay for, looked at with each block, so that whoever watches a node sees it run low."""

from __future__ import annotations

import math
from collections.abc import Callable

from node.chain.endpoints import Endpoints
from node.chain.fees import present_fees
from node.chain.json_rpc import read_quantity
from node.chain.network import FeeRule, Network

USUAL_GAS = 200_000  # of a transaction: more than any of an exchange takes (tests/contracts/gas.toml)


class Purse:
    """What one account has, in transactions.

    Args:
        account: gives its address, EIP-55, which may change.
    """

    def __init__(self, network: Network, endpoints: Endpoints, account: Callable[[], str]) -> None:
        self._network = network
        self._endpoints = endpoints
        self._account = account
        self._payable = math.inf if network.fees is FeeRule.ZERO else math.nan

    @property
    def payable_transactions(self) -> float:
        """As of the last look; infinity where nothing is paid for, not a number before the first look."""
        return self._payable

    def look(self) -> None:
        """Ask what the account has and what a transaction costs. Raises ChainUnavailable."""
        if self._network.fees is FeeRule.ZERO:
            return
        offer = present_fees(self._network, self._endpoints)["maxFeePerGas"]
        self._payable = float(balance_of(self._endpoints, self._account()) // (offer * USUAL_GAS))


def balance_of(endpoints: Endpoints, account: str) -> int:
    """What an account has, wei. Raises ChainUnavailable."""
    return read_quantity(endpoints.ask("eth_getBalance", account, "latest"))
