"""A node's directory: made whole, closed to others, or not made at all."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from audit.log import AuditLog
from crypto.engine import load_engine
from node.app.admission import admission_document, parse_roles, read_admission
from node.app.initialise import initialise
from node.app.settings import load
from node.chain.admission import Admission
from node.errors import ConfigurationInvalid, KeyAgentUnavailable
from node.keys.agent import AGENT_KINDS, KeyAgent
from node.keys.material import Means
from node.keys.store import KeyStore, read_manifest
from node.model.chain import Role
from node.model.keys import Kind
from tests.node.app.settings_reference import complete

PASSPHRASE = b"for this test alone"


def _initialise(home: Path, **changes: object) -> Admission:
    settings = replace(complete(home), **{"key_agent": None, **changes})  # type: ignore[arg-type]  # any setting, by name
    return initialise(
        home, settings, Role.DEPARTMENT | Role.AUTHORITY, PASSPHRASE, os.urandom, lambda: time.time_ns() // 1_000_000
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Admission]:
    """A node's directory, and what its consortium is told."""
    home = tmp_path_factory.mktemp("initialise") / "node"
    return home, _initialise(home)


def test_the_configuration_reads_back_and_the_log_is_there_and_empty(made: tuple[Path, Admission]) -> None:
    home, _ = made
    settings = load(home / "kiteline.toml")
    assert settings == replace(complete(home), key_agent=None)
    log = AuditLog.open(settings.data_directory / "log", load_engine(), map_bytes=1 << 30)
    try:
        assert log.size == 0
    finally:
        log.close()


def test_nobody_but_its_owner_reads_the_keys(made: tuple[Path, Admission]) -> None:
    home, _ = made
    for directory in (home, home / "keys", home / "data"):
        assert directory.stat().st_mode & 0o777 == 0o700, directory
    secrets = [path for path in (home / "keys").iterdir() if not path.name.endswith(".cert.pem")]
    assert {path.name for path in secrets} == {
        "account-1.pem",
        "at-rest-1.key",
        "client.key.pem",
        "encryption-1.pem",
        "lock",
        "security.key.pem",
        "signing-1.pem",
        "store",
        "tls-1.key.pem",
    }
    for path in secrets:
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_no_private_key_is_in_the_admission_file(made: tuple[Path, Admission], tmp_path: Path) -> None:
    _, admission = made
    file = tmp_path / "admission.json"
    file.write_text(json.dumps(admission_document(admission)), encoding="utf-8")
    assert read_admission(file) == admission
    assert set(json.loads(file.read_text(encoding="utf-8"))) == {
        "version",
        "member_id",
        "name",
        "roles",
        "signing_key",
        "encryption_key",
        "account",
        "certificate",
        "endpoint",
    }


def test_a_directory_that_holds_something_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ConfigurationInvalid, match="not empty"):
        _initialise(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"listen": "nonsense"}, "node.listen"),
        ({"advertise": "127.0.0.1:70000"}, "node.advertise"),
        ({"metrics_listen": "9100"}, "metrics.listen"),
        ({"name": " "}, "node.name"),
        ({"member_id": "113707000042587460"}, "node.member_id"),
    ],
)
def test_what_serve_would_refuse_is_refused_before_anything_is_made(
    tmp_path: Path, changes: dict[str, object], setting: str
) -> None:
    home = tmp_path / "node"
    with pytest.raises(ConfigurationInvalid) as refused:
        _initialise(home, **changes)
    assert refused.value.details["setting"] == setting
    assert not home.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationInvalid, match="cannot be made: Not a directory"):
        _initialise(tmp_path / "file" / "node")


def test_roles_are_names_with_commas_between() -> None:
    assert parse_roles("auditor") is Role.AUDITOR
    assert parse_roles("department,authority") == Role.DEPARTMENT | Role.AUTHORITY
    for wrong in ("", "boss", "department, authority", "department,"):
        with pytest.raises(ConfigurationInvalid, match="there is no role"):
            parse_roles(wrong)


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"member_id": "113707000042587460"},
        {"roles": "department"},
        {"roles": ["boss"]},
        {"signing_key": "04" + "00" * 64},
        {"encryption_key": "zz"},
        {"certificate": None},
        {"endpoint": 7},
    ],
)
def test_an_admission_file_that_was_altered_is_refused(
    made: tuple[Path, Admission], tmp_path: Path, changes: dict[str, object]
) -> None:
    file = tmp_path / "admission.json"
    file.write_text(json.dumps(admission_document(made[1]) | changes), encoding="utf-8")
    with pytest.raises(ConfigurationInvalid):
        read_admission(file)


def test_a_node_whose_agent_keeps_its_keys_has_none_of_them_itself(tmp_path: Path) -> None:
    settings = complete(tmp_path / "node")
    path = tmp_path / "agent.sock"
    with pytest.raises(KeyAgentUnavailable):
        _initialise(tmp_path / "node", key_agent=path)
    assert not (tmp_path / "node").exists()
    means = Means(load_engine(), b"the agent's own", os.urandom, lambda: time.time_ns() // 1_000_000)
    with (
        KeyStore.create(tmp_path / "agent", settings.member_id, means, AGENT_KINDS) as store,
        KeyAgent(store, path, lambda _operation, _refusal: None),
    ):
        admission = _initialise(tmp_path / "node", key_agent=path)
        assert admission.keys.signing_key == store.signer(1).public_key.to_bytes()
        assert admission.keys.encryption_key == store.decrypter(1).public_key.to_bytes()
        own = read_manifest(tmp_path / "node" / "keys")
        assert own.kinds == (Kind.TLS, Kind.AT_REST)
        other = tmp_path / "other"
        with pytest.raises(ConfigurationInvalid, match="has the keys of"):
            _initialise(other, key_agent=path, member_id="113707000042591160")
        assert not other.exists()
