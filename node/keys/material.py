"""The files of keys: one recipe for every private key, PKCS#8 encrypted under the store's passphrase (`crypto.key_files`), so that `openssl` opens each,
and a passphrase is never safer to try on one file than on another.

    signing-1.pem, encryption-1.pem    SM2
    account-1.pem                      secp256k1
    tls-1.key.pem, tls-1.cert.pem      P-256, and its self-signed certificate, which stands on the chain and is its own trust anchor
    at-rest-1.key                      16 bytes, for which OpenSSL has no file: salt, 16 ‖ SM4-GCM under PBKDF2 of the passphrase (docs/formats.md)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from eth_keys.datatypes import PrivateKey

from audit.files import write_whole
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
from crypto.scalars import SCALAR_SIZE, SECP256K1_ORDER, fresh_scalar
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import hkdf_sm3, sm3
from crypto.wrap import unwrap_at_rest, wrap_at_rest
from node.model.keys import Kind

VALIDITY = timedelta(days=3_650)
EARLIER = timedelta(days=1)  # members' clocks differ
AT_REST_SIZE = 16  # bytes
_SALT_SIZE = 16  # bytes
_AT_REST_CONTEXT = b"kiteline/at-rest-key/v1"
_CHECK_INFO = b"kiteline/key-check-value/v1"
_CHECK_SIZE = 32  # bytes

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class TLSFiles:
    """A certificate and its key, both PEM, the key opened."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)

    def expiry_seconds(self) -> int:
        """Until when the certificate is valid, Unix time, s."""
        return int(x509.load_pem_x509_certificate(self.certificate_pem).not_valid_after_utc.timestamp())

    def certificate_der(self) -> bytes:
        """The certificate, DER."""
        return x509.load_pem_x509_certificate(self.certificate_pem).public_bytes(serialization.Encoding.DER)


class HashSigner(Protocol):
    """Signs hashes with the key of one EVM account."""

    def public_bytes(self) -> bytes:
        """04 ‖ x ‖ y."""

    def sign_hash(self, digest: bytes) -> tuple[int, int, int]:
        """(r, s, v) over a 32-byte hash, s in the lower half of the order (EIP-2); v is 0 or 1, the parity of the point."""


@dataclass(frozen=True)
class AccountKey:
    """The private key of an EVM account, 32 bytes big-endian; HashSigner. The repr shows none of it."""

    secret: bytes = field(repr=False)

    def public_bytes(self) -> bytes:
        """See HashSigner."""
        return b"\x04" + PrivateKey(self.secret).public_key.to_bytes()

    def sign_hash(self, digest: bytes) -> tuple[int, int, int]:
        """See HashSigner."""
        signature = PrivateKey(self.secret).sign_msg_hash(digest)
        return signature.r, signature.s, signature.v


@dataclass(frozen=True)
class AtRestKey:
    """A key of this node's disk, 16 bytes. The repr shows none of it."""

    secret: bytes = field(repr=False)


Material = SM2PrivateKey | AccountKey | TLSFiles | AtRestKey


@dataclass(frozen=True)
class Means:
    """What key files are made and opened with. `clock`: Unix time, ms. The repr shows no passphrase."""

    engine: Engine
    passphrase: bytes = field(repr=False)
    random: Random
    clock: Callable[[], int]


def file_names(kind: Kind, number: int) -> tuple[str, ...]:
    """The files of a key; the secret one first."""
    name = f"{kind}-{number}"
    match kind:
        case Kind.TLS:
            return (f"{name}.key.pem", f"{name}.cert.pem")
        case Kind.AT_REST:
            return (f"{name}.key",)
        case _:
            return (f"{name}.pem",)


def generate(kind: Kind, member_id: str, number: int, means: Means) -> Material:
    """A fresh key."""
    match kind:
        case Kind.SIGNING | Kind.ENCRYPTION:
            return SM2PrivateKey.generate(means.random)
        case Kind.ACCOUNT:
            return AccountKey(fresh_scalar(means.random, SECP256K1_ORDER))
        case Kind.TLS:
            host = f"{member_id.lower()}.kiteline"
            return certified(member_id, host, means.clock(), serial_number=str(number))
        case Kind.AT_REST:
            return AtRestKey(means.random(AT_REST_SIZE))


def digest_of(material: Material) -> bytes:
    """The name of a key's public side, 32 bytes: SM3 of the point, or of the certificate (DER); of a key without one, a key check value."""
    match material:
        case SM2PrivateKey():
            return material.public_key.digest()
        case AccountKey():
            return sm3(material.public_bytes())
        case TLSFiles():
            return sm3(material.certificate_der())
        case AtRestKey():
            return hkdf_sm3(material.secret, _CHECK_SIZE, info=_CHECK_INFO)


