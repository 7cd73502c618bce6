"""Cutting packed batches to size, without touching single items."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crypto.packed import Packed

ITEM_COST = 4  # bytes of bookkeeping for each item, and once more: its offset in a sealed segment


def cut(items: Packed, max_items: int, max_bytes: int) -> Iterator[Packed]:
    """Cut a batch into batches of at most `max_items` items and `max_bytes` bytes, offsets counted in. One item that is
    above the bytes alone becomes a batch of its own. All but the last are full: items that come later change them not.
    """
    start = 0
    while start < len(items):
        stop = _stop(items, start, max_items, max_bytes)
        yield items.slice(start, stop)
        start = stop


def _stop(items: Packed, start: int, max_items: int, max_bytes: int) -> int:
    last = min(start + max_items, len(items))
    sizes = items.offsets[start : last + 1] - items.offsets[start]
    costs = sizes + np.arange(1, len(sizes) + 1, dtype=np.uint64) * np.uint64(ITEM_COST)
    fitting = int(np.searchsorted(costs, max_bytes, side="right")) - 1
    return start + max(fitting, 1)
