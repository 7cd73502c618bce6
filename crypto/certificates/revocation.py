"""Revocation lists (X.509 version 2, RFC 5280, section 5): which certificates of an issuer no longer hold, since when and why.

Only whole lists of one issuer are read: a list of changes or of a part says so in a critical extension and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property

from crypto.certificates.certificate import Certificate, check_signature
from crypto.certificates.extensions import (
    AUTHORITY_KEY_ID,
    CRL_NUMBER,
    CRL_REASON,
    encode_authority_key_id,
    encode_extension,
    read_authority_key_id,
    read_each,
)
from crypto.certificates.forms import (
    ALGORITHM,
    CONTEXT_0,
    ENUMERATED,
    GENERALIZED_TIME,
    UTC_TIME,
    Signed,
    encode_time,
    read_pem,
    read_serial,
    read_signed,
    read_time,
)
from crypto.certificates.names import Name
from crypto.der import INTEGER, SEQUENCE, Reader, encode, encode_integer
from crypto.engine import Engine
from crypto.errors import CertificateInvalid, EncodingInvalid, RevocationListInvalid
from crypto.signer import Signer
from crypto.sm2 import SM2PublicKey, to_pem

LABEL = "X509 CRL"
MAX_LIST_BYTES = 16 * 1024 * 1024  # bytes; some 400,000 certificates
_VERSION_2 = 1


class RevocationReason(Enum):
    """Why (RFC 5280, section 5.3.1). The values are the names that OpenSSL uses."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "CACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"
    AA_COMPROMISE = "AACompromise"


_CODES = {
    RevocationReason.UNSPECIFIED: 0,
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.CERTIFICATE_HOLD: 6,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
    RevocationReason.AA_COMPROMISE: 10,
}
_REASONS = {code: reason for reason, code in _CODES.items()}


@dataclass(frozen=True)
class Revoked:
    """A certificate that its issuer revoked."""

    serial: int
    date: datetime  # UTC, to the second
    reason: RevocationReason = RevocationReason.UNSPECIFIED


@dataclass(frozen=True)
class ListContent:
    """What a list shall say. `number` is greater than that of each list before."""

    number: int
    this_update: datetime
    next_update: datetime
    revoked: tuple[Revoked, ...] = ()


@dataclass(frozen=True)
class RevocationList:
    """A list. `next_update`: when another will have followed; `number` grows from list to list, where it is given."""

    signed: Signed = field(repr=False)
    issuer: Name
    this_update: datetime
    next_update: datetime
    revoked: tuple[Revoked, ...] = field(repr=False)
    number: int | None
    authority_key_id: bytes | None

    @classmethod
    def from_der(cls, der: bytes) -> RevocationList:
        """Read one. Raises RevocationListInvalid, for a part of a list and for another algorithm than SM2 as well."""
        try:
            return _read(read_signed(der, MAX_LIST_BYTES))
        except EncodingInvalid as cause:
            raise RevocationListInvalid(f"this is no revocation list with SM2: {cause}") from cause

    @classmethod
    def from_pem(cls, pem: bytes) -> RevocationList:
        """Read the one list of a PEM text. Raises RevocationListInvalid."""
        found = read_revocation_lists(pem)
        if len(found) != 1:
            raise RevocationListInvalid(f"there is not one revocation list but {len(found)}")
        return found[0]

    def to_der(self) -> bytes:
        """The bytes that were read."""
        return self.signed.encode()

    def to_pem(self) -> bytes:
        """The same in PEM."""
        return to_pem(self.to_der(), LABEL)

    def check_signed_by(self, engine: Engine, key: SM2PublicKey) -> None:
        """Raises RevocationListInvalid unless this key signed it under the default user id."""
        try:
            check_signature(engine, self.signed, key, f"the revocation list of {self.issuer}")
        except CertificateInvalid as cause:
            raise RevocationListInvalid(str(cause)) from cause

    def find(self, serial: int) -> Revoked | None:
        """What it says of a certificate of its issuer."""
        return self._by_serial.get(serial)

    @cached_property
    def _by_serial(self) -> dict[int, Revoked]:
        return {one.serial: one for one in self.revoked}


def read_revocation_lists(pem: bytes) -> list[RevocationList]:
    """The lists of a PEM text, one at least. Raises RevocationListInvalid."""
    try:
        ders = read_pem(pem, frozenset({LABEL}))
    except EncodingInvalid as cause:
        raise RevocationListInvalid(str(cause)) from cause
    return [RevocationList.from_der(der) for der in ders]


