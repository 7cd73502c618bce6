"""GmSSL's vectors of what key files and key derivation rest on: SM4-CBC with padding, PBKDF2 and HKDF with SM3."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crypto.key_files import _decrypt, _encrypt, _key
from crypto.sm3 import hkdf_sm3
from tests.crypto.vector_files import json_tests

KEY_SIZE = 16


def test_sm4_cbc_with_the_padding_of_pkcs7(vectors: Path) -> None:
    cases = json_tests(vectors / "gmssl" / "sm4_cbc_pkcs7_padding.json")
    assert Counter(case["result"] for case in cases) == {"valid": 24, "invalid": 48}
    for case in cases:
        key, iv, message, ciphertext = (bytes.fromhex(case[name]) for name in ("key", "iv", "msg", "ct"))
        if case["result"] == "valid":
            assert _encrypt(key, iv, message) == ciphertext
            assert _decrypt(key, iv, ciphertext) == message
        else:
            with pytest.raises(ValueError, match="padding"):
                _decrypt(key, iv, ciphertext)


def test_pbkdf2_with_hmac_sm3(vectors: Path) -> None:
    """A key file takes 16 bytes, which are the first 16 of any longer output (RFC 8018, section 5.2)."""
    cases = json_tests(vectors / "gmssl" / "pbkdf2_hmac_sm3.json")
    assert len(cases) == 60
    assert min(case["dkLen"] for case in cases) == KEY_SIZE
    for case in cases:
        password, salt = bytes.fromhex(case["password"]), bytes.fromhex(case["salt"])
        assert _key(password, "sm3", salt, case["iterations"]).hex() == case["dk"][: 2 * KEY_SIZE]


def test_hkdf_with_sm3(vectors: Path) -> None:
    cases = json_tests(vectors / "gmssl" / "hkdf_sm3.json")
    assert Counter(case["result"] for case in cases) == {"valid": 83, "invalid": 3}
    for case in cases:
        key, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        if case["result"] == "valid":
            assert hkdf_sm3(key, case["size"], salt, info).hex() == case["okm"]
        else:
            assert case["flags"] == "SizeTooLarge"
            with pytest.raises(ValueError, match="at most 255 digests"):
                hkdf_sm3(key, case["size"], salt, info)
