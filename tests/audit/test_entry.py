"""Entries have one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.entry import Entry, format_time, parse_entry, parse_time
from audit.errors import EntryInvalid

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True)
TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
DETAILS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=60)

entries = st.builds(
    Entry,
    time_ms=st.integers(0, 253_402_300_799_999),
    event=NAMES,
    actor=TOKENS,
    subject=TOKENS,
    refusal=st.none() | NAMES,
    detail=st.none() | DETAILS,
    note=st.none() | st.binary(min_size=1, max_size=300),
)


@given(entries)
def test_an_entry_reads_back_as_it_was_written(entry: Entry) -> None:
    assert parse_entry(entry.to_bytes()) == entry


@given(entries, st.data())
def test_a_changed_byte_is_refused_or_gives_another_entry_in_its_one_spelling(
    entry: Entry, data: st.DataObject
) -> None:
    raw = bytearray(entry.to_bytes())
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = parse_entry(bytes(raw))
    except EntryInvalid:
        return
    assert changed != entry
    assert changed.to_bytes() == bytes(raw)


@given(st.integers(0, 253_402_300_799_999))
def test_times_read_back(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@pytest.mark.parametrize(
    "text",
    ["2026-11-24T01:02:03Z", "2026-11-24T01:02:03.0040Z", "2026-13-24T01:02:03.004Z", "2026-11-24 01:02:03.004Z"],
)
def test_another_spelling_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(EntryInvalid):
        parse_time(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"kiteline/entry/v2\n",
        b"kiteline/entry/v1\ntime 2026-11-24T01:02:03.004Z\n",
        Entry(0, "E", "-", "-").to_bytes()[:-1],
        Entry(0, "E", "-", "-").to_bytes() + b"\n",
        Entry(0, "E", "-", "-").to_bytes().replace(b"ok", b"maybe"),
        b"\xff" + Entry(0, "E", "-", "-").to_bytes(),
    ],
)
def test_what_no_writer_writes_is_refused(raw: bytes) -> None:
    with pytest.raises(EntryInvalid):
        parse_entry(raw)
