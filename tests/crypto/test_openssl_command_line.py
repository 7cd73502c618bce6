"""Both directions with the openssl program as it is on the machine: keys, signatures, ciphertexts, whole notes, requests."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, SignatureInvalid
from crypto.key_files import decrypt_private_key, read_private_key, write_private_key
from crypto.notes import Note, NoteKey, NoteSignature, cosign_note, open_note, parse_note, sign_note
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey, SM2PublicKey
from tests.crypto.vector_files import certificate_request

DISTID = "distid:1234567812345678"
EMPTY_DISTID = "distid:"  # what OpenSSL before 4.0 takes if none is set
MESSAGE = b"to the letter"
NAME = "11370700MB2345678X"
TEXT = "kiteline/receipt/v1\ngrant 5e0c\n"


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl program on PATH")
    command = [program, *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=True, timeout=60).stdout


@pytest.fixture
def key() -> SM2PrivateKey:
    return SM2PrivateKey.generate(os.urandom)


@pytest.fixture
def private(key: SM2PrivateKey, tmp_path: Path) -> Path:
    path = tmp_path / "private.pem"
    path.write_bytes(key.to_pem())
    return path


@pytest.fixture
def public(key: SM2PrivateKey, tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    path.write_bytes(key.public_key.to_pem())
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# Keys.


def test_openssl_reads_the_key_file_that_we_write(tmp_path: Path, key: SM2PrivateKey) -> None:
    path = tmp_path / "key.pem"
    write_private_key(path, key, b"secret", os.urandom, iterations=2_000)
    public = openssl("pkey", "-in", path, "-passin", "pass:secret", "-pubout")
    assert public == key.public_key.to_pem()
    assert openssl("pkey", "-in", path, "-passin", "pass:secret") == key.to_pem()


def test_we_read_the_key_file_that_openssl_encrypts(tmp_path: Path, key: SM2PrivateKey, private: Path) -> None:
    command = ("pkcs8", "-topk8", "-v2", "sm4-cbc", "-v2prf", "hmacWithSHA256", "-passout", "pass:secret")
    path = written(tmp_path / "key.pem", openssl(*command, "-in", private))
    path.chmod(0o600)
    assert read_private_key(path, b"secret").secret_bytes() == key.secret_bytes()
    assert decrypt_private_key(path.read_bytes(), b"secret") == key.to_der()


def test_we_write_keys_byte_by_byte_as_openssl_does(tmp_path: Path) -> None:
    theirs = openssl("genpkey", "-algorithm", "SM2")
    key = SM2PrivateKey.from_pem(theirs)
    assert key.to_pem() == theirs
    public = openssl("pkey", "-in", written(tmp_path / "key.pem", theirs), "-pubout")
    assert key.public_key.to_pem() == public
    assert SM2PublicKey.from_pem(public) == key.public_key


def test_we_read_the_older_forms_that_openssl_still_writes(key: SM2PrivateKey, private: Path) -> None:
    rfc5915 = openssl("ec", "-in", private)
    assert b"BEGIN SM2 PRIVATE KEY" in rfc5915
    assert SM2PrivateKey.from_pem(rfc5915).secret_bytes() == key.secret_bytes()
    with_parameters = openssl("ecparam", "-name", "SM2", "-genkey")
    assert b"PARAMETERS" in with_parameters
    assert SM2PrivateKey.from_pem(with_parameters).public_key


# Signatures.


def test_openssl_verifies_our_signatures(engine: Engine, tmp_path: Path, key: SM2PrivateKey, public: Path) -> None:
    message = written(tmp_path / "message", MESSAGE)
    signature = written(tmp_path / "signature", engine.sm2_sign_many(key, [MESSAGE])[0])
    dgst = ("-verify", public, "-signature", signature, message)
    assert openssl("dgst", "-sm3", "-sigopt", DISTID, *dgst) == b"Verified OK\n"
    pkeyutl = ("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-digest", "sm3", "-pkeyopt", DISTID)
    assert b"Verified Successfully" in openssl(*pkeyutl, "-in", message, "-sigfile", signature)
    with pytest.raises(subprocess.CalledProcessError):
        openssl("dgst", "-sm3", "-sigopt", EMPTY_DISTID, *dgst)


def test_we_verify_openssls_signatures(engine: Engine, tmp_path: Path, key: SM2PrivateKey, private: Path) -> None:
    message = written(tmp_path / "message", MESSAGE)
    theirs = openssl("dgst", "-sm3", "-sigopt", DISTID, "-sign", private, message)
    engine.sm2_verify_many([key.public_key], [MESSAGE], [theirs])
    under_no_id = openssl("dgst", "-sm3", "-sigopt", EMPTY_DISTID, "-sign", private, message)
    engine.sm2_verify_many([key.public_key], [MESSAGE], [under_no_id], user_id=b"")
    with pytest.raises(SignatureInvalid):
        engine.sm2_verify_many([key.public_key], [MESSAGE], [under_no_id])


# Ciphertexts.


@pytest.mark.parametrize("size", [1, 16, 31, 32, 33, 255, 4_096])
def test_openssl_decrypts_ours_and_we_decrypt_openssls(
    engine: Engine, tmp_path: Path, key: SM2PrivateKey, private: Path, public: Path, size: int
) -> None:
    message = os.urandom(size)
    sealed = written(tmp_path / "sealed", engine.sm2_encrypt(key.public_key, message))
    assert openssl("pkeyutl", "-decrypt", "-inkey", private, "-in", sealed) == message
    theirs = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public, given=message)
    assert engine.sm2_decrypt(key, theirs) == message


def test_a_spelling_that_openssl_accepts_is_refused(
    engine: Engine, tmp_path: Path, key: SM2PrivateKey, private: Path, public: Path
) -> None:
    """A byte behind the ciphertext is nothing to OpenSSL 3; to us it is another ciphertext."""
    theirs = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", public, given=MESSAGE)
    longer = written(tmp_path / "sealed", theirs + b"\0")
    try:
        assert openssl("pkeyutl", "-decrypt", "-inkey", private, "-in", longer) == MESSAGE
    except subprocess.CalledProcessError:
        pytest.skip("this OpenSSL refuses the byte as well")
    with pytest.raises(DecryptionFailed):
        engine.sm2_decrypt(key, theirs + b"\0")


# Whole notes, whose text openssl signs and verifies as it is.


def test_openssl_verifies_every_line_of_a_note(engine: Engine, tmp_path: Path, key: SM2PrivateKey) -> None:
    other = SM2PrivateKey.generate(os.urandom)
    raw = cosign_note(sign_note(TEXT, NAME, HeldKey(engine, key)), "witness.example", HeldKey(engine, other))
    # Taken apart as a person would with a text editor and base64: the text, and each line's last word.
    text, _, lines = raw.decode().rpartition("\n\n")
    message = written(tmp_path / "text", text.encode() + b"\n")
    longer = written(tmp_path / "longer", text.encode() + b"\n\n")
    signers = [key, other]
    assert lines.count("\n") == len(signers)
    for line, signer in zip(lines.splitlines(), signers, strict=True):
        signature = written(tmp_path / "signature", base64.b64decode(line.split(" ")[2])[4:])
        public = written(tmp_path / "public.pem", signer.public_key.to_pem())
        verify = ("dgst", "-sm3", "-sigopt", DISTID, "-verify", public, "-signature", signature)
        assert openssl(*verify, message) == b"Verified OK\n"
        with pytest.raises(subprocess.CalledProcessError):
            openssl(*verify, longer)


def test_we_open_a_note_whose_signature_openssl_made(engine: Engine, tmp_path: Path) -> None:
    pem = written(tmp_path / "key.pem", openssl("genpkey", "-algorithm", "SM2"))
    text = written(tmp_path / "text", TEXT.encode())
    signer = NoteKey(NAME, SM2PublicKey.from_pem(openssl("pkey", "-in", pem, "-pubout")))

    def note(distid: str) -> bytes:
        signature = openssl("dgst", "-sm3", "-sigopt", distid, "-sign", pem, text)
        encoded = base64.b64encode(signer.key_id + signature).decode()
        return f"{TEXT}\n— {NAME} {encoded}\n".encode()

    raw = note(DISTID)
    assert open_note(engine, raw, [signer]).signers == (signer,)
    (line,) = parse_note(raw).signatures
    assert Note(TEXT, (NoteSignature(NAME, signer.key_id, line.signature),)).to_bytes() == raw
    with pytest.raises(SignatureInvalid):
        open_note(engine, note(EMPTY_DISTID), [signer])


# Requests for certificates: some programs lose the user id on the way to the signature.


def test_a_request_under_the_default_user_id_verifies_and_one_that_lost_it_does_not(
    engine: Engine, tmp_path: Path, key: SM2PrivateKey, private: Path
) -> None:
    make = ("req", "-new", "-key", private, "-sm3", "-subj", "/CN=kiteline")
    sound = certificate_request(written(tmp_path / "csr", openssl(*make, "-sigopt", DISTID)))
    engine.sm2_verify_many([key.public_key], [sound.body], [sound.signature])
    lost = certificate_request(written(tmp_path / "csr", openssl(*make, "-sigopt", EMPTY_DISTID)))
    engine.sm2_verify_many([key.public_key], [lost.body], [lost.signature], user_id=b"")
    with pytest.raises(SignatureInvalid):
        engine.sm2_verify_many([key.public_key], [lost.body], [lost.signature])
    assert sound.key == lost.key == key.public_key
