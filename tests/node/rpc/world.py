"""Nodes that serve on the loopback with use cases kept in memory, so that what is tested is the wire alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from audit.trail import Trail
from crypto.errors import Refusal
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from node.errors import StatementInvalid
from node.exchange.granting import Wish
from node.exchange.publishing import Offer
from node.model.chain import Block, KeyEpoch, Member, MemberStatus, Mined, Role
from node.model.grants import Explanation, Terms
from node.model.results import (
    CatalogueEntry,
    FetchProgress,
    GrantSummary,
    PublishedDataset,
    PublishProgress,
    Purged,
    QueryResult,
)
from node.model.statements import Purge
from node.model.transfer import (
    Completed,
    Delivered,
    KeysReleased,
    OrderNote,
    QueryAnswer,
    QueryAsked,
    ReceiptNote,
    SegmentReceived,
    StreamMessage,
)
from node.rpc.audit_service import AuditService
from node.rpc.certificates import TLSIdentity, to_der
from node.rpc.department_service import DepartmentService
from node.rpc.faces import AnchorNetworkStatus, NodeStatus
from node.rpc.gate import Gate
from node.rpc.identity import Identities
from node.rpc.keys_service import KeysService
from node.rpc.peer_service import PeerService
from node.rpc.server import Server, Services
from tests.node.rpc.locksmith import Locksmith
from tests.support.memory_chain import MemoryChain, MemoryView
from tests.support.statements import member_id

PROVIDER, REQUESTER, STRANGER = member_id(1), member_id(2), member_id(3)
MINED = Mined(b"\x07" * 32, Block(9, b"\x09" * 32, 1_795_482_123))


def tls_identity(name: str, host: str | None = None, number: int | None = None) -> TLSIdentity:
    """A self-signed certificate as a node makes it: the subject is its name, and since its first rotation a number."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbered = [] if number is None else [x509.NameAttribute(NameOID.SERIAL_NUMBER, str(number))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), *numbered])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2046, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host or f"{name.lower()}.kiteline")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return TLSIdentity(certificate.public_bytes(Encoding.PEM), key_pem)


def member(own_id: str, own: TLSIdentity, endpoint: str = "127.0.0.1:1", roles: Role = Role.DEPARTMENT) -> Member:
    """An active member with one epoch of keys."""
    signing_key, encryption_key = SM2PrivateKey.generate(os.urandom), SM2PrivateKey.generate(os.urandom)
    keys = KeyEpoch(
        epoch=1,
        signing_key=signing_key.public_key,
        encryption_key=encryption_key.public_key,
        account="0x0000000000000000000000000000000000000001",
        certificate=to_der(own.certificate_pem),
        endpoint=endpoint,
        since_block=1,
        since_time=1_795_000_000,
    )
    return Member(own_id, f"department {own_id}", roles, MemberStatus.ACTIVE, (keys,))


