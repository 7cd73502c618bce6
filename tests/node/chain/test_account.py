"""The account's keystore file: encrypted, private, strict."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import KeyFileExposed, KeyInvalid
from crypto.scalars import SECP256K1_ORDER as ORDER
from node.chain.account import (
    LocalSigner,
    RemoteAccount,
    Transaction,
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
