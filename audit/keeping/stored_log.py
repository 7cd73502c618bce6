"""The files of a log's epochs read as one: entries in batches, tiles in order, and where a thing lies."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise

from audit.errors import StoreDamaged
from audit.keeping.ahead import Ahead
from audit.keeping.findings import Finding, Part, Place
from audit.keeping.stored import TILE_LEVELS, EpochFile, Segment, leaf_messages, read_segment
from audit.tiles import leaves_of_tile
from crypto.merkle import TILE_HEIGHT
from crypto.packed import Packed

_BATCH_ENTRIES = 32_768
_BATCH_BYTES = 8 << 20
_TILES_TOGETHER = 64
_TILES_AHEAD = 8  # times as many

_Tile = tuple[int, bytes | None]


@dataclass(frozen=True)
class Batch:
    """Leaves that follow one another. `messages`: what their hashes are over; None where they cannot be read, or are archived."""

    count: int
    messages: Packed | None


class StoredLog:
    """Epochs that follow one another. `epochs`: None for one that cannot be read; `bounds`: the first leaf of each, and the end."""

    def __init__(self, epochs: Sequence[EpochFile | None], archived: Sequence[bool], bounds: Sequence[int]) -> None:
        self._epochs = epochs
        self._archived = archived
        self._bounds = bounds
        self._following: list[Iterator[_Tile | Finding]] = []
        self._opened = ExitStack()

    def begin(self, start: int, stop: int) -> None:
        """Make ready to give the tiles over the leaves from `start` to `stop` in order."""
        for level in range(TILE_LEVELS):
            shift = TILE_HEIGHT * (level + 1)
            first, last = start >> shift, min(-(-stop >> shift), self._bounds[-1] >> shift)
            self._following.append(self._tiles(level, first, last))
        # Most tiles are of the lowest level. A thread reads them ahead, some at a time.
        pieces = self._opened.enter_context(Ahead(_together(self._following[0]), _TILES_AHEAD))
        self._following[0] = (item for piece in pieces for item in piece)

    def close(self) -> None:
        """End what `begin` began."""
        self._opened.close()

    def following(self, level: int, index: int) -> Iterator[bytes | Finding | None]:
        """See `rehash.Tiles`."""
        for item in self._following[level]:
            if isinstance(item, Finding):
                yield item
                continue
            if item[0] != index:
                raise AssertionError(f"tile {level}/{item[0]} was read where {level}/{index} is compared")
            yield item[1]
            return

    def tile(self, level: int, index: int) -> bytes | None:
        """See `rehash.Tiles`."""
        epoch = self._epochs[self._number(leaves_of_tile(level, index) - 1)]
        return None if epoch is None else epoch.tile(level, index)

    def tile_place(self, level: int, index: int, node: tuple[int, int]) -> Place:
        """See `rehash.Tiles`."""
        return self._place(leaves_of_tile(level, index) - 1, tile=(level, index), node=node)

    def leaf_place(self, first: int, stop: int) -> Place:
        """See `rehash.Tiles`."""
        number = self._number(first)
        epoch = self._epochs[number]
        key = None if epoch is None or self._archived[number] else epoch.segment_of(first)
        return self._place(first, key=key, leaves=(first, stop))

    def head_place(self, leaves: tuple[int, int]) -> Place:
        """See `rehash.Tiles`."""
        return self._place(self._bounds[-1], leaves=leaves)

    def leaves(self, start: int, stop: int) -> Iterator[Batch | Finding]:
        """The leaves from `start` to `stop`, each once, in order."""
        for number, (first, end) in enumerate(pairwise(self._bounds)):
            low, high = max(first, start), min(end, stop)
            if low >= high:
                continue
            epoch = self._epochs[number]
            if epoch is None or self._archived[number]:
                yield Batch(high - low, None)
            else:
                yield from _Reading(epoch, low, high, end).batches()

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The entries from `start` to `stop`, or to the first that is not to be had."""
        for item in self.leaves(start, stop):
            if isinstance(item, Batch):
                if item.messages is None:
                    return
                yield from (message[1:] for message in item.messages)

    def _tiles(self, level: int, first: int, stop: int) -> Iterator[_Tile | Finding]:
        shift = TILE_HEIGHT * (level + 1)
        for epoch, (low, high) in zip(self._epochs, pairwise(self._bounds), strict=True):
            low, high = max(first, low >> shift), min(stop, high >> shift)  # noqa: PLW2901 - in tiles
            if epoch is not None:
                yield from epoch.tiles(level, low, high)
            else:
                yield from ((index, None) for index in range(low, high))

    def _number(self, leaf: int) -> int:
        """Of the epoch that holds a leaf."""
        return min(bisect_right(self._bounds, leaf) - 1, len(self._epochs) - 1)

    def _place(self, leaf: int, **known: object) -> Place:
        number = self._number(leaf)
        epoch = self._epochs[number]
        return Place(epoch=number, file=epoch and epoch.path, **known)  # type: ignore[arg-type]  # fields of Place


