"""The mistakes that other implementations made with SM2 ciphertexts, each tried on every engine.

The ciphertexts with short coordinates were computed from the equations of GB/T 32918.4 and opened with OpenSSL's program.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from crypto.der import OCTET_STRING, SEQUENCE, Ciphertext, decode_ciphertext, encode, encode_integer
from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.sm2 import GX, GY, N, P, SM2PrivateKey, is_on_curve, multiply
from crypto.sm3 import kdf_sm3, sm3
from tests.crypto.engines_at_hand import ENGINE_NAMES, engine_named
from tests.crypto.vector_files import point_of

MESSAGE = b"to the letter"
# GB/T 32918.5-2017, Annex C: the key, and a ciphertext to it for each coordinate of C1 = k·G and of k·P that begins with 00.
KEY = SM2PrivateKey(0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8)
SHORT_MESSAGE = b"encryption standard"
SHORT = {
    "C1.x": "307b022000d062045840b1f4b0a64d6e6c5bc582079fc0af8c366eba632b35f5e217385b02205032f04533c064a41a7616cbb528b168c79a"
    "247d46f1c3667e1a2f5921aca9a404206fa122ca96327e7289e60c90630c6359129f0c2128107684c04f8734e52e423b04139aba57b054371de1"
    "703e3701d63ebe642bc7d6",
    "C1.y": "307a02203b3de05121ff3a36d9dcd23ac5c15de8d757ae92795b15410e1ecd9e46466a47021f7b8326ebd1926d5ab4cccacefee53ad6106c"
    "43e6eb5c91a11606102e19c39b04205ee7de50f7f9ba31f274b01ba15c4873135991e180953b7259869dfd1c4c44450413dba2b45c3e743d000a"
    "c50cc21126f9e015fe45",
    "x2": "307d022100b7cdbc7b4156fde44421d0c0c7631a72401b1e0887941f0022f23b1804c21205022100fb4a042f53e53e9694516d4d06878320bc"
    "70fa9f2217866561fce30f2abd51d00420cfeee641a21d722228076b56e037fa1d9ef1ee7ef9c93dd16d8a95af6c459f0404131dfe6e1231faf1"
    "5a97f22e555b918ee01a2f42",
    "y2": "307d022100c8d42a0c79fad915608a4237ed504f9346317da1f83404e6035ac5f65dea50b7022100bf9c57f9f7d24964c8e80dfe2ac387a821"
    "6e87c729f765a355a418d3bb6200100420f85d749a1ad3183b99dbab4e25af0ba771fc004cae86590e6806333320c1c2b304136e471bdccec4f3"
    "eb7cdff2d6f4b69b95da7045",
}
Change = Callable[[Ciphertext], bytes]


def refusal(engine: Engine, key: SM2PrivateKey, ciphertext: bytes) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What a caller gets to see of the refusal."""
    with pytest.raises(DecryptionFailed) as caught:
        engine.sm2_decrypt(key, ciphertext)
    return str(caught.value), tuple(caught.value.details.items())


def unchecked(key: SM2PrivateKey, parts: Ciphertext) -> bytes | None:
    """Decrypt as an implementation would that does not look at C1: the equations do not need the curve's b."""
    x2, y2 = multiply(int.from_bytes(key.secret_bytes(), "big"), (parts.x, parts.y))
    shared = x2.to_bytes(32, "big") + y2.to_bytes(32, "big")
    stream = kdf_sm3(shared, len(parts.body))
    plaintext = bytes(left ^ right for left, right in zip(parts.body, stream, strict=True))
    return plaintext if sm3(shared[:32] + plaintext + shared[32:]) == parts.digest else None


def consistent(key: SM2PrivateKey, x: int, y: int) -> Ciphertext:
    """A ciphertext around any C1, with C2 and C3 as the holder of the key would compute them."""
    x2, y2 = multiply(int.from_bytes(key.secret_bytes(), "big"), (x, y))
    shared = x2.to_bytes(32, "big") + y2.to_bytes(32, "big")
    body = bytes(left ^ right for left, right in zip(MESSAGE, kdf_sm3(shared, len(MESSAGE)), strict=True))
    return Ciphertext(x, y, sm3(shared[:32] + MESSAGE + shared[32:]), body)


# C3 that is not compared (py-gmssl).


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_every_changed_byte_is_one_uniform_error(engine: Engine, bit: int) -> None:
    ciphertext = engine.sm2_encrypt(KEY.public_key, MESSAGE)
    assert engine.sm2_decrypt(KEY, ciphertext) == MESSAGE
    said = set()
    for position in range(len(ciphertext)):
        wrong = bytearray(ciphertext)
        wrong[position] ^= bit
        said.add(refusal(engine, KEY, bytes(wrong)))
    assert len(said) == 1


