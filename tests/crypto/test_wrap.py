"""Wrapped secrets open for the right key in the right context, and for nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.wrap import MAX_SECRETS, unwrap_at_rest, unwrap_secrets, wrap_at_rest, wrap_secrets
from tests.crypto.engines_at_hand import ENGINE_NAMES, engine_named, fastest_engine

CONTEXT = b"grant 5e0c sequence 7"
KEY = SM2PrivateKey.generate(os.urandom)
KEK = bytes(range(16))
Unwrap = Callable[[bytes], bytes]


def wrapped_both_ways(engine: Engine) -> list[tuple[bytes, Unwrap]]:
    """A blob for a recipient and one at rest, each with what opens it."""
    return [
        (
            wrap_secrets(engine, os.urandom, KEY.public_key, CONTEXT, b"s" * 32),
            lambda blob: unwrap_secrets(engine, HeldKey(engine, KEY), CONTEXT, blob),
        ),
        (
            wrap_at_rest(engine, os.urandom, KEK, CONTEXT, b"s" * 32),
            lambda blob: unwrap_at_rest(engine, KEK, CONTEXT, blob),
        ),
    ]


@pytest.mark.parametrize("opener", ENGINE_NAMES)
@pytest.mark.parametrize("sealer", ENGINE_NAMES)
def test_what_one_engine_wraps_every_engine_unwraps(sealer: str, opener: str) -> None:
    secrets = bytes(range(64))
    blob = wrap_secrets(engine_named(sealer), os.urandom, KEY.public_key, CONTEXT, secrets)
    assert unwrap_secrets(engine_named(opener), HeldKey(engine_named(opener), KEY), CONTEXT, blob) == secrets
    rest = wrap_at_rest(engine_named(sealer), os.urandom, KEK, CONTEXT, secrets)
    assert unwrap_at_rest(engine_named(opener), KEK, CONTEXT, rest) == secrets


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=80))
@settings(max_examples=30)
def test_any_secret_in_any_context_comes_back(secrets: bytes, context: bytes) -> None:
    engine = fastest_engine()
    blob = wrap_secrets(engine, os.urandom, KEY.public_key, context, secrets)
    assert unwrap_secrets(engine, HeldKey(engine, KEY), context, blob) == secrets
    assert unwrap_at_rest(engine, KEK, context, wrap_at_rest(engine, os.urandom, KEK, context, secrets)) == secrets


def test_the_layout_is_that_of_format_1() -> None:
    """Version, length, SM2 ciphertext of the key, nonce and GCM stand where the format says, from the random given."""
    engine = fastest_engine()
    drawn = iter([KEK, b"n" * 12])
    blob = wrap_secrets(engine, lambda _: next(drawn), KEY.public_key, CONTEXT, b"s" * 32)
    assert blob[0] == 1
    stop = 3 + int.from_bytes(blob[1:3], "big")
    assert engine.sm2_decrypt(KEY, blob[3:stop]) == KEK
    assert blob[stop : stop + 12] == b"n" * 12
    sealed = engine.sm4_gcm_seal_many(KEK, b"n" * 12, Packed.of([CONTEXT]), Packed.of([b"s" * 32])).data
    assert blob[stop + 12 :] == sealed
    assert wrap_at_rest(engine, lambda _: b"n" * 12, KEK, CONTEXT, b"s" * 32) == b"\x01" + b"n" * 12 + sealed


def test_every_changed_byte_truncation_or_extension_is_refused() -> None:
    for whole, unwrap in wrapped_both_ways(fastest_engine()):
        flipped = [whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole))]
        for changed in (*flipped, *(whole[:size] for size in range(len(whole))), whole + b"\x00"):
            with pytest.raises((DecryptionFailed, EncodingInvalid)):
                unwrap(changed)


def test_another_key_and_another_context_give_one_and_the_same_refusal() -> None:
    engine = fastest_engine()
    other = SM2PrivateKey.generate(os.urandom)
    blob = wrap_secrets(engine, os.urandom, KEY.public_key, CONTEXT, b"s" * 32)
    rest = wrap_at_rest(engine, os.urandom, KEK, CONTEXT, b"s" * 32)
    messages = set()
    attempts: list[Callable[[], bytes]] = [
        lambda: unwrap_secrets(engine, HeldKey(engine, other), CONTEXT, blob),
        lambda: unwrap_secrets(engine, HeldKey(engine, KEY), CONTEXT + b"!", blob),
        lambda: unwrap_at_rest(engine, bytes(16), CONTEXT, rest),
        lambda: unwrap_at_rest(engine, KEK, b"", rest),
    ]
    for attempt in attempts:
        with pytest.raises(DecryptionFailed) as caught:
            attempt()
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_a_wrapped_key_of_another_length_is_refused() -> None:
    """A sender may encrypt anything; only a key of 16 bytes is taken."""
    engine = fastest_engine()
    cipher = engine.sm2_encrypt(KEY.public_key, bytes(32))
    with pytest.raises(DecryptionFailed):
        unwrap_secrets(
            engine, HeldKey(engine, KEY), CONTEXT, b"\x01" + len(cipher).to_bytes(2, "big") + cipher + bytes(60)
        )


@pytest.mark.parametrize("version", [0, 2, 255])
def test_an_unknown_version_is_an_encoding_error(version: int) -> None:
    for blob, unwrap in wrapped_both_ways(fastest_engine()):
        with pytest.raises(EncodingInvalid):
            unwrap(bytes([version]) + blob[1:])


def test_empty_and_oversized_secrets_are_refused() -> None:
    engine = fastest_engine()
    for secrets in (b"", bytes(MAX_SECRETS + 1)):
        with pytest.raises(EncodingInvalid):
            wrap_secrets(engine, os.urandom, KEY.public_key, CONTEXT, secrets)
        with pytest.raises(EncodingInvalid):
            wrap_at_rest(engine, os.urandom, KEK, CONTEXT, secrets)


def test_a_key_encryption_key_of_another_length_is_refused() -> None:
    engine = fastest_engine()
    with pytest.raises(EncodingInvalid):
        wrap_at_rest(engine, os.urandom, bytes(32), CONTEXT, b"s")
    with pytest.raises(EncodingInvalid):
        unwrap_at_rest(engine, bytes(15), CONTEXT, b"\x01" + bytes(60))
