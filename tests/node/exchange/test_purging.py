"""A purged dataset is gone for good, and what happened to it stays provable."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from audit.entry import parse_entry
from audit.errors import StoreLocked
from audit.verifier import KnownKey, Trust
from audit.verify import verify_evidence
from crypto.errors import Refusal
from crypto.merkle import SM3_TREE
from crypto.packed import Packed
from node.errors import (
    ChainUnavailable,
    DatasetPurged,
    DatasetUnknown,
    StatementInvalid,
)
from node.exchange.anchoring import Anchoring
from node.exchange.auditing import Auditing
from node.exchange.context import dataset_id_of
from node.exchange.granting import Wish
from node.exchange.notes import read_as
from node.exchange.publishing import Offer
from node.model.chain import GrantState, Role, SharingType
from node.model.events import Event
from node.model.grants import Terms
from node.model.lines import ZERO_DIGEST, Range
from node.model.statements import Order, OrderKind, Purge
from node.model.transfer import SegmentReceived
from tests.audit.test_verifier_node import CONTRACT, BlockProofs
from tests.support.exchange_checks import check_ledger_is_a_projection
from tests.support.exchange_world import FIELDS, Node, World, batches_of, fetch, make_grant, make_records, publish
from tests.support.memory_stores import Fuse, Killed

RECORDS = 24  # three deliveries of two segments of four records
REASON = "retention period over"
OFFER = Offer("people", "People of the city", FIELDS, "no", 2, SharingType.CONDITIONAL)
AS_ASKED = Terms((), 0, 0)


class Granted:
    """A provider with a dataset, a requester with a grant for it, and where the dataset stands."""

    def __init__(self) -> None:
        self.world = World()
        self.provider, self.requester = self.world.add(1), self.world.add(2)
        self.dataset_id = dataset_id_of(self.provider.member_id, "people")
        self.grant_id = b""

    async def begin(self) -> Granted:
        self.grant_id = await make_grant(self.world, self.provider, self.requester, records=RECORDS)
        return self

    @property
    def tombstones(self) -> list[bytes]:
        """The notes of the provider's entries of purges."""
        entries = map(parse_entry, self.provider.entries)
        return [entry.note or b"" for entry in entries if entry.event == Event.DATASET_PURGED and not entry.refusal]

    def check_purged(self) -> None:
        """One tombstone, nothing on the disk, and a withdrawn entry."""
        (note,) = self.tombstones
        held = self.provider.datasets.held[self.dataset_id]
        assert (held.is_shredded, held.sealed, held.keys, held.index) == (True, [], [], {})
        assert self.world.chain.datasets_by_id[self.dataset_id].withdrawn
        assert self.provider.ledger.purge(self.dataset_id) == note


async def test_a_purge_is_a_signed_tombstone_an_empty_disk_and_a_withdrawn_entry() -> None:
    granted = await Granted().begin()
    version = granted.world.chain.datasets_by_id[granted.dataset_id]
    done = await granted.provider.granting.purge(granted.dataset_id, REASON)
    granted.check_purged()
    assert granted.tombstones == [done.note]
    entry = parse_entry(granted.provider.entries[-1])
    assert (entry.event, entry.subject) == ("DATASET_PURGED", f"dataset:{granted.dataset_id.hex()}")
    provider = granted.provider
    await provider.context.notary.verify(done.note, provider.member)
    assert (done.purge.size, done.purge.root, done.purge.reason) == (RECORDS, version.root, REASON)
    assert read_as(Purge, done.note) == done.purge
    assert done.destroyed_bytes > 0
    assert done.transaction_hash
    check_ledger_is_a_projection(provider)
    granted.check_purged()


