"""Engines: chosen by their self-tests, refusing alike, naming the first wrong item of a batch, opening each other's work."""

from __future__ import annotations

import os

import pytest

from crypto.engine import ENGINE_NAMES, Engine, load_engine, survey_engines
from crypto.engines import open_engine
from crypto.engines.openssl import OpenSSLEngine
from crypto.errors import DecryptionFailed, EncodingInvalid, EngineUnavailable, SignatureInvalid
from crypto.packed import Packed
from crypto.self_test import self_test
from crypto.sm2 import DEFAULT_USER_ID, SM2PrivateKey, SM2PublicKey
from tests.crypto.engines_at_hand import engine_named

KEY = SM2PrivateKey.generate(os.urandom)
MESSAGE = b"to the letter"
COUNT = 21  # more than two groups of SM2's lanes, and more than one of SM4's


# Engines that answer wrongly, as one would on a processor or with a library that is broken.


class WrongDigest(OpenSSLEngine):
    """Digests that are all zero."""

    def sm3_many(self, messages: Packed) -> bytes:
        return bytes(32 * len(messages))


class WrongLastDigest(OpenSSLEngine):
    """One byte wrong, in the last lane of a batch."""

    def sm3_many(self, messages: Packed) -> bytes:
        return super().sm3_many(messages)[:-1] + b"\0"


class WrongBlock(OpenSSLEngine):
    """A block cipher that encrypts nothing."""

    def sm4_encrypt_blocks(self, key: bytes, blocks: bytes) -> bytes:
        return blocks


class WrongCounter(OpenSSLEngine):
    """A counter that begins elsewhere."""

    def sm4_ctr(self, key: bytes, counter: bytes, data: bytes) -> bytes:
        return super().sm4_ctr(key, counter[:-1] + b"\0", data)


class WrongTag(OpenSSLEngine):
    """One byte wrong, in the last tag."""

    def sm4_gcm_seal_many(self, keys: bytes, nonces: bytes, aads: Packed, plaintexts: Packed) -> Packed:
        sealed = super().sm4_gcm_seal_many(keys, nonces, aads, plaintexts)
        return Packed(sealed.data[:-1] + b"\0", sealed.offsets)


class WithoutTags(OpenSSLEngine):
    """A decryption that opens whatever it is given."""

    def sm4_gcm_open_many(self, keys: bytes, nonces: bytes, aads: Packed, ciphertexts: Packed) -> Packed:
        bodies = [ciphertext[:-16] for ciphertext in ciphertexts]
        counters = [nonces[at : at + 12] + (2).to_bytes(4, "big") for at in range(0, len(nonces), 12)]
        return Packed.of(
            self.sm4_ctr(keys[16 * index : 16 * index + 16], counter, body)
            for index, (counter, body) in enumerate(zip(counters, bodies, strict=True))
        )


class Refusing(OpenSSLEngine):
    """A verification that believes nothing."""

    def sm2_verify_many(self, *_: object, **__: object) -> None:
        raise SignatureInvalid("never", index=0)


class Credulous(OpenSSLEngine):
    """A verification that believes everything."""

    def sm2_verify_many(self, *_: object, **__: object) -> None:
        pass


class Repeating(OpenSSLEngine):
    """One signature for all messages."""

    def sm2_sign_many(self, key: SM2PrivateKey, messages: object, user_id: bytes = DEFAULT_USER_ID) -> list[bytes]:
        assert isinstance(messages, list)
        return super().sm2_sign_many(key, messages[:1], user_id) * len(messages)


class Forgetful(OpenSSLEngine):
    """A decryption that gives nothing."""

    def sm2_decrypt(self, key: SM2PrivateKey, ciphertext: bytes) -> bytes:
        return b""


