"""How the nodes of a proof are read: from the unfinished tiles in memory or a stored tile, each tile once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from audit.tiles import Rows, node_in_tile, tile_of
from crypto.merkle import SM3_TREE, Coordinate, NodeReader, tree_node

_RAGGED_KEPT = 4_096

TileReader = Callable[[int, int], bytes]  # gives the stored tile (level, index)


class Nodes:
    """The nodes of one growing tree. Safe from several threads."""

    def __init__(self, tile: TileReader) -> None:
        self._tile = tile
        # By size of the tree and level, which has one at most. It never changes: leaves are only added.
        self._ragged: dict[tuple[int, int], bytes] = {}

    def reader(self, rows: Rows) -> NodeReader:
        """Reads complete nodes for one proof. It keeps the tiles that it met: up to eight nodes of a path are in one."""
        tiles: dict[tuple[int, int], bytes] = {}

        def read(level: int, index: int) -> bytes:
            place = tile_of(level, index)
            tile = tiles.get(place)
            if tile is None:
                held = rows.node(level, index)
                if held is not None:
                    return held
                tile = tiles[place] = self._tile(*place)
            return node_in_tile(tile, level, index)

        return read

    def path(self, rows: Rows, nodes: Sequence[Coordinate], size: int) -> list[bytes]:
        """The nodes of a path in the tree of the first `size` leaves."""
        read, path = self.reader(rows), []
        for level, index in nodes:
            whole = (index + 1) << level <= size
            path.append(read(level, index) if whole else self._folded(read, (level, index), size))
        return path

    def _folded(self, read: NodeReader, node: Coordinate, size: int) -> bytes:
        """A ragged node. It is the same for most leaves, and alone costs hashing, so it is kept."""
        key = size, node[0]
        folded = self._ragged.get(key)
        if folded is None:
            if len(self._ragged) >= _RAGGED_KEPT:
                self._ragged = {}
            folded = self._ragged[key] = tree_node(SM3_TREE, read, node, size)
        return folded
