"""Packed batches as Arrow arrays and back, without a byte changed."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from crypto.packed import Packed
from node.model.strings import from_strings, to_strings

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=12)


@given(texts)
def test_items_are_the_strings_of_an_array_and_come_back(items: list[str]) -> None:
    packed = Packed.of(item.encode() for item in items)
    strings = to_strings(packed)
    strings.validate(full=True)
    assert strings.to_pylist() == items
    assert list(from_strings(strings)) == list(packed)


@given(texts, st.sampled_from([pa.string(), pa.large_string()]), st.integers(0, 12), st.integers(0, 12))
def test_a_part_of_an_array_gives_its_own_items_alone(
    items: list[str], kind: pa.DataType, start: int, length: int
) -> None:
    part = pa.array(items, kind).slice(start, length)
    packed = from_strings(part)
    assert [item.decode() for item in packed] == items[start : start + length]
    assert len(packed.data) == sum(len(item) for item in packed)


@given(st.lists(st.binary(max_size=8), max_size=8), st.data())
def test_a_part_of_a_batch_is_seen_as_such(items: list[bytes], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(items)))
    stop = data.draw(st.integers(start, len(items)))
    part = Packed.of(items).slice(start, stop)
    assert list(from_strings(to_strings(part))) == items[start:stop]
