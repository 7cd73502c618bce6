"""Money reaches an account once, whatever is cut short, and whoever has none is told so."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.account import new_account
from node.chain.endpoints import Endpoints
from node.chain.funding import COIN, Funded, fund, read_account_address, read_coins, show_coins
from node.chain.journal_store import JournalStore, State
from node.chain.network import FeeRule
from node.chain.purse import USUAL_GAS, Purse
from node.errors import AccountUnfunded, ChainUnavailable, ConfigurationInvalid
from tests.support.anvil import Anvil
from tests.support.consortium import clock_ms, found, make_member, network_of

CHECKSUMMED = "0x52908400098527886E0F7030069857D2E4169EE7"  # EIP-55's own example
BASE_FEE = 10**9


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Anvil]:
    """A chain that wants to be paid."""
    with Anvil(tmp_path / "market", base_fee=BASE_FEE) as anvil:
        yield anvil


class Treasury:
    """An account with a thousand coins on that chain, and its journal."""

    def __init__(self, anvil: Anvil, directory: Path) -> None:
        self.account = new_account(os.urandom)
        self.network = network_of(anvil, fees=FeeRule.MARKET)
        self.journal = directory / "treasury.journal"
        anvil.rpc("anvil_setBalance", self.account.address, hex(1_000 * COIN))

    def fund(self, *accounts: str, balance: int = 100 * COIN, deadline_seconds: float = 20.0) -> list[Funded]:
        """Bring accounts up to a balance."""
        return list(
            fund(
                self.network,
                self.journal,
                self.account,
                accounts,
                balance,
                clock=clock_ms,
                deadline_seconds=deadline_seconds,
            )
        )


def held(anvil: Anvil, account: str) -> int:
    """What an account has, wei."""
    return int(anvil.rpc("eth_getBalance", account, "latest"), 16)


def test_an_account_is_brought_up_to_a_balance_and_given_nothing_if_it_has_it(market: Anvil, tmp_path: Path) -> None:
    treasury = Treasury(market, tmp_path)
    first, second = (new_account(os.urandom).address for _ in range(2))
    given = treasury.fund(first, second)
    assert [(one.account, one.before, one.after) for one in given] == [
        (first, 0, 100 * COIN),
        (second, 0, 100 * COIN),
    ]
    assert all(market.rpc("eth_getTransactionReceipt", f"0x{one.transaction.hex()}") for one in given)
    assert treasury.fund(first, balance=COIN) == [Funded(first, 100 * COIN, 100 * COIN, b"")]
    (more,) = treasury.fund(first, balance=101 * COIN)
    assert (more.before, more.after) == (100 * COIN, 101 * COIN)
    assert held(market, treasury.account.address) > 798 * COIN


def test_a_transfer_that_was_cut_short_is_waited_for_and_counts(market: Anvil, tmp_path: Path) -> None:
    treasury = Treasury(market, tmp_path)
    account = new_account(os.urandom).address
    market.rpc("evm_setAutomine", False)
    with pytest.raises(ChainUnavailable, match="may still be mined"):
        treasury.fund(account, deadline_seconds=0)
    with closing(JournalStore.open(treasury.journal, str(market.chain_id).encode())) as journal:
        entry = journal.entry(f"fund:{account}")
        assert entry is not None
        assert (entry.state, entry.call.value) == (State.PENDING, 100 * COIN)
    market.rpc("evm_setAutomine", True)
    market.mine()
    assert treasury.fund(account, balance=100 * COIN) == [Funded(account, 100 * COIN, 100 * COIN, b"")]
    assert held(market, account) == 100 * COIN


def test_a_treasury_that_has_not_enough_says_so_and_gives_nothing(market: Anvil, tmp_path: Path) -> None:
    treasury = Treasury(market, tmp_path)
    account = new_account(os.urandom).address
    with pytest.raises(AccountUnfunded, match=treasury.account.address):
        treasury.fund(account, balance=1_000 * COIN)  # which leaves nothing for the fee
    assert held(market, account) == 0
    assert treasury.fund(account, balance=COIN)[0].after == COIN


def test_where_transactions_cost_nothing_there_is_nothing_to_fund(anvil: Anvil, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="cost nothing"):
        list(fund(network_of(anvil), tmp_path / "j", new_account(os.urandom), [CHECKSUMMED], COIN, clock=clock_ms))
    with closing(Endpoints(network_of(anvil))) as endpoints:
        purse = Purse(network_of(anvil), endpoints, lambda: CHECKSUMMED)
        purse.look()
        assert purse.payable_transactions == math.inf


def test_a_purse_counts_the_transactions_that_the_account_can_still_pay_for(market: Anvil, tmp_path: Path) -> None:
    kit = make_member(1)
    market.rpc("anvil_setBalance", kit.account.address, hex(10 * COIN))
    consortium = found(market, tmp_path / "deployment", [kit], fees=FeeRule.MARKET)
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    with closing(chain):
        assert math.isnan(chain.purse.payable_transactions)
        chain.view.refresh()
        before = chain.purse.payable_transactions
        # An offer is twice the base fee and a tip, so a coin pays for about as many as this.
        assert 0 < before < held(market, kit.account.address) / (BASE_FEE * USUAL_GAS)
        market.rpc("anvil_setBalance", kit.account.address, hex(COIN // 1_000))
        market.mine()
        chain.view.refresh()
        assert chain.purse.payable_transactions < before / 1_000


@given(st.integers(1, 10**48 - 1))
def test_an_amount_that_is_shown_can_be_read(wei: int) -> None:
    assert read_coins(show_coins(wei)) == wei


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "1.", ".5", "1e3", "01", "1,5", "0.0000000000000000001", "١", ""])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="no amount"):
        read_coins(text)


def test_an_address_is_taken_without_case_or_with_the_right_one() -> None:
    assert read_account_address(CHECKSUMMED) == CHECKSUMMED
    assert read_account_address(CHECKSUMMED.lower()) == CHECKSUMMED
    with pytest.raises(ConfigurationInvalid, match="mistyped"):
        read_account_address(CHECKSUMMED.replace("EE7", "Ee7"))
    for wrong in ("0x1234", CHECKSUMMED[2:], "health/admission.json"):
        with pytest.raises(ConfigurationInvalid, match="neither a file nor an address"):
            read_account_address(wrong)
