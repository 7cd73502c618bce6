"""Many byte strings in one contiguous buffer with offsets: the unit in which work moves through Kiteline.

`data[offsets[i]:offsets[i + 1]]` is item i; `offsets` has n + 1 unsigned 64-bit entries, the first 0 and the last
`len(data)`. A batch of a million records is two objects, not a million.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crypto.errors import EncodingInvalid

Offsets = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Packed:
    """A batch of byte strings. `data`: the strings end to end; `offsets`: (n + 1,) uint64, never decreasing."""

    data: bytes
    offsets: Offsets

    def __post_init__(self) -> None:
        offsets = self.offsets
        if offsets.dtype != np.uint64 or offsets.ndim != 1 or len(offsets) == 0:
            raise EncodingInvalid("offsets must be a one-dimensional uint64 array with at least one entry")
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(self.data) or bool((offsets[1:] < offsets[:-1]).any()):
            raise EncodingInvalid("offsets must rise from 0 to the length of the data")

    @classmethod
    def of(cls, items: Iterable[bytes]) -> Packed:
        """Pack byte strings."""
        held = list(items)
        offsets = np.zeros(len(held) + 1, dtype=np.uint64)
        np.cumsum([len(item) for item in held], out=offsets[1:])
        return cls(b"".join(held), offsets)

    @classmethod
    def fixed(cls, data: bytes, width: int) -> Packed:
        """Pack `data` as items of `width` bytes each; the length must be a multiple."""
        if width <= 0 or len(data) % width:
            raise EncodingInvalid(f"{len(data)} bytes are not a whole number of items of {width} bytes")
        return cls(data, np.arange(0, len(data) + 1, width, dtype=np.uint64))

    @classmethod
    def joined(cls, batches: Sequence[Packed]) -> Packed:
        """Several batches as one, without touching single items."""
        if len(batches) == 1:
            return batches[0]
        bases = np.cumsum([0, *(len(batch.data) for batch in batches)]).astype(np.uint64)
        offsets = [batch.offsets[:-1] + base for batch, base in zip(batches, bases[:-1], strict=True)]
        return cls(b"".join(batch.data for batch in batches), np.concatenate([*offsets, bases[-1:]]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.data[int(self.offsets[index]) : int(self.offsets[index + 1])]

    def __iter__(self) -> Iterator[bytes]:
        bounds = self.offsets.tolist()
        data = self.data
        for start, stop in pairwise(bounds):
            yield data[start:stop]

    def pieces(self, size: int) -> Iterator[Packed]:
        """The batch in order, as batches of items of `size` bytes together at most; an item that is larger stands alone."""
        start = 0
        while start < len(self):
            bound = int(self.offsets[start]) + size
            stop = max(start + 1, int(np.searchsorted(self.offsets, np.uint64(bound), side="right")) - 1)
            yield self if (start, stop) == (0, len(self)) else self.slice(start, stop)
            start = stop

    def slice(self, start: int, stop: int) -> Packed:
        """Items start to stop (exclusive) as a batch of their own."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError((start, stop))
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return Packed(self.data[low:high], self.offsets[start : stop + 1] - np.uint64(low))
