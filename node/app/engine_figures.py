"""What an engine does in a second on this machine, measured for about a second."""

from __future__ import annotations

import os
from collections.abc import Callable

from crypto.engine import Engine
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey

Timer = Callable[[], float]
_SECONDS_EACH = 0.2
_RECORD_BYTES = 1_024


def figures(engine: Engine, timer: Timer) -> dict[str, int]:
    """Signatures and verifications a second, SM3 of 65-byte messages a second, SM4-GCM megabytes a second."""
    key = SM2PrivateKey.generate(os.urandom)
    messages = [b"kiteline"] * 8
    signatures = engine.sm2_sign_many(key, messages)
    nodes = Packed.fixed(os.urandom(65 * 256), 65)
    records = Packed.fixed(os.urandom(_RECORD_BYTES * 16), _RECORD_BYTES)
    keys, nonces, nothing = os.urandom(16 * 16), os.urandom(12 * 16), Packed.of([b""] * 16)
    sealed = _rate(lambda: engine.sm4_gcm_seal_many(keys, nonces, nothing, records), timer)
    return {
        "signs_per_second": round(8 * _rate(lambda: engine.sm2_sign_many(key, messages), timer)),
        "verifies_per_second": round(
            8 * _rate(lambda: engine.sm2_verify_many([key.public_key] * 8, messages, signatures), timer)
        ),
        "node_hashes_per_second": round(256 * _rate(lambda: engine.sm3_many(nodes), timer)),
        "seals_mebibytes_per_second": round(sealed * 16 * _RECORD_BYTES / (1 << 20)),
    }


def _rate(work: Callable[[], object], timer: Timer) -> float:
    """Calls a second."""
    calls, begun = 0, timer()
    while True:
        work()
        calls += 1
        elapsed = timer() - begun
        if elapsed >= _SECONDS_EACH:
            return calls / elapsed
