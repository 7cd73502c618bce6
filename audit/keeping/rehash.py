"""The tree built again from the leaves, level by level, and compared with the stored one: all 510 nodes of each tile, each row.

Where the two differ, what lies above says which of them changed: a tile whose own hashes lead to the node that is stored above it is as it
was written, and so the entries below it are not; a tile whose hashes do not, is not. The tree goes on upwards with what was found to be right, so that
one fault is told once. Where nothing lies above, roots that are known from elsewhere decide.

Leaves that are not there (an archived epoch, a lost page) are taken from their tiles, whose own hashes are checked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from audit.keeping.findings import Finding, Part, Place
from audit.keeping.stored import TILE_LEVELS
from audit.tiles import TILE_WIDTH, Rows, leaves_of_tile, node_in_tile, tile_of
from crypto.engine import Engine
from crypto.merkle import HASH_SIZE, SM3_TREE, TILE_HEIGHT, hash_tiles, tree_root

_ROW_BYTES = TILE_WIDTH * HASH_SIZE
_PASSED_TILES = 64  # at once
_KEPT_TILES = 256  # of the tiles read one by one, 4 MiB
_KEPT_RIGHT = (
    1_024  # tiles that are right and not stored so, 16 MiB; with more of them, nothing of the store is worth a root
)

RootOf = Callable[[int], bytes | None]
# Whether roots that are known from elsewhere, of more leaves than so many, are those of a tree; None where none is known.
Judge = Callable[[RootOf, int], bool | None]
Known = NDArray[np.bool_]


class Tiles(Protocol):
    """The stored tiles, and where things lie."""

    def following(self, level: int, index: int) -> Iterator[bytes | Finding | None]:
        """What was found on the way, then the tile or None. Called for each tile of a level in order."""

    def tile(self, level: int, index: int) -> bytes | None:
        """A tile by itself."""

    def tile_place(self, level: int, index: int, node: tuple[int, int]) -> Place:
        """Of a node in a tile."""

    def leaf_place(self, first: int, stop: int) -> Place:
        """Of entries."""

    def head_place(self, leaves: tuple[int, int]) -> Place:
        """Of the newest head, as far as it is about some leaves."""


class _Level:
    """The nodes at the bottom of the next tiles of a level. `unknown`: spans of nodes that nothing below gives."""

    def __init__(self, first: int) -> None:
        self.base = first - first % TILE_WIDTH
        self.nodes = bytearray((first - self.base) * HASH_SIZE)
        self.unknown = [(self.base, first)] if first > self.base else []

    @property
    def stop(self) -> int:
        return self.base + len(self.nodes) // HASH_SIZE

    def take(self, tiles: int) -> tuple[bytes, Known]:
        """The bottom rows of the next tiles, and which of their nodes are known."""
        row = bytes(self.nodes[: tiles * _ROW_BYTES])
        known = self.known(tiles * TILE_WIDTH)
        del self.nodes[: tiles * _ROW_BYTES]
        self.base += tiles * TILE_WIDTH
        self.unknown = [(max(first, self.base), stop) for first, stop in self.unknown if stop > self.base]
        return row, known

    def known(self, count: int) -> Known:
        known = np.ones(count, dtype=np.bool_)
        for first, stop in self.unknown:
            known[first - self.base : stop - self.base] = False
        return known


class Rehash:
    """One building of a tree of `size` leaves, from leaf `start` on, a multiple of 256. `rows`: the stored bottom rows."""

    def __init__(self, engine: Engine, tiles: Tiles, size: int, rows: dict[int, bytes], start: int) -> None:
        self._engine = engine
        self._tiles = tiles
        self._size = size
        self._levels = [_Level(start >> TILE_HEIGHT * level) for level in range(TILE_LEVELS)]
        self._right: dict[tuple[int, int], bytes] = {}
        self._kept: OrderedDict[tuple[int, int], bytes | None] = OrderedDict()
        self._bottoms = {level: rows.get(level, b"") for level in range(TILE_LEVELS)}
        self._rows: Rows | None = None

    def feed(self, leaves: bytes) -> Iterator[Finding]:
        """Take the next leaf hashes."""
        yield from self._feed(0, leaves)

    def pass_over(self, count: int) -> Iterator[Finding]:
        """Take so many leaves of which only the tiles say what they are."""
        while count:
            step = min(count, _PASSED_TILES * TILE_WIDTH)
            yield from self._unknown(0, step)
            count -= step

    def finish(self, judge: Judge) -> Iterator[Finding]:
        """Complete the tiles in which the leaves fed end, then compare the stored bottom rows."""
        for level, state in enumerate(self._levels):
            rest = -state.stop % TILE_WIDTH
            if state.nodes and state.stop + rest <= self._size >> TILE_HEIGHT * level:
                yield from self._unknown(level, rest)
        # Upper rows first: whether the lowest is right is decided by roots, which stand on all of them.
        for level in reversed(range(TILE_LEVELS)):
            yield from self._compare_row(level, judge)

    def bottom(self, level: int, index: int, count: int) -> bytes | None:
        """The first nodes at the bottom of a tile, finished or not, as they were found to be right; None where nothing says."""
        if leaves_of_tile(level, index) <= self._size:
            tile = self._tile(level, index)
            return None if tile is None else tile[: count * HASH_SIZE]
        return self._bottoms[level][: count * HASH_SIZE]

    def root(self, size: int) -> bytes | None:
        """The root over the first `size` leaves, as it was found to be right; None where nothing says."""
        try:
            return tree_root(SM3_TREE, self._node, size)
        except LookupError:
            return None

    def _node(self, level: int, index: int) -> bytes:
        tile_level, tile_index = tile_of(level, index)
        if leaves_of_tile(tile_level, tile_index) <= self._size:
            tile = self._tile(tile_level, tile_index)
            node = None if tile is None else node_in_tile(tile, level, index)
        else:
            if self._rows is None:
                held = {level: row for level, row in self._bottoms.items() if row}
                self._rows = Rows.rebuild(self._engine, self._size, held)
            node = self._rows.node(level, index)
        if node is None:
            raise LookupError((level, index))
        return node

    def _tile(self, level: int, index: int) -> bytes | None:
        place = level, index
        if place in self._right:
            return self._right[place]
        if place not in self._kept:
            self._kept[place] = self._tiles.tile(level, index)
            if len(self._kept) > _KEPT_TILES:
                self._kept.popitem(last=False)
        return self._kept[place]

    # Upwards.

    def _feed(self, level: int, nodes: bytes) -> Iterator[Finding]:
        if level == TILE_LEVELS:
            return
        state = self._levels[level]
        state.nodes += nodes
        tiles = len(state.nodes) // _ROW_BYTES
        if not tiles:
            return
        first = state.base // TILE_WIDTH
        row, known = state.take(tiles)
        stored: list[bytes | None] = []
        for index in range(first, first + tiles):
            for item in self._tiles.following(level, index):
                if isinstance(item, Finding):
                    yield item
                else:
                    stored.append(item)
        present = [tile for tile in stored if tile is not None]
        whole = len(present) == tiles and bool(known.all() or not known.any())
        if whole:
            built, roots = hash_tiles(
                self._engine, row if known.all() else b"".join(tile[:_ROW_BYTES] for tile in present)
            )
            if b"".join(present) == built:
                yield from self._feed(level + 1, roots)
                return
        for number, tile in enumerate(stored):
            nodes = row[number * _ROW_BYTES : (number + 1) * _ROW_BYTES]
            which = known[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
            root, findings = self._judged(level, first + number, nodes, which, tile)
            yield from findings
            yield from self._unknown(level + 1, 1) if root is None else self._feed(level + 1, root)

    def _unknown(self, level: int, count: int) -> Iterator[Finding]:
        if level < TILE_LEVELS and count:
            state = self._levels[level]
            state.unknown.append((state.stop, state.stop + count))
            yield from self._feed(level, bytes(count * HASH_SIZE))

    def _judged(
        self, level: int, index: int, row: bytes, known: Known, stored: bytes | None
    ) -> tuple[bytes | None, Sequence[Finding]]:
        """The root of a tile as it is found to be right, and what is wrong. `row`: its bottom, from what lies below."""
        if stored is None:
            # That it is missing has been told.
            if not known.all():
                return None, ()
            built, root = hash_tiles(self._engine, row)
            self._believe(level, index, built)
            return root, ()
        bottom = stored[:_ROW_BYTES]
        mixed = _chosen(known, row, bottom)
        built, root = hash_tiles(self._engine, mixed)
        if built == stored:
            return root, ()
        own, own_root = hash_tiles(self._engine, bottom)
        above = self._above(level, index)
        if own == stored and root != above and above in {None, own_root}:
            return own_root, [self._below(level, index, mixed, bottom)]
        findings = [self._in_tile(level, index, built, stored)]
        if root != above and mixed != bottom:
            findings.append(self._below(level, index, mixed, bottom))
        self._believe(level, index, built)
        return root, findings

    def _above(self, level: int, index: int) -> bytes | None:
        """The node that is stored for the root of a tile."""
        over, place = level + 1, index // TILE_WIDTH
        if over == TILE_LEVELS:
            return None
        if leaves_of_tile(over, place) <= self._size:
            tile = self._tiles.tile(over, place)
            return None if tile is None else node_in_tile(tile, over * TILE_HEIGHT, index)
        at = index % TILE_WIDTH * HASH_SIZE
        return self._bottoms[over][at : at + HASH_SIZE] or None

    def _believe(self, level: int, index: int, tile: bytes) -> None:
        if len(self._right) < _KEPT_RIGHT:
            self._right[level, index] = tile

    # The stored rows of unfinished tiles.

    def _compare_row(self, level: int, judge: Judge) -> Iterator[Finding]:
        state, stored = self._levels[level], self._bottoms[level]
        total = self._size >> TILE_HEIGHT * level
        base = total - total % TILE_WIDTH
        leaves = base << TILE_HEIGHT * level, self._size
        if len(stored) != (total - base) * HASH_SIZE:
            says = f"row {level} of the head has {len(stored)} bytes, and {total - base} nodes must be in it"
            yield Finding(Part.HEAD, says, self._tiles.head_place(leaves))
            stored = stored[: (total - base) * HASH_SIZE].ljust((total - base) * HASH_SIZE, b"\0")
            self._put_row(level, stored)
        if state.base != base or not state.nodes:
            return
        count = state.stop - base
        computed = bytes(state.nodes) + stored[count * HASH_SIZE :]
        known = np.concatenate([state.known(count), np.zeros(total - base - count, dtype=np.bool_)])
        mixed = _chosen(known, computed, stored)
        if mixed == stored:
            return
        places = [base + place for place in _differing(mixed, stored)]
        beyond = places[0] << TILE_HEIGHT * level
        is_stored = judge(self.root, beyond)
        self._put_row(level, mixed)
        is_mixed = judge(self.root, beyond)
        if is_stored and not is_mixed:
            self._put_row(level, stored)
            yield self._below(level, base // TILE_WIDTH, mixed, stored)
        elif level or is_mixed:
            says = f"{len(places)} nodes of row {level} of the head are not the hashes of what lies below"
            yield Finding(Part.HEAD, says, self._tiles.head_place((beyond, self._size)))
        else:
            says = (
                f"{_some(places)}: entries and head contradict each other, and no known head says which of them changed"
            )
            yield Finding(Part.SEGMENT, says, self._tiles.leaf_place(places[0], places[-1] + 1))

    def _put_row(self, level: int, row: bytes) -> None:
        self._bottoms[level], self._rows = row, None

    # What is said.

    def _below(self, level: int, index: int, computed: bytes, stored: bytes) -> Finding:
        """What lies below a tile or a row is not what it was built over."""
        places = [index * TILE_WIDTH + place for place in _differing(computed, stored)]
        first, stop = places[0] << TILE_HEIGHT * level, (places[-1] + 1) << TILE_HEIGHT * level
        what = _some(places) if level == 0 else f"the entries {first} to {stop - 1}, with the tiles over them"
        return Finding(Part.SEGMENT, f"{what}: not what the tree was built over", self._tiles.leaf_place(first, stop))

    def _in_tile(self, level: int, index: int, built: bytes, stored: bytes) -> Finding:
        places = _differing(built, stored)
        says = f"{len(places)} of the 510 nodes of tile {level}/{index} are not the hashes of what lies below"
        return Finding(Part.TILE, says, self._tiles.tile_place(level, index, _coordinate(level, index, places[0])))


def _some(places: Sequence[int]) -> str:
    return f"entry {places[0]}" if len(places) == 1 else f"{len(places)} entries from {places[0]} on"


def _chosen(known: Known, row: bytes, other: bytes) -> bytes:
    """The nodes of `row` that are known, and those of `other` where they are not."""
    return np.where(known[:, None], _hashes(row), _hashes(other)).tobytes()


def _differing(one: bytes, other: bytes) -> list[int]:
    return [int(place) for place in np.flatnonzero((_hashes(one) != _hashes(other)).any(axis=1))]


def _hashes(row: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(row, dtype=np.uint8).reshape(-1, HASH_SIZE)


def _coordinate(level: int, index: int, place: int) -> tuple[int, int]:
    """(level, index) in the tree of the node at a place of a fat tile."""
    inner, width = 0, TILE_WIDTH
    while place >= width:
        place, inner, width = place - width, inner + 1, width // 2
    return level * TILE_HEIGHT + inner, index * width + place