@pytest.mark.parametrize(
    "broken",
    [
        WrongDigest,
        WrongLastDigest,
        WrongBlock,
        WrongCounter,
        WrongTag,
        WithoutTags,
        Refusing,
        Credulous,
        Repeating,
        Forgetful,
    ],
)
def test_an_engine_that_gives_a_wrong_answer_fails_its_self_test(broken: type[OpenSSLEngine]) -> None:
    engine_named("openssl")
    with pytest.raises(EngineUnavailable, match="self-test"):
        self_test(broken())


def test_an_engine_that_fails_its_self_test_is_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine_named("openssl")
    monkeypatch.setattr(OpenSSLEngine, "sm3_many", WrongDigest.sm3_many)
    with pytest.raises(EngineUnavailable, match="openssl: self-test"):
        load_engine("openssl")
    assert load_engine().name != "openssl"
    (report,) = [report for report in survey_engines() if report.name == "openssl"]
    assert (report.usable, report.engine) == (False, None)


@pytest.mark.parametrize("name", ["abacus", "", "OpenSSL"])
def test_an_engine_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(EngineUnavailable) as refusal:
        load_engine(name)
    assert all(known in str(refusal.value) for known in ENGINE_NAMES)
    with pytest.raises(EngineUnavailable):
        open_engine(name, os.urandom)


def test_the_fastest_engine_that_passes_is_the_one_chosen() -> None:
    usable = [report.name for report in survey_engines() if report.usable]
    assert load_engine().name == usable[0]
    assert usable == [name for name in ENGINE_NAMES if name in usable]


# What every engine refuses alike.


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_an_sm4_key_of_another_size_is_refused(engine: Engine, size: int) -> None:
    with pytest.raises(EncodingInvalid):
        engine.sm4_encrypt_blocks(bytes(size), bytes(16))
    with pytest.raises(EncodingInvalid):
        engine.sm4_ctr(bytes(size), bytes(16), b"data")
    for work in (engine.sm4_gcm_seal_many, engine.sm4_gcm_open_many):
        with pytest.raises(EncodingInvalid):
            work(bytes(size), bytes(12), Packed.of([b""]), Packed.of([bytes(16)]))


@pytest.mark.parametrize("size", [0, 12, 15, 17])
def test_a_counter_block_of_another_size_is_refused(engine: Engine, size: int) -> None:
    with pytest.raises(EncodingInvalid):
        engine.sm4_ctr(bytes(16), bytes(size), b"data")


@pytest.mark.parametrize("size", [1, 15, 17])
def test_a_part_of_a_block_is_refused(engine: Engine, size: int) -> None:
    with pytest.raises(EncodingInvalid):
        engine.sm4_encrypt_blocks(bytes(16), bytes(size))


@pytest.mark.parametrize("size", [8_191, 8_192, 70_000])
def test_a_user_id_whose_length_cannot_be_written_is_refused(engine: Engine, size: int) -> None:
    signatures = engine.sm2_sign_many(KEY, [MESSAGE])
    with pytest.raises(EncodingInvalid):
        engine.sm2_sign_many(KEY, [MESSAGE], bytes(size))
    with pytest.raises(EncodingInvalid):
        engine.sm2_verify_many([KEY.public_key], [MESSAGE], signatures, bytes(size))


def test_a_batch_of_nothing_is_nothing(engine: Engine) -> None:
    nothing = Packed.of([])
    assert engine.sm3_many(nothing) == b""
    assert list(engine.sm4_gcm_seal_many(b"", b"", nothing, nothing)) == []
    assert list(engine.sm4_gcm_open_many(b"", b"", nothing, nothing)) == []
    assert engine.sm4_encrypt_blocks(bytes(16), b"") == engine.sm4_ctr(bytes(16), bytes(16), b"") == b""
    assert engine.sm2_sign_many(KEY, []) == []
    engine.sm2_verify_many([], [], [])


# Which item of a batch was wrong.