async def test_everything_is_refused_with_one_reason_and_every_refusal_is_logged() -> None:
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    third = granted.world.add(3)
    expiry = granted.world.clock.now_ms // 1000 + 3600
    wish = Wish(granted.dataset_id, (), "to test", expiry, 5)
    asked, _ = await third.granting.request(wish)
    await provider.granting.purge(granted.dataset_id, REASON)

    purged = "ACCESS_REFUSED:DATASET_PURGED"
    for node, act in [
        (provider, lambda: publish(provider, granted.dataset_id, make_records(4, 100))),
        (provider, lambda: provider.granting.describe_dataset(OFFER)),
        (provider, lambda: provider.granting.decide(asked, approve=True, reason="", wanted=AS_ASKED)),
        (requester, lambda: fetch(requester, granted.grant_id)),
        (requester, lambda: requester.requester.query(granted.grant_id, "k3")),
        (third, lambda: third.granting.request(wish)),
    ]:
        before = len(node.entries)
        with pytest.raises(DatasetPurged):
            await act()
        # Before a requester meets the refusal it may have got the decision.
        assert [event for event in node.events()[before:] if event != "DECISION_RECEIVED"] == [purged]
    explained = await provider.granting.explain(granted.grant_id)
    assert (explained.allowed, explained.reason) == (False, "DATASET_PURGED")
    assert await provider.provider.list_datasets(requester.member) == []
    # What is asked for can still be denied.
    await provider.granting.decide(asked, approve=False, reason="purged", wanted=AS_ASKED)
    assert granted.world.chain.grants_by_id[asked].state is GrantState.DENIED


async def test_the_tombstone_counts_at_the_provider_before_the_chain_has_it() -> None:
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    await requester.requester.query(granted.grant_id, "k1")
    late = granted.world.add(3)
    expiry = granted.world.clock.now_ms // 1000 + 3600
    granted.world.chain.is_reachable = False
    with pytest.raises(ChainUnavailable, match="is purged"):
        await provider.granting.purge(granted.dataset_id, REASON)
    assert not granted.world.chain.datasets_by_id[granted.dataset_id].withdrawn
    before = len(provider.entries)
    for ordered in (
        lambda: fetch(requester, granted.grant_id),
        lambda: requester.requester.query(granted.grant_id, "k3"),
    ):
        with pytest.raises(DatasetPurged):
            await ordered()
    # The receipt of the earlier answer rides along, and is taken.
    assert provider.events()[before:] == [
        "ORDER_RECEIVED:DATASET_PURGED",
        "RECEIPT_RECEIVED",
        "ORDER_RECEIVED:DATASET_PURGED",
    ]
    assert provider.datasets.held[granted.dataset_id].is_shredded
    # A requester that does not know yet asks the chain, and its note is refused by the provider.
    granted.world.chain.is_reachable = True
    grant_id, _ = await late.granting.request(Wish(granted.dataset_id, (), "to test", expiry, 5))
    assert provider.events()[-1] == "REQUEST_RECEIVED:DATASET_PURGED"
    assert provider.ledger.request(grant_id) is None
    entries = {entry.dataset.dataset_id: entry.is_purged for entry in await provider.granting.catalogue("")}
    assert entries == {granted.dataset_id: True}


@pytest.mark.parametrize("is_reachable", [True, False], ids=["chain up", "chain down"])
async def test_a_running_delivery_is_cut_and_no_key_follows(is_reachable: bool) -> None:  # noqa: FBT001  # of a table
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    with pytest.raises(DatasetPurged):
        async with aclosing(requester.requester.fetch(granted.grant_id)) as steps:
            async for _ in steps:
                if not granted.tombstones:
                    granted.world.chain.is_reachable = is_reachable
                    try:
                        await provider.granting.purge(granted.dataset_id, REASON)
                    except ChainUnavailable:
                        assert not is_reachable
    after = provider.events()[provider.events().index("DATASET_PURGED") + 1 :]
    assert "KEYS_RELEASED" not in after
    assert after[-1] == "ACCESS_REFUSED:DATASET_PURGED"
    assert requester.events()[-1] == "ACCESS_REFUSED:DATASET_PURGED"
    assert provider.ledger.provided.use(granted.grant_id).used == 1


