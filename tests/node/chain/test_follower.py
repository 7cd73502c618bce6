"""The index follows a real chain: events in, reorganisations back, restarts, outages."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from node.chain import index_store
from node.chain.adapter import Chain, open_chain
from node.chain.follower import LAG_SECONDS
from node.chain.index_store import IndexStore
from node.chain.interfaces import load_interfaces
from node.chain.journal_store import Call
from node.chain.json_rpc import hexadecimal
from node.chain.network import FinalityRule
from node.errors import ChainMismatch, ChainStoreUnusable, ChainUnavailable
from node.model.chain import Block, GrantState, MemberStatus, SharingType
from tests.support.anvil import Anvil
from tests.support.consortium import FIRST, SECOND, Consortium, clock_ms, dataset_of, in_force_with

DEADLINE_SECONDS = 20


def state_of(chain: Chain, *logs: bytes) -> dict[str, object]:
    """What a view tells, for comparison."""
    view = chain.view
    return {
        "members": list(view.members()),
        "datasets": sorted(view.datasets(), key=lambda dataset: dataset.dataset_id),
        "grants": sorted(view.grants(), key=lambda grant: grant.grant_id),
        "anchors": [view.anchors(FIRST, log) for log in logs],
    }


def test_the_index_says_what_the_members_did(chain: Chain, consortium: Consortium, second_chain: Chain) -> None:
    provider, requester = consortium.members
    other = second_chain
    dataset, grant, log = dataset_of(FIRST), os.urandom(32), os.urandom(32)
    chain.writer.register_dataset(dataset, b"\1" * 32, 2, SharingType.CONDITIONAL)
    chain.writer.set_head(dataset, 10, b"\2" * 32, b"\3" * 32)
    other.writer.request_grant(grant, dataset, b"\5" * 32)
    chain.view.refresh()
    asked = chain.view.grant(grant)
    assert asked is not None
    assert (asked.state, asked.requester_id, asked.provider_id) == (
        GrantState.REQUESTED,
        requester.member_id,
        provider.member_id,
    )
    chain.writer.approve_grant(grant, b"\6" * 32, 2_000_000_000, 3)
    mined = chain.writer.advance_grant(grant, 7, b"\7" * 32)
    for size in (5, 6, 300):
        chain.writer.anchor(log, size, size.to_bytes(32, "big"), b"\4" * 32)
    other.view.refresh()
    assert state_of(other, log) == state_of(chain, log)
    entry, given = chain.view.dataset(dataset), chain.view.grant(grant)
    assert entry is not None
    assert given is not None
    assert (entry.provider_id, entry.size, entry.root, entry.version_digest) == (
        provider.member_id,
        10,
        b"\2" * 32,
        b"\3" * 32,
    )
    assert (given.state, given.expiry_seconds, given.quota, given.terms_digest) == (
        GrantState.APPROVED,
        2_000_000_000,
        3,
        b"\6" * 32,
    )
    assert (given.last_sequence, given.last_receipt_digest) == (7, b"\7" * 32)
    assert [anchor.size for anchor in chain.view.anchors(FIRST, log)] == [5, 6, 300]
    newest = chain.view.newest_anchor(FIRST, log)
    assert newest is not None
    assert (newest.size, newest.member_id, newest.block.number) == (300, provider.member_id, mined.block.number + 3)
    assert chain.view.newest_anchor(FIRST, os.urandom(32)) is None
    other.writer.close_grant(grant)


def test_who_anchors_under_anothers_log_id_has_a_log_of_its_own(
    chain: Chain, consortium: Consortium, second_chain: Chain
) -> None:
    """Even the same size, and a greater one, and before the owner: none of it is the owner's log."""
    log, theirs, ours = os.urandom(32), b"\x0e" * 32, b"\x0f" * 32
    for size in (3, 900):
        second_chain.writer.anchor(log, size, theirs, theirs)
    chain.view.refresh()
    assert chain.view.newest_anchor(FIRST, log) is None
    chain.writer.anchor(log, 3, ours, ours)
    chain.writer.anchor(log, 4, ours, ours)
    second_chain.view.refresh()
    for view in (chain.view, second_chain.view):
        assert [(held.member_id, held.size, held.root) for held in view.anchors(FIRST, log)] == [
            (FIRST, 3, ours),
            (FIRST, 4, ours),
        ]
        assert [(held.member_id, held.size, held.root) for held in view.anchors(SECOND, log)] == [
            (SECOND, 3, theirs),
            (SECOND, 900, theirs),
        ]
        newest = view.newest_anchor(FIRST, log)
        assert newest is not None
        assert newest.size == 4


