"""A fetch that is killed or cut at any point goes on, and never gives out a key without a receipt."""

from __future__ import annotations

import asyncio

import pytest

from node.errors import PeerUnavailable
from tests.support.exchange_checks import check_both, check_ledger_is_a_projection
from tests.support.exchange_world import Node, World, fetch, make_grant, make_records
from tests.support.memory_stores import Fuse, Killed

RECORDS = 24  # three deliveries of two segments of four records


async def _begin() -> tuple[World, Node, Node, bytes]:
    world = World()
    provider, requester = world.add(1), world.add(2)
    return world, provider, requester, await make_grant(world, provider, requester, records=RECORDS)


async def _check_fetched(world: World, provider: Node, requester: Node, grant_id: bytes) -> None:
    world.wire.cut_after = None
    # Killed after the last durable step, the fetch is finished, and fetching again is a new order.
    orders = 1 if requester.ledger.requested.finished(grant_id) is None else 2
    last = await fetch(requester, grant_id)
    assert last.summary is not None
    assert last.summary.record_count == RECORDS
    _, batches = requester.requester.read_records(grant_id)
    assert [record for batch in batches for record in batch] == make_records(RECORDS)
    check_both(provider, requester, grant_id)
    assert provider.ledger.provided.use(grant_id).used == orders
    check_ledger_is_a_projection(provider)
    check_ledger_is_a_projection(requester)


async def _points(who: int) -> list[str]:
    _, provider, requester, grant_id = await _begin()
    node = (provider, requester)[who]
    fuse = Fuse()
    node.start(fuse)
    await fetch(requester, grant_id)
    return fuse.labels


@pytest.mark.parametrize("who", [0, 1], ids=["provider", "requester"])
async def test_a_node_killed_at_any_step_goes_on(who: int) -> None:
    """Every durable step of either side, before and after it became durable."""
    labels = await _points(who)
    assert len(labels) > 20
    for point, label in enumerate(labels, 1):
        world, provider, requester, grant_id = await _begin()
        node = (provider, requester)[who]
        node.start(Fuse(point))
        try:
            await fetch(requester, grant_id)
            assert node.fuse.is_blown, label
        except (Killed, PeerUnavailable):
            pass
        node.start()
        await _check_fetched(world, provider, requester, grant_id)


async def test_a_stream_cut_at_any_message_goes_on() -> None:
    world, provider, requester, grant_id = await _begin()
    await fetch(requester, grant_id)
    total = world.wire.messages
    for cut in range(total):
        world, provider, requester, grant_id = await _begin()
        world.wire.cut_after = cut
        with pytest.raises(PeerUnavailable):
            await fetch(requester, grant_id)
        await _check_fetched(world, provider, requester, grant_id)


async def test_a_stream_cut_after_every_few_messages_arrives_at_last() -> None:
    world, provider, requester, grant_id = await _begin()
    for attempt in range(30):
        # A little more each time: what is unsure is sent again first, and must leave room for something new.
        world.wire.cut_after = world.wire.messages + 4 + attempt
        try:
            await fetch(requester, grant_id)
            break
        except PeerUnavailable:
            continue
    await _check_again(world, provider, requester, grant_id)


async def _check_again(world: World, provider: Node, requester: Node, grant_id: bytes) -> None:
    world.wire.cut_after = None
    check_both(provider, requester, grant_id)
    assert requester.ledger.requested.finished(grant_id) is not None
    assert provider.ledger.provided.use(grant_id).used == 1


async def test_an_abandoned_generator_leaves_nothing_behind() -> None:
    """The caller goes away in the middle; no task stays, and the next fetch goes on."""
    world, provider, requester, grant_id = await _begin()
    steps = requester.requester.fetch(grant_id)
    for _ in range(4):
        await anext(steps)
    await steps.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()} | {
        task for task in asyncio.all_tasks() if "wait_for" in repr(task)
    }
    await _check_fetched(world, provider, requester, grant_id)


async def test_a_finished_fetch_can_be_had_again_as_a_new_order() -> None:
    world, provider, requester, grant_id = await _begin()
    await _check_fetched(world, provider, requester, grant_id)
    last = await fetch(requester, grant_id)
    assert last.summary is not None
    assert last.summary.first_sequence == 4
    assert provider.ledger.provided.use(grant_id).used == 2
    check_both(provider, requester, grant_id)


async def test_keys_that_were_lost_with_the_process_are_wrapped_again() -> None:
    """The kept blobs are no projection: without them new keys are released and logged for the same receipt."""
    world, provider, requester, grant_id = await _begin()
    labels = await _points(1)
    requester.start(Fuse(labels.index("before keys") + 1))
    with pytest.raises(Killed):
        await fetch(requester, grant_id)
    provider.start()  # its ledger is replayed from the log into an empty store
    requester.start()
    await _check_fetched(world, provider, requester, grant_id)
    assert provider.events().count("KEYS_RELEASED") > 3
