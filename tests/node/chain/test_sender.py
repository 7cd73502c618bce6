"""One purpose, one transaction: over crashes, outages, races and reverts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from node.chain import journal_store
from node.chain.adapter import Chain, open_chain
from node.chain.deployment import dump_deployment
from node.chain.interfaces import load_interfaces
from node.chain.journal_store import Call, Entry, JournalStore, State
from node.chain.json_rpc import hexadecimal
from node.chain.network import FeeRule
from node.errors import ChainMismatch, ChainStoreUnusable, ChainUnavailable, TransactionRefused
from node.model.chain import Block, Mined, SharingType
from tests.support.anvil import ROOT, Anvil
from tests.support.consortium import FIRST, Consortium, MemberKit, clock_ms, dataset_of, found, make_member

DIGEST = b"\7" * 32


def transactions(consortium: Consortium, member: int = 0) -> int:
    """Transactions of a member that the chain has mined."""
    address = consortium.members[member].account.address
    return int(consortium.anvil.rpc("eth_getTransactionCount", address, "latest"), 16)


def test_the_same_call_again_gives_the_same_transaction(chain: Chain, consortium: Consortium) -> None:
    log = os.urandom(32)
    first = chain.writer.anchor(log, 3, DIGEST, DIGEST)
    before = transactions(consortium)
    assert chain.writer.anchor(log, 3, DIGEST, DIGEST) == first
    assert chain.sender.done(f"anchor:{log.hex()}:3") == first
    assert transactions(consortium) == before


def test_an_anchor_on_the_chain_is_found_without_the_journal(
    chain: Chain, consortium: Consortium, tmp_path: Path
) -> None:
    log = os.urandom(32)
    first = chain.writer.anchor(log, 3, DIGEST, DIGEST)
    other = consortium.open(consortium.members[0], tmp_path / "journal lost")
    other.view.refresh()
    assert other.writer.anchor(log, 3, DIGEST, DIGEST) == first
    other.close()


def test_a_refusal_carries_the_contracts_error_and_burns_no_nonce(chain: Chain, consortium: Consortium) -> None:
    log = os.urandom(32)
    chain.writer.anchor(log, 3, DIGEST, DIGEST)
    before = transactions(consortium)
    with pytest.raises(TransactionRefused, match=rf"HeadDoesNotGrow\(log=0x{log.hex()}, from=3, to=2\)"):
        chain.writer.anchor(log, 2, DIGEST, DIGEST)
    with pytest.raises(TransactionRefused, match="HeadDoesNotGrow"):
        chain.writer.anchor(log, 3, DIGEST, b"\1" * 32)  # the same purpose with another note is not the same thing
    assert transactions(consortium) == before
    assert chain.view.health().pending_transactions == 0


def test_an_error_names_members_by_their_id(consortium: Consortium, second_chain: Chain) -> None:
    caller = consortium.members[1].member_id
    with pytest.raises(TransactionRefused, match=f"NotTheProvider.*member={caller}"):
        second_chain.writer.register_dataset(dataset_of(FIRST), DIGEST, 1, SharingType.CONDITIONAL)


def test_a_catalogue_entry_is_registered_once_and_updated_after(chain: Chain) -> None:
    dataset = dataset_of(FIRST)
    first = chain.writer.register_dataset(dataset, b"\1" * 32, 1, SharingType.CONDITIONAL)
    assert chain.writer.register_dataset(dataset, b"\1" * 32, 1, SharingType.CONDITIONAL) == first
    changed = chain.writer.register_dataset(dataset, b"\2" * 32, 3, SharingType.UNCONDITIONAL)
    assert chain.writer.register_dataset(dataset, b"\2" * 32, 3, SharingType.UNCONDITIONAL) == changed
    chain.writer.register_dataset(dataset, b"\1" * 32, 1, SharingType.CONDITIONAL)
    chain.writer.register_dataset(dataset, b"\2" * 32, 3, SharingType.UNCONDITIONAL)
    entry = chain.view.dataset(dataset)
    assert entry is not None
    assert (entry.description_digest, entry.level) == (b"\2" * 32, 3)


def test_side_by_side_every_call_has_its_own_nonce(chain: Chain, consortium: Consortium) -> None:
    before = transactions(consortium)
    logs = [os.urandom(32) for _ in range(12)]
    threads = [threading.Thread(target=chain.writer.anchor, args=(log, 1, DIGEST, DIGEST)) for log in logs]
    threads += [threading.Thread(target=chain.writer.anchor, args=(log, 1, DIGEST, DIGEST)) for log in logs[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(chain.view.newest_anchor(FIRST, log) is not None for log in logs)
    assert transactions(consortium) == before + len(logs)
    assert chain.view.health().pending_transactions == 0


CRASHING = """
import os, signal, sys
from pathlib import Path
from eth_account import Account
from node.chain.adapter import open_chain
from node.chain.deployment import load_deployment
from node.chain.network import load_network
from tests.support.consortium import clock_ms

