"""SM2 keys (GB/T 32918.5-2017, curve sm2p256v1): points that are on the curve, scalars that are in range.

Keys are values; signing and encrypting is the engines' work. What is written are the forms of OpenSSL 3, SubjectPublicKeyInfo
and PKCS#8; the older forms that are in use are read as well. Encrypted PKCS#8 is read and written by `crypto.key_files`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from crypto.der import BIT_STRING, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, Reader, encode
from crypto.errors import EncodingInvalid, KeyInvalid
from crypto.sm3 import sm3

DEFAULT_USER_ID = b"1234567812345678"  # GM/T 0009-2012, clause 10
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0
POINT_SIZE = 65  # bytes: 04 ‖ x ‖ y
SCALAR_SIZE = 32  # bytes
_UNCOMPRESSED = 4

_OID_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")
_OID_SM2 = bytes.fromhex("2a811ccf5501822d")  # 1.2.156.10197.1.301
_PARAMETERS_TAG = 0xA0
_PUBLIC_KEY_TAG = 0xA1
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
# `openssl ecparam -genkey` writes the curve's name into a block of its own before the key, and `openssl ec` the key as RFC
# 5915 has it; both label their blocks EC in version 1.1.1 and SM2 from 3.0 on.
_PARAMETERS_LABELS = frozenset({"EC PARAMETERS", "SM2 PARAMETERS"})
_RFC_5915_LABELS = frozenset({"EC PRIVATE KEY", "SM2 PRIVATE KEY"})


class SM2PublicKey:
    """A public key: a point on the curve, not at infinity."""

    __slots__ = ("__weakref__", "_bytes")

    def __init__(self, point: bytes) -> None:
        if len(point) != POINT_SIZE or point[0] != _UNCOMPRESSED:
            raise KeyInvalid("an SM2 public key is 65 bytes that begin with 04")
        x, y = int.from_bytes(point[1:33], "big"), int.from_bytes(point[33:], "big")
        if not is_on_curve(x, y):
            raise KeyInvalid("the point is not on the SM2 curve")
        self._bytes = bytes(point)

    @classmethod
    def from_bytes(cls, point: bytes) -> SM2PublicKey:
        """From 04 ‖ x ‖ y. Raises KeyInvalid unless the point is on the curve."""
        return cls(point)

    @classmethod
    def from_pem(cls, pem: bytes) -> SM2PublicKey:
        """From a SubjectPublicKeyInfo PEM. Raises KeyInvalid."""
        return cls.from_der(pem_body(pem, "PUBLIC KEY"))

    @classmethod
    def from_der(cls, der: bytes) -> SM2PublicKey:
        """From SubjectPublicKeyInfo DER; the algorithm is id-ecPublicKey, or the curve itself as OpenSSL 1.1.1 wrote."""
        try:
            outer = Reader(der)
            info = outer.sequence()
            outer.finish()
            algorithm = info.sequence()
            _check_algorithm(algorithm)
            bits = info.element(BIT_STRING)
            info.finish()
        except EncodingInvalid as cause:
            raise KeyInvalid(f"this is no SubjectPublicKeyInfo: {cause}") from cause
        return cls(_point_of_bits(bits))

    def to_bytes(self) -> bytes:
        """04 ‖ x ‖ y, 65 bytes."""
        return self._bytes

    def to_der(self) -> bytes:
        """SubjectPublicKeyInfo as OpenSSL 3 writes it."""
        return encode(SEQUENCE, ALGORITHM + encode(BIT_STRING, b"\0" + self._bytes))

    def to_pem(self) -> bytes:
        """The same in PEM."""
        return to_pem(self.to_der(), "PUBLIC KEY")

    def digest(self) -> bytes:
        """SM3 of the 65 bytes: the key's name outside note lines."""
        return sm3(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SM2PublicKey) and other._bytes == self._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"SM2PublicKey({self.digest().hex()[:16]})"


