"""Who calls: decided by the certificate that the TLS handshake proved, against the chain and the configuration."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from node.errors import NotAMember, NotASecurityOfficer, NotThisDepartment
from node.model.chain import Member
from node.ports import ChainView, Clock
from node.rpc.certificates import accepted, fingerprint, roots, to_der


class Identities:
    """Members by the chain, the department's own programs by the configuration.

    Args:
        view: the chain.
        member_id: of this node.
        clients: the department's own client certificates, DER.
        security: those of its security team, likewise.
        clock: Unix time, ms.
    """

    def __init__(
        self, view: ChainView, member_id: str, clients: Sequence[bytes], security: Sequence[bytes], clock: Clock
    ) -> None:
        self._clock = clock
        self._view = view
        self._member_id = member_id
        self._clients = tuple(clients)
        self._security = tuple(security)
        self._officers = frozenset(fingerprint(certificate) for certificate in security)
        self._fingerprints = frozenset(fingerprint(certificate) for certificate in clients)

    def member(self, certificate: bytes) -> Member:
        """The member who may show this certificate now, in whatever status. Raises NotAMember."""
        now = self._clock()
        held = self._view.member_by_certificate(certificate)
        # Who is not found by the keys in force may show what was in force before a rotation.
        for member in (held,) if held is not None else self._view.members():
            if certificate in accepted(member, now):
                return member
        raise NotAMember("the certificate is of no member's keys in force")

    def department(self, certificate: bytes) -> None:
        """Check that the certificate is one of the department's own. Raises NotThisDepartment."""
        if fingerprint(certificate) not in self._fingerprints:
            raise NotThisDepartment("the certificate is not one that this node's configuration lists")

    def security(self, certificate: bytes) -> None:
        """Check that the certificate is of the security team. Raises NotASecurityOfficer."""
        if fingerprint(certificate) not in self._officers:
            raise NotASecurityOfficer("the certificate is not one of the security team's in this node's configuration")

    def reader(self, certificate: bytes) -> Member:
        """The active member who reads the log: another one, or this one through its own programs. Raises NotAMember."""
        if fingerprint(certificate) in self._fingerprints:
            member = self._view.member(self._member_id)
            if member is None:
                raise NotAMember("this node's member is not on the chain yet", member=self._member_id)
        else:
            member = self.member(certificate)
        if not member.is_active:
            raise NotAMember(f"the member is {member.status.name.lower()}", member=member.member_id)
        return member

    def roots(self) -> bytes:
        """The PEM texts of every certificate that a handshake accepts now."""
        return roots(self._view.members(), (*self._clients, *self._security), self._clock())


def shown_certificate(context: grpc.aio.ServicerContext[object, object]) -> bytes:
    """The certificate that the caller's handshake proved, DER. Raises NotAMember where there is none."""
    shown = context.auth_context().get("x509_pem_cert")
    if not shown:
        raise NotAMember("the call came without a certificate")
    try:
        return to_der(shown[0])
    except ValueError as cause:
        raise NotAMember("the caller's certificate cannot be read") from cause