async def test_a_delivery_that_waits_for_a_receipt_is_cut_also_while_the_chain_is_down() -> None:
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    exchange = requester.context.peers.peer(provider.member_id).exchange()
    order = Order(
        order_id=b"\x01" * 16,
        grant_id=granted.grant_id,
        dataset_id=granted.dataset_id,
        requester_id=requester.member_id,
        provider_id=provider.member_id,
        kind=OrderKind.BULK,
        range=Range(0, RECORDS),
        key_digest=ZERO_DIGEST,
        time_ms=granted.world.clock(),
    )
    await exchange.send_order(await requester.context.notary.sign(order))
    # Two deliveries may be without their keys; after the last segment of the second the provider waits.
    messages = exchange.messages()
    seen = 0
    async for message in messages:
        seen += isinstance(message, SegmentReceived)
        if seen == 2 * provider.limits.delivery_segments:
            break
    granted.world.chain.is_reachable = False
    with pytest.raises(ChainUnavailable):
        await provider.granting.purge(granted.dataset_id, REASON)
    # If nobody woke the stream it would end with PEER_UNAVAILABLE, when the receipt is missed.
    with pytest.raises(DatasetPurged):
        await anext(messages)
    assert provider.events()[-1] == "ACCESS_REFUSED:DATASET_PURGED"
    assert "KEYS_RELEASED" not in provider.events()
    await exchange.close()


async def _points() -> list[str]:
    granted = await Granted().begin()
    granted.provider.start(Fuse())
    await granted.provider.granting.purge(granted.dataset_id, REASON)
    return granted.provider.fuse.labels


async def test_a_node_killed_at_any_step_ends_purged_after_its_next_start() -> None:
    labels = await _points()
    places = ["event DATASET_PURGED", "shred", "withdraw"]
    assert labels == [f"{when} {place}" for place in places for when in ("before", "after")]
    for point, label in enumerate(labels, 1):
        granted = await Granted().begin()
        provider = granted.provider
        provider.start(Fuse(point))
        with pytest.raises(Killed):
            await provider.granting.purge(granted.dataset_id, REASON)
        provider.start()
        assert await provider.granting.recover_purges() == []
        assert await provider.granting.recover() == []
        if label == "before event DATASET_PURGED":
            assert granted.tombstones == []
            last = await fetch(granted.requester, granted.grant_id)
            assert last.verified_count == RECORDS
            await provider.granting.purge(granted.dataset_id, REASON)
        granted.check_purged()
        assert await provider.granting.recover_purges() == []
        granted.check_purged()


async def test_what_an_outage_left_undone_the_next_start_does_or_the_same_command() -> None:
    for is_repeated in (False, True):
        granted = await Granted().begin()
        provider = granted.provider
        granted.world.chain.is_reachable = False
        with pytest.raises(ChainUnavailable):
            await provider.granting.purge(granted.dataset_id, REASON)
        provider.start()
        (refusal,) = await provider.granting.recover_purges()
        assert refusal.reason == "CHAIN_UNAVAILABLE"
        granted.world.chain.is_reachable = True
        if is_repeated:
            done = await provider.granting.purge(granted.dataset_id, "another reason")
            assert (done.purge.reason, done.destroyed_bytes) == (REASON, 0)
            assert done.transaction_hash
            again = await provider.granting.purge(granted.dataset_id, REASON)
            assert (again.note, again.transaction_hash) == (done.note, b"")
        else:
            assert await provider.granting.recover_purges() == []
        granted.check_purged()


def _trust(world: World, proofs: BlockProofs) -> Trust:
    """What an auditor knows from the chain."""
    keys = {
        member.member_id: tuple(
            KnownKey(epoch.signing_key.to_bytes(), epoch.since_time, epoch.compromised_since) for epoch in member.epochs
        )
        for member in world.chain.members_by_id.values()
    }
    return Trust(keys, frozenset(proofs.blocks), frozenset({CONTRACT}))