def issue_revocation_list(content: ListContent, signer: Signer, issuer: Certificate) -> RevocationList:
    """Sign a whole list. Raises EncodingInvalid where it could not stand: due before it is made, a time without a zone."""
    if content.next_update <= content.this_update:
        raise EncodingInvalid("the next list is due before this one is made")
    if signer.public_key != issuer.public_key:
        raise EncodingInvalid("the key that signs is not the one of the issuer's certificate")
    revoked = sorted(content.revoked, key=lambda one: (one.date, one.serial))
    entries = b"".join(_encode_entry(one) for one in revoked)
    named = issuer.extensions.subject_key_id
    extensions = b"" if named is None else encode_extension(AUTHORITY_KEY_ID, encode_authority_key_id(named))
    extensions += encode_extension(CRL_NUMBER, encode_integer(content.number))
    fields = encode_integer(_VERSION_2) + ALGORITHM + issuer.subject.der
    fields += encode_time(content.this_update) + encode_time(content.next_update)
    fields += encode(SEQUENCE, entries) if entries else b""  # absent where empty: RFC 5280, section 5.1.2.6
    body = encode(SEQUENCE, fields + encode(CONTEXT_0, encode(SEQUENCE, extensions)))
    return RevocationList.from_der(Signed(body, ALGORITHM, signer.sign_many([body])[0]).encode())


def _encode_entry(one: Revoked) -> bytes:
    content = encode_integer(one.serial) + encode_time(one.date)
    if one.reason is not RevocationReason.UNSPECIFIED:  # to be left out: RFC 5280, section 5.3.1
        reason = encode_extension(CRL_REASON, encode(ENUMERATED, bytes([_CODES[one.reason]])))
        content += encode(SEQUENCE, reason)
    return encode(SEQUENCE, content)


def _read(signed: Signed) -> RevocationList:
    fields = Reader(signed.body).sequence()
    if fields.peek() == INTEGER and fields.integer() != _VERSION_2:
        raise EncodingInvalid("it is of another version than 2")
    if encode(SEQUENCE, fields.element(SEQUENCE)) != signed.algorithm:
        raise EncodingInvalid("it names two algorithms")
    issuer = Name.read(fields.element(SEQUENCE))
    this_update = read_time(fields)
    if fields.peek() not in {UTC_TIME, GENERALIZED_TIME}:
        raise EncodingInvalid("it does not say when the next is due")  # RFC 5280, section 5.1.2.5
    next_update = read_time(fields)
    revoked = _read_entries(fields.sequence()) if fields.peek() == SEQUENCE else ()
    number, key_id = None, None
    if not fields.at_end:
        wrapped = Reader(fields.element(CONTEXT_0))
        found = read_each(wrapped.sequence())
        wrapped.finish()
        fields.finish()
        number = _integer(found.pop(CRL_NUMBER, None))
        issuer_key = found.pop(AUTHORITY_KEY_ID, None)
        key_id = None if issuer_key is None else read_authority_key_id(issuer_key[1])[0]
        _refuse_critical(found)
    return RevocationList(signed, issuer, this_update, next_update, revoked, number, key_id)


def _read_entries(reader: Reader) -> tuple[Revoked, ...]:
    entries: dict[int, Revoked] = {}
    while not reader.at_end:
        one = reader.sequence()
        serial, date, reason = read_serial(one), read_time(one), RevocationReason.UNSPECIFIED
        if not one.at_end:
            found = read_each(one.sequence())
            one.finish()
            reason = _reason(found.pop(CRL_REASON, None))
            _refuse_critical(found)
        if serial in entries:
            raise EncodingInvalid("a certificate stands in it twice")
        entries[serial] = Revoked(serial, date, reason)
    return tuple(entries.values())


def _reason(found: tuple[bool, bytes] | None) -> RevocationReason:
    if found is None:
        return RevocationReason.UNSPECIFIED
    reader = Reader(found[1])
    content = reader.element(ENUMERATED)
    reader.finish()
    reason = _REASONS.get(content[0]) if len(content) == 1 else None
    if reason is None:  # removeFromCRL stands in lists of changes only
        raise EncodingInvalid("a reason of revocation is none of those that there are")
    return reason


def _integer(found: tuple[bool, bytes] | None) -> int | None:
    if found is None:
        return None
    reader = Reader(found[1])
    value = reader.integer()
    reader.finish()
    return value


def _refuse_critical(found: dict[str, tuple[bool, bytes]]) -> None:
    for name, (critical, _) in found.items():
        if critical:
            raise EncodingInvalid(f"its critical extension {name} is not understood")
