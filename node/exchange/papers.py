"""What a requester needs to know before it orders: the provider's decision and description, checked against the chain.

Each is asked for once, checked by its digest on the chain and by its signature, and logged; afterwards it comes from
the ledger. Killed in between: it is asked for again.
"""

from __future__ import annotations

from crypto.errors import Refusal
from node.errors import DeliveryInvalid, GrantNotApproved, GrantUnknown
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import note_digest, read_as
from node.model.chain import GrantOnChain, GrantState
from node.model.events import Event, dataset_subject, grant_subject
from node.model.grants import Terms, terms_of
from node.model.statements import Decision, Description


class Papers:
    """The notes that a requester holds of a provider's."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def own_grant(self, grant_id: bytes) -> GrantOnChain:
        """A grant that this member asked for. Raises GrantUnknown."""
        grant = self._context.grant(grant_id)
        if grant.requester_id != self._context.member_id:
            raise GrantUnknown("this department has not asked for that grant")
        return grant

    async def terms(self, grant: GrantOnChain) -> Terms:
        """The terms of an approved grant. Raises GrantNotApproved, PeerUnavailable, or what the provider refuses with."""
        held = self._context.terms(grant)
        if held is not None:
            return held
        if grant.state is not GrantState.APPROVED:
            raise GrantNotApproved(f"the grant is {grant.state.value}", state=grant.state.value)
        note = await self._context.peers.peer(grant.provider_id).decision(grant.grant_id)
        try:
            decision = await self._context.notary.open(Decision, note, self._context.member(grant.provider_id))
        except Refusal as cause:
            raise DeliveryInvalid(f"the provider's decision note is not in order: {cause}") from cause
        terms = terms_of(decision)
        if terms is None or decision.grant_id != grant.grant_id or note_digest(note) != grant.terms_digest:
            raise DeliveryInvalid("the provider's decision note is not the one on the chain")
        await self._context.journal.record(
            Step(Event.DECISION_RECEIVED, grant.provider_id, grant_subject(grant.grant_id), note)
        )
        return terms

    async def description(self, dataset_id: bytes) -> Description:
        """The provider's description of a dataset, as the chain names it now. Raises DatasetPurged, which is logged."""
        await self._context.check_not_purged(dataset_id)
        dataset = self._context.dataset(dataset_id)
        held = self._context.ledger.description(dataset_id)
        if held is not None and note_digest(held) == dataset.description_digest:
            return read_as(Description, held)
        provider = self._context.member(dataset.provider_id)
        for listed_id, note, _ in await self._context.peers.peer(dataset.provider_id).list_datasets():
            if listed_id == dataset_id and note_digest(note) == dataset.description_digest:
                description = await self._context.notary.open(Description, note, provider)
                await self._context.journal.record(
                    Step(Event.DATASET_DESCRIBED, dataset.provider_id, dataset_subject(dataset_id), note)
                )
                return description
        raise DeliveryInvalid("the provider does not show the description whose digest is on the chain")
