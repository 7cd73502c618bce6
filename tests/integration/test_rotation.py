"""Every key of a running node is rotated under traffic, by its security team alone; a kill at any step loses nothing, and what does not go through changes
nothing.
"""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Self

import pytest
import tomli_w

from crypto.errors import Refusal
from crypto.notes import parse_note
from kiteline.exchange.v1 import department_pb2 as pb
from node.keys.manifest import Manifest, State
from node.keys.store import read_manifest
from node.model.keys import CHAIN_KINDS, Kind, Step
from node.model.lines import write_time
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium, MemberPlan
from tests.support.peer_client import LogWatch, department, now_ms, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

ROWS = 2_000
QUERIES_A_SECOND = 50
SETTLE_SECONDS, RETIRE_SECONDS = 1, 5
SIGNED_NOW = {
    "ORDER_SENT",
    "RECEIPT_SENT",
    "DELIVERY_SENT",
    "KEYS_RELEASED",
    "CHECKPOINT_ANCHORED",
}  # by whose log it is


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """A consortium of its own, whose nodes wait for nobody for long: what is rotated here is nobody else's."""
    with LocalConsortium(tmp_path_factory.mktemp("rotation"), [CIVIL_AFFAIRS, HEALTH]) as started:
        for member in started.members:
            assert started.nodes[member.slug].stop() == 0
            configuration = tomllib.loads(started.config(member).read_text(encoding="utf-8"))
            configuration["keys"] |= {"settle_seconds": SETTLE_SECONDS, "retire_seconds": RETIRE_SECONDS}
            started.config(member).write_text(tomli_w.dumps(configuration), encoding="utf-8")
            started.start_node(member)
        yield started


