"""SM3 (GB/T 32905-2016), and HMAC and key derivation with it, over the system's OpenSSL through hashlib."""

from __future__ import annotations

import hashlib
import hmac

DIGEST_SIZE = 32  # bytes
BLOCK_SIZE = 64  # bytes


def sm3(data: bytes) -> bytes:
    """SM3 digest, 32 bytes."""
    return hashlib.new("sm3", data).digest()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """HMAC with SM3 (GB/T 15852.2, RFC 2104), 32 bytes."""
    return hmac.new(key, data, "sm3").digest()


def kdf_sm3(shared: bytes, length: int) -> bytes:
    """The key derivation function of GB/T 32918.4-2016, clause 5.4.3: SM3(shared ‖ counter), counter from 1, 32 bits."""
    if not 0 <= length < DIGEST_SIZE * (2**32 - 1):
        raise ValueError("the length is outside what a 32-bit counter can give")
    blocks = -(-length // DIGEST_SIZE)
    return b"".join(sm3(shared + counter.to_bytes(4, "big")) for counter in range(1, blocks + 1))[:length]


def hkdf_sm3(key: bytes, length: int, salt: bytes = b"", info: bytes = b"") -> bytes:
    """HKDF (RFC 5869) with SM3."""
    if not 0 <= length <= 255 * DIGEST_SIZE:
        raise ValueError("HKDF gives at most 255 digests")
    pseudorandom = hmac_sm3(salt or bytes(DIGEST_SIZE), key)
    out, block = b"", b""
    for counter in range(1, -(-length // DIGEST_SIZE) + 1):
        block = hmac_sm3(pseudorandom, block + info + bytes([counter]))
        out += block
    return out[:length]