async def test_evidence_and_trail_of_what_was_delivered_hold_after_the_purge() -> None:
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    auditor = granted.world.add(5, Role.AUDITOR)
    await fetch(requester, granted.grant_id)
    await requester.requester.query(granted.grant_id, "k3")
    await requester.requester.flush_receipts()
    await provider.granting.purge(granted.dataset_id, REASON)
    granted.world.clock.now_ms += 60_000
    proofs = BlockProofs()
    for node in (provider, requester):
        await Anchoring(node.context).anchor_now()
    for node, events in (
        (provider, {"DELIVERY_SENT", "RECEIPT_RECEIVED", "KEYS_RELEASED", "VERSION_PUBLISHED", "DATASET_PURGED"}),
        (requester, {"DELIVERY_RECEIVED", "RECEIPT_SENT", "TRANSFER_VERIFIED"}),
    ):
        seen = set()
        for index, event in enumerate(node.events()):
            if event in events:
                raw = await Auditing(node.context, proofs).evidence(auditor.member, index)
                report = verify_evidence(granted.world.plain_engine, raw, _trust(granted.world, proofs))
                assert report.holds, (event, [link for link in report.links if not link.holds])
                seen.add(event)
        assert seen == events
    trail = await auditor.tracing.trail(granted.grant_id)
    assert trail.findings == ()
    assert all(step.fault is None for step in trail.steps)
    # The requester's own copy is its own.
    _, batches = requester.requester.read_records(granted.grant_id)
    assert [record for batch in batches for record in batch] == make_records(RECORDS)


async def test_what_was_kept_to_be_sent_again_goes_too() -> None:
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    await requester.requester.query(granted.grant_id, "k3")
    assert provider.ledger.kept(granted.grant_id, 1) is not None
    await provider.granting.purge(granted.dataset_id, REASON)
    assert provider.ledger.kept(granted.grant_id, 1) is None


async def test_a_publication_under_way_keeps_the_dataset_from_being_purged_and_nothing_is_logged() -> None:
    granted = await Granted().begin()
    provider = granted.provider
    before = len(provider.entries)
    async with aclosing(provider.granting.publish(granted.dataset_id, batches_of(make_records(14, 100)))) as steps:
        await anext(steps)
        with pytest.raises(StoreLocked):
            await provider.granting.purge(granted.dataset_id, REASON)
        assert len(provider.entries) == before
        async for _ in steps:
            pass
    done = await provider.granting.purge(granted.dataset_id, REASON)
    assert done.purge.size == RECORDS + 14


async def test_two_purges_at_once_leave_one_tombstone() -> None:
    granted = await Granted().begin()
    purge = granted.provider.granting.purge
    ended = await asyncio.gather(
        purge(granted.dataset_id, REASON), purge(granted.dataset_id, REASON), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in ended) == ["Purged", "StoreLocked"]
    granted.check_purged()


async def test_what_cannot_be_purged_is_refused_and_changes_nothing() -> None:
    granted = await Granted().begin()
    provider, requester = granted.provider, granted.requester
    await requester.requester.query(granted.grant_id, "k3")  # so that the requester's log has the description
    cases: list[tuple[Node, bytes, str, type[Refusal]]] = [
        (provider, b"\x05" * 32, REASON, DatasetUnknown),
        (requester, granted.dataset_id, REASON, DatasetUnknown),
        (provider, granted.dataset_id, "", StatementInvalid),
        (provider, granted.dataset_id, "two\nlines", StatementInvalid),
        (provider, granted.dataset_id, "x" * 1_001, StatementInvalid),
    ]
    for node, dataset_id, reason, refusal in cases:
        before = len(node.entries)
        with pytest.raises(refusal):
            await node.granting.purge(dataset_id, reason)
        assert len(node.entries) == before
    last = await fetch(requester, granted.grant_id)
    assert last.verified_count == RECORDS


async def test_a_dataset_without_a_version_is_purged_as_empty_and_what_was_not_published_is_no_version() -> None:
    world = World()
    provider = world.add(1)
    dataset_id = await provider.granting.describe_dataset(OFFER)
    staging = provider.datasets.open(dataset_id).begin_append()
    records = make_records(4)
    staging.add(Packed.of(records), Packed.of([b"k0", b"k1", b"k2", b"k3"]))
    staging.commit()  # and killed before the version note
    done = await provider.granting.purge(dataset_id, REASON)
    assert (done.purge.size, done.purge.root) == (0, SM3_TREE.empty())
    provider.start()
    assert await provider.granting.recover() == []
    assert "VERSION_PUBLISHED" not in provider.events()
