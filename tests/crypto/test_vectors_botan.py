"""Botan's vectors: SM3, SM4, SM4-GCM, SM2 signatures and ciphertexts, and multiplication of points.

What does not apply: `ccm_sm4.vec`, since no engine offers CCM. Of `sm2_sig.vec` one signature is as ours are; the six on
another curve or with another digest, and all of `sm2_enc.vec`, which is on the draft's test curve, must be refused. The pure
engine is quick enough for every case.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.der import encode_signature
from crypto.engine import Engine
from crypto.errors import DecryptionFailed, SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import GX, GY, N, P, SM2PrivateKey, add, multiply
from crypto.sm3 import sm3
from tests.crypto.engines_at_hand import DRAWING_ENGINE_NAMES, engine_drawing
from tests.crypto.vector_files import botan_records, point_of

TAG_SIZE = 16


def test_sm3(vectors: Path, engine: Engine) -> None:
    cases = botan_records(vectors / "botan" / "sm3.vec", "Out")
    assert len(cases) == 139
    messages = [bytes.fromhex(case["In"]) for case in cases]
    expected = [case["Out"].lower() for case in cases]
    digests = engine.sm3_many(Packed.of(messages))
    assert [digests[at : at + 32].hex() for at in range(0, len(digests), 32)] == expected
    assert [sm3(message).hex() for message in messages] == expected


def test_sm4_blocks(vectors: Path, engine: Engine) -> None:
    cases = botan_records(vectors / "botan" / "sm4.vec", "Out")
    assert len(cases) == 22
    for case in cases:
        key, blocks = bytes.fromhex(case["Key"]), bytes.fromhex(case["In"])
        assert engine.sm4_encrypt_blocks(key, blocks).hex() == case["Out"].lower()


def test_sm4_gcm(vectors: Path, engine: Engine) -> None:
    cases = botan_records(vectors / "botan" / "gcm_sm4.vec", "Out")
    assert len(cases) == 3
    keys, nonces = (b"".join(bytes.fromhex(case[name]) for case in cases) for name in ("Key", "Nonce"))
    aads, plaintexts, sealed = (Packed.of(bytes.fromhex(case[name]) for case in cases) for name in ("AD", "In", "Out"))
    assert list(engine.sm4_gcm_seal_many(keys, nonces, aads, plaintexts)) == list(sealed)
    assert list(engine.sm4_gcm_open_many(keys, nonces, aads, sealed)) == list(plaintexts)
    for index, case in enumerate(cases):
        # The body of GCM is counter mode from 2 on, which is how one record is read out of a segment.
        body, counter = sealed[index][:-TAG_SIZE], bytes.fromhex(case["Nonce"]) + (2).to_bytes(4, "big")
        assert engine.sm4_ctr(bytes.fromhex(case["Key"]), counter, body) == plaintexts[index]


def signature_cases(vectors: Path) -> list[tuple[dict[str, str], bytes]]:
    """The seven cases, each with its signature in DER: the file has r ‖ s."""
    cases = botan_records(vectors / "botan" / "sm2_sig.vec", "Signature", carry=True)
    assert len(cases) == 7
    halves = [(int(case["Signature"][:64], 16), int(case["Signature"][64:], 16)) for case in cases]
    return [(case, encode_signature(*pair)) for case, pair in zip(cases, halves, strict=True)]


def is_ours(case: dict[str, str]) -> bool:
    return int(case["P"], 16) == P and case["Hash"] == "SM3"


def test_the_signature_on_our_curve_verifies_and_no_other_does(vectors: Path, engine: Engine) -> None:
    outcomes = {}
    for index, (case, signature) in enumerate(signature_cases(vectors)):
        scalar = int(case["x"], 16)
        claim = [SM2PrivateKey(scalar).public_key], [bytes.fromhex(case["Msg"])], [signature]
        try:
            engine.sm2_verify_many(*claim, case["Ident"].encode())
        except SignatureInvalid:
            outcomes[index] = False
        else:
            outcomes[index] = True
    assert outcomes == {index: is_ours(case) for index, (case, _) in enumerate(signature_cases(vectors))}
    assert list(outcomes.values()).count(True) == 1


@pytest.mark.parametrize("name", DRAWING_ENGINE_NAMES)
def test_the_ephemeral_number_of_the_file_gives_its_signature(vectors: Path, name: str) -> None:
    ((case, signature),) = [pair for pair in signature_cases(vectors) if is_ours(pair[0])]
    engine, key = engine_drawing(name, int(case["Nonce"], 16)), SM2PrivateKey(int(case["x"], 16))
    assert engine.sm2_sign_many(key, [bytes.fromhex(case["Msg"])], case["Ident"].encode()) == [signature]


def test_ciphertexts_on_the_drafts_curve_are_refused(vectors: Path, engine: Engine) -> None:
    cases = botan_records(vectors / "botan" / "sm2_enc.vec", "Ciphertext", carry=True)
    assert len(cases) == 5
    for case in cases:
        assert int(case["P"], 16) != P
        with pytest.raises(DecryptionFailed):
            engine.sm2_decrypt(SM2PrivateKey(int(case["x"], 16)), bytes.fromhex(case["Ciphertext"]))


def test_malformed_ciphertexts_are_refused_alike(vectors: Path, engine: Engine) -> None:
    cases = botan_records(vectors / "botan" / "sm2_invalid.vec", "Ctext", carry=True)
    assert len(cases) == 20
    key = SM2PrivateKey(int(cases[0]["Key"], 16))
    malformed = [bytes.fromhex(case["Ctext"]) for case in cases]
    # The one with a byte appended shows what all of them were made from, and that the key is right.
    (sound,) = [text[:-1] for text in malformed if text.endswith(b"\0") and text[1] == len(text) - 3]
    assert engine.sm2_decrypt(key, sound)
    refusals = set()
    for ciphertext in malformed:
        with pytest.raises(DecryptionFailed) as refusal:
            engine.sm2_decrypt(key, ciphertext)
        refusals.add((str(refusal.value), tuple(refusal.value.details.items())))
    assert len(refusals) == 1


def test_multiples_of_the_base_point(vectors: Path) -> None:
    cases = botan_records(vectors / "botan" / "ecc_base_point_mul_sm2p256v1.vec", "P")
    assert len(cases) == 64
    for case in cases:
        scalar, point = int(case["k"], 16), point_of(bytes.fromhex(case["P"]))
        assert multiply(scalar, (GX, GY)) == point
        if scalar <= N - 2:
            assert SM2PrivateKey(scalar).public_key.to_bytes().hex().upper() == case["P"]


def test_multiples_of_other_points(vectors: Path) -> None:
    cases = botan_records(vectors / "botan" / "ecc_var_point_mul_sm2p256v1.vec", "Z")
    assert len(cases) == 63
    for case in cases:
        point, product = (point_of(bytes.fromhex(case[name])) for name in ("P", "Z"))
        assert multiply(int(case["k"], 16), point) == product


def test_sums_of_two_multiples(vectors: Path) -> None:
    cases = botan_records(vectors / "botan" / "ecc_var_point_mul2_sm2p256v1.vec", "Z")
    assert len(cases) == 63
    for case in cases:
        left, right, total = (point_of(bytes.fromhex(case[name])) for name in ("P", "Q", "Z"))
        assert add(multiply(int(case["x"], 16), left), multiply(int(case["y"], 16), right)) == total
