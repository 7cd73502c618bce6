"""What the verifier computes by itself, against other implementations: SM3, Keccak, SM2 and its DER."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from eth_hash.auto import keccak
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit import verifier
from audit.verifier import Malformed, keccak256, sm2_verifies
from audit.verify import signature_check
from crypto.der import decode_signature, encode_signature
from crypto.errors import CryptoError
from crypto.sm2 import GX, GY, N, P, SM2PrivateKey, SM2PublicKey, multiply, point_bytes
from crypto.sm3 import sm3
from tests.crypto.engines_at_hand import engine_named
from tests.crypto.vector_files import botan_records, certificates, json_tests

SCALAR = 0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8
KEY = SM2PrivateKey(SCALAR).public_key.to_bytes()
MESSAGE = b"message digest"
R = 0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3
S = 0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA
SIGNATURE = encode_signature(R, S)


def der(*values: bytes) -> bytes:
    """A sequence of integers whose bodies are given, right or wrong."""
    body = b"".join(b"\x02" + bytes([len(value)]) + value for value in values)
    return b"\x30" + bytes([len(body)]) + body


# Hashes.


@given(st.binary(max_size=400))
@example(b"")
@example(b"a" * 55)
@example(b"a" * 56)
@example(b"a" * 64)
@settings(deadline=None)
def test_sm3_in_python_is_sm3(message: bytes) -> None:
    assert verifier.sm3_in_python(message) == verifier.sm3(message) == sm3(message)


def test_sm3_in_python_gives_every_published_digest(vectors: Path) -> None:
    records = botan_records(vectors / "botan" / "sm3.vec", "Out")
    assert len(records) == 139
    for record in records:
        assert verifier.sm3_in_python(bytes.fromhex(record["In"])).hex() == record["Out"].lower()


def test_a_python_without_sm3_takes_the_verifiers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *_: object) -> object:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", without)
    assert verifier._sm3_of_this_python() is verifier.sm3_in_python


@given(st.binary(max_size=600))
@example(b"a" * 135)
@example(b"a" * 136)
@example(b"a" * 137)
@settings(deadline=None)
def test_keccak_is_ethereums(message: bytes) -> None:
    assert keccak256(message) == keccak(message)


# SM2.


def test_the_standards_signature_holds() -> None:
    assert sm2_verifies(KEY, MESSAGE, SIGNATURE)


@given(st.integers(1, N - 2), st.binary(max_size=100), st.sampled_from(["openssl", "gmssl"]))
@settings(max_examples=60, deadline=None)
def test_what_an_engine_signs_holds_and_nothing_beside_it(scalar: int, message: bytes, name: str) -> None:
    key = SM2PrivateKey(scalar)
    public = key.public_key.to_bytes()
    (signature,) = engine_named(name).sm2_sign_many(key, [message])
    r, s = decode_signature(signature)
    assert sm2_verifies(public, message, signature)
    others = [(r, (s + 1) % N), ((r + 1) % N, s), (s, r), (r, N - s), (N - r, s)]
    assert not any(sm2_verifies(public, message, encode_signature(*pair)) for pair in others)
    assert not sm2_verifies(public, message + b"\0", signature)
    assert not sm2_verifies(SM2PrivateKey(scalar % (N - 2) + 1).public_key.to_bytes(), message, signature)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNATURE + b"\0",
        SIGNATURE[:-1],
        SIGNATURE[2:],
        b"\x30\x81\x46" + SIGNATURE[2:],  # long form of a short length
        b"\x30\x80" + SIGNATURE[2:] + b"\0\0",  # indefinite length
        b"\x31" + SIGNATURE[1:],
        b"\x30\x45" + SIGNATURE[2:],  # one less than there is
        b"\x30\x47" + SIGNATURE[2:],
        SIGNATURE[:3] + b"\x20" + SIGNATURE[4:],
        SIGNATURE[:3] + b"\xff" + SIGNATURE[4:],
        der(R.to_bytes(32, "big"), b"\0" + S.to_bytes(32, "big")),  # negative
        der(b"\0\0" + R.to_bytes(32, "big"), b"\0" + S.to_bytes(32, "big")),  # padded
        der(b"\0" + R.to_bytes(32, "big")),
        der(b"\0" + R.to_bytes(32, "big"), b"\0" + S.to_bytes(32, "big"), b"\1"),
        der(b"", b"\0" + S.to_bytes(32, "big")),
        der(b"\0", b"\0" + S.to_bytes(32, "big")),  # r = 0
        der(b"\0" + R.to_bytes(32, "big"), b"\0"),
        encode_signature(R, S + N),  # the same modulo n, and out of range
        encode_signature(R, N),
        encode_signature(N, S),
        encode_signature(R, N - R),  # t = 0
        encode_signature(1, N - 1),
        R.to_bytes(32, "big") + S.to_bytes(32, "big"),  # raw
    ],
    ids=str,
)
def test_another_spelling_or_range_of_a_signature_does_not_hold(signature: bytes) -> None:
    assert not sm2_verifies(KEY, MESSAGE, signature)
    for name in ("openssl", "gmssl"):
        assert not signature_check(engine_named(name))(KEY, MESSAGE, signature)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        KEY[:-1],
        KEY + b"\0",
        b"\5" + KEY[1:],
        b"\2" + KEY[1:33],
        KEY[:-1] + bytes([KEY[-1] ^ 1]),  # off the curve
        b"\4" + bytes(64),
        b"\4" + (int.from_bytes(KEY[1:33], "big") + P).to_bytes(33, "big")[:32] + KEY[33:],
        b"\4" + b"\xff" * 64,
    ],
    ids=["empty", "short", "long", "prefix", "compressed", "off the curve", "zero", "beyond p", "beyond p too"],
)
def test_a_key_that_is_no_point_of_the_curve_verifies_nothing(key: bytes) -> None:
    assert not sm2_verifies(key, MESSAGE, SIGNATURE)
    assert not signature_check(engine_named("openssl"))(key, MESSAGE, SIGNATURE)


@pytest.mark.parametrize("scalar", [1, N - 2, 2])
def test_keys_at_the_ends_of_the_range_meet_the_special_cases_of_addition(scalar: int) -> None:
    """With d = 1 the public key is the base point, so both points that are added first are equal."""
    key = SM2PrivateKey(scalar)
    for at in range(4):
        message = b"%d" % at
        (signature,) = engine_named("gmssl").sm2_sign_many(key, [message])
        assert sm2_verifies(key.public_key.to_bytes(), message, signature)


def test_the_key_whose_sum_with_the_base_point_is_infinite_verifies_nothing_by_accident() -> None:
    minus_base = point_bytes(GX, P - GY)
    assert SM2PublicKey.from_bytes(minus_base).to_bytes() == minus_base
    for r, s in [(1, 1), (R, S), (N - 1, 2), (5, N - 4)]:
        signature = encode_signature(r, s)
        expected = signature_check(engine_named("openssl"))(minus_base, MESSAGE, signature)
        assert sm2_verifies(minus_base, MESSAGE, signature) is expected is False


def test_the_standards_negative_cases_do_not_hold(vectors: Path) -> None:
    path = vectors / "gbt32918.5" / "sm2_sm2p256v1.json"
    annex = json_tests(path)[0]
    assert sm2_verifies(KEY, annex["msg_ascii"].encode(), bytes.fromhex(annex["signature_der"]))
    negative = json.loads(path.read_text(encoding="utf-8"))["negative_tests"]
    assert [sm2_verifies(KEY, MESSAGE, bytes.fromhex(case["signature_der"])) for case in negative[:1]] == [False]


def test_certificates_hold_under_the_ordinary_user_id_and_not_where_it_was_left_out(vectors: Path) -> None:
    good, left_out = "sm2-root-cert.pem", "sm2-noza-root-cert.pem"
    for name, expected in ((good, True), (left_out, False)):
        (signed,) = certificates(vectors / "tongsuo" / "certs" / name)
        assert sm2_verifies(signed.key.to_bytes(), signed.body, signed.signature) is expected


@given(st.integers(0, 2**64), st.integers(1, N - 1))
@settings(max_examples=30, deadline=None)
def test_points_are_added_as_the_curve_says(left: int, right: int) -> None:
    total = (left % N + right) % N
    steps = [multiply(scalar, (GX, GY)) for scalar in (left % N, right) if scalar]
    computed = (1, 1, 0)
    for x, y in steps:
        computed = verifier._added(computed, (x, y, 1))
    if not total:
        assert computed[2] == 0
        return
    x, y, z = computed
    assert (x * pow(z, -2, P) % P, y * pow(z, -3, P) % P) == multiply(total, (GX, GY))


def test_errors_of_crypto_are_not_those_of_the_verifier() -> None:
    """It raises its own alone, because it stands alone."""
    assert not issubclass(Malformed, CryptoError)
    assert issubclass(Malformed, ValueError)