@pytest.mark.parametrize("part", ["x", "y", "digest", "body"])
def test_each_part_of_another_ciphertext_to_the_same_key_is_refused(engine: Engine, part: str) -> None:
    own, other = (decode_ciphertext(engine.sm2_encrypt(KEY.public_key, MESSAGE)) for _ in range(2))
    parts = {name: getattr(own, name) for name in ("x", "y", "digest", "body")} | {part: getattr(other, part)}
    refusal(engine, KEY, Ciphertext(**parts).encode())


# Orders and spellings that others give or take.


def _raw(parts: Ciphertext, *, tail: bytes, head: bytes = b"\4") -> bytes:
    return head + parts.x.to_bytes(32, "big") + parts.y.to_bytes(32, "big") + tail


def _der(*elements: bytes) -> bytes:
    return encode(SEQUENCE, b"".join(elements))


def _point(parts: Ciphertext) -> bytes:
    return encode_integer(parts.x) + encode_integer(parts.y)


def _octets(parts: Ciphertext) -> bytes:
    return encode(OCTET_STRING, parts.digest) + encode(OCTET_STRING, parts.body)


def _long_length(element: bytes) -> bytes:
    """The same element with its length in the long form."""
    return element[:1] + b"\x81" + element[1:]


OTHER_SPELLINGS: dict[str, Change] = {
    "raw C1C3C2": lambda parts: _raw(parts, tail=parts.digest + parts.body),
    "raw C1C2C3": lambda parts: _raw(parts, tail=parts.body + parts.digest),
    "raw C1C3C2 without 04": lambda parts: _raw(parts, head=b"", tail=parts.digest + parts.body),
    "raw C1C2C3 without 04": lambda parts: _raw(parts, head=b"", tail=parts.body + parts.digest),
    "DER C1C2C3": lambda parts: _der(
        _point(parts), encode(OCTET_STRING, parts.body), encode(OCTET_STRING, parts.digest)
    ),
    "a zero byte behind": lambda parts: parts.encode() + b"\0",
    "many zero bytes behind": lambda parts: parts.encode() + bytes(64),
    "a zero byte inside the sequence": lambda parts: _der(_point(parts), _octets(parts), b"\0"),
    "a zero byte behind C2": lambda parts: Ciphertext(parts.x, parts.y, parts.digest, parts.body + b"\0").encode(),
    "a byte short": lambda parts: parts.encode()[:-1],
    "twice": lambda parts: parts.encode() * 2,
    "long form of the sequence": lambda parts: _long_length(parts.encode()),
    "long form of x": lambda parts: _der(
        _long_length(encode_integer(parts.x)), encode_integer(parts.y), _octets(parts)
    ),
    "long form of C3": lambda parts: _der(
        _point(parts), _long_length(encode(OCTET_STRING, parts.digest)), encode(OCTET_STRING, parts.body)
    ),
    "long form of C2": lambda parts: _der(
        _point(parts), encode(OCTET_STRING, parts.digest), _long_length(encode(OCTET_STRING, parts.body))
    ),
    "indefinite length": lambda parts: b"\x30\x80" + _point(parts) + _octets(parts) + b"\0\0",
    "padded x": lambda parts: _der(
        encode(0x02, b"\0" + encode_integer(parts.x)[2:]), encode_integer(parts.y), _octets(parts)
    ),
    "negative x": lambda parts: _der(
        encode(0x02, parts.x.to_bytes(32, "big")), encode_integer(parts.y), _octets(parts)
    ),
    "x + p": lambda parts: Ciphertext(parts.x + P, parts.y, parts.digest, parts.body).encode(),
    "y + p": lambda parts: Ciphertext(parts.x, parts.y + P, parts.digest, parts.body).encode(),
    "p - y": lambda parts: Ciphertext(parts.x, P - parts.y, parts.digest, parts.body).encode(),
    "C3 of 31 bytes": lambda parts: Ciphertext(parts.x, parts.y, parts.digest[:31], parts.body).encode(),
    "C3 of 33 bytes": lambda parts: Ciphertext(parts.x, parts.y, parts.digest + b"\0", parts.body).encode(),
    "C3 of 33 bytes, one of them of C2": lambda parts: Ciphertext(
        parts.x, parts.y, parts.digest + parts.body[:1], parts.body[1:]
    ).encode(),
    "no C3": lambda parts: Ciphertext(parts.x, parts.y, b"", parts.body).encode(),
    "no C2": lambda parts: Ciphertext(parts.x, parts.y, parts.digest, b"").encode(),
    "nothing": lambda _: b"",
    "an empty sequence": lambda _: b"\x30\0",
}


