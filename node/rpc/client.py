"""The department's side of its node's gRPC face, for the command line and for other programs in Python. Blocking.

Every call gives the proto's messages or raises the node's refusal as the class that the node raised. No event loop is
needed, and nothing of the node is imported but its errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from crypto.errors import Refusal
from crypto.packed import Packed
from kiteline.audit.v1.audit_pb2_grpc import AuditServiceStub
from kiteline.exchange.v1 import department_pb2 as pb
from kiteline.exchange.v1.department_pb2_grpc import DepartmentServiceStub
from kiteline.keys.v1.keys_pb2_grpc import KeysServiceStub
from node.errors import ConfigurationInvalid
from node.rpc import shapes
from node.rpc.certificates import TLSIdentity, to_der
from node.rpc.channels import credentials, options
from node.rpc.errors import NodeUnavailable, refusal_of


class Client:
    """A connection to the department's own node. Close it, or use it in a `with`.

    Args:
        address: host:port of the node.
        node_certificate_pem: the certificate that the node shows; nothing else is accepted.
        own: a client certificate that the node's configuration lists, and its key.

    Attributes:
        department: DepartmentService; one method an RPC.
        audit: AuditService of this node, likewise.
        keys: KeysService, for a certificate of the security team.
        last_stream_seconds: how long the last publication took, from its first message to its last answer.
    """

    def __init__(self, address: str, node_certificate_pem: bytes, own: TLSIdentity) -> None:
        try:
            made = options(to_der(node_certificate_pem))
        except ValueError as cause:
            raise ConfigurationInvalid("the node's certificate is not PEM") from cause
        self._channel = grpc.secure_channel(address, credentials(own, node_certificate_pem), options=made)
        self.department = Calls(DepartmentServiceStub(self._channel), address)  # type: ignore[no-untyped-call]  # generated
        self.keys = Calls(KeysServiceStub(self._channel), address)  # type: ignore[no-untyped-call]  # likewise
        self.audit = Calls(AuditServiceStub(self._channel), address)  # type: ignore[no-untyped-call]  # likewise
        self.last_stream_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def publish(self, dataset_id: bytes, batches: Iterable[Packed]) -> Iterator[pb.PublishResponse]:
        """Append records to a dataset as one new version; the last response has its note.

        What `batches` raises is raised here, and then nothing was published.
        """
        failures: list[Exception] = []
        began = time.perf_counter()
        responses = self.department.Publish(_publication(dataset_id, batches, failures))
        try:
            yield from responses
        except Refusal as refusal:
            # The reader of the source ended the stream, and the node only saw that.
            if failures:
                raise failures[0] from refusal
            raise
        self.last_stream_seconds = time.perf_counter() - began

    def read_records(self, grant_id: bytes) -> tuple[Sequence[str], Iterator[Packed]]:
        """The field names and the records of a finished fetch, in batches."""
        responses: Iterator[pb.ReadRecordsResponse] = self.department.ReadRecords(
            pb.ReadRecordsRequest(grant_id=grant_id)
        )
        fields = tuple(next(responses).fields)
        return fields, (shapes.to_packed(response.records, response.lengths) for response in responses)


class Calls:
    """A generated stub whose calls raise refusals."""

    def __init__(self, stub: Any, address: str) -> None:  # noqa: ANN401  # generated without types
        self._stub = stub
        self._address = address

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The RPC of this name: gives its response, or an iterator of its responses."""
        call = getattr(self._stub, name)

        def made(request: object, timeout: float | None = None) -> Any:  # noqa: ANN401  # as the RPC declares
            try:
                response = call(request, timeout=timeout)
            except grpc.RpcError as error:
                raise self._refusal(error) from error
            return self._responses(response) if isinstance(response, grpc.Call) else response

        return made

    def _responses(self, stream: Any) -> Iterator[Any]:  # noqa: ANN401  # likewise
        try:
            yield from stream
        except grpc.RpcError as error:
            raise self._refusal(error) from error
        finally:
            stream.cancel()

    def _refusal(self, error: Any) -> Refusal:  # noqa: ANN401  # gRPC ships no types
        return refusal_of(
            error.code(), error.details(), error.trailing_metadata(), peer=self._address, unreached=NodeUnavailable
        )


def _publication(
    dataset_id: bytes, batches: Iterable[Packed], failures: list[Exception]
) -> Iterator[pb.PublishRequest]:
    """The messages of a publication. gRPC takes them on a thread of its own, so a failure is left for the caller; the
    node refuses a stream that ends without its count.
    """
    count = 0
    yield pb.PublishRequest(dataset_id=dataset_id)
    try:
        for batch in batches:
            count += len(batch)
            for piece in shapes.pieces(batch):
                yield pb.PublishRequest(records=piece.data, lengths=shapes.lengths_of(piece))
    except Exception as failure:  # noqa: BLE001  # raised by `publish`
        failures.append(failure)
        return
    yield pb.PublishRequest(total_count=count)
