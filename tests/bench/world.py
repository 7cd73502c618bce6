"""Two departments' nodes as processes with data between them, and a raw gRPC server of the same bytes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from audit.store import TreeStore
from crypto.engine import load_engine
from kiteline.exchange.v1 import department_pb2 as pb
from node.app.settings import load
from node.formats import Source
from node.keys.store import node_certificates
from node.rpc.certificates import TLSIdentity, to_der
from node.rpc.channels import credentials, options
from node.rpc.client import Client
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, READY_SECONDS, LocalConsortium, MemberPlan
from scripts.processes import Child, accepts, free_port
from tests.bench import raw_grpc
from tests.node.rpc.world import tls_identity
from tests.support.keys import CLIENT, open_tls

QUOTA = 1_000_000
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Access:
    """How the department's own program reaches its node."""

    address: str
    node_certificate: bytes
    own: TLSIdentity

    def client(self) -> Client:
        """A blocking client."""
        return Client(self.address, self.node_certificate, self.own)

    def channel(self) -> grpc.aio.Channel:
        """A channel for many calls at once; to be made on the event loop that uses it."""
        return grpc.aio.secure_channel(
            self.address,
            credentials(self.own, self.node_certificate),
            options=options(to_der(self.node_certificate)),
        )


@dataclass(frozen=True)
class Published:
    """A dataset that was published."""

    dataset_id: bytes
    records: int
    sealed: list[bytes]  # segments as they lie on the provider's disk, which is as they cross


class World:
    """A running consortium of a provider and a requester whose nodes use one engine."""

    def __init__(self, consortium: LocalConsortium, engine: str) -> None:
        self.consortium = consortium
        self.engine = engine
        self._publications = 0
        self._fetches = 0

    def access(self, member: MemberPlan) -> Access:
        """The way into a member's node."""
        settings = load(self.consortium.config(member))
        passphrase = (self.consortium.directory / "passphrase").read_bytes()
        own = open_tls(settings.keys_directory, CLIENT, passphrase)
        certificate = node_certificates(settings.keys_directory)[0]
        return Access(settings.listen, certificate, TLSIdentity(own.certificate_pem, own.key_pem))

    def publish(self, source: Source) -> Published:
        """Publish a source as a dataset of its own."""
        dataset_id, records = self.publish_only(source)
        return Published(dataset_id, records, self._sealed(dataset_id))

    def publish_only(self, source: Source) -> tuple[bytes, int]:
        """The same; gives the dataset's id and how many records were sealed. Queries look up the first field."""
        self._publications += 1
        with self.access(CIVIL_AFFAIRS).client() as client:
            described = client.department.DescribeDataset(
                pb.DescribeDatasetRequest(
                    name=f"dataset-{self._publications}",
                    title="Measured",
                    fields=[pb.Field(name=name) for name in source.fields],
                    key_field=source.fields[0],
                    level=1,
                    sharing_type=pb.SHARING_TYPE_CONDITIONAL,
                )
            )
            *_, last = client.publish(described.dataset_id, source.batches())
        return bytes(described.dataset_id), int(last.sealed_count)

    def grant(self, dataset_id: bytes) -> bytes:
        """Ask for a grant and approve it."""
        expiry = int(time.time()) + SECONDS_A_DAY
        with self.access(HEALTH).client() as requester, self.access(CIVIL_AFFAIRS).client() as provider:
            asked = requester.department.RequestGrant(
                pb.RequestGrantRequest(dataset_id=dataset_id, purpose="to measure", expiry_seconds=expiry, quota=QUOTA)
            )
            provider.department.DecideGrant(pb.DecideGrantRequest(grant_id=asked.grant_id, approve=True))
        return bytes(asked.grant_id)

    def fetch(self, grant_id: bytes) -> pb.FetchSummary:
        """Order, delivery, receipt, key, check: until the verified plaintext is on the requester's disk."""
        self._fetches += 1
        with self.access(HEALTH).client() as client:
            summary = pb.FetchSummary()
            for progress in client.department.Fetch(pb.FetchRequest(grant_id=grant_id)):
                summary = progress.summary
        return summary

    def past(self) -> str:
        """What the processes have done since they were started."""
        return f"{self.engine}; publications: {self._publications}, fetches: {self._fetches}"

    def peaks(self) -> dict[str, int]:
        """The most memory that each process held at once, in bytes."""
        roles = {"the provider's node": CIVIL_AFFAIRS, "the requester's node": HEALTH}
        return {role: self.consortium.nodes[member.slug].resident_peak_bytes() for role, member in roles.items()}

    def _sealed(self, dataset_id: bytes) -> list[bytes]:
        directory = load(self.consortium.config(CIVIL_AFFAIRS)).data_directory / "datasets" / dataset_id.hex() / "tree"
        with closing(TreeStore.open(directory, load_engine("openssl"), read_only=True)) as tree:
            return [blob for _, _, blob in tree.segments(0, tree.size)]


@contextmanager
def raw_server(directory: Path, messages: list[bytes]) -> Iterator[Access]:
    """A raw gRPC server in a process of its own; gives the way in."""
    server, client = tls_identity("raw server"), tls_identity("raw client")
    files = {"certificate": server.certificate_pem, "key": server.key_pem, "client": client.certificate_pem}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    raw_grpc.write_messages(directory / "messages", messages)
    port = free_port()
    paths = [argument for name in (*files, "messages") for argument in (f"--{name}", str(directory / name))]
    command = [sys.executable, raw_grpc.__file__, "--port", str(port), *paths]
    child = Child("raw server", command, directory / "log", {})
    try:
        child.wait_until(lambda: accepts(port), READY_SECONDS)
        yield Access(f"127.0.0.1:{port}", server.certificate_pem, client)
    finally:
        child.stop()
