"""OpenSSL's vectors of SM4, and Tongsuo's copy of the same file, on every engine.

What does not apply: OFB, CFB, CCM and XTS, which no engine offers. CBC stands in key files alone, which add the padding of
PKCS#7; these plaintexts are whole blocks, so the padding is one block more behind the ciphertext of the file.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crypto.engine import Engine
from crypto.key_files import _decrypt, _encrypt
from crypto.packed import Packed
from tests.crypto.vector_files import evp_records

# How often each mode stands in the file, which is also how often it is run or left out.
FILES = {
    "openssl/evpciph_sm4.txt": Counter(ECB=1, CBC=4, CTR=1, GCM=1, OFB=1, CFB=1, CCM=1, XTS=4),
    "tongsuo/evpciph_sm4.txt": Counter(ECB=1, CBC=3, CTR=1, GCM=1, OFB=1, CFB=1, CCM=1, XTS=4),
}


def cases_of(vectors: Path, name: str, mode: str) -> list[dict[str, bytes]]:
    records = evp_records(vectors / name)
    assert Counter(record["Cipher"].removeprefix("SM4-") for record in records) == FILES[name]
    chosen = [record for record in records if record["Cipher"] == f"SM4-{mode}"]
    return [{field: bytes.fromhex(value) for field, value in case.items() if field != "Cipher"} for case in chosen]


@pytest.mark.parametrize("name", FILES)
def test_sm4_blocks(vectors: Path, engine: Engine, name: str) -> None:
    (case,) = cases_of(vectors, name, "ECB")
    assert engine.sm4_encrypt_blocks(case["Key"], case["Plaintext"]) == case["Ciphertext"]


@pytest.mark.parametrize("name", FILES)
def test_sm4_in_counter_mode(vectors: Path, engine: Engine, name: str) -> None:
    (case,) = cases_of(vectors, name, "CTR")
    assert engine.sm4_ctr(case["Key"], case["IV"], case["Plaintext"]) == case["Ciphertext"]
    assert engine.sm4_ctr(case["Key"], case["IV"], case["Ciphertext"]) == case["Plaintext"]


@pytest.mark.parametrize("name", FILES)
def test_sm4_gcm(vectors: Path, engine: Engine, name: str) -> None:
    (case,) = cases_of(vectors, name, "GCM")
    aads, plaintexts = Packed.of([case["AAD"]]), Packed.of([case["Plaintext"]])
    sealed = engine.sm4_gcm_seal_many(case["Key"], case["IV"], aads, plaintexts)
    assert sealed.data == case["Ciphertext"] + case["Tag"]
    assert engine.sm4_gcm_open_many(case["Key"], case["IV"], aads, sealed).data == case["Plaintext"]


@pytest.mark.parametrize("name", FILES)
def test_sm4_cbc_of_key_files(vectors: Path, name: str) -> None:
    cases = cases_of(vectors, name, "CBC")
    assert len(cases) == FILES[name]["CBC"]
    for case in cases:
        sealed = _encrypt(case["Key"], case["IV"], case["Plaintext"])
        assert sealed[:-16] == case["Ciphertext"]
        assert _decrypt(case["Key"], case["IV"], sealed) == case["Plaintext"]
