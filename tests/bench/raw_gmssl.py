"""What a program does that has the package `gmssl` and no engine. Its keys are numbers in hexadecimal."""

from __future__ import annotations

from collections.abc import Sequence

from gmssl import sm2, sm3, sm4

from crypto.sm2 import SM2PrivateKey


def sm3_many(messages: Sequence[bytes]) -> bytes:
    """Digests, end to end."""
    return b"".join(bytes.fromhex(sm3.sm3_hash(list(message))) for message in messages)


def sm4_cbc(key: bytes, plaintext: bytes) -> bytes:
    """The nearest to SM4-GCM that it has: encryption alone, with nothing that authenticates."""
    cipher = sm4.CryptSM4()
    cipher.set_key(key, sm4.SM4_ENCRYPT)
    return bytes(cipher.crypt_cbc(bytes(16), plaintext))


class RawSM2:
    """SM2 under one key pair, with the default user id. The point must not begin with 04, which it would cut off."""

    def __init__(self, key: SM2PrivateKey) -> None:
        point = key.public_key.to_bytes()[1:].hex()
        self._sm2 = sm2.CryptSM2(private_key=key.secret_bytes().hex(), public_key=point, mode=1)

    def sign_many(self, messages: Sequence[bytes]) -> list[str]:
        """Signatures, r ‖ s in hexadecimal."""
        return [self._sm2.sign_with_sm3(message) for message in messages]

    def verify_many(self, messages: Sequence[bytes], signatures: Sequence[str]) -> None:
        """Verify signatures. Raises ValueError where one does not hold."""
        if not all(map(self._sm2.verify_with_sm3, signatures, messages)):
            raise ValueError("a signature does not hold")

    def encrypt(self, plaintext: bytes) -> bytes:
        """C1 ‖ C3 ‖ C2."""
        return bytes(self._sm2.encrypt(plaintext))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """The reverse."""
        return bytes(self._sm2.decrypt(ciphertext))
