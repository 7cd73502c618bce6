"""A log that went back, or was forked, with real nodes: its own node does not start on it, and others do not follow it."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import tomli_w

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.log import AuditLog
from crypto.engine import load_engine
from crypto.notes import parse_note
from crypto.packed import Packed
from crypto.signer import HeldKey
from kiteline.audit.v1 import audit_pb2
from node.app.node import DECIDED_HEAD
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, LocalConsortium, MemberPlan
from scripts.processes import free_port
from tests.integration.conftest import initialise
from tests.integration.test_bad_start import check_refused
from tests.support.commands import run
from tests.support.peer_client import LogWatch, WireRefusal, now_ms, peer
from tests.support.statements import member_id

pytestmark = pytest.mark.process

HARBOUR = MemberPlan("harbour", "Weifang Harbour", member_id(77), "department")
ORIGIN = f"kiteline/{HARBOUR.member_id}/audit/SM3"


@dataclass(frozen=True)
class Harbour:
    """A member with two witnesses, whose node is stopped. `old`: its log and head file as they once were; `new`: as they are."""

    home: Path
    old: Path
    new: Path

    @property
    def log(self) -> Path:
        """The store."""
        return self.home / "data" / "log"

    @property
    def head(self) -> Path:
        """The head file."""
        return self.home / "audit.head"


@pytest.fixture(scope="module")
def harbour(consortium: LocalConsortium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """It anchors, is backed up, goes on and anchors again; each head cosigned by both of its witnesses."""
    kept = tmp_path_factory.mktemp("kept")
    made = Harbour(consortium.home(HARBOUR), kept / "old", kept / "new")
    consortium._ports.setdefault(HARBOUR.slug, free_port())
    initialise(consortium, HARBOUR, advertise=f"127.0.0.1:{consortium.port(HARBOUR)}")
    path = consortium.config(HARBOUR)
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    settings["audit"]["witnesses"] = [CIVIL_AFFAIRS.member_id, HEALTH.member_id]
    settings["audit"]["cosignatures_needed"] = 2
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "admit", str(made.home / "admission.json"))
    try:
        for place in (made.old, made.new):
            node = consortium.start_node(HARBOUR)
            note = consortium.kiteline(HARBOUR, "chain", "anchor")["checkpoint"]
            names = [line.name for line in parse_note(note.encode()).signatures]
            assert names == [HARBOUR.member_id, CIVIL_AFFAIRS.member_id, HEALTH.member_id]
            status = consortium.kiteline(HARBOUR, "status")
            assert status["cosigned_by"] == [CIVIL_AFFAIRS.member_id, HEALTH.member_id]
            assert node.stop() == 0, node.log_end()
            place.mkdir()
            shutil.copytree(made.log, place / "log")
            shutil.copy(made.head, place / "log.head")
        yield made
    finally:
        consortium.nodes.pop(HARBOUR.slug).stop()


@contextmanager
def _with(harbour: Harbour, log: Path, head: Path | None, *, keeps_decided: bool = False) -> Iterator[None]:
    """The node's directory with another log, and another head file or none; as it was afterwards.

    Where the whole data directory is of a backup, the head that was decided last is none of the newest; `keeps_decided`: the log alone was restored.
    """
    whole = harbour.head.read_bytes()
    decided = harbour.home / "data" / DECIDED_HEAD
    newest = decided.read_bytes()
    if not keeps_decided:
        decided.unlink()
    shutil.rmtree(harbour.log)
    shutil.copytree(log, harbour.log)
    harbour.head.unlink()
    if head is not None:
        shutil.copy(head, harbour.head)
    try:
        yield
    finally:
        shutil.rmtree(harbour.log)
        shutil.copytree(harbour.new / "log", harbour.log)
        harbour.head.write_bytes(whole)
        decided.write_bytes(newest)


def _size(log: Path) -> int:
    with AuditLog.open(log, load_engine("openssl")) as opened:
        return opened.size


@pytest.mark.parametrize("head", ["new", "old", None])
def test_a_store_from_an_old_backup_does_not_append(
    consortium: LocalConsortium, harbour: Harbour, head: str | None
) -> None:
    """The head file says so; and where that is old as well, or gone, the chain."""
    kept = None if head is None else (harbour.new if head == "new" else harbour.old) / "log.head"
    with _with(harbour, harbour.old / "log", kept):
        said = check_refused(consortium, harbour.home, "STORE_BEHIND")
        assert ("head file" if head == "new" else "the chain has") in said
        assert "kiteline audit restore" in said


def test_a_log_that_was_restored_alone_is_behind_the_head_that_was_decided(
    consortium: LocalConsortium, harbour: Harbour
) -> None:
    """Before the chain is asked, and without a head file."""
    with _with(harbour, harbour.old / "log", None, keeps_decided=True):
        said = check_refused(consortium, harbour.home, "STORE_BEHIND")
        assert DECIDED_HEAD in said


def test_a_head_file_that_was_replaced_is_refused(
    consortium: LocalConsortium, harbour: Harbour, tmp_path: Path
) -> None:
    """By another member's head, say."""
    forged = tmp_path / "forged"
    with peer(consortium, HEALTH, CIVIL_AFFAIRS) as other:
        head = Checkpoint(f"kiteline/{HEALTH.member_id}/audit/SM3", 1, b"\1" * 32, now_ms())
        forged.write_bytes(sign_checkpoint(head, HeldKey(other.engine, other.signing_key)))
    with _with(harbour, harbour.new / "log", forged):
        check_refused(consortium, harbour.home, "STORE_DAMAGED")