def test_members_are_found_by_the_certificate_in_force(
    chain: Chain, consortium: Consortium, second_chain: Chain
) -> None:
    first, second = consortium.members
    member = in_force_with(chain.view, second.certificate)
    assert member is not None
    assert (member.member_id, member.is_active, member.keys.account) == (
        second.member_id,
        True,
        second.account.address,
    )
    assert member.keys.signing_key == second.signing_key.public_key
    # The second member names the first one's certificate: the first keeps it.
    second_chain.governance.rotate_keys(replace(second, certificate=first.certificate).keys, 1)
    chain.view.refresh()
    kept = in_force_with(chain.view, first.certificate)
    assert kept is not None
    assert kept.member_id == first.member_id
    assert in_force_with(chain.view, second.certificate) is None


def test_nonsense_of_one_member_stops_nobody(chain: Chain, consortium: Consortium, second_chain: Chain) -> None:
    second = consortium.members[1]
    bad = replace(second.keys, signing_key=b"\4" + b"\xff" * 64, endpoint="??")  # no point of the curve
    data = load_interfaces()["Members"].call("rotateKeys", bad.words(), 1)
    place = data.rindex(b"??")
    data = data[:place] + b"\xff\xfe" + data[place + 2 :]  # no UTF-8
    second_chain.sender.send("nonsense", Call(consortium.deployment.address("Members"), data, "nonsense"))
    chain.view.refresh()
    member = chain.view.member(second.member_id)
    assert member is not None
    assert member.status is MemberStatus.SUSPENDED
    assert [epoch.epoch for epoch in member.epochs] == [1]
    chain.writer.anchor(os.urandom(32), 1, b"\1" * 32, b"\2" * 32)


def test_a_restart_goes_on_where_the_index_was(consortium: Consortium, tmp_path: Path) -> None:
    first = consortium.members[0]
    log = os.urandom(32)
    chain = consortium.open(first, tmp_path / "first")
    chain.writer.anchor(log, 1, b"\1" * 32, b"\2" * 32)
    before = state_of(chain, log)
    chain.close()
    again = consortium.open(first, tmp_path / "first")
    assert state_of(again, log) == before  # from the store alone: nothing was asked yet
    again.writer.anchor(log, 2, b"\1" * 32, b"\2" * 32)
    assert [anchor.size for anchor in again.view.anchors(FIRST, log)] == [1, 2]
    again.close()


def test_an_index_read_in_small_ranges_equals_one_that_grew(
    chain: Chain, consortium: Consortium, tmp_path: Path
) -> None:
    log = os.urandom(32)
    for size in range(1, 20):
        chain.writer.anchor(log, size, b"\1" * 32, b"\2" * 32)
    network = replace(consortium.network, range_blocks=4)
    other = consortium.open(consortium.members[1], tmp_path / "other", network)
    other.view.refresh()
    assert state_of(other, log) == state_of(chain, log)
    other.close()


