"""Secrets at rest under one of several numbered keys, format 2, in batches: the key can be replaced while old values are still read.

    wrapped = 0x02 ‖ number of the key, u32be, 1 or more ‖ nonce, 12 ‖ SM4-GCM(secret) ‖ tag, 16
    AAD     = the first 5 bytes ‖ context

The number says which key-encryption key opens the value, and is authenticated with it. As in `crypto.wrap`, the context never travels: the
reader states it. Nonces are random; a key may wrap 2³² values (NIST SP 800-38D, section 8.3), which is 2³² segments of one dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from crypto.scatter import prefix_each
from crypto.wrap import KEK_SIZE, RandomBytes

NUMBERED_VERSION = 2
MAX_NUMBER = 0xFFFF_FFFF  # of a key; the least is 1
OVERHEAD = 33  # bytes that a wrapped value has more than its secret

_HEADER_SIZE = 5  # bytes: version and number
_NONCE_SIZE = 12  # bytes
_BODY = _HEADER_SIZE + _NONCE_SIZE

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class NumberedKey:
    """A key-encryption key, 16 bytes, and its number, 1 to 2³² - 1. Raises EncodingInvalid for others."""

    number: int
    kek: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.number <= MAX_NUMBER:
            raise EncodingInvalid(f"the number of a key is 1 to {MAX_NUMBER}, not {self.number}")
        if len(self.kek) != KEK_SIZE:
            raise EncodingInvalid(f"a key-encryption key has {KEK_SIZE} bytes, not {len(self.kek)}")


def wrap_numbered(engine: Engine, random: RandomBytes, key: NumberedKey, contexts: Packed, secrets: Packed) -> Packed:
    """Wrap n secrets of one length, each in its context, under one key.

    Args:
        engine: what computes.
        random: randomness, of which 12 bytes are drawn for each secret.
        key: under which they are wrapped.
        contexts: n of them, of any length.
        secrets: n of them, 1 byte or more, all of one length.

    Raises:
        EncodingInvalid: an argument is out of its limits.
    """
    count = len(secrets)
    _check_contexts(contexts, count)
    if count == 0:
        return secrets
    if _width(secrets) == 0:
        raise EncodingInvalid("an empty secret cannot be wrapped")
    header = np.frombuffer(bytes([NUMBERED_VERSION]) + key.number.to_bytes(4, "big"), dtype=np.uint8)
    headers: _Bytes = np.broadcast_to(header, (count, _HEADER_SIZE))
    nonces = random(_NONCE_SIZE * count)
    sealed = engine.sm4_gcm_seal_many(key.kek * count, nonces, prefix_each(headers, contexts), secrets)
    return prefix_each(np.hstack([headers, np.frombuffer(nonces, dtype=np.uint8).reshape(count, -1)]), sealed)


def key_numbers(wrapped: Packed) -> list[int]:
    """The number of the key under which each of n values of one length is.

    Raises:
        EncodingInvalid: unknown version, number 0, or truncated; `index` in the details says which value.
    """
    if len(wrapped) == 0:
        return []
    rows = _rows(wrapped)
    numbers = rows[:, 1:_HEADER_SIZE].copy().view(">u4").reshape(-1)
    wrong = (rows[:, 0] != NUMBERED_VERSION) | (numbers == 0)
    if wrong.any():
        index = int(wrong.argmax())
        raise EncodingInvalid("the wrapped secret is of an unknown version, or names no key", index=index)
    found: list[int] = numbers.tolist()
    return found


def unwrap_numbered(engine: Engine, keks: bytes, contexts: Packed, wrapped: Packed) -> Packed:
    """Open n values of one length, each under its own key-encryption key (n × 16 bytes): the ones of `key_numbers`.

    Raises:
        EncodingInvalid: as `key_numbers`; or the keys or contexts are not n.
        DecryptionFailed: another key, another context, or altered; `index` in the details says the first.
    """
    count = len(wrapped)
    _check_contexts(contexts, count)
    if len(keks) != KEK_SIZE * count:
        raise EncodingInvalid(f"{count} wrapped secrets need as many keys of {KEK_SIZE} bytes")
    if count == 0:
        return wrapped
    key_numbers(wrapped)
    rows = _rows(wrapped)
    sealed = Packed.fixed(rows[:, _BODY:].tobytes(), rows.shape[1] - _BODY)
    headers = np.ascontiguousarray(rows[:, :_HEADER_SIZE])
    nonces = rows[:, _HEADER_SIZE:_BODY].tobytes()
    try:
        return engine.sm4_gcm_open_many(keks, nonces, prefix_each(headers, contexts), sealed)
    except DecryptionFailed as cause:
        raise DecryptionFailed(
            "the wrapped secret does not open under this key and context", **cause.details
        ) from cause


def _rows(wrapped: Packed) -> _Bytes:
    """The values as the rows of an array."""
    width = _width(wrapped)
    if width <= OVERHEAD:
        raise EncodingInvalid(f"a wrapped secret of {width} bytes is truncated", index=0)
    return np.frombuffer(wrapped.data, dtype=np.uint8).reshape(-1, width)


def _width(items: Packed) -> int:
    """The length that all items have."""
    lengths = np.diff(items.offsets.astype(np.int64))
    differing = lengths != lengths[0]
    if differing.any():
        raise EncodingInvalid("the secrets of a batch are not of one length", index=int(differing.argmax()))
    return int(lengths[0])


def _check_contexts(contexts: Packed, count: int) -> None:
    if len(contexts) != count:
        raise EncodingInvalid(f"{count} secrets need as many contexts, not {len(contexts)}")
