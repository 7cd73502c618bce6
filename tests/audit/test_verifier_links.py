"""Each link on the log's side broken by itself: it does not hold, nor do those that rest on it, every other holds, and the text says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.verifier import ARITHMETIC, AUDITOR, FILE, EntryRange, Evidence, Link, Trust, report_lines, verify
from crypto.signer import HeldKey
from tests.audit.evidence_files import CITY, COUNTY, HEAD_MS, World, opened_world, statement

File = Evidence | EntryRange
INDEX, SIZE = 5, 19
ANCHOR, BLOCK, CITY_ANCHOR, CITY_BLOCK = f"anchor {COUNTY}", f"block {COUNTY}", f"anchor {CITY}", f"block {CITY}"
ON_CHECKPOINT = {"cosignatures", ANCHOR, CITY_ANCHOR}
NO_CHECKPOINT = {"checkpoint", "inclusion", *ON_CHECKPOINT}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


def links(content: File, trust: Trust) -> dict[str, Link]:
    report = verify(content.to_bytes(), trust)
    assert report.holds == all(link.holds for link in report.links)
    return {link.name: link for link in report.links}


def check(content: File, trust: Trust, broken: set[str], says: str) -> None:
    """That exactly these links do not hold, one of them for the reason that is given."""
    found = links(content, trust)
    wrong = {name: link for name, link in found.items() if not link.holds}
    assert set(wrong) == broken & found.keys()
    assert not broken or any(says in link.says for link in wrong.values()), wrong
    assert all(link.rests_on == ARITHMETIC for link in wrong.values())


def true(world: World) -> Evidence:
    """One entry, a cosigned head that the county has, and a younger head that the city has."""
    return world.true_evidence(INDEX, SIZE)


def in_proof(content: File, **changes: Any) -> File:  # noqa: ANN401 - any field of a proof
    return replace(content, proof=replace(content.proof, **changes))


def flipped(raw: bytes, at: int = -1) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def with_checkpoint(world: World, origin: str, signer: int, size: int = SIZE) -> File:
    """A checkpoint that one of the members signed and the witnesses cosigned, in place of the true one."""
    head = Checkpoint(origin, size, world.tree.root_at(SIZE), HEAD_MS)
    note = sign_checkpoint(head, HeldKey(world.signer, world.everyone[signer].key))
    return in_proof(true(world), checkpoint=world.cosigned(note, *world.witnesses))


def strangers(world: World) -> str:
    return f"kiteline/{world.stranger.name}/audit/SM3"


Case = tuple[Callable[[World], File], set[str], str]
CASES: dict[str, Case] = {
    "nothing": (true, set(), ""),
    "the checkpoint's text": (
        lambda w: in_proof(true(w), checkpoint=true(w).proof.checkpoint.replace(b"\ntime 1", b"\ntime 2")),
        NO_CHECKPOINT,
        "under the checkpoint is wrong",
    ),
    "a checkpoint that is another note": (
        lambda w: in_proof(true(w), checkpoint=w.note("kiteline/hello/v1\n", w.owner)),
        NO_CHECKPOINT,
        "a checkpoint has four lines",
    ),
    "a checkpoint that is no note": (
        lambda w: in_proof(true(w), checkpoint=b"hello"),
        NO_CHECKPOINT,
        "the note is not a text",
    ),
    "the head of another member's log, signed by that member": (
        lambda w: with_checkpoint(w, strangers(w), 2),
        {ANCHOR, CITY_ANCHOR},
        "the head that is anchored is of another log",
    ),
    "the head of another member's log, signed by the owner": (
        lambda w: with_checkpoint(w, strangers(w), 0),
        NO_CHECKPOINT,
        "has signed the checkpoint",
    ),
    "the head of a dataset, which nobody audits as a log": (
        lambda w: with_checkpoint(w, f"kiteline/{w.owner.name}/dataset/{'da' * 32}/SM3", 0),
        NO_CHECKPOINT,
        "the checkpoint is not of an audit log but of",
    ),
    "the true head under a size that it is not of": (
        # One path can lead to one root under two sizes; the heads that are anchored part them.
        lambda w: with_checkpoint(w, w.origin, 0, SIZE + 1),
        {ANCHOR, CITY_ANCHOR},
        "the path does not lead from the head at 19 entries to the one at 20",
    ),
    "a younger head": (
        lambda w: in_proof(true(w), checkpoint=w.cosigned(w.head(20), *w.witnesses)),
        {"inclusion", ANCHOR, CITY_ANCHOR},
        "the path does not lead to that head",
    ),
    "the entry's text": (
        lambda w: replace(true(w), entry=true(w).entry.replace(b"outcome ok", b"outcome refused NO_GRANT")),
        {"inclusion"},
        "the path does not lead to that head",
    ),
    "the entry's form": (
        lambda w: replace(true(w), entry=true(w).entry.replace(b"outcome ok", b"outcome OK")),
        {"entry", "statement", "inclusion"},
        "entry 5: a line of the entry is not in its form",
    ),
    "the statement's text": (
        lambda w: replace(true(w), entry=true(w).entry.replace(b"sequence 1", b"sequence 2")),
        {"statement", "inclusion"},
        "under the statement in entry 5 is wrong",
    ),
    "another entry of the same log": (
        lambda w: replace(true(w), entry=w.entries[6]),
        {"inclusion"},
        "the path does not lead to that head",
    ),
    "another index": (lambda w: replace(true(w), index=6), {"inclusion"}, "the path does not lead to that head"),
    "an index that the younger head alone has": (
        lambda w: replace(true(w), index=20),
        {"inclusion", ANCHOR},
        "that head has 19 entries, and none at 20",
    ),
    "an index far beyond": (
        lambda w: replace(true(w), index=2**63 - 1),
        {"inclusion", ANCHOR, CITY_ANCHOR},
        "none at 9223372036854775807",
    ),
    "a node of the path": (
        lambda w: replace(true(w), path=(flipped(true(w).path[0]), *true(w).path[1:])),
        {"inclusion"},
        "the path does not lead to that head",
    ),
    "a node less": (lambda w: replace(true(w), path=true(w).path[:-1]), {"inclusion"}, "does not lead"),
    "a node more": (lambda w: replace(true(w), path=(*true(w).path, bytes(32))), {"inclusion"}, "does not lead"),
    "nodes in another order": (lambda w: replace(true(w), path=true(w).path[::-1]), {"inclusion"}, "does not lead"),
    "no path": (lambda w: replace(true(w), path=()), {"inclusion"}, "does not lead"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_link_and_what_rests_on_it_do_not_hold(world: World, case: str) -> None:
    change, broken, says = CASES[case]
    content = change(world)
    check(content, world.trust(), broken, says)
    # Without any knowledge the same do not hold; nobody asks for witnesses then.
    check(content, Trust(), broken - {"cosignatures"}, says)


def test_what_holds_says_what_it_rests_on(world: World) -> None:
    """Arithmetic needs nobody's word; of the rest, what the auditor does not know is the file's word, and the end says so."""
    content = true(world)
    known, unknown = links(content, world.trust()), links(content, Trust())
    arithmetic = {"entry", "inclusion"}
    assert {name for name, link in known.items() if link.rests_on == ARITHMETIC} == arithmetic
    assert {link.rests_on for name, link in known.items() if name not in arithmetic} == {AUDITOR}
    assert {link.rests_on for name, link in unknown.items() if name not in arithmetic} == {FILE}
    *_, last = report_lines(verify(content.to_bytes(), world.trust()))
    assert last == "every link holds, by what you know"
    *_, last = report_lines(verify(content.to_bytes(), Trust()))
    assert last.startswith(
        "nothing is proved: anybody can write such a file; say what you know (--trust) of: checkpoint"
    )
    assert verify(content.to_bytes(), world.trust()).proven
    assert not verify(content.to_bytes(), Trust()).proven


def test_a_report_names_the_entry_the_head_and_who_signed(world: World) -> None:
    report = verify(true(world).to_bytes(), world.trust())
    assert (report.member, report.first, report.anchored_size) == (world.owner.name, INDEX, 21)
    assert report.checkpoint is not None
    assert (report.checkpoint.size, report.checkpoint.root) == (SIZE, world.tree.root_at(SIZE))
    (proven,) = report.entries
    assert (proven.index, proven.entry.event, proven.signers) == (INDEX, "RECEIPT_RECEIVED", (world.requester.name,))


# Every kind of entry, and ranges.


def test_the_links_say_what_an_auditor_repeats_in_court(world: World) -> None:
    mine, other, third = world.owner.name, world.requester.name, world.stranger.name
    about = f"grant:{'9b' * 32}"
    said = {
        0: (f"NODE_STARTED of {mine} about member:{mine}: done", "no statement is in it, so none had to be signed"),
        5: (f"RECEIPT_RECEIVED of {other} about {about}: done", f"kiteline/receipt/v1 is signed; by {other}"),
        8: (
            f"RECEIPT_RECEIVED of {third} about {about}: refused, RECEIPT_INVALID",
            f"kiteline/receipt/v1 is signed; by {third}",
        ),
        9: (f"CHECKPOINT_ANCHORED of {mine} about member:{mine}: done", f"{world.origin} is signed; by {mine}"),
    }
    for index, says in said.items():
        found = links(world.evidence(index, SIZE, true(world).proof), world.trust())
        assert (found["entry"].says, found["statement"].says) == says
        assert found["checkpoint"].says == f"{mine} signed the head of its log at 19 entries"
        assert found["inclusion"].says == f"the entry stands at index {index} under that head"
    found = links(world.true_range(0, 6, SIZE), world.trust())
    assert found["entries"].says == "6 entries"
    assert found["statements"].says == f"every statement is signed; by {mine}, {other}"


def test_every_entry_of_the_log_is_proven_and_its_author_named(world: World) -> None:
    expected = {1: 1, 2: 0, 3: 1, 4: 0, 5: 1, 6: 0, 7: 1, 8: 2, 9: 0, 10: 0, 11: 2}
    for index in range(SIZE):
        content = world.evidence(index, SIZE, true(world).proof)
        check(content, world.trust(), set(), "")
        (proven,) = verify(content.to_bytes(), world.trust()).entries
        author = (world.everyone[expected[index]].name,) if index in expected else ()
        assert (proven.signers, proven.fault) == (author, None)


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (0, 19), (3, 14), (7, 8), (18, 19), (8, 16)])
def test_an_interval_is_proven_complete(world: World, first: int, stop: int) -> None:
    content = world.true_range(first, stop, SIZE)
    check(content, world.trust(), set(), "")
    report = verify(content.to_bytes(), world.trust())
    assert [proven.index for proven in report.entries] == list(range(first, stop))
    says = f"these are all entries from {first} to {stop - 1}, and none is left out"
    assert links(content, Trust())["complete"].says == says


def shortened(content: EntryRange, at: int) -> EntryRange:
    return replace(content, entries=content.entries[:at] + content.entries[at + 1 :])


RANGE_CASES: dict[str, tuple[Callable[[EntryRange], File], set[str], str]] = {
    "an entry in the middle left out": (lambda r: shortened(r, 5), {"complete"}, "the path does not lead"),
    "the last entry left out": (lambda r: shortened(r, 10), {"complete"}, "the path does not lead"),
    "the first entry left out": (lambda r: shortened(r, 0), {"complete"}, "the path does not lead"),
    "an entry twice": (
        lambda r: replace(r, entries=(*r.entries[:5], r.entries[5], *r.entries[5:])),
        {"complete"},
        "the path does not lead",
    ),
    "entries in another order": (lambda r: replace(r, entries=r.entries[::-1]), {"complete"}, "does not lead"),
    "another place": (lambda r: replace(r, first=4), {"complete"}, "does not lead"),
    "a place far beyond": (
        lambda r: replace(r, first=2**63 - 1),
        {"complete", ANCHOR, CITY_ANCHOR},
        "that head has 19 entries, and none at 9223372036854775817",
    ),
    "a subtree changed": (lambda r: replace(r, left=(flipped(r.left[0]), *r.left[1:])), {"complete"}, "does not lead"),
    "a subtree left out": (lambda r: replace(r, right=r.right[1:]), {"complete"}, "does not lead"),
    "a subtree more": (lambda r: replace(r, left=(*r.left, bytes(32))), {"complete"}, "does not lead"),
    "subtrees on the other side": (lambda r: replace(r, left=r.right, right=r.left), {"complete"}, "does not lead"),
    "the checkpoint": (
        lambda r: in_proof(r, checkpoint=r.proof.checkpoint.replace(b"\ntime 1", b"\ntime 2")),
        {"checkpoint", "complete", *ON_CHECKPOINT},
        "there is no valid checkpoint to lead to",
    ),
    "two entries of another form": (
        lambda r: replace(r, entries=(b"nothing", *r.entries[1:-1], b"kiteline/entry/v1\n")),
        {"entries", "complete"},
        "entry 3: the entry does not begin as one of version 1; entry 13: the entry does not begin",
    ),
    "five entries of another form": (
        lambda r: replace(r, entries=(b"nothing",) * 5 + r.entries[5:]),
        {"entries", "complete"},
        "entry 7: the entry does not begin as one of version 1",
    ),
    "nothing but entries of another form": (
        lambda r: replace(r, entries=(b"nothing",) * 11),
        {"entries", "statements", "complete"},
        "; and 6 more",
    ),
}


@pytest.mark.parametrize("case", RANGE_CASES)
def test_a_broken_link_of_a_range_does_not_hold(world: World, case: str) -> None:
    change, broken, says = RANGE_CASES[case]
    content = change(world.true_range(3, 14, SIZE))
    check(content, world.trust(), broken, says)
    check(content, Trust(), broken - {"cosignatures"}, says)


def test_no_more_faults_are_named_than_there_are(world: World) -> None:
    held = world.true_range(3, 14, SIZE)
    five, six = (replace(held, entries=(b"nothing",) * count + held.entries[count:]) for count in (5, 6))
    assert links(five, Trust())["entries"].says.count("entry") == 10
    assert "more" not in links(five, Trust())["entries"].says
    assert links(six, Trust())["entries"].says.endswith("; and 1 more")


def test_an_entry_that_cannot_be_read_does_not_hide_those_after_it(world: World) -> None:
    """Otherwise one line that the log's owner spoils on purpose would keep an auditor from all the rest."""
    held = world.true_range(3, 14, SIZE)
    report = verify(replace(held, entries=(*held.entries[:2], b"spoilt", *held.entries[3:])).to_bytes(), world.trust())
    assert [proven.index for proven in report.entries] == [3, 4, *range(6, 14)]


