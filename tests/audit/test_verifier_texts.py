"""Notes, checkpoints, entries and times: what `crypto` and `audit` read, the verifier reads, and reads the same; and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit import verifier
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.entry import Entry, parse_entry, parse_time
from audit.errors import EntryInvalid
from audit.verifier import Malformed, read_checkpoint, read_entry, read_note, read_time
from crypto.errors import EncodingInvalid
from crypto.notes import Note, NoteKey, NoteSignature, parse_note
from crypto.sm2 import SM2PrivateKey
from tests.audit.evidence_files import BLOCK_TIME
from tests.audit.test_entry import entries

PUBLIC = SM2PrivateKey(31_975).public_key

NOTE_TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NOTE_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


def crypto_note(raw: bytes) -> object:
    try:
        note = parse_note(raw)
    except EncodingInvalid:
        return None
    return note.text, [(line.name, line.key_id, line.signature) for line in note.signatures]


def verifier_note(raw: bytes) -> object:
    try:
        note = read_note(raw)
    except Malformed:
        return None
    return note.text, [(line.name, line.key_id, line.blob) for line in note.lines]


@given(
    st.text(st.sampled_from("a\n\r\t\0\x7f\u0085\u2028—+ \ufeff漢"), max_size=12),
    st.lists(
        st.tuples(
            st.sampled_from(["— ", "—", "- ", "—  "]),
            NOTE_NAMES,
            st.sampled_from(["A", "QUJD", "AAAAAAA=", "AAAAAAB=", "AAAAAAAA"]),
        ),
        max_size=4,
    ),
    st.sampled_from(["\n\n", "\n", "\n\n\n"]),
    st.sampled_from(["\n", "", "\n\n", "\r\n"]),
)
@settings(deadline=None)
def test_a_note_is_read_as_crypto_reads_it(text: str, lines: list[tuple[str, str, str]], gap: str, end: str) -> None:
    raw = (text + gap + "\n".join(f"{dash}{name} {blob}" for dash, name, blob in lines) + end).encode()
    assert verifier_note(raw) == crypto_note(raw)


@given(NOTE_TEXTS.map(lambda text: "".join(c for c in text if c >= " " or c == "\n") + "\n"), st.data())
@settings(deadline=None)
def test_a_changed_byte_of_a_note_leaves_both_readers_of_one_mind(text: str, data: st.DataObject) -> None:
    lines = tuple(
        NoteSignature(f"{'name' * at}n", b"%04d" % at, b"signature") for at in range(data.draw(st.integers(1, 3)))
    )
    raw = bytearray(Note(text, lines).to_bytes())
    assert verifier_note(bytes(raw)) == crypto_note(bytes(raw)) is not None
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert verifier_note(bytes(raw)) == crypto_note(bytes(raw))


@pytest.mark.parametrize("count", [0, 1, 100, 101])
def test_a_note_has_from_one_to_a_hundred_lines(count: int) -> None:
    raw = b"text\n\n" + b"".join(f"— name{at} AAAAAAAA\n".encode() for at in range(count))
    assert (verifier_note(raw) is not None) == (crypto_note(raw) is not None) == (1 <= count <= 100)


@pytest.mark.parametrize(("blob", "holds_a_signature"), [("AAAA", False), ("AAAAAA==", False), ("AAAAAAA=", True)])
def test_a_line_holds_four_bytes_and_a_signature(blob: str, holds_a_signature: bool) -> None:  # noqa: FBT001 - a case
    raw = f"text\n\n— name {blob}\n".encode()
    assert (verifier_note(raw) is not None) == (crypto_note(raw) is not None) == holds_a_signature


def test_a_note_of_more_than_a_mebibyte_is_refused() -> None:
    tail = "\n\n— name AAAAAAAA\n".encode()
    for size in (1_048_576, 1_048_577):
        raw = b"x" * (size - len(tail)) + tail
        assert (verifier_note(raw) is None) == (crypto_note(raw) is None) == (size > 1_048_576)


def test_key_ids_are_those_of_notes() -> None:
    assert verifier.key_id("部门", PUBLIC.to_bytes()) == NoteKey("部门", PUBLIC).key_id
    assert verifier.key_id("部门", PUBLIC.to_bytes()) != verifier.key_id(
        "部门", PUBLIC.to_bytes(), verifier.COSIGNATURE_LABEL
    )


def audit_checkpoint(text: str) -> object:
    try:
        held = parse_checkpoint(text)
    except EntryInvalid:
        return None
    return held.origin, held.member_id, held.size, held.root, held.time_ms


def verifier_checkpoint(text: str) -> object:
    try:
        held = read_checkpoint(text)
    except Malformed:
        return None
    return held.origin, held.member, held.size, held.root, held.time_ms


ORIGINS = ["kiteline/11370700004258746X/audit/SM3", f"kiteline/11370700004258746X/dataset/{'0a' * 32}/SM3"]
checkpoints = st.builds(
    Checkpoint,
    st.sampled_from(ORIGINS),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63 - 1),
)


@given(checkpoints, st.data())
@settings(deadline=None)
def test_a_checkpoint_and_a_changed_one_are_read_as_audit_reads_them(head: Checkpoint, data: st.DataObject) -> None:
    text = head.to_text()
    assert verifier_checkpoint(text) == audit_checkpoint(text) is not None
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0189aAzZ/+=\n\r \t-.e_ー٣\ufeff"))
    for changed in (text[:at] + other + text[at + 1 :], text[:at] + other + text[at:], text[:at] + text[at + 1 :]):
        assert verifier_checkpoint(changed) == audit_checkpoint(changed)


@pytest.mark.parametrize(
    "number",
    ["0", "00", "01", "-1", "+1", " 1", "1 ", "1_0", "٣", "9223372036854775807", "9223372036854775808", "1" * 5000, ""],
)
def test_a_number_has_one_spelling(number: str) -> None:
    for text in (
        f"{ORIGINS[0]}\n{number}\n{'A' * 43}=\ntime 5\n",
        f"{ORIGINS[0]}\n5\n{'A' * 43}=\ntime {number}\n",
    ):
        assert (verifier_checkpoint(text) is not None) == (number in {"0", "9223372036854775807"})
        assert verifier_checkpoint(text) == audit_checkpoint(text)


def audit_entry(raw: bytes) -> object:
    try:
        return vars(parse_entry(raw))
    except EntryInvalid:
        return None


def verifier_entry(raw: bytes) -> object:
    try:
        return vars(read_entry(raw))
    except Malformed:
        return None


@given(entries, st.data())
@settings(deadline=None)
def test_an_entry_and_a_changed_one_are_read_as_audit_reads_them(entry: Entry, data: st.DataObject) -> None:
    raw = entry.to_bytes()
    assert verifier_entry(raw) == audit_entry(raw) == vars(entry)
    at = data.draw(st.integers(0, len(raw) - 1))
    other = data.draw(
        st.sampled_from([b"\n", b" ", b"\r", b"\0", b"A", b"_", b"0", b"\x7f", "\u2028".encode(), b"\n\n", b""])
    )
    for changed in (raw[:at] + other + raw[at + 1 :], raw[:at] + other + raw[at:], raw[: at + 1]):
        assert verifier_entry(changed) == audit_entry(changed)


def test_an_entrys_detail_is_as_long_as_audit_lets_it_be() -> None:
    raw = Entry(0, "E", "-", "-", detail="漢").to_bytes()
    for detail in ("漢" * 4_096, "漢" * 4_097, " ", "", "a b", "a ", " a", "a\u200bb", "a\xa0b"):
        changed = raw.replace("漢".encode(), detail.encode())
        assert verifier_entry(changed) == audit_entry(changed)
    assert verifier_entry(raw.replace("漢".encode(), ("漢" * 4_096).encode())) is not None


def test_an_entrys_note_is_as_long_as_audit_lets_it_be() -> None:
    head = Entry(0, "E", "-", "-").to_bytes()
    for note in (b"", b"x", b"x" * 1_048_576, b"x" * 1_048_577):
        raw = head + b"\n" + note
        assert verifier_entry(raw) == audit_entry(raw)


@given(st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}(Z|\+00:00)\Z"))
@example("2026-11-24T01:02:03.004Z")
@example("2024-02-29T23:59:59.999Z")
@example("2023-02-29T23:59:59.999Z")
@example("1970-01-01T00:00:00.000Z")
@example("1969-12-31T23:59:59.999Z")
@example("9999-12-31T23:59:59.999Z")
@example("2026-11-24T23:59:60.000Z")
@example("٢026-11-24T01:02:03.004Z")
@example("2026-11-24T01:02:03.004Z\n")
@settings(deadline=None)
def test_a_time_is_read_as_audit_reads_it(text: str) -> None:
    try:
        read: int | None = read_time(text)
    except Malformed:
        read = None
    try:
        held: int | None = parse_time(text)
    except EntryInvalid:
        held = None
    assert read == (held if held is not None and held >= 0 else None)


def test_midnight_has_one_spelling_on_every_python() -> None:
    """Python 3.14 reads 24:00 as the next day's midnight."""
    with pytest.raises(Malformed, match="a time is written as"):
        read_time("2026-11-24T24:00:00.000Z")
    assert read_time("2026-11-25T00:00:00.000Z") == 1_795_564_800_000 > 1000 * BLOCK_TIME
