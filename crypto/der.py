"""Strict DER (ITU-T X.690) for the few shapes that SM2 needs: one accepted spelling, anything else is refused.

OpenSSL accepts trailing bytes, long-form lengths and padded integers in SM2 ciphertexts; those are ways to change a
ciphertext without changing its meaning. Here whatever is read must be exactly what would be written.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import EncodingInvalid

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
NULL = 0x05
OBJECT = 0x06
SEQUENCE = 0x30
COORDINATE_SIZE = 32  # bytes of a field element, and of SM3's digest
_SHORT_FORM = 0x80
_MAX_LENGTH_BYTES = 4


def encode(tag: int, content: bytes) -> bytes:
    """One element, definite length in the shortest form."""
    length = len(content)
    if length < _SHORT_FORM:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, _SHORT_FORM | len(size)]) + size + content


def encode_integer(value: int) -> bytes:
    """A non-negative INTEGER in the fewest bytes."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


class Reader:
    """Reads elements one after another; `finish` refuses what is left over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether everything was read."""
        return self._at == len(self._data)

    def peek(self) -> int:
        """The next tag, or -1 at the end."""
        return -1 if self.at_end else self._data[self._at]

    def element(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag and the shortest length form."""
        data, at = self._data, self._at
        if len(data) - at < 2 or data[at] != tag:  # noqa: PLR2004 - a tag and a length
            raise EncodingInvalid("an ASN.1 element is missing or of another type")
        length, at = data[at + 1], at + 2
        if length >= _SHORT_FORM:
            count = length - _SHORT_FORM
            if not 1 <= count <= _MAX_LENGTH_BYTES or len(data) - at < count:
                raise EncodingInvalid("an ASN.1 length is indefinite, oversized or cut short")
            length = int.from_bytes(data[at : at + count], "big")
            if length < _SHORT_FORM or length < 1 << 8 * (count - 1):
                raise EncodingInvalid("an ASN.1 length is not in its shortest form")
            at += count
        if len(data) - at < length:
            raise EncodingInvalid("an ASN.1 element is cut short")
        self._at = at + length
        return data[at : at + length]

    def integer(self) -> int:
        """A non-negative INTEGER in the fewest bytes."""
        content = self.element(INTEGER)
        if not content or content[0] & 0x80:
            raise EncodingInvalid("an ASN.1 integer is empty or negative")
        if len(content) > 1 and content[0] == 0 and not content[1] & 0x80:
            raise EncodingInvalid("an ASN.1 integer has leading zeros")
        return int.from_bytes(content, "big")

    def sequence(self) -> Reader:
        """A reader of the next SEQUENCE's content."""
        return Reader(self.element(SEQUENCE))

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if not self.at_end:
            raise EncodingInvalid("there are bytes after the ASN.1 element")


@dataclass(frozen=True)
class Ciphertext:
    """An SM2 ciphertext's parts: C1 = (x, y), C3 = digest (32 bytes), C2 = body (GM/T 0009-2012, clause 7.2)."""

    x: int
    y: int
    digest: bytes
    body: bytes

    def encode(self) -> bytes:
        """DER."""
        parts = [encode_integer(self.x), encode_integer(self.y), encode(OCTET_STRING, self.digest)]
        return encode(SEQUENCE, b"".join([*parts, encode(OCTET_STRING, self.body)]))


def decode_ciphertext(data: bytes) -> Ciphertext:
    """Read an SM2 ciphertext. Raises EncodingInvalid; whether C1 is on the curve is for the caller."""
    outer = Reader(data)
    inner = outer.sequence()
    outer.finish()
    x, y = inner.integer(), inner.integer()
    digest, body = inner.element(OCTET_STRING), inner.element(OCTET_STRING)
    inner.finish()
    if len(digest) != COORDINATE_SIZE or not body:
        raise EncodingInvalid("an SM2 ciphertext has a digest of 32 bytes and a body")
    return Ciphertext(x, y, digest, body)


def encode_signature(r: int, s: int) -> bytes:
    """DER of a signature (GM/T 0009-2012, clause 7.1)."""
    return encode(SEQUENCE, encode_integer(r) + encode_integer(s))


def decode_signature(data: bytes) -> tuple[int, int]:
    """Read a signature. Raises EncodingInvalid; ranges are for the caller."""
    outer = Reader(data)
    inner = outer.sequence()
    outer.finish()
    r, s = inner.integer(), inner.integer()
    inner.finish()
    return r, s
