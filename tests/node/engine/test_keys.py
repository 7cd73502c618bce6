"""Keys of validators are what the engine itself makes of them, and are in no form that a disk may not have.

The known answers are those of avalanchego v1.14.0: `staking/local/staker1.crt`, `signer1.key`, and the first validator of
`genesis/genesis_local.json`, which is public and of no network that matters.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.bls.ciphersuites import G2ProofOfPossession
from py_ecc.optimized_bls12_381.optimized_curve import curve_order

from node.engine.keys import (
    P256_ORDER,
    KeyKind,
    bls_values,
    make_certificate,
    new_bls_key,
    new_certificate_key,
    node_id,
    secret_text,
)

VECTORS = Path(__file__).parent / "vectors"
SIGNER = b"AvalancheLocalNetworkValidator01"
PUBLIC_KEY = "900c9b119b5c82d781d4b49be78c3fc7ae65f2b435b7ed9e3a8b9a03e475edff86d8a64827fec8db23a6f236afbf127d"
PROOF = (
    "8bfd6d4d2086b2b8115d8f72f94095fefe5a6c07876b2accf51a811adf520f389e74a3d2152a6d90b521e2be58ffe468"
    "043dc5ea68b4c44410eb67f8dc24f13ed4f194000764c0e922cd254a3588a4962b1cb4db7de4bb9cda9d9d4d6b03f3d2"
)


def test_the_id_of_a_node_is_the_one_that_the_engine_gives_its_certificate() -> None:
    assert node_id((VECTORS / "avalanchego-1.14.0-staker1.crt").read_bytes()) == "7Xhw2mDxuDS44j42TCB6U5579esbSt3Lg"
    with pytest.raises(ValueError, match="PEM"):
        node_id(b"none")


def test_the_proof_of_possession_is_the_one_that_the_engine_makes() -> None:
    # Its own key is a number above the order of the curve, which the engine reduces.
    number = int.from_bytes(SIGNER, "big") % curve_order
    assert bls_values(number.to_bytes(32, "big")) == (PUBLIC_KEY, PROOF)


def test_a_new_proof_of_possession_holds_for_its_key_alone() -> None:
    (public, proof), (other, _) = (bls_values(new_bls_key(os.urandom)) for _ in range(2))
    assert G2ProofOfPossession.PopVerify(bytes.fromhex(public), bytes.fromhex(proof))  # type: ignore[arg-type]  # NewType
    assert not G2ProofOfPossession.PopVerify(bytes.fromhex(other), bytes.fromhex(proof))  # type: ignore[arg-type]  # likewise


@settings(max_examples=25)
@given(st.integers(1, P256_ORDER - 1))
def test_a_certificate_is_of_its_own_key_and_the_engine_reads_that_key(number: int) -> None:
    secret = number.to_bytes(32, "big")
    certificate = x509.load_pem_x509_certificate(make_certificate(secret))
    certificate.verify_directly_issued_by(certificate)
    key = load_pem_private_key(secret_text(KeyKind.CERTIFICATE, secret), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.private_numbers().private_value == number
    assert key.public_key() == certificate.public_key()


def test_a_number_beyond_the_curve_is_drawn_again() -> None:
    drawn = iter([bytes(32), P256_ORDER.to_bytes(32, "big"), b"\1" * 32])
    assert new_certificate_key(lambda _: next(drawn)) == b"\1" * 32
