"""Cutting and joining packed batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crypto.packed import Packed
from node.model.batches import ITEM_COST, cut

items = st.lists(st.binary(max_size=12), max_size=30)
limits = st.tuples(st.integers(1, 9), st.integers(4, 60))


@given(items, limits)
def test_the_pieces_hold_every_item_in_order_and_keep_the_limits(
    given_items: list[bytes], limit: tuple[int, int]
) -> None:
    max_items, max_bytes = limit
    pieces = list(cut(Packed.of(given_items), max_items, max_bytes))
    assert [item for piece in pieces for item in piece] == given_items
    for piece in pieces:
        assert 1 <= len(piece) <= max_items
        assert len(piece) == 1 or ITEM_COST * (len(piece) + 1) + len(piece.data) <= max_bytes


@given(items, items, limits)
def test_all_pieces_but_the_last_stay_as_they_are_whatever_comes_later(
    given_items: list[bytes], later: list[bytes], limit: tuple[int, int]
) -> None:
    pieces = [list(piece) for piece in cut(Packed.of(given_items), *limit)]
    longer = [list(piece) for piece in cut(Packed.of(given_items + later), *limit)]
    assert longer[: max(len(pieces) - 1, 0)] == pieces[:-1]


@given(st.lists(items, min_size=1, max_size=5))
def test_joined_batches_hold_all_items(batches: list[list[bytes]]) -> None:
    joined = Packed.joined([Packed.of(batch) for batch in batches])
    assert list(joined) == [item for batch in batches for item in batch]
