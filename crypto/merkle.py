"""Merkle trees of RFC 6962 and RFC 9162, section 2.1: coordinates, proofs, and hashing in batches.

The arithmetic is the RFC's and the hash is pluggable: `SM3_TREE` is ours, `SHA256_TREE` is the one of the published
vectors. Proof functions are pure: they take values, and return values or raise.

A node is named `(level, index)` and stands for the leaves `[index << level, (index + 1) << level)`, cut off at the
size of the tree. A node that is cut off is *ragged*; only the last node of a level can be. A lone last node rises to
the next level unhashed, which gives exactly the trees of RFC 9162, section 2.1.1. A complete node never changes again
however the tree grows, so complete nodes are what a store keeps, and a ragged one is folded from them (`tree_node`).

Batch functions work level by level on contiguous bytes, one engine call for each level, no Python object per node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from hmac import compare_digest

import numpy as np

from crypto.engine import Engine
from crypto.errors import EncodingInvalid, ProofInvalid
from crypto.packed import Packed
from crypto.scatter import prefix_each
from crypto.sm3 import sm3

HASH_SIZE = 32  # bytes, of both SM3 and SHA-256
TILE_HEIGHT = 8  # levels of a tile: 256 nodes at its bottom

_LEAF_PREFIX = b"\x00"
_NODE_PREFIX = b"\x01"
_NODE_MESSAGE_SIZE = 1 + 2 * HASH_SIZE  # bytes: 0x01 ‖ left ‖ right
# Messages are laid out and hashed in pieces of so many bytes. They stay in a core's own cache, and the memory for them is small enough that
# the allocator keeps it: megabytes at a time go back to the system and are faulted in anew for each piece, which costs as much as the hashing.
_PIECE_BYTES = 524_288

Coordinate = tuple[int, int]  # (level, index)
NodeReader = Callable[[int, int], bytes]  # gives the hash of the complete node (level, index)


@dataclass(frozen=True)
class TreeHash:
    """A hash function put to use in a tree: `name` as it stands in a log's origin, `digest` over any bytes."""

    name: str
    digest: Callable[[bytes], bytes]

    def empty(self) -> bytes:
        """The root of the tree without leaves: the hash of nothing."""
        return self.digest(b"")

    def leaf(self, entry: bytes) -> bytes:
        """The hash of a leaf (RFC 9162, section 2.1.1)."""
        return self.digest(_LEAF_PREFIX + entry)

    def node(self, left: bytes, right: bytes) -> bytes:
        """The hash of an inner node (RFC 9162, section 2.1.1)."""
        return self.digest(_NODE_PREFIX + left + right)


SM3_TREE = TreeHash("SM3", sm3)
SHA256_TREE = TreeHash("SHA-256", lambda data: hashlib.sha256(data).digest())


# Coordinates: which nodes make up a range or a proof.


def range_nodes(start: int, stop: int) -> list[Coordinate]:
    """The fewest complete nodes that cover the leaves [start, stop), from left to right.

    `range_nodes(0, size)` is the frontier of a tree of that size, the largest subtree first.
    """
    if not 0 <= start <= stop:
        raise EncodingInvalid(f"leaves {start} to {stop} are not a range")
    nodes = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def inclusion_nodes(index: int, size: int) -> list[Coordinate]:
    """The nodes of the inclusion path of leaf `index` in a tree of `size` leaves, from the leaf up.

    At most one of them is ragged, and only where the size is not a power of two.
    """
    if not 0 <= index < size:
        raise EncodingInvalid(f"a tree of {size} leaves has no leaf {index}")
    return _path_nodes(0, index, size - 1)


def consistency_nodes(old_size: int, new_size: int) -> list[Coordinate]:
    """The nodes of the consistency path from `old_size` to `new_size` leaves, in the RFC's order."""
    if not 0 < old_size <= new_size:
        raise EncodingInvalid(f"no consistency path leads from {old_size} to {new_size} leaves")
    if old_size == new_size:
        return []
    # The path starts at the smallest subtree that ends where the old tree ends, and is left out if it is the old tree.
    level = (old_size & -old_size).bit_length() - 1
    index = (old_size - 1) >> level
    first = [(level, index)] if index else []
    return first + _path_nodes(level, index, (new_size - 1) >> level)


def _path_nodes(level: int, index: int, last: int) -> list[Coordinate]:
    """Siblings on the way from (level, index) to the root, where `last` is the last index of that level."""
    nodes = []
    while last:
        if index & 1:
            nodes.append((level, index - 1))
        elif index < last:
            nodes.append((level, index + 1))
        level, index, last = level + 1, index >> 1, last >> 1
    return nodes


# Building roots and proofs from complete nodes.


