"""The mistakes that other implementations of SM2, SM3 and SM4 made: signatures, user ids, randomness, keys, timing.

Each is tried on every engine where it applies. What went wrong with ciphertexts (C3 not compared, other orders and
spellings, points off the curve, sizes, short coordinates) stands in test_pitfalls_of_ciphertexts.py, with key files (an
empty file, padding that is not looked at) in test_key_files.py. Requests for certificates that lost the user id need
openssl to make them: test_openssl_command_line.py. What key services really signed without Z_A is among the vectors of
gmsm, what Tongsuo did among the certificates.
"""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

from crypto.der import INTEGER, SEQUENCE, decode_ciphertext, decode_signature, encode, encode_integer, encode_signature
from crypto.engine import Engine, survey_engines
from crypto.engines import open_engine
from crypto.engines.gmssl import GMSSLEngine
from crypto.engines.libcrypto import Library, timing_caution
from crypto.engines.multibuffer import FLAGS, missing_flags
from crypto.errors import KeyInvalid, SignatureInvalid
from crypto.sm2 import DEFAULT_USER_ID, GX, GY, N, P, SM2PrivateKey, SM2PublicKey, multiply, point_bytes
from crypto.sm3 import sm3
from tests.crypto.engines_at_hand import DRAWING_ENGINE_NAMES, ENGINE_NAMES, engine_drawing, engine_named
from tests.crypto.vector_files import holds_over, identity_digest, point_of

MESSAGE = b"message digest"
TLS_USER_ID = b"TLSv1.3+GM+Cipher+Suite"  # RFC 8998, for handshakes
# GB/T 32918.5-2017, Annex A, and signatures over its message whose r or s begins with 00.
SCALAR = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
KEY = SM2PrivateKey(SCALAR)
EPHEMERAL = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
SIGNATURE = encode_signature(
    0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3,
    0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA,
)
SHORT_SIGNATURES = {
    240: "3045022000fe85c19815c9b1021f4b6497aa3602f5755d9b5ec71d86a4267b1140cf47b8022100b42df80fa21f5a17c24417ec4af02103cd4f2a"
    "1f8906b2936d3c758603fe17aa",
    121: "304302207cddb16bb958abed06ddfbaf840167fec7214188146234801d1e5779810fe2b5021f10f91615ce3f0951f376fe3cf0280f26805131d3"
    "656f698374bda8f99df44e",
}
SHORT_POINTS = [327, 107]  # scalars whose point's x or y begins with 00


def refused(engine: Engine, signature: bytes, match: str = "", key: SM2PrivateKey = KEY) -> None:
    with pytest.raises(SignatureInvalid, match=match):
        engine.sm2_verify_many([key.public_key], [MESSAGE], [signature])


# Ranges, t = 0, spellings (openHiTLS, bc-java#202, py-gmssl).


def test_numbers_out_of_range_are_refused_for_their_range(engine: Engine) -> None:
    engine.sm2_verify_many([KEY.public_key], [MESSAGE], [SIGNATURE])
    r, s = decode_signature(SIGNATURE)
    for pair in [(0, s), (r, 0), (N, s), (r, N), (N + 1, s), (r, N + 1), (r + N, s), (r, s + N), (0, 0), (1 << 256, s)]:
        refused(engine, encode_signature(*pair), "out of range")


def test_a_sum_of_zero_is_refused_for_its_range(engine: Engine) -> None:
    r, s = decode_signature(SIGNATURE)
    for pair in [(r, N - r), (N - s, s), (1, N - 1), (N - 1, 1)]:
        refused(engine, encode_signature(*pair), "out of range")


def test_numbers_exchanged_or_negated_are_refused(engine: Engine) -> None:
    r, s = decode_signature(SIGNATURE)
    for pair in [(s, r), (N - r, s), (r, N - s), (r, s - 1), (r - 1, s)]:
        refused(engine, encode_signature(*pair), "does not verify")


