"""Other members' nodes over gRPC (ports `Peers`, `Peer`, `PeerExchange`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from kiteline.audit.v1 import audit_pb2 as audit
from kiteline.audit.v1.audit_pb2_grpc import AuditServiceStub
from kiteline.exchange.v1 import peer_pb2 as pb
from kiteline.exchange.v1.peer_pb2_grpc import PeerServiceStub
from node.errors import PeerUnavailable, SubjectInvalid
from node.model.transfer import QueryAnswer, QueryAsked, StreamMessage
from node.ports import ChainView, Clock
from node.rpc import transfer_messages as messages
from node.rpc.certificates import TLSIdentity
from node.rpc.channels import Channels
from node.rpc.errors import refusal_of

T = TypeVar("T")


@dataclass(frozen=True)
class Deadlines:
    """How long a peer may take, in seconds. Streams of bulk data have none: their liveness is keep-alive's matter."""

    call: float = 30.0
    evidence: float = 120.0  # the other side asks its chain for a block's receipts
    listing: float = 600.0


class GRPCPeers:
    """Every member's node, reached as the chain says. Use and close it on one event loop.

    Args:
        view: the chain.
        own: what this node shows now; asked at every call, so that it changes without a restart.
        clock: for how long a peer's certificate before a rotation is still accepted.
        deadlines: how long a peer may take.
    """

    def __init__(
        self, view: ChainView, own: Callable[[], TLSIdentity], clock: Clock, deadlines: Deadlines | None = None
    ) -> None:
        self._channels = Channels(view, own, clock)
        self._deadlines = deadlines or Deadlines()

    def peer(self, member_id: str) -> GRPCPeer:
        """A member's node. Whether it can be reached shows when it is called."""
        return GRPCPeer(member_id, self._channels, self._deadlines)

    async def close(self) -> None:
        """Close every channel."""
        await self._channels.close()


