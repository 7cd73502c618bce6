"""Key files: for their owner alone, whole or not at all, and one error for whatever does not open.

SM4-CBC authenticates nothing. What stands against a changed file is that the key inside names its own public key.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from crypto.der import INTEGER, NULL, OBJECT, OCTET_STRING, SEQUENCE, encode, encode_integer
from crypto.errors import KeyFileExposed, KeyInvalid
from crypto.key_files import (
    ITERATIONS,
    LABEL,
    _encrypt,
    _key,
    decrypt_private_key,
    encrypt_private_key,
    read_private_key,
    read_secret_file,
    write_private_key,
    write_secret_file,
)
from crypto.sm2 import SM2PrivateKey, pem_body, to_pem

KEY = SM2PrivateKey.generate(os.urandom)
PASSPHRASE = b"passphrase"
FEW = 1_000  # iterations
FIXED = b"s" * 16  # salt and IV of the files that are taken apart here


def sealed(der: bytes = KEY.to_der()) -> bytes:
    return encrypt_private_key(der, PASSPHRASE, lambda size: b"s" * size, FEW)


def with_padded(padded: bytes) -> bytes:
    """A file whose decrypted body is exactly these whole blocks, padding included: only its last bytes differ."""
    body = _encrypt(_key(PASSPHRASE, "sha256", FIXED, FEW), FIXED, padded)[:-16]
    assert len(body) == 144
    return to_pem(pem_body(sealed(), LABEL)[:-144] + body, LABEL)


def refusal(pem: bytes, passphrase: bytes = PASSPHRASE) -> str:
    with pytest.raises(KeyInvalid) as caught:
        decrypt_private_key(pem, passphrase)
    assert caught.value.details == {}
    return str(caught.value)


# Where it lies.


def test_a_key_file_is_for_its_owner_alone_and_holds_no_readable_secret(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_private_key(path, KEY, PASSPHRASE, os.urandom, FEW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KEY.secret_bytes() not in pem_body(path.read_bytes(), LABEL)
    assert read_private_key(path, PASSPHRASE).secret_bytes() == KEY.secret_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    write_private_key(path, KEY, PASSPHRASE, os.urandom, FEW)
    path.chmod(mode)
    with pytest.raises(KeyFileExposed):
        read_private_key(path, PASSPHRASE)


def test_a_key_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_private_key(path, KEY, PASSPHRASE, os.urandom, FEW)
    before = path.read_bytes()
    with pytest.raises(KeyInvalid):
        write_private_key(path, SM2PrivateKey.generate(os.urandom), PASSPHRASE, os.urandom, FEW)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid):
        read_private_key(tmp_path / "key.pem", PASSPHRASE)


# Never a file that is empty or cut short (GmSSL#1574, openssl#26045).


@contextmanager
def full_disk(left: int) -> Iterator[None]:
    """No file grows beyond `left` bytes: the kernel's own limit, which strikes as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("left", [0, 1, 200])
