"""SM3 and what is built on it: the standard's examples, and the bounds of key derivation. The vectors do the rest."""

from __future__ import annotations

import pytest

from crypto.engine import Engine
from crypto.packed import Packed
from crypto.sm3 import hkdf_sm3, hmac_sm3, kdf_sm3, sm3

# GB/T 32905-2016, Annex A.
EXAMPLES = {
    b"abc": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
    b"abcd" * 16: "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
}
# GB/T 32907-2016, Annex A, example 1; key and plaintext are the same.
BLOCK, ENCRYPTED = bytes.fromhex("0123456789abcdeffedcba9876543210"), "681edf34d206965e86b3e94f536e4246"


def test_the_standards_examples(engine: Engine) -> None:
    assert engine.sm3_many(Packed.of(EXAMPLES)).hex() == "".join(EXAMPLES.values())
    assert [sm3(message).hex() for message in EXAMPLES] == list(EXAMPLES.values())
    assert engine.sm4_encrypt_blocks(BLOCK, BLOCK * 2).hex() == ENCRYPTED * 2


def test_digests_about_the_ends_of_blocks_are_the_same_on_every_engine(engine: Engine) -> None:
    messages = [bytes([size % 251]) * size for size in range(200)]
    assert engine.sm3_many(Packed.of(messages)) == b"".join(map(sm3, messages))


def test_a_long_key_of_hmac_is_its_digest() -> None:
    assert hmac_sm3(b"k" * 65, b"data") == hmac_sm3(sm3(b"k" * 65), b"data")
    assert hmac_sm3(b"k" * 64, b"data") != hmac_sm3(sm3(b"k" * 64), b"data")


@pytest.mark.parametrize("length", [-1, 32 * (2**32 - 1)])
def test_a_length_beyond_the_counter_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="length"):
        kdf_sm3(b"shared", length)


@pytest.mark.parametrize("length", [-1, 255 * 32 + 1])
def test_a_length_beyond_hkdf_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="at most 255 digests"):
        hkdf_sm3(b"key", length)


def test_shorter_outputs_are_beginnings_of_longer_ones() -> None:
    for derive in (kdf_sm3, hkdf_sm3):
        longest = derive(b"key", 100)
        assert all(derive(b"key", length) == longest[:length] for length in range(101))