directory, secret, log, moment = Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4]
chain = open_chain(
    load_network(directory / "network.toml"), load_deployment(directory / "contracts.toml"), directory / "node",
    Account.from_key(secret), clock=clock_ms,
)
send = chain.sender._broadcast

def crash(entry):
    if moment == "after":
        send(entry)
    os.kill(os.getpid(), signal.SIGKILL)

chain.sender._broadcast = crash
chain.view.refresh()
chain.writer.anchor(log, 1, bytes(32), b"\\x07" * 32)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_sending_leaves_exactly_one_transaction(
    consortium: Consortium, tmp_path: Path, moment: str
) -> None:
    """The process is killed just before, or just after, the journaled transaction goes out."""
    member, log = consortium.members[0], os.urandom(32)
    (tmp_path / "network.toml").write_text(
        f"""name = "embedded"\nchain_id = {consortium.network.chain_id}\nendpoints = ["{consortium.anvil.url}"]
[finality]\nrule = "every-block"\n[fees]\nrule = "zero"\n[header]\nrule = "ethereum"
[poll]\ninterval_milliseconds = 50\n"""
    )
    (tmp_path / "contracts.toml").write_text(dump_deployment(consortium.deployment))
    before = transactions(consortium)
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING, str(tmp_path), member.account.key.hex(), log.hex(), moment],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    assert transactions(consortium) == before + (moment == "after")
    chain = consortium.open(member, tmp_path / "node")
    assert chain.view.health().pending_transactions == 1
    mined = chain.writer.anchor(log, 1, bytes(32), DIGEST)
    assert transactions(consortium) == before + 1
    assert [anchor.transaction_hash for anchor in chain.view.anchors(FIRST, log)] == [mined.transaction_hash]
    assert chain.view.health().pending_transactions == 0
    chain.close()


def test_what_was_journaled_is_sent_at_the_next_start_without_being_asked(
    consortium: Consortium, tmp_path: Path
) -> None:
    log = os.urandom(32)
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    chain.view.refresh()

    def cut(_: Entry) -> None:
        raise ChainUnavailable("cut")

    chain.sender._broadcast = cut  # type: ignore[method-assign, assignment]
    with pytest.raises(ChainUnavailable, match="journaled and may still be mined"):
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
    chain.close()
    again = consortium.open(consortium.members[0], tmp_path / "first")
    indexed = threading.Semaphore(0)
    again.view.on_block(indexed.release)
    again.start()
    while again.view.newest_anchor(FIRST, log) is None or again.view.health().pending_transactions:
        assert indexed.acquire(timeout=20)
    again.close()


def test_an_outage_while_waiting_is_not_read_as_absence(consortium: Consortium, tmp_path: Path) -> None:
    """Mining stands still; the call ends at its deadline, and the same call later finds its transaction."""
    log = os.urandom(32)
    member = consortium.members[0]
    impatient = open_chain(
        consortium.network,
        consortium.deployment,
        tmp_path / "first",
        member.account,
        clock=clock_ms,
        deadline_seconds=0.2,
    )
    impatient.view.refresh()
    before = transactions(consortium)
    consortium.anvil.rpc("evm_setAutomine", False)
    with pytest.raises(ChainUnavailable, match="journaled and may still be mined"):
        impatient.writer.anchor(log, 1, DIGEST, DIGEST)
    with pytest.raises(ChainUnavailable, match="journaled and may still be mined"):
        impatient.writer.anchor(log, 1, DIGEST, DIGEST)
    assert impatient.view.health().pending_transactions == 1
    consortium.anvil.mine()
    impatient.writer.anchor(log, 1, DIGEST, DIGEST)
    assert transactions(consortium) == before + 1
    impatient.close()


