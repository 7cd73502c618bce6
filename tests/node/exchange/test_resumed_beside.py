"""An order is taken up again while something of its former stream is still under way, and nothing is passed over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from audit.entry import parse_entry
from crypto.sm2 import SM2PrivateKey
from node.errors import PeerUnavailable
from tests.support.exchange_checks import check_both
from tests.support.exchange_world import MemoryExchange, Node, World, fetch, make_grant

RECORDS = 24  # three deliveries
MESSAGES = 8  # of a stream that is cut: the order, two deliveries of two segments each, the first receipt
SHORT_SECONDS = 0.3  # in which what is held cannot end, and what is not held has long ended
SECONDS = 20  # a condition that does not come fails its test


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the node in memory tells nobody what it logs
            await asyncio.sleep(0)


def _hold_signature(provider: Node, words: bytes) -> threading.Event:
    """Have the provider's signature under a text that contains `words` wait for the event that is given back."""
    may_sign = threading.Event()
    sign = provider.engine.sm2_sign_many

    def held(key: SM2PrivateKey, messages: Sequence[bytes], *rest: object) -> object:
        if any(words in message for message in messages):
            assert may_sign.wait(SECONDS)
        return sign(key, messages, *rest)  # type: ignore[operator]  # the engine's own

    provider.engine.sm2_sign_many = held  # type: ignore[attr-defined]  # a fault where it would strike
    return may_sign


def _at_refresh(monkeypatch: pytest.MonkeyPatch, provider: Node, number: int, act: Callable[[], None]) -> None:
    """Do something within the provider's look at the chain of this number, counted from now."""
    view = provider.context.view
    refresh, count = view.refresh, iter(range(1, 1_000))

    def acting() -> None:
        if next(count) == number:
            act()
        refresh()

    monkeypatch.setattr(view, "refresh", acting)


async def test_a_stream_that_is_cut_lets_go_of_its_grant_once_its_announcement_is_in_the_log() -> None:
    """The requester goes away while its third delivery is being signed. The next stream would not know of that one."""
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, records=RECORDS)
    may_sign = _hold_signature(provider, b"\nsequence 3\n")
    former = asyncio.create_task(fetch(requester, grant_id))
    await _until(lambda: provider.events().count("RECEIPT_RECEIVED") == 1)
    former.cancel()
    ended = asyncio.gather(former, return_exceptions=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SHORT_SECONDS):
            await asyncio.shield(ended)
    assert provider.events().count("DELIVERY_SENT") == 2
    may_sign.set()
    await ended
    assert provider.events().count("DELIVERY_SENT") == 3
    last = await fetch(requester, grant_id)
    assert last.summary is not None
    assert (last.summary.record_count, last.summary.last_sequence) == (RECORDS, 3)
    check_both(provider, requester, grant_id)


async def test_a_receipt_that_is_taken_late_for_the_former_stream_has_its_keys_in_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second receipt becomes durable once the new stream has looked what is owed, and then comes in it as well."""
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, records=RECORDS)
    world.wire.cut_after = MESSAGES
    with pytest.raises(PeerUnavailable):
        await fetch(requester, grant_id)
    world.wire.cut_after = None
    assert provider.events().count("RECEIPT_RECEIVED") == 1
    [_, second] = [note for entry in requester.entries if (note := parse_entry(entry).note) and b"/receipt/" in note]
    loop, taken = asyncio.get_running_loop(), asyncio.Event()
    send = MemoryExchange.send_receipt

    async def send_once_taken(exchange: MemoryExchange, note: bytes) -> None:
        await taken.wait()
        await send(exchange, note)

    def take() -> None:
        handing_in = provider.provider.submit_receipts(requester.member, [second])
        asyncio.run_coroutine_threadsafe(handing_in, loop).result(SECONDS)
        loop.call_soon_threadsafe(taken.set)

    monkeypatch.setattr(MemoryExchange, "send_receipt", send_once_taken)
    _at_refresh(monkeypatch, provider, 2, take)
    last = await fetch(requester, grant_id)
    assert last.summary is not None
    assert (last.summary.record_count, last.summary.last_sequence) == (RECORDS, 3)
    check_both(provider, requester, grant_id)
