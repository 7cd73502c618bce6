"""A node that cannot start says why in one line with its reason, ends with its code, and has changed nothing.

Each case spoils one thing of a member that can start, and puts it right again; at the end the node starts as it was.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import lmdb
import pytest

from audit.log import AuditLog
from crypto.engine import load_engine
from kiteline.exchange.v1 import department_pb2
from scripts.local_consortium import CommandFailed, LocalConsortium
from scripts.processes import Child, accepts, free_port
from tests.integration.conftest import ARCHIVES, MUSEUM, Archives
from tests.support.commands import START_SECONDS, run
from tests.support.peer_client import LogWatch, department

pytestmark = pytest.mark.process

# LMDB's table of readers, and the index of the chain: a copy of what everybody can read, which goes on by itself.
NOT_STATE = ("lock.mdb", "chain-index/data.mdb")


def state_of(home: Path) -> dict[str, str]:
    """The digest of every file that a node answers for."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not str(path).endswith(NOT_STATE)
    }


@pytest.fixture(scope="module")
def stopped(consortium: LocalConsortium, archives: Archives) -> Archives:
    """A member whose node has run and anchored its log, and was stopped."""
    node = consortium.start_node(ARCHIVES)
    try:
        with department(consortium, ARCHIVES) as client:
            client.department.AnchorNow(department_pb2.AnchorNowRequest())
    finally:
        assert node.stop() == 0, node.log_end()
    return archives


@pytest.fixture
def config(consortium: LocalConsortium, stopped: Archives) -> Iterator[Path]:
    """The member's configuration, to be spoilt; put right again afterwards."""
    path = consortium.config(ARCHIVES)
    whole = path.read_bytes()
    yield path
    path.write_bytes(whole)


def check_refused(consortium: LocalConsortium, home: Path, reason: str, code: int = 1, **environment: str) -> str:
    """`serve` ends with one reason and its code, and the directory is as it was. Gives what was printed."""
    before = state_of(home)
    ended = run(consortium, "serve", "--config", str(home / "kiteline.toml"), environment=environment)
    assert (ended.code, ended.reasons) == (code, [reason]), ended.printed
    assert "Traceback" not in ended.printed
    assert state_of(home) == before
    return ended.printed


@contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """A file with another content, or without its file; as it was afterwards."""
    whole, mode = path.read_bytes(), path.stat().st_mode
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)
        path.chmod(mode)


# Configuration.


def _setting(old: str, new: str) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        spoilt = re.sub(old, new, text, count=1, flags=re.MULTILINE)
        assert spoilt != text
        return spoilt

    return spoil


@pytest.mark.parametrize(
    ("spoil", "reason", "named"),
    [
        (lambda _: "version = 1\n[node", "CONFIGURATION_INVALID", "kiteline.toml"),
        (_setting("^version = 1", "version = 2"), "CONFIGURATION_INVALID", "version"),
        (_setting("^listen = ", "lisen = "), "CONFIGURATION_INVALID", "node.listen"),
        (
            _setting("^delivery_segments = 1", "delivery_segments = 0"),
            "CONFIGURATION_INVALID",
            "exchange.delivery_segments",
        ),
        (_setting("^grace_seconds", 'engine = "quantum"\ngrace_seconds'), "ENGINE_UNAVAILABLE", "quantum"),
        (_setting('^network_file = ".*"', 'network_file = "nowhere.toml"'), "CONFIGURATION_INVALID", "nowhere.toml"),
        (
            _setting('^contracts_file = ".*"', 'contracts_file = "nowhere.toml"'),
            "CONFIGURATION_INVALID",
            "nowhere.toml",
        ),
        (_setting(r'"keys/client.cert.pem"', '"kiteline.toml"'), "CONFIGURATION_INVALID", "client certificate"),
    ],
    ids=[
        "no TOML",
        "another version",
        "a misspelt setting",
        "out of range",
        "no such engine",
        "no network file",
        "no contracts file",
        "no certificate",
    ],
)
def test_a_bad_configuration_is_named(
    consortium: LocalConsortium,
    stopped: Archives,
    config: Path,
    spoil: Callable[[str], str],
    reason: str,
    named: str,
) -> None:
    config.write_text(spoil(config.read_text(encoding="utf-8")), encoding="utf-8")
    assert named in check_refused(consortium, stopped.home, reason)


def test_a_configuration_that_is_not_there_is_said_to_be(consortium: LocalConsortium, tmp_path: Path) -> None:
    ended = run(consortium, "serve", "--config", str(tmp_path / "kiteline.toml"))
    assert (ended.code, ended.reasons) == (1, ["CONFIGURATION_INVALID"])
    assert list(tmp_path.iterdir()) == []


