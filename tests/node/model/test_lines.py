"""The values of a statement's lines: each has one spelling, and only values of its kind have one at all."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import StatementInvalid
from node.model import lines
from node.model.lines import (
    LAST_TIME_MS,
    MAX_FIELDS,
    MAX_NAME_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    Codec,
    FieldDescription,
    Range,
    check_field_name,
    check_text,
    decimal,
    escape,
    hexadecimal,
    optional,
    read_time,
    unescape,
    words,
    write_time,
)
from tests.support.statements import member_id


class Colour(Enum):
    """Words for the tests."""

    LIGHT_GREEN = 1
    RED = 2


# For each codec: values and their spellings; values that it refuses to write; texts that it refuses to read.
CASES: dict[str, tuple[Codec, dict[str, Any], list[Any], list[str]]] = {
    "hexadecimal": (
        hexadecimal(2),
        {"00ff": b"\x00\xff"},
        [b"", b"\0", b"\0\0\0", "00ff", None, 5],
        ["", "00f", "00fff", "00FF", "00fg", " 00ff", "0x00"],
    ),
    "decimal": (
        decimal(3, 12),
        {"3": 3, "12": 12},
        [2, 13, -3, True, "3", 3.0, None],
        ["2", "13", "03", "+3", "-3", "", " 3", "3.0", "３", "3_0"],
    ),
    "words": (
        words(Colour),
        {"light-green": Colour.LIGHT_GREEN, "red": Colour.RED},
        ["red", 1, None],
        ["Red", "LIGHT_GREEN", "light_green", "", "blue", "red "],
    ),
    "optional": (
        optional(decimal(0, 9)),
        {"-": None, "4": 4},
        [10, "4"],
        ["", "--", " -", "10"],
    ),
    "optional text": (
        optional(lines.TEXT),
        {"-": None, "a reason": "a reason"},
        ["-", "", 5],
        ["", " - "],
    ),
    "digest": (lines.DIGEST, {"ab" * 32: b"\xab" * 32}, [b"\xab" * 31], ["ab" * 31, "ab" * 33]),
    "order id": (lines.ORDER_ID, {"ab" * 16: b"\xab" * 16}, [b"\xab" * 32], ["ab" * 32]),
    "sequence": (lines.SEQUENCE, {"1": 1, str((1 << 64) - 1): (1 << 64) - 1}, [0, 1 << 64], ["0", str(1 << 64)]),
    "quota": (lines.QUOTA, {"1": 1, str((1 << 32) - 1): (1 << 32) - 1}, [0, 1 << 32], ["0", str(1 << 32)]),
    "count": (lines.COUNT, {"0": 0, str((1 << 32) - 1): (1 << 32) - 1}, [-1, 1 << 32], ["-1", str(1 << 32)]),
    "level": (lines.LEVEL, {"1": 1, "4": 4}, [0, 5], ["0", "5"]),
    "member": (
        lines.MEMBER,
        {member_id(1): member_id(1)},
        [member_id(1)[:-1], member_id(1).lower(), b"x", None],
        ["", member_id(1) + "0", member_id(1).lower()],
    ),
    "local name": (
        lines.LOCAL_NAME,
        {"villages-2": "villages-2", "a": "a", "x" * 64: "x" * 64},
        ["", "Villages", "a_b", "a b", "x" * 65, "村", 5],
        ["", "Villages", "a\n", "x" * 65],
    ),
    "field name": (
        lines.FIELD_NAME,
        {"code": "code", "a%2Cb%3D%3B%25": "a,b=;%"},
        ["", "*", "-", " a", "a\n", "x" * 101],
        ["", "*", "-", "a,b", "a%2cb", "a%41", "a%"],
    ),
    "field names": (
        lines.FIELD_NAMES,
        {"*": (), "a": ("a",), "b,a": ("b", "a"), "a%2Cb,c": ("a,b", "c")},
        [("a", "a"), ("a", "*"), ["a"], "a", None],
        ["", "a,", ",a", "a,a", "a,-", "a;b", "*,a"],
    ),
    "fields": (
        lines.FIELDS,
        {
            "a": (FieldDescription("a"),),
            "a=A title;b": (FieldDescription("a", "A title"), FieldDescription("b")),
            "a=1+1%3D2": (FieldDescription("a", "1+1=2"),),
        },
        [
            (),
            (FieldDescription("a"), FieldDescription("a", "again")),
            (FieldDescription("a", " "),),
            [FieldDescription("a")],
            None,
        ],
        ["", "a=", "=title", "a;a", "a;", "a=b=c", "a= "],
    ),
    "time": (
        lines.TIME,
        {"1970-01-01T00:00:00.000Z": 0, "2026-11-24T01:02:03.004Z": 1_795_482_123_004},
        [-1, LAST_TIME_MS + 1, True, "0", 1.5],
        ["", "2026-11-24T01:02:03Z", "2026-11-24 01:02:03.004Z", "2026-13-24T01:02:03.004Z", "2026-11-24T01:02:03.004"],
    ),
    "seconds": (
        lines.SECONDS,
        {"1970-01-01T00:00:05.000Z": 5},
        [-1, LAST_TIME_MS // 1_000 + 1, None],
        ["1970-01-01T00:00:05.001Z", "5"],
    ),
    "text": (
        lines.TEXT,
        {"为核对卫生站": "为核对卫生站", "-": "-", "x" * 1_000: "x" * 1_000},
        ["", " a", "a ", "a\nb", "x" * 1_001, 5, None],
        ["", "\u3000a", "a\u2029b", "\ufeffa", "a\u2066"],
    ),
    "range": (
        lines.RANGE,
        {"0-1": Range(0, 1), f"7-{(1 << 64) - 1}": Range(7, (1 << 64) - 1)},
        [(0, 1), "0-1", None],
        ["", "0", "-", "0-", "-1", "1-1", "2-1", "0-01", "0-1-2", f"0-{1 << 64}", "0 - 1"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_has_one_spelling(name: str) -> None:
    codec, spellings, _, _ = CASES[name]
    for text, value in spellings.items():
        assert codec.write(value) == text
        assert codec.read(text) == value
        assert type(codec.read(text)) is type(value)


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_such_value_is_not_written(name: str) -> None:
    codec, _, unwritable, _ = CASES[name]
    for value in unwritable:
        with pytest.raises(StatementInvalid):
            codec.write(value)


@pytest.mark.parametrize("name", CASES)
def test_another_spelling_is_not_read(name: str) -> None:
    codec, _, _, unreadable = CASES[name]
    for text in unreadable:
        with pytest.raises(StatementInvalid):
            codec.read(text)


def test_a_list_has_a_bounded_number_of_fields() -> None:
    names = tuple(f"f{number}" for number in range(MAX_FIELDS))
    assert lines.FIELD_NAMES.read(lines.FIELD_NAMES.write(names)) == names
    assert lines.FIELDS.read(";".join(names)) == tuple(FieldDescription(name) for name in names)
    too_many = (*names, "one-more")
    for codec, value, text in (
        (lines.FIELD_NAMES, too_many, ",".join(too_many)),
        (lines.FIELDS, tuple(FieldDescription(name) for name in too_many), ";".join(too_many)),
    ):
        with pytest.raises(StatementInvalid):
            codec.write(value)
        with pytest.raises(StatementInvalid):
            codec.read(text)


@given(st.text(max_size=30))
def test_every_text_is_read_back_from_its_escape_and_has_no_separator_in_it(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert not set(escaped) & set(";=,")


@pytest.mark.parametrize("text", ["%", "%2", "%2c", "%41", "%00", "%%", "a%3bb", "%253b%", ";", "="])
def test_another_escape_is_refused(text: str) -> None:
    with pytest.raises(StatementInvalid):
        unescape(text)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (1, 1), (2, 1), (-1, 1), (0, 1 << 64)])
def test_a_range_is_never_empty_nor_out_of_bounds(start: int, stop: int) -> None:
    with pytest.raises(StatementInvalid):
        Range(start, stop)


def test_a_range_counts_its_records() -> None:
    assert len(Range(3, 10)) == 7
    assert len(Range(0, 1)) == 1


def test_a_text_has_its_limit_in_characters() -> None:
    assert check_text("字" * MAX_TEXT_CHARACTERS) == "字" * MAX_TEXT_CHARACTERS
    assert check_text("abc", limit=3) == "abc"
    with pytest.raises(StatementInvalid, match="1 to 3 characters"):
        check_text("abcd", limit=3)
    assert check_field_name("名" * MAX_NAME_CHARACTERS) == "名" * MAX_NAME_CHARACTERS
    with pytest.raises(StatementInvalid):
        check_field_name("名" * (MAX_NAME_CHARACTERS + 1))


@pytest.mark.parametrize(
    "code", [0x00, 0x1F, 0x7F, 0x9F, 0x2028, 0x202A, 0x202E, 0x2066, 0x2069, 0xFEFF, 0xD800, 0xDFFF]
)
def test_characters_that_mislead_a_reader_are_refused_within_a_text(code: int) -> None:
    with pytest.raises(StatementInvalid):
        check_text(f"pay{chr(code)}me")


@pytest.mark.parametrize("code", [0x20, 0x7E, 0xA0, 0x2027, 0x202F, 0x2065, 0x206A, 0xFEFE, 0xD7FF, 0xE000, 0x20000])
def test_their_neighbours_are_accepted(code: int) -> None:
    assert check_text(f"pay{chr(code)}me")


def test_the_first_and_the_last_moment_can_be_written() -> None:
    assert write_time(0) == "1970-01-01T00:00:00.000Z"
    assert write_time(LAST_TIME_MS) == "9999-12-31T23:59:59.999Z"
    assert read_time("9999-12-31T23:59:59.999Z") == LAST_TIME_MS
    for milliseconds in (-1, LAST_TIME_MS + 1):
        with pytest.raises(StatementInvalid):
            write_time(milliseconds)


@pytest.mark.parametrize(
    "text",
    ["0000-01-01T00:00:00.000Z", "2026-02-29T00:00:00.000Z", "2026-11-24T01:02:60.000Z", "2026-11-24T24:00:00.000Z"],
)
def test_a_time_that_no_calendar_has_is_not_read(text: str) -> None:
    with pytest.raises(StatementInvalid):
        lines.TIME.read(text)
