"""What officers do: offer and publish, ask for a grant, decide, revoke, and look at the catalogue and the grants.

Every act is a note in the log before it is a transaction, so that what the chain names can always be shown. Where a
node is killed in between, or the chain is down:

- a request that is logged and not on the chain binds nobody; the officer asks again, under a new grant id;
- a request that is on the chain and did not reach the provider is handed over by `keep_handing_over`;
- a decision that is logged and not on the chain: deciding again the same way is the same note, and another way is possible; the chain's digest says which
  one holds;
- a revocation that is logged and not on the chain holds at this node at once; revoking again sends the same note.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, replace

from crypto.errors import Refusal
from crypto.packed import Packed
from node.errors import (
    ChainMismatch,
    ChainUnavailable,
    GrantDecided,
    GrantNotApproved,
    GrantUndecided,
    GrantUnknown,
    NotAMember,
    PeerUnavailable,
    RequestNotOnChain,
)
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import note_digest, read_as
from node.exchange.papers import Papers
from node.exchange.publishing import Offer, Publishing
from node.exchange.purging import Purging
from node.model.chain import DatasetOnChain, GrantOnChain, GrantState, Mined
from node.model.events import Event, grant_subject
from node.model.grants import Explanation, Terms
from node.model.results import CatalogueEntry, GrantSummary, PublishProgress, Purged
from node.model.statements import Decision, Description, Outcome, Request, Revocation
from node.policy.grants import explain
from node.policy.terms import check_fields, check_request, narrow

_GRANT_ID_SIZE = 32  # bytes
_LONGEST_PAUSE_SECONDS = 3_600


@dataclass(frozen=True)
class Wish:
    """What an officer asks for. `fields` empty: all."""

    dataset_id: bytes
    fields: tuple[str, ...]
    purpose: str
    expiry_seconds: int
    quota: int


class Granting:
    """This department's officers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._publishing = Publishing(context)
        self._purging = Purging(context, self._publishing)
        self._papers = Papers(context)
        self._descriptions: dict[bytes, Description] = {}  # by digest
        self._handed_over: set[bytes] = set()
        self._handing_over = asyncio.Lock()

    # Offering.

    async def describe_dataset(self, offer: Offer) -> bytes:
        """Create a dataset and register it. Raises StatementInvalid or DatasetExists. Returns its id."""
        return await self._publishing.describe(offer)

    def publish(self, dataset_id: bytes, batches: AsyncIterator[Packed]) -> AsyncGenerator[PublishProgress, None]:
        """Append records as one new version (`Publishing.publish`)."""
        return self._publishing.publish(dataset_id, batches)

    async def purge(self, dataset_id: bytes, reason: str) -> Purged:
        """Destroy a dataset's records and withdraw it (`Purging.purge`)."""
        return await self._purging.purge(dataset_id, reason)

    async def recover_purges(self) -> list[Refusal]:
        """Finish purges that were cut short (`Purging.recover`)."""
        return await self._purging.recover()

    async def recover(self) -> list[Refusal]:
        """Finish publications that were cut short (`Publishing.recover`). Requests that did not arrive: `keep_handing_over`."""
        return await self._publishing.recover()

    # Asking.

    async def request(self, wish: Wish) -> tuple[bytes, Mined]:
        """Ask for a grant. The provider hears of it now, or when it can be reached.

        Raises:
            DatasetUnknown, DatasetPurged, DatasetNotShared, StatementInvalid: nothing was asked.
            ChainUnavailable: it may still be mined.
        """
        await self._context.check_not_purged(wish.dataset_id)
        dataset = await self._context.looked_up(lambda: self._context.dataset(wish.dataset_id))
        grant_id = self._context.random(_GRANT_ID_SIZE)
        now_ms = self._context.clock()
        request = Request(
            grant_id=grant_id,
            dataset_id=wish.dataset_id,
            requester_id=self._context.member_id,
            provider_id=dataset.provider_id,
            fields=wish.fields,
            purpose=wish.purpose,
            expiry_seconds=wish.expiry_seconds,
            quota=wish.quota,
            time_ms=now_ms,
        )
        check_request(request, dataset, now_ms)
        if wish.fields:
            check_fields(wish.fields, await self._papers.description(wish.dataset_id))
        note = await self._context.notary.sign(request)
        await self._context.journal.record(
            Step(Event.REQUEST_SENT, self._context.member_id, grant_subject(grant_id), note)
        )
        mined = await asyncio.to_thread(
            self._context.writer.request_grant, grant_id, wish.dataset_id, note_digest(note)
        )
        await self.hand_over_requests()
        return grant_id, mined

    async def hand_over_requests(self) -> bool:
        """Give providers the request notes that they have not had from this process. Whether one was refused that may be taken later."""
        is_refused = False
        async with self._handing_over:
            for grant in self._context.view.grants():
                note = self._context.ledger.request(grant.grant_id)
                is_ours = grant.requester_id == self._context.member_id and grant.state is GrantState.REQUESTED
                if not is_ours or note is None or grant.grant_id in self._handed_over:
                    continue
                try:
                    await self._context.peers.peer(grant.provider_id).submit_request(note)
                except PeerUnavailable:
                    continue
                except (RequestNotOnChain, ChainUnavailable, ChainMismatch):
                    # The provider does not see the block of the request yet, or no chain at all.
                    is_refused = True
                    continue
                except Refusal:
                    # The provider logged why. Asking again would not change its mind.
                    pass
                self._handed_over.add(grant.grant_id)
        return is_refused

    async def keep_handing_over(self) -> None:
        """Hand over requests that did not arrive, for as long as the node runs; ever more seldom where a provider refuses, since it logs that."""
        interval = pause = self._context.limits.anchor_interval_seconds
        while True:
            is_refused = await self.hand_over_requests()
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if is_refused else interval
            await asyncio.sleep(pause)

    # Deciding.

    async def decide(self, grant_id: bytes, *, approve: bool, reason: str, wanted: Terms) -> Mined:
        """Approve or deny a request made to this department. In `wanted`, empty and 0 mean: as asked.

        Raises:
            GrantUnknown: no such request was made to this department, or its note did not arrive.
            GrantDecided: it was decided before.
            DatasetPurged: an approval of what is gone.
            NotAMember: an approval of what a member asked for that is not active any more.
            TermsInvalid: wider than asked for. StatementInvalid: a denial without a reason.
        """
        grant = await self._context.looked_up(lambda: self._own_offer(grant_id))
        if grant.state is not GrantState.REQUESTED:
            raise GrantDecided(f"the grant is {grant.state.value}", state=grant.state.value)
        note = self._context.ledger.request(grant_id)
        if note is None or note_digest(note) != grant.request_digest:
            raise GrantUnknown("the request's note has not reached this node yet")
        terms: Terms | None = None
        now_ms = self._context.clock()
        if approve:
            await self._context.check_not_purged(grant.dataset_id)
            await self._check_requester(grant)
            request = read_as(Request, note)
            terms = narrow(request, self._context.description(grant.dataset_id), wanted, now_ms)
        decision = Decision(
            grant_id=grant_id,
            request_digest=grant.request_digest,
            outcome=Outcome.APPROVED if approve else Outcome.DENIED,
            fields=terms.fields if terms else None,
            expiry_seconds=terms.expiry_seconds if terms else None,
            quota=terms.quota if terms else None,
            reason=reason or None,
            provider_id=self._context.member_id,
            time_ms=now_ms,
        )
        # The same decision again, after the chain did not answer in time, is the note that may be on its way; the contract would refuse another.
        decision_note = self._said_before(decision)
        if decision_note is None:
            decision_note = await self._context.notary.sign(decision)
            await self._context.journal.record(
                Step(Event.DECISION_MADE, self._context.member_id, grant_subject(grant_id), decision_note)
            )
        digest = note_digest(decision_note)
        writer = self._context.writer
        if terms is None:
            return await asyncio.to_thread(writer.deny_grant, grant_id, digest)
        return await asyncio.to_thread(writer.approve_grant, grant_id, digest, terms.expiry_seconds, terms.quota)

    def _said_before(self, decision: Decision) -> bytes | None:
        """The note of this very decision, whenever it was made."""
        for note in self._context.ledger.decisions(decision.grant_id):
            if replace(read_as(Decision, note), time_ms=decision.time_ms) == decision:
                return note
        return None

    async def _check_requester(self, grant: GrantOnChain) -> None:
        """Refuse an approval that the contract would refuse, before it is signed and logged. Raises NotAMember."""
        requester = self._context.member(grant.requester_id)
        if not requester.is_active:
            refusal = NotAMember(f"the requester is {requester.status.name.lower()}", member=requester.member_id)
            subject = grant_subject(grant.grant_id)
            await self._context.journal.record_refusal(Event.ACCESS_REFUSED, self._context.member_id, subject, refusal)
            raise refusal

    async def revoke(self, grant_id: bytes, reason: str) -> Mined:
        """Take back a grant that this department gave; it holds here at once. Raises GrantUnknown, GrantNotApproved."""
        grant = await self._context.looked_up(lambda: self._own_offer(grant_id))
        if grant.state is not GrantState.APPROVED:
            raise GrantNotApproved(f"the grant is {grant.state.value}", state=grant.state.value)
        note = self._context.ledger.revocation(grant_id)
        if note is None:
            note = await self._context.notary.sign(
                Revocation(grant_id, reason, self._context.member_id, self._context.clock())
            )
            await self._context.journal.record(
                Step(Event.GRANT_REVOKED, self._context.member_id, grant_subject(grant_id), note)
            )
        return await asyncio.to_thread(self._context.writer.revoke_grant, grant_id, note_digest(note))

    def _own_offer(self, grant_id: bytes) -> GrantOnChain:
        grant = self._context.grant(grant_id)
        if grant.provider_id != self._context.member_id:
            raise GrantUnknown("the grant is not this department's to give")
        return grant

    # Looking.

    async def catalogue(self, contains: str) -> Sequence[CatalogueEntry]:
        """Every dataset on the chain, the purged ones marked, with its description where the provider can be reached or was before."""
        datasets = self._context.view.datasets()
        await self._gather_descriptions(datasets)
        entries = []
        for dataset in datasets:
            provider = self._context.view.member(dataset.provider_id)
            description = self._descriptions.get(dataset.description_digest)
            text = f"{description.name} {description.title}" if description else ""
            if contains in text or not contains:
                is_purged = self._context.is_purged(dataset.dataset_id)
                entries.append(CatalogueEntry(dataset, provider.name if provider else "", description, is_purged))
        return entries

    async def _gather_descriptions(self, datasets: Sequence[DatasetOnChain]) -> None:
        missing = {}
        for dataset in datasets:
            note = self._context.ledger.description(dataset.dataset_id)
            if note is not None and note_digest(note) == dataset.description_digest:
                self._descriptions[dataset.description_digest] = read_as(Description, note)
            elif dataset.description_digest not in self._descriptions and not dataset.withdrawn:
                missing[dataset.description_digest] = dataset
        providers = {dataset.provider_id for dataset in missing.values()} - {self._context.member_id}
        answers = await asyncio.gather(*map(self._listed, providers))
        for note in (note for listed in answers for note in listed):
            if note_digest(note) in missing:
                self._descriptions[note_digest(note)] = read_as(Description, note)

    async def _listed(self, provider_id: str) -> list[bytes]:
        try:
            return [note for _, note, _ in await self._context.peers.peer(provider_id).list_datasets()]
        except Refusal:
            # The catalogue is the chain's; a provider that is away only leaves its titles out.
            return []

    async def grants(self) -> Sequence[GrantSummary]:
        """The grants that this department is a side of."""
        found = []
        now_ms = self._context.clock()
        for grant in self._context.view.grants():
            if self._context.member_id not in {grant.requester_id, grant.provider_id}:
                continue
            note = self._context.ledger.request(grant.grant_id)
            is_provider = grant.provider_id == self._context.member_id
            side = self._context.ledger.provided if is_provider else self._context.ledger.requested
            use = side.use(grant.grant_id)
            approved = grant.state is GrantState.APPROVED
            found.append(
                GrantSummary(
                    grant=grant,
                    request=read_as(Request, note) if note else None,
                    terms=self._context.terms(grant),
                    used=use.used,
                    last_sequence=use.last_sequence,
                    is_expired=approved and now_ms >= 1000 * grant.expiry_seconds,
                    is_used_up=approved and use.used >= grant.quota,
                )
            )
        return found

    async def explain(self, grant_id: bytes) -> Explanation:
        """Why a grant of this department's does or does not allow an order now, in full."""
        await self._context.looked_up(lambda: self._own_offer(grant_id))
        return explain(self._context.facts(grant_id))

    async def decision(self, grant_id: bytes) -> Decision:
        """The decision about a grant that this department asked for. Raises GrantUndecided."""
        grant = await self._context.looked_up(lambda: self._papers.own_grant(grant_id))
        if grant.state is GrantState.REQUESTED:
            raise GrantUndecided("the grant is not decided yet")
        note = await self._context.peers.peer(grant.provider_id).decision(grant_id)
        return await self._context.notary.open(Decision, note, self._context.member(grant.provider_id))