def write(directory: Path, kind: Kind, number: int, material: Material, means: Means) -> None:
    """Write a key's files, encrypted, durable, whole or not at all. Raises KeyInvalid where one exists, DiskFull."""
    paths = [directory / name for name in file_names(kind, number)]
    match material:
        case SM2PrivateKey():
            write_private_key(paths[0], material, means.passphrase, means.random)
        case AccountKey():
            write_secret_file(paths[0], encrypt_private_key(_account_der(material), means.passphrase, means.random))
        case TLSFiles():
            write_tls(paths[0], paths[1], material, means)
        case AtRestKey():
            salt = means.random(_SALT_SIZE)
            kek = _derived(means.passphrase, salt)
            wrapped = wrap_at_rest(means.engine, means.random, kek, _AT_REST_CONTEXT, material.secret)
            write_secret_file(paths[0], salt + wrapped)


def read(directory: Path, kind: Kind, number: int, means: Means) -> Material:
    """Open a key. Raises KeyInvalid (absent, changed, another passphrase), KeyFileExposed."""
    paths = [directory / name for name in file_names(kind, number)]
    match kind:
        case Kind.SIGNING | Kind.ENCRYPTION:
            return read_private_key(paths[0], means.passphrase)
        case Kind.ACCOUNT:
            return _read_account(paths[0], means)
        case Kind.TLS:
            return read_tls(paths[0], paths[1], means.passphrase)
        case Kind.AT_REST:
            return _read_at_rest(paths[0], means)


def certified(common_name: str, host: str, now_ms: int, serial_number: str | None = None) -> TLSFiles:
    """A fresh P-256 key and its self-signed certificate.

    `serial_number` (X.520) tells the certificates of one member apart: TLS libraries look for a root by its subject and try the first of a name
    only, so that during a rotation two of one subject could not both be accepted.
    """
    begun = datetime.fromtimestamp(now_ms // 1_000, UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if serial_number is not None:
        names.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number))
    subject = x509.Name(names)
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun - EARLIER)
        .not_valid_after(begun + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        # It is its own trust anchor, and signs nothing else.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    opened = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return TLSFiles(certificate.public_bytes(serialization.Encoding.PEM), opened)


def write_tls(key_path: Path, certificate_path: Path, files: TLSFiles, means: Means) -> None:
    """Write a certificate, then its key, encrypted: a key that is there has its certificate beside it."""
    key = serialization.load_pem_private_key(files.key_pem, None)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_whole(certificate_path, [files.certificate_pem])
    write_secret_file(key_path, encrypt_private_key(der, means.passphrase, means.random))


def read_tls(key_path: Path, certificate_path: Path, passphrase: bytes) -> TLSFiles:
    """A certificate and its key. Raises KeyInvalid, KeyFileExposed."""
    key = _read_private_key(key_path, passphrase)
    try:
        certificate = certificate_path.read_bytes()
        shown = x509.load_pem_x509_certificate(certificate).public_key()
    except OSError as cause:
        raise KeyInvalid(f"{certificate_path} cannot be read: {cause.strerror}", path=certificate_path) from cause
    except (ValueError, UnsupportedAlgorithm) as cause:
        raise KeyInvalid(f"{certificate_path} is no certificate", path=certificate_path) from cause
    if shown != key.public_key():
        raise KeyInvalid(f"{certificate_path} is not the certificate of {key_path.name}", path=certificate_path)
    opened = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return TLSFiles(certificate, opened)


def _read_private_key(path: Path, passphrase: bytes) -> PrivateKeyTypes:
    """A key that pyca knows. Raises KeyInvalid, KeyFileExposed."""
    sealed = read_secret_file(path)
    try:
        return serialization.load_der_private_key(decrypt_private_key(sealed, passphrase), None)
    except (KeyInvalid, ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise KeyInvalid(f"{path} was changed, or the passphrase is wrong", path=path) from cause


def _account_der(key: AccountKey) -> bytes:
    private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_account(path: Path, means: Means) -> AccountKey:
    key = _read_private_key(path, means.passphrase)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256K1):
        raise KeyInvalid(f"{path} is no key of secp256k1", path=path)
    return AccountKey(key.private_numbers().private_value.to_bytes(SCALAR_SIZE, "big"))


def _read_at_rest(path: Path, means: Means) -> AtRestKey:
    raw = read_secret_file(path)
    try:
        kek = _derived(means.passphrase, raw[:_SALT_SIZE])
        return AtRestKey(unwrap_at_rest(means.engine, kek, _AT_REST_CONTEXT, raw[_SALT_SIZE:]))
    except (DecryptionFailed, EncodingInvalid) as cause:
        raise KeyInvalid(f"{path} was changed, or the passphrase is wrong", path=path) from cause


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", passphrase, salt, ITERATIONS, AT_REST_SIZE)
