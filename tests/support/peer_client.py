"""What an outsider has of a provider: its answers on the wire, and its log on disk.

`PeerClient` is a member's side of PeerService written by hand. It holds a member's real keys, opened from that member's
key store, and says what no node would say, or keeps silent where a node would go on. `department` is the other
entrance, the one that a department's own programs use. `LogWatch` reads a node's log beside the running node.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo  # type: ignore[import-untyped]  # generated without types
from grpc_status import rpc_status

from audit.entry import Entry, parse_entry
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine, load_engine
from crypto.notes import sign_note
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from kiteline.audit.v1.audit_pb2_grpc import AuditServiceStub
from kiteline.exchange.v1 import department_pb2
from kiteline.exchange.v1 import peer_pb2 as pb
from kiteline.exchange.v1.peer_pb2_grpc import PeerServiceStub
from node.exchange.notes import read_as
from node.keys.store import node_certificates
from node.model.lines import ZERO_DIGEST, Range
from node.model.statements import Delivery, KeyRelease, Order, OrderKind, Receipt, Statement
from node.rpc.certificates import TLSIdentity, to_der
from node.rpc.channels import credentials, options
from node.rpc.client import Client
from scripts.local_consortium import LocalConsortium, MemberPlan
from tests.support.keys import CLIENT, open_keys, open_tls

DOMAIN = "kiteline"
WAIT_SECONDS = 60.0  # for a condition that is sure to come; a test that waits longer has failed
CALL_SECONDS = 60.0  # a call that hangs fails its test; nothing is measured
BACKGROUND = frozenset({"CHECKPOINT_ANCHORED"})  # what a node logs by itself, on its schedule
DAY_SECONDS = 86_400


class WireRefusal(Exception):
    """How a call ended that was not served. `reason` and `domain` are of its one ErrorInfo, empty where it has none."""

    def __init__(self, error: Any) -> None:  # noqa: ANN401 - gRPC ships no types
        self.code: grpc.StatusCode = error.code()
        self.reason, self.domain = "", ""
        status = rpc_status.from_call(error)
        for detail in status.details if status is not None else ():
            info = ErrorInfo()
            if detail.Unpack(info):
                assert not self.reason, "a refusal carries one ErrorInfo"
                self.reason, self.domain = info.reason, info.domain
        super().__init__(f"{self.code.name} {self.reason}: {error.details()}")


@dataclass(frozen=True)
class Agreement:
    """A grant as both sides know it. `size`: records of the dataset's newest version."""

    grant_id: bytes
    dataset_id: bytes
    requester_id: str
    provider_id: str
    size: int

    @property
    def subject(self) -> str:
        """As log entries name it."""
        return f"grant:{self.grant_id.hex()}"


@dataclass(frozen=True)
class Arrived:
    """A delivery whose segments have all come."""

    statement: Delivery
    note: bytes
    blobs: list[bytes]


