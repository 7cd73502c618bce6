"""The two formats: what is written is read back, and whatever has another spelling is refused whole."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import verifier
from audit.verifier import (
    Anchored,
    ChainStatement,
    EntryRange,
    Evidence,
    KeyStatement,
    Malformed,
    Proof,
    Trust,
    read_file,
    verify,
)
from tests.audit.evidence_files import World, opened_world

NUMBERS = st.integers(0, 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32)
BYTES = st.binary(min_size=1, max_size=80)
MEMBERS = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=18, max_size=18)
KEYS = st.builds(KeyStatement, MEMBERS, NUMBERS, st.binary(min_size=65, max_size=65), NUMBERS, st.none() | NUMBERS)


def many(of: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, min_size=least, max_size=4).map(tuple)


CHAINS = st.builds(
    ChainStatement,
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=32),
    NUMBERS,
    st.binary(min_size=20, max_size=20),
    NUMBERS,
    BYTES,
    NUMBERS,
    many(BYTES, 1),
)
PROOFS = st.builds(
    Proof,
    BYTES,
    st.lists(st.builds(Anchored, BYTES, many(HASHES), CHAINS), max_size=3, unique_by=lambda one: one.chain.network).map(
        tuple
    ),
    st.lists(KEYS, max_size=4, unique_by=lambda key: (key.member, key.epoch)).map(tuple),
)
FILES = st.builds(Evidence, NUMBERS, BYTES, many(HASHES), PROOFS) | st.builds(
    EntryRange, NUMBERS, many(BYTES, 1), many(HASHES), many(HASHES), PROOFS
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


@pytest.fixture(scope="module")
def lines(world: World) -> list[str]:
    """Of a true file that has every kind of line."""
    found = world.true_evidence(5, 19).to_bytes().decode().split("\n")[:-1]
    assert {line.split(" ")[0] for line in found[1:]} == {
        *("index", "entry", "path", "checkpoint", "anchored", "consistency", "chain"),
        *("header", "receipt-index", "receipt-path", "key"),
    }
    return found


def joined(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def is_malformed(raw: bytes) -> bool:
    try:
        read_file(raw)
    except Malformed:
        return True
    return False


# Round trip.


@settings(deadline=None)
@given(FILES)
def test_a_file_reads_back_as_it_was_written(content: Evidence | EntryRange) -> None:
    assert read_file(content.to_bytes()) == content


@settings(deadline=None)
@given(FILES, st.data())
def test_a_changed_byte_is_refused_or_makes_another_file_in_its_one_spelling(
    content: Evidence | EntryRange, data: st.DataObject
) -> None:
    raw = bytearray(content.to_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = read_file(bytes(raw))
    except Malformed:
        return
    assert changed != content
    assert changed.to_bytes() == bytes(raw)


@settings(deadline=None)
@given(FILES, st.data())
def test_any_lines_moved_dropped_or_doubled_are_refused_or_read_as_they_stand(
    content: Evidence | EntryRange, data: st.DataObject
) -> None:
    lines = content.to_bytes().decode().split("\n")[:-1]
    places = st.integers(0, len(lines) - 1)
    for act in data.draw(st.lists(st.sampled_from(["swap", "drop", "double"]), min_size=1, max_size=3)):
        a, b = data.draw(places) % len(lines), data.draw(places) % len(lines)
        if act == "swap":
            lines[a], lines[b] = lines[b], lines[a]
        elif act == "drop" and len(lines) > 1:
            del lines[a]
        else:
            lines.insert(b, lines[a])
    raw = joined(lines)
    try:
        changed = read_file(raw)
    except Malformed:
        return
    assert changed.to_bytes() == raw


# Form.


@pytest.mark.parametrize("trusted", [True, False])
def test_a_file_cut_short_anywhere_is_refused_or_does_not_hold(world: World, trusted: bool) -> None:  # noqa: FBT001 - a case
    """Where it still holds, keys that nobody needed or the second network were lost, and what is left says nothing new."""
    for content in (world.true_evidence(5, 19), world.true_range()):
        raw, trust = content.to_bytes(), world.trust() if trusted else Trust()
        cuts = [at for at in range(len(raw)) if not is_malformed(raw[:at])]
        assert 5 < len(cuts) < 20
        whole = verify(raw, trust)
        assert whole.holds
        for at in cuts:
            report = verify(raw[:at], trust)
            if report.holds:
                assert raw[at:].startswith((b"key ", b"anchored "))
                assert set(report.links) <= set(whole.links)


def test_the_lines_of_one_kind_can_stand_nowhere_else(lines: list[str]) -> None:
    """Swapping two neighbours of different kinds is refused; of the same kind it makes another file."""
    for at in range(len(lines) - 1):
        swapped = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
        one, two = lines[at].split(" ")[0], lines[at + 1].split(" ")[0]
        assert is_malformed(joined(swapped)) == (one != two), lines[at][:20]


def test_a_line_twice_or_missing_is_refused_unless_it_may_repeat(lines: list[str]) -> None:
    may_repeat = {"path", "consistency", "receipt-path"}
    for at, line in enumerate(lines):
        kind = line.split(" ")[0]
        assert is_malformed(joined([*lines[:at], line, *lines[at:]])) == (kind not in may_repeat), kind
        alone = sum(other.split(" ")[0] == kind for other in lines[max(at - 1, 0) : at + 2]) == 1
        must_stand = kind not in may_repeat | {"key"} or (kind == "receipt-path" and alone)
        assert is_malformed(joined(lines[:at] + lines[at + 1 :])) == must_stand, kind


def test_a_line_of_an_unknown_kind_is_refused_everywhere(lines: list[str]) -> None:
    for at in range(len(lines) + 1):
        for extra in ("", " ", "note of nobody", "#", lines[0], "Index 5", "index"):
            assert is_malformed(joined([*lines[:at], extra, *lines[at:]]))


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda _: b"\n",
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.decode().encode("utf-16"),
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: raw.replace(b"\n", b"\r"),
        lambda raw: raw.replace(b"\n", b"\n\n", 1),
        lambda raw: raw[:-1],
        lambda raw: raw + b"\n",
        lambda raw: raw + b" ",
        lambda raw: raw + b"\0",
        lambda raw: raw + raw,
        lambda raw: b" " + raw,
        lambda raw: raw.replace(b"v1", b"v2", 1),
        lambda raw: raw.replace(b"evidence", b"range", 1),
        lambda raw: raw.replace(b"evidence", b"Evidence", 1),
        lambda raw: raw.replace(b" ", b"  ", 3),
        lambda raw: raw.replace(b" ", b"\t", 1),
        lambda raw: raw.replace(b"\n", b" \n", 2),
        lambda raw: raw.replace(b"\n", "\u2028".encode(), 1),
        lambda raw: raw.upper(),
    ],
)
def test_other_encodings_and_line_ends_are_refused(world: World, change: Change) -> None:
    raw = world.true_evidence().to_bytes()
    assert not is_malformed(raw)
    assert is_malformed(change(raw))


def with_value(lines: list[str], kind: str, change: Callable[[str], str]) -> bytes:
    """The file with the value of the first line of a kind changed."""
    at = next(at for at, line in enumerate(lines) if line.startswith(kind + " "))
    return joined([*lines[:at], f"{kind} {change(lines[at][len(kind) + 1 :])}", *lines[at + 1 :]])


BAD_NUMBERS = [
    "",
    "00",
    "05",
    "-1",
    "+5",
    " 5",
    "5 ",
    "5_0",
    "0x5",
    "5.0",
    "1e1",
    "٥",
    "５",
    "9223372036854775808",
    "9" * 19,
    "9" * 5_000,
]


@pytest.mark.parametrize("number", BAD_NUMBERS)
def test_a_number_has_one_spelling_on_every_line(lines: list[str], number: str) -> None:
    assert not is_malformed(with_value(lines, "index", lambda _: "9223372036854775807"))
    for kind in ("index", "receipt-index"):
        assert is_malformed(with_value(lines, kind, lambda _: number))
    for word, kind in ((1, "chain"), (3, "chain"), (1, "key"), (3, "key"), (4, "key")):

        def change(value: str, word: int = word) -> str:
            return " ".join(number if at == word else one for at, one in enumerate(value.split(" ")))

        assert is_malformed(with_value(lines, kind, change))


@pytest.mark.parametrize("kind", ["entry", "path", "checkpoint", "anchored", "consistency", "header", "receipt-path"])
def test_base64_has_one_spelling_on_every_line(lines: list[str], kind: str) -> None:
    changes: list[Callable[[str], str]] = [
        lambda _: "",
        lambda value: value.rstrip("="),
        lambda value: value + "=",
        lambda value: value + "====",
        lambda value: value[:8] + "\t" + value[8:],
        lambda value: value[:8] + "=" + value[9:],
        lambda value: "-" + value[1:],
        lambda value: "*" + value[1:],
        lambda value: "漢" + value[1:],
        lambda value: value[:-1],
        lambda value: value + " ",
        lambda _: base64.b32encode(b"another").decode(),
    ]
    for change in changes:
        assert is_malformed(with_value(lines, kind, change))
    # Bits after the end of what is encoded.
    for bits in ("AB==", "AAB=", "A///", "/w=="):
        raw = with_value(lines, "header" if kind in {"path", "consistency"} else kind, lambda _, bits=bits: bits)  # type: ignore[misc]
        assert is_malformed(raw) == (bits in {"AB==", "AAB="})


@pytest.mark.parametrize("kind", ["path", "consistency"])
@pytest.mark.parametrize("size", [31, 33, 64])
def test_a_hash_has_32_bytes(lines: list[str], kind: str, size: int) -> None:
    assert is_malformed(with_value(lines, kind, lambda _: base64.b64encode(bytes(size)).decode()))


@pytest.mark.parametrize(("kind", "word"), [("chain", 2), ("key", 2)])
def test_hexadecimal_is_in_lower_case_and_of_its_length(lines: list[str], kind: str, word: int) -> None:
    changes: list[Callable[[str], str]] = [
        str.upper,
        lambda text: text[2:],
        lambda text: text + "00",
        lambda text: "0x" + text[2:],
    ]
    changes += [lambda text: "g" + text[1:], lambda text: "٣" + text[1:], lambda _: "", lambda text: text[1:] + " "]
    for change in changes:

        def changed(value: str, change: Callable[[str], str] = change) -> str:
            return " ".join(change(one) if at == word else one for at, one in enumerate(value.split(" ")))

        assert is_malformed(with_value(lines, kind, changed))


@pytest.mark.parametrize("network", ["", "Weifang", "a" * 33, "a.b", "a/b", "潍坊", "a b", "a\x1b[2J"])
def test_a_networks_name_cannot_trouble_a_terminal_or_a_page(lines: list[str], network: str) -> None:
    assert is_malformed(with_value(lines, "chain", lambda value: " ".join([network, *value.split(" ")[1:]])))


@pytest.mark.parametrize(
    "member", ["", "11370700004258746x", "11370700004258746", "11370700004258746X1", "<b>", "1137070000425874６X"]
)
def test_a_key_is_a_members(lines: list[str], member: str) -> None:
    assert is_malformed(with_value(lines, "key", lambda value: " ".join([member, *value.split(" ")[1:]])))


def test_a_key_epoch_a_network_and_a_section_are_stated_once(world: World) -> None:
    evidence = world.true_evidence(5, 19)
    county, city = evidence.proof.anchored
    key = evidence.proof.keys[0]
    others = [
        replace(evidence.proof, anchored=(county, county)),
        replace(evidence.proof, anchored=(county, replace(city, chain=replace(city.chain, network="weifang-county")))),
        replace(evidence.proof, keys=(key, replace(key, since=1))),
    ]
    for proof in others:
        assert is_malformed(replace(evidence, proof=proof).to_bytes())
    for count in (8, 9):
        sections = tuple(replace(county, chain=replace(county.chain, network=f"n{at}")) for at in range(count))
        assert is_malformed(replace(evidence, proof=replace(evidence.proof, anchored=sections)).to_bytes()) == (
            count > 8
        )


def test_a_range_holds_as_many_entries_as_it_says(world: World) -> None:
    lines = world.true_range().to_bytes().decode().split("\n")[:-1]
    assert lines[2] == "count 11"
    for count in ("0", "10", "12", "9223372036854775807"):
        assert is_malformed(joined([*lines[:2], f"count {count}", *lines[3:]]))
    without = [line for line in lines if not line.startswith("entry ")]
    assert is_malformed(joined(without))
    assert is_malformed(joined([*without[:2], "count 0", *without[3:]]))


def test_a_file_larger_than_its_kind_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "_Lines", None)  # whoever reads a line of it fails
    for head, limit in (
        (b"kiteline/evidence/v1\n", verifier.MAX_EVIDENCE),
        (b"kiteline/range/v1\n", verifier.MAX_RANGE),
    ):
        with pytest.raises(Malformed, match="larger than its kind"):
            read_file(head.ljust(limit + 1, b"\n"))


def test_what_is_no_file_is_malformed() -> None:
    for raw in (
        b"kiteline/evidence/v1",
        b"kiteline/range/v1\n",
        b"\x00" * 100,
        b"\xff" * 100,
        b"kiteline/evidence/v1\n" * 50,
    ):
        with pytest.raises(Malformed):
            verify(raw, Trust())
