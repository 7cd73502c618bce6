"""Putting the audit log's head on the chain, on schedule and on demand, and reporting each grant's newest receipt.

A head that is to be anchored is decided once: its note is kept before any transaction names it, and no other head is decided before the log has the
entry that says where it was anchored. So each decided head is on the chain once, in order, and its note is in the log once. Crash points, and what recovers:
- signed and not kept: nobody saw it; the next turn signs another;
- kept, wherever the transaction is (not made, journaled, sent, mined, final): `_finish`, at the next start or turn, asks the writer for the very same anchor,
  and the writer joins the transaction that there is;
- logged: done. Whether it is, the ledger says.

A head goes on the network of members and grants first, and is logged; then on the other networks, each by itself. One that is down keeps
nobody waiting, and gets the newest head when it is back.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from audit.checkpoint import Checkpoint, log_id, parse_checkpoint
from crypto.errors import Refusal
from crypto.notes import parse_note
from node.errors import ChainUnavailable, TransactionRefused
from node.exchange.context import AnchorNetwork, Context, audit_origin
from node.exchange.heads import Cosigning, signed_head
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.model.chain import Anchor, Mined
from node.model.events import Event, member_subject
from node.ports import ChainView

_ELSEWHERE_SECONDS = 5.0  # for which a turn waits for the other networks; they go on meanwhile


class Anchoring:
    """Anchors this node's log. One at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._log_id = log_id(audit_origin(context.member_id))
        self._turn = asyncio.Lock()
        self.cosigning = Cosigning(context)
        # The size at which nothing but our own entry about the last anchor is new.
        self._settled = 0
        self._elsewhere: dict[str, asyncio.Task[None]] = {}  # by network: what is under way

    async def anchor_now(self) -> tuple[bytes, Mined]:
        """Anchor what the log has. If that is anchored already, gives the anchor there is.

        Raises:
            TransactionPending: the anchor is under way; the schedule goes on waiting for it.
            ChainUnavailable: the chain does not answer; the schedule will try again.
            CosignaturesMissing: likewise, for witnesses.
        """
        async with self._turn:
            context = self._context
            await self._finish()
            held = self._newest(context.view)
            note = context.ledger.checkpoint(held.note_digest) if held is not None else None
            if held is not None and note is not None and context.tree.size == self._settled:
                await self._anchor_elsewhere()
                return note, Mined(held.transaction_hash, held.block)
            note, head = await signed_head(context)
            note = await self.cosigning.cosigned(note, head)
            await asyncio.to_thread(context.decided_head.keep, note)
            mined = await self._anchor(note, head)
            await self._anchor_elsewhere()
            return note, mined

    async def _finish(self) -> None:
        """Anchor and log the head that was decided last, if that did not come to its end."""
        note = await asyncio.to_thread(self._context.decided_head.read)
        if note is None or self._context.ledger.checkpoint(note_digest(note)) is not None:
            return
        # The contract may have a longer head by now, or not let this member write: then this one can never be anchored, and a newer one may.
        with suppress(TransactionRefused):
            await self._anchor(note, parse_checkpoint(parse_note(note).text))

    async def _anchor(self, note: bytes, head: Checkpoint) -> Mined:
        """Put a decided head on the first network, and say so in the log."""
        context = self._context
        mined = await asyncio.to_thread(context.writer.anchor, self._log_id, head.size, head.root, note_digest(note))
        step = Step(Event.CHECKPOINT_ANCHORED, context.member_id, member_subject(context.member_id), note)
        index = await context.journal.record(step)
        # Entries of others may have come in meanwhile; then the log is not settled.
        self._settled = index + 1 if index == head.size else 0
        return mined

    async def run(self, stop: asyncio.Event) -> None:
        """Finish what was under way when the node last stopped. Anchor on schedule while the log grows, until `stop` is set; then once more."""
        with suppress(Refusal):
            async with self._turn:
                await self._finish()
        is_last = False
        while not is_last:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._context.limits.anchor_interval_seconds)
            # Looked at before the turn: what was logged before the stop is in the turn after it.
            is_last = stop.is_set()
            # What fails now is due again at the next turn; the view's health shows an outage to whoever watches.
            with suppress(Refusal):
                await self._report_receipts()
            with suppress(Refusal):
                if self._context.tree.size != self._settled or self._behind():
                    await self.anchor_now()
        for task in self._elsewhere.values():
            task.cancel()

    def _newest(self, view: ChainView) -> Anchor | None:
        """The newest head of this node's log that a network has."""
        return view.newest_anchor(self._context.member_id, self._log_id)

    def _behind(self) -> list[AnchorNetwork]:
        """The other networks that do not have the newest head yet."""
        newest = self._newest(self._context.view)
        return [
            network
            for network in self._context.anchor_networks
            if newest is not None and ((held := self._newest(network.view)) is None or held.size < newest.size)
        ]

    async def _anchor_elsewhere(self) -> None:
        for network in self._behind():
            if network.name not in self._elsewhere:
                task = asyncio.create_task(self._anchor_on(network))
                self._elsewhere[network.name] = task
                task.add_done_callback(lambda _, name=network.name: self._elsewhere.pop(name, None))  # type: ignore[misc]  # a default, not a parameter
        if self._elsewhere:
            await asyncio.wait(list(self._elsewhere.values()), timeout=_ELSEWHERE_SECONDS)

    async def _anchor_on(self, network: AnchorNetwork) -> None:
        """Put the head there that the first network has. What is refused is due again at the next turn; `status` shows who is behind."""
        newest = self._newest(self._context.view)
        if newest is not None:
            with suppress(Refusal):
                await asyncio.to_thread(
                    network.writer.anchor, self._log_id, newest.size, newest.root, newest.note_digest
                )

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
