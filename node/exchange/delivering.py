"""Bulk transfers as the provider makes them: order, deliveries, receipts, keys.

An order's stream is a projection of the ledger like everything else, so that the first attempt and the tenth are the
same code: deliveries that have a receipt are skipped, those without one go out again under their number and note, and
new ones follow. Where a node is killed, or the stream is cut:

- before the order is durable: nothing happened;
- between a delivery's entry and its segments: the delivery is without a receipt, and goes out again;
- before a receipt is durable: likewise; the requester hands in the receipt that it signed;
- between a receipt and its keys' entry: the delivery has a receipt; its keys are released on resume, if the grant still
  allows it;
- between the keys' entry and their arrival: the same note and blob go out again; if the blob was lost with the
  process, new ones are made and logged;
- before completion is logged: the resumed stream finds nothing left to do, and completes.

Whether the grant still allows it is asked before every delivery and, with the chain read anew, before every release.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

from audit.entry import parse_entry
from crypto.errors import Refusal
from crypto.seal import segment_header
from crypto.sm3 import sm3
from crypto.wrap import wrap_secrets
from node.errors import InternalError, OrderReplayed, PeerUnavailable, ReceiptInvalid, StatementInvalid
from node.exchange.context import Context, wrap_context
from node.exchange.dispatch import Dispatcher, Draft
from node.exchange.journal import Step
from node.exchange.notes import note_digest, read_as
from node.exchange.receipting import ReceiptBook
from node.exchange.transfers import DELIVERY_WINDOW, DeliveryState
from node.model.chain import Member
from node.model.events import Event, grant_subject
from node.model.lines import ZERO_DIGEST, Range
from node.model.statements import Delivery, KeyRelease, Order, OrderKind, Receipt
from node.model.transfer import (
    Completed,
    Delivered,
    KeysReleased,
    OrderNote,
    ReceiptNote,
    SegmentReceived,
    StreamMessage,
)
from node.policy.grants import judge_freshness, judge_release, judge_sides
from node.ports import DatasetStore

Inbound = AsyncIterator[OrderNote | ReceiptNote]


@dataclass(frozen=True)
class _Parcel:
    """A delivery that is in the log, with its segments."""

    delivery: Delivery
    note: bytes
    digests: bytes
    blobs: Sequence[bytes]


@dataclass(eq=False)
class _Stream:
    """One live stream. `owed`: sequences whose keys are still to be sent; `released`: keys that wait to be sent, with
    theirs; `failure`: why the requester's side ended; `taking`: held while a receipt is on its way into the log.
    """

    caller: Member
    order: Order
    order_note: bytes
    store: DatasetStore
    version_note: bytes
    loop: asyncio.AbstractEventLoop
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)
    owed: set[int] = field(default_factory=set)
    released: deque[tuple[int, KeysReleased]] = field(default_factory=deque)
    failure: BaseException | None = None
    has_ended: bool = False


class Delivering:
    """Serves bulk orders; one stream a grant at a time."""

    def __init__(self, context: Context, dispatcher: Dispatcher, receipts: ReceiptBook) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._receipts = receipts
        self._claimed: set[bytes] = set()
        self._live: set[_Stream] = set()
        context.view.on_block(self._wake_all)
        context.on_purge.append(self._wake_all)

    async def exchange(self, caller: Member, inbound: Inbound) -> AsyncGenerator[StreamMessage, None]:
        """Serve one stream from its order to its completion. Raises the refusal that ends it."""
        order, note = await self._open(caller, inbound)
        if order.grant_id in self._claimed:
            raise await self._refused(caller, order, OrderReplayed("the grant has a stream that is still open"))
        self._claimed.add(order.grant_id)
        try:
            stream = await self._begin(caller, order, note)
            async with aclosing(self._serve(stream, inbound)) as messages:
                async for message in messages:
                    yield message
        finally:
            self._claimed.discard(order.grant_id)

    # Admission.

    async def _open(self, caller: Member, inbound: Inbound) -> tuple[Order, bytes]:
        """The order that a stream begins with, and its note."""
        try:
            first = await anext(inbound, None)
            if not isinstance(first, OrderNote):
                raise StatementInvalid("the first message of a stream is an order")
            return await self._context.notary.open(Order, first.note, caller), first.note
        except Refusal as refusal:
            # What nobody is known to have signed is not kept as somebody's statement.
            await self._context.journal.record_refusal(
                Event.ACCESS_REFUSED, caller.member_id, f"member:{caller.member_id}", refusal
            )
            raise

    async def _refused(self, caller: Member, order: Order, refusal: Refusal, note: bytes | None = None) -> Refusal:
        event = Event.ORDER_RECEIVED if note else Event.ACCESS_REFUSED
        subject = grant_subject(order.grant_id)
        await self._context.journal.record_refusal(event, caller.member_id, subject, refusal, note)
        return refusal

    async def _begin(self, caller: Member, order: Order, note: bytes) -> _Stream:
        try:
            known = self._context.ledger.provided.order(order.order_id)
            await self._context.refresh_view(under_way=known is not None)
            await self._admit(caller, order, note)
            size = order.stop
            version = self._context.ledger.version(order.dataset_id, size)
            if version is None:
                raise InternalError("the version that was ordered is not in the log", size=size)
            store = await asyncio.to_thread(self._context.datasets.open, order.dataset_id)
        except Refusal as refusal:
            raise await self._refused(caller, order, refusal, note) from refusal
        return _Stream(caller, order, note, store, version, asyncio.get_running_loop())

    async def _admit(self, caller: Member, order: Order, note: bytes) -> None:
        facts = self._context.facts(order.grant_id)
        judge_sides(facts, order, caller.member_id, self._context.member_id)
        if order.kind is not OrderKind.BULK:
            raise StatementInvalid("a stream serves a bulk order")
        known = self._context.ledger.provided.order(order.order_id)
        if known is None:
            judge_freshness(order.time_ms, facts.now_ms, self._context.limits.max_clock_skew_seconds)
            await self._dispatcher.admit(order, note)
        elif known.digest != note_digest(note):
            raise OrderReplayed("another order has this id")
        else:
            judge_release(facts)

    # The stream.

    async def _serve(self, stream: _Stream, inbound: Inbound) -> AsyncGenerator[StreamMessage, None]:
        known = self._context.ledger.provided.deliveries(stream.order.grant_id, stream.order.order_id)
        stream.owed.update(delivery.sequence for delivery in known if not delivery.has_receipt)
        # From here on receipts come in, and what is owed shrinks by what is sent alone.
        reader = asyncio.create_task(self._read(stream, inbound))
        self._live.add(stream)
        try:
            receipted = [delivery for delivery in known if delivery.has_receipt]
            for delivery in receipted[-DELIVERY_WINDOW:]:
                # The requester may have missed the keys of the last deliveries that have a receipt.
                yield await self._release(stream, delivery)
            async with aclosing(self._deliver(stream)) as messages:
                async for message in messages:
                    yield message
            yield await self._complete(stream)
        except (PeerUnavailable, ReceiptInvalid):
            # Nobody was refused, or the receipt's refusal is logged.
            raise
        except Refusal as refusal:
            raise await self._refused(stream.caller, stream.order, refusal) from refusal
        finally:
            self._live.discard(stream)
            async with stream.taking:
                reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _deliver(self, stream: _Stream) -> AsyncGenerator[StreamMessage, None]:
        """Deliveries and keys until neither is left; at most DELIVERY_WINDOW deliveries wait for their keys."""
        parcels = self._parcels(stream)
        upcoming: asyncio.Task[_Parcel | None] | None = asyncio.create_task(_next(parcels))
        in_flight: set[int] = set()  # sent in this stream, and their keys were not
        try:
            while upcoming is not None or stream.owed:
                self._judge(stream)
                if stream.released:
                    sequence, keys = stream.released.popleft()
                    stream.owed.discard(sequence)
                    in_flight.discard(sequence)
                    yield keys
                elif len(in_flight) == DELIVERY_WINDOW or upcoming is None:
                    await self._wait(stream)
                else:
                    parcel = await upcoming
                    # The next delivery is announced and read from disk while this one is on its way.
                    upcoming = asyncio.create_task(_next(parcels)) if parcel else None
                    if parcel is None or parcel.delivery.sequence not in stream.owed:
                        continue
                    self._judge(stream)
                    in_flight.add(parcel.delivery.sequence)
                    yield Delivered(parcel.note, parcel.digests, stream.version_note)
                    for position, blob in enumerate(parcel.blobs):
                        yield SegmentReceived(parcel.delivery.sequence, position, blob)
        finally:
            if upcoming is not None:
                # What is being announced comes into the log whether or not anybody waits for it. The next stream must find
                # it there, or it would announce the same records again.
                await asyncio.gather(asyncio.shield(upcoming), return_exceptions=True)
            await parcels.aclose()

    def _judge(self, stream: _Stream) -> None:
        if stream.failure is not None:
            raise stream.failure
        judge_release(self._context.facts(stream.order.grant_id))

    async def _wait(self, stream: _Stream) -> None:
        """Until a receipt was taken, the requester's side ended, a block came, or a dataset was purged."""
        if stream.has_ended:
            raise PeerUnavailable("the requester ended the stream before its last receipt")
        stream.wake.clear()
        if stream.released or stream.failure:
            return
        try:
            # Not asyncio.wait_for, which in Python 3.11 swallows a cancellation that comes together with the result.
            async with asyncio.timeout(self._context.limits.receipt_timeout_seconds):
                await stream.wake.wait()
        except TimeoutError as cause:
            raise PeerUnavailable("no receipt came in time") from cause

    async def _read(self, stream: _Stream, inbound: Inbound) -> None:
        """Take receipts and prepare the release of their keys, while the other direction goes on."""
        try:
            async for message in inbound:
                if not isinstance(message, ReceiptNote):
                    raise StatementInvalid("after the order a stream carries receipts")  # noqa: TRY301  # one way out
                async with stream.taking:
                    await self._receipts.take(stream.caller, [message.note])
                receipt = read_as(Receipt, message.note)
                delivery = self._context.ledger.provided.delivery(receipt.grant_id, receipt.sequence)
                is_ours = delivery is not None and delivery.order_id == stream.order.order_id
                # Not whether the receipt is new decides: it may have come in by another call since this stream began.
                if delivery is not None and is_ours and receipt.sequence in stream.owed:
                    stream.released.append((receipt.sequence, await self._release(stream, delivery)))
                    stream.wake.set()
        except Exception as failure:  # noqa: BLE001  # raised by the side that serves
            stream.failure = failure
        stream.has_ended = True
        stream.wake.set()

    def _wake_all(self) -> None:
        for stream in tuple(self._live):
            stream.loop.call_soon_threadsafe(stream.wake.set)

    # Deliveries.

    async def _parcels(self, stream: _Stream) -> AsyncGenerator[_Parcel, None]:
        """The order's deliveries that have no receipt: those announced before, then new ones, each logged."""
        position = 0
        ledger = self._context.ledger.provided
        for known in ledger.deliveries(stream.order.grant_id, stream.order.order_id):
            position = known.stop
            state = ledger.delivery(stream.order.grant_id, known.sequence)
            if state is not None and not state.has_receipt:
                entry = await asyncio.to_thread(self._context.log.entry, known.index)
                note = parse_entry(entry).note or b""
                blobs, digests = await asyncio.to_thread(_read_range, stream.store, known.range)
                yield _Parcel(read_as(Delivery, note), note, digests, blobs)
        stop = stream.order.stop
        while position < stop:
            limit = self._context.limits.delivery_segments
            blobs, digests, end = await asyncio.to_thread(_read_next, stream.store, position, stop, limit)
            judge_release(self._context.facts(stream.order.grant_id))
            draft = self._draft(stream, Range(position, end), len(blobs), sm3(digests))
            dispatched = await self._dispatcher.announce(Draft(stream.order, None, draft))
            stream.owed.add(dispatched.delivery.sequence)
            yield _Parcel(dispatched.delivery, dispatched.note, digests, blobs)
            position = end

    def _draft(self, stream: _Stream, covered: Range, segments: int, segments_digest: bytes) -> Delivery:
        order = stream.order
        return Delivery(
            grant_id=order.grant_id,
            order_id=order.order_id,
            sequence=0,
            kind=OrderKind.BULK,
            dataset_id=order.dataset_id,
            version_digest=note_digest(stream.version_note),
            range=covered,
            segments=segments,
            segments_digest=segments_digest,
            answer_digest=ZERO_DIGEST,
            wrapped_digest=ZERO_DIGEST,
            provider_id=order.provider_id,
            requester_id=order.requester_id,
            time_ms=0,
        )

    # Keys.

    async def _release(self, stream: _Stream, delivery: DeliveryState) -> KeysReleased:
        """The keys of a delivery that has a durable receipt, logged before they are given out."""
        grant_id = stream.order.grant_id
        await self._context.refresh_view(under_way=True)
        facts = self._context.facts(grant_id)
        judge_release(facts)
        recipient = self._context.member(stream.order.requester_id).keys.encryption_key
        kept = self._context.ledger.kept(grant_id, delivery.sequence)
        if kept is not None and delivery.release_index is not None and kept.startswith(recipient.digest()):
            wrapped = kept[len(recipient.digest()) :]
            note = parse_entry(await asyncio.to_thread(self._context.log.entry, delivery.release_index)).note or b""
            if read_as(KeyRelease, note).wrapped_digest == sm3(wrapped):
                return KeysReleased(note, wrapped)
        secrets = await asyncio.to_thread(stream.store.secrets, delivery.start, delivery.stop)
        wrapped = await asyncio.to_thread(
            wrap_secrets,
            self._context.engine,
            self._context.random,
            recipient,
            wrap_context(grant_id, delivery.sequence),
            secrets,
        )
        release = KeyRelease(
            grant_id=grant_id,
            order_id=delivery.order_id,
            sequence=delivery.sequence,
            receipt_digest=delivery.receipt_digest,
            wrapped_digest=sm3(wrapped),
            provider_id=self._context.member_id,
            time_ms=self._context.clock(),
        )
        note = await self._context.notary.sign(release)
        # The grant may have gone while the keys were wrapped; what is logged as released was allowed to be.
        judge_release(self._context.facts(grant_id))
        self._context.ledger.keep(grant_id, delivery.sequence, recipient.digest() + wrapped)
        await self._context.journal.record(
            Step(Event.KEYS_RELEASED, self._context.member_id, grant_subject(grant_id), note)
        )
        return KeysReleased(note, wrapped)

    async def _complete(self, stream: _Stream) -> Completed:
        order = stream.order
        state = self._context.ledger.provided.order(order.order_id)
        if state is None or not state.is_closed:
            await self._context.journal.record(
                Step(
                    Event.TRANSFER_COMPLETED,
                    self._context.member_id,
                    grant_subject(order.grant_id),
                    stream.order_note,
                )
            )
        deliveries = self._context.ledger.provided.deliveries(order.grant_id, order.order_id)
        return Completed(deliveries[-1].sequence)


async def _next(parcels: AsyncIterator[_Parcel]) -> _Parcel | None:
    return await anext(parcels, None)


def _read_range(store: DatasetStore, covered: Range) -> tuple[list[bytes], bytes]:
    """The segments of a range, and their digests."""
    blobs = [blob for _, blob in store.blobs(covered.start, covered.stop)]
    return blobs, store.digests(covered.start, covered.stop)


def _read_next(store: DatasetStore, start: int, stop: int, limit: int) -> tuple[list[bytes], bytes, int]:
    """Up to `limit` segments from record `start` on, their digests, and where the next delivery begins."""
    blobs = [blob for _, blob in islice(store.blobs(start, stop), limit)]
    header = segment_header(blobs[-1])
    end = header.first_index + header.count
    return blobs, store.digests(start, end), end
