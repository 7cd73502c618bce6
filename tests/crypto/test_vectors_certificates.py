"""Certificates, requests and keys that others made: Tongsuo's, the national root and a CA under it, and gmsm's.

Kiteline itself pins certificates of another kind and reads none with SM2. These are signatures of other programs over
other programs' bytes, with what was known to go wrong with them: signed without Z_A, under the empty user id, with
parameters NULL beside the algorithm. A signature holds for ever; that a certificate has expired is for whoever reads its
dates, so the expired ones verify like the others.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crypto.der import NULL, OBJECT, encode
from crypto.engine import Engine
from crypto.errors import KeyInvalid, SignatureInvalid
from crypto.sm2 import DEFAULT_USER_ID, SM2PrivateKey, SM2PublicKey
from crypto.sm3 import sm3
from tests.crypto.vector_files import Signed, certificate_request, certificates, holds_over, identity_digest

TONGSUO = Path("tongsuo/certs")
SM2_WITH_SM3 = encode(OBJECT, bytes.fromhex("2a811ccf55018375"))  # 1.2.156.10197.1.501
# File and, counted from 0, which certificate in it; first the subject's, then its issuer's.
Place = tuple[str, int]
LINKS: list[tuple[Place, Place]] = [
    (("sm2-root-cert.pem", 0), ("sm2-root-cert.pem", 0)),
    (("sm2-cert.pem", 0), ("sm2-root-cert.pem", 0)),
    (("sm2-first-crt.pem", 0), ("sm2-root-cert.pem", 0)),
    (("sm2-chain-ca.crt", 1), ("sm2-chain-ca.crt", 1)),
    (("sm2-chain-ca.crt", 0), ("sm2-chain-ca.crt", 1)),
    (("sm2-leaf.crt", 0), ("sm2-chain-ca.crt", 0)),
    (("sm2/chain-ca.crt", 0), ("sm2/chain-ca.crt", 0)),
    (("sm2/chain-ca.crt", 1), ("sm2/chain-ca.crt", 0)),
    *(
        ((f"sm2/{role}_{use}{expired}.crt", 0), ("sm2/chain-ca.crt", 1))
        for role in ("client", "server")
        for use in ("sign", "enc")
        for expired in ("", "_expire")
    ),
]
WITHOUT_Z_A = ["sm2-noza-root-cert.pem", "sm2-noza-cert.pem"]
# Their issuer, CN=SUBCA SM2, is in none of the files: nothing to verify them with.
ORPHANS = ["sm2/server_sign2.crt", "sm2/server_enc2.crt"]
# Each private key, and where the public one stands that belongs to it.
KEYS = {
    "sm2.key": "sm2pub.key",
    "sm2_begin_ec.key": "sm2pub.key",
    "sm2_begin_sm2.key": None,
    "sm2-root.key": "sm2-root-cert.pem",
    "sm2-first-key.pem": "sm2-first-crt.pem",
    "sm2-leaf.key": "sm2-leaf.crt",
    **{f"sm2/{stem}.key": f"sm2/{stem}.crt" for stem in ("client_sign", "client_enc", "server_sign", "server_enc")},
    **{f"sm2/{stem}.key": f"sm2/{stem}.crt" for stem in ("server_sign2", "server_enc2")},
}


def tongsuo(vectors: Path, place: Place) -> Signed:
    name, number = place
    return certificates(vectors / TONGSUO / name)[number]


def verify(engine: Engine, subject: Signed, key: SM2PublicKey, user_id: bytes = DEFAULT_USER_ID) -> None:
    engine.sm2_verify_many([key], [subject.body], [subject.signature], user_id)


def refused(engine: Engine, subject: Signed, key: SM2PublicKey, user_id: bytes = DEFAULT_USER_ID) -> None:
    with pytest.raises(SignatureInvalid):
        verify(engine, subject, key, user_id)


def test_every_file_of_tongsuo_is_in_one_of_the_lists(vectors: Path) -> None:
    folder = vectors / TONGSUO
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    linked = {name for pair in LINKS for name, _ in pair}
    requests = {"sm2-csr.pem", "sm2-noza-csr.pem"}
    assert files == linked | set(WITHOUT_Z_A) | set(ORPHANS) | set(KEYS) | {"sm2pub.key"} | requests
    assert len(files) == 33


def test_each_certificate_verifies_with_its_issuer_under_the_default_user_id(vectors: Path, engine: Engine) -> None:
    assert len(LINKS) == 16
    for subject_place, issuer_place in LINKS:
        subject, issuer = tongsuo(vectors, subject_place), tongsuo(vectors, issuer_place)
        verify(engine, subject, issuer.key)
        refused(engine, subject, issuer.key, b"")


def test_a_certificate_does_not_verify_with_anothers_key(vectors: Path, engine: Engine) -> None:
    stranger = tongsuo(vectors, ("sm2-leaf.crt", 0)).key
    for subject_place, _ in LINKS:
        refused(engine, tongsuo(vectors, subject_place), stranger)
    for name in ORPHANS:
        refused(engine, tongsuo(vectors, (name, 0)), stranger)


def test_what_was_signed_without_z_a_is_refused(vectors: Path, engine: Engine) -> None:
    root = tongsuo(vectors, (WITHOUT_Z_A[0], 0))
    signed = [tongsuo(vectors, (name, 0)) for name in WITHOUT_Z_A]
    signed.append(certificate_request(vectors / TONGSUO / "sm2-noza-csr.pem"))
    keys = [root.key, root.key, signed[-1].key]
    for subject, key in zip(signed, keys, strict=True):
        # Sound over the bare digest, so that the want of Z_A is the one thing wrong with it.
        assert holds_over(sm3(subject.body), key, subject.signature)
        refused(engine, subject, key)
        refused(engine, subject, key, b"")


def test_with_z_a_the_same_arithmetic_tells_the_sound_ones(vectors: Path) -> None:
    for subject_place, issuer_place in LINKS:
        subject, issuer = tongsuo(vectors, subject_place), tongsuo(vectors, issuer_place)
        assert holds_over(sm3(identity_digest(issuer.key) + subject.body), issuer.key, subject.signature)
        assert not holds_over(sm3(subject.body), issuer.key, subject.signature)


def test_the_expired_ones_verify_and_their_last_day_is_past(vectors: Path, engine: Engine) -> None:
    names = sorted(path.name for path in (vectors / TONGSUO / "sm2").glob("*_expire.crt"))
    assert len(names) == 4
    issuer = tongsuo(vectors, ("sm2/chain-ca.crt", 1))
    for name in names:
        subject = tongsuo(vectors, (f"sm2/{name}", 0))
        assert subject.last_day == datetime(2001, 1, 1, tzinfo=UTC)
        verify(engine, subject, issuer.key)


def test_requests_verify_with_their_own_key(vectors: Path, engine: Engine) -> None:
    paths = [vectors / TONGSUO / "sm2-csr.pem", vectors / "gmsm" / "x509" / "alibaba_kms_csr.pem"]
    for path in paths:
        request = certificate_request(path)
        verify(engine, request, request.key)
        refused(engine, request, request.key, b"")
    sign_key = SM2PublicKey.from_pem((vectors / "gmsm" / "x509" / "alibaba_kms_sign_pub.pem").read_bytes())
    assert certificate_request(paths[1]).key == sign_key


def test_the_national_root_and_the_ca_under_it_verify(vectors: Path, engine: Engine) -> None:
    (root,) = certificates(vectors / "realworld" / "nrcac_rootca.pem")
    (under,) = certificates(vectors / "realworld" / "nrcac_root_issued_sheca_sm2_ca.pem")
    for subject in (root, under):
        # Parameters NULL, where the algorithm's definition has none.
        assert subject.algorithm == SM2_WITH_SM3 + encode(NULL, b"")
        verify(engine, subject, root.key)
        refused(engine, subject, root.key, b"")
        refused(engine, subject, under.key)
    assert tongsuo(vectors, ("sm2-root-cert.pem", 0)).algorithm == SM2_WITH_SM3


def test_a_certificate_under_the_empty_user_id_is_refused_under_the_default_one(vectors: Path, engine: Engine) -> None:
    """OpenSSL 3 signed it with no user id set; its key is named by the curve where the algorithm should stand."""
    (subject,) = certificates(vectors / "gmsm" / "x509" / "openssl3_selfsigned_spki_sm2_oid.pem")
    verify(engine, subject, subject.key, b"")
    refused(engine, subject, subject.key)


def test_every_form_of_private_key_is_read_and_belongs_to_its_public_key(vectors: Path) -> None:
    assert len(KEYS) == 12
    for name, other in KEYS.items():
        key = SM2PrivateKey.from_pem((vectors / TONGSUO / name).read_bytes()).public_key
        if other == "sm2pub.key":
            assert key == SM2PublicKey.from_pem((vectors / TONGSUO / other).read_bytes())
        elif other is not None:
            assert key == tongsuo(vectors, (other, 0)).key


def test_a_certificate_is_no_key(vectors: Path) -> None:
    pem = (vectors / TONGSUO / "sm2-root-cert.pem").read_bytes()
    for read in (SM2PrivateKey.from_pem, SM2PublicKey.from_pem):
        with pytest.raises(KeyInvalid):
            read(pem)