# Keys.


def test_without_the_passphrase_no_key_is_opened(
    consortium: LocalConsortium, stopped: Archives, tmp_path: Path
) -> None:
    wrong = tmp_path / "passphrase"
    wrong.write_text("another", encoding="ascii")
    for file, reason in ((str(wrong), "KEY_INVALID"), (str(tmp_path / "none"), "CONFIGURATION_INVALID")):
        check_refused(consortium, stopped.home, reason, KITELINE_PASSPHRASE_FILE=file)


@pytest.mark.parametrize("name", ["signing-1.pem", "account-1.pem"])
def test_a_key_file_that_others_may_read_is_not_used(consortium: LocalConsortium, stopped: Archives, name: str) -> None:
    path = stopped.home / "keys" / name
    path.chmod(0o640)
    try:
        assert name in check_refused(consortium, stopped.home, "KEY_FILE_EXPOSED")
    finally:
        path.chmod(0o600)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("signing-1.pem", lambda content: content[:100]),
        ("at-rest-1.key", lambda content: content[:16] + b"\x02" + content[17:]),
        ("tls-1.key.pem", lambda _: None),
    ],
    ids=["truncated", "another version byte", "absent"],
)
def test_a_key_file_that_is_not_as_it_was_written_is_not_used(
    consortium: LocalConsortium, stopped: Archives, name: str, spoil: Callable[[bytes], bytes | None]
) -> None:
    path = stopped.home / "keys" / name
    with changed(path, spoil(path.read_bytes())):
        assert name in check_refused(consortium, stopped.home, "KEY_INVALID")


# The chain.


@pytest.mark.parametrize(
    ("network_id", "contracts_id"), [(1, 31337), (1, 1)], ids=["the contracts are elsewhere", "the endpoint is another"]
)
def test_another_chain_than_the_consortiums_is_not_followed(
    consortium: LocalConsortium, stopped: Archives, config: Path, tmp_path: Path, network_id: int, contracts_id: int
) -> None:
    names = {"network": network_id, "contracts": contracts_id}
    text = config.read_text(encoding="utf-8")
    for name, chain_id in names.items():
        file = tmp_path / f"{name}.toml"
        original = (consortium.directory / f"{name}.toml").read_text(encoding="utf-8")
        file.write_text(original.replace("chain_id = 31337", f"chain_id = {chain_id}"), encoding="utf-8")
        text = re.sub(f'^{name}_file = ".*"', f'{name}_file = "{file}"', text, count=1, flags=re.MULTILINE)
    config.write_text(text, encoding="utf-8")
    check_refused(consortium, stopped.home, "CHAIN_MISMATCH")


def _without_chain(consortium: LocalConsortium, config: Path, directory: Path) -> None:
    """Have a configuration name an endpoint where nothing listens."""
    network = directory / "network.toml"
    text = (consortium.directory / "network.toml").read_text(encoding="utf-8")
    network.write_text(text.replace(f":{consortium.chain_port}", f":{free_port()}"), encoding="utf-8")
    settings = config.read_text(encoding="utf-8")
    changed = re.sub('^network_file = ".*"', f'network_file = "{network}"', settings, count=1, flags=re.MULTILINE)
    config.write_text(changed, encoding="utf-8")


def test_a_member_that_is_not_admitted_and_a_chain_that_is_down_are_told_apart(
    consortium: LocalConsortium, tmp_path: Path
) -> None:
    home = tmp_path / "museum"
    arguments = ["--member-id", MUSEUM.member_id, "--name", MUSEUM.name, "--listen", f"127.0.0.1:{free_port()}"]
    places = [f"--{name}={consortium.directory / name}.toml" for name in ("network", "contracts")]
    assert run(consortium, "init", str(home), *arguments, *places).code == 0
    before = state_of(home)
    for spoil, reason, code in ((False, "NOT_A_MEMBER", 1), (True, "CHAIN_UNAVAILABLE", 3)):
        if spoil:
            _without_chain(consortium, home / "kiteline.toml", tmp_path)
        ended = run(consortium, "serve", "--config", str(home / "kiteline.toml"))
        assert (ended.code, ended.reasons) == (code, [reason]), ended.printed
    after = state_of(home)
    assert {name: after[name] for name in before if name != "kiteline.toml"} == {
        name: digest for name, digest in before.items() if name != "kiteline.toml"
    }