def test_a_disk_that_fills_leaves_no_key_file_and_the_next_try_succeeds(tmp_path: Path, left: int) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(OSError, match="File too large"), full_disk(left):
        write_private_key(path, KEY, PASSPHRASE, os.urandom, FEW)
    assert not path.exists()
    write_private_key(path, KEY, PASSPHRASE, os.urandom, FEW)
    assert read_private_key(path, PASSPHRASE).public_key == KEY.public_key
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_key_file_or_one_cut_short_is_refused(tmp_path: Path) -> None:
    whole = sealed()
    for size in (0, 1, 40, len(whole) // 2, len(whole) - 5):
        path = tmp_path / f"{size}.pem"
        write_secret_file(path, whole[:size])
        assert read_secret_file(path) == whole[:size]
        with pytest.raises(KeyInvalid):
            read_private_key(path, PASSPHRASE)


# Padding that is not looked at (py-gmssl), and every other way not to open.


def padded(der: bytes) -> bytes:
    count = 16 - len(der) % 16
    return der + bytes([count]) * count


def test_the_construction_of_these_files_is_sound() -> None:
    assert with_padded(padded(KEY.to_der())) == sealed()
    assert decrypt_private_key(with_padded(padded(KEY.to_der())), PASSPHRASE) == KEY.to_der()


def test_every_wrong_padding_and_a_wrong_passphrase_are_one_error() -> None:
    right = padded(KEY.to_der())
    assert right.endswith(bytes([6]) * 6)
    said = {
        refusal(sealed(), b"another"),
        refusal(sealed(), b""),
        refusal(with_padded(right[:-1] + b"\0")),
        refusal(with_padded(right[:-1] + b"\x11")),
        refusal(with_padded(right[:-1] + b"\xff")),
        refusal(with_padded(right[:-2] + b"\7\6")),
        refusal(with_padded(right[:-6] + bytes(5) + b"\6")),
        refusal(with_padded(right[:-6] + b"\x80" + bytes(5))),
        refusal(with_padded(bytes(144))),
        # Sound padding around what is no key: one byte more or less of it is padding.
        refusal(with_padded(right[:-1] + b"\1")),
        refusal(with_padded(right[:-7] + b"\7" * 7)),
        refusal(with_padded(b"\x31" + right[1:])),
    }
    assert len(said) == 1


def test_no_changed_byte_of_a_file_gives_another_key() -> None:
    der = pem_body(sealed(), LABEL)
    for position in range(len(der)):
        changed = der[:position] + bytes([der[position] ^ 1]) + der[position + 1 :]
        with pytest.raises(KeyInvalid):
            SM2PrivateKey.from_der(decrypt_private_key(to_pem(changed, LABEL), PASSPHRASE))


# The parts of the format (RFC 8018, appendix A), each with what may and what may not stand in its place.

PBES2 = bytes.fromhex("2a864886f70d01050d")
PBKDF2 = bytes.fromhex("2a864886f70d01050c")
HMAC_SHA256 = bytes.fromhex("2a864886f70d0209")
SM4_CBC = bytes.fromhex("2a811ccf55016802")
NULL_ELEMENT = encode(NULL, b"")


@dataclass(frozen=True)
class Parts:
    """What a file is made of; the defaults give what `encrypt_private_key` writes."""

    scheme: bytes = PBES2
    derivation: bytes = PBKDF2
    iterations: bytes = encode_integer(FEW)
    key_length: bytes = b""
    function: bytes = HMAC_SHA256
    function_parameters: bytes = NULL_ELEMENT
    cipher: bytes = SM4_CBC
    iv: bytes = FIXED
    digest: str = "sha256"

    def pem(self) -> bytes:
        function = encode(SEQUENCE, encode(OBJECT, self.function) + self.function_parameters)
        derivation = encode(OCTET_STRING, FIXED) + self.iterations + self.key_length + function
        parameters = encode(SEQUENCE, encode(OBJECT, self.derivation) + encode(SEQUENCE, derivation))
        parameters += encode(SEQUENCE, encode(OBJECT, self.cipher) + encode(OCTET_STRING, self.iv))
        algorithm = encode(SEQUENCE, encode(OBJECT, self.scheme) + encode(SEQUENCE, parameters))
        body = _encrypt(_key(PASSPHRASE, self.digest, FIXED, FEW), FIXED, KEY.to_der())
        return to_pem(encode(SEQUENCE, algorithm + encode(OCTET_STRING, body)), LABEL)


def test_a_file_put_together_by_hand_is_the_writers() -> None:
    assert Parts().pem() == sealed()


@pytest.mark.parametrize(
    "parts",
    [
        Parts(key_length=encode_integer(16)),
        Parts(function_parameters=b""),
        Parts(function=bytes.fromhex("2a811ccf5501831102"), digest="sm3"),
        Parts(function=bytes.fromhex("2a811ccf550183110301"), digest="sm3"),
    ],
    ids=["key length named", "no parameters of the function", "HMAC-SM3 of GmSSL", "HMAC-SM3 of OpenSSL"],
)
def test_what_others_write_in_the_same_scheme_is_read(parts: Parts) -> None:
    assert decrypt_private_key(parts.pem(), PASSPHRASE) == KEY.to_der()


@pytest.mark.parametrize(
    "parts",
    [
        Parts(scheme=PBKDF2),
        Parts(derivation=PBES2),
        Parts(function=bytes.fromhex("2a864886f70d0207")),
        Parts(function_parameters=encode_integer(0)),
        Parts(function_parameters=NULL_ELEMENT * 2),
        Parts(function_parameters=encode(NULL, b"\0")),
        Parts(cipher=bytes.fromhex("2a811ccf55016801")),
        Parts(cipher=bytes.fromhex("2a811ccf550168")),
        Parts(key_length=encode_integer(32)),
        Parts(iterations=encode_integer(0)),
        Parts(iterations=encode_integer(10_000_001)),
        Parts(iterations=encode_integer(1 << 64)),
        Parts(iterations=encode(INTEGER, b"\xff")),
        Parts(iterations=b""),
        Parts(iv=b""),
        Parts(iv=FIXED[:-1]),
        Parts(iv=FIXED + b"s"),
    ],
    ids=lambda parts: next(
        f"{field.name} {getattr(parts, field.name).hex() or 'absent'}"
        for field in fields(parts)
        if getattr(parts, field.name) != field.default
    ),
)
def test_another_scheme_or_number_is_refused_before_anything_is_derived(parts: Parts) -> None:
    assert "PBES2" in refusal(parts.pem())


def test_a_plain_key_is_no_encrypted_one() -> None:
    assert "PEM" in refusal(KEY.to_pem())


def test_a_passphrase_is_tried_slowly() -> None:
    assert ITERATIONS >= 600_000
    few = encode_integer(ITERATIONS)
    assert few in pem_body(encrypt_private_key(KEY.to_der(), PASSPHRASE, os.urandom), LABEL)
