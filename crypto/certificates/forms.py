"""What certificates, requests and revocation lists are made of: the frame around a signature, times, object identifiers, PEM.

All three are `SEQUENCE { what is signed, algorithm, signature }` (RFC 5280, sections 4.1 and 5.1; RFC 2986, section 4).
What is signed is kept as the very bytes that were read, and those are what is verified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from crypto.der import BIT_STRING, NULL, OBJECT, SEQUENCE, Reader, encode
from crypto.errors import EncodingInvalid, KeyInvalid
from crypto.sm2 import pem_blocks

BOOLEAN = 0x01
ENUMERATED = 0x0A
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SET = 0x31
CONTEXT_0, CONTEXT_3 = 0xA0, 0xA3  # explicit, constructed
SM2_WITH_SM3 = bytes.fromhex("2a811ccf55018375")  # 1.2.156.10197.1.501, GM/T 0006
ALGORITHM = encode(SEQUENCE, encode(OBJECT, SM2_WITH_SM3))
MAX_SERIAL_BYTES = 20  # RFC 5280, section 4.1.2.2
MAX_CERTIFICATE_BYTES = 64 * 1024  # bytes; many times what a certificate with SM2 takes
MAX_IDENTIFIER_BYTES = 64  # bytes
_DOTTED = re.compile(r"(?:0|[1-9][0-9]{0,38})(?:\.(?:0|[1-9][0-9]{0,38})){1,30}")
_UTC_YEARS = range(1950, 2050)  # RFC 5280, section 4.1.2.5
_CONTINUES = 0x80


@dataclass(frozen=True)
class Signed:
    """What was signed, with its own tag and length, the algorithm's identifier as it stands, and the signature (DER)."""

    body: bytes
    algorithm: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The whole, DER."""
        return encode(SEQUENCE, self.body + self.algorithm + encode(BIT_STRING, b"\0" + self.signature))


def read_signed(der: bytes, most: int = MAX_CERTIFICATE_BYTES) -> Signed:
    """Read the frame. Raises EncodingInvalid, also where the signature is not SM2 with SM3."""
    if len(der) > most:
        raise EncodingInvalid(f"it has {len(der):,} bytes, more than {most:,}")
    outer = Reader(der)
    whole = outer.sequence()
    outer.finish()
    body, algorithm, bits = whole.element(SEQUENCE), whole.element(SEQUENCE), whole.element(BIT_STRING)
    whole.finish()
    check_algorithm(algorithm)
    if not bits or bits[0] != 0:
        raise EncodingInvalid("the signature is no whole number of bytes")
    return Signed(encode(SEQUENCE, body), encode(SEQUENCE, algorithm), bits[1:])


def check_algorithm(content: bytes) -> None:
    """Refuse any but SM2 with SM3. Parameters are absent, or NULL as under the national root."""
    algorithm = Reader(content)
    if algorithm.element(OBJECT) != SM2_WITH_SM3:
        raise EncodingInvalid("it is signed with another algorithm than SM2 with SM3")
    if not algorithm.at_end and algorithm.element(NULL):
        raise EncodingInvalid("a NULL is not empty")
    algorithm.finish()


def read_serial(reader: Reader) -> int:
    """A serial number of at most 20 bytes. Zero is read, since there are roots that have it; none is written."""
    serial = reader.integer()
    if serial.bit_length() > 8 * MAX_SERIAL_BYTES - 1:
        raise EncodingInvalid("a serial number has more than 20 bytes")
    return serial


def read_time(reader: Reader) -> datetime:
    """A time in UTC, to the second (RFC 5280, section 4.1.2.5)."""
    is_short = reader.peek() == UTC_TIME
    content = reader.element(UTC_TIME if is_short else GENERALIZED_TIME)
    digits = content[:-1]
    if content[-1:] != b"Z" or not digits.isdigit() or len(digits) != (12 if is_short else 14):
        raise EncodingInvalid("a time is not written in UTC to the second")
    if is_short:
        digits = (b"19" if int(digits[:2]) >= _UTC_YEARS.start % 100 else b"20") + digits
    try:
        year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
        hour, minute, second = int(digits[8:10]), int(digits[10:12]), int(digits[12:])
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as cause:
        raise EncodingInvalid("a time is not one of the calendar") from cause


def encode_time(at: datetime) -> bytes:
    """UTCTime up to 2049, GeneralizedTime from then on. The part of a second is left out; a time without zone is refused."""
    if at.utcoffset() is None:
        raise EncodingInvalid("a time has no zone")
    at = at.astimezone(UTC)
    rest = f"{at.month:02}{at.day:02}{at.hour:02}{at.minute:02}{at.second:02}Z"
    if at.year in _UTC_YEARS:
        return encode(UTC_TIME, f"{at.year % 100:02}{rest}".encode())
    return encode(GENERALIZED_TIME, f"{at.year:04}{rest}".encode())


def whole_second(at: datetime) -> datetime:
    """The second that a time lies in, in UTC: what a certificate can say of it."""
    return at.astimezone(UTC) - timedelta(microseconds=at.microsecond)


def dotted(identifier: bytes) -> str:
    """An object identifier's content in figures and dots (X.690, clause 8.19). Raises EncodingInvalid."""
    if not 1 <= len(identifier) <= MAX_IDENTIFIER_BYTES or identifier[-1] & _CONTINUES:
        raise EncodingInvalid("an object identifier is empty, oversized or cut short")
    arcs, value, begins = [], 0, True
    for byte in identifier:
        if begins and byte == _CONTINUES:
            raise EncodingInvalid("an object identifier has leading zeros")
        value = value << 7 | byte & 0x7F
        begins = not byte & _CONTINUES
        if begins:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def undotted(text: str) -> bytes:
    """The inverse. Raises EncodingInvalid."""
    if not _DOTTED.fullmatch(text):
        raise EncodingInvalid(f"{text!r} is no object identifier")
    first, second, *rest = (int(arc) for arc in text.split("."))
    if first > 2 or (first < 2 and second >= 40):  # noqa: PLR2004 - X.690, clause 8.19.4
        raise EncodingInvalid(f"{text!r} is no object identifier")
    return b"".join(_base_128(arc) for arc in [40 * first + second, *rest])


def _base_128(value: int) -> bytes:
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | _CONTINUES)
    return bytes(reversed(digits))


def read_pem(pem: bytes, labels: frozenset[str]) -> list[bytes]:
    """The DER of each block, of which there is one at least, all of these labels. Raises EncodingInvalid."""
    try:
        blocks = pem_blocks(pem)
    except KeyInvalid as cause:
        raise EncodingInvalid(str(cause)) from cause
    if not blocks or any(label not in labels for label, _ in blocks):
        raise EncodingInvalid(f"there are not only PEM blocks {' or '.join(sorted(labels))}")
    return [der for _, der in blocks]
