"""Both directions with the openssl program as it is on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.certificates.certificate import Certificate
from crypto.certificates.chain import validate
from crypto.certificates.request import CertificateRequest, make_request
from crypto.certificates.revocation import RevocationReason, Revoked
from crypto.errors import CertificateRequestInvalid
from tests.crypto.certificates.authorities import AT, ROOT, SIGNER, UNDER, held, listed
from tests.crypto.engines_at_hand import fastest_engine
from tests.crypto.test_openssl_command_line import DISTID, EMPTY_DISTID, openssl, written


def test_openssl_reads_and_verifies_what_we_write(tmp_path: Path) -> None:
    root = held(ROOT)
    under = held(UNDER, root)
    leaf = held(SIGNER, under)
    files = {
        name: written(tmp_path / name, one.certificate.to_pem())
        for name, one in {"root": root, "under": under, "leaf": leaf}.items()
    }
    text = openssl("x509", "-in", files["leaf"], "-noout", "-text", "-nameopt", "utf8").decode()
    assert "Digital Signature, Non Repudiation" in text
    assert "潍坊市民政局" in text
    assert "SM2-with-SM3" in text
    for subject, issuer in (("root", "root"), ("under", "root"), ("leaf", "under")):
        verify = ("verify", "-partial_chain", "-trusted", files[issuer], "-vfyopt", DISTID)
        assert b"OK" in openssl(*verify, files[subject])
    request = written(tmp_path / "request", make_request(leaf.signer, SIGNER.subject))
    assert b"11370700MB2345678X" in openssl("req", "-in", request, "-verify", "-vfyopt", DISTID, "-noout", "-subject")
    crl = written(tmp_path / "crl", listed(under, Revoked(3, AT, RevocationReason.SUPERSEDED)).to_pem())
    assert b"Superseded" in openssl("crl", "-in", crl, "-noout", "-text")


def test_we_read_and_validate_what_openssl_writes(tmp_path: Path) -> None:
    for name in ("ca", "leaf"):
        written(tmp_path / f"{name}.key", openssl("genpkey", "-algorithm", "SM2"))
    signing = ("-sm3", "-sigopt", DISTID)
    ca = written(
        tmp_path / "ca.crt",
        openssl("req", "-x509", "-new", "-key", tmp_path / "ca.key", *signing, "-days", "3650", "-subj", "/CN=R"),
    )
    make = ("req", "-new", "-key", tmp_path / "leaf.key", "-sm3", "-subj", "/CN=L")
    request = written(tmp_path / "leaf.csr", openssl(*make, "-sigopt", DISTID))
    CertificateRequest.from_pem(request.read_bytes()).check_possession(fastest_engine())
    lost = CertificateRequest.from_pem(openssl(*make, "-sigopt", EMPTY_DISTID))
    with pytest.raises(CertificateRequestInvalid):
        lost.check_possession(fastest_engine())
    issue = ("x509", "-req", "-in", request, "-CA", ca, "-CAkey", tmp_path / "ca.key", "-set_serial", "7", *signing)
    leaf = Certificate.from_pem(openssl(*issue, "-vfyopt", DISTID, "-days", "30"))
    assert not leaf.is_authority
    root = Certificate.from_pem(ca.read_bytes())
    assert validate(fastest_engine(), [leaf], [root], at=leaf.not_before) == (leaf, root)