class MemoryProvider:
    """A provider that says what it was given to say, or refuses. `parts`: segments of its one delivery."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.failure_in_stream: Exception | None = None
        self.parts: Sequence[bytes] = (b"segment one", b"segment two")
        self.callers: list[Member] = []
        self.notes: list[bytes] = []
        self.refusals: list[tuple[str, str]] = []
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.held: asyncio.Event | None = None

    def _take(self, caller: Member) -> None:
        self.callers.append(caller)
        if self.failure is not None:
            raise self.failure

    async def list_datasets(self, caller: Member) -> Sequence[PublishedDataset]:
        self._take(caller)
        return [PublishedDataset(b"\x01" * 32, b"description", b"version", 7)]

    async def submit_request(self, caller: Member, note: bytes) -> None:
        self._take(caller)
        self.notes.append(note)

    async def decision(self, caller: Member, grant_id: bytes) -> bytes:
        self._take(caller)
        return b"decision on " + grant_id

    async def exchange(
        self, caller: Member, inbound: AsyncIterator[OrderNote | ReceiptNote]
    ) -> AsyncGenerator[StreamMessage, None]:
        self._take(caller)
        try:
            order = await anext(inbound)
            if not isinstance(order, OrderNote):
                raise StatementInvalid("the first message of a stream is an order")
            self.notes.append(order.note)
            yield Delivered(b"delivery", b"\x05" * 32 * len(self.parts), b"version")
            for position, part in enumerate(self.parts):
                yield SegmentReceived(1, position, part)
            if self.failure_in_stream is not None:
                raise self.failure_in_stream
            self.began.set()
            if self.held is not None:
                await self.held.wait()
            receipt = await anext(inbound)
            assert isinstance(receipt, ReceiptNote)
            self.notes.append(receipt.note)
            yield KeysReleased(b"release", b"wrapped")
            yield Completed(1)
        finally:
            self.ended.set()

    async def query(self, caller: Member, asked: QueryAsked) -> QueryAnswer:
        self._take(caller)
        self.began.set()
        if self.held is not None:
            await self.held.wait()
        self.notes += [asked.order_note, *asked.receipt_notes]
        return QueryAnswer(b"delivery", asked.key.encode() + asked.key_salt, b"wrapped", b"version")

    async def submit_receipts(self, caller: Member, notes: Sequence[bytes]) -> None:
        self._take(caller)
        self.notes += notes

    async def log_refusal(self, caller: Member, refusal: Refusal) -> None:
        self.refusals.append((caller.member_id, refusal.reason))


class MemoryOffice:
    """The department's side: what was asked is kept, what is published counts once its stream is whole."""

    def __init__(self) -> None:
        self.offers: list[Offer] = []
        self.wishes: list[Wish] = []
        self.decisions: list[tuple[bytes, bool, str, Terms]] = []
        self.purges: list[tuple[bytes, str]] = []
        self.published: list[bytes] | None = None
        self.entries: Sequence[CatalogueEntry] = ()
        self.summaries: Sequence[GrantSummary] = ()
        self.progress: Sequence[FetchProgress] = ()
        self.batches: Sequence[Packed] = ()
        self.publication_ended = asyncio.Event()
        self.first_batch = asyncio.Event()
        self.found: Any = None

    async def describe_dataset(self, offer: Offer) -> bytes:
        self.offers.append(offer)
        return b"\x01" * 32

    async def publish(self, dataset_id: bytes, batches: AsyncIterator[Packed]) -> AsyncGenerator[PublishProgress, None]:
        staged: list[bytes] = []
        try:
            async for batch in batches:
                staged += batch
                self.first_batch.set()
                yield PublishProgress(len(staged))
            self.published = staged
            yield PublishProgress(len(staged), b"version of " + dataset_id, MINED.transaction_hash)
        finally:
            self.publication_ended.set()

    async def purge(self, dataset_id: bytes, reason: str) -> Purged:
        self.purges.append((dataset_id, reason))
        purge = Purge(dataset_id, 7, b"\x04" * 32, reason, PROVIDER, 0)
        return Purged(purge, b"tombstone", 4_096, MINED.transaction_hash)

    async def request(self, wish: Wish) -> tuple[bytes, Mined]:
        self.wishes.append(wish)
        return b"\x02" * 32, MINED

    async def decide(self, grant_id: bytes, *, approve: bool, reason: str, wanted: Terms) -> Mined:
        self.decisions.append((grant_id, approve, reason, wanted))
        return MINED

    async def revoke(self, grant_id: bytes, reason: str) -> Mined:
        self.decisions.append((grant_id, False, reason, Terms((), 0, 0)))
        return MINED

    async def catalogue(self, contains: str) -> Sequence[CatalogueEntry]:
        return [entry for entry in self.entries if contains in entry.provider_name]

    async def grants(self) -> Sequence[GrantSummary]:
        return self.summaries

    async def explain(self, grant_id: bytes) -> Explanation:
        return Explanation(False, "GRANT_EXPIRED", ("the period is over", grant_id.hex()))

    async def fetch(self, grant_id: bytes) -> AsyncGenerator[FetchProgress, None]:
        for progress in self.progress:
            yield progress

    async def query(self, grant_id: bytes, key: str) -> QueryResult:
        return QueryResult(("no", "name"), f'["1","{key}"]'.encode(), proven=True, sequence=3, record_index=12)

    def read_records(self, grant_id: bytes) -> tuple[Sequence[str], Iterator[Packed]]:
        return ("no", "name"), iter(self.batches)

    async def anchor_now(self) -> tuple[bytes, Mined]:
        return b"checkpoint", MINED

    async def trail(self, grant_id: bytes) -> Trail:
        trail: Trail = self.found
        return trail

    async def member_range(self, member_id: str, first: int, count: int, *, anchored: bool) -> bytes:
        return f"range {member_id} {first} {count} {anchored}".encode()

    async def member_evidence(self, member_id: str, index: int) -> bytes:
        return f"evidence {member_id} {index}".encode()

    async def status(self) -> NodeStatus:
        return NodeStatus(
            member_id=PROVIDER,
            member_name="民政局",
            version="0.1.0",
            engine="openssl",
            listen_address="127.0.0.1:1",
            log_size=5,
            log_root=b"\x03" * 32,
            anchored_size=4,
            chain_reachable=True,
            chain_id=1337,
            block_number=9,
            dataset_count=1,
            record_count=7,
            pending_transactions=0,
            uptime_seconds=60,
            witnesses=(REQUESTER,),
            cosignatures_needed=1,
            cosigned_by=(),
            anchor_networks=(AnchorNetworkStatus("city", reachable=True, anchored_size=3),),
            unanchored_seconds=12,
            certificate_expiry_seconds=2_000_000_000,
        )


