"""The extensions that decide what a certificate may do (RFC 5280, section 4.2). Others are named, and refused where critical."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag

from crypto.certificates.forms import BOOLEAN, dotted, undotted
from crypto.der import BIT_STRING, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, Reader, encode, encode_integer
from crypto.errors import EncodingInvalid
from crypto.sm2 import SM2PublicKey

SUBJECT_KEY_ID = "2.5.29.14"
KEY_USAGE = "2.5.29.15"
BASIC_CONSTRAINTS = "2.5.29.19"
NAME_CONSTRAINTS = "2.5.29.30"
AUTHORITY_KEY_ID = "2.5.29.35"
CRL_NUMBER = "2.5.29.20"
CRL_REASON = "2.5.29.21"
KEY_ID_SIZE = 20  # bytes
MAX_EXTENSIONS = 64
_TRUE, _FALSE = b"\xff", b"\0"
_AKI_KEY_ID, _AKI_ISSUER, _AKI_SERIAL = 0x80, 0xA1, 0x82


class KeyUsage(IntFlag):
    """What a key is for (RFC 5280, section 4.2.1.3); the value of bit i is 2^i."""

    DIGITAL_SIGNATURE = 1 << 0
    NON_REPUDIATION = 1 << 1
    KEY_ENCIPHERMENT = 1 << 2
    DATA_ENCIPHERMENT = 1 << 3
    KEY_AGREEMENT = 1 << 4
    KEY_CERT_SIGN = 1 << 5
    CRL_SIGN = 1 << 6
    ENCIPHER_ONLY = 1 << 7
    DECIPHER_ONLY = 1 << 8


# The pair of the national scheme, and the authority that issues it.
SIGNING = KeyUsage.DIGITAL_SIGNATURE | KeyUsage.NON_REPUDIATION
ENCRYPTION = KeyUsage.KEY_ENCIPHERMENT | KeyUsage.DATA_ENCIPHERMENT | KeyUsage.KEY_AGREEMENT
AUTHORITY = KeyUsage.KEY_CERT_SIGN | KeyUsage.CRL_SIGN


@dataclass(frozen=True)
class Extensions:
    """What the known extensions say. `unknown_critical`: those that nobody here can honour, in figures and dots."""

    is_authority: bool = False
    path_length: int | None = None  # authorities that may follow below; None: any number
    key_usage: KeyUsage | None = None  # None: not restricted
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    authority_serial: int | None = None
    unknown_critical: tuple[str, ...] = field(default=())

    def encode(self) -> bytes:
        """DER of the SEQUENCE, as an authority writes it; only what is known can be written."""
        if self.unknown_critical or self.authority_serial is not None:
            raise EncodingInvalid("only extensions that are understood are written")
        constraints = b""
        if self.is_authority:
            constraints = encode(BOOLEAN, _TRUE)
            constraints += b"" if self.path_length is None else encode_integer(self.path_length)
        parts = [_one(BASIC_CONSTRAINTS, encode(SEQUENCE, constraints), critical=True)]
        if self.key_usage is not None:
            parts.append(_one(KEY_USAGE, encode(BIT_STRING, _bits(self.key_usage)), critical=True))
        if self.subject_key_id is not None:
            parts.append(_one(SUBJECT_KEY_ID, encode(OCTET_STRING, self.subject_key_id)))
        if self.authority_key_id is not None:
            parts.append(_one(AUTHORITY_KEY_ID, encode_authority_key_id(self.authority_key_id)))
        return encode(SEQUENCE, b"".join(parts))


def key_id(key: SM2PublicKey) -> bytes:
    """How this program's certificates name a key: the first 20 bytes of SM3 over it (RFC 7093, method 1, with SM3)."""
    return key.digest()[:KEY_ID_SIZE]


def read_each(reader: Reader) -> dict[str, tuple[bool, bytes]]:
    """Each extension of a SEQUENCE's content: whether it is critical, and its value. Raises EncodingInvalid for two of a kind."""
    found: dict[str, tuple[bool, bytes]] = {}
    while not reader.at_end:
        one = reader.sequence()
        name = dotted(one.element(OBJECT))
        critical = read_boolean(one) if one.peek() == BOOLEAN else False
        value = one.element(OCTET_STRING)
        one.finish()
        if name in found or len(found) == MAX_EXTENSIONS:
            raise EncodingInvalid("an extension stands twice, or there are too many")
        found[name] = (critical, value)
    return found


