"""The account's keystore file: encrypted, private, strict."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import KeyFileExposed, KeyInvalid
from crypto.key_files import encrypt_private_key
from crypto.sm2 import SM2PrivateKey
from node.chain.account import (
    ORDER,
    LocalSigner,
    RemoteAccount,
    Transaction,
    account_from_pkcs8,
    account_to_pkcs8,
    new_account,
    read_account,
    write_account,
)

CHEAP = 2**4  # cost of the key derivation


def test_an_account_comes_back_with_its_passphrase_only(tmp_path: Path) -> None:
    account, path = new_account(os.urandom), tmp_path / "account.json"
    write_account(path, account, "口令 word", scrypt_n=CHEAP)
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    assert document["version"] == 3
    assert account.key.hex() not in path.read_text()
    assert read_account(path, "口令 word").address == account.address
    with pytest.raises(KeyInvalid, match="passphrase is another") as refused:
        read_account(path, "another")
    assert refused.value.__cause__ is None
    assert [file.name for file in tmp_path.iterdir()] == ["account.json"]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    write_account(path, new_account(os.urandom), "a", scrypt_n=CHEAP)
    before = path.read_bytes()
    with pytest.raises(KeyInvalid, match="exists already"):
        write_account(path, new_account(os.urandom), "a", scrypt_n=CHEAP)
    assert path.read_bytes() == before


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    write_account(path, new_account(os.urandom), "a", scrypt_n=CHEAP)
    path.chmod(0o640)
    with pytest.raises(KeyFileExposed):
        read_account(path, "a")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 3}', '{"version": 3, "crypto": {"kdf": "none"}}', "é"])
def test_what_is_no_keystore_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "account.json"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(KeyInvalid):
        read_account(path, "a")
    with pytest.raises(KeyInvalid, match="cannot be read"):
        read_account(tmp_path / "absent.json", "a")


def test_a_new_account_is_drawn_again_where_the_draw_is_no_key() -> None:
    draws = iter([bytes(32), b"\xff" * 32, b"\1" * 32])
    assert new_account(lambda _: next(draws)).key == b"\1" * 32


secrets = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
amounts = st.integers(0, 2**96)
heads = st.fixed_dictionaries(
    {
        "nonce": st.integers(0, 2**32),
        "gas": st.integers(0, 2**32),
        "value": amounts,
        "data": st.binary(max_size=80),
        "chainId": st.integers(1, 2**32),
    },
    optional={"to": st.binary(min_size=20, max_size=20)},
)
offers = st.fixed_dictionaries({"gasPrice": amounts}) | amounts.flatmap(
    lambda most: st.fixed_dictionaries(
        {"maxFeePerGas": st.just(most), "maxPriorityFeePerGas": st.integers(0, most), "type": st.just(2)}
    )
)


def remote(account: LocalAccount, offset: int = 27) -> RemoteAccount:
    """The account as another process that signs for it offers it."""

    def sign_hash(digest: bytes) -> tuple[int, int, int]:
        signature = account.unsafe_sign_hash(Hash32(digest))
        return signature.r, signature.s, signature.v - 27 + offset

    return RemoteAccount(account.address, sign_hash)


@given(secrets, heads, offers, st.sampled_from([0, 27]))
def test_a_remote_account_signs_the_same_bytes_as_the_key_itself(
    secret: bytes, head: Transaction, offer: Transaction, offset: int
) -> None:
    account: LocalAccount = Account.from_key(secret)
    transaction = head | offer
    signed = remote(account, offset).sign_transaction(transaction)
    assert signed == LocalSigner(account).sign_transaction(transaction)
    assert Account.recover_transaction(signed) == account.address


PLAIN: Transaction = {"nonce": 1, "gas": 21_000, "value": 0, "data": b"", "chainId": 1, "gasPrice": 0, "to": bytes(20)}


def test_a_signature_that_is_not_the_accounts_goes_nowhere() -> None:
    account, other = new_account(os.urandom), new_account(os.urandom)

    def signed(digest: bytes) -> tuple[int, int, int]:
        signature = account.unsafe_sign_hash(Hash32(digest))
        return signature.r, signature.s, signature.v - 27

    def higher(digest: bytes) -> tuple[int, int, int]:
        r, s, parity = signed(digest)
        return r, ORDER - s, 1 - parity

    answers = [
        lambda digest: signed(digest[::-1]),
        higher,
        lambda digest: (*signed(digest)[:2], 1 - signed(digest)[2]),
        lambda digest: (*signed(digest)[:2], 2),
        lambda digest: (0, *signed(digest)[1:]),
        lambda digest: (ORDER, *signed(digest)[1:]),
        lambda digest: (-1, *signed(digest)[1:]),
    ]
    for answer in answers:
        with pytest.raises(KeyInvalid):
            RemoteAccount(account.address, answer).sign_transaction(PLAIN)
    with pytest.raises(KeyInvalid):
        RemoteAccount(other.address, signed).sign_transaction(PLAIN)
    assert RemoteAccount(account.address, signed).sign_transaction(PLAIN)


@given(secrets)
def test_an_account_comes_back_from_pkcs8(secret: bytes) -> None:
    account: LocalAccount = Account.from_key(secret)
    pem = account_to_pkcs8(account, b"word", os.urandom, iterations=1)
    assert account_from_pkcs8(pem, b"word").key == account.key
    assert secret not in pem


def test_openssl_reads_the_accounts_key(tmp_path: Path) -> None:
    account, path = new_account(os.urandom), tmp_path / "account.pem"
    path.write_bytes(account_to_pkcs8(account, "口令".encode(), os.urandom, iterations=1_000))
    shown = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-passin", "pass:口令", "-noout", "-text"],  # noqa: S607  # wherever it is
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    assert "secp256k1" in shown
    assert account.key.hex().removeprefix("0x") in "".join(shown.split()).replace(":", "")


def test_what_is_no_accounts_key_is_refused() -> None:
    pem = account_to_pkcs8(new_account(os.urandom), b"word", os.urandom, iterations=1)
    with pytest.raises(KeyInvalid):
        account_from_pkcs8(pem, b"another")
    with pytest.raises(KeyInvalid, match="no private key of an account"):
        account_from_pkcs8(encrypt_private_key(b"\x30\x00", b"word", os.urandom, 1), b"word")
    other = SM2PrivateKey.generate(os.urandom)
    with pytest.raises(KeyInvalid):
        account_from_pkcs8(encrypt_private_key(other.to_der(), b"word", os.urandom, 1), b"word")
    p256 = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(KeyInvalid, match="secp256k1"):
        account_from_pkcs8(encrypt_private_key(p256, b"word", os.urandom, 1), b"word")