class _Reading:
    """One reading of the entries of an epoch from `low` to `high`. `end`: where the epoch ends."""

    def __init__(self, epoch: EpochFile, low: int, high: int, end: int) -> None:
        self._epoch = epoch
        self._low = low
        self._high = high
        self._end = end
        self._at = -1  # the leaf that the next segment must begin with
        self._held: list[Segment] = []
        self._entries = self._bytes = 0

    def batches(self) -> Iterator[Batch | Finding]:
        """The entries, in order; where some are not to be had, a batch without any, after what is wrong."""
        for item, next_key in _with_next_key(self._epoch.segments(self._low)):
            if isinstance(item, Finding):
                yield item
                continue
            key, value = item
            if self._at < 0:
                self._at = min(key, self._low)
            if self._at >= self._high:
                break
            yield from self._take(key, value, next_key)
        if self._at < self._high:
            yield self._wrong(max(self._at, self._low), self._high, None, "the entries are not there")
            yield from self._gap(self._high)
        yield from self._flush()

    def _take(self, key: int, value: bytes | None, next_key: int | None) -> Iterator[Batch | Finding]:
        segment, why = _read(value)
        after = self._end if next_key is None else next_key
        follows = segment is not None and after == self._at + len(segment)
        if key != self._at:
            if value is not None or key > self._at:
                says = f"a segment has the key {key}, and the entries up to {self._at} lie before it"
                yield self._wrong(self._at, max(key, self._at + 1), key, says)
            if not follows and key < self._at:
                return
            if not follows:
                yield from self._gap(key)
        if segment is None:
            stop = next_key if next_key is not None and next_key > self._at else self._high
            if why:
                yield self._wrong(self._at, stop, key, why)
            yield from self._gap(stop)
            return
        if segment.stated != len(segment):
            says = f"the store counts {segment.stated} entries in a segment of {len(segment)}"
            yield self._wrong(self._at, self._at + len(segment), key, says)
        self._held.append(segment)
        self._at += len(segment)
        self._entries, self._bytes = self._entries + len(segment), self._bytes + len(segment.data)
        if self._entries >= _BATCH_ENTRIES or self._bytes >= _BATCH_BYTES:
            yield from self._flush()

    def _gap(self, stop: int) -> Iterator[Batch]:
        """Leaves up to `stop` that are not to be had."""
        yield from self._flush()
        count = min(stop, self._high) - max(self._at, self._low)
        if count > 0:
            yield Batch(count, None)
        self._at = stop

    def _flush(self) -> Iterator[Batch]:
        if self._held:
            messages = leaf_messages(self._held)
            begin = self._at - len(messages)
            # The first and the last segment may reach over what is asked for.
            first, stop = max(self._low - begin, 0), min(self._high, self._at) - begin
            if stop > first:
                inside = messages if (first, stop) == (0, len(messages)) else messages.slice(first, stop)
                yield Batch(len(inside), inside)
        self._held, self._entries, self._bytes = [], 0, 0

    def _wrong(self, first: int, stop: int, key: int | None, says: str) -> Finding:
        return Finding(Part.SEGMENT, says, self._epoch.place(key=key, leaves=(first, stop)))


def _read(value: bytes | None) -> tuple[Segment | None, str]:
    """A segment, or why it cannot be read; nothing where that has been told."""
    if value is None:
        return None, ""
    try:
        return read_segment(value), ""
    except StoreDamaged as why:
        return None, str(why)


def _with_next_key(
    rows: Iterator[tuple[int, bytes | None] | Finding],
) -> Iterator[tuple[tuple[int, bytes | None] | Finding, int | None]]:
    """Each row with the key of the row after it."""
    held: tuple[int, bytes | None] | None = None
    waiting: list[Finding] = []
    for item in rows:
        if isinstance(item, Finding):
            waiting.append(item)
            continue
        if held is not None:
            yield held, item[0]
        yield from ((finding, None) for finding in waiting)
        waiting = []
        held = item
    if held is not None:
        yield held, None
    yield from ((finding, None) for finding in waiting)


def _together(items: Iterator[_Tile | Finding]) -> Iterator[list[_Tile | Finding]]:
    piece: list[_Tile | Finding] = []
    for item in items:
        piece.append(item)
        if len(piece) == _TILES_TOGETHER:
            yield piece
            piece = []
    yield piece
