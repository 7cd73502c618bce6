"""Putting the audit log's head on the chain, on schedule and on demand, and reporting each grant's newest receipt.

Crash points: before the transaction is mined, the next turn signs a newer checkpoint; mined and not logged, the chain has an anchor whose
note this node cannot show, and the next anchor covers everything that it covered.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from audit.checkpoint import log_id
from crypto.errors import Refusal
from node.errors import ChainUnavailable
from node.exchange.context import Context, audit_origin
from node.exchange.heads import Cosigning, signed_head
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.model.chain import Mined
from node.model.events import Event, member_subject


class Anchoring:
    """Anchors this node's log. One at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log_id = log_id(audit_origin(context.member_id))
        self._turn = asyncio.Lock()
        self.cosigning = Cosigning(context)
        # The size at which nothing but our own entry about the last anchor is new.
        self._settled = 0

    async def anchor_now(self) -> tuple[bytes, Mined]:
        """Anchor what the log has. If that is anchored already, gives the anchor there is.

        Raises:
            ChainUnavailable: the chain does not answer; the schedule will try again.
            CosignaturesMissing: likewise, for witnesses.
        """
        async with self._turn:
            context = self._context
            held = context.view.newest_anchor(self._log_id)
            note = context.ledger.checkpoint(held.note_digest) if held is not None else None
            if held is not None and note is not None and context.tree.size == self._settled:
                return note, Mined(held.transaction_hash, held.block)
            note, head = await signed_head(context)
            note = await self.cosigning.cosigned(note, head)
            digest = note_digest(note)
            mined = await asyncio.to_thread(context.writer.anchor, self._log_id, head.size, head.root, digest)
            step = Step(Event.CHECKPOINT_ANCHORED, context.member_id, member_subject(context.member_id), note)
            index = await context.journal.record(step)
            # Entries of others may have come in meanwhile; then the log is not settled.
            self._settled = index + 1 if index == head.size else 0
            return note, mined

    async def run(self, stop: asyncio.Event) -> None:
        """Anchor on schedule while the log grows, until `stop` is set; then once more."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._context.limits.anchor_interval_seconds)
            # What fails now is due again at the next turn; the view's health shows an outage to whoever watches.
            with suppress(Refusal):
                await self._report_receipts()
            with suppress(Refusal):
                if self._context.tree.size != self._settled:
                    await self.anchor_now()

    async def _report_receipts(self) -> None:
        """Tell the chain how far the receipts of each grant that this node gave have come."""
        context = self._context
        for grant in context.view.grants():
            if grant.provider_id != context.member_id:
                continue
            use = context.ledger.provided.use(grant.grant_id)
            if use.receipts > grant.last_sequence:
                with suppress(ChainUnavailable):
                    await asyncio.to_thread(
                        context.writer.advance_grant, grant.grant_id, use.receipts, use.last_receipt_digest
                    )
