"""PeerService: what other nodes call, mapped to this node as provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from crypto.errors import Refusal
from kiteline.exchange.v1 import peer_pb2 as pb
from kiteline.exchange.v1.statement_pb2 import Dataset
from node.model.chain import Member
from node.model.transfer import OrderNote, ReceiptNote
from node.rpc import shapes
from node.rpc import transfer_messages as messages
from node.rpc.faces import ProviderFace


class PeerService:
    """One method an RPC; see the proto for who may call it and what it refuses."""

    def __init__(self, member_id: str, provider: ProviderFace) -> None:
        self._member_id = member_id
        self._provider = provider

    async def list_datasets(self, _request: pb.ListDatasetsRequest, caller: Member) -> pb.ListDatasetsResponse:
        """ListDatasets."""
        listed = await self._provider.list_datasets(caller)
        return pb.ListDatasetsResponse(
            datasets=[
                Dataset(
                    dataset_id=one.dataset_id,
                    provider_id=self._member_id,
                    description_note=one.description_note,
                    version_note=one.version_note,
                    record_count=one.record_count,
                )
                for one in listed
            ]
        )

    async def submit_request(self, request: pb.SubmitRequestRequest, caller: Member) -> pb.SubmitRequestResponse:
        """SubmitRequest."""
        async with self._logging(caller):
            note = shapes.note(request.request_note)
        await self._provider.submit_request(caller, note)
        return pb.SubmitRequestResponse()

    async def get_decision(self, request: pb.GetDecisionRequest, caller: Member) -> pb.GetDecisionResponse:
        """GetDecision."""
        async with self._logging(caller):
            grant_id = shapes.statement_id(request.grant_id, "grant")
        note = await self._provider.decision(caller, grant_id)
        return pb.GetDecisionResponse(decision_note=note)

    async def exchange(
        self, requests: AsyncIterator[pb.ExchangeRequest], caller: Member
    ) -> AsyncGenerator[pb.ExchangeResponse, None]:
        """Exchange."""
        async with aclosing(self._provider.exchange(caller, _inbound(requests))) as outbound:
            async for message in outbound:
                yield messages.to_response(message)

    async def query(self, request: pb.QueryRequest, caller: Member) -> pb.QueryResponse:
        """Query."""
        async with self._logging(caller):
            asked = messages.from_query(request)
        return messages.to_answer(await self._provider.query(caller, asked))

    async def submit_receipts(self, request: pb.SubmitReceiptsRequest, caller: Member) -> pb.SubmitReceiptsResponse:
        """SubmitReceipts."""
        async with self._logging(caller):
            notes = shapes.notes(request.receipt_notes)
        await self._provider.submit_receipts(caller, notes)
        return pb.SubmitReceiptsResponse()

    @asynccontextmanager
    async def _logging(self, caller: Member) -> AsyncIterator[None]:
        """Have the provider log what its use cases never see. In a stream it sees the refusal, and logs it itself."""
        try:
            yield
        except Refusal as refusal:
            await self._provider.log_refusal(caller, refusal)
            raise


async def _inbound(requests: AsyncIterator[pb.ExchangeRequest]) -> AsyncIterator[OrderNote | ReceiptNote]:
    async for request in requests:
        yield messages.from_request(request)
