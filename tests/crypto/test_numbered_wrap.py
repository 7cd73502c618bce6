"""Values wrapped under numbered keys open under their own key and context alone, in batches, and say which key that is."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.engine import ENGINE_NAMES, load_engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.numbered_wrap import MAX_NUMBER, OVERHEAD, NumberedKey, key_numbers, unwrap_numbered, wrap_numbered
from crypto.packed import Packed
from tests.crypto.engines_at_hand import engine_named

ENGINE = load_engine()
KEK, OTHER = b"k" * 16, b"K" * 16
CONTEXTS = Packed.of([b"one", b"two", b"three"])
SECRETS = Packed.of([b"a" * 32, b"b" * 32, b"c" * 32])


@given(
    st.integers(1, MAX_NUMBER),
    st.integers(1, 80).flatmap(
        lambda width: st.lists(
            st.tuples(st.binary(max_size=60), st.binary(min_size=width, max_size=width)), max_size=20
        )
    ),
)
@settings(deadline=None)
def test_what_was_wrapped_opens_to_the_same(number: int, values: list[tuple[bytes, bytes]]) -> None:
    contexts, secrets = Packed.of(c for c, _ in values), Packed.of(s for _, s in values)
    wrapped = wrap_numbered(ENGINE, os.urandom, NumberedKey(number, KEK), contexts, secrets)
    assert key_numbers(wrapped) == [number] * len(values)
    assert [len(one) for one in wrapped] == [len(secret) + OVERHEAD for _, secret in values]
    assert list(unwrap_numbered(ENGINE, KEK * len(values), contexts, wrapped)) == list(secrets)


@pytest.mark.parametrize("sealer", ENGINE_NAMES)
@pytest.mark.parametrize("opener", ENGINE_NAMES)
def test_engines_open_each_others(sealer: str, opener: str) -> None:
    wrapped = wrap_numbered(engine_named(sealer), os.urandom, NumberedKey(7, KEK), CONTEXTS, SECRETS)
    assert unwrap_numbered(engine_named(opener), KEK * 3, CONTEXTS, wrapped).data == SECRETS.data


def test_the_format_is_as_documented() -> None:
    wrapped = wrap_numbered(ENGINE, lambda size: b"n" * size, NumberedKey(0x01020304, KEK), CONTEXTS, SECRETS)
    header = b"\x02\x01\x02\x03\x04"
    for context, secret, found in zip(CONTEXTS, SECRETS, wrapped, strict=True):
        sealed = ENGINE.sm4_gcm_seal_many(KEK, b"n" * 12, Packed.of([header + context]), Packed.of([secret])).data
        assert found == header + b"n" * 12 + sealed


def test_each_value_has_a_nonce_of_its_own() -> None:
    wrapped = wrap_numbered(ENGINE, os.urandom, NumberedKey(1, KEK), CONTEXTS, SECRETS)
    assert len({one[5:17] for one in wrapped}) == 3


def test_a_batch_may_be_under_several_keys() -> None:
    one = wrap_numbered(ENGINE, os.urandom, NumberedKey(1, KEK), CONTEXTS.slice(0, 2), SECRETS.slice(0, 2))
    two = wrap_numbered(ENGINE, os.urandom, NumberedKey(2, OTHER), CONTEXTS.slice(2, 3), SECRETS.slice(2, 3))
    both = Packed.joined([one, two])
    assert key_numbers(both) == [1, 1, 2]
    assert unwrap_numbered(ENGINE, KEK * 2 + OTHER, CONTEXTS, both).data == SECRETS.data


@given(st.integers(0, 2), st.data())
@settings(deadline=None)
def test_any_bit_that_flips_is_noticed_and_the_value_named(place: int, data: st.DataObject) -> None:
    wrapped = list(wrap_numbered(ENGINE, os.urandom, NumberedKey(9, KEK), CONTEXTS, SECRETS))
    at = data.draw(st.integers(0, len(wrapped[0]) - 1))
    one = bytearray(wrapped[place])
    one[at] ^= 1 << data.draw(st.integers(0, 7))
    wrapped[place] = bytes(one)
    with pytest.raises((EncodingInvalid, DecryptionFailed)) as refused:
        unwrap_numbered(ENGINE, KEK * 3, CONTEXTS, Packed.of(wrapped))
    assert refused.value.details["index"] == str(place)


def test_another_key_or_context_opens_nothing() -> None:
    wrapped = wrap_numbered(ENGINE, os.urandom, NumberedKey(1, KEK), CONTEXTS, SECRETS)
    for keks, contexts in (
        (KEK + OTHER + KEK, CONTEXTS),
        (KEK * 3, Packed.of([b"one", b"one", b"three"])),
    ):
        with pytest.raises(DecryptionFailed) as refused:
            unwrap_numbered(ENGINE, keks, contexts, wrapped)
        assert refused.value.details["index"] == "1"


def test_arguments_out_of_their_limits_are_refused() -> None:
    key = NumberedKey(1, KEK)
    wrapped = wrap_numbered(ENGINE, os.urandom, key, CONTEXTS, SECRETS)
    calls = [
        lambda: NumberedKey(0, KEK),
        lambda: NumberedKey(MAX_NUMBER + 1, KEK),
        lambda: NumberedKey(1, KEK + b"k"),
        lambda: wrap_numbered(ENGINE, os.urandom, key, CONTEXTS.slice(0, 2), SECRETS),
        lambda: wrap_numbered(ENGINE, os.urandom, key, CONTEXTS, Packed.of([b"a", b"b", b"cc"])),
        lambda: wrap_numbered(ENGINE, os.urandom, key, CONTEXTS, Packed.of([b"", b"", b""])),
        lambda: unwrap_numbered(ENGINE, KEK * 2, CONTEXTS, wrapped),
        lambda: unwrap_numbered(ENGINE, KEK * 3, CONTEXTS.slice(0, 2), wrapped),
        lambda: key_numbers(Packed.of([bytes(OVERHEAD)])),
        lambda: key_numbers(Packed.of([b"\x02" + bytes(64)])),
        lambda: key_numbers(Packed.of([b"\x01" + wrapped[0][1:]])),
    ]
    for call in calls:
        with pytest.raises(EncodingInvalid):
            call()


def test_a_key_is_not_shown() -> None:
    assert repr(NumberedKey(3, KEK)) == "NumberedKey(number=3)"