def test_blocks_that_went_are_taken_back(consortium: Consortium, second_chain: Chain, tmp_path: Path) -> None:
    anvil, log, other_log = consortium.anvil, os.urandom(32), os.urandom(32)
    writing = consortium.open(consortium.members[0], tmp_path / "first")
    writing.writer.anchor(log, 1, b"\1" * 32, b"\2" * 32)
    second_chain.view.refresh()
    before = state_of(second_chain, log, other_log)
    snapshot, stays = anvil.rpc("evm_snapshot"), anvil.height()
    dataset = dataset_of(FIRST)
    writing.writer.anchor(log, 2, b"\3" * 32, b"\2" * 32)
    writing.writer.anchor(other_log, 9, b"\3" * 32, b"\2" * 32)
    writing.writer.register_dataset(dataset, b"\1" * 32, 2, SharingType.CONDITIONAL)
    writing.close()
    told: list[int] = []
    second_chain.view.on_reorganisation(told.append)
    second_chain.view.refresh()
    assert second_chain.view.dataset(dataset) is not None
    anvil.rpc("evm_revert", snapshot)
    anvil.mine(2)
    second_chain.view.refresh()
    assert told == [stays]
    assert state_of(second_chain, log, other_log) == before
    again = consortium.open(consortium.members[0], tmp_path / "elsewhere")
    again.writer.anchor(log, 5, b"\4" * 32, b"\2" * 32)
    again.close()
    second_chain.view.refresh()
    assert [anchor.size for anchor in second_chain.view.anchors(FIRST, log)] == [1, 5]


def test_transactions_of_blocks_that_went_are_sent_again(chain: Chain, consortium: Consortium) -> None:
    anvil, log = consortium.anvil, os.urandom(32)
    chain.writer.anchor(log, 1, b"\1" * 32, b"\2" * 32)
    former = [chain.writer.anchor(log, size, b"\3" * 32, b"\2" * 32) for size in (2, 3)]
    anvil.rpc("anvil_reorg", 2, [])  # the newest two blocks, replaced by empty ones
    chain.view.refresh()
    assert chain.view.health().pending_transactions == 2  # sent again by this very refresh
    chain.view.refresh()
    assert [anchor.size for anchor in chain.view.anchors(FIRST, log)] == [1, 2, 3]
    assert [anchor.transaction_hash for anchor in chain.view.anchors(FIRST, log)[1:]] == [
        mined.transaction_hash for mined in former
    ]
    assert chain.view.health().pending_transactions == 0


def test_a_chain_that_only_lags_takes_nothing_back(consortium: Consortium, tmp_path: Path) -> None:
    now = [1_000_000]
    first, log = consortium.members[0], os.urandom(32)
    writing = consortium.open(first, tmp_path / "first")
    writing.writer.anchor(log, 1, b"\1" * 32, b"\2" * 32)
    snapshot = consortium.anvil.rpc("evm_snapshot")
    writing.writer.anchor(log, 2, b"\1" * 32, b"\2" * 32)
    writing.close()
    watching = open_chain(
        consortium.network, consortium.deployment, tmp_path / "watching", first.account, clock=lambda: now[0]
    )
    watching.view.refresh()
    consortium.anvil.rpc("evm_revert", snapshot)
    watching.view.refresh()
    assert [anchor.size for anchor in watching.view.anchors(FIRST, log)] == [1, 2]
    now[0] += LAG_SECONDS * 1_000
    watching.view.refresh()  # so long that it is no lag
    assert [anchor.size for anchor in watching.view.anchors(FIRST, log)] == [1]
    watching.close()


def test_a_reorganisation_deeper_than_the_index_can_undo_rebuilds_it(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_store, "KEPT_BLOCKS", 3)
    log = os.urandom(32)
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    snapshot = consortium.anvil.rpc("evm_snapshot")
    for size in range(1, 8):
        chain.writer.anchor(log, size, b"\1" * 32, b"\2" * 32)
    chain.close()
    consortium.anvil.rpc("evm_revert", snapshot)
    consortium.anvil.mine(9)
    watching = consortium.open(consortium.members[0], tmp_path / "first")
    watching.view.refresh()
    assert len(watching.view.members()) == 2
    watching.close()


