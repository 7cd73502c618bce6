"""The vectors of gmsm: key derivation, what key services of two clouds signed, and key files. Its certificate and its
certificate request are tested with the others.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.engine import Engine
from crypto.engines.gmssl import _kdf
from crypto.errors import KeyInvalid, SignatureInvalid
from crypto.key_files import decrypt_private_key
from crypto.sm2 import SM2PrivateKey, SM2PublicKey
from crypto.sm3 import kdf_sm3, sm3
from tests.crypto.vector_files import holds_over, json_tests

ENCRYPTED = "sm2_pbes2_pbkdf2-hmac-sm3_sm4-cbc_password-Password1.pem"


def test_key_derivation(vectors: Path) -> None:
    cases = json_tests(vectors / "gmsm" / "sm3_kdf.json")
    assert len(cases) == 6
    for case in cases:
        shared = bytes.fromhex(case["z_hex"]) if "z_hex" in case else case["z_utf8"].encode()
        assert kdf_sm3(shared, case["len"]).hex() == case["want"]
        assert _kdf(shared, case["len"]).hex() == case["want"]  # the pure engine's own


def test_signatures_of_key_services_over_a_bare_digest_are_refused(vectors: Path, engine: Engine) -> None:
    """They signed SM3("abc") as it stands. That is no SM2 signature with SM3 over "abc", whatever the user id."""
    cases = json_tests(vectors / "gmsm" / "cloud_kms_digest_signatures.json")
    assert len(cases) == 2
    for case in cases:
        key = SM2PublicKey.from_pem((vectors / "gmsm" / case["public_key_pem_file"]).read_bytes())
        digest, signature = bytes.fromhex(case["digest_e_hex"]), bytes.fromhex(case["signature_der_hex"])
        assert digest == sm3(b"abc")
        assert holds_over(digest, key, signature)
        for message in (b"abc", digest):
            for user_id in (b"1234567812345678", b""):
                with pytest.raises(SignatureInvalid):
                    engine.sm2_verify_many([key], [message], [signature], user_id)


def test_public_keys_of_key_services_are_read(vectors: Path) -> None:
    paths = sorted((vectors / "gmsm" / "x509").glob("*_pub.pem"))
    assert len(paths) == 4
    for path in paths:
        assert SM2PublicKey.from_pem(path.read_bytes()).to_pem() == path.read_bytes()


def test_a_key_file_encrypted_with_hmac_sm3_holds_the_key_of_the_plain_one(vectors: Path) -> None:
    folder = vectors / "gmsm" / "pkcs8"
    plain = SM2PrivateKey.from_pem((folder / "sm2_plain.pem").read_bytes())
    encrypted = (folder / ENCRYPTED).read_bytes()
    read = SM2PrivateKey.from_der(decrypt_private_key(encrypted, b"Password1"))
    assert read.secret_bytes() == plain.secret_bytes()
    with pytest.raises(KeyInvalid):
        decrypt_private_key(encrypted, b"Password2")
