"""Whole exchanges between node processes: killed, revoked, expired, used up, tapped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from audit.entry import parse_entry
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import load_engine
from node.exchange.notes import read_note
from node.model.statements import Delivery, KeyRelease, Receipt
from node.stores.dataset_index import INDEX_KIND
from node.stores.environment import GIGABYTE, Environment
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium, MemberPlan
from tests.integration.conftest import ROWS
from tests.support.keys import open_keys

pytestmark = pytest.mark.process

# What a requester has opened with keys that were released to it, whole or of a fetch that was cut.
PLAINTEXT = {"records.jsonl", "records.partial.jsonl"}


def _grant(consortium: LocalConsortium, dataset: str, *options: str) -> str:
    grant = consortium.kiteline(HEALTH, "request", dataset, "--purpose", "to test", *options)["grant"]
    consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
    return str(grant)


def _restart(consortium: LocalConsortium, member: MemberPlan) -> None:
    consortium.nodes[member.slug].kill()
    consortium.start_node(member)


def _rows(consortium: LocalConsortium, grant: str, directory: Path) -> list[str]:
    target = directory / f"{grant[:8]}.csv"
    consortium.kiteline(HEALTH, "export", grant, "--to", str(target))
    return target.read_text(encoding="utf-8").splitlines()


def _check_log(consortium: LocalConsortium, grant: str) -> None:
    """Every delivery numbered without a gap, and no key released before its receipt: from the provider's log on disk."""
    store = TreeStore.open(consortium.home(CIVIL_AFFAIRS) / "data" / "log", load_engine(), read_only=True)
    with closing(store):
        entries = [parse_entry(raw) for raw in AuditLog.reader(store)]
    delivered: set[int] = set()
    receipted: set[int] = set()
    for entry in entries:
        if entry.note is None or entry.refusal is not None or not entry.subject.endswith(grant):
            continue
        statement = read_note(entry.note).statement
        if isinstance(statement, Delivery):
            delivered.add(statement.sequence)
        elif isinstance(statement, Receipt):
            receipted.add(statement.sequence)
        elif isinstance(statement, KeyRelease):
            assert statement.sequence in receipted
    assert delivered == set(range(1, len(delivered) + 1))


@pytest.mark.parametrize("victim", [CIVIL_AFFAIRS, HEALTH], ids=["provider", "requester"])
@pytest.mark.parametrize("event", ["ORDER", "DELIVERY", "RECEIPT", "KEYS", "TRANSFER"])
def test_a_process_killed_at_a_step_of_a_fetch_resumes(
    consortium: LocalConsortium, dataset: str, source: Path, tmp_path: Path, victim: MemberPlan, event: str
) -> None:
    """The kill comes when the victim's log on disk shows the step: everything before it is durable, nothing after it is sure."""
    grant = _grant(consortium, dataset)
    log = consortium.home(victim) / "data" / "log"
    command = [
        sys.executable,
        "-m",
        "node.cli.main",
        "fetch",
        grant,
        "--config",
        str(consortium.config(HEALTH)),
        "--json",
    ]
    fetching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **consortium.environment}
    )
    try:
        consortium.nodes[victim.slug].wait_until(
            lambda: _has_step(log, grant, event) or fetching.poll() is not None, seconds=60
        )
        _restart(consortium, victim)
        fetching.communicate(timeout=120)
    finally:
        fetching.kill()
        fetching.wait()
    fetched = consortium.kiteline(HEALTH, "fetch", grant)
    assert fetched["records"] == ROWS
    assert _rows(consortium, grant, tmp_path) == source.read_text(encoding="utf-8").splitlines()
    _check_log(consortium, grant)
    trail = consortium.kiteline(CIVIL_AFFAIRS, "trail", grant)
    assert trail["findings"] == []


