"""TLS certificates: what this node shows, and which certificates a handshake accepts.

Members' certificates are self-signed and stand on the chain; each is its own root, and what a call may do is decided by
the very certificate that was shown (`identity`), never by who signed it. For a while after a rotation the one before it is accepted too: the sides do not
hear of the new one at one moment, and each member's certificates have subjects of their own. A root store is searched by subject, and TLS
libraries try the first root of a subject only. So a member who took another's subject could lock it out: of two roots
with one subject the store has the better claim alone. The department's own programs come first, then members whose
certificate is named after themselves, then older certificates.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from node.errors import ConfigurationInvalid
from node.exchange.notes import epochs_in_force
from node.model.chain import KeyKind, Member, MemberStatus

# A suspended member is let in to be told so, and its attempt to be logged; a removed one is a stranger.
_ADMITTED = frozenset({MemberStatus.ACTIVE, MemberStatus.SUSPENDED})


@dataclass(frozen=True)
class TLSIdentity:
    """What one side of a connection shows: its certificate, and the key of it, both PEM, the key unencrypted."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True)
class Named:
    """What of a certificate matters here. `host`: its first alternative name; empty if it has none."""

    subject: bytes
    common_name: str
    host: str


def to_pem(certificate: bytes) -> bytes:
    """PEM of a DER certificate."""
    return ssl.DER_cert_to_PEM_cert(certificate).encode()


def to_der(pem: bytes) -> bytes:
    """DER of the first certificate in a PEM text. Raises ValueError."""
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii", "strict").strip())


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of a DER certificate, 32 bytes, as other programs show it."""
    return hashlib.sha256(certificate).digest()


@lru_cache(maxsize=1024)
def read_names(certificate: bytes) -> Named:
    """The names in a DER certificate. Raises ValueError where it is none."""
    parsed = x509.load_der_x509_certificate(certificate)
    common = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        alternative = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = alternative.get_values_for_type(x509.DNSName)
        addresses = [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        hosts, addresses = [], []
    host = next(iter([*hosts, *addresses]), "")
    return Named(parsed.subject.public_bytes(), str(common[0].value) if common else "", host)


def read_client_certificates(pems: Iterable[bytes]) -> tuple[bytes, ...]:
    """The department's own client certificates, DER, from one PEM text each.

    Raises:
        ConfigurationInvalid: a text is no certificate, or two certificates have one subject, so that a handshake would
            accept the first of them alone.
    """
    found: dict[bytes, bytes] = {}
    for pem in pems:
        try:
            certificate = to_der(pem)
            subject = read_names(certificate).subject
        except ValueError as cause:
            raise ConfigurationInvalid("a client certificate is not PEM", setting="client_certificates") from cause
        if found.setdefault(subject, certificate) != certificate:
            raise ConfigurationInvalid(
                "two client certificates have the same subject; give each program its own",
                setting="client_certificates",
            )
    return tuple(found.values())


def accepted(member: Member, now_ms: int) -> tuple[bytes, ...]:
    """The certificates that a member may show now, DER, the newest first: the one in force and, for a while, the one before it; none that is
    declared compromised.
    """
    found = [
        epoch.certificate
        for epoch in reversed(epochs_in_force(member, now_ms))
        if member.compromised_since(KeyKind.CERTIFICATE, epoch.epoch) is None
    ]
    return tuple(dict.fromkeys(found))


def roots(members: Sequence[Member], clients: Sequence[bytes], now_ms: int) -> bytes:
    """The PEM texts of every certificate that may show itself: one for each subject."""
    kept: dict[bytes, bytes] = {}
    for certificate in (*clients, *_member_certificates(members, now_ms)):
        try:
            subject = read_names(certificate).subject
        except ValueError:
            continue  # A member put something else on the chain; nobody can connect with that.
        kept.setdefault(subject, to_pem(certificate))
    return b"".join(kept.values())


def _member_certificates(members: Sequence[Member], now_ms: int) -> list[bytes]:
    """Those in force first: one from before takes nobody's place."""
    admitted = sorted((member for member in members if member.status in _ADMITTED), key=_claim)
    shown = [accepted(member, now_ms) for member in admitted]
    return [one[0] for one in shown if one] + [former for one in shown for former in one[1:]]


def _claim(member: Member) -> tuple[bool, int, str]:
    """How good a member's claim to its certificate's subject is; the smallest is the best."""
    try:
        is_own_name = read_names(member.keys.certificate).common_name == member.member_id
    except ValueError:
        is_own_name = False
    return (not is_own_name, member.keys.since_block, member.member_id)
