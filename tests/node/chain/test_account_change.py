"""Another account on a running node: nothing that others send meanwhile fails or is done twice, and a crash loses nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from node.chain.account import new_account
from node.chain.adapter import Chain
from node.chain.funding import COIN
from node.chain.network import FeeRule
from node.errors import (
    AccountUnfunded,
    ChainMismatch,
    ChainUnavailable,
    TransactionPending,
    TransactionRefused,
)
from node.model.chain import KeyKind
from tests.support.anvil import Anvil
from tests.support.consortium import Consortium, MemberKit, found, make_member

DIGEST = b"\7" * 32


@pytest.fixture
def old(consortium: Consortium) -> MemberKit:
    """A member with the account that it is to replace."""
    return consortium.members[0]


@pytest.fixture
def new(old: MemberKit) -> MemberKit:
    """The same member with the account that comes next."""
    return replace(old, account=new_account(os.urandom))


def sizes(chain: Chain, member: MemberKit, log: bytes) -> list[int]:
    """What the member's log was anchored with."""
    chain.view.refresh()
    return [anchor.size for anchor in chain.view.anchors(member.member_id, log)]


def signers(chain: Chain, member: MemberKit, log: bytes) -> list[str]:
    """Who signed the anchors of a log, lower case."""
    hashes = [anchor.transaction_hash for anchor in chain.view.anchors(member.member_id, log)]
    return [str(chain.endpoints.ask("eth_getTransactionByHash", "0x" + one.hex())["from"]) for one in hashes]  # type: ignore[index]


def leave_unsent(chain: Chain, log: bytes) -> None:
    """Anchor, and be killed before anything was sent."""
    broadcast, chain.sender._deadline_ms = chain.sender._broadcast, 0
    chain.sender._broadcast = lambda _: None  # type: ignore[method-assign, assignment]  # lost on its way
    with pytest.raises(TransactionPending):
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
    chain.sender._broadcast = broadcast  # type: ignore[method-assign]


