"""The keys directory of a node. Every private key in it is encrypted under the operator's passphrase.

signing.pem, encryption.pem          SM2, PKCS#8 with PBES2 and SM4-CBC
tls.cert.pem, tls.key.pem            P-256, self-signed; the certificate stands on the chain and is its own trust anchor
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
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid, KeyInvalid
from crypto.key_files import (
    ITERATIONS,
    read_private_key,
    read_secret_file,
    write_private_key,
    write_secret_file,
)
from crypto.sm2 import SM2PrivateKey
from crypto.wrap import unwrap_at_rest, wrap_at_rest
from node.stores.files import make_directory

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
    """Make every key of a node in a new directory. `clock`: Unix time, ms, for the certificates' validity."""
    make_directory(directory)
    for name in (SIGNING, ENCRYPTION):
        write_private_key(directory / name, SM2PrivateKey.generate(random), passphrase, random)
    begun = datetime.fromtimestamp(clock() // 1_000, UTC)
    host = f"{member_id.lower()}.kiteline"
    _write_tls(directory / TLS, _certified(member_id, host, begun), passphrase)
    _write_tls(directory / CLIENT, _certified(f"client of {member_id}", f"client.{host}", begun), passphrase)
    salt = random(_SALT_SIZE)
    wrapped = wrap_at_rest(engine, random, _derived(passphrase, salt), _AT_REST_CONTEXT, random(_KEY_SIZE))
    write_secret_file(directory / AT_REST, salt + wrapped)
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
    try:
        key = serialization.load_pem_private_key(read_secret_file(directory / f"{name}.key.pem"), passphrase)
        certificate = (directory / f"{name}.cert.pem").read_bytes()
    except (ValueError, TypeError) as cause:
        raise KeyInvalid(f"{name}.key.pem was changed, or the passphrase is wrong") from cause
    except OSError as cause:
        raise KeyInvalid(f"{name}.cert.pem cannot be read: {cause.strerror}") from cause
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


def _write_tls(base: Path, made: tuple[ec.EllipticCurvePrivateKey, x509.Certificate], passphrase: bytes) -> None:
    """`<base>.key.pem` and `<base>.cert.pem`."""
    key, certificate = made
    encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    write_secret_file(base.with_name(base.name + ".key.pem"), pem)
    base.with_name(base.name + ".cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase, salt, ITERATIONS, _KEY_SIZE)
