"""The key store: made once, opened by its passphrase alone, and never readable by others or without it."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.errors import DiskFull
from crypto.engine import Engine, load_engine
from crypto.errors import KeyFileExposed, KeyInvalid
from crypto.key_files import ITERATIONS, read_private_key
from crypto.sm2 import pem_body
from tests.node.stores.durable_steps import Step, SyncedDisk, watch
from tests.support.keys import CLIENT, SECURITY, TLS, NodeKeys, account_secret, create_keys, open_keys, open_tls

MEMBER = "11370700004258746X"
PASSPHRASE = b"correct horse \xe7\x94\xb5\xe6\xb1\xa0"
NOW_MS = 1_795_482_123_004
SIGNING, ENCRYPTION, ACCOUNT, AT_REST = "signing-1.pem", "encryption-1.pem", "account-1.pem", "at-rest-1.key"
SECRET_FILES = [SIGNING, ENCRYPTION, ACCOUNT, "tls-1.key.pem", "client.key.pem", "security.key.pem", AT_REST]
CERTIFICATES = ["tls-1.cert.pem", "client.cert.pem", "security.cert.pem"]
OTHERS = ["store", "lock"]


def made(directory: Path, engine: Engine) -> NodeKeys:
    return create_keys(directory, MEMBER, PASSPHRASE, os.urandom, engine, lambda: NOW_MS)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> tuple[Path, NodeKeys]:
    """A keys directory, and the keys as they were when they were made."""
    directory = tmp_path_factory.mktemp("node") / "keys"
    return directory, made(directory, engine)


@pytest.fixture
def keys(original: tuple[Path, NodeKeys], tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return shutil.copytree(original[0], tmp_path / "keys")


def _open(keys: Path, name: str, engine: Engine) -> object:
    """Whatever a file is needed for."""
    program = name.partition(".")[0]
    return open_tls(keys, program, PASSPHRASE) if program in {CLIENT, SECURITY} else open_keys(keys, PASSPHRASE, engine)


def secrets_of(keys: NodeKeys, directory: Path) -> list[bytes]:
    """Every private value, in the forms in which it could lie somewhere."""
    client = open_tls(directory, CLIENT, PASSPHRASE)
    scalars = [keys.signing_key.secret_bytes(), keys.encryption_key.secret_bytes(), keys.at_rest_key]
    scalars.append(account_secret(directory, PASSPHRASE, load_engine("openssl")))
    for pem in (keys.tls_key_pem, client.key_pem):
        key = serialization.load_pem_private_key(pem, None)
        scalars.append(key.private_numbers().private_value.to_bytes(32, "big"))  # type: ignore[union-attr]  # an EC key
    return [form for scalar in scalars for form in _forms(scalar)]


def _forms(secret: bytes) -> list[bytes]:
    # Base64 depends on where the bytes begin: of each alignment the part that does not.
    aligned = [base64.b64encode(bytes(shift) + secret)[4:-4] for shift in range(3)]
    return [secret, secret.hex().encode(), str(int.from_bytes(secret, "big")).encode(), *aligned]


def test_the_keys_that_were_made_are_opened_by_their_passphrase(
    original: tuple[Path, NodeKeys], engine: Engine
) -> None:
    directory, first = original
    again = open_keys(directory, PASSPHRASE, engine)
    assert again.signing_key.public_key == first.signing_key.public_key
    assert again.encryption_key.public_key == first.encryption_key.public_key
    assert again.signing_key.public_key != again.encryption_key.public_key
    assert again.at_rest_key == first.at_rest_key
    assert len(again.at_rest_key) == 16
    assert (again.tls_certificate_pem, again.tls_key_pem) == (first.tls_certificate_pem, first.tls_key_pem)
    assert sorted(path.name for path in directory.iterdir()) == sorted([*SECRET_FILES, *CERTIFICATES, *OTHERS])
    sealed = engine.sm2_encrypt(first.encryption_key.public_key, b"a key")
    assert engine.sm2_decrypt(again.encryption_key, sealed) == b"a key"


def test_no_two_nodes_have_a_key_in_common(tmp_path: Path, original: tuple[Path, NodeKeys], engine: Engine) -> None:
    directory, first = original
    second = made(tmp_path / "keys", engine)
    held = secrets_of(first, directory)
    assert not set(held) & set(secrets_of(second, tmp_path / "keys"))
    assert len(set(held)) == len(held)


def test_the_certificates_are_their_own_anchors_for_ten_years_and_name_the_member(
    original: tuple[Path, NodeKeys],
) -> None:
    begun = datetime.fromtimestamp(NOW_MS // 1_000, UTC)
    for name, common_name, host in (
        (TLS, MEMBER, f"{MEMBER.lower()}.kiteline"),
        (CLIENT, f"client of {MEMBER}", f"client.{MEMBER.lower()}.kiteline"),
    ):
        files = open_tls(original[0], name, PASSPHRASE)
        certificate = x509.load_pem_x509_certificate(files.certificate_pem)
        key = serialization.load_pem_private_key(files.key_pem, None)
        assert certificate.public_key() == key.public_key()
        certificate.verify_directly_issued_by(certificate)
        (named,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert named.value == common_name
        assert certificate.not_valid_before_utc == begun - timedelta(days=1)
        assert certificate.not_valid_after_utc == begun + timedelta(days=3_650)
        extensions = certificate.extensions
        hosts = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert hosts.get_values_for_type(x509.DNSName) == [host]
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (constraints.ca, constraints.path_length) == (True, 0)


def test_no_private_value_lies_unencrypted_in_any_file(original: tuple[Path, NodeKeys]) -> None:
    directory, first = original
    stored = {path.name: path.read_bytes() for path in directory.iterdir()}
    for name, content in stored.items():
        for secret in [*secrets_of(first, directory), PASSPHRASE]:
            assert secret not in content, name
        if name.endswith(".pem") and name not in CERTIFICATES:
            assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")


def test_no_private_value_is_in_what_is_printed_or_told(
    original: tuple[Path, NodeKeys], keys: Path, engine: Engine
) -> None:
    directory, first = original
    shown = [repr(first), str(first), repr(open_tls(directory, TLS, PASSPHRASE)), repr(vars(first)["signing_key"])]
    (keys / SIGNING).write_bytes((keys / SIGNING).read_bytes()[:-60])
    for passphrase in (b"another", PASSPHRASE):
        with pytest.raises(KeyInvalid) as refused:
            open_keys(keys, passphrase, engine)
        cause: BaseException | None = refused.value
        while cause is not None:
            shown += [repr(cause), repr(getattr(cause, "details", ""))]
            cause = cause.__cause__
    for text in shown:
        for secret in [*secrets_of(first, directory), PASSPHRASE]:
            assert secret not in text.encode()
            assert repr(secret)[2:-1] not in text
        assert "PRIVATE KEY--" not in text
    assert {field.name for field in fields(first) if field.repr} == {
        "signing_key",
        "encryption_key",
        "tls_certificate_pem",
    }


def test_every_private_key_costs_the_same_to_guess_at(original: tuple[Path, NodeKeys], engine: Engine) -> None:
    """One passphrase protects them all, so it is as safe as the cheapest of them."""
    for name in [name for name in SECRET_FILES if name.endswith(".pem")]:
        content = (original[0] / name).read_bytes()
        parsed = subprocess.run(
            ["openssl", "asn1parse", "-inform", "DER"],  # noqa: S607  # the system's own
            input=pem_body(content, "ENCRYPTED PRIVATE KEY"),
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout.decode()
        assert "PBKDF2" in parsed
        assert "hmacWithSHA256" in parsed
        assert f"INTEGER           :{ITERATIONS:06X}" in parsed
    assert ITERATIONS >= 600_000


@pytest.mark.parametrize("name", [name for name in SECRET_FILES if name.endswith(".pem")])
def test_openssl_opens_a_key_file_with_its_passphrase(original: tuple[Path, NodeKeys], name: str) -> None:
    command = ["openssl", "pkey", "-in", str(original[0] / name), "-passin", "stdin", "-noout"]
    for passphrase, opens in ((PASSPHRASE, True), (b"another", False)):
        ended = subprocess.run(command, input=passphrase, capture_output=True, check=False, timeout=30)
        assert (ended.returncode == 0) == opens, ended.stderr


@pytest.mark.parametrize("passphrase", [b"another", PASSPHRASE[:-1], PASSPHRASE + b" ", b""])
def test_another_passphrase_opens_no_file(original: tuple[Path, NodeKeys], engine: Engine, passphrase: bytes) -> None:
    keys = original[0]
    readers: dict[str, Callable[[], object]] = {
        SIGNING: lambda: read_private_key(keys / SIGNING, passphrase),
        ENCRYPTION: lambda: read_private_key(keys / ENCRYPTION, passphrase),
        ACCOUNT: lambda: open_keys(keys, passphrase, engine),
        "client.key.pem": lambda: open_tls(keys, CLIENT, passphrase),
    }
    for name, read in readers.items():
        with pytest.raises(KeyInvalid) as refused:
            read()
        assert name in str(refused.value)


@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_secret_file_that_others_may_read_is_refused(keys: Path, engine: Engine, name: str) -> None:
    for mode in (0o640, 0o602):
        (keys / name).chmod(mode)
        with pytest.raises(KeyFileExposed) as refused:
            _open(keys, name, engine)
        assert name in str(refused.value)
    (keys / name).chmod(0o400)
    open_keys(keys, PASSPHRASE, engine)


@pytest.mark.parametrize("name", [*SECRET_FILES, *CERTIFICATES])
def test_a_file_that_is_missing_is_named(keys: Path, engine: Engine, name: str) -> None:
    (keys / name).unlink()
    with pytest.raises(KeyInvalid) as refused:
        _open(keys, name, engine)
    assert name in str(refused.value)
    assert "No such file" in str(refused.value)


@pytest.mark.parametrize("name", [SIGNING, "tls-1.key.pem", AT_REST])
def test_a_secret_file_that_was_changed_anywhere_is_refused(keys: Path, engine: Engine, name: str) -> None:
    whole = (keys / name).read_bytes()
    for position in range(0, len(whole) - 1, len(whole) // 4):
        changed = bytearray(whole)
        changed[position] ^= 2
        (keys / name).write_bytes(changed)
        with pytest.raises(KeyInvalid):
            open_keys(keys, PASSPHRASE, engine)
    for cut in (0, len(whole) // 2):
        (keys / name).write_bytes(whole[:cut])
        with pytest.raises(KeyInvalid):
            open_keys(keys, PASSPHRASE, engine)
    (keys / name).write_bytes(whole)
    open_keys(keys, PASSPHRASE, engine)


def test_a_certificate_that_is_none_or_of_another_key_is_refused(keys: Path, engine: Engine) -> None:
    own = (keys / "tls-1.cert.pem").read_bytes()
    for content, told in (
        ((keys / "client.cert.pem").read_bytes(), "is not the certificate of tls-1.key.pem"),
        (own[:-100], "is no certificate"),
        (b"", "is no certificate"),
    ):
        (keys / "tls-1.cert.pem").write_bytes(content)
        with pytest.raises(KeyInvalid, match=told):
            open_keys(keys, PASSPHRASE, engine)
    (keys / "tls-1.cert.pem").write_bytes(own)
    open_keys(keys, PASSPHRASE, engine)


@pytest.mark.parametrize("there", [SIGNING, "tls-1.key.pem", "tls-1.cert.pem", AT_REST, ACCOUNT, "notes.txt"])
def test_nothing_is_made_where_anything_is(tmp_path: Path, engine: Engine, there: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / there).write_bytes(b"somebody's")
    with pytest.raises(KeyInvalid, match="not empty"):
        made(tmp_path / "keys", engine)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "keys").iterdir()] == [(there, b"somebody's")]


def test_an_empty_directory_is_filled_and_every_file_is_for_its_owner(
    original: tuple[Path, NodeKeys], tmp_path: Path, engine: Engine
) -> None:
    (tmp_path / "keys").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        made(tmp_path / "keys", engine)
    finally:
        os.umask(before)
    for path in [*(tmp_path / "keys").iterdir(), *original[0].iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(original[0].stat().st_mode) == 0o700


def test_keys_that_were_made_survive_a_power_cut(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "node").mkdir()
    disk = SyncedDisk(tmp_path / "node")
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, disk.after)
        first = made(tmp_path / "node" / "keys", engine)
    disk.write_to(tmp_path / "after")
    (tmp_path / "after" / "keys").chmod(0o700)
    for name in SECRET_FILES:
        (tmp_path / "after" / "keys" / name).chmod(0o600)
    after = open_keys(tmp_path / "after" / "keys", PASSPHRASE, engine)
    assert after.signing_key.public_key == first.signing_key.public_key
    assert after.at_rest_key == first.at_rest_key
    open_tls(tmp_path / "after" / "keys", CLIENT, PASSPHRASE)


@pytest.mark.parametrize("kind", ["create", "write", "sync"])
def test_a_full_disk_is_one_refusal(tmp_path: Path, engine: Engine, kind: str) -> None:
    def full(step: Step) -> None:
        if step.kind == kind:
            raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, full)
        with pytest.raises(DiskFull):
            made(tmp_path / "keys", engine)
