"""Files made to deceive, to crash or to exhaust: mutations by the thousand, and work that grows no faster than the file."""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak

from audit import verifier
from audit.verifier import (
    EntryRange,
    Evidence,
    KeyStatement,
    Malformed,
    Proof,
    SignatureCheck,
    Trust,
    key_id,
    read_file,
    read_header,
    report_document,
    report_lines,
    verify,
)
from audit.verify import signature_check
from crypto.engine import load_engine
from crypto.notes import Note, NoteSignature, sign_note
from crypto.signer import HeldKey
from tests.audit.evidence_files import World, opened_world
from tests.audit.test_verifier_links import SIZE, in_proof, true

CASES = 2_500  # of each file and each knowledge
File = Evidence | EntryRange


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


# Mutations.


def mutated(draw: random.Random, raw: bytes, other: bytes) -> bytes:
    """One small change: of a byte, of a line, or of what a line says, in its right spelling."""
    kind = draw.choice(["byte", "bit", "cut", "insert", "line", "value", "value", "value"])
    at = draw.randrange(len(raw))
    if kind == "byte":
        return raw[:at] + bytes([draw.randrange(256)]) + raw[at + 1 :]
    if kind == "bit":
        return raw[:at] + bytes([raw[at] ^ 1 << draw.randrange(8)]) + raw[at + 1 :]
    if kind == "cut":
        return raw[:at] + raw[at + draw.randrange(1, 40) :]
    if kind == "insert":
        start = draw.randrange(len(other))
        return raw[:at] + other[start : start + draw.randrange(1, 40)] + raw[at:]
    lines = raw.split(b"\n")[:-1]
    place = draw.randrange(len(lines))
    if kind == "line":
        foreign = draw.choice(other.split(b"\n")[:-1])
        name = lines[place].split(b" ")[0]
        alike = [line for line in other.split(b"\n") if line.split(b" ")[0] == name] or [foreign]
        lines[place : place + 1] = draw.choice(
            [[], [lines[place]] * 2, [foreign], [draw.choice(alike)], lines[place : place + 2][::-1]]
        )
    else:
        words = lines[place].split(b" ")
        word = draw.randrange(len(words))
        words[word] = changed_value(draw, words[word])
        lines[place] = b" ".join(words)
    return b"\n".join(lines) + b"\n"


def changed_value(draw: random.Random, value: bytes) -> bytes:
    """Another number, another hexadecimal value, or other bytes in base64."""
    if value.isdigit() and len(value) < 20:
        return b"%d" % max(int(value) + draw.choice([-1, 1, 7, 1 << 40]), 0)
    if len(value) in {40, 130}:
        at = draw.randrange(len(value))
        return value[:at] + draw.choice([b"0", b"7", b"f"]) + value[at + 1 :]
    try:
        decoded = bytearray(base64.b64decode(value, validate=True))
    except ValueError:
        return value + b"x"
    if not decoded:
        return b"x"
    at = draw.randrange(len(decoded))
    act = draw.choice(["bit", "digit", "cut", "double"])
    if act == "bit":
        decoded[at] ^= 1 << draw.randrange(8)
    elif act == "digit":
        decoded[at] = draw.choice(b"0123456789")
    elif act == "cut":
        del decoded[at:]
    else:
        decoded[at:at] = decoded[at : at + 9]
    return base64.b64encode(decoded)


def proven(content: File, *, blocks_are_known: bool) -> File:
    """The file without the words that no link claims: a network's and a chain's name, lines of unknown keys under the checkpoint, keys
    that the auditor has, or nobody used; and, where no block is known, of a header all but the root of its receipts.
    """
    anchored = []
    for one in content.proof.anchored:
        header = one.chain.header if blocks_are_known else read_header(one.chain.header).receipts_root
        anchored.append(replace(one, chain=replace(one.chain, network="", chain_id=0, header=header)))
    used = [key.key for key in content.proof.keys if key.member in {"11370700MB00000019", "11370700MB0000002C"}]
    keys = () if blocks_are_known else tuple(KeyStatement("", 0, key, 0, None) for key in dict.fromkeys(used))
    text = verifier.read_note(content.proof.checkpoint).text.encode()
    return replace(content, proof=Proof(text, tuple(anchored), keys))