def read_extensions(reader: Reader) -> Extensions:
    """Read what decides. Raises EncodingInvalid."""
    found = read_each(reader)
    is_authority, path_length = _constraints(found.pop(BASIC_CONSTRAINTS, None))
    usage = found.pop(KEY_USAGE, None)
    subject = found.pop(SUBJECT_KEY_ID, None)
    issuer = found.pop(AUTHORITY_KEY_ID, None)
    issuer_key, issuer_serial = (None, None) if issuer is None else read_authority_key_id(issuer[1])
    return Extensions(
        is_authority,
        path_length,
        None if usage is None else _usage(usage[1]),
        None if subject is None else _only(subject[1], OCTET_STRING),
        issuer_key,
        issuer_serial,
        # A limit on names is to be critical; who wrote it meant it, whether it is marked so or not.
        tuple(name for name, (critical, _) in found.items() if critical or name == NAME_CONSTRAINTS),
    )


def read_boolean(reader: Reader) -> bool:
    """TRUE or FALSE. FALSE is a default that is not to be written, but authorities in use write it."""
    content = reader.element(BOOLEAN)
    if content not in {_TRUE, _FALSE}:
        raise EncodingInvalid("a truth value is neither TRUE nor FALSE")
    return content == _TRUE


def read_authority_key_id(value: bytes) -> tuple[bytes | None, int | None]:
    """The issuer's key id and its certificate's serial number, as far as they are given (RFC 5280, section 4.2.1.1)."""
    outer = Reader(value)
    inner = outer.sequence()
    outer.finish()
    name = inner.element(_AKI_KEY_ID) if inner.peek() == _AKI_KEY_ID else None
    if inner.peek() == _AKI_ISSUER:
        inner.element(_AKI_ISSUER)
    serial = None
    if inner.peek() == _AKI_SERIAL:
        serial = Reader(encode(INTEGER, inner.element(_AKI_SERIAL))).integer()
    inner.finish()
    return name, serial


def encode_authority_key_id(name: bytes) -> bytes:
    """The value of an extension that names the issuer's key."""
    return encode(SEQUENCE, encode(_AKI_KEY_ID, name))


def encode_extension(name: str, value: bytes) -> bytes:
    """An extension that is not critical."""
    return _one(name, value)


def _one(name: str, value: bytes, *, critical: bool = False) -> bytes:
    marked = encode(BOOLEAN, _TRUE) if critical else b""
    return encode(SEQUENCE, encode(OBJECT, undotted(name)) + marked + encode(OCTET_STRING, value))


def _only(value: bytes, tag: int) -> bytes:
    reader = Reader(value)
    content = reader.element(tag)
    reader.finish()
    return content


def _constraints(found: tuple[bool, bytes] | None) -> tuple[bool, int | None]:
    if found is None:
        return False, None
    reader = Reader(_only(found[1], SEQUENCE))
    is_authority = read_boolean(reader) if reader.peek() == BOOLEAN else False
    path_length = None if reader.at_end else reader.integer()
    reader.finish()
    if path_length is not None and not is_authority:
        raise EncodingInvalid("a length of path stands in what is no authority's certificate")
    return is_authority, path_length


def _usage(value: bytes) -> KeyUsage:
    content = _only(value, BIT_STRING)
    unused = content[0] if content else 8
    bits = int.from_bytes(content[1:], "big")
    if unused > 7 or len(content) not in {1, 2, 3} or bits & ((1 << unused) - 1) or (len(content) == 1 and unused):  # noqa: PLR2004 - X.690, clause 8.6.2
        raise EncodingInvalid("a key usage is no string of nine bits")
    text = f"{bits:0{8 * (len(content) - 1)}b}" if len(content) > 1 else ""
    value_of = sum(1 << place for place, bit in enumerate(text) if bit == "1")
    if value_of >= 1 << 9:
        raise EncodingInvalid("a key usage has more than nine bits")
    return KeyUsage(value_of)


def _bits(usage: KeyUsage) -> bytes:
    """A string of named bits: no zeros at its end (X.690, clause 11.2.2)."""
    text = f"{usage.value:b}"[::-1] if usage else ""
    padded = text.ljust((len(text) + 7) // 8 * 8, "0")
    return bytes([len(padded) - len(text)]) + int(padded or "0", 2).to_bytes(len(padded) // 8, "big")
