"""The node's one gRPC server: every face behind mutual TLS on one port, with health and reflection.

Which certificates a handshake accepts is asked at every handshake, so a member that the chain admits can call from the
next block on, and one that it removes cannot, with no restart; so is what this node shows itself. A connection that is open keeps its certificate; the
gate looks at it again in every call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kiteline.audit.v1 import audit_pb2
from kiteline.exchange.v1 import department_pb2, peer_pb2
from kiteline.keys.v1 import keys_pb2
from node.errors import ConfigurationInvalid, PortTaken
from node.rpc.audit_service import AuditService
from node.rpc.certificates import TLSIdentity
from node.rpc.channels import MAX_MESSAGE_BYTES
from node.rpc.department_service import DepartmentService
from node.rpc.gate import Gate
from node.rpc.identity import Identities
from node.rpc.keys_service import KeysService
from node.rpc.peer_service import PeerService

_PEER = peer_pb2.DESCRIPTOR.services_by_name["PeerService"]
_AUDIT = audit_pb2.DESCRIPTOR.services_by_name["AuditService"]
_DEPARTMENT = department_pb2.DESCRIPTOR.services_by_name["DepartmentService"]
_KEYS = keys_pb2.DESCRIPTOR.services_by_name["KeysService"]
_SERVICES = (_PEER, _AUDIT, _DEPARTMENT, _KEYS)

_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 1_024),  # of one connection
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Without this a second node on the same port would share it, and take half of the calls.
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True)
class Services:
    """What the node serves."""

    peer: PeerService
    audit: AuditService
    department: DepartmentService
    keys: KeysService


class Server:
    """Made on the event loop that serves. Not to be started twice.

    Args:
        listen: host:port; port 0 takes a free one.
        own: the certificate and key that the node shows now; asked at every handshake, on whatever thread.
        identities: who callers are.
        services: what is served.
        gate: what every call passes.
    """

    def __init__(
        self, listen: str, own: Callable[[], TLSIdentity], identities: Identities, services: Services, gate: Gate
    ) -> None:
        self._listen = listen
        self._own = own
        self._identities = identities
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (
                gate.bind(_PEER, services.peer, identities.member),
                gate.bind(_AUDIT, services.audit, identities.reader),
                gate.bind(_DEPARTMENT, services.department, identities.department),
                gate.bind(_KEYS, services.keys, identities.security),
            )
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names: Sequence[str] = [service.full_name for service in _SERVICES]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self._names = names
        self._address = ""

    @property
    def address(self) -> str:
        """host:port that is served, with the real port. Empty before the start."""
        return self._address

    async def start(self) -> str:
        """Take the port and serve; gives the address. Raises PortTaken, ConfigurationInvalid where TLS is not usable."""
        credentials = self._credentials()
        try:
            port = self._server.add_secure_port(self._listen, credentials)
        except RuntimeError as cause:
            raise PortTaken(
                f"{self._listen} is in use or not an address of this machine", address=self._listen
            ) from cause
        await self._server.start()
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._address = f"{self._listen.rpartition(':')[0]}:{port}"
        return self._address

    async def stop(self, grace_seconds: float) -> None:
        """Take no new calls, tell so to whoever watches the health, and give running ones this long to end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)

    async def wait_for_termination(self) -> None:
        """Until the server was stopped."""
        await self._server.wait_for_termination()

    def _credentials(self) -> grpc.ServerCredentials:
        def configuration() -> grpc.ServerCertificateConfiguration:
            own = self._own()
            return grpc.ssl_server_certificate_configuration(
                [(own.key_pem, own.certificate_pem)], root_certificates=self._identities.roots()
            )

        def fetched() -> grpc.ServerCertificateConfiguration | None:
            # Called within a handshake, on a thread of the C core, which has nobody to give an exception to: with None
            # the roots of the last handshake stay.
            with suppress(Exception):
                return configuration()
            return None

        try:
            return grpc.dynamic_ssl_server_credentials(configuration(), fetched, require_client_authentication=True)
        except ValueError as cause:
            raise ConfigurationInvalid(f"the server's certificates cannot be used: {cause}") from cause
