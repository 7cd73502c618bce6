"""A treasury is made once, opens with its passphrase, and pays whoever an admission file or an address names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from crypto.errors import KeyInvalid
from node.app.admission import admission_document
from node.app.treasury import account_named, make_treasury
from node.chain.account import read_account, read_address
from node.errors import ConfigurationInvalid, FileUnusable
from tests.node.cli.desk import PASSPHRASE
from tests.support.consortium import make_member


def test_a_treasury_is_made_once_and_opens_with_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "treasury.json"
    address = make_treasury(path, PASSPHRASE, os.urandom)
    assert read_address(path) == address == read_account(path, PASSPHRASE.decode()).address
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(KeyInvalid, match="is not overwritten"):
        make_treasury(path, PASSPHRASE, os.urandom)
    assert read_address(path) == address
    with pytest.raises(FileUnusable):
        make_treasury(tmp_path / "absent" / "treasury.json", PASSPHRASE, os.urandom)


def test_what_is_no_keystore_has_no_address(tmp_path: Path) -> None:
    path = tmp_path / "treasury.json"
    with pytest.raises(KeyInvalid, match="cannot be read"):
        read_address(path)
    for text in ("{}", "[]", '{"address": "0x12"}', "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(KeyInvalid, match="is no keystore"):
            read_address(path)


def test_an_account_is_named_by_an_admission_file_or_its_address(tmp_path: Path) -> None:
    kit = make_member(1)
    path = tmp_path / "admission.json"
    path.write_text(json.dumps(admission_document(kit.admission)), encoding="utf-8")
    assert account_named(str(path)) == account_named(kit.account.address.lower()) == kit.account.address
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigurationInvalid, match="no admission file"):
        account_named(str(path))
