"""Wrapping secrets, format 1: for another member by SM2, and at rest under a key-encryption key.

    for a recipient = 0x01 ‖ u16 length ‖ SM2 ciphertext (DER, GM/T 0009) of a fresh 16-byte key ‖ nonce, 12
                      ‖ SM4-GCM(secrets) ‖ tag, 16, AAD = context
    at rest         = 0x01 ‖ nonce, 12 ‖ SM4-GCM(secret) ‖ tag, 16, AAD = context

The context says what the secrets are for (grant, sequence, dataset), and never travels with the blob: the reader states
it himself, so that a key release cannot be replayed in another place. Every failure to open is one DecryptionFailed,
which does not say whether the SM2 part, the tag or the context was wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from crypto.signer import Decrypter
from crypto.sm2 import SM2PublicKey

WRAP_VERSION = 1
KEK_SIZE = 16  # bytes: a key-encryption key of SM4
MAX_SECRETS = 1024 * 1024  # bytes in one blob: 32,768 segments

_NONCE_SIZE = 12  # bytes
_TAG_SIZE = 16  # bytes
_VERSION_BYTE = bytes([WRAP_VERSION])
_LENGTH_SIZE = 2  # bytes
_CLOSED = "the wrapped secret does not open under this key and context"

RandomBytes = Callable[[int], bytes]


def wrap_secrets(engine: Engine, random: RandomBytes, recipient: SM2PublicKey, context: bytes, secrets: bytes) -> bytes:
    """Wrap `secrets` (in practice n × 32 bytes, at most 1 MiB) to the recipient's key with one SM2 operation."""
    kek = random(KEK_SIZE)
    cipher = engine.sm2_encrypt(recipient, kek)
    return (
        _VERSION_BYTE
        + len(cipher).to_bytes(_LENGTH_SIZE, "big")
        + cipher
        + _seal(engine, random, kek, context, secrets)
    )


def unwrap_secrets(engine: Engine, key: Decrypter, context: bytes, blob: bytes) -> bytes:
    """Open what `wrap_secrets` wrote for this key in the same `context`.

    Raises:
        EncodingInvalid: unknown version, or truncated.
        DecryptionFailed: not for this key, not in this context, or altered.
    """
    _check_version(blob)
    body = 1 + _LENGTH_SIZE
    stop = body + int.from_bytes(blob[1:body], "big")
    if len(blob) < body or stop == body or len(blob) - stop <= _NONCE_SIZE + _TAG_SIZE:
        raise EncodingInvalid(f"a wrapped secret of {len(blob)} bytes is truncated")
    try:
        kek = key.decrypt(blob[body:stop])
    except DecryptionFailed as cause:
        raise DecryptionFailed(_CLOSED) from cause
    if len(kek) != KEK_SIZE:
        raise DecryptionFailed(_CLOSED)
    return _open(engine, kek, context, blob[stop:])


def wrap_at_rest(engine: Engine, random: RandomBytes, kek: bytes, context: bytes, secret: bytes) -> bytes:
    """Wrap a secret for the node's own disk under `kek` (16 bytes)."""
    return _VERSION_BYTE + _seal(engine, random, _checked_kek(kek), context, secret)


def unwrap_at_rest(engine: Engine, kek: bytes, context: bytes, blob: bytes) -> bytes:
    """Open what `wrap_at_rest` wrote under the same `kek` and `context`.

    Raises:
        EncodingInvalid: unknown version, or truncated.
        DecryptionFailed: another key, another context, or altered.
    """
    _check_version(blob)
    if len(blob) <= 1 + _NONCE_SIZE + _TAG_SIZE:
        raise EncodingInvalid(f"a wrapped secret of {len(blob)} bytes is truncated")
    return _open(engine, _checked_kek(kek), context, blob[1:])


def _seal(engine: Engine, random: RandomBytes, kek: bytes, context: bytes, secrets: bytes) -> bytes:
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise EncodingInvalid(f"1 to {MAX_SECRETS} bytes can be wrapped, not {len(secrets)}")
    nonce = random(_NONCE_SIZE)
    return nonce + engine.sm4_gcm_seal_many(kek, nonce, Packed.of([context]), Packed.of([secrets])).data


def _open(engine: Engine, kek: bytes, context: bytes, sealed: bytes) -> bytes:
    nonce, ciphertext = sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:]
    try:
        return engine.sm4_gcm_open_many(kek, nonce, Packed.of([context]), Packed.of([ciphertext])).data
    except DecryptionFailed as cause:
        raise DecryptionFailed(_CLOSED) from cause


def _check_version(blob: bytes) -> None:
    if blob[:1] != _VERSION_BYTE:
        raise EncodingInvalid("the wrapped secret is empty or of an unknown version")


def _checked_kek(kek: bytes) -> bytes:
    if len(kek) != KEK_SIZE:
        raise EncodingInvalid(f"a key-encryption key has {KEK_SIZE} bytes, not {len(kek)}")
    return kek
