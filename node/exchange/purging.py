"""Purging a dataset: its records are destroyed for good, and what happened to them stays provable.

Three steps, each durable before the next: the tombstone, a signed `purge` statement, in the log; the shredding of what the dataset
has on disk; the withdrawal of its catalogue entry. Where a node is killed, or the chain is down:

- before the tombstone is durable: nothing happened;
- after it: the dataset is purged. Orders, keys, queries, requests and publications are refused from that entry on, whatever is
  left on the disk or on the chain; `recover`, at start, or the same command again, goes on with what is left;
- within the shredding: what is half destroyed is destroyed (`node.stores.shredding`);
- between the shredding and the withdrawal: the entry is withdrawn when the chain is back.
"""

from __future__ import annotations

import asyncio

from audit.checkpoint import parse_checkpoint
from crypto.errors import Refusal
from crypto.merkle import SM3_TREE
from crypto.notes import parse_note
from node.errors import ChainUnavailable, DatasetUnknown
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import read_as
from node.exchange.publishing import Publishing
from node.model.chain import Mined
from node.model.events import Event, dataset_subject
from node.model.results import Purged
from node.model.statements import Purge


class Purging:
    """The end of this node's own datasets."""

    def __init__(self, context: Context, publishing: Publishing) -> None:
        self._context = context
        self._publishing = publishing

    async def purge(self, dataset_id: bytes, reason: str) -> Purged:
        """Purge a dataset that this node provides. Of one that is purged already what was left undone is done, under the tombstone
        that there is, whose reason stands.

        Raises:
            DatasetUnknown: this node provides no such dataset.
            StatementInvalid: the reason cannot be written.
            StoreLocked: a publication to it is under way. Nothing was done.
            DiskFull, StoreDamaged: it is purged, and part of its files is left; the same again, or the next start, goes on.
            ChainUnavailable: it is purged, and its entry is still in the catalogue; likewise.
        """
        if self._context.description(dataset_id).provider_id != self._context.member_id:
            raise DatasetUnknown("another department provides this dataset")
        with self._publishing.claim(dataset_id):
            note = self._context.ledger.purge(dataset_id)
            if note is None:
                note = await self._bury(dataset_id, reason)
            destroyed, mined = await self._finish(dataset_id)
        return Purged(read_as(Purge, note), note, destroyed, mined.transaction_hash if mined else b"")

    async def recover(self) -> list[Refusal]:
        """Finish purges that a crash, a full disk or an outage of the chain left unfinished. Before anything is served.

        Returns:
            Why a purge could not be finished now, one for each; the next start tries again.
        """
        refused: list[Refusal] = []
        for dataset_id in self._context.ledger.purged():
            try:
                with self._publishing.claim(dataset_id):
                    await self._finish(dataset_id)
            except Refusal as refusal:
                refused.append(refusal)
        return refused

    async def _bury(self, dataset_id: bytes, reason: str) -> bytes:
        """Sign and log the tombstone."""
        # From the log and not from the store, which may be damaged, or hold what is not published.
        size, root = self._newest_version(dataset_id)
        purge = Purge(dataset_id, size, root, reason, self._context.member_id, self._context.clock())
        note = await self._context.notary.sign(purge)
        subject = dataset_subject(dataset_id)
        await self._context.journal.record(Step(Event.DATASET_PURGED, self._context.member_id, subject, note))
        for wake in self._context.on_purge:
            wake()
        return note

    async def _finish(self, dataset_id: bytes) -> tuple[int, Mined | None]:
        """Shred and withdraw what is not yet. Gives the bytes destroyed, and the withdrawal if it was made now."""
        destroyed = await asyncio.to_thread(self._context.datasets.shred, dataset_id)
        for grant in self._context.view.grants():
            if grant.dataset_id == dataset_id and grant.provider_id == self._context.member_id:
                # Sealed answers and wrapped keys to be sent again: for their requester's eyes alone, and for nobody from now on.
                self._context.ledger.drop_kept(grant.grant_id)
        dataset = self._context.view.dataset(dataset_id)
        if dataset is None or dataset.withdrawn:
            # Described while the chain was down: should the entry come later, the next start withdraws it.
            return destroyed, None
        try:
            return destroyed, await asyncio.to_thread(self._context.writer.withdraw_dataset, dataset_id)
        except ChainUnavailable as cause:
            raise ChainUnavailable(
                f"the dataset is purged, and its catalogue entry is withdrawn when the chain is back: {cause}"
            ) from cause

    def _newest_version(self, dataset_id: bytes) -> tuple[int, bytes]:
        """Size and root of the newest version."""
        note = self._context.ledger.version(dataset_id, self._context.ledger.newest_size(dataset_id))
        if note is None:
            return 0, SM3_TREE.empty()
        version = parse_checkpoint(parse_note(note).text)
        return version.size, version.root
