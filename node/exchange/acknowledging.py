"""Receipts as the requester makes them: one for each delivery in the log, in the order of their numbers, each naming the
one before. A receipt is durable before it is sent.

Killed before a receipt is durable: it was never sent, and is made again. Killed after: it is in the log and is handed in
again; the provider takes a receipt that it has as taken. A delivery that has not arrived holds up the receipts after
it, so that none can be passed over; the query that it answers is asked again (`asking`), or the fetch is resumed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from audit.entry import parse_entry
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.exchange.transfers import DeliveryState
from node.model.events import Event, grant_subject
from node.model.statements import Receipt

_CARRIED_AT_ONCE = 512  # receipts that ride on one query


class Acknowledging:
    """Makes receipts and sees to it that one messenger at a time carries those of a grant."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._making: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._carrying: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._handed_in: dict[bytes, int] = {}
        self._unlogged: dict[bytes, list[bytes]] = {}

    async def make(self, grant_id: bytes) -> None:
        """Sign and log a receipt for every delivery that has none, up to the first that has not arrived."""
        async with self._making[grant_id]:
            if grant_id not in self._unlogged:
                self._unlogged[grant_id] = await asyncio.to_thread(self._sign_due, grant_id)
            # Receipts that a full disk refused are kept as they are: the next of the chain may name them.
            notes = self._unlogged[grant_id]
            steps = [Step(Event.RECEIPT_SENT, self._context.member_id, grant_subject(grant_id), note) for note in notes]
            await asyncio.gather(*map(self._context.journal.submit, steps))
            del self._unlogged[grant_id]

    async def due(self, grant_id: bytes, after: int, limit: int) -> list[bytes]:
        """Receipts from the log with a higher number than `after`, oldest first."""
        return await asyncio.to_thread(self._read_due, grant_id, after, limit)

    def handed_in(self, grant_id: bytes) -> int:
        """Up to which number the provider is known to have receipts, as this process or the chain knows."""
        grant = self._context.view.grant(grant_id)
        return max(self._handed_in.get(grant_id, 0), grant.last_sequence if grant else 0)

    def note_handed_in(self, grant_id: bytes, sequence: int) -> None:
        """The provider has the receipts up to this number."""
        self._handed_in[grant_id] = max(self._handed_in.get(grant_id, 0), sequence)

    @asynccontextmanager
    async def carrier(self, grant_id: bytes) -> AsyncIterator[None]:
        """Be the one who hands in a grant's receipts; waits for whoever is."""
        async with self._carrying[grant_id]:
            yield

    @asynccontextmanager
    async def riding(self, grant_id: bytes) -> AsyncIterator[Sequence[bytes]]:
        """Receipts to take along with a query; none if somebody carries the grant's receipts already.

        They count as handed in when the body ends without an error. Two messengers would overtake each other, and the
        provider refuses a receipt whose predecessor it has not seen.
        """
        if self._carrying[grant_id].locked():
            yield ()
            return
        async with self._carrying[grant_id]:
            await self.make(grant_id)
            start = self.handed_in(grant_id)
            notes = await self.due(grant_id, start, _CARRIED_AT_ONCE)
            yield notes
            self.note_handed_in(grant_id, start + len(notes))

    # On a worker thread.

    def _sign_due(self, grant_id: bytes) -> list[bytes]:
        ledger = self._context.ledger.requested
        use = ledger.use(grant_id)
        sequence, previous = use.receipts, use.last_receipt_digest
        notes = []
        while (delivery := ledger.delivery(grant_id, sequence + 1)) is not None:
            sequence += 1
            # Each names the one before by its digest, signature included, so they are signed one after another.
            notes.append(self._context.notary.sign_here(self._receipt(grant_id, delivery, previous)))
            previous = note_digest(notes[-1])
        return notes

    def _receipt(self, grant_id: bytes, delivery: DeliveryState, previous: bytes) -> Receipt:
        return Receipt(
            grant_id=grant_id,
            order_id=delivery.order_id,
            sequence=delivery.sequence,
            delivery_digest=delivery.digest,
            segments_digest=delivery.segments_digest,
            previous_digest=previous,
            requester_id=self._context.member_id,
            time_ms=self._context.clock(),
        )

    def _read_due(self, grant_id: bytes, after: int, limit: int) -> list[bytes]:
        ledger = self._context.ledger.requested
        last = min(ledger.use(grant_id).receipts, after + limit)
        notes = []
        for sequence in range(after + 1, last + 1):
            delivery = ledger.delivery(grant_id, sequence)
            if delivery is None or delivery.receipt_index is None:
                break
            notes.append(parse_entry(self._context.log.entry(delivery.receipt_index)).note or b"")
        return notes