@pytest.mark.parametrize("spelling", OTHER_SPELLINGS)
def test_another_order_or_spelling_is_refused(engine: Engine, spelling: str) -> None:
    # Both coordinates of this one have their high bit set, so that each INTEGER begins with a zero byte to be left out.
    parts = decode_ciphertext(bytes.fromhex(SHORT["x2"]))
    assert parts.x >> 255 == parts.y >> 255 == 1
    assert engine.sm2_decrypt(KEY, parts.encode()) == SHORT_MESSAGE
    refusal(engine, KEY, OTHER_SPELLINGS[spelling](parts))


# C1 off the curve: answers about such points tell the private key bit by bit (sm-crypto, CVE-2026-23966).


@pytest.mark.parametrize(
    ("x", "y"),
    [(1, 1), (GX, GY + 1), (GX + 1, GY), (5, 0)],
    ids=["small", "beside the base point", "beside it on the other side", "of order two"],
)
def test_a_self_consistent_ciphertext_around_a_point_off_the_curve_is_refused(engine: Engine, x: int, y: int) -> None:
    key = SM2PrivateKey(int.from_bytes(KEY.secret_bytes(), "big") | 1)  # odd, so that a point of order two is not lost
    assert not is_on_curve(x, y)
    parts = consistent(key, x, y)
    assert unchecked(key, parts) == MESSAGE, "only the look at the curve can refuse this"
    refusal(engine, key, parts.encode())


def test_the_same_construction_around_a_point_on_the_curve_opens(engine: Engine) -> None:
    x, y = multiply(12_345, (GX, GY))
    assert engine.sm2_decrypt(KEY, consistent(KEY, x, y).encode()) == MESSAGE


def test_a_coordinate_beyond_the_field_is_refused_where_32_bytes_hold_it(engine: Engine) -> None:
    """There is a point with x = 1, so 1 + p names it a second time, and C3 holds for both."""
    x, y = point_of(b"\2" + (1).to_bytes(32, "big"))
    parts = consistent(KEY, x, y)
    assert engine.sm2_decrypt(KEY, parts.encode()) == MESSAGE
    twin = Ciphertext(x + P, y, parts.digest, parts.body)
    assert twin.x < 1 << 256
    assert unchecked(KEY, twin) == MESSAGE
    refusal(engine, KEY, twin.encode())


# C1 that makes others crash or answer differently (RustCrypto).


def test_every_bad_point_is_the_one_uniform_error(engine: Engine) -> None:
    sound = decode_ciphertext(engine.sm2_encrypt(KEY.public_key, MESSAGE))
    points = [
        (0, 0),
        (0, 1),
        (P, sound.y),
        (sound.x, P),
        (P - 1, P - 1),
        (sound.y, sound.x),
        (1 << 256, 1),
        (1 << 9_000, 1),
    ]
    said = {refusal(engine, KEY, Ciphertext(x, y, sound.digest, sound.body).encode()) for x, y in points}
    said.add(refusal(engine, KEY, Ciphertext(sound.x, sound.y, bytes(32), sound.body).encode()))
    said.add(refusal(engine, SM2PrivateKey(N - 2), sound.encode()))
    said.add(refusal(engine, KEY, b"\x30"))
    assert len(said) == 1


# Sizes (CVE-2021-3711) and coordinates that begin with 00 (tjfoc#97, hutool#3262, GmSSL#1624).


@pytest.mark.parametrize("coordinate", SHORT)
def test_coordinates_that_begin_with_a_zero_byte_decrypt(engine: Engine, coordinate: str) -> None:
    ciphertext = bytes.fromhex(SHORT[coordinate])
    parts = decode_ciphertext(ciphertext)
    x2, y2 = multiply(int.from_bytes(KEY.secret_bytes(), "big"), (parts.x, parts.y))
    short = {"C1.x": parts.x, "C1.y": parts.y, "x2": x2, "y2": y2}[coordinate]
    assert short < 1 << 248
    assert engine.sm2_decrypt(KEY, ciphertext) == SHORT_MESSAGE
    for position in range(len(ciphertext)):
        refusal(engine, KEY, ciphertext[:position])


@pytest.mark.parametrize("opener", ENGINE_NAMES)
def test_plaintexts_of_every_size_come_back_whole(engine: Engine, opener: str) -> None:
    other = engine_named(opener)
    for size in (*range(1, 36), 63, 64, 65, 95, 96, 97, 127, 128, 129, 255, 256, 257, 1_000):
        message = os.urandom(size)
        assert other.sm2_decrypt(KEY, engine.sm2_encrypt(KEY.public_key, message)) == message


def test_an_empty_plaintext_is_refused(engine: Engine) -> None:
    """OpenSSL's program opens an empty C2 without looking at C3."""
    with pytest.raises(EncodingInvalid):
        engine.sm2_encrypt(KEY.public_key, b"")