@pytest.fixture(scope="module")
def grant(consortium: LocalConsortium, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A grant over records that can be asked for and fetched."""
    path = tmp_path_factory.mktemp("source") / "villages.csv"
    lines = [f"V{number:05},Village {number}" for number in range(ROWS)]
    path.write_text("\n".join(["code,name", *lines, ""]), encoding="utf-8")
    published = consortium.kiteline(CIVIL_AFFAIRS, "publish", str(path), "--dataset", "villages", "--key", "code")
    asked = consortium.kiteline(HEALTH, "request", published["dataset"], "--purpose", "to test", "--quota", "100000")
    until(lambda: any(one["grant"] == asked["grant"] for one in consortium.kiteline(CIVIL_AFFAIRS, "grants")["grants"]))
    consortium.kiteline(CIVIL_AFFAIRS, "decide", asked["grant"], "--approve")
    return str(asked["grant"])


class Load:
    """Queries at a steady rate and fetches one after another, until it is ended; keeps every failure."""

    def __init__(self, consortium: LocalConsortium, grant: str) -> None:
        self.failures: list[str] = []
        self.queries = 0
        self.fetches = 0
        self._ended = threading.Event()
        self._consortium = consortium
        self._grant = bytes.fromhex(grant)
        self._threads = [threading.Thread(target=self._query), threading.Thread(target=self._fetch)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def goes_on(self) -> None:
        """Wait until it has gone on for a while, or something failed."""
        fetches, queries = self.fetches, self.queries
        until(lambda: bool(self.failures) or (self.fetches > fetches and self.queries > queries + 20))
        assert not self.failures, self.failures[:3]

    def _query(self) -> None:
        with closing(department(self._consortium, HEALTH)) as client:
            due = time.monotonic()
            while not self._ended.is_set():
                wanted = pb.QueryRecordRequest(grant_id=self._grant, key=f"V{self.queries % ROWS:05}")
                try:
                    client.department.QueryRecord(wanted)
                except Refusal as refusal:
                    self.failures.append(f"query: {refusal.reason} {refusal}")
                self.queries, due = self.queries + 1, due + 1 / QUERIES_A_SECOND
                self._ended.wait(max(0.0, due - time.monotonic()))

    def _fetch(self) -> None:
        with closing(department(self._consortium, HEALTH)) as client:
            while not self._ended.is_set():
                try:
                    list(client.department.Fetch(pb.FetchRequest(grant_id=self._grant)))
                    self.fetches += 1
                except Refusal as refusal:
                    self.failures.append(f"fetch: {refusal.reason} {refusal}")
                self._ended.wait(0.1)


def manifest_of(consortium: LocalConsortium, member: MemberPlan) -> Manifest:
    """What a member's key store says now."""
    return read_manifest(consortium.home(member) / "keys")


@pytest.mark.parametrize("member", [CIVIL_AFFAIRS, HEALTH], ids=["provider", "requester"])
def test_each_key_is_rotated_under_load_and_no_exchange_fails(
    consortium: LocalConsortium, grant: str, member: MemberPlan
) -> None:
    with Load(consortium, grant) as load:
        load.goes_on()
        for kind in Kind:
            before = manifest_of(consortium, member).active(kind).number
            rotated = consortium.kiteline(member, "keys", "rotate", kind.value)
            assert (rotated["step"], rotated["number"]) == ("active", before + 1), rotated
            load.goes_on()
            until(lambda: manifest_of(consortium, member).record(kind, before).state is State.RETIRED)  # noqa: B023
            load.goes_on()
    _check_signatures(consortium, member)


def _check_signatures(consortium: LocalConsortium, member: MemberPlan) -> None:
    """After the entry that says that a signing key was retired, this member's entries have no note under it."""
    entries = LogWatch(consortium.home(member) / "data").entries()
    retired = [at for at, entry in enumerate(entries) if entry.event == "KEY_RETIRED" and entry.detail == "signing 1"]
    assert len(retired) == 1
    under = [
        {line.key_id for line in parse_note(entry.note).signatures if line.name == member.member_id}
        for entry in entries
        if entry.note is not None
    ]
    assert len(set().union(*under)) > 1, "the key was never changed"
    old = next(keys for keys in under if keys)
    after = [
        {line.key_id for line in parse_note(entry.note).signatures if line.name == member.member_id}
        for entry in entries[retired[0] :]
        if entry.note is not None and entry.event in SIGNED_NOW
    ]
    assert any(after)
    assert not any(keys & old for keys in after)


def test_a_drill_does_everything_but_commit_and_changes_nothing(consortium: LocalConsortium, grant: str) -> None:
    before = manifest_of(consortium, CIVIL_AFFAIRS)
    for kind in Kind:
        drilled = consortium.kiteline(CIVIL_AFFAIRS, "keys", "rotate", kind.value, "--drill")
        assert (drilled["drill"], drilled["step"]) == (True, "undone")
        if kind in CHAIN_KINDS:
            assert any("the contract on embedded would take it, for" in sentence for sentence in drilled["report"])
    assert manifest_of(consortium, CIVIL_AFFAIRS) == before
    _query(consortium, grant)


def test_what_is_held_is_undone_or_committed_and_nothing_else_begins_meanwhile(
    consortium: LocalConsortium, grant: str
) -> None:
    before = manifest_of(consortium, HEALTH)
    held = consortium.kiteline(HEALTH, "keys", "rotate", "signing", "--hold")
    assert held["step"] == "prepared"
    log = LogWatch(consortium.home(HEALTH) / "data")
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(HEALTH, "keys", "rotate", "tls")
    assert refused.value.reason == "ROTATION_UNDER_WAY"
    assert ("ROTATION_BEGUN", "ROTATION_UNDER_WAY") in [(one.event, one.refusal) for one in log.entries()]
    _query(consortium, grant)
    assert consortium.kiteline(HEALTH, "keys", "undo")["step"] == "undone"
    assert manifest_of(consortium, HEALTH) == before
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(HEALTH, "keys", "commit")
    assert refused.value.reason == "NO_ROTATION"
    number = consortium.kiteline(HEALTH, "keys", "rotate", "signing", "--hold")["number"]
    assert consortium.kiteline(HEALTH, "keys", "commit")["step"] == "active"
    assert manifest_of(consortium, HEALTH).active(Kind.SIGNING).number == number
    _query(consortium, grant)


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_a_node_that_is_killed_at_a_step_goes_on_from_there(
    consortium: LocalConsortium, grant: str, kind: Kind
) -> None:
    steps: dict[str, Callable[[Manifest, int], bool]] = {
        "begun": lambda now, _: now.rotation is not None and now.rotation.step is Step.BEGUN,
        "active": lambda now, number: now.active(kind).number == number,
    }
    if kind in CHAIN_KINDS:  # a key of the disk passes through it in one breath
        steps["committing"] = lambda now, _: now.rotation is not None and now.rotation.step is Step.COMMITTING
    for name, is_there in steps.items():
        number = manifest_of(consortium, CIVIL_AFFAIRS).active(kind).number + 1
        rotating = threading.Thread(target=_rotate_whatever_comes, args=(consortium, kind))
        rotating.start()
        deadline = time.monotonic() + 30
        while not is_there(manifest_of(consortium, CIVIL_AFFAIRS), number):
            assert time.monotonic() < deadline, f"the rotation never was {name}"
        consortium.nodes[CIVIL_AFFAIRS.slug].kill()
        rotating.join(60)
        left = manifest_of(consortium, CIVIL_AFFAIRS)
        assert is_there(left, number), f"it was not killed while {name}"
        consortium.start_node(CIVIL_AFFAIRS)
        until(lambda: _is_over(manifest_of(consortium, CIVIL_AFFAIRS), kind, number))  # noqa: B023
        until(lambda: manifest_of(consortium, CIVIL_AFFAIRS).record(kind, number - 1).state is State.RETIRED)  # noqa: B023
        # It is compared with the chain, and rehearsed against it.
        assert consortium.kiteline(CIVIL_AFFAIRS, "keys", "rotate", kind.value, "--drill")["step"] == "undone"
        _query(consortium, grant)


def _rotate_whatever_comes(consortium: LocalConsortium, kind: Kind) -> None:
    with suppress(CommandFailed):
        consortium.kiteline(CIVIL_AFFAIRS, "keys", "rotate", kind.value)


def _is_over(manifest: Manifest, kind: Kind, number: int) -> bool:
    return manifest.rotation is None and manifest.active(kind).number == number


def test_a_compromised_key_is_replaced_declared_and_what_it_signed_since_then_is_listed(
    consortium: LocalConsortium, grant: str
) -> None:
    _query(consortium, grant)
    began = now_ms() // 1_000
    time_ = write_time(1_000 * began)
    _query(consortium, grant)
    before = manifest_of(consortium, HEALTH).active(Kind.SIGNING)
    done = consortium.kiteline(HEALTH, "keys", "compromise", "signing", "--since", time_)
    assert (done["old_number"], done["new_number"]) == (before.number, before.number + 1)
    assert len(done["transactions"]) == 1
    assert "ORDER_SENT" in {one["event"] for one in done["entries"]}
    assert all(one["time"] >= time_ for one in done["entries"])
    assert manifest_of(consortium, HEALTH).record(Kind.SIGNING, before.number).state is State.COMPROMISED
    _query(consortium, grant)
    for wrong, reason in (("signing", "STATEMENT_INVALID"), ("tls", "STATEMENT_INVALID")):
        with pytest.raises(CommandFailed) as refused:
            consortium.kiteline(HEALTH, "keys", "compromise", wrong, "--since", write_time(now_ms() + 3_600_000))
        assert refused.value.reason == reason
    assert ("KEY_COMPROMISED", "STATEMENT_INVALID") in [
        (one.event, one.refusal) for one in LogWatch(consortium.home(HEALTH) / "data").entries()
    ]


def _query(consortium: LocalConsortium, grant: str) -> None:
    """An exchange goes through; the command is refused otherwise."""
    assert "Village 5" in str(consortium.kiteline(HEALTH, "query", grant, "V00005"))
