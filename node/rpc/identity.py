"""Who calls: decided by the certificate that the TLS handshake proved, against the chain and the configuration."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from node.errors import ConfigurationInvalid, NotAMember, NotASecurityOfficer, NotThisDepartment
from node.model.chain import Member
from node.ports import ChainView, Clock
from node.rpc.certificates import accepted_certificates, fingerprint, is_compromised, read_names, roots, to_der


class Identities:
    """Members by the chain, the department's own programs and its security team by the configuration.

    Args:
        view: the chain.
        member_id: of this node.
        clients: the department's own client certificates, DER.
        clock: for how long the certificate before a rotation is still accepted.
        security: the client certificates of the department's security team, DER.

    Raises:
        ConfigurationInvalid: one certificate, or one subject, is in both lists. Who uses the data and who changes the
            keys are separate roles, and of two certificates with one subject a handshake would accept the first alone.
    """

    def __init__(
        self, view: ChainView, member_id: str, clients: Sequence[bytes], clock: Clock, security: Sequence[bytes] = ()
    ) -> None:
        if {read_names(one).subject for one in clients} & {read_names(one).subject for one in security}:
            raise ConfigurationInvalid(
                "a certificate of the security team is, or has the subject of, one of the department's programs",
                setting="security_certificates",
            )
        self._view = view
        self._member_id = member_id
        self._clock = clock
        self._configured = (*clients, *security)
        self._fingerprints = frozenset(fingerprint(certificate) for certificate in clients)
        self._security = frozenset(fingerprint(certificate) for certificate in security)

    def member(self, certificate: bytes) -> Member:
        """The member that the certificate stands for now, in whatever status.

        It is the one in force of its keys or, for a short time after a rotation, the one before. Raises NotAMember.
        """
        now_ms = self._clock()
        for holder in self._view.certificate_holders(certificate):
            # Who named it first owns it. That others may have named it too does not give a stolen one a second life.
            if is_compromised(holder, certificate):
                raise NotAMember("the certificate is declared compromised", member=holder.member_id)
            if certificate in accepted_certificates(holder, now_ms):
                return holder
        raise NotAMember("the certificate is of no member's keys in force")

    def department(self, certificate: bytes) -> None:
        """Check that the certificate is one of the department's own. Raises NotThisDepartment."""
        if fingerprint(certificate) not in self._fingerprints:
            raise NotThisDepartment("the certificate is not one that this node's configuration lists")

    def security(self, certificate: bytes) -> None:
        """Check that the certificate is one of the security team's. Raises NotASecurityOfficer."""
        if fingerprint(certificate) not in self._security:
            raise NotASecurityOfficer("the certificate is not one that this node's configuration lists for key changes")

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
        return roots(self._view.members(), self._configured, self._clock())


def shown_certificate(context: grpc.aio.ServicerContext[object, object]) -> bytes:
    """The certificate that the caller's handshake proved, DER. Raises NotAMember where there is none."""
    shown = context.auth_context().get("x509_pem_cert")
    if not shown:
        raise NotAMember("the call came without a certificate")
    try:
        return to_der(shown[0])
    except ValueError as cause:
        raise NotAMember("the caller's certificate cannot be read") from cause
