"""How a growing tree is kept: whole fat tiles on disk, the rows of the unfinished ones in memory.

A tile of level L has at its bottom 256 nodes of tree level 8L. A *fat* tile carries the levels above them too, up to
the two nodes under its root: 256 + 128 + … + 2 = 510 nodes, so that a proof hashes nothing. Node (level, index) stands in the
tile (level // 8, index >> (8 - level % 8)).

The rows of a tile that is not full yet are `Rows`: for each tree level the complete nodes since that tile began. They are rebuilt
from the bottom rows alone, which are what the head record keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crypto.engine import Engine
from crypto.merkle import HASH_SIZE, TILE_HEIGHT, Frontier, parents

TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = (2 * TILE_WIDTH - 2) * HASH_SIZE


@dataclass(frozen=True)
class FullTile:
    """A tile to be stored: `level`, `index` and its 510 nodes."""

    level: int
    index: int
    nodes: bytes


def tile_of(level: int, index: int) -> tuple[int, int]:
    """(tile level, tile index) of a tree node."""
    return level // TILE_HEIGHT, index >> (TILE_HEIGHT - level % TILE_HEIGHT)


def node_in_tile(tile: bytes, level: int, index: int) -> bytes:
    """A node out of a fat tile."""
    inner = level % TILE_HEIGHT
    width = TILE_WIDTH >> inner
    # Above `inner` rows lie 256 + 128 + … nodes, which is 512 - 2 * width.
    at = (2 * TILE_WIDTH - 2 * width + index % width) * HASH_SIZE
    return tile[at : at + HASH_SIZE]


def leaves_of_tile(tile_level: int, tile_index: int) -> int:
    """How many leaves the tree has when this tile becomes full."""
    return (tile_index + 1) << (TILE_HEIGHT * (tile_level + 1))


class Rows:
    """The unfinished tiles of a tree: its frontier, and every complete node since each unfinished tile began."""

    def __init__(self, frontier: Frontier, rows: dict[int, bytes]) -> None:
        self._frontier = frontier
        self._rows = rows

    @classmethod
    def empty(cls) -> Rows:
        """Of a tree without leaves."""
        return cls(Frontier(), {})

    @classmethod
    def rebuild(cls, engine: Engine, size: int, bottoms: dict[int, bytes]) -> Rows:
        """From the bottom rows of the unfinished tiles, by tile level: at most 255 hashes a level."""
        rows: dict[int, bytes] = {}
        for tile_level, bottom in bottoms.items():
            row, level = bottom, tile_level * TILE_HEIGHT
            for inner in range(TILE_HEIGHT):
                if row:
                    rows[level + inner] = row
                row = parents(engine, row[: len(row) - len(row) % (2 * HASH_SIZE)])
        read = cls(Frontier(), rows)
        nodes = [read._at(level, index) for level, index in _frontier_of(size)]
        return cls(Frontier(size, nodes), rows)

    @property
    def size(self) -> int:
        """Leaves of the tree."""
        return self._frontier.size

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return self._frontier.root()

    def bottoms(self) -> dict[int, bytes]:
        """The bottom rows of the unfinished tiles, by tile level: what `rebuild` needs."""
        return {level // TILE_HEIGHT: row for level, row in self._rows.items() if level % TILE_HEIGHT == 0 and row}

    def node(self, level: int, index: int) -> bytes | None:
        """A complete node of an unfinished tile; None if its tile is full and stored, or the node is not complete."""
        row = self._rows.get(level, b"")
        # The row ends with the last complete node of its level.
        at = len(row) + (index - (self.size >> level)) * HASH_SIZE
        return row[at : at + HASH_SIZE] if 0 <= at < len(row) else None

    def extended(self, engine: Engine, leaves: bytes) -> tuple[Rows, list[FullTile]]:
        """The rows after appending leaf hashes (n × 32 bytes), and the tiles that became full. `self` stays as it is."""
        frontier = Frontier(self.size, self._frontier.nodes)
        old_size = self.size
        grown = frontier.extend(engine, leaves)
        rows = dict(self._rows)
        for level, fresh in enumerate(grown):
            rows[level] = rows.get(level, b"") + fresh
        full = list(_cut(rows, old_size))
        return Rows(frontier, {level: row for level, row in rows.items() if row}), full

    def _at(self, level: int, index: int) -> bytes:
        """A node of the frontier: always the last complete one of its level's row."""
        row = self._rows[level]
        width = TILE_WIDTH >> level % TILE_HEIGHT
        return row[index % width * HASH_SIZE :][:HASH_SIZE]


def _cut(rows: dict[int, bytes], old_size: int) -> Iterator[FullTile]:
    """Take the full tiles out of the rows."""
    for bottom in [level for level in sorted(rows) if level % TILE_HEIGHT == 0]:
        count = len(rows[bottom]) // (TILE_WIDTH * HASH_SIZE)
        first = old_size >> (bottom + TILE_HEIGHT)
        for number in range(count):
            nodes = []
            for inner in range(TILE_HEIGHT):
                width = (TILE_WIDTH >> inner) * HASH_SIZE
                nodes.append(rows[bottom + inner][number * width : (number + 1) * width])
            yield FullTile(bottom // TILE_HEIGHT, first + number, b"".join(nodes))
        for inner in range(TILE_HEIGHT):
            width = (TILE_WIDTH >> inner) * HASH_SIZE
            if bottom + inner in rows:
                rows[bottom + inner] = rows[bottom + inner][count * width :]


def _frontier_of(size: int) -> list[tuple[int, int]]:
    """(level, index) of the complete subtrees of a tree of `size` leaves, largest first."""
    return [(level, (size >> level) - 1) for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