# A log whose owner has put in what its software would not write: everything stands where it should, and is not what it says.


class FaultyWorld(World):
    """Its last entries carry statements that are not their author's."""

    def steps(self, size: int) -> Iterator[Entry]:
        mine, other, third = self.owner.name, self.requester.name, self.stranger.name
        text = statement("receipt", grant="9b" * 32, requester=other)
        head = sign_checkpoint(
            Checkpoint(strangers(self), 5, b"\6" * 32, HEAD_MS), HeldKey(self.signer, self.stranger.key)
        )
        unnamed = statement("receipt", grant="9b" * 32)
        odd_author = statement("receipt", requester="\x9b2J\u202e" + other)
        faulty: list[tuple[str, str, bytes]] = [
            ("RECEIPT_RECEIVED", other, self.note(text, self.requester).replace(b"9b9b", b"9b9c")),
            ("RECEIPT_RECEIVED", other, self.note(text, self.owner)),
            ("RECEIPT_RECEIVED", other, self.note(unnamed, self.owner)),
            ("RECEIPT_RECEIVED", other, self.note(odd_author, self.requester)),
            ("DECISION_MADE", mine, self.note(statement("decision", outcome="approved"), self.requester)),
            ("SOMETHING_NEW", mine, self.note(statement("something-new"), self.requester)),
            (
                "CHECKPOINT_COSIGNED",
                third,
                sign_checkpoint(Checkpoint(self.origin, 5, b"\6" * 32, 0), HeldKey(self.signer, self.stranger.key)),
            ),
            ("CHECKPOINT_COSIGNED", third, self.signed_again(head, self.owner)[:-8] + b"AAAAAA=\n"),
            ("RECEIPT_RECEIVED", other, b"no note at all"),
            ("SOMETHING_NEW", mine, self.note("\x9b2J\u202e\n", self.owner)),
        ]
        entries = [Entry(HEAD_MS, event, actor, "-", None, None, note) for event, actor, note in faulty]
        yield from [*list(super().steps(size))[: size - len(entries)], *entries]