class SM2PrivateKey:
    """A private key d in [1, n - 2] (GM/T 0009-2012, clause 7.1). Its repr shows the public key's digest only."""

    __slots__ = ("__weakref__", "_scalar", "public_key")

    def __init__(self, scalar: int) -> None:
        if not 1 <= scalar <= N - 2:
            raise KeyInvalid("an SM2 private key is from 1 to n - 2")
        self._scalar = scalar
        x, y = multiply(scalar, (GX, GY))
        self.public_key = SM2PublicKey(point_bytes(x, y))

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> SM2PrivateKey:
        """A fresh key, uniform by rejection."""
        while True:
            scalar = int.from_bytes(random(SCALAR_SIZE), "big")
            if 1 <= scalar <= N - 2:
                return cls(scalar)

    @classmethod
    def from_pem(cls, pem: bytes) -> SM2PrivateKey:
        """From an unencrypted PEM: PKCS#8, or RFC 5915 with the curve named inside, as `openssl ec` writes it.

        A block of parameters may stand before the key, and must name SM2. Raises KeyInvalid, also where the public key
        inside is another's.
        """
        blocks = pem_blocks(pem)
        if len(blocks) > 1 and blocks[0][0] in _PARAMETERS_LABELS and blocks[0][1] == _NAMED_CURVE:
            del blocks[0]
        if len(blocks) == 1 and blocks[0][0] in _RFC_5915_LABELS:
            return cls._read(_read_rfc5915, blocks[0][1])
        return cls.from_der(_single(blocks, "PRIVATE KEY"))

    @classmethod
    def from_der(cls, der: bytes) -> SM2PrivateKey:
        """From PKCS#8 DER (RFC 5208 around RFC 5915), with or without parameters and public key. Raises KeyInvalid."""
        return cls._read(_read_pkcs8, der)

    @classmethod
    def _read(cls, read: Callable[[bytes], tuple[int, bytes | None]], der: bytes) -> SM2PrivateKey:
        try:
            scalar, bits = read(der)
        except EncodingInvalid as cause:
            raise KeyInvalid("this is no SM2 private key in PKCS#8 or RFC 5915") from cause
        key = cls(scalar)
        if bits is not None and _point_of_bits(bits) != key.public_key.to_bytes():
            raise KeyInvalid("the private key file names another public key")
        return key

    def to_der(self) -> bytes:
        """PKCS#8 as `openssl genpkey -algorithm SM2` writes it. Secret: for encryption and for tests."""
        public = encode(_PUBLIC_KEY_TAG, encode(BIT_STRING, b"\0" + self.public_key.to_bytes()))
        inner = encode(SEQUENCE, encode(INTEGER, b"\1") + encode(OCTET_STRING, self.secret_bytes()) + public)
        return encode(SEQUENCE, encode(INTEGER, b"\0") + ALGORITHM + encode(OCTET_STRING, inner))

    def to_pem(self) -> bytes:
        """The same in PEM, unencrypted: never write it to a disk."""
        return to_pem(self.to_der(), "PRIVATE KEY")

    def secret_bytes(self) -> bytes:
        """d, 32 bytes big-endian. For engines."""
        return self._scalar.to_bytes(SCALAR_SIZE, "big")

    def __repr__(self) -> str:
        return f"SM2PrivateKey(of {self.public_key!r})"


_NAMED_CURVE = encode(OBJECT, _OID_SM2)
ALGORITHM = encode(SEQUENCE, encode(OBJECT, _OID_EC_PUBLIC_KEY) + encode(OBJECT, _OID_SM2))


def is_on_curve(x: int, y: int) -> bool:
    """Whether (x, y) are field elements on y² = x³ + ax + b."""
    return 0 <= x < P and 0 <= y < P and (y * y - (x * x * x + A * x + B)) % P == 0


def point_bytes(x: int, y: int) -> bytes:
    """04 ‖ x ‖ y with each coordinate padded to 32 bytes."""
    return bytes([_UNCOMPRESSED]) + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def multiply(scalar: int, point: tuple[int, int]) -> tuple[int, int]:
    """Multiply a point by a scalar from 1 to n - 1, in Jacobian coordinates. Not constant-time: each key at load, and the
    engine of last resort, which says so.
    """
    total = (0, 1, 0)
    base = (point[0], point[1], 1)
    for bit in f"{scalar:b}":
        total = _double(total)
        if bit == "1":
            total = _add(total, base)
    x, y, z = total
    inverse = pow(z, -1, P)
    return x * inverse * inverse % P, y * inverse * inverse * inverse % P


def add(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int] | None:
    """The sum of two points; None for the point at infinity."""
    x, y, z = _add((*left, 1), (*right, 1))
    if z == 0:
        return None
    inverse = pow(z, -1, P)
    return x * inverse * inverse % P, y * inverse * inverse * inverse % P