def test_without_any_endpoint_nothing_is_journaled(consortium: Consortium, tmp_path: Path) -> None:
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    consortium.anvil.stop()
    with pytest.raises(ChainUnavailable):
        chain.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
    assert chain.view.health().pending_transactions == 0
    chain.close()


def test_a_nonce_that_another_program_took_is_replaced(chain: Chain, consortium: Consortium) -> None:
    """Somebody used the member's account elsewhere; the journaled transaction can never be mined, another one is."""
    log, account = os.urandom(32), consortium.members[0].account
    broadcast = chain.sender._broadcast
    chain.sender._broadcast = lambda _: None  # type: ignore[method-assign, assignment]  # lost on its way
    chain.sender._deadline_ms = 0
    with pytest.raises(ChainUnavailable):
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
    nonce = transactions(consortium)
    foreign = account.sign_transaction(
        {
            "nonce": nonce,
            "gas": 21_000,
            "gasPrice": 0,
            "value": 0,
            "chainId": consortium.network.chain_id,
            "to": bytes(20),
        }
    )
    consortium.anvil.rpc("eth_sendRawTransaction", hexadecimal(bytes(foreign.raw_transaction)))
    chain.sender._broadcast = broadcast  # type: ignore[method-assign]
    chain.sender._deadline_ms = 20_000
    chain.writer.anchor(log, 1, DIGEST, DIGEST)
    assert transactions(consortium) == nonce + 2
    assert chain.view.newest_anchor(FIRST, log) is not None
    assert chain.view.health().pending_transactions == 0


def test_another_call_of_the_same_purpose_waits_for_the_first(chain: Chain, consortium: Consortium) -> None:
    """A head was journaled with one note; the same size with another note is refused only once the first is mined."""
    log = os.urandom(32)
    chain.sender._deadline_ms = 0
    broadcast = chain.sender._broadcast
    chain.sender._broadcast = lambda _: None  # type: ignore[method-assign, assignment]
    with pytest.raises(ChainUnavailable):
        chain.writer.anchor(log, 1, DIGEST, DIGEST)
    chain.sender._broadcast = broadcast  # type: ignore[method-assign]
    chain.sender._deadline_ms = 20_000
    with pytest.raises(TransactionRefused, match="HeadDoesNotGrow"):
        chain.writer.anchor(log, 1, DIGEST, b"\1" * 32)
    newest = chain.view.newest_anchor(FIRST, log)
    assert newest is not None
    assert newest.note_digest == DIGEST