def _has_step(log: Path, grant: str, event: str) -> bool:
    store = TreeStore.open(log, load_engine("openssl"), read_only=True)
    with closing(store):
        recent = list(AuditLog.reader(store, max(0, store.size - 12)))
    return any(entry.event.startswith(event) and entry.subject.endswith(grant) for entry in map(parse_entry, recent))


def test_a_revoked_grant_allows_no_new_order(consortium: LocalConsortium, dataset: str) -> None:
    grant = _grant(consortium, dataset)
    consortium.kiteline(CIVIL_AFFAIRS, "revoke", grant, "--reason", "no longer needed")
    for command in (("fetch", grant), ("query", grant, "K0000001")):
        with pytest.raises(CommandFailed) as refused:
            consortium.kiteline(HEALTH, *command)
        assert refused.value.reason in {"GRANT_REVOKED", "GRANT_NOT_APPROVED"}
        assert refused.value.code == 1
    explained = consortium.kiteline(CIVIL_AFFAIRS, "explain", grant)
    assert explained["allowed"] is False
    assert explained["reason"] == "GRANT_REVOKED"


def test_a_used_up_grant_allows_no_new_order(consortium: LocalConsortium, dataset: str) -> None:
    grant = _grant(consortium, dataset, "--quota", "1")
    assert consortium.kiteline(HEALTH, "query", grant, "K0000001")["record"]["name"] == "Sentinel Person 0000001"
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(HEALTH, "query", grant, "K0000002")
    assert refused.value.reason == "GRANT_USED_UP"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("request", "0" * 64, "--purpose", "x"), "DATASET_UNKNOWN"),
        (("fetch", "0" * 64), "GRANT_UNKNOWN"),
        (("query", "0" * 64, "x"), "GRANT_UNKNOWN"),
        (("export", "0" * 64, "--to", "nowhere.csv"), "GRANT_UNKNOWN"),
        (("decide", "0" * 64, "--approve"), "GRANT_UNKNOWN"),
        (("revoke", "0" * 64, "--reason", "x"), "GRANT_UNKNOWN"),
        (("trail", "0" * 64), "GRANT_UNKNOWN"),
        (("evidence", "--member", HEALTH.member_id, "--index", "999999", "--to", "nowhere"), "ENTRY_UNKNOWN"),
    ],
)
def test_bad_input_gets_its_one_reason_and_the_node_lives_on(
    consortium: LocalConsortium, arguments: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(HEALTH, *arguments)
    assert refused.value.reason == reason
    assert consortium.kiteline(HEALTH, "status")["chain_reachable"] is True


def test_a_record_that_is_not_there_is_refused_and_both_sides_know(consortium: LocalConsortium, dataset: str) -> None:
    grant = _grant(consortium, dataset)
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(HEALTH, "query", grant, "nobody")
    assert refused.value.reason == "RECORD_UNKNOWN"


def test_no_plaintext_and_no_key_crosses_the_wire_or_lies_in_a_log(
    consortium: LocalConsortium, dataset: str, tmp_path: Path
) -> None:
    """A tap between the two nodes sees a whole fetch, and so does whoever reads what the processes left on disk."""
    with _tap(consortium.port(CIVIL_AFFAIRS)) as tap:
        _advertise(consortium, CIVIL_AFFAIRS, tap.port)
        try:
            grant = _grant(consortium, dataset)
            assert consortium.kiteline(HEALTH, "fetch", grant)["records"] == ROWS
        finally:
            _advertise(consortium, CIVIL_AFFAIRS, consortium.port(CIVIL_AFFAIRS))
    seen = bytes(tap.seen)
    assert len(seen) > ROWS * 20, "the tap saw no bulk transfer"
    passphrase = (consortium.directory / "passphrase").read_bytes()
    secrets = [b"Sentinel Person", passphrase]
    for member in (CIVIL_AFFAIRS, HEALTH):
        keys = open_keys(consortium.home(member) / "keys", passphrase, load_engine())
        for secret in (keys.signing_key.secret_bytes(), keys.encryption_key.secret_bytes(), keys.at_rest_key):
            secrets += [secret, secret.hex().encode()]
    for secret in secrets:
        assert secret not in seen
    for member in (CIVIL_AFFAIRS, HEALTH):
        for path in [consortium.log(member), *(consortium.home(member) / "data").rglob("*")]:
            if path.is_file() and path.name not in PLAINTEXT:
                content = path.read_bytes()
                assert not any(secret in content for secret in secrets), path


class _Tap:
    """A relay on the loopback interface that keeps what passes."""

    def __init__(self, target: int) -> None:
        self.seen = bytearray()
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.sockets: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self.sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self.seen += data
                sink.sendall(data)
        except OSError:
            return


@contextmanager
def _tap(target: int) -> Iterator[_Tap]:
    tap = _Tap(target)
    try:
        yield tap
    finally:
        for one in tap.sockets:
            one.close()


def _advertise(consortium: LocalConsortium, member: MemberPlan, port: int) -> None:
    """Put another endpoint of a member on the chain, as a member that moves would."""
    script = """
import sys
from pathlib import Path
from node.app.consortium import governing
from node.app.settings import load
from node.chain.admission import KeySet
from node.cli.session import passphrase
import time
settings = load(Path(sys.argv[1]))
with governing(settings, passphrase(), lambda: time.time_ns() // 1_000_000) as chain:
    chain.view.refresh()
    keys = chain.view.member(settings.member_id).keys
    chain.governance.rotate_keys(KeySet(keys.signing_key.to_bytes(), keys.encryption_key.to_bytes(), keys.account, keys.certificate, sys.argv[2]), keys.epoch)
"""
    subprocess.run(
        [sys.executable, "-c", script, str(consortium.config(member)), f"127.0.0.1:{port}"],
        check=True,
        env={**os.environ, **consortium.environment},
        capture_output=True,
        timeout=60,
    )


def _small(consortium: LocalConsortium, name: str, directory: Path) -> str:
    """A dataset of a few records."""
    source = directory / f"{name}.csv"
    source.write_text("no,name\n" + "".join(f"P{number:03},{name} {number:03}\n" for number in range(200)), "utf-8")
    return str(consortium.kiteline(CIVIL_AFFAIRS, "publish", str(source), "--dataset", name, "--key", "no")["dataset"])


def _at_rest(consortium: LocalConsortium, dataset: str, scratch: Path) -> list[bytes]:
    """What opens the dataset's records on the provider's disk, or is one: read from a copy, and proven to be findable."""
    home = consortium.home(CIVIL_AFFAIRS) / "data" / "datasets" / dataset
    shutil.copytree(home, scratch)
    index = Environment.open(scratch / "index", INDEX_KIND, GIGABYTE)
    with closing(index):
        of_segments, of_keys = index.database("segments"), index.database("keys")
        with index.reading() as txn:
            wanted = [value[32:] for _, value in txn.cursor(db=of_segments)]  # after the segment's digest
            wanted += [key for key, _ in txn.cursor(db=of_keys)]
    tree = TreeStore.open(scratch / "tree", load_engine(), read_only=True)
    with closing(tree):
        wanted += [blob[-48:] for _, _, blob in tree.segments(0, tree.size)]
    assert len(wanted) == 1 + 200 + 1
    held = _everything(consortium)
    assert all(one in held for one in wanted)
    return wanted


def _everything(consortium: LocalConsortium) -> bytes:
    """Every byte of the provider's data directory."""
    files = [path for path in sorted((consortium.home(CIVIL_AFFAIRS) / "data").rglob("*")) if path.is_file()]
    return b"\0".join(path.read_bytes() for path in files)


def _check_purged(consortium: LocalConsortium, dataset: str, wanted: list[bytes]) -> None:
    held = _everything(consortium)
    assert not any(one in held for one in wanted)
    entries = consortium.kiteline(HEALTH, "catalogue")["entries"]
    assert [entry["state"] for entry in entries if entry["dataset"] == dataset] == ["purged"]


def test_a_purged_dataset_is_gone_from_the_disk_and_its_deliveries_stay_provable(
    consortium: LocalConsortium, tmp_path: Path
) -> None:
    dataset = _small(consortium, "to-be-purged", tmp_path)
    grant = _grant(consortium, dataset)
    assert consortium.kiteline(HEALTH, "fetch", grant)["records"] == 200
    wanted = _at_rest(consortium, dataset, tmp_path / "scratch")
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(CIVIL_AFFAIRS, "purge", dataset, "--reason", "nobody was asked")
    assert refused.value.code == 2
    done = consortium.kiteline(CIVIL_AFFAIRS, "purge", dataset[:12], "--reason", "retention period over", "--yes")
    assert (done["dataset"], done["state"], done["records"]) == (dataset, "purged", 200)
    assert "reason retention period over\n" in done["tombstone"]
    _check_purged(consortium, dataset, wanted)
    for member, *command in (
        (CIVIL_AFFAIRS, "publish", str(tmp_path / "to-be-purged.csv"), "--dataset", "to-be-purged", "--key", "no"),
        (HEALTH, "fetch", grant),
        (HEALTH, "query", grant, "P003"),
        (HEALTH, "request", dataset, "--purpose", "to test"),
    ):
        with pytest.raises(CommandFailed) as refused:
            consortium.kiteline(member, *command)
        assert (refused.value.reason, refused.value.code) == ("DATASET_PURGED", 1)
    _restart(consortium, CIVIL_AFFAIRS)
    _check_purged(consortium, dataset, wanted)
    trail = consortium.kiteline(CIVIL_AFFAIRS, "trail", grant)
    assert trail["findings"] == []
    (delivery,) = [step for step in trail["steps"] if step["event"] == "DELIVERY_SENT"]
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "anchor")
    evidence = tmp_path / "delivery.evidence"
    options = ("--member", CIVIL_AFFAIRS.member_id, "--index", str(delivery["index"]))
    consortium.kiteline(CIVIL_AFFAIRS, "evidence", *options, "--to", str(evidence))
    trust = tmp_path / "trust.json"
    consortium.kiteline(HEALTH, "chain", "trust", "--to", str(trust))
    assert consortium.kiteline(None, "verify", str(evidence), "--trust", str(trust))["holds"] is True
    assert len(_rows(consortium, grant, tmp_path)) == 201


