"""The keys that a validator may have, by kind: how each is made and kept, what its engine is told of it, and what it is handed.

    kind          file                     public names                 secret names, each a file that can be read once
    account       keystore/account.json    account                      password_file (of that keystore)
    peer          node-key.json            enode                        node_key_file (hexadecimal)
    certificate   certificate-key.json     certificate_file, node_id    certificate_key_file (PKCS#8, PEM)
    bls           bls-key.json             bls_public_key, bls_proof    bls_key_file (32 bytes, big-endian)

`account` signs blocks and `peer` identifies a node to its peers, both on secp256k1. `certificate` is a key on P-256 and the certificate that
it signed for itself, by which peers know each other over TLS; `node_id` is the Base58Check (checksum: the last 4 bytes of the SHA-256) of the
RIPEMD-160 of the SHA-256 of that certificate. `bls` is a key on BLS12-381 and the proof that its public key is its holder's
(draft-irtf-cfrg-bls-signature-05, 3.3), in hexadecimal. Every secret is a number of 32 bytes and lies in one form, Web3 Secret Storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from Crypto.Hash import RIPEMD160
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from py_ecc.bls.ciphersuites import G2ProofOfPossession

from crypto.scalars import fresh_scalar

KEY_BYTES = 32
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CHECKSUM_BYTES = 4
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# A validator is known by the certificate itself, so that nobody looks at the time; this is long enough for whoever does.
VALID_FROM, VALID_UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class KeyKind(Enum):
    """What a validator may have. The values are those of the network file."""

    ACCOUNT = "account"
    PEER = "peer"
    CERTIFICATE = "certificate"
    BLS = "bls"


DEFAULT_KEYS = frozenset({KeyKind.ACCOUNT, KeyKind.PEER})
PUBLIC_NAMES = {
    KeyKind.ACCOUNT: ("account",),
    KeyKind.PEER: ("enode",),
    KeyKind.CERTIFICATE: ("certificate_file", "node_id"),
    KeyKind.BLS: ("bls_public_key", "bls_proof"),
}
# Of one validator, for a list that others are filled in with: what is not on one disk alone.
EACH_NAMES = frozenset({"port", "peer_port", "account", "enode", "node_id", "bls_public_key", "bls_proof"})
SECRET_NAMES = {
    KeyKind.ACCOUNT: ("password_file",),
    KeyKind.PEER: ("node_key_file",),
    KeyKind.CERTIFICATE: ("certificate_key_file",),
    KeyKind.BLS: ("bls_key_file",),
}
KEY_FILES = {
    KeyKind.ACCOUNT: Path("keystore") / "account.json",
    KeyKind.PEER: Path("node-key.json"),
    KeyKind.CERTIFICATE: Path("certificate-key.json"),
    KeyKind.BLS: Path("bls-key.json"),
}
CERTIFICATE = "certificate.pem"


def new_certificate_key(random: Callable[[int], bytes]) -> bytes:
    """A secret number on P-256, 32 bytes."""
    return fresh_scalar(random, P256_ORDER)


def new_bls_key(random: Callable[[int], bytes]) -> bytes:
    """A secret number on BLS12-381, 32 bytes, derived from random ones (draft-irtf-cfrg-bls-signature-05, 2.3)."""
    return int(G2ProofOfPossession.KeyGen(random(KEY_BYTES))).to_bytes(KEY_BYTES, "big")


def make_certificate(secret: bytes) -> bytes:
    """A certificate of this key for itself, PEM. Another one at each call: the id of a node is that of its certificate."""
    key = _p256(secret)
    nobody = x509.Name([])  # peers know each other by the certificate alone
    builder = (
        x509.CertificateBuilder(nobody, nobody, key.public_key(), 1, VALID_FROM, VALID_UNTIL)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, *[False] * 8), critical=True)  # noqa: FBT003 - digital signature alone
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def secret_text(kind: KeyKind, secret: bytes) -> bytes:
    """A key as an engine reads it. For a pipe, never for a disk."""
    if kind is KeyKind.CERTIFICATE:
        return _p256(secret).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret if kind is KeyKind.BLS else secret.hex().encode()


def node_id(certificate_pem: bytes) -> str:
    """Base58Check of the certificate's hash. Raises ValueError where it is no certificate."""
    der = x509.load_pem_x509_certificate(certificate_pem).public_bytes(Encoding.DER)
    short = RIPEMD160.new(hashlib.sha256(der).digest()).digest()
    return _base58(short + hashlib.sha256(short).digest()[-CHECKSUM_BYTES:])


def bls_values(secret: bytes) -> tuple[str, str]:
    """(public key, 48 bytes; proof of possession, 96 bytes), hexadecimal. A tenth of a second."""
    number = int.from_bytes(secret, "big")
    return G2ProofOfPossession.SkToPk(number).hex(), G2ProofOfPossession.PopProve(number).hex()


def enode_key(secret: bytes) -> str:
    """The public point of a peer's key as enode URLs have it, hexadecimal (devp2p, enode URL)."""
    key = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:].hex()


def _p256(secret: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def _base58(data: bytes) -> str:
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, len(BASE58))
        text = BASE58[digit] + text
    zeros = len(data) - len(data.lstrip(b"\0"))
    return BASE58[0] * zeros + text