def fold(tree: TreeHash, hashes: Sequence[bytes]) -> bytes:
    """The hash over adjoining complete subtrees, given from left to right as `range_nodes` names them."""
    if not hashes:
        return tree.empty()
    return reduce(lambda right, left: tree.node(left, right), reversed(hashes))


def tree_node(tree: TreeHash, read: NodeReader, coordinate: Coordinate, size: int) -> bytes:
    """The node at `coordinate` of a tree of `size` leaves, folded from complete nodes if it is ragged."""
    level, index = coordinate
    start, stop = index << level, (index + 1) << level
    if stop <= size:
        return read(level, index)
    return fold(tree, [read(*node) for node in range_nodes(start, size)])


def tree_root(tree: TreeHash, read: NodeReader, size: int) -> bytes:
    """The root over the first `size` leaves."""
    return fold(tree, [read(*node) for node in range_nodes(0, size)])


def inclusion_path(tree: TreeHash, read: NodeReader, index: int, size: int) -> list[bytes]:
    """The inclusion path of leaf `index` in the tree of the first `size` leaves."""
    return [tree_node(tree, read, node, size) for node in inclusion_nodes(index, size)]


def consistency_path(tree: TreeHash, read: NodeReader, old_size: int, new_size: int) -> list[bytes]:
    """The consistency path between the trees of the first `old_size` and `new_size` leaves."""
    return [tree_node(tree, read, node, new_size) for node in consistency_nodes(old_size, new_size)]


# Verification. The checks of lengths come first, so that no path has a second spelling.


def verify_inclusion(  # noqa: PLR0913, PLR0917 - the inputs of RFC 9162, section 2.1.3.2
    tree: TreeHash, leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf stands at `index` in the tree of `size` leaves (RFC 9162, section 2.1.3.2).

    Raises:
        ProofInvalid: the path has the wrong length or does not lead to `root`.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"a tree of {size} leaves has no leaf {index}")
    nodes = inclusion_nodes(index, size)
    _check_path(path, len(nodes))
    if len(leaf_hash) != HASH_SIZE:
        raise ProofInvalid(f"a leaf hash has {HASH_SIZE} bytes, not {len(leaf_hash)}")
    computed = leaf_hash
    for (level, sibling), other in zip(nodes, path, strict=True):
        # The sibling stands on the left exactly where its index is the smaller one.
        computed = tree.node(other, computed) if sibling < index >> level else tree.node(computed, other)
    _check_root(computed, root, "inclusion path")