def test_a_node_killed_in_a_purge_ends_purged_when_it_is_started_again(
    consortium: LocalConsortium, tmp_path: Path
) -> None:
    dataset = _small(consortium, "purged-and-killed", tmp_path)
    wanted = _at_rest(consortium, dataset, tmp_path / "scratch")
    arguments = ["purge", dataset, "--reason", "to test", "--yes", "--json"]
    purging = subprocess.Popen(
        [sys.executable, "-m", "node.cli.main", *arguments, "--config", str(consortium.config(CIVIL_AFFAIRS))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **consortium.environment},
    )
    try:
        log = consortium.home(CIVIL_AFFAIRS) / "data" / "log"
        consortium.nodes[CIVIL_AFFAIRS.slug].wait_until(
            lambda: _has_step(log, dataset, "DATASET_PURGED") or purging.poll() is not None, seconds=60
        )
        _restart(consortium, CIVIL_AFFAIRS)
        purging.communicate(timeout=120)
    finally:
        purging.kill()
        purging.wait()
    _check_purged(consortium, dataset, wanted)


def test_every_command_prints_one_json_document(consortium: LocalConsortium) -> None:
    for command in ("status", "grants", "catalogue"):
        assert isinstance(json.loads(json.dumps(consortium.kiteline(HEALTH, command))), dict)