FAULTS = [
    "the signature of 11370700MB0000002C under the statement in entry 16 is wrong",
    "no key that the auditor knows of 11370700MB0000002C has signed the statement in entry 17",
    "no key that the auditor knows of 11370700MB0000002C has signed the statement in entry 18",
    "no key that the file states of - has signed the statement in entry 19",
    "no key that the auditor knows of 11370700MB00000019 has signed the statement in entry 20",
    "no key that the auditor knows of 11370700MB00000019 has signed the statement in entry 21",
    "no key that the auditor knows of 11370700MB00000019 has signed the statement in entry 22",
    "",
    "the note is not a text, an empty line and signature lines",
    "",
]


def test_a_statement_is_its_authors_and_nobody_elses(tmp_path: Any) -> None:  # noqa: ANN401 - pytest's own path
    world = FaultyWorld(tmp_path, 26)
    try:
        proof = world.true_proof(26)
        for index in range(16, 26):
            content = world.evidence(index, 26, proof)
            found = links(content, world.trust())
            fault = FAULTS[index - 16]
            if fault:
                assert found["statement"].says == f"entry {index}: {fault}"
                assert {name for name, link in found.items() if not link.holds} == {"statement"}
                assert not links(content, Trust())["statement"].holds
            else:
                # Another line under a checkpoint that its member signed takes nothing from it; odd words are not repeated.
                assert found["statement"].holds
                assert found["statement"].says.isascii()
        found = links(world.range(14, 26, 26, proof), world.trust())
        assert {name for name, link in found.items() if not link.holds} == {"statements"}
        assert found["statements"].says.endswith("; and 3 more")
        # Nothing that somebody wrote into a statement reaches a terminal.
        assert all(link.says.isprintable() and link.says.isascii() for link in found.values())
    finally:
        world.log.close()