def remembering(check: SignatureCheck) -> SignatureCheck:
    """The same check, made once for the same values."""
    held: dict[tuple[bytes, bytes, bytes], bool] = {}

    def verifies(key: bytes, message: bytes, signature: bytes) -> bool:
        claim = (key, message, signature)
        if claim not in held:
            held[claim] = check(*claim)
        return held[claim]

    return verifies


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("kind", ["evidence", "range"])
def test_a_changed_file_does_not_hold_or_proves_the_very_same(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    trusted: bool,  # noqa: FBT001 - a case
) -> None:
    """And whatever it is, nothing but Malformed is raised, and the report can be written."""
    monkeypatch.setattr(verifier, "keccak256", keccak)  # the same, and faster
    content: File = true(world) if kind == "evidence" else world.true_range(4, 9, SIZE)
    other = world.true_evidence(6, 20).to_bytes() if kind == "evidence" else world.true_range(3, 9, 20).to_bytes()
    raw, trust = content.to_bytes(), world.trust() if trusted else Trust()
    check = remembering(signature_check(load_engine()))
    draw = random.Random(f"{kind} {trusted}")
    outcomes: Counter[str] = Counter()
    for _ in range(CASES):
        changed = mutated(draw, raw, other)
        if changed == raw:
            continue
        try:
            report = verify(changed, trust, check)
        except Malformed:
            outcomes["malformed"] += 1
            continue
        assert report_document("file", report)
        assert all(line.isascii() and line.isprintable() for line in report_lines(report))
        outcomes["holds" if report.holds else "does not hold"] += 1
        if report.holds:
            same = proven(read_file(changed), blocks_are_known=trusted)
            assert same == proven(content, blocks_are_known=trusted), changed
    assert outcomes["malformed"] > CASES // 8
    assert outcomes["does not hold"] > CASES // 4
    assert outcomes["holds"] < CASES // 4


# Work. What is counted is signature checks and hashes, not seconds.


