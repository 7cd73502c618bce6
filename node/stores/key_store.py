"""The keys directory of a node. Every private key in it is encrypted under the operator's passphrase, and all by the one
recipe of `crypto.key_files`: a passphrase is only as safe as the cheapest file to try it on.

signing.pem, encryption.pem          SM2, PKCS#8 with PBES2 and SM4-CBC
tls.cert.pem, tls.key.pem            P-256, likewise; the self-signed certificate stands on the chain, its own trust anchor
client.cert.pem, client.key.pem      likewise, for the department's own programs
at-rest.key                          the 16-byte key under which segment secrets are wrapped on this disk
account.json                         the EVM account (node.chain.account)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.files import disk_errors, make_directory, sync_directory, write_whole
from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid, KeyInvalid
from crypto.key_files import (
    ITERATIONS,
    decrypt_private_key,
    encrypt_private_key,
    read_private_key,
    read_secret_file,
    write_private_key,
    write_secret_file,
)
from crypto.sm2 import SM2PrivateKey
from crypto.wrap import unwrap_at_rest, wrap_at_rest

SIGNING, ENCRYPTION = "signing.pem", "encryption.pem"
TLS, CLIENT = "tls", "client"
AT_REST = "at-rest.key"
VALIDITY = timedelta(days=3_650)
_KEY_SIZE = 16  # bytes
_SALT_SIZE = 16  # bytes
_AT_REST_CONTEXT = b"kiteline/at-rest-key/v1"

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class NodeKeys:
    """A node's keys, opened. The repr shows none."""

    signing_key: SM2PrivateKey
    encryption_key: SM2PrivateKey
    tls_certificate_pem: bytes
    tls_key_pem: bytes = field(repr=False)
    at_rest_key: bytes = field(repr=False)


@dataclass(frozen=True)
class TLSFiles:
    """A certificate and its key, both PEM, the key opened."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def create_keys(  # noqa: PLR0913, PLR0917 - what keys are made with
    directory: Path, member_id: str, passphrase: bytes, random: Random, engine: Engine, clock: Callable[[], int]
) -> NodeKeys:
    """Make every key of a node in a new directory, durably. `clock`: Unix time, ms, for the certificates' validity.

    Raises KeyInvalid if there is anything in the directory, DiskFull.
    """
    make_directory(directory)
    if any(directory.iterdir()):
        raise KeyInvalid(f"{directory} is not empty, and no key is overwritten", path=directory)
    begun = datetime.fromtimestamp(clock() // 1_000, UTC)
    host = f"{member_id.lower()}.kiteline"
    salt = random(_SALT_SIZE)
    wrapped = wrap_at_rest(engine, random, _derived(passphrase, salt), _AT_REST_CONTEXT, random(_KEY_SIZE))
    with disk_errors(directory):
        for name in (SIGNING, ENCRYPTION):
            write_private_key(directory / name, SM2PrivateKey.generate(random), passphrase, random)
        _write_tls(directory / TLS, _certified(member_id, host, begun), passphrase, random)
        client = _certified(f"client of {member_id}", f"client.{host}", begun)
        _write_tls(directory / CLIENT, client, passphrase, random)
        write_secret_file(directory / AT_REST, salt + wrapped)
        sync_directory(directory)
    return open_keys(directory, passphrase, engine)


def open_keys(directory: Path, passphrase: bytes, engine: Engine) -> NodeKeys:
    """Open a node's keys. Raises KeyInvalid (absent, changed, wrong passphrase), KeyFileExposed."""
    tls = open_tls(directory, TLS, passphrase)
    raw = read_secret_file(directory / AT_REST)
    try:
        at_rest = unwrap_at_rest(engine, _derived(passphrase, raw[:_SALT_SIZE]), _AT_REST_CONTEXT, raw[_SALT_SIZE:])
    except (DecryptionFailed, EncodingInvalid) as cause:
        raise KeyInvalid(f"{directory / AT_REST} was changed, or the passphrase is wrong") from cause
    return NodeKeys(
        signing_key=read_private_key(directory / SIGNING, passphrase),
        encryption_key=read_private_key(directory / ENCRYPTION, passphrase),
        tls_certificate_pem=tls.certificate_pem,
        tls_key_pem=tls.key_pem,
        at_rest_key=at_rest,
    )


def open_tls(directory: Path, name: str, passphrase: bytes) -> TLSFiles:
    """A certificate and its key: `TLS` of the node, `CLIENT` of the department's programs. Raises as open_keys."""
    key_path, certificate_path = _tls_paths(directory / name)
    sealed = read_secret_file(key_path)
    try:
        key = serialization.load_der_private_key(decrypt_private_key(sealed, passphrase), None)
    except (KeyInvalid, ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise KeyInvalid(f"{key_path} was changed, or the passphrase is wrong", path=key_path) from cause
    try:
        certificate = certificate_path.read_bytes()
        certified = x509.load_pem_x509_certificate(certificate).public_key()
    except OSError as cause:
        raise KeyInvalid(f"{certificate_path} cannot be read: {cause.strerror}", path=certificate_path) from cause
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise KeyInvalid(f"{certificate_path} is no certificate", path=certificate_path) from cause
    if certified != key.public_key():
        raise KeyInvalid(f"{certificate_path} is not the certificate of {name}.key.pem", path=certificate_path)
    opened = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return TLSFiles(certificate, opened)


def _certified(common_name: str, host: str, begun: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A fresh P-256 key and its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun - timedelta(days=1))  # members' clocks differ
        .not_valid_after(begun + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        # It is its own trust anchor, and signs nothing else.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _write_tls(
    base: Path, made: tuple[ec.EllipticCurvePrivateKey, x509.Certificate], passphrase: bytes, random: Random
) -> None:
    key, certificate = made
    key_path, certificate_path = _tls_paths(base)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_secret_file(key_path, encrypt_private_key(der, passphrase, random))
    write_whole(certificate_path, [certificate.public_bytes(serialization.Encoding.PEM)])


def _tls_paths(base: Path) -> tuple[Path, Path]:
    """The files of a key and of its certificate."""
    return base.with_name(base.name + ".key.pem"), base.with_name(base.name + ".cert.pem")


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase, salt, ITERATIONS, _KEY_SIZE)
