"""Messages of very different lengths in one batch: what a library does in lanes must not let one lane disturb another.

The multi-buffer library crashes on some mixtures (crypto.engines.multibuffer, `_alike`), so each batch here is also a test
that the process is still there.
"""

from __future__ import annotations

import os
import random

import pytest

from crypto.engine import Engine
from crypto.errors import SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from tests.crypto.engines_at_hand import engine_named

BATCHES = 200
LONGEST = 900  # bytes


@pytest.fixture
def engine() -> Engine:
    return engine_named("multibuffer")


def _messages(drawn: random.Random, most: int = 20) -> list[bytes]:
    return [drawn.randbytes(drawn.randint(0, LONGEST)) for _ in range(drawn.randint(1, most))]


def test_signatures_over_any_mixture_hold_for_another_engine(engine: Engine) -> None:
    drawn, other, key = random.Random(1), engine_named("openssl"), SM2PrivateKey.generate(os.urandom)
    for _ in range(BATCHES):
        messages = _messages(drawn)
        signatures = engine.sm2_sign_many(key, messages)
        keys = [key.public_key] * len(messages)
        engine.sm2_verify_many(keys, messages, signatures)
        other.sm2_verify_many(keys[:2], messages[:2], signatures[:2])


def test_the_first_wrong_signature_of_a_mixture_is_named(engine: Engine) -> None:
    drawn, key = random.Random(2), SM2PrivateKey.generate(os.urandom)
    for _ in range(BATCHES):
        messages = _messages(drawn)
        signatures = engine.sm2_sign_many(key, messages)
        wrong = sorted({drawn.randrange(len(messages)) for _ in range(2)})
        for index in wrong:
            messages[index] += b"!"
        with pytest.raises(SignatureInvalid) as refusal:
            engine.sm2_verify_many([key.public_key] * len(messages), messages, signatures)
        assert refusal.value.details["index"] == str(wrong[0])


def test_digests_and_ciphertexts_of_any_mixture_are_those_of_another_engine(engine: Engine) -> None:
    drawn, other = random.Random(3), engine_named("openssl")
    for _ in range(BATCHES):
        messages, aads = _messages(drawn, 40), _messages(drawn, 40)
        count = min(len(messages), len(aads))
        texts, extra = Packed.of(messages[:count]), Packed.of(aads[:count])
        keys, nonces = drawn.randbytes(16 * count), drawn.randbytes(12 * count)
        assert engine.sm3_many(texts) == other.sm3_many(texts)
        sealed = engine.sm4_gcm_seal_many(keys, nonces, extra, texts)
        assert sealed.data == other.sm4_gcm_seal_many(keys, nonces, extra, texts).data
        assert engine.sm4_gcm_open_many(keys, nonces, extra, sealed).data == texts.data