class Counted:
    """Counts what the verifier does most: hashes and signature checks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        for name in ("sm3", "keccak256"):
            monkeypatch.setattr(verifier, name, self._counting(name, getattr(verifier, name)))
        self.check = self._counting("signatures", signature_check(load_engine()))

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:  # noqa: ANN401 - whatever the function takes and gives
            self.calls[name] += 1
            return function(*arguments)

        return counted

    def of(self, content: File, trust: Trust) -> Counter[str]:
        """What judging a file took."""
        self.calls.clear()
        verify(content.to_bytes(), trust, self.check)
        return Counter(self.calls)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_a_true_file_takes_a_handful_of_each(world: World, counted: Counted) -> None:
    took = counted.of(true(world), world.trust())
    assert took["signatures"] == 5  # the head, the statement, two witnesses, the city's head
    assert took["keccak256"] < 15
    assert took["sm3"] < 40


def test_keys_are_hashed_once_however_many_statements_there_are(world: World, counted: Counted) -> None:
    statement = world.entries[5]
    took = {}
    for keys, entries in ((100, 100), (200, 100), (100, 200), (400, 400)):
        extra = tuple(world.stranger.stated(epoch=at, key=b"\4" + at.to_bytes(64, "big")) for at in range(2, keys + 2))
        proof = replace(true(world).proof, keys=(*true(world).proof.keys, *extra))
        took[keys, entries] = counted.of(EntryRange(0, (statement,) * entries, (), (bytes(32),), proof), Trust())
    for (keys, entries), calls in took.items():
        assert calls["sm3"] <= 2 * (keys + 5) + entries + 80
        assert calls["signatures"] <= entries + 5


def test_one_key_stated_a_thousand_times_is_tried_once_a_line(world: World, counted: Counted) -> None:
    wrong = replace(true(world), entry=true(world).entry.replace(b"sequence 1", b"sequence 2"))
    again = tuple(world.requester.stated(epoch=at) for at in range(2, 1_002))
    content = in_proof(wrong, keys=(*true(world).proof.keys, *again))
    assert counted.of(content, Trust())["signatures"] == 3


def test_lines_of_unknown_keys_cost_no_signature_check(world: World, counted: Counted) -> None:
    lines = tuple(NoteSignature(world.stranger.name, at.to_bytes(4, "big"), b"no signature") for at in range(99))
    head = world.head(SIZE)
    note = Note(verifier.read_note(head).text, (*lines, *_lines_of(head))).to_bytes()
    content = world.evidence(5, SIZE, world.proof(note, world.anchored(note, SIZE)))
    assert counted.of(content, Trust())["signatures"] == 2


def _lines_of(note: bytes) -> tuple[NoteSignature, ...]:
    return tuple(NoteSignature(line.name, line.key_id, line.blob) for line in verifier.read_note(note).lines)


def test_a_note_is_given_up_at_its_first_wrong_signature(world: World, counted: Counted) -> None:
    keys = [b"\4" + at.to_bytes(64, "big") for at in range(100)]
    name = world.owner.name
    lines = tuple(NoteSignature(name, key_id(name, key), b"no signature") for key in keys)
    note = Note(verifier.read_note(world.head(SIZE)).text, lines).to_bytes()
    stated = tuple(world.owner.stated(epoch=at, key=key) for at, key in enumerate(keys))
    content = world.evidence(0, SIZE, world.proof(note, keys=stated))
    assert counted.of(content, Trust())["signatures"] == 1


def test_paths_are_followed_no_further_than_their_tree_is_high(world: World, counted: Counted) -> None:
    long = tuple(at.to_bytes(32, "big") for at in range(10_000))
    base = counted.of(true(world), Trust())
    assert counted.of(replace(true(world), path=long), Trust())["sm3"] <= base["sm3"] + 64
    county, city = true(world).proof.anchored
    other = in_proof(true(world), anchored=(county, replace(city, consistency=long)))
    assert counted.of(other, Trust())["sm3"] <= base["sm3"] + 128
    held = world.true_range(3, 9, SIZE)
    base = counted.of(held, Trust())
    assert counted.of(replace(held, left=long), Trust())["sm3"] <= base["sm3"]
    chain = replace(county.chain, receipt_path=(county.chain.receipt_path[0], *long))
    other = in_proof(true(world), anchored=(replace(county, chain=chain), city))
    assert counted.of(other, Trust())["keccak256"] <= 12


def test_eight_networks_take_eight_times_the_work_of_one(world: World, counted: Counted) -> None:
    county, city = true(world).proof.anchored
    took = []
    for count in (1, 8):
        sections = tuple(replace(city, chain=replace(city.chain, network=f"n{at}")) for at in range(count))
        took.append(counted.of(in_proof(true(world), anchored=sections), Trust()))
    base = counted.of(in_proof(true(world), anchored=(county,)), Trust())["signatures"]
    assert [calls["signatures"] - base for calls in took] == [1, 8]
    assert took[1]["keccak256"] == 8 * took[0]["keccak256"]


def test_lines_are_taken_one_by_one_until_the_first_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of millions of lines is not cut up before it is looked at."""
    taken: Counter[str] = Counter()
    plain = verifier._Lines.take

    def counting(lines: verifier._Lines) -> str | None:
        taken["lines"] += 1
        return plain(lines)

    monkeypatch.setattr(verifier._Lines, "take", counting)
    for head in (b"kiteline/evidence/v1\n", b"kiteline/range/v1\n"):
        with pytest.raises(Malformed):
            read_file(head.ljust(verifier.MAX_EVIDENCE, b"\n"))
    assert taken["lines"] == 2


def test_a_statement_of_a_mebibyte_and_entries_of_one_byte_end_in_a_verdict(world: World) -> None:
    check = signature_check(load_engine())
    text = "kiteline/receipt/v1\n" + f"requester {'x' * 1_000_000}\n"
    note = sign_note(text, world.requester.name, HeldKey(load_engine(), world.requester.key))
    entry = replace_note(world.entries[5], note)
    report = verify(replace(true(world), entry=entry).to_bytes(), world.trust(), check)
    assert max(len(link.says) for link in report.links) < 300
    many = EntryRange(0, tuple(b"%c" % (at % 256) for at in range(60_000)), (), (bytes(32),), true(world).proof)
    report = verify(many.to_bytes(), Trust(), check)
    assert report.entries == ()
    assert "and 59995 more" in report.links[1].says


def replace_note(entry: bytes, note: bytes) -> bytes:
    return entry.partition(b"\n\n")[0] + b"\n\n" + note
