"""What a department does as provider, for other members' nodes. `caller` is whom the transport identified."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from crypto.errors import Refusal
from node.errors import (
    DatasetPurged,
    DatasetUnknown,
    GrantUndecided,
    GrantUnknown,
    NotAMember,
    RequestNotOnChain,
    StatementInvalid,
)
from node.exchange.answering import Answering
from node.exchange.context import Context
from node.exchange.delivering import Delivering
from node.exchange.dispatch import Dispatcher
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.exchange.receipting import ReceiptBook
from node.model.chain import GrantState, Member, Role
from node.model.events import Event, grant_subject, member_subject
from node.model.results import PublishedDataset
from node.model.statements import Request
from node.model.transfer import OrderNote, QueryAnswer, QueryAsked, ReceiptNote, StreamMessage
from node.policy.terms import check_fields, check_request


class Provider:
    """This node as provider."""

    def __init__(self, context: Context) -> None:
        self._context = context
        dispatcher = Dispatcher(context)
        self._receipts = ReceiptBook(context)
        self._delivering = Delivering(context, dispatcher, self._receipts)
        self._answering = Answering(context, dispatcher, self._receipts)

    async def list_datasets(self, caller: Member) -> Sequence[PublishedDataset]:
        """The datasets that this node provides, with their notes. Any active member may ask."""
        await self._check_active(caller)
        listed = []
        for dataset in self._context.view.datasets():
            description = self._context.ledger.description(dataset.dataset_id)
            is_ours = dataset.provider_id == self._context.member_id
            if not is_ours or description is None or self._context.is_purged(dataset.dataset_id):
                continue
            version = self._context.ledger.version(dataset.dataset_id, dataset.size) or b""
            listed.append(PublishedDataset(dataset.dataset_id, description, version, dataset.size if version else 0))
        return listed

    async def submit_request(self, caller: Member, note: bytes) -> None:
        """Take a request note whose digest is on the chain. The same note again changes nothing."""
        subject = member_subject(caller.member_id)
        try:
            await self._check_active(caller)
            request = await self._context.notary.open(Request, note, caller)
            subject = grant_subject(request.grant_id)
            if self._context.ledger.request(request.grant_id) == note:
                return
            await self._context.refresh_view()
            self._check_request(caller, request, note)
        except Refusal as refusal:
            await self._context.journal.record_refusal(Event.REQUEST_RECEIVED, caller.member_id, subject, refusal)
            raise
        await self._context.journal.record(Step(Event.REQUEST_RECEIVED, caller.member_id, subject, note))

    async def decision(self, caller: Member, grant_id: bytes) -> bytes:
        """The decision note of a grant, for its requester and for auditors."""
        try:
            await self._check_active(caller)
            grant = self._context.view.grant(grant_id)
            may_ask = grant is not None and (caller.member_id == grant.requester_id or Role.AUDITOR in caller.roles)
            if grant is None or not may_ask or grant.provider_id != self._context.member_id:
                raise GrantUnknown("no such grant between these members")
            digest = grant.reason_digest if grant.state is GrantState.DENIED else grant.terms_digest
            note = self._context.ledger.decision(grant_id, digest) if digest else None
            if note is None:
                raise GrantUndecided("the grant is not decided yet")
        except Refusal as refusal:
            await self._log_access(caller, grant_subject(grant_id), refusal)
            raise
        return note

    async def exchange(
        self, caller: Member, inbound: AsyncIterator[OrderNote | ReceiptNote]
    ) -> AsyncGenerator[StreamMessage, None]:
        """One bulk transfer, from its order to its completion. Close the generator when the caller is gone."""
        await self._check_active(caller)
        async with aclosing(self._delivering.exchange(caller, inbound)) as messages:
            async for message in messages:
                yield message

    async def query(self, caller: Member, asked: QueryAsked) -> QueryAnswer:
        """One record by its key."""
        await self._check_active(caller)
        return await self._answering.query(caller, asked)

    async def submit_receipts(self, caller: Member, notes: Sequence[bytes]) -> None:
        """Take receipts of answers, oldest first; all or none."""
        await self._check_active(caller)
        try:
            await self._receipts.take(caller, notes)
        except Refusal as refusal:
            await self._log_access(caller, member_subject(caller.member_id), refusal)
            raise

    async def log_refusal(self, caller: Member, refusal: Refusal) -> None:
        """Log that a message of a member was refused before any use case saw it, because of its shape."""
        await self._log_access(caller, member_subject(caller.member_id), refusal)

    def _check_request(self, caller: Member, request: Request, note: bytes) -> None:
        if request.requester_id != caller.member_id or request.provider_id != self._context.member_id:
            raise StatementInvalid("the request names other members")
        dataset = self._context.view.dataset(request.dataset_id)
        if dataset is None or dataset.provider_id != self._context.member_id:
            raise DatasetUnknown("this node provides no such dataset")
        if self._context.is_purged(request.dataset_id):
            raise DatasetPurged("the dataset is purged", dataset=request.dataset_id.hex())
        grant = self._context.view.grant(request.grant_id)
        on_chain = grant is not None and (grant.request_digest, grant.requester_id, grant.dataset_id) == (
            note_digest(note),
            caller.member_id,
            request.dataset_id,
        )
        if not on_chain:
            raise RequestNotOnChain("the request's digest is not on the chain")
        check_request(request, dataset, self._context.clock())
        check_fields(request.fields, self._context.description(request.dataset_id))

    async def _check_active(self, caller: Member) -> None:
        if not caller.is_active:
            refusal = NotAMember(f"the member is {caller.status.name.lower()}", member=caller.member_id)
            await self._log_access(caller, member_subject(caller.member_id), refusal)
            raise refusal

    async def _log_access(self, caller: Member, subject: str, refusal: Refusal) -> None:
        await self._context.journal.record_refusal(Event.ACCESS_REFUSED, caller.member_id, subject, refusal)
