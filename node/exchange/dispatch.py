"""Orders in, delivery notes out: admission, sequence numbers and signatures, many at a time and one batch at a time.

A grant's sequence numbers run without gaps. They are dealt out here alone, from what the ledger holds, to one batch
whose predecessor is durable; so there is no counter to keep, and none to repair:

- killed before the orders are durable: nothing happened; the requester asks again;
- killed between orders and deliveries: the orders are known and counted; asked again, they are answered without being
  counted twice;
- killed after the deliveries are durable: the numbers are in the log; asked again, the same notes go out;
- a full disk refuses the first of a batch and takes a later one: the ledger shows the free numbers, and the next
  deliveries take them first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from crypto.errors import Refusal
from node.errors import ReceiptsOutstanding
from node.exchange.coalesce import Coalescer
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.model.events import Event, grant_subject
from node.model.statements import Delivery, Order, OrderKind
from node.policy.grants import judge_order


@dataclass(frozen=True)
class Draft:
    """What a caller wants dispatched.

    `order_note`: of a new order, to be admitted and counted; None: admitted before. `delivery`: its sequence and time
    are filled in here, unless `is_repeat`, when the sequence stands. None: the order alone.
    """

    order: Order
    order_note: bytes | None
    delivery: Delivery | None
    is_repeat: bool = False


@dataclass(frozen=True)
class Dispatched:
    """A delivery that is in the log."""

    delivery: Delivery
    note: bytes


class Dispatcher:
    """Admits orders and announces deliveries."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._batches: Coalescer[Draft, Dispatched | None] = Coalescer(self._dispatch)

    async def admit(self, order: Order, order_note: bytes) -> None:
        """Judge a new order and count it, durably. Raises the policy's refusal."""
        await self._batches(Draft(order, order_note, None))

    async def announce(self, draft: Draft) -> Dispatched:
        """Give a delivery its number and its note, durably, after its order if that is new.

        Raises the policy's refusal of a new order, ReceiptsOutstanding, or the log's refusal; then nothing was sent.
        """
        dispatched = await self._batches(draft)
        if dispatched is None:
            raise ValueError("a draft without a delivery cannot be announced")
        return dispatched

    def published_size(self, dataset_id: bytes) -> int:
        """Size of the newest version that is in the log and on the chain; 0 if there is none."""
        dataset = self._context.view.dataset(dataset_id)
        if dataset is None or dataset.size == 0:
            return 0
        note = self._context.ledger.version(dataset_id, dataset.size)
        return dataset.size if note is not None and note_digest(note) == dataset.version_digest else 0

    async def _dispatch(self, drafts: Sequence[Draft]) -> Sequence[Dispatched | Exception | None]:
        results: list[Dispatched | Exception | None] = [None] * len(drafts)
        admitted = self._admit_all(drafts, results)
        deliveries = self._number(drafts, admitted)
        # Signing and logging overlap, and both must have gone well before anything is announced.
        logged, notes = await asyncio.gather(
            self._log_orders(drafts, admitted),
            self._context.notary.sign_many([delivery for _, delivery in deliveries]),
            return_exceptions=True,
        )
        if isinstance(logged, BaseException):
            raise logged
        if isinstance(notes, BaseException):
            raise notes
        steps = [
            Step(Event.DELIVERY_SENT, self._context.member_id, grant_subject(delivery.grant_id), note)
            for (_, delivery), note in zip(deliveries, notes, strict=True)
        ]
        outcomes = await asyncio.gather(*map(self._context.journal.submit, steps), return_exceptions=True)
        for (position, delivery), note, outcome in zip(deliveries, notes, outcomes, strict=True):
            results[position] = outcome if isinstance(outcome, Exception) else Dispatched(delivery, note)
        return results

    def _admit_all(self, drafts: Sequence[Draft], results: list[Dispatched | Exception | None]) -> list[int]:
        """Positions of the drafts that go on; the others have their refusal in `results`."""
        orders: Counter[bytes] = Counter()
        answers: Counter[bytes] = Counter()
        admitted = []
        for position, draft in enumerate(drafts):
            grant_id = draft.order.grant_id
            try:
                if draft.order_note is not None:
                    size = self.published_size(draft.order.dataset_id)
                    judge_order(self._context.facts(grant_id, orders[grant_id]), draft.order, size)
                if draft.order.kind is OrderKind.QUERY and not draft.is_repeat:
                    self._limit_answers(grant_id, answers[grant_id])
            except Refusal as refusal:
                results[position] = refusal
                continue
            orders[grant_id] += draft.order_note is not None
            answers[grant_id] += draft.order.kind is OrderKind.QUERY and not draft.is_repeat
            admitted.append(position)
        return admitted

    def _limit_answers(self, grant_id: bytes, pending: int) -> None:
        outstanding = self._context.ledger.provided.use(grant_id).outstanding + pending
        if outstanding >= self._context.limits.max_outstanding_answers:
            raise ReceiptsOutstanding(
                f"{outstanding} answers under this grant have no receipt", outstanding=outstanding
            )

    def _number(self, drafts: Sequence[Draft], admitted: Sequence[int]) -> list[tuple[int, Delivery]]:
        """(position, delivery with its number and time), in the order in which they are logged."""
        numbers: dict[bytes, Iterator[int]] = {}
        now_ms = self._context.clock()
        deliveries = []
        for position in admitted:
            draft = drafts[position]
            if draft.delivery is None:
                continue
            grant_id = draft.order.grant_id
            if grant_id not in numbers:
                numbers[grant_id] = self._free_numbers(grant_id)
            sequence = draft.delivery.sequence if draft.is_repeat else next(numbers[grant_id])
            deliveries.append((position, replace(draft.delivery, sequence=sequence, time_ms=now_ms)))
        return deliveries

    def _free_numbers(self, grant_id: bytes) -> Iterator[int]:
        yield from self._context.ledger.provided.free_sequences(grant_id)
        sequence = self._context.ledger.provided.use(grant_id).last_sequence
        while True:
            sequence += 1
            yield sequence

    async def _log_orders(self, drafts: Sequence[Draft], admitted: Sequence[int]) -> None:
        steps = [
            Step(
                Event.ORDER_RECEIVED,
                drafts[position].order.requester_id,
                grant_subject(drafts[position].order.grant_id),
                drafts[position].order_note,
            )
            for position in admitted
            if drafts[position].order_note is not None
        ]
        outcomes = await asyncio.gather(*map(self._context.journal.submit, steps), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
