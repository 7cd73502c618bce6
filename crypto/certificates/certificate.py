"""Certificates with SM2 (X.509, RFC 5280, section 4.1), read strictly and kept as the bytes that were signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from crypto.certificates.extensions import Extensions, KeyUsage, read_extensions
from crypto.certificates.forms import CONTEXT_0, CONTEXT_3, Signed, read_pem, read_serial, read_signed, read_time
from crypto.certificates.names import Name
from crypto.der import SEQUENCE, Reader, encode
from crypto.engine import Engine
from crypto.errors import CertificateInvalid, EncodingInvalid, KeyInvalid, SignatureInvalid
from crypto.sm2 import DEFAULT_USER_ID, SM2PublicKey, to_pem
from crypto.sm3 import sm3

LABEL = "CERTIFICATE"
_VERSION_3 = 2
_UNIQUE_IDS = (0x81, 0x82)  # of issuer and subject; not to be written, RFC 5280, section 4.1.2.8


@dataclass(frozen=True)
class Certificate:
    """A certificate. What it says is worth what its signature is: see `check_signed_by` and `validate`.

    Validity is from `not_before` to `not_after`, both included, to the second.
    """

    signed: Signed = field(repr=False)
    serial: int
    issuer: Name
    subject: Name
    not_before: datetime
    not_after: datetime
    public_key: SM2PublicKey
    extensions: Extensions = field(repr=False)

    @classmethod
    def from_der(cls, der: bytes) -> Certificate:
        """Read one. Raises CertificateInvalid, for another algorithm than SM2 as well."""
        try:
            return _read(read_signed(der))
        except (EncodingInvalid, KeyInvalid) as cause:
            raise CertificateInvalid(f"this is no certificate with SM2: {cause}") from cause

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Read the one certificate of a PEM text. Raises CertificateInvalid."""
        found = read_certificates(pem)
        if len(found) != 1:
            raise CertificateInvalid(f"there is not one certificate but {len(found)}")
        return found[0]

    def to_der(self) -> bytes:
        """The bytes that were read."""
        return self.signed.encode()

    def to_pem(self) -> bytes:
        """The same in PEM."""
        return to_pem(self.to_der(), LABEL)

    def digest(self) -> bytes:
        """SM3 of the DER, 32 bytes."""
        return sm3(self.to_der())

    @property
    def is_authority(self) -> bool:
        """Whether it may issue certificates (basic constraints)."""
        return self.extensions.is_authority

    @property
    def key_usage(self) -> KeyUsage | None:
        """What the key is for; None where that is not restricted."""
        return self.extensions.key_usage

    @property
    def is_self_issued(self) -> bool:
        """Whether issuer and subject have one name."""
        return self.issuer == self.subject

    def permits(self, usage: KeyUsage) -> bool:
        """Whether the key may be used for each of these."""
        return self.key_usage is None or usage & self.key_usage == usage

    def check_signed_by(self, engine: Engine, key: SM2PublicKey) -> None:
        """Raises CertificateInvalid unless this key signed it under the default user id."""
        check_signature(engine, self.signed, key, f"the certificate of {self.subject}")


def check_signature(engine: Engine, signed: Signed, key: SM2PublicKey, what: str) -> None:
    """Verify under the default user id, never another or none (GM/T 0009, clause 10). Raises CertificateInvalid."""
    try:
        engine.sm2_verify_many([key], [signed.body], [signed.signature], DEFAULT_USER_ID)
    except (SignatureInvalid, EncodingInvalid) as cause:
        raise CertificateInvalid(f"the signature of {what} does not verify under the default user id") from cause


def read_certificates(pem: bytes) -> list[Certificate]:
    """The certificates of a PEM text in its order, one at least. Raises CertificateInvalid."""
    try:
        ders = read_pem(pem, frozenset({LABEL}))
    except EncodingInvalid as cause:
        raise CertificateInvalid(str(cause)) from cause
    return [Certificate.from_der(der) for der in ders]


def write_certificates(chain: Sequence[Certificate]) -> bytes:
    """A PEM text of several."""
    return b"".join(certificate.to_pem() for certificate in chain)


def _read(signed: Signed) -> Certificate:
    fields = Reader(signed.body).sequence()
    # OpenSSL 3.0 issues version 1 where no extension is asked for. Such a one says nothing of authority and so has none.
    is_version_1 = fields.peek() != CONTEXT_0
    if not is_version_1:
        version = Reader(fields.element(CONTEXT_0))
        if version.integer() != _VERSION_3:
            raise EncodingInvalid("it is of neither version 1 nor version 3")
        version.finish()
    serial = read_serial(fields)
    if encode(SEQUENCE, fields.element(SEQUENCE)) != signed.algorithm:  # RFC 5280, section 4.1.1.2
        raise EncodingInvalid("it names two algorithms")
    issuer = Name.read(fields.element(SEQUENCE))
    if issuer.is_empty:
        raise EncodingInvalid("it names no issuer")
    validity = fields.sequence()
    not_before, not_after = read_time(validity), read_time(validity)
    validity.finish()
    subject = Name.read(fields.element(SEQUENCE))
    key = SM2PublicKey.from_der(encode(SEQUENCE, fields.element(SEQUENCE)))
    for tag in _UNIQUE_IDS:
        if not is_version_1 and fields.peek() == tag:
            fields.element(tag)
    extensions = Extensions()
    if not is_version_1 and not fields.at_end:
        wrapped = Reader(fields.element(CONTEXT_3))
        extensions = read_extensions(wrapped.sequence())
        wrapped.finish()
    fields.finish()
    return Certificate(signed, serial, issuer, subject, not_before, not_after, key, extensions)
