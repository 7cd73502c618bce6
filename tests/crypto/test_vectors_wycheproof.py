"""Wycheproof's vectors: SM4-GCM on every engine, and HMAC-SM3.

What does not apply: `sm4_ccm_test.json`, since no engine offers CCM. Of the 104 cases of SM4-GCM, 39 have a nonce that is
not of 12 bytes; an engine takes no such nonce, which is asserted for each of them, the two of no length at all included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from crypto.sm3 import hmac_sm3
from tests.crypto.vector_files import json_tests

NONCE_SIZE = 12


def gcm_cases(vectors: Path, *, nonce_fits: bool) -> list[dict[str, Any]]:
    cases = json_tests(vectors / "wycheproof" / "sm4_gcm_test.json")
    assert len(cases) == 104
    assert {(case["keySize"], case["tagSize"]) for case in cases} == {(128, 128)}
    return [case for case in cases if (len(case["iv"]) == 2 * NONCE_SIZE) is nonce_fits]


def batch(cases: list[dict[str, Any]]) -> tuple[bytes, bytes, Packed, Packed, Packed]:
    """Keys, nonces, additional data, plaintexts, ciphertexts with their tags."""
    keys, nonces = (b"".join(bytes.fromhex(case[name]) for case in cases) for name in ("key", "iv"))
    aads, plaintexts = (Packed.of(bytes.fromhex(case[name]) for case in cases) for name in ("aad", "msg"))
    return keys, nonces, aads, plaintexts, Packed.of(bytes.fromhex(case["ct"] + case["tag"]) for case in cases)


def test_valid_messages_of_sm4_gcm_seal_and_open_in_one_batch(vectors: Path, engine: Engine) -> None:
    valid = [case for case in gcm_cases(vectors, nonce_fits=True) if case["result"] == "valid"]
    assert len(valid) == 38
    keys, nonces, aads, plaintexts, sealed = batch(valid)
    assert list(engine.sm4_gcm_seal_many(keys, nonces, aads, plaintexts)) == list(sealed)
    assert list(engine.sm4_gcm_open_many(keys, nonces, aads, sealed)) == list(plaintexts)


def test_changed_messages_of_sm4_gcm_are_refused_alone_and_among_sound_ones(vectors: Path, engine: Engine) -> None:
    cases = gcm_cases(vectors, nonce_fits=True)
    valid, invalid = ([case for case in cases if case["result"] == result] for result in ("valid", "invalid"))
    assert len(invalid) == 27
    for case in invalid:
        keys, nonces, aads, _, sealed = batch([case])
        with pytest.raises(DecryptionFailed) as alone:
            engine.sm4_gcm_open_many(keys, nonces, aads, sealed)
        assert alone.value.details == {"index": "0"}
        # In a second group of lanes, which is not full.
        keys, nonces, aads, _, sealed = batch([*valid[:17], case, valid[17]])
        with pytest.raises(DecryptionFailed) as among:
            engine.sm4_gcm_open_many(keys, nonces, aads, sealed)
        assert among.value.details == {"index": "17"}


def test_nonces_of_another_size_are_refused(vectors: Path, engine: Engine) -> None:
    others = gcm_cases(vectors, nonce_fits=False)
    assert len(others) == 39
    for case in others:
        keys, nonces, aads, plaintexts, sealed = batch([case])
        with pytest.raises(EncodingInvalid):
            engine.sm4_gcm_seal_many(keys, nonces, aads, plaintexts)
        with pytest.raises(EncodingInvalid):
            engine.sm4_gcm_open_many(keys, nonces, aads, sealed)


def test_hmac_sm3(vectors: Path) -> None:
    cases = json_tests(vectors / "wycheproof" / "hmac_sm3_test.json")
    outcomes = []
    for case in cases:
        mac = hmac_sm3(bytes.fromhex(case["key"]), bytes.fromhex(case["msg"]))
        matches = mac[: case["tagSize"] // 8].hex() == case["tag"]
        assert matches is (case["result"] == "valid"), case["tcId"]
        outcomes.append(matches)
    assert (outcomes.count(True), outcomes.count(False)) == (66, 108)