def verify_consistency(  # noqa: PLR0913, PLR0917 - the inputs of RFC 9162, section 2.1.4.2
    tree: TreeHash, old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree of `new_size` leaves begins with the one of `old_size` (RFC 9162, section 2.1.4.2).

    An empty old tree is refused: everything begins with nothing, so such a proof would prove nothing.

    Raises:
        ProofInvalid: the sizes make no sense, or the path has the wrong length or does not lead to both roots.
    """
    if not 0 < old_size <= new_size:
        raise ProofInvalid(f"no consistency path leads from {old_size} to {new_size} leaves")
    nodes = consistency_nodes(old_size, new_size)
    _check_path(path, len(nodes))
    if old_size == new_size:
        _check_root(old_root, new_root, "equal size")
        return
    hashes = list(path)
    if old_size & (old_size - 1) == 0:
        # The subtree to start from is the whole old tree, which the path leaves out.
        hashes.insert(0, old_root)
        nodes.insert(0, (old_size.bit_length() - 1, 0))
    base_level, base_index = nodes[0]
    old_computed = new_computed = hashes[0]
    for (level, sibling), other in zip(nodes[1:], hashes[1:], strict=True):
        if sibling < base_index >> (level - base_level):
            # What stands on the left belongs to both trees, what stands on the right to the new one only.
            old_computed = tree.node(other, old_computed)
            new_computed = tree.node(other, new_computed)
        else:
            new_computed = tree.node(new_computed, other)
    _check_root(old_computed, old_root, "consistency path (old root)")
    _check_root(new_computed, new_root, "consistency path (new root)")


def _check_path(path: Sequence[bytes], expected: int) -> None:
    if len(path) != expected:
        raise ProofInvalid(f"the path has {len(path)} hashes where the sizes ask for {expected}")
    if any(len(item) != HASH_SIZE for item in path):
        raise ProofInvalid(f"a hash on the path does not have {HASH_SIZE} bytes")


def _check_root(computed: bytes, stated: bytes, what: str) -> None:
    if not compare_digest(computed, stated):
        raise ProofInvalid(f"the {what} does not lead to the stated root", computed=computed.hex(), stated=stated.hex())


# Batches, SM3 only.


def entry_leaves(engine: Engine, entries: Packed) -> bytes:
    """The leaf hashes SM3(0x00 ‖ entry) of a batch, n × 32 bytes."""
    return b"".join(
        engine.sm3_many(prefix_each(np.zeros((len(piece), len(_LEAF_PREFIX)), dtype=np.uint8), piece))
        for piece in entries.pieces(_PIECE_BYTES)
    )


def parents(engine: Engine, nodes: bytes) -> bytes:
    """The parents of an even number of nodes: 2n × 32 bytes in, n × 32 bytes out."""
    if len(nodes) % (2 * HASH_SIZE):
        raise EncodingInvalid(f"{len(nodes)} bytes are not a whole number of pairs of nodes")
    pairs = np.frombuffer(nodes, dtype=np.uint8).reshape(-1, 2 * HASH_SIZE)
    hashed = []
    step = _PIECE_BYTES // (2 * HASH_SIZE)
    for start in range(0, len(pairs), step):
        piece = pairs[start : start + step]
        messages = np.empty((len(piece), _NODE_MESSAGE_SIZE), dtype=np.uint8)
        messages[:, 0] = _NODE_PREFIX[0]
        messages[:, 1:] = piece
        hashed.append(engine.sm3_many(Packed.fixed(messages.tobytes(), _NODE_MESSAGE_SIZE)))
    return b"".join(hashed)


def merkle_levels(engine: Engine, leaves: bytes) -> list[bytes]:
    """All levels of the tree over `leaves` (n × 32 bytes, n ≥ 1): the leaves first, the root alone last.

    Level l holds ceil(n / 2^l) nodes of 32 bytes, the last perhaps ragged, so that the node at the coordinates of
    `inclusion_nodes` is `levels[level][32 * index : 32 * index + 32]`.
    """
    if not leaves or len(leaves) % HASH_SIZE:
        raise EncodingInvalid(f"{len(leaves)} bytes are not one leaf hash or more")
    levels = [leaves]
    while len(levels[-1]) > HASH_SIZE:
        below = levels[-1]
        paired = len(below) - len(below) % (2 * HASH_SIZE)
        levels.append(parents(engine, below[:paired]) + below[paired:])
    return levels


def hash_tiles(engine: Engine, leaves: bytes, height: int = TILE_HEIGHT) -> tuple[bytes, bytes]:
    """Hash t full tiles at once: `leaves` is t × 2^height × 32 bytes.

    Returns:
        The t fat tiles end to end, each of 2^(height + 1) - 2 nodes: its 2^height bottom nodes, then the level above,
        up to the two nodes under its root; and the t roots, which are the bottom nodes of the next level's tiles.
    """
    width = (1 << height) * HASH_SIZE
    if len(leaves) % width:
        raise EncodingInvalid(f"{len(leaves)} bytes are not a whole number of tiles of height {height}")
    count = len(leaves) // width
    tiles = np.empty((count, 2 * width - 2 * HASH_SIZE), dtype=np.uint8)
    column, level = 0, leaves
    while width > HASH_SIZE:
        tiles[:, column : column + width] = np.frombuffer(level, dtype=np.uint8).reshape(count, width)
        column, width, level = column + width, width // 2, parents(engine, level)
    return tiles.tobytes(), level


class Frontier:
    """The complete subtrees of a growing tree, one for each bit of its size: all that appending needs.

    `nodes` are their hashes from left to right, the largest first, as `range_nodes(0, size)` names them.
    """

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(nodes) != size.bit_count() or any(len(node) != HASH_SIZE for node in nodes):
            raise EncodingInvalid(f"a frontier of {size} leaves has {max(size, 0).bit_count()} nodes of 32 bytes")
        self._size = size
        self._by_level = dict(zip((level for level, _ in range_nodes(0, size)), nodes, strict=True))

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._size

    @property
    def nodes(self) -> list[bytes]:
        """The hashes of the complete subtrees from left to right."""
        return [self._by_level[level] for level, _ in range_nodes(0, self._size)]

    def root(self) -> bytes:
        """The root of the tree as it stands."""
        return fold(SM3_TREE, self.nodes)

    def extend(self, engine: Engine, leaves: bytes) -> list[bytes]:
        """Append leaf hashes, n × 32 bytes.

        Returns:
            For each level that grew, from the leaves up, the nodes that became complete, end to end: those with the
            indices [old_size >> level, new_size >> level).
        """
        if len(leaves) % HASH_SIZE:
            raise EncodingInvalid(f"{len(leaves)} bytes are not a whole number of leaf hashes")
        by_level = dict(self._by_level)
        grown = []
        level, fresh = 0, leaves
        while fresh:
            grown.append(fresh)
            row = by_level.pop(level, b"") + fresh
            paired = len(row) - len(row) % (2 * HASH_SIZE)
            if paired < len(row):
                by_level[level] = row[paired:]
            level, fresh = level + 1, parents(engine, row[:paired])
        # Nothing of the frontier has changed until here, so that an engine's failure leaves it whole.
        self._by_level, self._size = by_level, self._size + len(leaves) // HASH_SIZE
        return grown
