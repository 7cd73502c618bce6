"""DepartmentService: what the department's own programs call, mapped to the node's use cases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from crypto.packed import Packed
from kiteline.exchange.v1 import department_pb2 as pb
from node.errors import StatementInvalid
from node.rpc import department_messages as messages
from node.rpc import shapes
from node.rpc.faces import AnchoringFace, GrantingFace, RequesterFace, StatusFace, TracingFace


@dataclass(frozen=True)
class DepartmentService:
    """One method an RPC; see the proto for what it changes and refuses."""

    granting: GrantingFace
    requester: RequesterFace
    anchoring: AnchoringFace
    tracing: TracingFace
    node: StatusFace

    async def describe_dataset(self, request: pb.DescribeDatasetRequest, _: None) -> pb.DescribeDatasetResponse:
        """DescribeDataset."""
        dataset_id = await self.granting.describe_dataset(messages.offer_of(request))
        return pb.DescribeDatasetResponse(dataset_id=dataset_id)

    async def publish(
        self, requests: AsyncIterator[pb.PublishRequest], _: None
    ) -> AsyncGenerator[pb.PublishResponse, None]:
        """Publish."""
        first = await anext(requests, None)
        if first is None:
            raise StatementInvalid("the stream names no dataset")
        dataset_id = shapes.statement_id(first.dataset_id, "dataset")
        async with aclosing(self.granting.publish(dataset_id, _batches(first, requests))) as steps:
            async for progress in steps:
                yield pb.PublishResponse(
                    sealed_count=progress.sealed_count,
                    version_note=progress.version_note,
                    transaction_hash=progress.transaction_hash,
                )

    async def purge_dataset(self, request: pb.PurgeDatasetRequest, _: None) -> pb.PurgeDatasetResponse:
        """PurgeDataset."""
        done = await self.granting.purge(shapes.statement_id(request.dataset_id, "dataset"), request.reason)
        return pb.PurgeDatasetResponse(
            purge_note=done.note,
            record_count=done.purge.size,
            root=done.purge.root,
            destroyed_bytes=done.destroyed_bytes,
            transaction_hash=done.transaction_hash,
        )

    async def list_catalogue(self, request: pb.ListCatalogueRequest, _: None) -> pb.ListCatalogueResponse:
        """ListCatalogue."""
        entries = await self.granting.catalogue(request.contains)
        return pb.ListCatalogueResponse(entries=[messages.catalogue_entry(entry) for entry in entries])

    async def request_grant(self, request: pb.RequestGrantRequest, _: None) -> pb.RequestGrantResponse:
        """RequestGrant."""
        grant_id, mined = await self.granting.request(messages.wish_of(request))
        return pb.RequestGrantResponse(grant_id=grant_id, transaction_hash=mined.transaction_hash)

    async def decide_grant(self, request: pb.DecideGrantRequest, _: None) -> pb.DecideGrantResponse:
        """DecideGrant."""
        mined = await self.granting.decide(
            shapes.statement_id(request.grant_id, "grant"),
            approve=request.approve,
            reason=request.reason,
            wanted=messages.terms_of(request),
        )
        return pb.DecideGrantResponse(transaction_hash=mined.transaction_hash)

    async def revoke_grant(self, request: pb.RevokeGrantRequest, _: None) -> pb.RevokeGrantResponse:
        """RevokeGrant."""
        mined = await self.granting.revoke(shapes.statement_id(request.grant_id, "grant"), request.reason)
        return pb.RevokeGrantResponse(transaction_hash=mined.transaction_hash)

    async def list_grants(self, _request: pb.ListGrantsRequest, _: None) -> pb.ListGrantsResponse:
        """ListGrants."""
        return pb.ListGrantsResponse(grants=[messages.grant(summary) for summary in await self.granting.grants()])

    async def fetch(self, request: pb.FetchRequest, _: None) -> AsyncGenerator[pb.FetchResponse, None]:
        """Fetch."""
        async with aclosing(self.requester.fetch(shapes.statement_id(request.grant_id, "grant"))) as steps:
            async for progress in steps:
                yield messages.fetch_progress(progress)

    async def query_record(self, request: pb.QueryRecordRequest, _: None) -> pb.QueryRecordResponse:
        """QueryRecord."""
        grant_id = shapes.statement_id(request.grant_id, "grant")
        result = await self.requester.query(grant_id, shapes.key(request.key))
        return pb.QueryRecordResponse(
            fields=result.fields,
            values=result.values,
            proven=result.proven,
            sequence=result.sequence,
            record_index=result.record_index,
        )

    async def read_records(
        self, request: pb.ReadRecordsRequest, _: None
    ) -> AsyncGenerator[pb.ReadRecordsResponse, None]:
        """ReadRecords. The fields go first, alone, so that a dataset without records still has them."""
        grant_id = shapes.statement_id(request.grant_id, "grant")
        fields, batches = await asyncio.to_thread(self.requester.read_records, grant_id)
        yield pb.ReadRecordsResponse(fields=fields)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            for piece in shapes.pieces(batch):
                yield pb.ReadRecordsResponse(records=piece.data, lengths=shapes.lengths_of(piece))

    async def explain(self, request: pb.ExplainRequest, _: None) -> pb.ExplainResponse:
        """Explain."""
        explained = await self.granting.explain(shapes.statement_id(request.grant_id, "grant"))
        return pb.ExplainResponse(allowed=explained.allowed, reason=explained.reason, explanations=explained.sentences)

    async def get_status(self, _request: pb.GetStatusRequest, _: None) -> pb.GetStatusResponse:
        """GetStatus."""
        return messages.status(await self.node.status())

    async def get_trail(self, request: pb.GetTrailRequest, _: None) -> pb.GetTrailResponse:
        """GetTrail."""
        shapes.subject_id(request.grant_id, "grant")
        return messages.trail(await self.tracing.trail(request.grant_id))

    async def get_member_evidence(self, request: pb.GetMemberEvidenceRequest, _: None) -> pb.GetMemberEvidenceResponse:
        """GetMemberEvidence."""
        evidence = await self.tracing.member_evidence(shapes.member_id(request.member_id), request.index)
        return pb.GetMemberEvidenceResponse(evidence=evidence)

    async def get_member_range(
        self, request: pb.GetMemberRangeRequest, _: None
    ) -> AsyncGenerator[pb.GetMemberRangeResponse, None]:
        """GetMemberRange."""
        member_id = shapes.member_id(request.member_id)
        file = await self.tracing.member_range(member_id, request.first, request.count, anchored=request.anchored)
        for piece in shapes.file_pieces(file):
            yield pb.GetMemberRangeResponse(piece=piece)

    async def anchor_now(self, _request: pb.AnchorNowRequest, _: None) -> pb.AnchorNowResponse:
        """AnchorNow."""
        checkpoint_note, mined = await self.anchoring.anchor_now()
        return pb.AnchorNowResponse(checkpoint_note=checkpoint_note, transaction_hash=mined.transaction_hash)


async def _batches(first: pb.PublishRequest, rest: AsyncIterator[pb.PublishRequest]) -> AsyncIterator[Packed]:
    """The records of a publication. Raises RecordInvalid, and StatementInvalid unless the stream ends with its count."""
    count, request = 0, first
    while not request.HasField("total_count"):
        batch = shapes.to_packed(request.records, request.lengths)
        count += len(batch)
        if len(batch):
            yield batch
        following = await anext(rest, None)
        if following is None:
            raise StatementInvalid("the stream ended before it said how many records it has")
        request = following
    if request.records or request.lengths or request.total_count != count:
        raise StatementInvalid(f"{count} records came, and the last message does not say just that")
