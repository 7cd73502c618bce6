"""The requester's end of one exchange stream: what comes is checked, stored, logged and answered, message by message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

from audit.checkpoint import open_checkpoint
from crypto.errors import CryptoError, EncodingInvalid, Refusal, SignatureInvalid
from node.errors import DeliveryInvalid, PeerUnavailable, StatementInvalid
from node.exchange.acknowledging import Acknowledging
from node.exchange.context import Context, version_origin
from node.exchange.journal import Step
from node.exchange.notes import every_key, note_digest
from node.exchange.opening import Opener
from node.exchange.receiving import (
    PlacedOrder,
    check_continues,
    check_delivery,
    check_digests,
    check_release,
    check_segments,
)
from node.model.events import Event, grant_subject
from node.model.statements import Delivery, KeyRelease, Statement
from node.model.transfer import Completed, Delivered, KeysReleased, SegmentReceived, StreamMessage
from node.ports import PeerExchange, Vault

S = TypeVar("S", bound=Statement)

_RECEIPTS_AT_ONCE = 512


class FetchStream:
    """One attempt at an order.

    Attributes:
        delivered_count: records whose segments are stored.
        evidence: the provider's newest note whose signature held; what a mismatch is logged with.
        is_refused: whether what `run` raised is the provider's refusal.
    """

    def __init__(self, context: Context, acknowledging: Acknowledging, placed: PlacedOrder, vault: Vault) -> None:
        order = placed.order
        self._context = context
        self._acknowledging = acknowledging
        self._order = order
        self._order_note = placed.note
        self._version = placed.version
        self._vault = vault
        self._subject = grant_subject(order.grant_id)
        self._provider = context.member(order.provider_id)
        self._announced: tuple[Delivery, Delivered, bool] | None = None
        self._blobs: list[bytes] = []
        self._sent_receipts = 0
        self._opened_stop = 0
        deliveries = context.ledger.requested.deliveries(order.grant_id, order.order_id)
        self.delivered_count = deliveries[-1].stop if deliveries else 0
        self.evidence: bytes | None = None
        self.is_refused = False

    async def run(self, opener: Opener, opened_stop: int) -> AsyncGenerator[None, None]:
        """Order, and take what comes until the order is complete; yields after each message.

        Records below `opened_stop` were handed to the opener before.

        Raises:
            DeliveryInvalid: the provider did not keep what it signed, or signed what does not fit.
            PeerUnavailable: the stream broke.
            Refusal: the provider's, with `is_refused` set; or this node's own.
        """
        self._opened_stop = opened_stop
        exchange = self._context.peers.peer(self._order.provider_id).exchange()
        try:
            self._sent_receipts = self._provider_has()
            async with aclosing(self._messages(exchange)) as messages:
                async for message in messages:
                    opener.raise_failure()
                    if isinstance(message, Completed):
                        break
                    await self._take(exchange, opener, message)
                    yield
                else:
                    raise PeerUnavailable("the provider's stream ended before the order was complete")
        finally:
            await exchange.close()
        if self._opened_stop != (self._order.stop):
            raise DeliveryInvalid("the provider ended the order before everything was delivered")

    async def _messages(self, exchange: PeerExchange) -> AsyncGenerator[StreamMessage, None]:
        """What the provider sends. Its refusals come out here, or where a receipt meets the end of the stream."""
        try:
            await exchange.send_order(self._order_note)
            await self._send_receipts(exchange)
            async for message in exchange.messages():
                yield message
        except Refusal:
            self.is_refused = True
            raise

    async def _take(self, exchange: PeerExchange, opener: Opener, message: StreamMessage) -> None:
        if isinstance(message, Delivered):
            await self._announce(message)
        elif isinstance(message, SegmentReceived):
            await self._collect(exchange, message)
        elif isinstance(message, KeysReleased):
            await self._take_keys(opener, message)

    # Deliveries.

    async def _announce(self, message: Delivered) -> None:
        if self._announced is not None:
            raise DeliveryInvalid("a delivery was announced before the last one was whole")
        delivery = await self._open(Delivery, message.note)
        check_delivery(delivery, self._order, self._version.digest)
        known = self._context.ledger.requested.deliveries(self._order.grant_id, self._order.order_id)
        stop = self._order.stop
        is_new = check_continues(delivery, note_digest(message.note), known, stop)
        if is_new and self._context.ledger.requested.delivery(delivery.grant_id, delivery.sequence) is not None:
            raise DeliveryInvalid("the number belongs to an answer given before", sequence=delivery.sequence)
        check_digests(delivery, message.digests)
        await asyncio.to_thread(self._check_version, message.version_note)
        self._announced, self._blobs = (delivery, message, is_new), []

    def _check_version(self, note: bytes) -> None:
        """The version note is the one that the chain named, and says what the chain says."""
        if note_digest(note) != self._version.digest:
            raise DeliveryInvalid("the version note is not the one on the chain")
        origin = version_origin(self._order.provider_id, self._order.dataset_id)
        stop = self._order.stop
        try:
            checkpoint = open_checkpoint(self._context.engine, note, every_key(self._provider))
        except CryptoError as cause:
            raise DeliveryInvalid(f"the version note is not in order: {cause}") from cause
        if (checkpoint.origin, checkpoint.size, checkpoint.root) != (origin, stop, self._version.root):
            raise DeliveryInvalid("the version note states another dataset, size or root than the chain")

    async def _collect(self, exchange: PeerExchange, message: SegmentReceived) -> None:
        if self._announced is None:
            raise DeliveryInvalid("a segment came without a delivery")
        delivery, announcement, is_new = self._announced
        if (message.sequence, message.position) != (delivery.sequence, len(self._blobs)):
            raise DeliveryInvalid("a segment is out of its place", sequence=delivery.sequence)
        self._blobs.append(message.blob)
        if len(self._blobs) < delivery.segments:
            return
        blobs, self._blobs, self._announced = self._blobs, [], None
        await asyncio.to_thread(check_segments, self._context.engine, delivery, announcement.digests, blobs)
        await asyncio.to_thread(self._vault.store_segments, delivery.sequence, blobs)
        if is_new:
            step = Step(Event.DELIVERY_RECEIVED, self._order.provider_id, self._subject, announcement.note)
            await self._context.journal.record(step)
            self.delivered_count = delivery.range.stop
        await self._send_receipts(exchange)

    # Receipts.

    def _provider_has(self) -> int:
        """Up to which number the provider has receipts for certain: it released keys on the strength of them."""
        deliveries = self._context.ledger.requested.deliveries(self._order.grant_id, self._order.order_id)
        released = [delivery.sequence for delivery in deliveries if delivery.release_index is not None]
        return max([self._acknowledging.handed_in(self._order.grant_id), *released])

    async def _send_receipts(self, exchange: PeerExchange) -> None:
        grant_id = self._order.grant_id
        await self._acknowledging.make(grant_id)
        while notes := await self._acknowledging.due(grant_id, self._sent_receipts, _RECEIPTS_AT_ONCE):
            for note in notes:
                try:
                    await exchange.send_receipt(note)
                except Refusal:
                    self.is_refused = True
                    raise
            self._sent_receipts += len(notes)

    # Keys.

    async def _take_keys(self, opener: Opener, message: KeysReleased) -> None:
        release = await self._open(KeyRelease, message.note)
        if release.grant_id != self._order.grant_id:
            raise DeliveryInvalid("the keys are for another grant", sequence=release.sequence)
        known = self._context.ledger.requested.delivery(release.grant_id, release.sequence)
        delivery = check_release(release, message.wrapped_secrets, known)
        if delivery.release_index is not None:
            return
        if delivery.start != self._opened_stop:
            raise DeliveryInvalid("keys came out of order", sequence=release.sequence)
        await asyncio.to_thread(self._vault.store_keys, release.sequence, message.wrapped_secrets)
        await self._context.journal.record(
            Step(Event.KEYS_RECEIVED, self._order.provider_id, self._subject, message.note)
        )
        self._acknowledging.note_handed_in(release.grant_id, release.sequence)
        self._opened_stop = delivery.stop
        await opener.put(delivery)

    async def _open(self, kind: type[S], note: bytes) -> S:
        try:
            statement = await self._context.notary.open(kind, note, self._provider)
        except (SignatureInvalid, StatementInvalid, EncodingInvalid) as cause:
            raise DeliveryInvalid(f"the provider's {kind.TYPE} is not in order: {cause}") from cause
        self.evidence = note
        return statement
