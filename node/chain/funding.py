"""Money for the accounts of members, on a network where transactions are paid for.

Only an account with money can write there, and money comes from a treasury that the genesis gave it to, so whoever holds the treasury's
key decides who may write. An account is brought up to a balance rather than given a sum, so that the same call twice is the same as once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount
from eth_utils.address import (
    is_checksum_address,
    is_checksum_formatted_address,
    is_hex_address,
    to_checksum_address,
)

from node.chain.abi import ErrorBook
from node.chain.endpoints import Endpoints
from node.chain.finality import HeadFinality
from node.chain.journal_store import Call, JournalStore, State
from node.chain.network import FeeRule, Network
from node.chain.purse import balance_of
from node.chain.sender import DEADLINE_SECONDS, Sender
from node.errors import ConfigurationInvalid

WEI_DIGITS = 18  # decimal places of a coin
COIN = 10**WEI_DIGITS  # wei
# Digits beyond these would be more than any chain has.
AMOUNT = re.compile(r"(?P<whole>0|[1-9][0-9]{0,29})(?:\.(?P<rest>[0-9]{1,18}))?", re.ASCII)


@dataclass(frozen=True)
class Funded:
    """An account after funding. `before`, `after`: wei; `transaction`: hash of the transfer, empty if it had enough."""

    account: str
    before: int
    after: int
    transaction: bytes


def read_coins(text: str) -> int:
    """An amount in coins, such as "100" or "0.5", in wei. Raises ConfigurationInvalid (no number, not above 0, finer than a wei)."""
    found = AMOUNT.fullmatch(text)
    wei = int(found["whole"]) * COIN + int((found["rest"] or "").ljust(WEI_DIGITS, "0")) if found else 0
    if wei == 0:
        raise ConfigurationInvalid(f"{text!r} is no amount above 0, in coins with at most {WEI_DIGITS} decimal places")
    return wei


def show_coins(wei: int) -> str:
    """Wei in coins, without zeros at the end."""
    whole, rest = divmod(wei, COIN)
    return f"{whole}.{rest:0{WEI_DIGITS}}".rstrip("0").removesuffix(".")


def read_account_address(text: str) -> str:
    """An address, EIP-55. Raises ConfigurationInvalid (none, or its upper and lower case is not that of EIP-55)."""
    if not text.startswith("0x") or not is_hex_address(text):
        raise ConfigurationInvalid(f"{text} is neither a file nor an address, which is 0x and 40 hexadecimal digits")
    if is_checksum_formatted_address(text) and not is_checksum_address(text):
        raise ConfigurationInvalid(f"{text} is mistyped: its upper and lower case letters do not fit it (EIP-55)")
    return str(to_checksum_address(text))


def fund(  # noqa: PLR0913 (a composition has as many parts as it has)
    network: Network,
    directory: Path,
    treasury: LocalAccount,
    accounts: Sequence[str],
    balance: int,
    *,
    clock: Callable[[], int],
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Iterator[Funded]:
    """Bring each account up to a balance, one after the other; gives each when its block is final.

    Args:
        network: how to reach the chain.
        directory: where the treasury's journal lies, so that the same call goes on after a crash; made if absent.
        treasury: pays.
        accounts: addresses, EIP-55.
        balance: what each is to have, wei.
        clock: Unix time, ms.
        deadline_seconds: how long a transfer may take to a final block.

    Raises:
        ConfigurationInvalid: nothing costs anything on this network.
        AccountUnfunded: the treasury has not enough; those that were given are funded.
        ChainUnavailable: no endpoint answers, or not in time; the same call goes on.
    """
    if network.fees is FeeRule.ZERO:
        raise ConfigurationInvalid(f"transactions cost nothing on {network.name}; no account needs money")
    with (
        closing(Endpoints(network)) as endpoints,
        closing(JournalStore.open_or_create(directory, str(network.chain_id).encode())) as journal,
    ):
        endpoints.check()
        sender = Sender(
            network,
            endpoints,
            journal,
            treasury,
            HeadFinality(network, endpoints),
            explain=ErrorBook(()).explain,
            clock=clock,
            deadline_seconds=deadline_seconds,
        )
        for account in accounts:
            yield _fund_one(sender, endpoints, journal, account, balance)


def _fund_one(sender: Sender, endpoints: Endpoints, journal: JournalStore, account: str, balance: int) -> Funded:
    purpose = f"fund:{account}"
    entry = journal.entry(purpose)
    if entry is not None and entry.state is State.PENDING:
        sender.send(purpose, entry.call)  # of a call that was cut short: what it sends counts
    before = balance_of(endpoints, account)
    if before >= balance:
        return Funded(account, before, before, b"")
    transfer = Call(bytes.fromhex(account[2:]), b"", f"a transfer to {account}", balance - before)
    mined = sender.send(purpose, transfer, again=True)
    return Funded(account, before, balance_of(endpoints, account), mined.transaction_hash)
