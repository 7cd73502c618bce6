"""The transaction journal: a purpose has one entry, a nonce one unfinished purpose, and a block that goes reopens both."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from eth_hash.auto import keccak
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from node.chain.journal_store import Call, Entry, JournalStore, State
from node.model.chain import Block, Mined

IDENTITY = b"one deployment"
ACCOUNT, OTHER = b"\1" * 20, b"\2" * 20
CALL, CHANGED = Call(b"\3" * 20, b"data", "Anchors.anchor"), Call(b"\3" * 20, b"other data", "Anchors.anchor")
PURPOSES = [f"anchor:{number}" for number in range(6)]
purposes = st.sampled_from(PURPOSES)


def signed(purpose: str, nonce: int, price: int = 0) -> bytes:
    """What stands for a signed transaction: all that makes it different from others."""
    return f"{purpose} with nonce {nonce} at {price}".encode()


def begin(journal: JournalStore, purpose: str, chain_nonce: int = 0, account: bytes = ACCOUNT) -> Entry:
    return journal.begin(purpose, CALL, account, chain_nonce, lambda nonce: signed(purpose, nonce))


def mined(entry: Entry, block: int) -> Mined:
    return Mined(entry.hashes[-1], Block(block, bytes([block]) * 32, 1_000 + block))


@pytest.fixture
def journal(tmp_path: Path) -> JournalStore:
    return JournalStore.create(tmp_path / "journal", IDENTITY)


def test_of_two_who_raise_one_price_the_first_is_kept_and_the_second_told(journal: JournalStore) -> None:
    entry = begin(journal, "p")
    raised = journal.replace(entry, signed("p", 0, 1))
    assert journal.replace(entry, signed("p", 0, 2)) == raised == journal.entry("p")
    journal.finish(raised, mined(raised, 4), succeeded=True)
    assert journal.replace(raised, signed("p", 0, 3)) == journal.entry("p")
    assert journal.pending() == 0
    discarded = begin(journal, "q")
    journal.discard(discarded)
    assert journal.replace(discarded, signed("q", 1, 1)) == discarded
    assert journal.entry("q") is None


def test_what_hands_money_over_survives_a_restart_as_it_was(journal: JournalStore, tmp_path: Path) -> None:
    transfer = Call(b"\3" * 20, b"", "a transfer", 10**21)
    begun = journal.begin("fund", transfer, ACCOUNT, 0, lambda nonce: signed("fund", nonce))
    journal.close()
    again = JournalStore.open(tmp_path / "journal", IDENTITY)
    assert again.entry("fund") == begun
    assert begun.call.value == 10**21
    again.close()


def test_an_entry_survives_a_restart_as_it_was(journal: JournalStore, tmp_path: Path) -> None:
    first = journal.replace(begin(journal, "p", 7), signed("p", 7, 1))
    second = begin(journal, "q", 7)
    journal.finish(second, mined(second, 4), succeeded=False)
    held = [journal.entry("p"), journal.entry("q"), journal.entry("never begun")]
    journal.close()
    journal = JournalStore.open_or_create(tmp_path / "journal", IDENTITY)
    assert [journal.entry("p"), journal.entry("q"), journal.entry("never begun")] == held
    assert held[0] == first
    assert first.signed == (signed("p", 7), signed("p", 7, 1))
    assert first.hashes == tuple(map(keccak, first.signed))
    assert held[1] == replace(second, state=State.REFUSED, mined=mined(second, 4))
    assert journal.pending() == 1
    journal.close()


def test_a_mined_call_is_not_done_again_unless_it_is_another_or_asked_for(journal: JournalStore) -> None:
    entry = begin(journal, "p")
    journal.finish(entry, mined(entry, 4), succeeded=True)
    done = journal.entry("p")
    assert done is not None
    assert begin(journal, "p") == done
    assert done.is_done(CALL, again=False)
    assert not done.is_done(CALL, again=True)
    assert not done.is_done(CHANGED, again=False)
    assert not entry.is_done(CALL, again=False)
    again = journal.begin("p", CALL, ACCOUNT, 0, lambda nonce: signed("p", nonce), again=True)
    assert (again.state, again.nonce) == (State.PENDING, 1)
    journal.finish(again, mined(again, 5), succeeded=True)
    other = journal.begin("p", CHANGED, ACCOUNT, 0, lambda nonce: signed("p", nonce))
    assert (other.call, other.nonce) == (CHANGED, 2)
    journal.close()


def test_what_was_refused_can_be_tried_again(journal: JournalStore) -> None:
    entry = begin(journal, "p")
    journal.finish(entry, mined(entry, 4), succeeded=False)
    again = begin(journal, "p")
    assert (again.state, again.nonce) == (State.PENDING, 1)
    journal.close()


def test_accounts_count_their_nonces_apart(journal: JournalStore) -> None:
    assert [begin(journal, purpose, 3).nonce for purpose in ("a", "b")] == [3, 4]
    assert [begin(journal, purpose, 3, OTHER).nonce for purpose in ("c", "d")] == [3, 4]
    assert [entry.purpose for entry in journal.unfinished(ACCOUNT)] == ["a", "b"]
    assert [entry.purpose for entry in journal.unfinished(OTHER)] == ["c", "d"]
    assert journal.pending() == 4
    journal.close()


def test_a_renewed_entry_takes_a_later_nonce_and_forgets_what_it_had_signed(journal: JournalStore) -> None:
    entry = begin(journal, "p", 5)
    renewed = journal.renew(entry, 6, lambda nonce: signed("p", nonce), ACCOUNT)
    assert (renewed.nonce, renewed.signed) == (6, (signed("p", 6),))
    again = journal.renew(renewed, 3, lambda nonce: signed("p", nonce), ACCOUNT)
    assert again.nonce == 7
    assert [found.nonce for found in journal.unfinished(ACCOUNT)] == [7]
    # Whoever read it before has not the last word: what was signed since may be on its way.
    assert journal.renew(renewed, 9, lambda nonce: signed("p", nonce), ACCOUNT) == again
    assert journal.unfinished() == [again]
    journal.close()


def test_an_entry_that_another_account_signs_anew_takes_a_nonce_of_that_one(journal: JournalStore) -> None:
    begin(journal, "other", 2, OTHER)
    entry = begin(journal, "p", 57)
    renewed = journal.renew(entry, 2, lambda nonce: signed("p", nonce), OTHER)
    assert (renewed.account, renewed.nonce) == (OTHER, 3)
    assert renewed.hashes == (*entry.hashes, keccak(renewed.signed[0]))
    assert journal.unfinished(ACCOUNT) == []
    assert [found.purpose for found in journal.unfinished()] == ["other", "p"]
    assert begin(journal, "next", 57).nonce == 57  # which nothing holds any more
    journal.close()


def test_finishing_twice_changes_nothing(journal: JournalStore) -> None:
    entry = begin(journal, "p")
    journal.finish(entry, mined(entry, 4), succeeded=True)
    journal.finish(entry, mined(entry, 9), succeeded=False)
    held = journal.entry("p")
    assert held is not None
    assert (held.state, held.mined) == (State.MINED, mined(entry, 4))
    journal.close()


def test_a_signature_that_fails_leaves_no_entry(journal: JournalStore) -> None:
    def failing(_nonce: int) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.begin("p", CALL, ACCOUNT, 0, failing)
    assert journal.entry("p") is None
    assert journal.pending() == 0
    assert begin(journal, "q").nonce == 0
    journal.close()


def test_blocks_that_went_are_noticed_also_where_a_later_one_was_finished_first(journal: JournalStore) -> None:
    """Two callers wait side by side, and the one whose block is newer may look first."""
    older, newer = begin(journal, "p"), begin(journal, "q")
    journal.finish(newer, mined(newer, 12), succeeded=True)
    journal.finish(older, mined(older, 10), succeeded=True)
    assert journal.reopen_above(11) == 1
    assert [entry.purpose for entry in journal.unfinished(ACCOUNT)] == ["q"]
    journal.close()


class JournalMachine(RuleBasedStateMachine):
    """A journal beside its model: what is known of each purpose. The chain mines nonces in their order, a block each."""

    path: Path

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.path, ignore_errors=True)
        self.journal: JournalStore
        self.pending: dict[str, Entry] = {}
        self.finished: dict[str, tuple[Entry, int, bool]] = {}
        self.used: list[Entry] = []
        self.block = 0
        self.newest_refusal = 0  # its block, also where the same purpose was begun again since

    @initialize()
    def create(self) -> None:
        self.journal = JournalStore.create(self.path, IDENTITY)

    @rule(purpose=purposes, lag=st.integers(0, 2))
    def begin(self, purpose: str, lag: int) -> None:
        """The endpoint that was asked for the nonce may lag behind."""
        entry = begin(self.journal, purpose, max(self._floor() - lag, 0))
        if purpose in self.pending:
            assert entry == self.pending[purpose]
        elif purpose in self.finished and self.finished[purpose][2]:
            assert entry.mined == mined(entry, self.finished[purpose][1])
        else:
            assert entry.nonce == min(set(range(self._floor(), 100)) - {held.nonce for held in self.pending.values()})
            self.finished.pop(purpose, None)
            self.pending[purpose] = entry

    @precondition(lambda self: len(self.pending) > 0)
    @rule(succeeded=st.booleans())
    def mine(self, succeeded: bool) -> None:  # noqa: FBT001  # drawn by hypothesis
        entry = min(self.pending.values(), key=lambda held: held.nonce)
        self.block += 1
        self.journal.finish(entry, mined(entry, self.block), succeeded=succeeded)
        del self.pending[entry.purpose]
        self.used.append(entry)
        self.finished[entry.purpose] = (entry, self.block, succeeded)
        if not succeeded:
            self.newest_refusal = self.block

    @rule(depth=st.integers(0, 4))
    def lose_blocks(self, depth: int) -> None:
        """As deep as below the newest refusal: whoever wanted a refused one was told so, and it is never sent again."""
        self.block = max(self.block - depth, self.newest_refusal, 0)
        gone = {
            purpose: entry
            for purpose, (entry, block, succeeded) in self.finished.items()
            if succeeded and block > self.block
        }
        assert self.journal.reopen_above(self.block) == len(gone)
        for purpose, entry in gone.items():
            del self.finished[purpose]
            self.used.remove(entry)
            self.pending[purpose] = entry

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = JournalStore.open(self.path, IDENTITY)

    @precondition(lambda self: hasattr(self, "journal"))
    @invariant()
    def it_is_what_the_model_is(self) -> None:
        waiting = sorted(self.pending.values(), key=lambda entry: entry.nonce)
        assert self.journal.unfinished(ACCOUNT) == waiting
        assert self.journal.pending() == len(waiting)
        assert len({entry.nonce for entry in waiting}) == len(waiting)
        for purpose, (entry, block, succeeded) in self.finished.items():
            held = self.journal.entry(purpose)
            state = State.MINED if succeeded else State.REFUSED
            assert held == replace(entry, state=state, mined=mined(entry, block))

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()

    def _floor(self) -> int:
        """The lowest nonce that no block of the chain as it is now holds."""
        return max((entry.nonce + 1 for entry in self.used), default=0)


def test_a_journal_keeps_one_nonce_for_one_purpose_under_any_order_of_what_can_happen(tmp_path: Path) -> None:
    machine = type("Machine", (JournalMachine,), {"path": tmp_path / "journal"})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
