"""Describing datasets and publishing versions of them.

Where a node is killed, or the chain is down:

- before a description is durable: nothing happened. After it: describing the same again registers it with that note;
- while records are staged: nothing of them shows; the next publication begins afresh;
- between the commit and the version note, and between the note and the chain: `recover`, at start and before the next
  publication, issues the note and sets the head. What the caller was not told of is then published all the same, whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

from audit.checkpoint import Checkpoint
from crypto.errors import Refusal
from crypto.packed import Packed
from node.errors import DatasetExists, DatasetUnknown, RecordInvalid
from node.exchange.context import Context, dataset_id_of, version_origin
from node.exchange.journal import Step
from node.exchange.notes import note_digest, read_as
from node.model.chain import Mined, SharingType
from node.model.events import Event, dataset_subject
from node.model.lines import FieldDescription
from node.model.records import RecordChecker
from node.model.results import PublishProgress
from node.model.statements import Description
from node.ports import DatasetStore


@dataclass(frozen=True)
class Offer:
    """What a provider says of a dataset to be. `key_field` None: no queries."""

    name: str
    title: str
    fields: tuple[FieldDescription, ...]
    key_field: str | None
    level: int
    sharing_type: SharingType


class Publishing:
    """This node's own datasets."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def describe(self, offer: Offer) -> bytes:
        """Create a dataset, log its description and register it. The same again changes nothing. Returns its id."""
        dataset_id = dataset_id_of(self._context.member_id, offer.name)
        description = Description(
            dataset_id=dataset_id,
            name=offer.name,
            provider_id=self._context.member_id,
            title=offer.title,
            level=offer.level,
            sharing_type=offer.sharing_type,
            key_field=offer.key_field,
            fields=offer.fields,
            time_ms=self._context.clock(),
        )
        description.to_text()  # Raises StatementInvalid before anything is done.
        note = self._context.ledger.description(dataset_id)
        if note is None:
            note = await self._context.notary.sign(description)
            subject = dataset_subject(dataset_id)
            await self._context.journal.record(Step(Event.DATASET_DESCRIBED, self._context.member_id, subject, note))
        elif replace(read_as(Description, note), time_ms=0) != replace(description, time_ms=0):
            raise DatasetExists("a dataset of that name exists with another description", name=offer.name)
        if dataset_id not in self._context.datasets.ids():
            await asyncio.to_thread(self._context.datasets.create, dataset_id)
        if self._context.view.dataset(dataset_id) is None:
            await asyncio.to_thread(
                self._context.writer.register_dataset,
                dataset_id,
                note_digest(note),
                offer.level,
                offer.sharing_type,
            )
        return dataset_id

    async def publish(self, dataset_id: bytes, batches: AsyncIterator[Packed]) -> AsyncGenerator[PublishProgress, None]:
        """Append records as one new version; the last progress has its note and transaction.

        Raises:
            DatasetUnknown: this node provides no such dataset.
            RecordInvalid: a record is not as described, or there is none. Nothing was published.
            StoreLocked: another publication to the dataset is running.
            ChainUnavailable: the version is logged, and goes on the chain when `recover` runs.
        """
        description = self._context.description(dataset_id)
        if self._context.dataset(dataset_id).provider_id != self._context.member_id:
            raise DatasetUnknown("another department provides this dataset")
        names = description.field_names
        checker = RecordChecker(len(names), names.index(description.key_field) if description.key_field else None)
        store = await asyncio.to_thread(self._context.datasets.open, dataset_id)
        await self._issue(dataset_id, store)
        staging = await asyncio.to_thread(store.begin_append)
        count = 0
        try:
            async for batch in batches:
                keys = await asyncio.to_thread(checker.check, batch, count + 1)
                await asyncio.to_thread(staging.add, batch, keys)
                count += len(batch)
                yield PublishProgress(count)
            if count == 0:
                raise RecordInvalid("there is no record to publish")
            await asyncio.to_thread(staging.commit)
        finally:
            # After the commit this does nothing; before it, nothing was published.
            await asyncio.to_thread(staging.abandon)
        note = await self._issue(dataset_id, store)
        mined = await self._set_head(dataset_id)
        yield PublishProgress(count, note or b"", mined.transaction_hash if mined else b"")

    async def recover(self) -> list[Refusal]:
        """Issue and anchor versions that a crash or an outage of the chain left unfinished. Before anything is served.

        Returns:
            Why a dataset could not be finished now, one for each; the next start or the next publication to it tries again.
        """
        refused: list[Refusal] = []
        for dataset_id in self._context.datasets.ids():
            if self._context.ledger.description(dataset_id) is None:
                continue
            try:
                store = await asyncio.to_thread(self._context.datasets.open, dataset_id)
                await self._issue(dataset_id, store)
                await self._set_head(dataset_id)
            except Refusal as refusal:
                refused.append(refusal)
        return refused

    async def _issue(self, dataset_id: bytes, store: DatasetStore) -> bytes | None:
        """Sign and log the version note of what is committed, if it has none."""
        size = store.size
        if size <= self._context.ledger.newest_size(dataset_id):
            return None
        root = await asyncio.to_thread(store.root, size)
        origin = version_origin(self._context.member_id, dataset_id)
        checkpoint = Checkpoint(origin, size, root, self._context.clock())
        note = await self._context.notary.sign_text(checkpoint.to_text())
        subject = dataset_subject(dataset_id)
        await self._context.journal.record(Step(Event.VERSION_PUBLISHED, self._context.member_id, subject, note))
        return note

    async def _set_head(self, dataset_id: bytes) -> Mined | None:
        """Put the newest version on the chain, if it is not there."""
        size = self._context.ledger.newest_size(dataset_id)
        note = self._context.ledger.version(dataset_id, size)
        if note is None or self._context.dataset(dataset_id).size >= size:
            return None
        store = await asyncio.to_thread(self._context.datasets.open, dataset_id)
        root = await asyncio.to_thread(store.root, size)
        return await asyncio.to_thread(self._context.writer.set_head, dataset_id, size, root, note_digest(note))