def test_what_others_send_meanwhile_is_done_once_each_by_one_account_or_the_other(
    chain: Chain, old: MemberKit, new: MemberKit
) -> None:
    logs = [os.urandom(32) for _ in range(4)]
    failures: list[BaseException] = []
    going = threading.Event()
    done = threading.Event()

    def send(log: bytes) -> None:
        try:
            for size in range(1, 200):
                chain.writer.anchor(log, size, DIGEST, DIGEST)
                going.set()
                if done.is_set():
                    chain.writer.anchor(log, size + 1, DIGEST, DIGEST)
                    return
        except BaseException as failure:  # noqa: BLE001  # every failure is one too many
            failures.append(failure)

    threads = [threading.Thread(target=send, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    assert going.wait(20)
    mined = chain.change_account(new.account, lambda: chain.governance.rotate_keys(new.keys, 1))
    done.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert chain.sender.address == new.account.address
    for log in logs:
        found = sizes(chain, old, log)
        assert found == list(range(1, len(found) + 1))
        by = signers(chain, old, log)
        assert by[0] == old.account.address.lower()
        assert by[-1] == new.account.address.lower()
    member = chain.view.member(old.member_id)
    assert member is not None
    assert (member.keys.account, member.keys.since_block) == (new.account.address, mined.block.number)
    assert chain.journal.pending() == 0


def test_what_does_not_settle_in_time_leaves_everything_as_it_was(
    chain: Chain, consortium: Consortium, old: MemberKit, new: MemberKit
) -> None:
    log = os.urandom(32)
    consortium.anvil.rpc("evm_setAutomine", False)
    chain.sender._deadline_ms = 0
    with pytest.raises(TransactionPending):
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
    with pytest.raises(TransactionPending, match=r"stays as it is: no final block holds Anchors\.anchor yet"):
        chain.change_account(new.account, pytest.fail, deadline_seconds=0.1)
    assert chain.sender.address == old.account.address
    consortium.anvil.rpc("evm_setAutomine", True)
    consortium.anvil.mine()
    chain.sender._deadline_ms = 20_000
    chain.change_account(new.account, lambda: chain.governance.rotate_keys(new.keys, 1))
    chain.writer.anchor(log, 2, DIGEST, DIGEST)
    assert signers(chain, old, log) == [old.account.address.lower(), new.account.address.lower()]


def test_a_rotation_that_is_refused_leaves_everything_as_it_was(chain: Chain, old: MemberKit, new: MemberKit) -> None:
    log = os.urandom(32)
    with pytest.raises(TransactionRefused, match="EpochPassed"):
        chain.change_account(new.account, lambda: chain.governance.rotate_keys(new.keys, 7))
    with pytest.raises(ChainMismatch, match="no member's account in force"):
        chain.change_account(new.account, lambda: None)
    assert chain.sender.address == old.account.address
    chain.writer.anchor(log, 1, DIGEST, DIGEST)
    assert signers(chain, old, log) == [old.account.address.lower()]


def test_a_rotation_that_is_not_final_in_time_is_joined_by_the_same_call(
    chain: Chain, consortium: Consortium, old: MemberKit, new: MemberKit
) -> None:
    consortium.anvil.rpc("evm_setAutomine", False)
    chain.sender._deadline_ms = 0

    def change() -> None:
        chain.change_account(new.account, lambda: chain.governance.rotate_keys(new.keys, 1), deadline_seconds=0)

    for _ in range(2):  # the second time it is what has to settle first
        with pytest.raises(TransactionPending):
            change()
        assert chain.sender.address == old.account.address
    consortium.anvil.rpc("evm_setAutomine", True)
    consortium.anvil.mine()
    change()
    assert chain.sender.address == new.account.address
    member = chain.view.member(old.member_id)
    assert member is not None
    assert [epoch.account for epoch in member.epochs] == [old.account.address, new.account.address]


def test_a_stop_ends_the_wait_of_those_who_were_held_back(chain: Chain, new: MemberKit) -> None:
    failures: list[BaseException] = []
    waiting = threading.Event()

    def send() -> None:
        waiting.set()
        try:
            chain.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
        except ChainUnavailable as failure:
            failures.append(failure)

    sender = threading.Thread(target=send)

    def stop() -> None:
        sender.start()
        assert waiting.wait(20)
        chain.sender.stop()
        sender.join(20)
        assert not sender.is_alive()

    with pytest.raises(ChainMismatch):
        chain.change_account(new.account, stop)
    assert len(failures) == 1


@pytest.mark.parametrize("first", ["old", "new"])
def test_what_was_never_sent_before_a_crash_is_done_once_by_the_new_account(
    consortium: Consortium, old: MemberKit, new: MemberKit, tmp_path: Path, first: str
) -> None:
    """The rotation went out from another machine, so that the nonce is taken too; the node starts with either account."""
    log, elsewhere = os.urandom(32), consortium.open(old, tmp_path / "elsewhere")
    chain = consortium.open(old, tmp_path / "node")
    chain.view.refresh()
    leave_unsent(chain, log)
    chain.close()
    elsewhere.governance.rotate_keys(new.keys, 1)
    elsewhere.close()
    if first == "old":  # the key store was not changed over yet: what cannot be done is told, and nothing gets lost
        chain = consortium.open(old, tmp_path / "node")
        chain.view.refresh()
        chain.sender.sweep()
        assert chain.journal.pending() == 1
        chain.close()
    with closing(consortium.open(new, tmp_path / "node")) as chain:
        indexed = threading.Semaphore(0)
        chain.view.on_block(indexed.release)
        chain.start()
        while not chain.view.anchors(old.member_id, log) or chain.journal.pending():
            assert indexed.acquire(timeout=20)
        mined = chain.writer.anchor(log, 1, DIGEST, DIGEST)
        assert [anchor.transaction_hash for anchor in chain.view.anchors(old.member_id, log)] == [
            mined.transaction_hash
        ]
        assert signers(chain, old, log) == [new.account.address.lower()]


def test_a_rotation_that_a_crash_left_unsent_is_sent_as_it_was_signed(
    consortium: Consortium, old: MemberKit, new: MemberKit, tmp_path: Path
) -> None:
    chain = consortium.open(old, tmp_path / "node")
    chain.view.refresh()
    chain.sender._broadcast = lambda _: None  # type: ignore[method-assign, assignment]
    chain.sender._deadline_ms = 0
    with pytest.raises(TransactionPending):
        chain.change_account(new.account, lambda: chain.governance.rotate_keys(new.keys, 1))
    chain.close()
    log = os.urandom(32)
    with closing(consortium.open(new, tmp_path / "node")) as chain:
        # Of the old account nothing can be signed any more, and the new one is not in force yet.
        with pytest.raises(TransactionRefused, match="NotAMember"):
            chain.writer.anchor(log, 1, DIGEST, DIGEST)
        assert chain.governance.rotate_keys(new.keys, 1) is not None
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
        assert signers(chain, old, log) == [new.account.address.lower()]
        assert chain.journal.pending() == 0


def test_what_a_block_refused_because_the_rotation_came_first_is_done_by_the_new_account(
    consortium: Consortium, old: MemberKit, new: MemberKit, tmp_path: Path
) -> None:
    log = os.urandom(32)
    chain = consortium.open(old, tmp_path / "node")
    chain.view.refresh()
    broadcast, chain.sender._deadline_ms = chain.sender._broadcast, 0
    chain.sender._broadcast = lambda _: None  # type: ignore[method-assign, assignment]  # an estimate would see the rotation coming
    calls: list[Callable[[], object]] = [
        lambda: chain.governance.rotate_keys(new.keys, 1),
        lambda: chain.writer.anchor(log, 1, DIGEST, DIGEST),
    ]
    for call in calls:
        with pytest.raises(TransactionPending):
            call()
    chain.sender._broadcast = broadcast  # type: ignore[method-assign]
    consortium.anvil.rpc("evm_setAutomine", False)
    chain.sender.resume()
    chain.close()
    consortium.anvil.mine()
    consortium.anvil.rpc("evm_setAutomine", True)
    with closing(consortium.open(new, tmp_path / "node")) as again:
        again.view.refresh()
        again.writer.anchor(log, 1, DIGEST, DIGEST)
        assert signers(again, old, log) == [new.account.address.lower()]
        again.sender.sweep()
        assert again.journal.pending() == 0


def test_what_cannot_be_done_by_the_new_account_either_is_given_up(
    consortium: Consortium, old: MemberKit, new: MemberKit, tmp_path: Path
) -> None:
    log = os.urandom(32)
    chain = consortium.open(old, tmp_path / "node")
    chain.view.refresh()
    leave_unsent(chain, log)
    chain.close()
    elsewhere = consortium.open(old, tmp_path / "elsewhere")
    elsewhere.view.refresh()
    elsewhere.writer.anchor(log, 5, DIGEST, DIGEST)
    elsewhere.governance.rotate_keys(new.keys, 1)
    elsewhere.close()
    with closing(consortium.open(new, tmp_path / "node")) as again:
        again.view.refresh()
        again.sender.sweep()
        assert again.journal.pending() == 0
        assert sizes(again, old, log) == [5]
        again.writer.anchor(log, 6, DIGEST, DIGEST)


def test_an_account_that_was_declared_compromised_takes_nothing_over(consortium: Consortium, tmp_path: Path) -> None:
    second = consortium.members[1]
    renewed = replace(second, account=new_account(os.urandom))
    chain = consortium.open(second, tmp_path / "node")
    chain.view.refresh()
    leave_unsent(chain, os.urandom(32))
    chain.close()
    elsewhere = consortium.open(second, tmp_path / "elsewhere")
    elsewhere.view.refresh()
    elsewhere.change_account(renewed.account, lambda: elsewhere.governance.rotate_keys(renewed.keys, 1))
    elsewhere.governance.declare_compromise(KeyKind.ACCOUNT, [2], 1)
    assert not elsewhere.view.is_in_force(renewed.account.address)
    elsewhere.close()
    with closing(consortium.open(renewed, tmp_path / "node")) as again:
        again.view.refresh()
        again.sender.sweep()
        assert again.journal.pending() == 1  # it waits for a recovery


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Consortium]:
    """A consortium of one, with a hundred coins, on a chain that wants to be paid."""
    with Anvil(tmp_path / "market", base_fee=10**9) as anvil:
        kit = make_member(1)
        anvil.rpc("anvil_setBalance", kit.account.address, hex(100 * COIN))
        yield found(anvil, tmp_path / "deployment", [kit], fees=FeeRule.MARKET)


def balance(consortium: Consortium, account: str) -> int:
    return int(consortium.anvil.rpc("eth_getBalance", account, "latest"), 16)


def test_money_goes_over_once_and_enough_stays_for_the_rotation(market: Consortium, tmp_path: Path) -> None:
    (old,) = market.members
    new = replace(old, account=new_account(os.urandom), certificate=os.urandom(4_096))  # the largest that there is
    with closing(market.open(old, tmp_path / "node")) as chain:
        chain.view.refresh()
        before = balance(market, old.account.address)
        mined = chain.move_funds(new.account.address)
        moved = balance(market, new.account.address)
        assert moved > 0.9 * before
        assert chain.move_funds(new.account.address) == mined
        assert balance(market, new.account.address) == moved
        chain.change_account(new.account, lambda: chain.governance.rotate_keys(new.keys, 1))
        log = os.urandom(32)
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
        assert signers(chain, old, log) == [new.account.address.lower()]
        chain.purse.look()
        assert chain.purse.payable_transactions > 100


def test_an_account_that_has_its_reserve_alone_moves_nothing(market: Consortium, tmp_path: Path) -> None:
    (old,) = market.members
    target = new_account(os.urandom).address
    with closing(market.open(old, tmp_path / "node")) as chain:
        chain.view.refresh()
        market.anvil.rpc("anvil_setBalance", old.account.address, hex(COIN // 10_000))
        with pytest.raises(AccountUnfunded, match="last transactions"):
            chain.move_funds(target)
        assert (balance(market, target), chain.journal.pending()) == (0, 0)


def test_a_rehearsal_tells_that_the_account_cannot_pay(market: Consortium, tmp_path: Path) -> None:
    (old,) = market.members
    with closing(market.open(old, tmp_path / "node")) as chain:
        assert chain.governance.rehearse_rotation(old.keys, 1) > 0
        market.anvil.rpc("anvil_setBalance", old.account.address, "0x1")
        with pytest.raises(AccountUnfunded):
            chain.governance.rehearse_rotation(old.keys, 1)


def test_a_transfer_of_an_account_from_before_is_sent_as_it_was_signed(market: Consortium, tmp_path: Path) -> None:
    """The new account must not be made to give its own money."""
    (old,) = market.members
    new = replace(old, account=new_account(os.urandom))
    chain = market.open(old, tmp_path / "node")
    chain.view.refresh()
    chain.sender._broadcast, chain.sender._deadline_ms = (lambda _: None), 0  # type: ignore[method-assign, assignment]
    with pytest.raises(TransactionPending):
        chain.move_funds(new.account.address)
    chain.close()
    with closing(market.open(new, tmp_path / "node")) as chain:
        chain.view.refresh()
        chain.sender.resume()
        market.anvil.mine()
        chain.view.refresh()
        chain.sender.sweep()
        assert chain.journal.pending() == 0
        assert balance(market, new.account.address) > 90 * COIN


def test_where_nothing_is_paid_for_no_money_moves(chain: Chain, new: MemberKit) -> None:
    assert chain.move_funds(new.account.address) is None
    assert chain.journal.pending() == 0