class GRPCPeer:
    """Another member's node."""

    def __init__(self, member_id: str, channels: Channels, deadlines: Deadlines) -> None:
        self._member_id = member_id
        self._channels = channels
        self._deadlines = deadlines

    async def list_datasets(self) -> Sequence[tuple[bytes, bytes, bytes]]:
        """(dataset id, description note, version note or empty)."""
        call = self._stub().ListDatasets(pb.ListDatasetsRequest(), timeout=self._deadlines.call)
        response: pb.ListDatasetsResponse = await self._answer(call)
        return [(one.dataset_id, one.description_note, one.version_note) for one in response.datasets]

    async def submit_request(self, request_note: bytes) -> None:
        """Hand in a request note."""
        request = pb.SubmitRequestRequest(request_note=request_note)
        await self._answer(self._stub().SubmitRequest(request, timeout=self._deadlines.call))

    async def decision(self, grant_id: bytes) -> bytes:
        """The decision note of a grant."""
        call = self._stub().GetDecision(pb.GetDecisionRequest(grant_id=grant_id), timeout=self._deadlines.call)
        response: pb.GetDecisionResponse = await self._answer(call)
        return response.decision_note

    def exchange(self) -> GRPCPeerExchange:
        """Open an exchange stream."""
        return GRPCPeerExchange(self._member_id, self._stub().Exchange())

    async def query(self, asked: QueryAsked) -> QueryAnswer:
        """Ask for one record."""
        call = self._stub().Query(messages.to_query(asked), timeout=self._deadlines.call)
        response: pb.QueryResponse = await self._answer(call)
        return messages.from_answer(response)

    async def submit_receipts(self, receipt_notes: Sequence[bytes]) -> None:
        """Hand in receipts, oldest first."""
        request = pb.SubmitReceiptsRequest(receipt_notes=receipt_notes)
        await self._answer(self._stub().SubmitReceipts(request, timeout=self._deadlines.call))

    async def list_entries(self, subject: str) -> tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]:
        """(checkpoint note, [(index, entry, inclusion path)…]) about `grant:<hex>`, `dataset:<hex>` or `member:<id>`."""
        request = entries_request(subject)
        checkpoint_note, entries = b"", []
        with _failures_of(self._member_id):
            async for response in self._audit_stub().ListEntries(request, timeout=self._deadlines.listing):
                checkpoint_note = checkpoint_note or response.checkpoint_note
                if response.entry:
                    entries.append((response.index, response.entry, list(response.path)))
        return checkpoint_note, entries

    async def evidence(self, index: int) -> bytes:
        """The evidence file of one entry."""
        call = self._audit_stub().GetEvidence(audit.GetEvidenceRequest(index=index), timeout=self._deadlines.evidence)
        response: audit.GetEvidenceResponse = await self._answer(call)
        return response.evidence

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        """The consistency path between two sizes of its log."""
        request = audit.GetConsistencyRequest(old_size=old_size, new_size=new_size)
        response: audit.GetConsistencyResponse = await self._answer(
            self._audit_stub().GetConsistency(request, timeout=self._deadlines.call)
        )
        return list(response.path)

    async def range_file(self, first: int, count: int, *, anchored: bool) -> bytes:
        """The range file of up to `count` entries from `first` on."""
        request = audit.GetRangeRequest(first=first, count=count, anchored=anchored)
        with _failures_of(self._member_id):
            call = self._audit_stub().GetRange(request, timeout=self._deadlines.listing)
            return b"".join([response.piece async for response in call])

    async def cosign(self, checkpoint_note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        """The cosignature line of this witness. Raises WitnessBehind, LogForked."""
        request = audit.CosignRequest(checkpoint_note=checkpoint_note, old_size=old_size, path=path)
        response: audit.CosignResponse = await self._answer(
            self._audit_stub().Cosign(request, timeout=self._deadlines.call)
        )
        return response.cosignature_line

    async def state_finality(self, chain_id: int, number: int, block_hash: bytes) -> bytes:
        """The note in which this peer states that a block is final. Raises BlockNotFinal."""
        request = audit.StateFinalityRequest(chain_id=chain_id, block_number=number, block_hash=block_hash)
        response: audit.StateFinalityResponse = await self._answer(
            self._audit_stub().StateFinality(request, timeout=self._deadlines.call)
        )
        return response.finality_note

    async def _answer(self, call: Awaitable[T]) -> T:
        with _failures_of(self._member_id):
            return await call

    def _stub(self) -> Any:  # noqa: ANN401  # generated without types
        return PeerServiceStub(self._channels.to(self._member_id))  # type: ignore[no-untyped-call]  # likewise

    def _audit_stub(self) -> Any:  # noqa: ANN401  # likewise
        return AuditServiceStub(self._channels.to(self._member_id))  # type: ignore[no-untyped-call]  # likewise


class GRPCPeerExchange:
    """An open exchange stream to a provider.

    A provider that ends the stream does so while something is being written to it. gRPC then calls the write an internal
    error, before it has the status that the provider ended with, and that status comes after the last message. So a
    failed write says nothing by itself: `messages` reads on and raises what the provider said.
    """

    def __init__(self, member_id: str, call: Any) -> None:  # noqa: ANN401  # gRPC ships no types
        self._member_id = member_id
        self._call = call
        self._is_written_off = False  # nothing more can be sent; what is still to come is read

    async def send_order(self, order_note: bytes) -> None:
        """Send the order; first of all."""
        await self._send(pb.ExchangeRequest(order_note=order_note))

    async def send_receipt(self, receipt_note: bytes) -> None:
        """Send a receipt."""
        await self._send(pb.ExchangeRequest(receipt_note=receipt_note))

    async def messages(self) -> AsyncIterator[StreamMessage]:
        """What the provider sends, to the end of the stream. Raises its refusal, PeerUnavailable, DeliveryInvalid."""
        # As an iterator a call goes on reading after a failed write, which `read` does not.
        responses = aiter(self._call)
        while True:
            with _failures_of(self._member_id):
                response = await anext(responses, None)
            if response is None:
                return
            yield messages.from_response(response)

    async def close(self) -> None:
        """End the stream, whether or not it is complete."""
        self._call.cancel()

    async def _send(self, request: pb.ExchangeRequest) -> None:
        if self._is_written_off:
            return
        with _failures_of(self._member_id):
            try:
                await self._call.write(request)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.INTERNAL:
                    raise
                self._is_written_off = True
            except (grpc.aio.UsageError, asyncio.InvalidStateError) as cause:
                # The provider ended the stream before or while this was written; how, its status says.
                await self._check_end()
                raise PeerUnavailable("the provider has ended the stream", peer=self._member_id) from cause

    async def _check_end(self) -> None:
        """Raise what the provider ended the stream with, unless it ended well."""
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            details, trailing = await self._call.details(), await self._call.trailing_metadata()
            raise refusal_of(code, details, trailing, peer=self._member_id)


def entries_request(subject: str) -> audit.ListEntriesRequest:
    """The request for entries about a subject. Raises SubjectInvalid."""
    kind, _, value = subject.partition(":")
    try:
        match kind:
            case "grant":
                return audit.ListEntriesRequest(grant_id=bytes.fromhex(value))
            case "dataset":
                return audit.ListEntriesRequest(dataset_id=bytes.fromhex(value))
            case "member":
                return audit.ListEntriesRequest(member_id=value)
    except ValueError as cause:
        raise SubjectInvalid("the id is not hexadecimal", subject=subject) from cause
    raise SubjectInvalid("a subject is a grant, a dataset or a member", subject=subject)


@contextmanager
def _failures_of(member_id: str) -> Iterator[None]:
    """Raise what a failed call stands for."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise refusal_of(error.code(), error.details(), error.trailing_metadata(), peer=member_id) from error
    except asyncio.CancelledError as ended:
        # A channel that is closed cancels its calls, which must not look to their callers as if they were cancelled.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise PeerUnavailable("the connection was closed on this side", peer=member_id) from ended
