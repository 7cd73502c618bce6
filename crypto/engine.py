"""The one interface behind which cryptography is computed, and how an engine is chosen.

An engine that fails its known-answer self-tests is never used. Calls take whole batches in packed buffers, are safe from
several threads, and give the same bytes whichever engine answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from crypto.errors import EngineUnavailable
from crypto.packed import Packed
from crypto.sm2 import DEFAULT_USER_ID, SM2PrivateKey, SM2PublicKey

ENGINE_NAMES = ("multibuffer", "openssl", "gmssl")  # fastest first


class Engine(Protocol):
    """Batch operations of SM2, SM3 and SM4. Keys of SM4 are 16 bytes, nonces of GCM 12, tags 16."""

    @property
    def name(self) -> str:
        """One of ENGINE_NAMES."""

    @property
    def caution(self) -> str:
        """What an operator must weigh before keys of value are used by this engine on this machine; empty for nothing."""

    def sm3_many(self, messages: Packed) -> bytes:
        """Digests of n messages, n × 32 bytes end to end."""

    def sm4_gcm_seal_many(self, keys: bytes, nonces: bytes, aads: Packed, plaintexts: Packed) -> Packed:
        """Encrypt n messages, each under its own key and nonce (n × 16 and n × 12 bytes); each becomes ciphertext ‖ tag."""

    def sm4_gcm_open_many(self, keys: bytes, nonces: bytes, aads: Packed, ciphertexts: Packed) -> Packed:
        """Decrypt n messages. Raises DecryptionFailed with `index` of the first that is not authentic."""

    def sm4_encrypt_blocks(self, key: bytes, blocks: bytes) -> bytes:
        """SM4 of each 16-byte block by itself: a pseudo-random function, not a mode of encryption.

        Raises EncodingInvalid for a key of another size or a part of a block.
        """

    def sm4_ctr(self, key: bytes, counter: bytes, data: bytes) -> bytes:
        """SM4 in counter mode from the given 16-byte counter block. Authenticates nothing.

        Raises EncodingInvalid for a key or a counter block of another size.
        """

    def sm2_sign_many(
        self, key: SM2PrivateKey, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID
    ) -> list[bytes]:
        """Signatures with SM3 (GB/T 32918.2), DER. Raises EncodingInvalid for a user id of more than 8,190 bytes."""

    def sm2_verify_many(
        self,
        keys: Sequence[SM2PublicKey],
        messages: Sequence[bytes],
        signatures: Sequence[bytes],
        user_id: bytes = DEFAULT_USER_ID,
    ) -> None:
        """Verify n signatures. Raises SignatureInvalid with `index` of the first that does not hold."""

    def sm2_encrypt(self, key: SM2PublicKey, plaintext: bytes) -> bytes:
        """Public-key encryption (GB/T 32918.4), DER C1C3C2. The plaintext must not be empty."""

    def sm2_decrypt(self, key: SM2PrivateKey, ciphertext: bytes) -> bytes:
        """Decrypt strict DER. Raises DecryptionFailed, the same whatever was wrong."""


@dataclass(frozen=True)
class EngineReport:
    """What became of one engine: usable, and with what caution, or why not."""

    name: str
    engine: Engine | None
    why: str

    @property
    def usable(self) -> bool:
        """Whether it loaded and passed its self-tests."""
        return self.engine is not None


def survey_engines(random: Callable[[int], bytes] = os.urandom) -> list[EngineReport]:
    """Try every engine, fastest first."""
    return [_report(name, random) for name in ENGINE_NAMES]


def load_engine(preference: str | None = None, random: Callable[[int], bytes] = os.urandom) -> Engine:
    """The engine asked for, or the fastest that passes its self-tests. Raises EngineUnavailable."""
    if preference is not None and preference not in ENGINE_NAMES:
        raise EngineUnavailable(f"there is no engine {preference!r}; there are {', '.join(ENGINE_NAMES)}")
    reasons: list[str] = []
    for name in ENGINE_NAMES if preference is None else (preference,):
        report = _report(name, random)
        if report.engine is not None:
            return report.engine
        reasons.append(f"{name}: {report.why}")
    raise EngineUnavailable("; ".join(reasons))


def _report(name: str, random: Callable[[int], bytes]) -> EngineReport:
    # An engine is imported only when it is tried: a missing library must not keep the others from loading.
    from crypto.engines import open_engine  # noqa: PLC0415
    from crypto.self_test import self_test  # noqa: PLC0415

    try:
        engine = open_engine(name, random)
        self_test(engine)
    except EngineUnavailable as why:
        return EngineReport(name, None, str(why))
    return EngineReport(name, engine, "; ".join(filter(None, ["passed its self-tests", engine.caution])))
