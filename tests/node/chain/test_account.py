"""The account's keystore file: encrypted, private, strict."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crypto.errors import KeyFileExposed, KeyInvalid
from node.chain.account import new_account, read_account, write_account

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
