"""Receipts as the provider takes them: each for its delivery, each naming the one before, each durable before it counts.

Killed before a receipt is durable: it was not taken, and the requester hands it in again. Killed after: the ledger has
it, and the same receipt again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from crypto.errors import Refusal
from node.errors import ReceiptInvalid, RequestTooLarge
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import note_digest, read_as
from node.model.chain import Member
from node.model.events import Event, grant_subject
from node.model.statements import Receipt


class ReceiptBook:
    """Takes receipts, from streams, from queries and on their own."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # The chain of a grant's receipts grows at one end only.
        self._turns: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, caller: Member, notes: Sequence[bytes]) -> list[Receipt]:
        """Verify and log receipts, oldest first; all or none. Returns those that are new.

        Raises:
            RequestTooLarge: too many at once.
            StatementInvalid, SignatureInvalid: not a receipt of the caller's.
            ReceiptInvalid: not for a delivery as it was sent, or not naming the receipt before it.
        """
        if len(notes) > self._context.limits.max_receipts_per_call:
            raise RequestTooLarge(f"at most {self._context.limits.max_receipts_per_call} receipts at a time")
        receipts = [read_as(Receipt, note) for note in notes]
        unknown = [
            note for note, receipt in zip(notes, receipts, strict=True) if not self._is_known(note, receipt, caller)
        ]
        await asyncio.gather(*(self._context.notary.verify(note, caller) for note in unknown))
        fresh: list[Receipt] = []
        # Locks are taken in the order of the grants' ids, so that two calls cannot wait for each other.
        by_grant: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for note in unknown:
            grant_id = read_as(Receipt, note).grant_id
            if self._context.view.grant(grant_id) is None:
                raise ReceiptInvalid("no such delivery was made to this member")
            by_grant[grant_id].append(note)
        for grant_id in sorted(by_grant):
            async with self._turns[grant_id]:
                fresh += await self._take_in_turn(caller, grant_id, by_grant[grant_id])
        return fresh

    async def _take_in_turn(self, caller: Member, grant_id: bytes, notes: Sequence[bytes]) -> list[Receipt]:
        steps, receipts = [], []
        use = self._context.ledger.provided.use(grant_id)
        sequence, previous = use.receipts, use.last_receipt_digest
        for note in notes:
            receipt = read_as(Receipt, note)
            if self._is_known(note, receipt, caller):
                continue
            try:
                self._check(receipt, caller, sequence, previous)
            except Refusal as refusal:
                await self._context.journal.record_refusal(
                    Event.RECEIPT_RECEIVED, caller.member_id, grant_subject(grant_id), refusal, note
                )
                raise
            sequence, previous = receipt.sequence, note_digest(note)
            receipts.append(receipt)
            steps.append(Step(Event.RECEIPT_RECEIVED, caller.member_id, grant_subject(grant_id), note))
        await asyncio.gather(*map(self._context.journal.submit, steps))
        return receipts

    def _is_known(self, note: bytes, receipt: Receipt, caller: Member) -> bool:
        delivery = self._context.ledger.provided.delivery(receipt.grant_id, receipt.sequence)
        return (
            delivery is not None
            and receipt.requester_id == caller.member_id
            and delivery.receipt_digest == note_digest(note)
        )

    def _check(self, receipt: Receipt, caller: Member, sequence: int, previous: bytes) -> None:
        delivery = self._context.ledger.provided.delivery(receipt.grant_id, receipt.sequence)
        grant = self._context.view.grant(receipt.grant_id)
        if delivery is None or grant is None or {grant.requester_id, receipt.requester_id} != {caller.member_id}:
            raise ReceiptInvalid("no such delivery was made to this member")
        if delivery.has_receipt:
            raise ReceiptInvalid("the delivery has another receipt already", sequence=receipt.sequence)
        stated = (receipt.order_id, receipt.delivery_digest, receipt.segments_digest)
        if stated != (delivery.order_id, delivery.digest, delivery.segments_digest):
            raise ReceiptInvalid("the receipt is for another delivery than was sent", sequence=receipt.sequence)
        if receipt.sequence != sequence + 1 or receipt.previous_digest != previous:
            raise ReceiptInvalid(
                f"the receipt after number {sequence} is wanted, and it names that one", sequence=receipt.sequence
            )
