"""The engine for every machine with OpenSSL 3: SM2 by libcrypto, SM3 by hashlib, SM4 by pyca/cryptography.

The system's OpenSSL 3.0 has no SM4-GCM, pyca's bundled one has; pyca's has no SM2, the system's has. The user id is
always set explicitly: OpenSSL before 4.0 takes the empty one if none is set.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import threading
from collections.abc import Sequence
from ctypes import byref, c_char_p, c_size_t
from weakref import WeakKeyDictionary

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from crypto.der import decode_ciphertext, decode_signature
from crypto.engines.libcrypto import Handle, Library, buffer, timing_caution
from crypto.errors import DecryptionFailed, EncodingInvalid, EngineUnavailable, SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import DEFAULT_USER_ID, N, SM2PrivateKey, SM2PublicKey, is_on_curve

KEY_SIZE = 16  # bytes of an SM4 key
BLOCK_SIZE = 16  # bytes
NONCE_SIZE = 12  # bytes
TAG_SIZE = 16  # bytes
MAX_SIGNATURE = 72  # bytes of DER
MAX_USER_ID = 8_190  # bytes; its length in bits has 16 bits (GB/T 32918.2-2016, clause 5.5), and OpenSSL takes one less


class OpenSSLEngine:
    """See `crypto.engine.Engine`."""

    name = "openssl"

    def __init__(self) -> None:
        self._library = Library()
        self.caution = timing_caution(self._library.version, platform.machine())
        self._public: WeakKeyDictionary[SM2PublicKey, Handle] = WeakKeyDictionary()
        self._private: WeakKeyDictionary[SM2PrivateKey, Handle] = WeakKeyDictionary()
        self._guard = threading.Lock()
        try:
            self._sm3 = hashlib.new("sm3")
            Cipher(algorithms.SM4(bytes(KEY_SIZE)), modes.GCM(bytes(NONCE_SIZE))).encryptor()
        except (ValueError, UnsupportedAlgorithm) as cause:
            raise EngineUnavailable("SM3 or SM4-GCM is missing in this OpenSSL or cryptography build") from cause

    def sm3_many(self, messages: Packed) -> bytes:
        """See Engine. Copying a fresh state is quicker than looking the algorithm up by its name each time."""
        fresh = self._sm3.copy
        digests: list[bytes] = []
        append = digests.append
        for message in messages:
            state = fresh()
            state.update(message)
            append(state.digest())
        return b"".join(digests)

    def sm4_gcm_seal_many(self, keys: bytes, nonces: bytes, aads: Packed, plaintexts: Packed) -> Packed:
        """See Engine."""
        check_batch(keys, nonces, aads, plaintexts)
        sealed = []
        for index, (aad, plaintext) in enumerate(zip(aads, plaintexts, strict=True)):
            mode = modes.GCM(nonces[index * NONCE_SIZE : (index + 1) * NONCE_SIZE])
            encryptor = Cipher(algorithms.SM4(keys[index * KEY_SIZE : (index + 1) * KEY_SIZE]), mode).encryptor()
            encryptor.authenticate_additional_data(aad)
            sealed += [encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag]
        return Packed.of(sealed)

    def sm4_gcm_open_many(self, keys: bytes, nonces: bytes, aads: Packed, ciphertexts: Packed) -> Packed:
        """See Engine."""
        check_batch(keys, nonces, aads, ciphertexts)
        opened = []
        for index, (aad, ciphertext) in enumerate(zip(aads, ciphertexts, strict=True)):
            if len(ciphertext) < TAG_SIZE:
                raise DecryptionFailed("a ciphertext is not authentic under its key", index=index)
            mode = modes.GCM(nonces[index * NONCE_SIZE : (index + 1) * NONCE_SIZE], ciphertext[-TAG_SIZE:])
            decryptor = Cipher(algorithms.SM4(keys[index * KEY_SIZE : (index + 1) * KEY_SIZE]), mode).decryptor()
            decryptor.authenticate_additional_data(aad)
            try:
                opened.append(decryptor.update(ciphertext[:-TAG_SIZE]) + decryptor.finalize())
            except InvalidTag as cause:
                raise DecryptionFailed("a ciphertext is not authentic under its key", index=index) from cause
        return Packed.of(opened)

    def sm4_encrypt_blocks(self, key: bytes, blocks: bytes) -> bytes:
        """See Engine."""
        check_blocks(key, blocks)
        encryptor = Cipher(algorithms.SM4(key), modes.ECB()).encryptor()  # noqa: S305 - a PRF on distinct blocks
        return encryptor.update(blocks) + encryptor.finalize()

    def sm4_ctr(self, key: bytes, counter: bytes, data: bytes) -> bytes:
        """See Engine."""
        check_counter(key, counter)
        encryptor = Cipher(algorithms.SM4(key), modes.CTR(counter)).encryptor()
        return encryptor.update(data) + encryptor.finalize()

    def sm2_sign_many(
        self, key: SM2PrivateKey, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID
    ) -> list[bytes]:
        """See Engine."""
        check_user_id(user_id)
        library, handle = self._library, self._private_handle(key)
        signatures = []
        for message in messages:
            with self._context(handle) as context, self._digest(context, user_id) as digest:
                size = c_size_t(MAX_SIGNATURE)
                out = buffer(MAX_SIGNATURE)
                if (
                    library.EVP_DigestSignInit(digest, None, library.EVP_sm3(), None, handle.value) != 1
                    or library.EVP_DigestSign(digest, out, byref(size), message, len(message)) != 1
                ):
                    library.ERR_clear_error()
                    raise EngineUnavailable("libcrypto could not sign with SM2")
                signatures.append(bytes(out[: size.value]))
        return signatures

    def sm2_verify_many(
        self,
        keys: Sequence[SM2PublicKey],
        messages: Sequence[bytes],
        signatures: Sequence[bytes],
        user_id: bytes = DEFAULT_USER_ID,
    ) -> None:
        """See Engine."""
        check_user_id(user_id)
        library = self._library
        for index, (key, message, signature) in enumerate(zip(keys, messages, signatures, strict=True)):
            check_signature_form(signature, index)
            handle = self._public_handle(key)
            with self._context(handle) as context, self._digest(context, user_id) as digest:
                if (
                    library.EVP_DigestVerifyInit(digest, None, library.EVP_sm3(), None, handle.value) != 1
                    or library.EVP_DigestVerify(digest, signature, len(signature), message, len(message)) != 1
                ):
                    library.ERR_clear_error()
                    raise SignatureInvalid("the SM2 signature does not verify", index=index)

    def sm2_encrypt(self, key: SM2PublicKey, plaintext: bytes) -> bytes:
        """See Engine."""
        if not plaintext:
            raise EncodingInvalid("SM2 does not encrypt an empty plaintext")
        library = self._library
        with self._context(self._public_handle(key)) as context:
            size = c_size_t()
            if (
                library.EVP_PKEY_encrypt_init(context) != 1
                or library.EVP_PKEY_encrypt(context, None, byref(size), plaintext, len(plaintext)) != 1
            ):
                library.ERR_clear_error()
                raise EngineUnavailable("libcrypto could not encrypt with SM2")
            out = buffer(size.value)
            if library.EVP_PKEY_encrypt(context, out, byref(size), plaintext, len(plaintext)) != 1:
                library.ERR_clear_error()
                raise EngineUnavailable("libcrypto could not encrypt with SM2")
            return bytes(out[: size.value])

    def sm2_decrypt(self, key: SM2PrivateKey, ciphertext: bytes) -> bytes:
        """See Engine. OpenSSL accepts other spellings and points x + p; only the one spelling on the curve passes here."""
        check_ciphertext_form(ciphertext)
        library = self._library
        with self._context(self._private_handle(key)) as context:
            size = c_size_t(len(ciphertext))
            out = buffer(len(ciphertext))
            if (
                library.EVP_PKEY_decrypt_init(context) != 1
                or library.EVP_PKEY_decrypt(context, out, byref(size), ciphertext, len(ciphertext)) != 1
            ):
                library.ERR_clear_error()
                raise DecryptionFailed("the SM2 ciphertext does not decrypt")
            plaintext = bytes(out[: size.value])
            ctypes.memset(out, 0, len(out))
            return plaintext

    def _context(self, key: Handle) -> Handle:
        return Handle(self._library.EVP_PKEY_CTX_new_from_pkey(None, key.value, None), self._library.EVP_PKEY_CTX_free)

    def _digest(self, context: int, user_id: bytes) -> Handle:
        """A digest context for SM2 with this user id. It borrows `context`, which must outlive it."""
        library = self._library
        if library.EVP_PKEY_CTX_set1_id(context, user_id, len(user_id)) != 1:
            raise EngineUnavailable("libcrypto does not take an SM2 user id")
        digest = Handle(library.EVP_MD_CTX_new(), library.EVP_MD_CTX_free)
        library.EVP_MD_CTX_set_pkey_ctx(digest.value, context)
        return digest

    def _public_handle(self, key: SM2PublicKey) -> Handle:
        with self._guard:
            handle = self._public.get(key)
            if handle is None:
                handle = self._public[key] = self._parse(self._library.d2i_PUBKEY, key.to_der())
            return handle

    def _private_handle(self, key: SM2PrivateKey) -> Handle:
        with self._guard:
            handle = self._private.get(key)
            if handle is None:
                handle = self._private[key] = self._parse(self._library.d2i_AutoPrivateKey, key.to_der())
            return handle

    def _parse(self, parse: ctypes._NamedFuncPointer, der: bytes) -> Handle:
        start = c_char_p(der)
        handle = Handle(parse(None, byref(start), len(der)), self._library.EVP_PKEY_free)
        if self._library.EVP_PKEY_is_a(handle.value, b"SM2") != 1:
            raise EngineUnavailable("libcrypto does not know the SM2 curve (some distributions leave it out)")
        return handle


def check_batch(keys: bytes, nonces: bytes, aads: Packed, texts: Packed) -> None:
    """Refuse a batch whose parts are of different lengths."""
    count = len(texts)
    if len(keys) != count * KEY_SIZE or len(nonces) != count * NONCE_SIZE or len(aads) != count:
        raise EncodingInvalid("keys, nonces, additional data and texts of a batch must be equally many")


def check_blocks(key: bytes, blocks: bytes) -> None:
    """Refuse a key of another size, and a part of a block."""
    if len(key) != KEY_SIZE or len(blocks) % BLOCK_SIZE:
        raise EncodingInvalid("SM4 takes keys of 16 bytes and whole blocks")


def check_counter(key: bytes, counter: bytes) -> None:
    """Refuse a key or a counter block of another size."""
    if len(key) != KEY_SIZE or len(counter) != BLOCK_SIZE:
        raise EncodingInvalid("SM4 in counter mode takes a key and a counter block of 16 bytes")


def check_user_id(user_id: bytes) -> None:
    """Refuse a user id whose length not every engine can say; the multi-buffer library would let it wrap."""
    if len(user_id) > MAX_USER_ID:
        raise EncodingInvalid(f"a user id has at most {MAX_USER_ID} bytes, not {len(user_id)}")


def check_signature_form(signature: bytes, index: int) -> None:
    """Refuse anything but strict DER of r and s in [1, n - 1] with r + s ≠ 0 mod n (GM/T 0009, GB/T 32918.2 clause 7.1)."""
    try:
        r, s = decode_signature(signature)
    except EncodingInvalid as cause:
        raise SignatureInvalid("the SM2 signature is not in its one spelling", index=index) from cause
    if not (1 <= r < N and 1 <= s < N) or (r + s) % N == 0:
        raise SignatureInvalid("the SM2 signature is out of range", index=index)


def check_ciphertext_form(ciphertext: bytes) -> None:
    """Refuse anything but strict DER with C1 on the curve; one uniform error."""
    try:
        parts = decode_ciphertext(ciphertext)
    except EncodingInvalid as cause:
        raise DecryptionFailed("the SM2 ciphertext does not decrypt") from cause
    if not is_on_curve(parts.x, parts.y):
        raise DecryptionFailed("the SM2 ciphertext does not decrypt")