class MemoryAudit:
    """A log of three entries."""

    def __init__(self) -> None:
        self.readers: list[Member] = []
        self.subjects: list[str] = []
        self.failure: Refusal | None = None

    async def checkpoint(self, caller: Member) -> tuple[bytes, bytes]:
        self.readers.append(caller)
        if self.failure is not None:
            raise self.failure
        return b"checkpoint", b""

    async def entries(self, caller: Member, subject: str) -> tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]:
        self.readers.append(caller)
        self.subjects.append(subject)
        return b"checkpoint", [(index, b"entry %d" % index, [b"\x01" * 32] * index) for index in range(3)]

    async def consistency(self, caller: Member, old_size: int, new_size: int) -> Sequence[bytes]:
        return [bytes([old_size]) * 32, bytes([new_size]) * 32]

    async def evidence(self, caller: Member, index: int) -> bytes:
        return b"evidence %d" % index

    async def range_file(self, caller: Member, first: int, count: int, *, anchored: bool) -> bytes:
        return b"range %d %d %d\n" % (first, count, anchored) * 200_000

    async def state(self, caller: Member, chain_id: int, number: int, block_hash: bytes) -> bytes:
        return f"{caller.member_id} {chain_id} {number} {block_hash.hex()}".encode()

    async def cosign(self, caller: Member, checkpoint_note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        return f"\u2014 {caller.member_id} {checkpoint_note.hex()}{old_size}{len(path)}\n"


@dataclass
class Records:
    """A logger that keeps what it is told."""

    kept: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def info(self, event: str, *args: Any, **fields: Any) -> None:  # noqa: ANN401  # as structlog declares it
        self.kept.append((event, fields))

    def exception(self, event: str, *args: Any, **fields: Any) -> None:  # noqa: ANN401  # likewise
        self.kept.append((event, fields))


class World:
    """A chain with a provider that serves and a requester that calls, and the provider's own program."""

    def __init__(self) -> None:
        self.now_ms = 1_795_482_123_004
        self.chain = MemoryChain(lambda: self.now_ms)
        self.view = MemoryView(self.chain)
        self.provider_tls = tls_identity(PROVIDER)
        self.requester_tls = tls_identity(REQUESTER)
        self.client_tls = tls_identity("a program")
        self.security_tls = tls_identity("the security team")
        self.locksmith = Locksmith(PROVIDER)
        self.provider = MemoryProvider()
        self.office = MemoryOffice()
        self.audit = MemoryAudit()
        self.log = Records()
        self.calls: list[tuple[str, str]] = []
        self.admit(member(PROVIDER, self.provider_tls))
        self.admit(member(REQUESTER, self.requester_tls))

    def admit(self, newcomer: Member) -> None:
        """Put a member on the chain, or another state of it."""
        self.chain.members_by_id[newcomer.member_id] = newcomer

    def set_status(self, own_id: str, status: MemberStatus) -> None:
        """Change a member's status on the chain."""
        self.admit(replace(self.chain.members_by_id[own_id], status=status))

    def move(self, own_id: str, **keys: Any) -> None:  # noqa: ANN401  # any part of a member's keys
        """Give a member other keys in force."""
        held = self.chain.members_by_id[own_id]
        self.admit(replace(held, epochs=(*held.epochs, replace(held.keys, epoch=held.keys.epoch + 1, **keys))))

    def rotate(self, own_id: str, renewed: TLSIdentity) -> None:
        """Put a member's next certificate in force on the chain now."""
        self.move(own_id, certificate=to_der(renewed.certificate_pem), since_time=self.now_ms // 1_000)

    def declare_certificate(self, own_id: str, epoch: int) -> None:
        """Declare the certificate of one epoch of a member compromised."""
        held = self.chain.members_by_id[own_id]
        declared = [
            replace(one, certificate_compromised_since=self.now_ms // 1_000) if one.epoch == epoch else one
            for one in held.epochs
        ]
        self.admit(replace(held, epochs=tuple(declared)))

    def identities(self) -> Identities:
        """Who the provider's callers are."""
        clients, security = ([to_der(one.certificate_pem)] for one in (self.client_tls, self.security_tls))
        return Identities(self.view, PROVIDER, clients, lambda: self.now_ms, security)

    def server(self, listen: str = "127.0.0.1:0") -> Server:
        """The provider's server."""
        services = Services(
            peer=PeerService(PROVIDER, self.provider),
            audit=AuditService(self.audit, self.audit, self.audit),
            department=DepartmentService(
                granting=self.office,
                requester=self.office,
                anchoring=self.office,
                tracing=self.office,
                node=self.office,
            ),
            keys=KeysService(self.locksmith, self.locksmith, self.locksmith.keys),
        )
        gate = Gate(self.log, os.urandom, lambda method, code, _seconds: self.calls.append((method, code)))
        return Server(listen, lambda: self.provider_tls, self.identities(), services, gate)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve for a while; gives the address, which the chain is told too."""
        server = self.server()
        address = await server.start()
        self.move(PROVIDER, endpoint=address)
        try:
            yield address
        finally:
            await server.stop(0)
