"""TLS certificates: what this node shows, and which certificates a handshake accepts.

Members' certificates are self-signed and stand on the chain; each is its own root, and what a call may do is decided by
the very certificate that was shown (`identity`), never by who signed it. A root store is searched by subject, and TLS
libraries try the first root of a subject only. So a member who took another's subject could lock it out: of two roots
with one subject the store has the better claim alone. The department's own programs come first, then members whose
certificate is named after themselves, then older certificates, and of one member the one in force.

A rotation takes a while to be known everywhere, and open connections show what they began with: the certificate before
the one in force is accepted for as long as notes under the key before are, unless it is declared compromised.
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
from node.exchange.notes import ROTATION_GRACE_SECONDS
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
    first, footer, _ = pem.decode("ascii", "strict").strip().partition(ssl.PEM_FOOTER)
    return ssl.PEM_cert_to_DER_cert(first + footer)


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


def read_client_certificates(pems: Iterable[bytes], setting: str = "client_certificates") -> tuple[bytes, ...]:
    """The department's own client certificates, or its security team's, DER, from one PEM text each.

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
            raise ConfigurationInvalid("a client certificate is not PEM", setting=setting) from cause
        if found.setdefault(subject, certificate) != certificate:
            raise ConfigurationInvalid(
                "two client certificates have the same subject; give each program its own",
                setting=setting,
            )
    return tuple(found.values())


def is_compromised(member: Member, certificate: bytes) -> bool:
    """Whether a member declared a certificate (DER) of its own compromised, in whichever of the epochs that had it."""
    return any(
        member.compromised_since(KeyKind.CERTIFICATE, epoch.epoch) is not None
        for epoch in member.epochs
        if epoch.certificate == certificate
    )


def accepted_certificates(member: Member, now_ms: int) -> tuple[bytes, ...]:
    """The certificates (DER) by which a member is known now: the one in force, and the one before it during the grace.

    Empty where what is left is declared compromised. `now_ms`: Unix time, milliseconds.
    """
    accepted = [member.keys.certificate]
    for before, after in zip(member.epochs[-2::-1], member.epochs[:0:-1], strict=True):
        # Other keys may have been rotated since, with the certificate unchanged.
        if before.certificate != member.keys.certificate:
            if now_ms <= 1_000 * (after.since_time + ROTATION_GRACE_SECONDS):
                accepted.append(before.certificate)
            break
    return tuple(certificate for certificate in accepted if not is_compromised(member, certificate))


def roots(members: Sequence[Member], clients: Sequence[bytes], now_ms: int) -> bytes:
    """The PEM texts of every certificate that may show itself at a time (Unix, milliseconds): one for each subject."""
    kept: dict[bytes, bytes] = {}
    for certificate in (*clients, *_member_certificates(members, now_ms)):
        try:
            subject = read_names(certificate).subject
        except ValueError:
            continue  # A member put something else on the chain; nobody can connect with that.
        kept.setdefault(subject, to_pem(certificate))
    return b"".join(kept.values())


def _member_certificates(members: Sequence[Member], now_ms: int) -> list[bytes]:
    claims = [
        (_claim(member, certificate), certificate)
        for member in members
        if member.status in _ADMITTED
        for certificate in accepted_certificates(member, now_ms)
    ]
    return [certificate for _, certificate in sorted(claims)]


def _claim(member: Member, certificate: bytes) -> tuple[bool, int, str, bool]:
    """How good a member's claim to its certificate's subject is; the smallest is the best."""
    try:
        is_own_name = read_names(certificate).common_name == member.member_id
    except ValueError:
        is_own_name = False
    is_in_force = certificate == member.keys.certificate
    return (not is_own_name, member.keys.since_block, member.member_id, not is_in_force)