@pytest.mark.parametrize(
    ("untrue", "malformed", "first"),
    [(2, 5, 2), (5, 2, 2), (None, 20, 20), (20, None, 20), (0, 1, 0), (1, 0, 0), (9, 17, 9), (17, 9, 9)],
)
def test_the_first_wrong_signature_is_named_whatever_is_wrong_with_it(
    engine: Engine, untrue: int | None, malformed: int | None, first: int
) -> None:
    messages = [b"%d" % index for index in range(COUNT)]
    signatures = engine.sm2_sign_many(KEY, messages)
    if untrue is not None:
        messages[untrue] = b"another"
    if malformed is not None:
        signatures[malformed] += b"\0"
    with pytest.raises(SignatureInvalid) as refusal:
        engine.sm2_verify_many([KEY.public_key] * COUNT, messages, signatures)
    assert refusal.value.details == {"index": str(first)}


@pytest.mark.parametrize(
    ("changed", "short", "first"),
    [(2, 5, 2), (5, 2, 2), (None, 20, 20), (20, None, 20), (0, 1, 0), (1, 0, 0), (3, 18, 3), (18, 3, 3)],
)
def test_the_first_wrong_ciphertext_is_named_whatever_is_wrong_with_it(
    engine: Engine, changed: int | None, short: int | None, first: int
) -> None:
    keys, nonces = os.urandom(16 * COUNT), os.urandom(12 * COUNT)
    aads, plaintexts = Packed.of([b"aad"] * COUNT), Packed.of(os.urandom(index) for index in range(COUNT))
    sealed = list(engine.sm4_gcm_seal_many(keys, nonces, aads, plaintexts))
    if changed is not None:
        sealed[changed] = bytes([sealed[changed][0] ^ 1]) + sealed[changed][1:]
    if short is not None:
        sealed[short] = sealed[short][:15]
    with pytest.raises(DecryptionFailed) as refusal:
        engine.sm4_gcm_open_many(keys, nonces, aads, Packed.of(sealed))
    assert refusal.value.details == {"index": str(first)}


# The same bytes, whichever engine answers.


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_engines_open_each_others_work(engine: Engine, name: str) -> None:
    other = engine_named(name)
    keys: list[SM2PublicKey] = [KEY.public_key] * 9
    other.sm2_verify_many(keys, [MESSAGE] * 9, engine.sm2_sign_many(KEY, [MESSAGE] * 9))
    assert other.sm2_decrypt(KEY, engine.sm2_encrypt(KEY.public_key, MESSAGE)) == MESSAGE
    sm4_keys, nonces = os.urandom(16 * COUNT), os.urandom(12 * COUNT)
    aads, plaintexts = (Packed.of(os.urandom(size * index) for index in range(COUNT)) for size in (3, 7))
    sealed = engine.sm4_gcm_seal_many(sm4_keys, nonces, aads, plaintexts)
    assert list(sealed) == list(other.sm4_gcm_seal_many(sm4_keys, nonces, aads, plaintexts))
    assert list(other.sm4_gcm_open_many(sm4_keys, nonces, aads, sealed)) == list(plaintexts)
    assert engine.sm3_many(plaintexts) == other.sm3_many(plaintexts)
    counter = b"\xff" * 16  # the whole block counts up and wraps
    assert engine.sm4_ctr(bytes(16), counter, bytes(99)) == other.sm4_ctr(bytes(16), counter, bytes(99))


def test_keys_of_many_members_are_verified_in_one_batch(engine: Engine) -> None:
    members = [SM2PrivateKey.generate(os.urandom) for _ in range(COUNT)]
    messages = [os.urandom(index) for index in range(COUNT)]
    signatures = [engine.sm2_sign_many(member, [text])[0] for member, text in zip(members, messages, strict=True)]
    keys = [member.public_key for member in members]
    engine.sm2_verify_many(keys, messages, signatures)
    keys[19], keys[20] = keys[20], keys[19]
    with pytest.raises(SignatureInvalid) as refusal:
        engine.sm2_verify_many(keys, messages, signatures)
    assert refusal.value.details == {"index": "19"}