@pytest.fixture(scope="module")
def forked(harbour: Harbour, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old log with other entries after it, and more of them than the true one has."""
    path = tmp_path_factory.mktemp("forked") / "log"
    shutil.copytree(harbour.old / "log", path)
    others = _size(harbour.new / "log") - _size(harbour.old / "log") + 5
    entry = Entry(now_ms(), "AUDIT_READ", HARBOUR.member_id, f"member:{HARBOUR.member_id}", detail="never happened")
    with AuditLog.open(path, load_engine("openssl")) as log:
        log.append_many(Packed.of([entry.to_bytes()] * others))
    return path


@pytest.mark.parametrize("head", ["new", None])
def test_a_forked_store_does_not_append(
    consortium: LocalConsortium, harbour: Harbour, forked: Path, head: str | None
) -> None:
    with _with(harbour, forked, None if head is None else harbour.new / "log.head"):
        said = check_refused(consortium, harbour.home, "LOG_FORKED")
        assert ("head file" if head == "new" else "the chain") in said


def test_a_witness_does_not_sign_a_fork_and_keeps_the_proof(
    consortium: LocalConsortium, harbour: Harbour, forked: Path
) -> None:
    """The owner means ill here: it leaves its own guards out, and signs the head of the forked log."""
    watch = LogWatch(consortium.home(CIVIL_AFFAIRS) / "data")
    with peer(consortium, HARBOUR, CIVIL_AFFAIRS) as owner, closing(AuditLog.open(forked, owner.engine)) as log:
        head = Checkpoint(ORIGIN, log.size, log.tree.root(), now_ms())
        note = sign_checkpoint(head, HeldKey(owner.engine, owner.signing_key))
        with pytest.raises(WireRefusal) as behind:
            owner.read_log("Cosign", audit_pb2.CosignRequest(checkpoint_note=note, old_size=0))
        assert behind.value.reason == "WITNESS_BEHIND"
        # From where the witness knows it, with the best path that the forked log can give.
        known = _known(consortium)
        assert known <= log.size
        path = log.tree.consistency(known, log.size)
        with pytest.raises(WireRefusal) as refused:
            owner.read_log("Cosign", audit_pb2.CosignRequest(checkpoint_note=note, old_size=known, path=path))
    assert (refused.value.reason, refused.value.code) == ("LOG_FORKED", grpc.StatusCode.DATA_LOSS)
    (entry,) = (one for one in watch.new() if one.event == "CHECKPOINT_COSIGNED")
    assert (entry.actor, entry.refusal, entry.note) == (HARBOUR.member_id, "LOG_FORKED", note)


def _known(consortium: LocalConsortium) -> int:
    """The size at which the witness knows the log."""
    path = consortium.home(CIVIL_AFFAIRS) / "data" / "witnessed" / f"{HARBOUR.member_id}.head"
    return int(parse_note(path.read_bytes()).text.split("\n")[1])


def test_evidence_carries_the_witnesses_word_that_its_block_is_final(
    consortium: LocalConsortium, harbour: Harbour, tmp_path: Path
) -> None:
    """An auditor who knows keys and the contract, and no block, rests on it; with one word more than there are it does not hold."""
    node = consortium.start_node(HARBOUR)
    file, trust = tmp_path / "start.evidence", tmp_path / "trust.json"
    consortium.kiteline(HARBOUR, "evidence", "--member", HARBOUR.member_id, "--index", "0", "--to", str(file))
    consortium.kiteline(HARBOUR, "chain", "trust", "--to", str(trust))
    assert node.stop() == 0, node.log_end()
    members = [CIVIL_AFFAIRS.member_id, HEALTH.member_id]
    known = json.loads(trust.read_text(encoding="utf-8")) | {"blocks": []}
    trust.write_text(json.dumps(known | {"finality": {"members": members, "needed": 2}}), encoding="utf-8")
    verdict = consortium.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert verdict["proven"]
    assert {"finality embedded", "block embedded"} <= {link["name"] for link in verdict["links"]}
    more = {"members": [*members, member_id(1)], "needed": 3}
    trust.write_text(json.dumps(known | {"finality": more}), encoding="utf-8")
    ended = run(consortium, "verify", str(file), "--trust", str(trust), "--json")
    assert ended.code == 4
    assert "2 departments state that the block is final, 3 are needed" in ended.printed


def test_with_its_own_log_the_node_goes_on(consortium: LocalConsortium, harbour: Harbour) -> None:
    """Nothing of all that has changed it."""
    before = _size(harbour.log)
    node = consortium.start_node(HARBOUR)
    consortium.kiteline(HARBOUR, "chain", "anchor")
    assert node.stop() == 0, node.log_end()
    assert _size(harbour.log) > before
