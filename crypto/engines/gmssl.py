"""The engine of last resort, in pure Python over the `gmssl` package; and the independent oracle of the tests.

`gmssl` leaves out what matters most: it does not compare C3, does not check that points are on the curve, draws its ephemeral numbers from a
predictable generator and accepts loose encodings. So only its arithmetic is used here; every check and every draw is ours.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from hmac import compare_digest

try:
    from gmssl import sm4
    from gmssl.sm3 import sm3_hash
except ImportError:  # pragma: no cover - the package is a dependency; a stripped installation may lack it
    sm4 = None

from crypto.der import Ciphertext, decode_ciphertext, decode_signature, encode_signature
from crypto.engines.openssl import (
    BLOCK_SIZE,
    KEY_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    check_batch,
    check_blocks,
    check_ciphertext_form,
    check_counter,
    check_signature_form,
    check_user_id,
)
from crypto.errors import DecryptionFailed, EncodingInvalid, EngineUnavailable, SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import DEFAULT_USER_ID, GX, GY, SCALAR_SIZE, A, B, N, SM2PrivateKey, SM2PublicKey, add, multiply

_POLYNOMIAL = 0xE1 << 120  # of GF(2^128) in GCM's bit order (SP 800-38D, section 6.3)
_DOMAIN = b"".join(value.to_bytes(32, "big") for value in (A, B, GX, GY))


class GMSSLEngine:
    """See `crypto.engine.Engine`. Slow: tens of signatures and some hundred kilobytes a second."""

    name = "gmssl"
    caution = "everything in it takes time that depends on its secrets: for tests and emergencies"

    def __init__(self, random: Callable[[int], bytes]) -> None:
        if sm4 is None:
            raise EngineUnavailable("the package gmssl is not installed")
        self._random = random
        # gmssl keeps the key schedule in the object that encrypts.
        self._guard = threading.Lock()

    def sm3_many(self, messages: Packed) -> bytes:
        """See Engine."""
        return b"".join(map(_sm3, messages))

    def sm4_gcm_seal_many(self, keys: bytes, nonces: bytes, aads: Packed, plaintexts: Packed) -> Packed:
        """See Engine."""
        check_batch(keys, nonces, aads, plaintexts)
        sealed = []
        for index, (aad, plaintext) in enumerate(zip(aads, plaintexts, strict=True)):
            key = keys[index * KEY_SIZE : (index + 1) * KEY_SIZE]
            nonce = nonces[index * NONCE_SIZE : (index + 1) * NONCE_SIZE]
            body = self.sm4_ctr(key, nonce + (2).to_bytes(4, "big"), plaintext)
            sealed.append(body + self._tag(key, nonce, aad, body))
        return Packed.of(sealed)

    def sm4_gcm_open_many(self, keys: bytes, nonces: bytes, aads: Packed, ciphertexts: Packed) -> Packed:
        """See Engine."""
        check_batch(keys, nonces, aads, ciphertexts)
        opened = []
        for index, (aad, ciphertext) in enumerate(zip(aads, ciphertexts, strict=True)):
            key = keys[index * KEY_SIZE : (index + 1) * KEY_SIZE]
            nonce = nonces[index * NONCE_SIZE : (index + 1) * NONCE_SIZE]
            body, tag = ciphertext[:-TAG_SIZE], ciphertext[-TAG_SIZE:]
            if len(ciphertext) < TAG_SIZE or not compare_digest(self._tag(key, nonce, aad, body), tag):
                raise DecryptionFailed("a ciphertext is not authentic under its key", index=index)
            opened.append(self.sm4_ctr(key, nonce + (2).to_bytes(4, "big"), body))
        return Packed.of(opened)

    def sm4_encrypt_blocks(self, key: bytes, blocks: bytes) -> bytes:
        """See Engine."""
        check_blocks(key, blocks)
        with self._guard:
            cipher = sm4.CryptSM4()
            cipher.set_key(key, sm4.SM4_ENCRYPT)
            return b"".join(
                bytes(cipher.one_round(cipher.sk, list(blocks[at : at + BLOCK_SIZE])))
                for at in range(0, len(blocks), BLOCK_SIZE)
            )

    def sm4_ctr(self, key: bytes, counter: bytes, data: bytes) -> bytes:
        """See Engine. The whole block counts up, as in OpenSSL; GCM never lets its last 32 bits wrap."""
        check_counter(key, counter)
        first, count = int.from_bytes(counter, "big"), -(-len(data) // BLOCK_SIZE)
        blocks = b"".join(((first + step) % (1 << 128)).to_bytes(BLOCK_SIZE, "big") for step in range(count))
        stream = self.sm4_encrypt_blocks(key, blocks)[: len(data)]
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(data), "big")

    def sm2_sign_many(
        self, key: SM2PrivateKey, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID
    ) -> list[bytes]:
        """See Engine (GB/T 32918.2-2016, clause 6.1)."""
        check_user_id(user_id)
        secret = int.from_bytes(key.secret_bytes(), "big")
        return [self._sign(secret, _digest(key.public_key, message, user_id)) for message in messages]

    def sm2_verify_many(
        self,
        keys: Sequence[SM2PublicKey],
        messages: Sequence[bytes],
        signatures: Sequence[bytes],
        user_id: bytes = DEFAULT_USER_ID,
    ) -> None:
        """See Engine (GB/T 32918.2-2016, clause 7.1)."""
        check_user_id(user_id)
        for index, (key, message, signature) in enumerate(zip(keys, messages, signatures, strict=True)):
            check_signature_form(signature, index)
            r, s = decode_signature(signature)
            point = add(multiply(s, (GX, GY)), multiply((r + s) % N, _point(key)))
            if point is None or (_digest(key, message, user_id) + point[0]) % N != r:
                raise SignatureInvalid("the SM2 signature does not verify", index=index)

    def sm2_encrypt(self, key: SM2PublicKey, plaintext: bytes) -> bytes:
        """See Engine (GB/T 32918.4-2016, clause 6.1)."""
        if not plaintext:
            raise EncodingInvalid("SM2 does not encrypt an empty plaintext")
        while True:
            k = self._ephemeral()
            x1, y1 = multiply(k, (GX, GY))
            shared = _coordinates(*multiply(k, _point(key)))
            stream = _kdf(shared, len(plaintext))
            if any(stream):
                body = bytes(left ^ right for left, right in zip(plaintext, stream, strict=True))
                return Ciphertext(x1, y1, _sm3(shared[:32] + plaintext + shared[32:]), body).encode()

    def sm2_decrypt(self, key: SM2PrivateKey, ciphertext: bytes) -> bytes:
        """See Engine (GB/T 32918.4-2016, clause 7.1)."""
        check_ciphertext_form(ciphertext)
        parts = decode_ciphertext(ciphertext)
        shared = _coordinates(*multiply(int.from_bytes(key.secret_bytes(), "big"), (parts.x, parts.y)))
        stream = _kdf(shared, len(parts.body))
        plaintext = bytes(left ^ right for left, right in zip(parts.body, stream, strict=True))
        if not any(stream) or not compare_digest(_sm3(shared[:32] + plaintext + shared[32:]), parts.digest):
            raise DecryptionFailed("the SM2 ciphertext does not decrypt")
        return plaintext

    def _sign(self, secret: int, digest: int) -> bytes:
        while True:
            k = self._ephemeral()
            r = (digest + multiply(k, (GX, GY))[0]) % N
            s = pow(1 + secret, -1, N) * (k - r * secret) % N
            if r and s and (r + k) % N:
                return encode_signature(r, s)

    def _ephemeral(self) -> int:
        """Uniform in [1, n - 1] by rejection."""
        while True:
            k = int.from_bytes(self._random(SCALAR_SIZE), "big")
            if 1 <= k < N:
                return k

    def _tag(self, key: bytes, nonce: bytes, aad: bytes, body: bytes) -> bytes:
        """GHASH over both and their lengths, under the first counter block (SP 800-38D, section 7)."""
        subkey, mask = (
            int.from_bytes(self.sm4_encrypt_blocks(key, block), "big")
            for block in (bytes(BLOCK_SIZE), nonce + (1).to_bytes(4, "big"))
        )
        total = 0
        lengths = struct.pack(">QQ", 8 * len(aad), 8 * len(body))
        for part in (aad, body, lengths):
            for at in range(0, len(part), BLOCK_SIZE):
                total = _product(
                    total ^ int.from_bytes(part[at : at + BLOCK_SIZE].ljust(BLOCK_SIZE, b"\0"), "big"), subkey
                )
        return (total ^ mask).to_bytes(BLOCK_SIZE, "big")


def _product(left: int, right: int) -> int:
    """In GF(2^128), bits in GCM's order."""
    total = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            total ^= right
        right = right >> 1 ^ (_POLYNOMIAL if right & 1 else 0)
    return total


def _sm3(data: bytes) -> bytes:
    return bytes.fromhex(sm3_hash(list(data)))


def _kdf(shared: bytes, length: int) -> bytes:
    blocks = -(-length // 32)
    return b"".join(_sm3(shared + counter.to_bytes(4, "big")) for counter in range(1, blocks + 1))[:length]


def _digest(key: SM2PublicKey, message: bytes, user_id: bytes) -> int:
    """E = SM3(Z_A ‖ M) (GB/T 32918.2-2016, clause 5.5)."""
    identity = (8 * len(user_id)).to_bytes(2, "big") + user_id + _DOMAIN + key.to_bytes()[1:]
    return int.from_bytes(_sm3(_sm3(identity) + message), "big")


def _point(key: SM2PublicKey) -> tuple[int, int]:
    raw = key.to_bytes()
    return int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")


def _coordinates(x: int, y: int) -> bytes:
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")