def _double(point: tuple[int, int, int]) -> tuple[int, int, int]:
    x, y, z = point
    if z == 0:
        return point
    s = 4 * x * y * y % P
    m = (3 * x * x + A * pow(z, 4, P)) % P
    x2 = (m * m - 2 * s) % P
    return x2, (m * (s - x2) - 8 * pow(y, 4, P)) % P, 2 * y * z % P


def _add(left: tuple[int, int, int], right: tuple[int, int, int]) -> tuple[int, int, int]:
    if left[2] == 0:
        return right
    x1, y1, z1 = left
    x2, y2, _ = right  # the right operand is affine
    u, v = x2 * z1 * z1 % P, y2 * z1 * z1 * z1 % P
    h, r = (u - x1) % P, (v - y1) % P
    if h == 0:
        return _double(left) if r == 0 else (0, 1, 0)
    h2 = h * h % P
    h3 = h2 * h % P
    x3 = (r * r - h3 - 2 * x1 * h2) % P
    return x3, (r * (x1 * h2 - x3) - y1 * h3) % P, h * z1 % P


def to_pem(der: bytes, label: str) -> bytes:
    """PEM (RFC 7468) with lines of 64 characters."""
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def pem_body(pem: bytes, label: str) -> bytes:
    """The DER inside the one PEM block, which has this label. Raises KeyInvalid."""
    return _single(pem_blocks(pem), label)


def pem_blocks(pem: bytes) -> list[tuple[str, bytes]]:
    """Label and DER of each block (RFC 7468). Text between blocks explains and is not read. Raises KeyInvalid."""
    blocks = _PEM_BLOCK.findall(pem)
    if len(blocks) != pem.count(b"-----BEGIN"):
        raise KeyInvalid("a PEM block does not end as it began")
    try:
        return [(label.decode(), base64.b64decode(b"".join(body.split()), validate=True)) for label, body in blocks]
    except binascii.Error as cause:
        raise KeyInvalid("a PEM block is not base64") from cause


def _single(blocks: list[tuple[str, bytes]], label: str) -> bytes:
    if [name for name, _ in blocks] != [label]:
        raise KeyInvalid(f"there is no single PEM block {label}")
    return blocks[0][1]


def _check_algorithm(algorithm: Reader) -> None:
    kind = algorithm.element(OBJECT)
    curve = algorithm.element(OBJECT)
    algorithm.finish()
    if kind not in {_OID_EC_PUBLIC_KEY, _OID_SM2} or curve != _OID_SM2:
        raise KeyInvalid("the key is of another algorithm than SM2")


def _point_of_bits(bits: bytes) -> bytes:
    if not bits or bits[0] != 0:
        raise KeyInvalid("the public key is no whole number of bytes")
    return bits[1:]


def _read_pkcs8(der: bytes) -> tuple[int, bytes | None]:
    outer = Reader(der)
    info = outer.sequence()
    outer.finish()
    if info.integer() != 0:
        raise EncodingInvalid("the PKCS#8 version is not 0")
    _check_algorithm(info.sequence())
    wrapped = Reader(info.element(OCTET_STRING))
    if not info.at_end:
        info.element(_PARAMETERS_TAG)  # attributes, which carry nothing that we use
        info.finish()
    secret, bits, _ = _read_ec_key(wrapped)
    return secret, bits


def _read_rfc5915(der: bytes) -> tuple[int, bytes | None]:
    secret, bits, named = _read_ec_key(Reader(der))
    if not named:
        raise EncodingInvalid("an ECPrivateKey that stands by itself names its curve")
    return secret, bits


def _read_ec_key(outer: Reader) -> tuple[int, bytes | None, bool]:
    """The scalar, the public key's BIT STRING and whether the curve is named, of an ECPrivateKey (RFC 5915, section 3)."""
    key = outer.sequence()
    outer.finish()
    if key.integer() != 1:
        raise EncodingInvalid("the ECPrivateKey version is not 1")
    secret = key.element(OCTET_STRING)
    if len(secret) != SCALAR_SIZE:
        raise EncodingInvalid("an SM2 private key has 32 bytes")
    named = key.peek() == _PARAMETERS_TAG
    if named and key.element(_PARAMETERS_TAG) != _NAMED_CURVE:
        raise KeyInvalid("the key is on another curve than SM2's")
    bits = None
    if key.peek() == _PUBLIC_KEY_TAG:
        inner = Reader(key.element(_PUBLIC_KEY_TAG))
        bits = inner.element(BIT_STRING)
        inner.finish()
    key.finish()
    return int.from_bytes(secret, "big"), bits, named