def test_a_depth_rule_counts_a_block_only_under_later_ones(
    chain: Chain, consortium: Consortium, tmp_path: Path
) -> None:
    log = os.urandom(32)
    mined = chain.writer.anchor(log, 1, b"\1" * 32, b"\2" * 32)
    network = replace(consortium.network, finality=FinalityRule.DEPTH, depth=2)
    careful = consortium.open(consortium.members[1], tmp_path / "careful", network)
    careful.view.refresh()
    assert careful.view.newest_anchor(FIRST, log) is None
    consortium.anvil.mine(2)
    careful.view.refresh()
    assert careful.view.newest_anchor(FIRST, log) is not None
    assert careful.view.health().head == mined.block
    careful.close()


def test_an_outage_is_told_and_ends_by_itself(consortium: Consortium, tmp_path: Path) -> None:
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    assert not chain.view.health().reachable
    reached = threading.Semaphore(0)
    chain.view.on_contact(reached.release)
    chain.start()
    assert reached.acquire(timeout=DEADLINE_SECONDS)
    assert chain.view.health().reachable
    consortium.anvil.stop()
    with pytest.raises(ChainUnavailable):
        chain.view.refresh()
    health = chain.view.health()
    assert not health.reachable
    assert health.last_contact_ms > 0
    assert len(chain.view.members()) == 2  # what is known is still told
    consortium.anvil.start()
    assert reached.acquire(timeout=DEADLINE_SECONDS)
    assert chain.view.health().reachable
    chain.close()


def test_a_chain_that_makes_no_blocks_any_more_is_out_of_reach(consortium: Consortium, tmp_path: Path) -> None:
    """Where the network file says that blocks come all the time, endpoints that answer are not a chain yet."""
    network = replace(consortium.network, stalled_seconds=20)
    now = clock_ms()
    chain = open_chain(
        network, consortium.deployment, tmp_path / "first", consortium.members[0].account, clock=lambda: now
    )
    consortium.anvil.mine(1)
    chain.view.refresh()
    assert chain.view.health().reachable
    seen = chain.view.health().last_contact_ms
    now += 20_001
    with pytest.raises(ChainUnavailable, match="has made no final block above"):
        chain.view.refresh()
    assert not chain.view.health().reachable
    assert chain.view.health().last_contact_ms == seen
    consortium.anvil.mine(1)
    chain.view.refresh()
    assert chain.view.health().reachable
    chain.close()


def test_after_a_start_without_a_chain_the_outage_counts_from_the_newest_block(
    consortium: Consortium, tmp_path: Path
) -> None:
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    chain.view.refresh()
    block = chain.view.health().head
    chain.close()
    consortium.anvil.stop()
    again = consortium.open(consortium.members[0], tmp_path / "first")
    with pytest.raises(ChainUnavailable):
        again.view.refresh()
    health = again.view.health()
    assert (health.reachable, health.last_contact_ms) == (False, block.time * 1_000)
    again.close()
    consortium.anvil.start()


def test_the_thread_indexes_what_others_do(consortium: Consortium, second_chain: Chain, tmp_path: Path) -> None:
    chain = consortium.open(consortium.members[0], tmp_path / "first")
    indexed = threading.Semaphore(0)
    log = os.urandom(32)
    chain.view.on_block(indexed.release)
    chain.start()
    second_chain.writer.anchor(log, 1, b"\1" * 32, b"\2" * 32)
    while chain.view.newest_anchor(SECOND, log) is None:
        assert indexed.acquire(timeout=DEADLINE_SECONDS)
    chain.close()


