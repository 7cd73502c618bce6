"""Every published certificate, request and key of `vectors` gets its verdict, each file by its name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crypto.certificates.certificate import Certificate, read_certificates
from crypto.certificates.chain import validate
from crypto.certificates.extensions import AUTHORITY, ENCRYPTION, SIGNING, KeyUsage
from crypto.certificates.request import CertificateRequest
from crypto.engine import Engine
from crypto.errors import Refusal

AT = datetime(2026, 11, 24, tzinfo=UTC)
IN_2000 = datetime(2000, 6, 1, tzinfo=UTC)
TONGSUO = "tongsuo/certs"
TLCP = f"{TONGSUO}/sm2"
CHAIN = f"{TLCP}/chain-ca.crt"
ROOT = f"{TONGSUO}/sm2-root-cert.pem"
OTHER_CHAIN = f"{TONGSUO}/sm2-chain-ca.crt"
NATIONAL = "realworld/nrcac_rootca.pem"
NO_ZA = f"{TONGSUO}/sm2-noza-root-cert.pem"
SELF = "gmsm/x509/openssl3_selfsigned_spki_sm2_oid.pem"
HOLDS = "holds"
ENCIPHERING = KeyUsage.KEY_ENCIPHERMENT | KeyUsage.DATA_ENCIPHERMENT
# File; where the trusted certificates are; what the key is to be for; the verdict. In a file of several the first is judged.
VERDICTS: dict[str, tuple[str, KeyUsage | None, str]] = {
    NATIONAL: (NATIONAL, AUTHORITY, HOLDS),
    "realworld/nrcac_root_issued_sheca_sm2_ca.pem": (NATIONAL, AUTHORITY, HOLDS),
    SELF: (SELF, None, "CERTIFICATE_INVALID"),  # under the empty user id
    ROOT: (ROOT, AUTHORITY, HOLDS),
    f"{TONGSUO}/sm2-cert.pem": (ROOT, KeyUsage.DIGITAL_SIGNATURE, HOLDS),
    f"{TONGSUO}/sm2-first-crt.pem": (ROOT, SIGNING, HOLDS),
    NO_ZA: (NO_ZA, None, "CERTIFICATE_INVALID"),
    f"{TONGSUO}/sm2-noza-cert.pem": (NO_ZA, None, "CERTIFICATE_INVALID"),
    OTHER_CHAIN: (OTHER_CHAIN, KeyUsage.KEY_CERT_SIGN, HOLDS),
    f"{TONGSUO}/sm2-leaf.crt": (OTHER_CHAIN, KeyUsage.DIGITAL_SIGNATURE, HOLDS),
    CHAIN: (CHAIN, KeyUsage.KEY_CERT_SIGN, HOLDS),
    f"{TLCP}/client_sign.crt": (CHAIN, SIGNING, HOLDS),
    f"{TLCP}/client_enc.crt": (CHAIN, ENCIPHERING, HOLDS),
    f"{TLCP}/server_sign.crt": (CHAIN, SIGNING, HOLDS),
    f"{TLCP}/server_enc.crt": (CHAIN, ENCIPHERING, HOLDS),
    f"{TLCP}/client_sign_expire.crt": (CHAIN, SIGNING, "CERTIFICATE_EXPIRED"),
    f"{TLCP}/client_enc_expire.crt": (CHAIN, ENCIPHERING, "CERTIFICATE_EXPIRED"),
    f"{TLCP}/server_sign_expire.crt": (CHAIN, SIGNING, "CERTIFICATE_EXPIRED"),
    f"{TLCP}/server_enc_expire.crt": (CHAIN, ENCIPHERING, "CERTIFICATE_EXPIRED"),
    # Their issuer, CN=SUBCA SM2, is in none of the files.
    f"{TLCP}/server_sign2.crt": (CHAIN, SIGNING, "CERTIFICATE_CHAIN_BROKEN"),
    f"{TLCP}/server_enc2.crt": (CHAIN, ENCIPHERING, "CERTIFICATE_CHAIN_BROKEN"),
}
REQUESTS = {
    "gmsm/x509/alibaba_kms_csr.pem": HOLDS,
    f"{TONGSUO}/sm2-csr.pem": HOLDS,
    f"{TONGSUO}/sm2-noza-csr.pem": "CERTIFICATE_REQUEST_INVALID",
}


def verdict(engine: Engine, vectors: Path, name: str, trusted: str, usage: KeyUsage | None, at: datetime = AT) -> str:
    chain = read_certificates((vectors / name).read_bytes())
    try:
        validate(engine, chain, read_certificates((vectors / trusted).read_bytes()), at=at, usage=usage)
    except Refusal as refusal:
        return refusal.reason
    return HOLDS


def test_every_file_with_a_certificate_or_a_request_has_a_verdict(vectors: Path) -> None:
    found: dict[bytes, set[str]] = {b"CERTIFICATE": set(), b"CERTIFICATE REQUEST": set()}
    for path in (path for path in vectors.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for label, names in found.items():
            if b"-----BEGIN " + label + b"-----" in content:
                names.add(str(path.relative_to(vectors)))
    assert found[b"CERTIFICATE"] == set(VERDICTS)
    assert found[b"CERTIFICATE REQUEST"] == set(REQUESTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_a_certificate_gets_its_verdict(engine: Engine, vectors: Path, name: str) -> None:
    trusted, usage, expected = VERDICTS[name]
    assert verdict(engine, vectors, name, trusted, usage) == expected


@pytest.mark.parametrize("name", [name for name in VERDICTS if name.endswith("_expire.crt")])
def test_an_expired_one_is_refused_for_that_alone(vectors: Path, engine: Engine, name: str) -> None:
    """Its authority is younger than it, so at no time does the whole chain hold; the certificate trusted by itself did."""
    trusted, usage, _ = VERDICTS[name]
    assert verdict(engine, vectors, name, trusted, usage, IN_2000) == "CERTIFICATE_NOT_YET_VALID"
    assert verdict(engine, vectors, name, name, usage, IN_2000) == HOLDS


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_gets_its_verdict(engine: Engine, vectors: Path, name: str) -> None:
    request = CertificateRequest.from_pem((vectors / name).read_bytes())
    if REQUESTS[name] == HOLDS:
        request.check_possession(engine)
        return
    with pytest.raises(Refusal) as refused:
        request.check_possession(engine)
    assert refused.value.reason == REQUESTS[name]


def test_one_of_the_pair_does_not_do_the_others_work(engine: Engine, vectors: Path) -> None:
    for role in ("client", "server"):
        assert verdict(engine, vectors, f"{TLCP}/{role}_sign.crt", CHAIN, ENCRYPTION) == "CERTIFICATE_USAGE"
        assert verdict(engine, vectors, f"{TLCP}/{role}_enc.crt", CHAIN, SIGNING) == "CERTIFICATE_USAGE"


def test_a_certificate_without_the_bit_of_an_authority_issues_nothing(engine: Engine, vectors: Path) -> None:
    leaf = Certificate.from_pem((vectors / f"{TLCP}/client_sign.crt").read_bytes())
    assert not leaf.is_authority
    assert verdict(engine, vectors, f"{TLCP}/client_enc.crt", ROOT, None) == "CERTIFICATE_CHAIN_BROKEN"


def test_each_is_written_as_it_was_read(vectors: Path) -> None:
    for name in VERDICTS:
        for one in read_certificates((vectors / name).read_bytes()):
            assert Certificate.from_der(one.to_der()) == one
            assert one.subject.parse(str(one.subject)) == one.subject
