"""Who holds a private key: the interface behind which it may lie in this process, in another one, or in a module.

Whoever signs or decrypts is given one of these and never the key. `HeldKey` keeps it in this process; `node.keys.agent_client` asks a process that
holds it (docs/decisions/0019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from crypto.sm2 import DEFAULT_USER_ID

if TYPE_CHECKING:
    from crypto.engine import Engine
    from crypto.sm2 import SM2PrivateKey, SM2PublicKey


class Signer(Protocol):
    """Signs with one SM2 key. Safe for use by several threads."""

    @property
    def public_key(self) -> SM2PublicKey:
        """The key that its signatures verify under."""

    def sign_many(self, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID) -> list[bytes]:
        """Signatures with SM3 (GB/T 32918.2), DER, in the order of the messages. Raises EncodingInvalid for a user id that is too long."""


class Decrypter(Protocol):
    """Decrypts with one SM2 key. Safe for use by several threads."""

    @property
    def public_key(self) -> SM2PublicKey:
        """The key that others encrypt to."""

    def decrypt(self, ciphertext: bytes) -> bytes:
        """The plaintext of strict DER (GM/T 0009). Raises DecryptionFailed, the same whatever was wrong."""


class HeldKey:
    """A key in this process's memory, used by an engine; Signer and Decrypter. Its repr shows the public key's digest only."""

    __slots__ = ("_engine", "_key")

    def __init__(self, engine: Engine, key: SM2PrivateKey) -> None:
        self._engine = engine
        self._key = key

    @property
    def public_key(self) -> SM2PublicKey:
        """See Signer."""
        return self._key.public_key

    def sign_many(self, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID) -> list[bytes]:
        """See Signer."""
        return self._engine.sm2_sign_many(self._key, messages, user_id)

    def decrypt(self, ciphertext: bytes) -> bytes:
        """See Decrypter."""
        return self._engine.sm2_decrypt(self._key, ciphertext)

    def __repr__(self) -> str:
        return f"HeldKey(of {self.public_key!r})"
