"""Bulk transfers as the requester makes them: order, store, receipt, keys, open, compare with the chain.

A fetch goes on from what the ledger and the vault hold, so that the first attempt and the tenth are the same code.
Where a node is killed, or the stream is cut:

- before the order is durable: nothing was sent; the next fetch makes a new order;
- between the order and the stream: the same note is sent again; the provider knows it or takes it as new;
- between storing segments and their entry: they come again and are stored again, which changes nothing;
- between that entry and the receipt: the receipt is made on resume (`acknowledging`) and sent first of all;
- between the receipt and the keys: the receipt is sent again, and the provider releases the keys, now or again;
- between storing keys and their entry: they come again; storing them again changes nothing;
- while opening: everything is opened again from the vault;
- between the vault's finish and its entry: everything is opened and compared again, and finished again.

What a provider signed and did not keep is logged as TRANSFER_MISMATCH with its note, and the bytes stay in the vault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from audit.entry import parse_entry
from crypto.errors import Refusal
from node.errors import (
    DeliveryInvalid,
    FetchUnfinished,
    GrantFields,
    OrderReplayed,
    PeerUnavailable,
    RangeInvalid,
    RootMismatch,
)
from node.exchange.acknowledging import Acknowledging
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import read_as
from node.exchange.opening import Opener
from node.exchange.papers import Papers
from node.exchange.receiving import OrderedVersion, PlacedOrder, check_root
from node.exchange.stream import FetchStream
from node.exchange.transfers import DeliveryState
from node.model.chain import GrantOnChain, GrantState
from node.model.events import Event, grant_subject
from node.model.lines import ZERO_DIGEST, Range
from node.model.results import FetchProgress, FetchSummary
from node.model.statements import Order, OrderKind
from node.policy.grants import judge_release

_ORDER_ID_SIZE = 16  # bytes
# Refusals of an order that the provider has not taken up: the order is dead, and the next fetch makes a new one.
_DEAD = {
    "RANGE_INVALID",
    "GRANT_USED_UP",
    "GRANT_FIELDS",
    "DATASET_PURGED",
    "DATASET_UNKNOWN",
    "STATEMENT_INVALID",
    "SIGNATURE_INVALID",
}


class Fetching:
    """Makes bulk orders; one at a time for each grant."""

    def __init__(self, context: Context, papers: Papers, acknowledging: Acknowledging) -> None:
        self._context = context
        self._papers = papers
        self._acknowledging = acknowledging
        self._running: set[bytes] = set()

    async def fetch(self, grant_id: bytes) -> AsyncGenerator[FetchProgress, None]:
        """Fetch all that a grant covers, or go on with it. The last progress has the summary."""
        if grant_id in self._running:
            raise FetchUnfinished("a fetch under this grant is running")
        self._running.add(grant_id)
        try:
            async with self._acknowledging.carrier(grant_id), aclosing(self._fetch(grant_id)) as steps:
                async for progress in steps:
                    yield progress
        finally:
            self._running.discard(grant_id)

    async def _fetch(self, grant_id: bytes) -> AsyncGenerator[FetchProgress, None]:
        began_ms = self._context.clock()
        grant = self._papers.own_grant(grant_id)
        fetch = await self._resume(grant)
        if fetch is None:
            fetch = await self._order(grant)
        vault = self._context.vaults(grant_id)
        await asyncio.to_thread(vault.begin, fetch.order.order_id)
        stream = FetchStream(self._context, self._acknowledging, fetch, vault)
        opener = Opener(self._context, fetch.order, vault)
        try:
            held = self._held(fetch)
            for delivery in held:
                await opener.put(delivery)
            held_stop = held[-1].stop if held else 0
            if held_stop < fetch.order.stop:
                await self._check_in_force(grant_id)
                async with aclosing(stream.run(opener, held_stop)) as arrivals:
                    async for _ in arrivals:
                        yield FetchProgress(stream.delivered_count, opener.verified_count, fetch.order.stop)
            root, size = await opener.finish()
            check_root(fetch, root, size)
            path = await asyncio.to_thread(vault.finish, root, size)
            await self._log_verified(fetch, root, size)
        except (DeliveryInvalid, RootMismatch) as mismatch:
            await self._log_mismatch(fetch, stream, mismatch)
            raise
        except Refusal as refusal:
            if stream.is_refused:
                await self._log_refusal(fetch, refusal)
            raise
        finally:
            await opener.close()
        deliveries = self._deliveries(fetch)
        yield FetchProgress(
            size,
            size,
            size,
            FetchSummary(
                order_id=fetch.order.order_id,
                record_count=size,
                plaintext_bytes=opener.plaintext_bytes,
                elapsed_milliseconds=self._context.clock() - began_ms,
                path=path,
                root=root,
                first_sequence=deliveries[0].sequence,
                last_sequence=deliveries[-1].sequence,
                engine=self._context.engine.name,
            ),
        )

    # The order.

    async def _resume(self, grant: GrantOnChain) -> PlacedOrder | None:
        """The grant's open order, unless the provider can no longer take it up."""
        ledger = self._context.ledger.requested
        order_id = ledger.open_bulk(grant.grant_id)
        state = ledger.order(order_id) if order_id else None
        if state is None:
            return None
        entry = parse_entry(await asyncio.to_thread(self._context.log.entry, state.index))
        note = entry.note or b""
        order = read_as(Order, note)
        fetch = PlacedOrder(order, note, OrderedVersion.from_detail(entry.detail))
        if not self._deliveries(fetch) and self._is_stale(order):
            # Nothing ever came of it, and a provider that has not seen it would take it for a replay.
            await self._close(fetch, OrderReplayed("the order became too old before it was delivered"))
            return None
        return fetch

    async def _order(self, grant: GrantOnChain) -> PlacedOrder:
        await self._check_in_force(grant.grant_id)
        dataset = self._context.dataset(grant.dataset_id)
        if dataset.size == 0:
            raise RangeInvalid("the dataset has no published version")
        order = Order(
            order_id=self._context.random(_ORDER_ID_SIZE),
            grant_id=grant.grant_id,
            dataset_id=grant.dataset_id,
            requester_id=self._context.member_id,
            provider_id=grant.provider_id,
            kind=OrderKind.BULK,
            range=Range(0, dataset.size),
            key_digest=ZERO_DIGEST,
            time_ms=self._context.clock(),
        )
        note = await self._context.notary.sign(order)
        version = OrderedVersion(dataset.version_digest, dataset.root)
        step = Step(
            Event.ORDER_SENT,
            self._context.member_id,
            grant_subject(grant.grant_id),
            note,
            detail=version.to_detail(),
        )
        await self._context.journal.record(step)
        return PlacedOrder(order, note, version)

    async def _check_in_force(self, grant_id: bytes) -> None:
        """Refuse here what the provider would refuse, in the same words, and without using up an order."""
        await self._context.refresh_view()
        grant = self._papers.own_grant(grant_id)
        if grant.state is GrantState.APPROVED:
            await self._papers.terms(grant)
            await self._papers.description(grant.dataset_id)
        facts = self._context.facts(grant_id)
        judge_release(facts)
        if facts.terms is not None and facts.terms.fields:
            raise GrantFields("the grant covers some fields only; a bulk transfer carries whole records")

    def _is_stale(self, order: Order) -> bool:
        return self._context.clock() - order.time_ms > 1000 * self._context.limits.max_clock_skew_seconds

    # What is held.

    def _deliveries(self, fetch: PlacedOrder) -> list[DeliveryState]:
        return self._context.ledger.requested.deliveries(fetch.order.grant_id, fetch.order.order_id)

    def _held(self, fetch: PlacedOrder) -> list[DeliveryState]:
        """Deliveries with keys, from the first on."""
        held = []
        for delivery in self._deliveries(fetch):
            if delivery.release_index is None:
                break
            held.append(delivery)
        return held

    # How it ends.

    async def _log_verified(self, fetch: PlacedOrder, root: bytes, size: int) -> None:
        await self._context.journal.record(
            Step(
                Event.TRANSFER_VERIFIED,
                self._context.member_id,
                grant_subject(fetch.order.grant_id),
                fetch.note,
                detail=f"root {root.hex()} size {size}",
            )
        )

    async def _log_mismatch(self, fetch: PlacedOrder, stream: FetchStream, mismatch: Refusal) -> None:
        note = fetch.note if isinstance(mismatch, RootMismatch) else await self._evidence(fetch, stream, mismatch)
        await self._context.journal.record(
            Step(
                Event.TRANSFER_MISMATCH,
                fetch.order.provider_id,
                grant_subject(fetch.order.grant_id),
                note,
                mismatch.reason,
                f"order {fetch.order.order_id.hex()}: {mismatch}",
            )
        )

    async def _evidence(self, fetch: PlacedOrder, stream: FetchStream, mismatch: Refusal) -> bytes | None:
        """The provider's note at fault: the release of keys that do not open, or what came last."""
        sequence = int(mismatch.details.get("sequence", "0"))
        delivery = self._context.ledger.requested.delivery(fetch.order.grant_id, sequence)
        if delivery is None or delivery.release_index is None:
            return stream.evidence
        return parse_entry(await asyncio.to_thread(self._context.log.entry, delivery.release_index)).note

    async def _log_refusal(self, fetch: PlacedOrder, refusal: Refusal) -> None:
        if isinstance(refusal, PeerUnavailable):
            return
        if refusal.reason in _DEAD and not self._deliveries(fetch):
            await self._close(fetch, refusal)
            return
        await self._context.journal.record_refusal(
            Event.ACCESS_REFUSED,
            self._context.member_id,
            grant_subject(fetch.order.grant_id),
            refusal,
            fetch.note,
        )

    async def _close(self, fetch: PlacedOrder, refusal: Refusal) -> None:
        await self._context.journal.record_refusal(
            Event.ORDER_SENT, self._context.member_id, grant_subject(fetch.order.grant_id), refusal, fetch.note
        )