def test_callers_at_one_time_share_a_pass(chain: Chain) -> None:
    threads = [threading.Thread(target=chain.view.refresh) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert chain.view.health().reachable


def test_another_chain_is_noticed(consortium: Consortium, tmp_path: Path) -> None:
    with Anvil(tmp_path / "other-id", chain_id=4_242) as stranger:
        chain = consortium.open(
            consortium.members[0], tmp_path / "first", replace(consortium.network, endpoints=(stranger.url,))
        )
        with pytest.raises(ChainMismatch, match="serves chain 4242"):
            chain.check()
        with pytest.raises(ChainMismatch, match="serves chain 4242"):
            chain.view.refresh()
        assert not chain.view.health().reachable
        chain.close()


def test_other_contracts_or_none_are_noticed(consortium: Consortium, tmp_path: Path) -> None:
    with Anvil(tmp_path / "empty") as stranger:
        network = replace(consortium.network, endpoints=(stranger.url,))
        chain = consortium.open(consortium.members[0], tmp_path / "first", network)
        with pytest.raises(ChainMismatch, match="no code at the address of Members"):
            chain.check()
        address = hexadecimal(consortium.deployment.address("Members"))
        stranger.rpc("anvil_setCode", address, "0x00")
        with pytest.raises(ChainMismatch, match="other code at the address of Members"):
            chain.check()
        chain.close()


def test_the_next_endpoint_serves_when_one_is_silent(consortium: Consortium, tmp_path: Path) -> None:
    endpoints = ("http://127.0.0.1:9", consortium.anvil.url)
    chain = consortium.open(consortium.members[0], tmp_path / "first", replace(consortium.network, endpoints=endpoints))
    chain.check()
    chain.view.refresh()
    assert len(chain.view.members()) == 2
    chain.close()


def test_an_index_of_another_deployment_is_thrown_away(tmp_path: Path) -> None:
    store = IndexStore.create(tmp_path / "index", b"one")
    with store.batch() as batch:
        batch.put(b"dkey", b"[]")
        batch.finish_block(Block(1, bytes(32), 1))
    store.close()
    with pytest.raises(ChainStoreUnusable):
        IndexStore.create(tmp_path / "index", b"one")
    with pytest.raises(ChainStoreUnusable):
        IndexStore.open(tmp_path / "index", b"two")
    with pytest.raises(ChainStoreUnusable):
        IndexStore.open(tmp_path / "nowhere", b"one")
    same = IndexStore.open_or_create(tmp_path / "index", b"one")
    assert same.get(b"dkey") == b"[]"
    same.close()
    other = IndexStore.open_or_create(tmp_path / "index", b"two")
    assert other.get(b"dkey") is None
    assert other.head() is None
    other.close()


def test_a_block_is_applied_once(tmp_path: Path) -> None:
    store = IndexStore.create(tmp_path / "index", b"one")
    block = Block(4, b"\1" * 32, 1)
    with store.batch() as batch:
        batch.put(b"dkey", b"1")
        batch.finish_block(block)
    with pytest.raises(ChainStoreUnusable), store.batch() as batch:
        batch.put(b"dkey", b"2")
        batch.finish_block(block)
    assert store.get(b"dkey") == b"1"
    assert store.head() == block
    store.close()


def test_blocks_are_undone_one_by_one_in_reverse(tmp_path: Path) -> None:
    store = IndexStore.create(tmp_path / "index", b"one")
    for number in range(1, 6):
        with store.batch() as batch:
            batch.put(b"shared", str(number).encode())
            batch.put(b"own" + bytes([number]), b"x")
            batch.put(b"own" + bytes([number]), b"y")
            batch.finish_block(Block(number, bytes([number]) * 32, number))
    changed = store.undo_above(store.reference(2))
    assert changed == {b"shared": b"2", b"own\3": None, b"own\4": None, b"own\5": None}
    assert [key for key, _ in store.scan(b"")] == [b"own\1", b"own\2", b"shared"]
    assert store.head() == Block(2, b"\2" * 32, 2)
    assert store.undo_above(Block(1_000, bytes(32), 1)) == {b"shared": None, b"own\1": None, b"own\2": None}
    assert store.head() is None
    store.close()
