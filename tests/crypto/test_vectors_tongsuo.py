"""Tongsuo's vectors of SM2, SM3 and HMAC-SM3; those of SM4 are run with OpenSSL's, the certificates with the others.

What does not apply: digests other than SM3 (two cases that test how Tongsuo looks up a digest's name, and the cases with
SHA-512 and SHAKE-128 behind SM2), and the two that only ask for a fresh key.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crypto.engine import Engine
from crypto.errors import SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import hmac_sm3, sm3
from tests.crypto.vector_files import evp_bytes, evp_records, holds_over


def sm2_cases(vectors: Path, kind: str) -> tuple[SM2PrivateKey, list[dict[str, str]]]:
    """The file's one key, and its cases of this kind."""
    keys, *records = evp_records(vectors / "tongsuo" / "evppkey_sm2.txt")
    kinds = ("Verify", "Decrypt", "Sign", "KeyGen")
    counts = Counter(name for record in records for name in kinds if name in record)
    assert counts == {"Verify": 3, "Decrypt": 5, "Sign": 1, "KeyGen": 2}
    key = SM2PrivateKey.from_pem(keys["PEM"].encode())
    assert key.to_pem().decode().strip() == keys["PEM"]
    return key, [record for record in records if kind in record]


def test_signatures_over_a_bare_digest_are_refused(vectors: Path, engine: Engine) -> None:
    """Tongsuo verifies these over e as given. Without Z_A there is no signature over a message, and no engine takes one."""
    key, cases = sm2_cases(vectors, "Verify")
    for case in cases:
        digest, signature = evp_bytes(case["Input"]), evp_bytes(case["Output"])
        # All three are sound in that other sense; the third fails in Tongsuo only because its digest is SHA-512.
        assert holds_over(digest, key.public_key, signature)
        for user_id in (b"1234567812345678", b""):
            with pytest.raises(SignatureInvalid):
                engine.sm2_verify_many([key.public_key], [digest], [signature], user_id)
    assert [case["Ctrl"] for case in cases] == ["digest:SM3", "digest:SM3", "digest:SHA512"]


def test_a_signature_that_tongsuo_made_at_random_is_refused(vectors: Path, engine: Engine) -> None:
    key, (case,) = sm2_cases(vectors, "Sign")
    with pytest.raises(SignatureInvalid):
        engine.sm2_verify_many([key.public_key], [evp_bytes(case["Input"])], [evp_bytes(case["Output"])])


def test_ciphertexts_decrypt(vectors: Path, engine: Engine) -> None:
    """C1 with a short y and with both coordinates of 33 bytes of DER are among them."""
    key, cases = sm2_cases(vectors, "Decrypt")
    plaintexts = {case["Input"]: evp_bytes(case["Output"]) for case in cases if "Result" not in case}
    # Twice the same ciphertext, with and without the digest named; once an error for its digest, which is not of SM2.
    assert len(plaintexts) == 3
    (refused,) = [case for case in cases if "Result" in case]
    assert refused["Ctrl"] == "digest:SHAKE128"
    assert refused["Input"] in plaintexts
    for ciphertext, plaintext in plaintexts.items():
        assert engine.sm2_decrypt(key, bytes.fromhex(ciphertext)) == plaintext


def test_sm3(vectors: Path, engine: Engine) -> None:
    records = evp_records(vectors / "tongsuo" / "evpmd_sm3.txt")
    cases = [record for record in records if record["Digest"] == "SM3"]
    assert (len(cases), len(records)) == (8, 10)
    messages = [evp_bytes(case["Input"]) for case in cases]
    expected = "".join(case["Output"].lower() for case in cases)
    assert engine.sm3_many(Packed.of(messages)).hex() == expected
    assert b"".join(map(sm3, messages)).hex() == expected


def test_hmac_sm3(vectors: Path) -> None:
    cases = evp_records(vectors / "tongsuo" / "evpmac_sm3.txt")
    assert len(cases) == 4
    for case in cases:
        assert hmac_sm3(evp_bytes(case["Key"]), evp_bytes(case["Input"])).hex() == case["Output"]
