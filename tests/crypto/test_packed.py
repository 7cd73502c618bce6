"""Packed batches: byte strings end to end, with offsets that cannot lie."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import EncodingInvalid
from crypto.packed import Packed

items = st.lists(st.binary(max_size=20), max_size=12)


@given(items)
def test_what_is_packed_comes_back_in_order(given_items: list[bytes]) -> None:
    packed = Packed.of(given_items)
    assert list(packed) == [packed[index] for index in range(len(packed))] == given_items
    assert packed.data == b"".join(given_items)


@given(items, st.data())
def test_a_slice_is_a_batch_of_its_own(given_items: list[bytes], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(given_items)))
    stop = data.draw(st.integers(start, len(given_items)))
    part = Packed.of(given_items).slice(start, stop)
    assert list(part) == given_items[start:stop]
    assert int(part.offsets[0]) == 0


@pytest.mark.parametrize("span", [(-1, 1), (2, 1), (0, 4)])
def test_a_slice_beyond_the_batch_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(IndexError):
        Packed.of([b"a", b"b", b"c"]).slice(*span)


@given(items, st.integers(1, 60))
def test_pieces_are_the_batch_in_order_and_as_long_as_they_may_be(given_items: list[bytes], size: int) -> None:
    pieces = [list(piece) for piece in Packed.of(given_items).pieces(size)]
    assert [item for piece in pieces for item in piece] == given_items
    for piece, after in pairwise([*pieces, []]):
        total = sum(map(len, piece))
        assert total <= size or len(piece) == 1
        assert not after or total + len(after[0]) > size


@pytest.mark.parametrize("index", [-1, 3])
def test_an_item_beyond_the_batch_is_refused(index: int) -> None:
    with pytest.raises(IndexError):
        Packed.of([b"a", b"b", b"c"])[index]


@pytest.mark.parametrize("offsets", [[0, 2], [1, 3], [0, 4], [0, 2, 1, 3], [0, 3, 3, 2], [3], []])
def test_offsets_that_do_not_rise_from_nothing_to_the_end_are_refused(offsets: list[int]) -> None:
    with pytest.raises(EncodingInvalid):
        Packed(b"abc", np.array(offsets, dtype=np.uint64))


def test_offsets_of_another_type_or_shape_are_refused() -> None:
    for offsets in (np.array([0, 3], dtype=np.int64), np.array([[0, 3]], dtype=np.uint64)):
        with pytest.raises(EncodingInvalid):
            Packed(b"abc", offsets)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "width", "count"), [(0, 4, 0), (12, 4, 3), (4, 4, 1)])
def test_items_of_one_width_need_no_lengths(size: int, width: int, count: int) -> None:
    packed = Packed.fixed(bytes(range(size)), width)
    assert len(packed) == count
    assert b"".join(packed) == bytes(range(size))


@pytest.mark.parametrize("width", [0, -4, 5])
def test_a_width_that_does_not_divide_the_data_is_refused(width: int) -> None:
    with pytest.raises(EncodingInvalid):
        Packed.fixed(bytes(12), width)
