"""Encrypted private key files: PKCS#8 with PBES2 (RFC 8018), PBKDF2 with HMAC-SHA-256, SM4-CBC, as OpenSSL 3.0 reads and writes.

OpenSSL 3.0 does not know HMAC-SM3 as a PRF, so SHA-256 stands there: `openssl pkey -in FILE` opens our files. Files that others wrote
with HMAC-SM3, under either of its two object identifiers, are read too. A file is written for its owner alone, whole or not at all; one that
others may read is refused.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from crypto.der import INTEGER, NULL, OBJECT, OCTET_STRING, SEQUENCE, Reader, encode, encode_integer
from crypto.errors import EncodingInvalid, KeyFileExposed, KeyInvalid
from crypto.sm2 import SM2PrivateKey, pem_body, to_pem

ITERATIONS = 600_000
MAX_ITERATIONS = 10_000_000
LABEL = "ENCRYPTED PRIVATE KEY"
_SALT_SIZE = 16  # bytes
_BLOCK = 16  # bytes of SM4's block and key
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")
_SM4_CBC = bytes.fromhex("2a811ccf55016802")  # 1.2.156.10197.1.104.2
_PRFS = {
    _HMAC_SHA256: "sha256",
    bytes.fromhex("2a811ccf5501831102"): "sm3",  # 1.2.156.10197.1.401.2, GmSSL and others
    bytes.fromhex("2a811ccf550183110301"): "sm3",  # 1.2.156.10197.1.401.3.1, OpenSSL
}

Random = Callable[[int], bytes]


def encrypt_private_key(der: bytes, passphrase: bytes, random: Random, iterations: int = ITERATIONS) -> bytes:
    """The PEM of an encrypted PKCS#8 private key (DER)."""
    salt, iv = random(_SALT_SIZE), random(_BLOCK)
    derivation = encode(OCTET_STRING, salt) + encode_integer(iterations)
    derivation += encode(SEQUENCE, encode(OBJECT, _HMAC_SHA256) + encode(NULL, b""))
    parameters = encode(SEQUENCE, encode(OBJECT, _PBKDF2) + encode(SEQUENCE, derivation))
    parameters += encode(SEQUENCE, encode(OBJECT, _SM4_CBC) + encode(OCTET_STRING, iv))
    algorithm = encode(SEQUENCE, encode(OBJECT, _PBES2) + encode(SEQUENCE, parameters))
    body = _encrypt(_key(passphrase, "sha256", salt, iterations), iv, der)
    return to_pem(encode(SEQUENCE, algorithm + encode(OCTET_STRING, body)), LABEL)


def decrypt_private_key(pem: bytes, passphrase: bytes) -> bytes:
    """The PKCS#8 DER inside. Raises KeyInvalid, the same for a wrong passphrase and for a file that was changed."""
    try:
        digest, salt, iterations, iv, body = _read(pem_body(pem, LABEL))
    except EncodingInvalid as cause:
        raise KeyInvalid("this is no private key encrypted with PBES2 and SM4-CBC") from cause
    try:
        der = _decrypt(_key(passphrase, digest, salt, iterations), iv, body)
        outer = Reader(der)
        outer.sequence()
        outer.finish()
    except (ValueError, EncodingInvalid):
        raise KeyInvalid("the passphrase is wrong, or the key file was changed") from None
    return der


def write_private_key(
    path: Path, key: SM2PrivateKey, passphrase: bytes, random: Random, iterations: int = ITERATIONS
) -> None:
    """Write an SM2 key file, mode 0600. Raises KeyInvalid if the file exists."""
    write_secret_file(path, encrypt_private_key(key.to_der(), passphrase, random, iterations))


def read_private_key(path: Path, passphrase: bytes) -> SM2PrivateKey:
    """Read an SM2 key file. Raises KeyFileExposed, KeyInvalid."""
    try:
        return SM2PrivateKey.from_der(decrypt_private_key(read_secret_file(path), passphrase))
    except KeyInvalid as cause:
        raise KeyInvalid(f"{path}: {cause}", path=path) from cause


def write_secret_file(path: Path, content: bytes) -> None:
    """Write a new file for its owner alone, durable, whole or not at all. Raises KeyInvalid if it exists."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)  # unlike a rename, this never replaces a file
    except FileExistsError as cause:
        raise KeyInvalid(f"{path} exists already and is not overwritten", path=path) from cause
    finally:
        partial.unlink()


def read_secret_file(path: Path) -> bytes:
    """The content of a file that its owner alone may read. Raises KeyFileExposed, KeyInvalid."""
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyFileExposed(f"{path} can be read by others than its owner", path=path)
        return path.read_bytes()
    except OSError as cause:
        raise KeyInvalid(f"{path} cannot be read: {cause.strerror}", path=path) from cause


def _key(passphrase: bytes, digest: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac(digest, passphrase, salt, iterations, _BLOCK)


def _encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """SM4-CBC (GB/T 17964-2021) with the padding of PKCS#7."""
    padder = PKCS7(8 * _BLOCK).padder()
    encryptor = Cipher(algorithms.SM4(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def _decrypt(key: bytes, iv: bytes, body: bytes) -> bytes:
    """The inverse. Raises ValueError where the padding is wrong, which a caller must not tell from other failures."""
    decryptor = Cipher(algorithms.SM4(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(8 * _BLOCK).unpadder()
    padded = decryptor.update(body) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _read(der: bytes) -> tuple[str, bytes, int, bytes, bytes]:
    """(PRF's digest, salt, iterations, IV, body)."""
    outer = Reader(der)
    info = outer.sequence()
    outer.finish()
    algorithm = info.sequence()
    body = info.element(OCTET_STRING)
    info.finish()
    if algorithm.element(OBJECT) != _PBES2:
        raise EncodingInvalid("another scheme than PBES2")
    parameters = algorithm.sequence()
    algorithm.finish()
    derivation, scheme = parameters.sequence(), parameters.sequence()
    parameters.finish()
    if derivation.element(OBJECT) != _PBKDF2 or scheme.element(OBJECT) != _SM4_CBC:
        raise EncodingInvalid("another key derivation or cipher")
    iv = scheme.element(OCTET_STRING)
    scheme.finish()
    inner = derivation.sequence()
    derivation.finish()
    salt, iterations = inner.element(OCTET_STRING), inner.integer()
    if inner.peek() == INTEGER and inner.integer() != _BLOCK:
        raise EncodingInvalid("another key length")
    prf = inner.sequence()
    inner.finish()
    digest = _PRFS.get(prf.element(OBJECT))
    if not prf.at_end and prf.element(NULL):
        raise EncodingInvalid("a NULL that is not empty")
    prf.finish()
    if digest is None or len(iv) != _BLOCK or not 1 <= iterations <= MAX_ITERATIONS or not body or len(body) % _BLOCK:
        raise EncodingInvalid("another pseudo-random function, or lengths out of range")
    return digest, salt, iterations, iv, body