class PeerClient:
    """A member's hand-written end of PeerService. Close it, or use it in a `with`.

    Args:
        address: host:port of the provider.
        certificate_pem: what the provider shows.
        own: what this side shows.
        member_id: in whose name notes are signed.
        signing_key: with which.
    """

    def __init__(
        self, address: str, certificate_pem: bytes, own: TLSIdentity, member_id: str, signing_key: SM2PrivateKey
    ) -> None:
        self.member_id = member_id
        self.signing_key = signing_key
        self.engine: Engine = load_engine("openssl")
        # A client that means ill sets itself no limit.
        unlimited = [*options(to_der(certificate_pem)), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.secure_channel(address, credentials(own, certificate_pem), options=unlimited)
        self._stub: Any = PeerServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def call(self, rpc: str, request: object) -> Any:  # noqa: ANN401 - as the RPC declares
        """Make a unary call. Raises WireRefusal."""
        return self._answer(self._stub, rpc, request)

    def read_log(self, rpc: str, request: object) -> Any:  # noqa: ANN401 - likewise
        """Make a unary call of AuditService. Raises WireRefusal."""
        return self._answer(AuditServiceStub(self._channel), rpc, request)

    @staticmethod
    def _answer(stub: Any, rpc: str, request: object) -> Any:  # noqa: ANN401 - likewise
        try:
            return getattr(stub, rpc)(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise WireRefusal(error) from error

    def stream(self) -> HandStream:
        """Open an exchange stream."""
        return HandStream(self._stub)

    # Statements.

    def note(self, statement: Statement | str) -> bytes:
        """The note of a statement, or of any other text, under this member's signature."""
        text = statement if isinstance(statement, str) else statement.to_text()
        return sign_note(text, self.member_id, HeldKey(self.engine, self.signing_key))

    def order(self, agreement: Agreement, kind: OrderKind = OrderKind.BULK, key_digest: bytes = ZERO_DIGEST) -> Order:
        """A new order under a grant, as its requester would make it."""
        return Order(
            order_id=os.urandom(16),
            grant_id=agreement.grant_id,
            dataset_id=agreement.dataset_id,
            requester_id=agreement.requester_id,
            provider_id=agreement.provider_id,
            kind=kind,
            range=Range(0, agreement.size) if kind is OrderKind.BULK else None,
            key_digest=key_digest,
            time_ms=now_ms(),
        )

    def question(self, agreement: Agreement, key: str) -> pb.QueryRequest:
        """A query in order, ready to be asked or spoilt."""
        salt = os.urandom(16)
        order = self.order(agreement, OrderKind.QUERY, sm3(salt + key.encode()))
        return pb.QueryRequest(order_note=self.note(order), key=key, key_salt=salt)

    def receipt(self, delivery: Delivery, delivery_note: bytes, previous: bytes) -> bytes:
        """The receipt note for a delivery; `previous`: the digest of the receipt before, zeros for the first."""
        return self.note(
            Receipt(
                grant_id=delivery.grant_id,
                order_id=delivery.order_id,
                sequence=delivery.sequence,
                delivery_digest=sm3(delivery_note),
                segments_digest=delivery.segments_digest,
                previous_digest=previous,
                requester_id=self.member_id,
                time_ms=now_ms(),
            )
        )


class HandStream:
    """An exchange stream that goes on when a test says so."""

    def __init__(self, stub: Any) -> None:  # noqa: ANN401 - generated without types
        self._outbound: queue.SimpleQueue[pb.ExchangeRequest | None] = queue.SimpleQueue()
        self._call = stub.Exchange(iter(self._outbound.get, None), timeout=CALL_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outbound.put(None)
        self._call.cancel()

    def send(self, request: pb.ExchangeRequest) -> None:
        """Say something, whatever it is."""
        self._outbound.put(request)

    def send_order(self, note: bytes) -> None:
        """Send an order."""
        self.send(pb.ExchangeRequest(order_note=note))

    def send_receipt(self, note: bytes) -> None:
        """Send a receipt."""
        self.send(pb.ExchangeRequest(receipt_note=note))

    def read(self) -> pb.ExchangeResponse:
        """What the provider says next. Raises WireRefusal, EOFError at a good end."""
        try:
            response: pb.ExchangeResponse = next(self._call)
        except StopIteration:
            raise EOFError from None
        except grpc.RpcError as error:
            raise WireRefusal(error) from error
        return response

    def read_delivery(self) -> Arrived:
        """The next delivery, whole."""
        announced = self.read()
        assert announced.WhichOneof("step") == "delivery", announced.WhichOneof("step")
        return self.finish_delivery(announced)

    def finish_delivery(self, announced: pb.ExchangeResponse) -> Arrived:
        """The delivery that was announced, with its segments."""
        statement = read_as(Delivery, announced.delivery.delivery_note)
        blobs = [self.read().segment.blob for _ in range(statement.segments)]
        assert all(blobs), "a delivery's segments follow it without a break"
        return Arrived(statement, announced.delivery.delivery_note, blobs)

    def read_keys(self) -> KeyRelease:
        """The next message, which must be a release of keys."""
        response = self.read()
        assert response.WhichOneof("step") == "key_release", response.WhichOneof("step")
        return read_as(KeyRelease, response.key_release.release_note)


class LogWatch:
    """A node's log as it lies on disk, read beside the node. `new` gives what came since the watch was made, or since the
    last `mark`, without what the node logs on its schedule.
    """

    def __init__(self, data_directory: Path) -> None:
        self._path = data_directory / "log"
        self._engine = load_engine("openssl")
        self._seen = 0
        self.mark()

    def mark(self) -> None:
        """Forget what is there."""
        self._seen = len(self.entries())

    def new(self) -> list[Entry]:
        """Entries since the mark."""
        return [entry for entry in self.entries()[self._seen :] if entry.event not in BACKGROUND]

    def steps(self) -> list[tuple[str, str | None]]:
        """(event, reason of the refusal or None) of the entries since the mark."""
        return [(entry.event, entry.refusal) for entry in self.new()]

    def about(self, subject: str, event: str | None = None) -> list[Entry]:
        """Entries about a subject from the beginning, of one event if that is given, refusals left out."""
        return [
            entry
            for entry in self.entries()
            if entry.subject == subject and entry.refusal is None and event in {None, entry.event}
        ]

    def entries(self) -> list[Entry]:
        """The whole log."""
        store = TreeStore.open(self._path, self._engine, read_only=True)
        with closing(store):
            return [parse_entry(raw) for raw in AuditLog.reader(store)]


def now_ms() -> int:
    """Unix time, ms, as the nodes on this machine read it."""
    return time.time_ns() // 1_000_000


def passphrase(consortium: LocalConsortium) -> bytes:
    """What the key files of every member here are encrypted under."""
    return (consortium.directory / "passphrase").read_bytes()


def peer(consortium: LocalConsortium, caller: MemberPlan, provider: MemberPlan) -> PeerClient:
    """A hand-written client with a member's real keys, at another member's node."""
    keys = open_keys(consortium.home(caller) / "keys", passphrase(consortium), load_engine("openssl"))
    own = TLSIdentity(keys.tls_certificate_pem, keys.tls_key_pem)
    return PeerClient(
        address(consortium, provider), shown(consortium, provider), own, caller.member_id, keys.signing_key
    )


def department(consortium: LocalConsortium, member: MemberPlan) -> Client:
    """A member's own program at its own node."""
    own = open_tls(consortium.home(member) / "keys", CLIENT, passphrase(consortium))
    identity = TLSIdentity(own.certificate_pem, own.key_pem)
    return Client(address(consortium, member), shown(consortium, member), identity)


def address(consortium: LocalConsortium, member: MemberPlan) -> str:
    """Where a member's node listens."""
    return f"127.0.0.1:{consortium.port(member)}"


def shown(consortium: LocalConsortium, member: MemberPlan) -> bytes:
    """The certificate that a member's node shows, PEM."""
    return node_certificates(consortium.home(member) / "keys")[0]


@dataclass
class Side:
    """A department: its plan and its own program's connection."""

    plan: MemberPlan
    client: Client


def agree(
    provider: Side, requester: Side, dataset: bytes, size: int, *, quota: int = 1_000, expiry_seconds: int = 0
) -> Agreement:
    """Ask for a grant of all fields and approve it, over both nodes' own interfaces. `expiry_seconds`: narrows it."""
    until(lambda: dataset in _catalogue(requester))  # every node sees a block when it next looks
    asked = requester.client.department.RequestGrant(
        department_pb2.RequestGrantRequest(
            dataset_id=dataset,
            purpose="to test",
            expiry_seconds=now_ms() // 1_000 + DAY_SECONDS,
            quota=quota,
        )
    )
    provider.client.department.DecideGrant(
        department_pb2.DecideGrantRequest(grant_id=asked.grant_id, approve=True, expiry_seconds=expiry_seconds)
    )
    return Agreement(asked.grant_id, dataset, requester.plan.member_id, provider.plan.member_id, size)


def _catalogue(side: Side) -> set[bytes]:
    listed = side.client.department.ListCatalogue(department_pb2.ListCatalogueRequest())
    return {entry.dataset.dataset_id for entry in listed.entries}


@contextmanager
def refused(reason: str, code: grpc.StatusCode | None = None) -> Iterator[None]:
    """The body must end with this refusal, carried by one ErrorInfo of our domain."""
    with pytest.raises(WireRefusal) as caught:
        yield
    refusal = caught.value
    assert (refusal.reason, refusal.domain) == (reason, DOMAIN), refusal
    assert code in {None, refusal.code}, refusal


def until(condition: Callable[[], bool]) -> None:
    """Wait for what is sure to come, and fail where it does not."""
    waiting, deadline = threading.Event(), now_ms() + int(1_000 * WAIT_SECONDS)
    while not condition():
        assert now_ms() < deadline, "what was waited for did not come"
        waiting.wait(0.02)
