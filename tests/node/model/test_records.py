"""Records: one spelling, checked one by one and in batches with the same outcome."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.packed import Packed
from node.errors import RecordInvalid
from node.model.records import (
    MAX_INTEGER,
    MAX_RECORD_SIZE,
    RecordChecker,
    Value,
    decode_batch,
    decode_record,
    encode_record,
    project,
    spell_each,
)

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from('"\\/\n\r\t\b\f\x00\x1f\x7f],[镇'))
scalars = texts | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.booleans() | st.none()
rows = st.lists(scalars, min_size=1, max_size=8)

MALFORMED = [
    b"",
    b"[]",
    b"{}",
    b'"a"',
    b"[1,]",
    b'["a" ]',
    b'[ "a"]',
    b'["a"]\n',
    b'["a"',
    b'["a"]["b"]',
    b'[["a"]]',
    b'[{"a":1}]',
    b"[1.5]",
    b"[1e3]",
    b"[-0]",
    b"[01]",
    b"[+1]",
    b"[NaN]",
    b"[Infinity]",
    b"[True]",
    b"[9007199254740992]",
    b"[-9007199254740992]",
    b"[10000000000000000]",
    b'["\\u0041"]',
    b'["\\/"]',
    b'["\\u000A"]',
    b'["\\u000a"]',
    b'["\\u001F"]',
    b'["\\ud800"]',
    b'["\\x"]',
    b'["\n"]',
    b'["\x00"]',
    b'["\xff"]',
    b'["\xed\xa0\x80"]',
    b'["\xc0\x80"]',
    b"\xef\xbb\xbf[1]",
    b"[" * 100_000,
]


@given(rows)
def test_a_record_round_trips_and_is_what_json_writes(values: list[Value]) -> None:
    record = encode_record(values)
    assert record == json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
    read = decode_record(record)
    assert read == values
    assert [type(value) for value in read] == [type(value) for value in values]


@pytest.mark.parametrize("record", MALFORMED, ids=[repr(record[:24]) for record in MALFORMED])
def test_a_malformed_record_is_refused_alone_and_in_a_batch(record: bytes) -> None:
    with pytest.raises(RecordInvalid):
        decode_record(record)
    with pytest.raises(RecordInvalid, match="record 8"):
        RecordChecker(1).check(Packed.of([b"[1]", record, b"[2]"]), first_number=7)


@given(st.text('[]",:\\u0a1-.e tnrfalsu\n镇', max_size=24))
def test_the_grammar_accepts_exactly_what_json_reads_and_writes_again_unchanged(text: str) -> None:
    def accepted() -> bool:
        try:
            values = json.loads(text)
        except ValueError:
            return False
        plain = isinstance(values, list) and all(
            value is None or isinstance(value, str) or (isinstance(value, int) and abs(value) <= MAX_INTEGER)
            for value in values
        )
        return plain and len(values) > 0 and json.dumps(values, ensure_ascii=False, separators=(",", ":")) == text

    if accepted():
        decode_record(text.encode())
    else:
        with pytest.raises(RecordInvalid):
            decode_record(text.encode())


@pytest.mark.parametrize(
    "number", [0, 1, -1, 2**31, 10**15 - 1, 10**15, 8_999_999_999_999_999, MAX_INTEGER - 1, MAX_INTEGER]
)
def test_integers_below_2_to_the_53_are_records(number: int) -> None:
    for signed in (number, -number):
        assert decode_record(encode_record([signed])) == [signed]


@pytest.mark.parametrize("value", [2**53, -(2**53), 1.5, ["a"], {"a": 1}, b"a", "\ud800"], ids=repr)
def test_a_value_that_a_record_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(RecordInvalid):
        encode_record(["fine", value])  # type: ignore[list-item]  # the wrong kind is the point


def test_a_record_longer_than_a_segment_is_refused() -> None:
    longest = encode_record(["x" * (MAX_RECORD_SIZE - 4)])
    assert len(longest) == MAX_RECORD_SIZE
    RecordChecker(1).check(Packed.of([longest]))
    with pytest.raises(RecordInvalid):
        encode_record(["x" * (MAX_RECORD_SIZE - 3)])
    with pytest.raises(RecordInvalid, match="record 2"):
        RecordChecker(1).check(Packed.of([longest, longest.replace(b"xx", b"xxx", 1)]))


def test_a_projection_picks_values_in_the_order_asked_for() -> None:
    assert project(b'["a",1,true,null]', [2, 0]) == b'[true,"a"]'
    for indexes in ([4], [-1], []):
        with pytest.raises(RecordInvalid):
            project(b'["a",1,true,null]', indexes)


def expected_key(value: Value) -> bytes:
    return value.encode() if isinstance(value, str) else str(value).encode()


@settings(max_examples=50)
@given(st.data(), st.sampled_from([1, 2, 5, 64, 65, 90]))
def test_a_batch_gives_the_values_of_its_key_field(data: st.DataObject, fields: int) -> None:
    key_index = data.draw(st.integers(0, fields - 1))
    keys = data.draw(st.lists(texts | st.integers(-MAX_INTEGER, MAX_INTEGER), min_size=1, max_size=4))
    filler: Sequence[Value] = data.draw(st.lists(scalars, min_size=fields, max_size=fields))
    values = [[*filler[:key_index], key, *filler[key_index + 1 :]] for key in keys]
    batch = Packed.of(encode_record(row) for row in values)
    found = RecordChecker(fields, key_index).check(batch)
    assert found is not None
    assert list(found) == [expected_key(key) for key in keys]
    assert RecordChecker(fields).check(batch) is None
    assert decode_batch(batch) == values


@pytest.mark.parametrize("fields", [2, 70])
@pytest.mark.parametrize("by", [-1, 1])
def test_another_number_of_values_is_refused_and_the_record_named(fields: int, by: int) -> None:
    good, bad = encode_record(["a,b]"] * fields), encode_record(["a"] * (fields + by))
    RecordChecker(fields).check(Packed.of([good, good]))
    with pytest.raises(RecordInvalid, match=f"record 3 has {fields + by} values") as raised:
        RecordChecker(fields).check(Packed.of([good, good, bad]))
    assert raised.value.details == {"record": "3"}


@pytest.mark.parametrize("key", [None, True, False])
def test_a_record_without_a_key_is_refused_where_there_is_a_key_field(key: Value) -> None:
    batch = Packed.of([encode_record([1, "k"]), encode_record([2, key])])
    with pytest.raises(RecordInvalid, match="record 2"):
        RecordChecker(2, key_index=1).check(batch)
    RecordChecker(2, key_index=0).check(batch)


def test_a_refusal_shows_nothing_of_the_record() -> None:
    with pytest.raises(RecordInvalid) as raised:
        RecordChecker(1).check(Packed.of([b'["secret" ]']))
    assert "secret" not in str(raised.value)


def test_an_empty_batch_is_fine() -> None:
    keys = RecordChecker(3, key_index=2).check(Packed.of([]))
    assert keys is not None
    assert len(keys) == 0


@pytest.mark.parametrize(("fields", "key"), [(0, None), (2, 2), (2, -1)])
def test_a_checker_without_fields_or_with_a_key_beyond_them_is_refused(fields: int, key: int | None) -> None:
    with pytest.raises(RecordInvalid):
        RecordChecker(fields, key)


@given(st.lists(rows, max_size=5))
def test_many_flat_arrays_and_objects_are_spelled_as_one_by_one(many: list[list[Value]]) -> None:
    assert [text.encode() for text in spell_each(many)] == [encode_record(values) for values in many]
    objects = [{str(place): value for place, value in enumerate(values)} for values in many]
    assert spell_each(objects) == [json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in objects]