def test_a_node_that_knows_the_chain_starts_while_it_is_down_and_says_so(
    consortium: LocalConsortium, stopped: Archives, config: Path, tmp_path: Path
) -> None:
    _without_chain(consortium, config, tmp_path)
    printed = tmp_path / "node.log"
    command = [sys.executable, "-m", "node.cli.main", "serve", "--json", "--config", str(config)]
    node = Child("archives", command, printed, consortium.environment)
    try:
        node.wait_until(lambda: accepts(consortium.port(ARCHIVES)), START_SECONDS)
        with pytest.raises(CommandFailed) as failed:
            consortium.kiteline(ARCHIVES, "status")
        assert failed.value.code == 3
        assert failed.value.document["chain_reachable"] is False
        with pytest.raises(CommandFailed) as failed:
            consortium.kiteline(ARCHIVES, "chain", "anchor")
        assert (failed.value.reason, failed.value.code) == ("CHAIN_UNAVAILABLE", 3)
    finally:
        code = node.stop()
    assert code == 0
    assert '"event": "chain_unavailable"' in printed.read_text(encoding="utf-8")


# Ports and stores.


def test_a_port_that_is_taken_is_named(consortium: LocalConsortium, stopped: Archives, config: Path) -> None:
    with socket.create_server(("127.0.0.1", consortium.port(ARCHIVES))):
        assert f":{consortium.port(ARCHIVES)}" in check_refused(consortium, stopped.home, "PORT_TAKEN")
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        config.write_text(f'{config.read_text(encoding="utf-8")}\n[metrics]\nlisten = "{place}"\n', encoding="utf-8")
        assert place in check_refused(consortium, stopped.home, "PORT_TAKEN")


def test_a_second_node_on_one_directory_is_refused_and_the_first_goes_on(
    consortium: LocalConsortium, stopped: Archives, tmp_path: Path
) -> None:
    second = stopped.home / "second.toml"
    node = consortium.start_node(ARCHIVES)
    try:
        text = consortium.config(ARCHIVES).read_text(encoding="utf-8")
        second.write_text(text.replace(f":{consortium.port(ARCHIVES)}", f":{free_port()}", 1), encoding="utf-8")
        log = LogWatch(stopped.home / "data")
        ended = run(consortium, "serve", "--config", str(second))
        assert (ended.code, ended.reasons) == (1, ["KEY_STORE_HELD"]), ended.printed
        assert log.steps() == []
        assert consortium.kiteline(ARCHIVES, "status")["chain_reachable"] is True
    finally:
        second.unlink(missing_ok=True)
        assert node.stop() == 0, node.log_end()


def _of_another_format(log: Path) -> None:
    """Raise the number of the format in a log's head record (audit.store)."""
    environment = lmdb.open(str(log / "epochs" / "0000"), max_dbs=16, lib_version=0, map_size=1 << 30)
    with closing(environment), environment.begin(write=True) as transaction:
        head = environment.open_db(b"head", transaction)
        record = transaction.get(b"head", db=head)
        assert record is not None
        assert record[:2] == b"\0\1"
        transaction.put(b"head", b"\0\2" + record[2:], db=head)


def _begun_again(log: Path) -> None:
    origin = f"kiteline/{ARCHIVES.member_id}/audit/SM3"
    shutil.rmtree(log)
    AuditLog.create(log, origin, load_engine("openssl")).close()


def _lost(log: Path) -> None:
    (log / "epochs" / "0000" / "data.mdb").unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_of_another_format, "STORE_VERSION"), (_begun_again, "STORE_BEHIND"), (_lost, "STORE_ABSENT")],
    ids=["another format", "begun again", "lost"],
)
def test_a_log_that_is_not_this_programs_or_behind_the_chain_is_not_appended_to(
    consortium: LocalConsortium, stopped: Archives, spoil: Callable[[Path], None], reason: str
) -> None:
    log = stopped.home / "data" / "log"
    kept = log.with_name("log.kept")
    shutil.copytree(log, kept)
    try:
        spoil(log)
        check_refused(consortium, stopped.home, reason)
    finally:
        shutil.rmtree(log)
        kept.rename(log)


def test_after_all_of_it_the_node_starts_as_it_was(consortium: LocalConsortium, stopped: Archives) -> None:
    size = len(LogWatch(stopped.home / "data").entries())
    node = consortium.start_node(ARCHIVES)
    try:
        assert consortium.kiteline(ARCHIVES, "status")["log_entries"] == size + 1
    finally:
        assert node.stop() == 0, node.log_end()
