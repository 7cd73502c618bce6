"""Every published vector file is run by a test that names it, or is left out for a reason that stands here."""

from __future__ import annotations

from pathlib import Path

# File, and what reads it; a folder stands for all that is in it.
RUN = {
    "botan/ecc_base_point_mul_sm2p256v1.vec": "test_vectors_botan.py",
    "botan/ecc_var_point_mul2_sm2p256v1.vec": "test_vectors_botan.py",
    "botan/ecc_var_point_mul_sm2p256v1.vec": "test_vectors_botan.py",
    "botan/gcm_sm4.vec": "test_vectors_botan.py",
    "botan/sm2_enc.vec": "test_vectors_botan.py",
    "botan/sm2_invalid.vec": "test_vectors_botan.py",
    "botan/sm2_sig.vec": "test_vectors_botan.py",
    "botan/sm3.vec": "test_vectors_botan.py",
    "botan/sm4.vec": "test_vectors_botan.py",
    "gbt32918.5/sm2_sm2p256v1.json": "test_vectors_gbt32918.py",
    "gmsm/cloud_kms_digest_signatures.json": "test_vectors_gmsm.py",
    "gmsm/pkcs8/sm2_pbes2_pbkdf2-hmac-sm3_sm4-cbc_password-Password1.pem": "test_vectors_gmsm.py",
    "gmsm/pkcs8/sm2_plain.pem": "test_vectors_gmsm.py",
    "gmsm/sm3_kdf.json": "test_vectors_gmsm.py",
    "gmsm/x509/alibaba_kms_csr.pem": "test_vectors_certificates.py",
    "gmsm/x509/alibaba_kms_sign_pub.pem": "test_vectors_certificates.py",
    "gmsm/x509/openssl3_selfsigned_spki_sm2_oid.pem": "test_vectors_certificates.py",
    "gmssl/hkdf_sm3.json": "test_vectors_gmssl.py",
    "gmssl/pbkdf2_hmac_sm3.json": "test_vectors_gmssl.py",
    "gmssl/sm4_cbc_pkcs7_padding.json": "test_vectors_gmssl.py",
    "openssl/evpciph_sm4.txt": "test_vectors_openssl.py",
    "realworld/nrcac_root_issued_sheca_sm2_ca.pem": "test_vectors_certificates.py",
    "realworld/nrcac_rootca.pem": "test_vectors_certificates.py",
    "tongsuo/evpciph_sm4.txt": "test_vectors_openssl.py",
    "tongsuo/evpmac_sm3.txt": "test_vectors_tongsuo.py",
    "tongsuo/evpmd_sm3.txt": "test_vectors_tongsuo.py",
    "tongsuo/evppkey_sm2.txt": "test_vectors_tongsuo.py",
    "wycheproof/hmac_sm3_test.json": "test_vectors_wycheproof.py",
    "wycheproof/sm4_gcm_test.json": "test_vectors_wycheproof.py",
}
# Read by a pattern or from a list that is itself compared with the folder.
FOLDERS = {
    "gmsm/x509": "test_vectors_gmsm.py",
    "rfc6962": "test_merkle.py",
    "tongsuo/certs": "test_vectors_certificates.py",
}
LEFT_OUT = {
    "botan/ccm_sm4.vec": "no engine offers CCM",
    "wycheproof/sm4_ccm_test.json": "no engine offers CCM",
}
ABOUT = {"license.txt", "license", "sources.md"}  # about the vectors, none themselves


def test_no_vector_file_is_forgotten(vectors: Path) -> None:
    files = {str(path.relative_to(vectors)) for path in vectors.rglob("*") if path.is_file()}
    files = {name for name in files if Path(name).name.lower() not in ABOUT}
    assert RUN.keys() | LEFT_OUT.keys() <= files
    elsewhere = {name for name in files for folder in FOLDERS if name.startswith(f"{folder}/")}
    assert files - RUN.keys() - LEFT_OUT.keys() - elsewhere == set()


def test_each_file_is_named_where_it_is_read() -> None:
    here = Path(__file__).parent
    for name, module in (RUN | FOLDERS).items():
        source = (here / module).read_text(encoding="utf-8")
        assert Path(name).name in source, name
