"""AuditService: what auditors and the sides of a grant read of this node's log."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from kiteline.audit.v1 import audit_pb2 as pb
from node.errors import SubjectInvalid
from node.model.chain import Member
from node.rpc import shapes
from node.rpc.faces import AuditingFace, FinalityFace, WitnessingFace


class AuditService:
    """One method an RPC; see the proto for who may call it and what it refuses."""

    def __init__(self, auditing: AuditingFace, witnessing: WitnessingFace, finality: FinalityFace) -> None:
        self._auditing = auditing
        self._finality = finality
        self._witnessing = witnessing

    async def get_checkpoint(self, _request: pb.GetCheckpointRequest, caller: Member) -> pb.GetCheckpointResponse:
        """GetCheckpoint."""
        checkpoint_note, anchored_note = await self._auditing.checkpoint(caller)
        return pb.GetCheckpointResponse(checkpoint_note=checkpoint_note, anchored_note=anchored_note)

    async def list_entries(
        self, request: pb.ListEntriesRequest, caller: Member
    ) -> AsyncGenerator[pb.ListEntriesResponse, None]:
        """ListEntries. The checkpoint goes first, alone, so that an empty list still has one."""
        checkpoint_note, entries = await self._auditing.entries(caller, _subject(request))
        yield pb.ListEntriesResponse(checkpoint_note=checkpoint_note)
        for index, entry, path in entries:
            yield pb.ListEntriesResponse(index=index, entry=entry, path=path)

    async def get_consistency(self, request: pb.GetConsistencyRequest, caller: Member) -> pb.GetConsistencyResponse:
        """GetConsistency."""
        path = await self._auditing.consistency(caller, request.old_size, request.new_size)
        return pb.GetConsistencyResponse(path=path)

    async def get_evidence(self, request: pb.GetEvidenceRequest, caller: Member) -> pb.GetEvidenceResponse:
        """GetEvidence."""
        return pb.GetEvidenceResponse(evidence=await self._auditing.evidence(caller, request.index))

    async def get_range(self, request: pb.GetRangeRequest, caller: Member) -> AsyncGenerator[pb.GetRangeResponse, None]:
        """GetRange."""
        file = await self._auditing.range_file(caller, request.first, request.count, anchored=request.anchored)
        for piece in shapes.file_pieces(file):
            yield pb.GetRangeResponse(piece=piece)

    async def cosign(self, request: pb.CosignRequest, caller: Member) -> pb.CosignResponse:
        """Cosign."""
        line = await self._witnessing.cosign(caller, request.checkpoint_note, request.old_size, list(request.path))
        return pb.CosignResponse(cosignature_line=line)

    async def state_finality(self, request: pb.StateFinalityRequest, caller: Member) -> pb.StateFinalityResponse:
        """StateFinality."""
        block_hash = shapes.statement_id(request.block_hash, "block hash")
        note = await self._finality.state(caller, request.chain_id, request.block_number, block_hash)
        return pb.StateFinalityResponse(finality_note=note)


def _subject(request: pb.ListEntriesRequest) -> str:
    match request.WhichOneof("subject"):
        case "grant_id":
            return shapes.subject_id(request.grant_id, "grant")
        case "dataset_id":
            return shapes.subject_id(request.dataset_id, "dataset")
        case "member_id":
            return f"member:{shapes.member_id(request.member_id)}"
        case _:
            raise SubjectInvalid("the request names no subject")