def test_another_spelling_of_a_signature_is_refused(engine: Engine) -> None:
    r, s = decode_signature(SIGNATURE)
    left, right = encode_integer(r), encode_integer(s)
    others = {
        "nothing": b"",
        "a byte behind": SIGNATURE + b"\0",
        "a byte inside": encode(SEQUENCE, left + right + b"\0"),
        "a third number": encode(SEQUENCE, left + right + encode_integer(1)),
        "a byte short": SIGNATURE[:-1],
        "twice": SIGNATURE * 2,
        "raw": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "raw with junk behind": r.to_bytes(32, "big") + s.to_bytes(32, "big") + b"junk",
        "long length": SIGNATURE[:1] + b"\x81" + SIGNATURE[1:],
        "long length of r": encode(SEQUENCE, left[:1] + b"\x81" + left[1:] + right),
        "indefinite length": b"\x30\x80" + left + right + b"\0\0",
        "padded": encode(SEQUENCE, encode(INTEGER, b"\0" + left[2:]) + right),
        "negative": encode(SEQUENCE, encode(INTEGER, left[3:]) + right),
        "an empty number": encode(SEQUENCE, encode(INTEGER, b"") + right),
    }
    for signature in others.values():
        refused(engine, signature, "spelling")


@pytest.mark.parametrize("number", SHORT_SIGNATURES)
def test_numbers_that_begin_with_a_zero_byte_are_signed_and_verified(engine: Engine, number: int) -> None:
    signature = bytes.fromhex(SHORT_SIGNATURES[number])
    assert min(decode_signature(signature)) < 1 << 248
    engine.sm2_verify_many([KEY.public_key], [MESSAGE], [signature])
    for name in DRAWING_ENGINE_NAMES:
        assert engine_drawing(name, number).sm2_sign_many(KEY, [MESSAGE]) == [signature]


@pytest.mark.parametrize("scalar", SHORT_POINTS)
def test_a_point_that_begins_with_a_zero_byte_keeps_it(engine: Engine, scalar: int) -> None:
    key = SM2PrivateKey(scalar)
    point = key.public_key.to_bytes()
    assert len(point) == 65
    assert 0 in (point[1], point[33])
    assert SM2PublicKey.from_der(key.public_key.to_der()) == key.public_key
    (signature,) = engine.sm2_sign_many(key, [MESSAGE])
    for name in ENGINE_NAMES:
        engine_named(name).sm2_verify_many([key.public_key], [MESSAGE], [signature])
        assert engine_named(name).sm2_decrypt(key, engine.sm2_encrypt(key.public_key, MESSAGE)) == MESSAGE


# User ids (openssl#18022, gmalg#1) and signatures without Z_A.


@pytest.mark.parametrize("signer", ENGINE_NAMES)
@pytest.mark.parametrize("user_id", [b"", TLS_USER_ID, b"x" * 8_190], ids=["empty", "of TLS", "the longest"])
def test_another_user_id_is_another_signature_and_the_same_on_every_engine(
    engine: Engine, signer: str, user_id: bytes
) -> None:
    (signature,) = engine_named(signer).sm2_sign_many(KEY, [MESSAGE], user_id)
    engine.sm2_verify_many([KEY.public_key], [MESSAGE], [signature], user_id)
    assert holds_over(sm3(identity_digest(KEY.public_key, user_id) + MESSAGE), KEY.public_key, signature)
    refused(engine, signature, "does not verify")


@pytest.mark.parametrize("signer", ENGINE_NAMES)
def test_an_unset_user_id_is_the_default_one_on_every_engine(engine: Engine, signer: str) -> None:
    (signature,) = engine_named(signer).sm2_sign_many(KEY, [MESSAGE])
    engine.sm2_verify_many([KEY.public_key], [MESSAGE], [signature], DEFAULT_USER_ID)
    assert holds_over(sm3(identity_digest(KEY.public_key, b"1234567812345678") + MESSAGE), KEY.public_key, signature)


def test_a_signature_over_a_bare_digest_is_refused(engine: Engine) -> None:
    for digest in (sm3(MESSAGE), MESSAGE.rjust(32, b"\0")):
        r = (int.from_bytes(digest, "big") + multiply(EPHEMERAL, (GX, GY))[0]) % N
        s = pow(1 + SCALAR, -1, N) * (EPHEMERAL - r * SCALAR) % N
        signature = encode_signature(r, s)
        assert holds_over(digest, KEY.public_key, signature)
        refused(engine, signature, "does not verify")


