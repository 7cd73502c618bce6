"""What a department does as requester: fetch, query, and hand in receipts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from crypto.packed import Packed
from node.errors import FetchUnfinished, FetchUnknown
from node.exchange.acknowledging import Acknowledging
from node.exchange.asking import Asking
from node.exchange.context import Context
from node.exchange.fetching import Fetching
from node.exchange.papers import Papers
from node.model.results import FetchProgress, QueryResult


class Requester:
    """This node as requester."""

    def __init__(self, context: Context) -> None:
        self._context = context
        papers = Papers(context)
        acknowledging = Acknowledging(context)
        self._fetching = Fetching(context, papers, acknowledging)
        self._asking = Asking(context, papers, acknowledging)
        self._papers = papers

    async def fetch(self, grant_id: bytes) -> AsyncGenerator[FetchProgress, None]:
        """Fetch everything that a grant covers, or go on with a fetch that was interrupted.

        Raises the provider's refusal, PeerUnavailable, DeliveryInvalid or RootMismatch.
        """
        # A query whose answer was missed would hold up the receipts of the deliveries to come.
        await self._asking.settle(self._papers.own_grant(grant_id).grant_id)
        # Closed with this generator: otherwise a caller who goes away would leave the fetch marked as running.
        async with aclosing(self._fetching.fetch(grant_id)) as steps:
            async for progress in steps:
                yield progress

    async def query(self, grant_id: bytes, key: str) -> QueryResult:
        """Ask for one record by its key."""
        return await self._asking.query(grant_id, key)

    async def flush_receipts(self) -> None:
        """Hand in every receipt that is due, under all grants that are not being fetched. Raises the first failure."""
        for grant in self._context.view.grants():
            use = self._context.ledger.requested.use(grant.grant_id)
            if grant.requester_id == self._context.member_id and use.delivered:
                await self._asking.flush(grant.grant_id)

    def read_records(self, grant_id: bytes) -> tuple[Sequence[str], Iterator[Packed]]:
        """Field names, and the records of the newest finished fetch in batches. Blocking.

        Raises:
            FetchUnknown: nothing was fetched under the grant.
            FetchUnfinished: it was interrupted, or is running.
        """
        grant = self._papers.own_grant(grant_id)
        if self._context.ledger.requested.finished(grant_id) is None:
            if self._context.ledger.requested.open_bulk(grant_id) is None:
                raise FetchUnknown("nothing was fetched under this grant")
            raise FetchUnfinished("the fetch under this grant is not finished")
        names = self._context.description(grant.dataset_id).field_names
        return names, self._context.vaults(grant_id).records()
