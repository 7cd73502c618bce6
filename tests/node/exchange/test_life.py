"""The whole life of data between two nodes: describe, publish, request, decide, fetch, query."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest

from node.errors import FetchUnknown, GrantFields, GrantNotApproved, GrantUnknown
from node.exchange.granting import Wish
from node.model.chain import GrantState
from tests.support.exchange_world import Node, World, fetch, make_grant, make_records
from tests.support.memory_chain import MemoryView


async def test_a_dataset_is_fetched_whole_and_verified() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, records=40)
    with pytest.raises(FetchUnknown):
        requester.requester.read_records(grant_id)
    last = await fetch(requester, grant_id)
    assert last.summary is not None
    assert (last.summary.record_count, last.summary.first_sequence, last.summary.last_sequence) == (40, 1, 5)
    names, batches = requester.requester.read_records(grant_id)
    assert tuple(names) == ("no", "name", "age")
    assert [record for batch in batches for record in batch] == make_records(40)
    deliveries = 5
    assert provider.events() == [
        "DATASET_DESCRIBED",
        "VERSION_PUBLISHED",
        "REQUEST_RECEIVED",
        "DECISION_MADE",
        *provider.events()[4:],
    ]
    for event in ("DELIVERY_SENT", "RECEIPT_RECEIVED", "KEYS_RELEASED"):
        assert provider.events().count(event) == deliveries
    for event in ("DELIVERY_RECEIVED", "RECEIPT_SENT", "KEYS_RECEIVED"):
        assert requester.events().count(event) == deliveries
    assert provider.events()[-1] == "TRANSFER_COMPLETED"
    assert requester.events()[-1] == "TRANSFER_VERIFIED"


async def test_a_record_is_queried_by_its_key_and_proven() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester)
    result = await requester.requester.query(grant_id, "k17")
    assert result.fields == ("no", "name", "age")
    assert json.loads(result.values) == ["k17", "name 17", 17]
    assert (result.proven, result.sequence, result.record_index) == (True, 1, 17)
    await requester.requester.flush_receipts()
    assert provider.events()[-1] == "RECEIPT_RECEIVED"


async def test_narrowed_fields_are_all_that_is_shown() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, fields=("age", "no"))
    result = await requester.requester.query(grant_id, "k5")
    assert (result.fields, json.loads(result.values), result.proven) == (("age", "no"), [5, "k5"], False)
    with pytest.raises(GrantFields):
        await fetch(requester, grant_id)


async def test_a_query_in_the_moment_after_the_approval_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requester's node looks at the chain once more before it says that nothing is approved."""
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester)
    view, approved = requester.context.view, world.chain.grants_by_id[grant_id]
    seen = [replace(approved, state=GrantState.REQUESTED, terms_digest=bytes(32))]
    monkeypatch.setattr(view, "grant", lambda _: seen[-1])
    refresh = view.refresh

    def look() -> None:
        refresh()
        seen.append(approved)

    monkeypatch.setattr(view, "refresh", look)
    result = await requester.requester.query(grant_id, "k3")
    assert result.proven
    assert len(seen) == 2


async def test_a_query_under_a_grant_that_is_not_approved_says_so() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester)
    world.chain.change_grant(grant_id, state=GrantState.REQUESTED)
    with pytest.raises(GrantNotApproved, match="requested"):
        await requester.requester.query(grant_id, "k3")


async def test_what_another_node_has_just_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be in a block that this node has not indexed yet."""
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester)
    (dataset_id,) = world.chain.datasets_by_id
    expiry = world.clock.now_ms // 1000 + 60
    _behind(requester, monkeypatch)
    another, _ = await requester.granting.request(Wish(dataset_id, (), "to test", expiry, 1))
    assert another != grant_id
    _behind(requester, monkeypatch)
    assert (await requester.requester.query(grant_id, "k3")).proven
    with pytest.raises(GrantUnknown):
        await requester.requester.query(bytes(32), "k3")


def _behind(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has indexed nothing, until it looks at the chain."""
    view = node.context.view
    assert isinstance(view, MemoryView)
    refresh = view.refresh
    monkeypatch.setattr(view, "grant", lambda _: None)
    monkeypatch.setattr(view, "dataset", lambda _: None)

    def look() -> None:
        monkeypatch.setattr(view, "grant", partial(MemoryView.grant, view))
        monkeypatch.setattr(view, "dataset", partial(MemoryView.dataset, view))
        refresh()

    monkeypatch.setattr(view, "refresh", look)