# Ephemeral numbers (py-gmssl, wamp-proto#443, elliptic-curves#1600, sm-crypto CVE-2026-73567).


def test_a_seeded_generator_repeats_nothing(engine: Engine) -> None:
    signed, sealed, keys = [], [], []
    for _ in range(3):
        random.seed(2026)
        np.random.seed(2026)  # noqa: NPY002 - the shared state is what must not matter
        signed += [decode_signature(signature)[0] for signature in engine.sm2_sign_many(KEY, [MESSAGE] * 17)]
        sealed += [decode_ciphertext(engine.sm2_encrypt(KEY.public_key, MESSAGE)).x for _ in range(3)]
        keys += [SM2PrivateKey.generate(os.urandom).secret_bytes()]
    assert len(set(signed)) == 51
    assert len(set(sealed)) == 9
    assert len(set(keys)) == 3


@pytest.mark.parametrize("name", DRAWING_ENGINE_NAMES)
def test_a_repeated_ephemeral_number_gives_the_key_away(name: str) -> None:
    """Why the source of an engine's numbers must be the operating system's, and what the test above looks for."""
    engine = engine_drawing(name, EPHEMERAL)
    (r1, s1), (r2, s2) = map(decode_signature, engine.sm2_sign_many(KEY, [MESSAGE, b"another message"]))
    # k = s·(1 + d) + r·d for both.
    assert (s2 - s1) * pow(s1 + r1 - s2 - r2, -1, N) % N == SCALAR


@pytest.mark.parametrize("name", DRAWING_ENGINE_NAMES)
def test_the_ephemeral_number_is_drawn_by_rejection_and_never_reduced(name: str) -> None:
    drawn: list[int] = []
    numbers = [0, N, N + 1, (1 << 256) - 1, EPHEMERAL]
    little = engine_drawing(name, EPHEMERAL).name == "multibuffer"

    def source(size: int) -> bytes:
        drawn.append(numbers[min(len(drawn), len(numbers) - 1)])
        return drawn[-1].to_bytes(size, "little" if little else "big")

    assert open_engine(name, source).sm2_sign_many(KEY, [MESSAGE]) == [SIGNATURE]
    assert drawn[:5] == numbers


def test_the_ephemeral_number_of_a_ciphertext_is_drawn_by_rejection() -> None:
    # The pure engine only: the others encrypt with OpenSSL, which draws inside.
    numbers = iter([0, N, N + 1, (1 << 256) - 1, EPHEMERAL])
    engine = GMSSLEngine(lambda size: next(numbers).to_bytes(size, "big"))
    parts = decode_ciphertext(engine.sm2_encrypt(KEY.public_key, MESSAGE))
    assert (parts.x, parts.y) == multiply(EPHEMERAL, (GX, GY))


def test_a_private_key_is_drawn_by_rejection() -> None:
    numbers = iter([0, N - 1, N, (1 << 256) - 1, N - 2])
    assert SM2PrivateKey.generate(lambda size: next(numbers).to_bytes(size, "big")).secret_bytes() == (N - 2).to_bytes(
        32
    )


# Keys (botan#3782, py-gmssl).


@pytest.mark.parametrize("scalar", [0, -1, N - 1, N, N + 1, 1 << 256])
def test_a_private_key_out_of_range_is_refused(scalar: int) -> None:
    with pytest.raises(KeyInvalid):
        SM2PrivateKey(scalar)


@pytest.mark.parametrize("scalar", [0, N - 1, N])
def test_a_private_key_out_of_range_in_a_file_is_refused(scalar: int) -> None:
    der = KEY.to_der().replace(KEY.secret_bytes(), scalar.to_bytes(32, "big"))
    with pytest.raises(KeyInvalid, match="from 1 to n - 2"):
        SM2PrivateKey.from_der(der)


