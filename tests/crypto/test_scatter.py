"""Prefixing a packed batch gives what concatenating piece by piece gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import EncodingInvalid
from crypto.packed import Packed
from crypto.scatter import prefix_each


@given(st.lists(st.binary(max_size=70)), st.integers(1, 20))
def test_items_of_any_length_follow_their_own_prefix(items: list[bytes], width: int) -> None:
    raw = bytes(index % 251 for index in range(len(items) * width))
    prefixes = np.frombuffer(raw, dtype=np.uint8).reshape(len(items), width)
    got = prefix_each(prefixes, Packed.of(items))
    assert list(got) == [raw[i * width : (i + 1) * width] + item for i, item in enumerate(items)]


@pytest.mark.parametrize("length", [0, 1, 64])
def test_items_of_one_length_take_the_short_way_to_the_same_result(length: int) -> None:
    items = [bytes([i]) * length for i in range(9)]
    prefixes = np.arange(27, dtype=np.uint8).reshape(9, 3)
    assert list(prefix_each(prefixes, Packed.of(items))) == [
        bytes([3 * i, 3 * i + 1, 3 * i + 2]) + item for i, item in enumerate(items)
    ]


def test_a_wide_spread_of_lengths_is_copied_whole() -> None:
    items = [bytes([i % 256]) * (i * i * 7) for i in range(60)]
    prefixes = np.full((60, 17), 9, dtype=np.uint8)
    assert list(prefix_each(prefixes, Packed.of(items))) == [b"\x09" * 17 + item for item in items]


def test_a_prefix_that_is_not_contiguous_is_read_right() -> None:
    wide = np.arange(40, dtype=np.uint8).reshape(4, 10)
    got = prefix_each(wide[:, 2:5], Packed.of([b"", b"a", b"bc", b"d"]))
    assert list(got) == [b"\x02\x03\x04", b"\x0c\x0d\x0ea", b"\x16\x17\x18bc", b"\x20\x21\x22d"]


def test_an_empty_batch_stays_empty() -> None:
    assert len(prefix_each(np.empty((0, 17), dtype=np.uint8), Packed.of([]))) == 0


def test_prefixes_must_match_the_items() -> None:
    with pytest.raises(EncodingInvalid):
        prefix_each(np.zeros((2, 17), dtype=np.uint8), Packed.of([b"a"]))
