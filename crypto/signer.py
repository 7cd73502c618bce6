"""Who signs: a key that is held in memory, or one that lies in a token and never leaves it.

A certificate authority, a note's author and a request for a certificate know a signer only by this protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crypto.engine import Engine
from crypto.sm2 import DEFAULT_USER_ID, SM2PrivateKey, SM2PublicKey


class Signer(Protocol):
    """Signs under one SM2 key."""

    @property
    def public_key(self) -> SM2PublicKey:
        """The key that verifies what this signs."""

    def sign_many(self, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID) -> list[bytes]:
        """Signatures with SM3 (GB/T 32918.2), DER, in the messages' order."""


class HeldKey:
    """A signer whose private key is in this process's memory. Its repr shows the public key's digest only."""

    def __init__(self, engine: Engine, key: SM2PrivateKey) -> None:
        self._engine = engine
        self._key = key

    @property
    def public_key(self) -> SM2PublicKey:
        """The key that verifies what this signs."""
        return self._key.public_key

    def sign_many(self, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID) -> list[bytes]:
        """Signatures with SM3 (GB/T 32918.2), DER, in the messages' order."""
        return self._engine.sm2_sign_many(self._key, messages, user_id)

    def __repr__(self) -> str:
        return f"HeldKey({self.public_key!r})"