@pytest.mark.parametrize("scalar", [1, 2, N - 2])
def test_the_outermost_private_keys_sign_and_decrypt(engine: Engine, scalar: int) -> None:
    key = SM2PrivateKey(scalar)
    signatures = engine.sm2_sign_many(key, [MESSAGE] * 3)
    for name in ENGINE_NAMES:
        engine_named(name).sm2_verify_many([key.public_key] * 3, [MESSAGE] * 3, signatures)
    assert engine.sm2_decrypt(key, engine.sm2_encrypt(key.public_key, MESSAGE)) == MESSAGE


NO_POINTS = {
    "nothing": b"",
    "infinity": b"\0",
    "infinity, padded": bytes(65),
    "the origin": b"\4" + bytes(64),
    "off the curve": point_bytes(GX, GY + 1),
    "x + p": point_bytes(1 + P, point_of(b"\2" + (1).to_bytes(32, "big"))[1]),
    "field elements too large": b"\4" + b"\xff" * 64,
    "x is p": point_bytes(P, GY),
    "compressed": b"\2" + GX.to_bytes(32, "big"),
    "hybrid": b"\6" + point_bytes(GX, GY)[1:],
    "without 04": point_bytes(GX, GY)[1:],
    "a byte behind": point_bytes(GX, GY) + b"\0",
    "a short coordinate": point_bytes(GX, GY)[:-1],
}


@pytest.mark.parametrize("what", NO_POINTS)
def test_what_is_no_point_of_the_curve_is_no_public_key(what: str) -> None:
    with pytest.raises(KeyInvalid):
        SM2PublicKey.from_bytes(NO_POINTS[what])
    spki = KEY.public_key.to_der()
    with pytest.raises(KeyInvalid):
        SM2PublicKey.from_der(
            encode(SEQUENCE, spki[2:23] + encode(0x03, b"\0" + NO_POINTS[what])),
        )


# Time (CVE-2025-9231, openssl#31133, the note in EVP_CIPHER-SM4): nothing here can be mended, so the survey must say it.


@pytest.mark.parametrize(
    ("version", "machine", "words"),
    [
        (0x30000130, "aarch64", []),
        (0x30100080, "aarch64", []),
        (0x30200050, "aarch64", ["CVE-2025-9231", "3.2.6"]),
        (0x30200060, "aarch64", ["openssl#31133"]),
        (0x30300040, "aarch64", ["CVE-2025-9231", "3.3.5"]),
        (0x30300050, "arm64", ["openssl#31133"]),
        (0x30400020, "aarch64", ["CVE-2025-9231", "3.4.3"]),
        (0x30400030, "aarch64", ["openssl#31133"]),
        (0x30500030, "arm64", ["CVE-2025-9231", "3.5.4"]),
        (0x30500040, "aarch64", ["openssl#31133"]),
        (0x30600000, "aarch64", ["openssl#31133"]),
        (0x40000020, "aarch64", ["openssl#31133"]),
        (0x30500030, "x86_64", []),
    ],
)
def test_what_libcrypto_leaks_through_time_is_known_by_its_version(
    version: int, machine: str, words: list[str]
) -> None:
    caution = timing_caution(version, machine)
    assert "SM4" in caution
    assert [word for word in ("CVE-2025-9231", "openssl#31133") if word in caution] == words[:1]
    assert all(word in caution for word in words)


def test_the_survey_of_engines_tells_each_ones_caution() -> None:
    reports = [report for report in survey_engines() if report.engine is not None]
    assert "gmssl" in {report.name for report in reports}
    version, machine = Library().version, os.uname().machine
    for report in reports:
        expected = "depends on its secrets" if report.name == "gmssl" else timing_caution(version, machine)
        assert report.why.startswith("passed its self-tests; ")
        assert expected in report.why


def test_the_fast_engine_runs_only_where_sm4_needs_no_tables() -> None:
    able = "processor\t: 0\nflags\t\t: fpu " + " ".join(FLAGS) + "\n"
    assert missing_flags(able) == []
    assert missing_flags(able.replace(" gfni", "")) == ["gfni"]
    assert missing_flags("processor\t: 0\nFeatures\t: fp asimd sm3 sm4\n") == sorted(FLAGS)
