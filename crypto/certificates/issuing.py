"""Writing certificates: what an authority decides goes in, a signed certificate comes out. Files and clocks are for the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crypto.certificates.certificate import Certificate
from crypto.certificates.extensions import Extensions, KeyUsage, key_id
from crypto.certificates.forms import (
    ALGORITHM,
    CONTEXT_0,
    CONTEXT_3,
    MAX_SERIAL_BYTES,
    Signed,
    encode_time,
)
from crypto.certificates.names import Name
from crypto.der import SEQUENCE, encode, encode_integer
from crypto.errors import EncodingInvalid
from crypto.signer import Signer
from crypto.sm2 import SM2PublicKey

_VERSION_3 = 2
_MEMBER_COUNTRY = "CN"


@dataclass(frozen=True)
class Content:
    """What a certificate shall say. `path_length` counts the authorities below; None is any number."""

    subject: Name
    public_key: SM2PublicKey
    serial: int  # positive, 20 bytes at most
    not_before: datetime
    not_after: datetime
    key_usage: KeyUsage
    is_authority: bool = False
    path_length: int | None = None


def issue(content: Content, signer: Signer, issuer: Certificate | None = None) -> Certificate:
    """Sign a certificate; without an issuer it is its own root. Raises EncodingInvalid where it could not stand."""
    if not 1 <= content.serial < 1 << 8 * MAX_SERIAL_BYTES - 1:
        raise EncodingInvalid("a serial number is positive and has 20 bytes at most")
    if content.not_after <= content.not_before:
        raise EncodingInvalid("a certificate ends after it begins")
    if content.subject.is_empty:
        raise EncodingInvalid("a certificate names its subject")
    issuing_key = content.public_key if issuer is None else issuer.public_key
    if signer.public_key != issuing_key:
        raise EncodingInvalid("the key that signs is not the one of the issuer's certificate")
    if issuer is None:
        issuer_name, issuer_key_id = content.subject, key_id(content.public_key)
    else:
        issuer_name, issuer_key_id = issuer.subject, issuer.extensions.subject_key_id or key_id(issuing_key)
    extensions = Extensions(
        content.is_authority,
        content.path_length,
        content.key_usage,
        key_id(content.public_key),
        issuer_key_id,
    )
    validity = encode(SEQUENCE, encode_time(content.not_before) + encode_time(content.not_after))
    fields = encode(CONTEXT_0, encode_integer(_VERSION_3)) + encode_integer(content.serial) + ALGORITHM
    fields += issuer_name.der + validity + content.subject.der + content.public_key.to_der()
    body = encode(SEQUENCE, fields + encode(CONTEXT_3, extensions.encode()))
    return Certificate.from_der(Signed(body, ALGORITHM, signer.sign_many([body])[0]).encode())


def member_name(member_id: str, common_name: str, organisation: str | None = None) -> Name:
    """How the certificates of a member name it: its credit code as `serialNumber` (X.520, clause 6.2.9). Raises EncodingInvalid."""
    attributes = [("C", _MEMBER_COUNTRY)]
    attributes += [("O", organisation)] if organisation else []
    return Name.of(*attributes, ("serialNumber", member_id), ("CN", common_name))
