"""Requests for certificates (PKCS#10, RFC 2986): a name, a key, and a signature of that key over both.

The signature proves that who asks has the key. A key for encryption signs its own request and nothing else in its life.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from crypto.certificates.certificate import check_signature
from crypto.certificates.forms import ALGORITHM, CONTEXT_0, Signed, read_pem, read_signed
from crypto.certificates.names import Name
from crypto.der import SEQUENCE, Reader, encode, encode_integer
from crypto.engine import Engine
from crypto.errors import CertificateInvalid, CertificateRequestInvalid, EncodingInvalid, KeyInvalid
from crypto.signer import Signer
from crypto.sm2 import SM2PublicKey, to_pem

LABEL = "CERTIFICATE REQUEST"
_LABELS = frozenset({LABEL, "NEW CERTIFICATE REQUEST"})  # the second by older programs
_VERSION_1 = 0


@dataclass(frozen=True)
class CertificateRequest:
    """A request. Its attributes are wishes that no authority here follows, and are not read."""

    signed: Signed = field(repr=False)
    subject: Name
    public_key: SM2PublicKey

    @classmethod
    def from_der(cls, der: bytes) -> CertificateRequest:
        """Read one. Raises CertificateRequestInvalid, for another algorithm than SM2 as well."""
        try:
            return _read(read_signed(der))
        except (EncodingInvalid, KeyInvalid) as cause:
            raise CertificateRequestInvalid(f"this is no request for a certificate with SM2: {cause}") from cause

    @classmethod
    def from_pem(cls, pem: bytes) -> CertificateRequest:
        """Read the one request of a PEM text. Raises CertificateRequestInvalid."""
        try:
            ders = read_pem(pem, _LABELS)
        except EncodingInvalid as cause:
            raise CertificateRequestInvalid(str(cause)) from cause
        if len(ders) != 1:
            raise CertificateRequestInvalid(f"there is not one request but {len(ders)}")
        return cls.from_der(ders[0])

    def to_der(self) -> bytes:
        """The bytes that were read."""
        return self.signed.encode()

    def to_pem(self) -> bytes:
        """The same in PEM."""
        return to_pem(self.to_der(), LABEL)

    def check_possession(self, engine: Engine) -> None:
        """Raises CertificateRequestInvalid unless the key that it is for signed it, under the default user id."""
        try:
            check_signature(engine, self.signed, self.public_key, f"the request of {self.subject}")
        except CertificateInvalid as cause:
            raise CertificateRequestInvalid(f"{cause}, so nothing shows that who asks has the key") from cause


def make_request(signer: Signer, subject: Name) -> bytes:
    """A request for the signer's key, PEM, under the default user id."""
    attributes = encode(CONTEXT_0, b"")
    content = encode_integer(_VERSION_1) + subject.der + signer.public_key.to_der() + attributes
    body = encode(SEQUENCE, content)
    return to_pem(Signed(body, ALGORITHM, signer.sign_many([body])[0]).encode(), LABEL)


def _read(signed: Signed) -> CertificateRequest:
    fields = Reader(signed.body).sequence()
    if fields.integer() != _VERSION_1:
        raise EncodingInvalid("it is of another version than 1")
    subject = Name.read(fields.element(SEQUENCE))
    key = SM2PublicKey.from_der(encode(SEQUENCE, fields.element(SEQUENCE)))
    if not fields.at_end:  # some programs leave empty attributes out altogether
        fields.element(CONTEXT_0)
        fields.finish()
    return CertificateRequest(signed, subject, key)