def test_a_revert_in_a_block_is_told_with_the_contracts_error(chain: Chain, consortium: Consortium) -> None:
    """Two heads of one size are sent without a rehearsal between them; the chain mines one and reverts the other."""
    log = os.urandom(32)
    consortium.anvil.rpc("evm_setAutomine", False)
    refused: list[TransactionRefused] = []

    def second() -> None:
        data = load_interfaces()["Anchors"].call("anchor", log, 1, DIGEST, b"\1" * 32)
        try:
            chain.sender.send("second", Call(consortium.deployment.address("Anchors"), data, "Anchors.anchor"))
        except TransactionRefused as refusal:
            refused.append(refusal)

    threads = [
        threading.Thread(target=chain.writer.anchor, args=(log, 1, DIGEST, DIGEST)),
        threading.Thread(target=second),
    ]
    threads[0].start()
    wait_until(lambda: chain.journal.pending() == 1)
    chain.sender._rehearse = lambda _: 500_000  # type: ignore[method-assign, assignment]
    threads[1].start()
    wait_until(lambda: consortium.anvil.rpc("txpool_status")["pending"] == "0x2")
    consortium.anvil.mine()
    for thread in threads:
        thread.join(20)
    assert "HeadDoesNotGrow" in str(refused[0])
    assert chain.view.health().pending_transactions == 0
    entry = chain.journal.entry("second")
    assert entry is not None
    assert entry.state is State.REFUSED


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask a real process until something holds, within a deadline."""
    deadline = clock_ms() + 20_000
    while not holds():
        assert clock_ms() < deadline


def test_a_market_network_is_paid_and_a_price_left_behind_is_raised(tmp_path: Path) -> None:
    with Anvil(tmp_path / "market", base_fee=10**9) as anvil:
        kit = make_member(1)
        consortium = found_with_money(anvil, kit, tmp_path)
        chain = consortium.open(consortium.members[0], tmp_path / "first")
        chain.view.refresh()
        log = os.urandom(32)
        anvil.rpc("evm_setAutomine", False)
        chain.sender._deadline_ms = 0
        with pytest.raises(ChainUnavailable):
            chain.writer.anchor(log, 1, DIGEST, DIGEST)
        # The market rises above what was offered; a second look replaces the offer under the same nonce.
        anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(20_000_000_000))
        anvil.mine()
        assert chain.view.newest_anchor(FIRST, log) is None
        chain.sender._deadline_ms = 20_000
        sending = threading.Thread(target=chain.writer.anchor, args=(log, 1, DIGEST, DIGEST))
        sending.start()
        wait_until(lambda: any(len(entry.signed) == 2 for entry in unfinished(chain, consortium)))
        entry = unfinished(chain, consortium)[0]
        wait_until(lambda: anvil.rpc("eth_getTransactionByHash", hexadecimal(entry.hashes[1])) is not None)
        anvil.mine()
        sending.join(20)
        anchor = chain.view.newest_anchor(FIRST, log)
        assert anchor is not None
        assert anchor.transaction_hash == entry.hashes[1]
        chain.close()


def test_a_transaction_that_nobody_waits_for_does_not_hold_up_those_after_it(tmp_path: Path) -> None:
    with Anvil(tmp_path / "market", base_fee=10**9) as anvil:
        consortium = found_with_money(anvil, make_member(1), tmp_path)
        chain = consortium.open(consortium.members[0], tmp_path / "first")
        chain.view.refresh()
        first, second = os.urandom(32), os.urandom(32)
        anvil.rpc("evm_setAutomine", False)
        chain.sender._deadline_ms = 0
        with pytest.raises(ChainUnavailable):
            chain.writer.anchor(first, 1, DIGEST, DIGEST)
        anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(20_000_000_000))
        anvil.mine()
        chain.sender._deadline_ms = 20_000
        sending = threading.Thread(target=chain.writer.anchor, args=(second, 1, DIGEST, DIGEST))
        sending.start()
        wait_until(lambda: len(unfinished(chain, consortium)[0].signed) == 2)
        lower, higher = unfinished(chain, consortium)
        assert (lower.nonce + 1, len(higher.signed)) == (higher.nonce, 1)
        wait_until(lambda: anvil.rpc("eth_getTransactionByHash", hexadecimal(lower.hashes[1])) is not None)
        anvil.mine()
        sending.join(20)
        chain.view.refresh()
        found_anchors = [chain.view.newest_anchor(FIRST, log) for log in (first, second)]
        assert [anchor and anchor.transaction_hash for anchor in found_anchors] == [lower.hashes[1], higher.hashes[0]]
        assert not unfinished(chain, consortium)
        chain.close()


def unfinished(chain: Chain, consortium: Consortium) -> list[Entry]:
    """Entries of the first member that wait."""
    return chain.journal.unfinished(bytes.fromhex(consortium.members[0].account.address[2:]))


def found_with_money(anvil: Anvil, kit: MemberKit, directory: Path) -> Consortium:
    """A consortium of one on a chain that wants to be paid."""
    anvil.rpc("anvil_setBalance", kit.account.address, hex(10**21))
    return found(anvil, directory / "deployment", [kit], fees=FeeRule.MARKET)


def test_an_account_without_money_is_told_so(tmp_path: Path) -> None:
    with Anvil(tmp_path / "market", base_fee=10**9) as anvil, pytest.raises(TransactionRefused, match="funds"):
        found(anvil, tmp_path / "deployment", [make_member(1)], fees=FeeRule.MARKET)


def test_a_journal_is_of_one_deployment(tmp_path: Path) -> None:
    JournalStore.create(tmp_path / "journal", b"one").close()
    with pytest.raises(ChainMismatch):
        JournalStore.open(tmp_path / "journal", b"two")
    with pytest.raises(ChainStoreUnusable):
        JournalStore.create(tmp_path / "journal", b"one")
    with pytest.raises(ChainStoreUnusable):
        JournalStore.open(tmp_path / "nowhere", b"one")


def test_no_two_unfinished_entries_share_a_nonce_and_a_gap_is_filled(tmp_path: Path) -> None:
    journal = JournalStore.create(tmp_path / "journal", b"one")
    call, account = Call(bytes(20), b"data", "call"), b"\1" * 20

    def begin(purpose: str, chain_nonce: int) -> Entry:
        return journal.begin(purpose, call, account, chain_nonce, lambda nonce: purpose.encode() + bytes([nonce]))

    entries = [begin(f"p{number}", 5) for number in range(3)]
    assert [entry.nonce for entry in entries] == [5, 6, 7]
    assert begin("p1", 5) == entries[1]
    journal.discard(entries[1])
    assert begin("p3", 6).nonce == 6
    mined = Mined(b"\2" * 32, Block(9, b"\3" * 32, 1))
    journal.finish(entries[0], mined, succeeded=True)
    assert begin("p0", 5).mined == mined
    assert begin("p4", 5).nonce == 8  # an endpoint that lags says 5, the journal knows better
    assert journal.pending() == 3
    assert journal.reopen_above(9) == 0
    assert journal.reopen_above(8) == 1
    assert [entry.nonce for entry in journal.unfinished(account)] == [5, 6, 7, 8]
    journal.close()


def test_a_former_nonce_that_did_it_after_all_leaves_the_newer_one_free(tmp_path: Path) -> None:
    journal = JournalStore.create(tmp_path / "journal", b"one")
    call, account = Call(bytes(20), b"data", "call"), b"\1" * 20
    entry = journal.begin("p", call, account, 5, lambda nonce: bytes([nonce]))
    renewed = journal.renew(entry, 6, lambda nonce: bytes([nonce]), account)
    assert (renewed.nonce, renewed.hashes[:-1]) == (6, entry.hashes)
    assert journal.entry("p") == renewed
    journal.finish(renewed, Mined(entry.hashes[0], Block(9, b"\3" * 32, 1)), succeeded=True)
    assert journal.pending() == 0
    assert journal.begin("q", call, account, 6, lambda nonce: bytes([nonce])).nonce == 6
    journal.close()


def test_transactions_finished_long_ago_are_dropped_and_their_result_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_store, "KEPT_TRANSACTIONS", 2)
    journal = JournalStore.create(tmp_path / "journal", b"one")
    call, account = Call(bytes(20), b"data", "call"), b"\1" * 20
    for number in range(4):
        entry = journal.begin(f"p{number}", call, account, 0, lambda nonce: bytes([nonce]))
        journal.finish(entry, Mined(entry.hashes[0], Block(number, bytes(32), 1)), succeeded=True)
    kept = [journal.entry(f"p{number}") for number in range(4)]
    assert [entry is not None and bool(entry.signed) for entry in kept] == [False, False, True, True]
    assert all(entry is not None and entry.mined is not None for entry in kept)
    journal.close()


def test_a_dataset_is_withdrawn_once_and_for_good(chain: Chain) -> None:
    dataset = dataset_of(FIRST)
    chain.writer.register_dataset(dataset, b"\1" * 32, 1, SharingType.CONDITIONAL)
    mined = chain.writer.withdraw_dataset(dataset)
    assert chain.writer.withdraw_dataset(dataset) == mined
    entry = chain.view.dataset(dataset)
    assert entry is not None
    assert entry.withdrawn
    with pytest.raises(TransactionRefused, match="DatasetIsWithdrawn"):
        chain.writer.set_head(dataset, 1, DIGEST, DIGEST)
