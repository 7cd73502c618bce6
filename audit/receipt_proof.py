"""Build the proof that a transaction's receipt is in a block: a path in the block's Merkle-Patricia tree of receipts.

The tree maps rlp(transaction index) to the receipt's consensus encoding (EIP-2718; Yellow Paper, appendix D). `audit.verifier`
walks the path without this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import rlp
from eth_hash.auto import keccak

from crypto.errors import ProofInvalid

HASH_SIZE = 32  # bytes
_BRANCH_ITEMS = 17
_SHORT_ITEMS = 2
_MAX_PATH_NODES = 64
_LEAF_FLAG = 2
_ODD_FLAG = 1

Nibbles = tuple[int, ...]
_Find = Callable[[bytes], bytes | None]


def build_receipt_proof(receipts: Sequence[bytes], index: int) -> list[bytes]:
    """The nodes from the root to the receipt at `index`, given every receipt of the block in consensus encoding."""
    nodes: dict[bytes, bytes] = {}
    items = [(_nibbles(rlp.encode(position)), receipt) for position, receipt in enumerate(receipts)]
    top = rlp.encode(_node(items, nodes))
    nodes[keccak(top)] = top
    path, _ = _walk(keccak(top), _nibbles(rlp.encode(index)), nodes.get)
    return path


def _walk(root: bytes, key: Nibbles, find: _Find) -> tuple[list[bytes], bytes]:
    """(hashed nodes on the way, value at the key)."""
    path: list[bytes] = []
    reference: object = root
    for _ in range(_MAX_PATH_NODES):
        if isinstance(reference, bytes):
            raw = find(reference) if len(reference) == HASH_SIZE else None
            if raw is None:
                raise ProofInvalid("a node of the receipt's path is missing")
            path.append(raw)
            node = _decode(raw)
        else:
            node = reference  # a node below 32 bytes stands inside its parent
        if not isinstance(node, list) or len(node) not in {_SHORT_ITEMS, _BRANCH_ITEMS}:
            raise ProofInvalid("a node of the receipt's path is malformed")
        if len(node) == _BRANCH_ITEMS:
            if not key:
                return path, _value(node[-1])
            reference, key = node[key[0]], key[1:]
            continue
        part, is_leaf = _unpack(node[0])
        if key[: len(part)] != part:
            raise ProofInvalid("the receipt's path leads elsewhere")
        key = key[len(part) :]
        if is_leaf:
            if key:
                raise ProofInvalid("the receipt's path ends too early")
            return path, _value(node[1])
        reference = node[1]
    raise ProofInvalid("the receipt's path does not end")


def _node(items: Sequence[tuple[Nibbles, bytes]], nodes: dict[bytes, bytes]) -> list[object]:
    """The node over items whose keys differ; hashed children go into `nodes`."""
    if len(items) == 1:
        key, value = items[0]
        return [_pack(key, is_leaf=True), value]
    shared = _common([key for key, _ in items])
    if shared:
        below = [(key[shared:], value) for key, value in items]
        return [_pack(items[0][0][:shared], is_leaf=False), _reference(_node(below, nodes), nodes)]
    branch: list[object] = [b""] * _BRANCH_ITEMS
    for nibble in range(16):
        below = [(key[1:], value) for key, value in items if key and key[0] == nibble]
        if below:
            branch[nibble] = _reference(_node(below, nodes), nodes)
    for key, value in items:
        if not key:
            branch[-1] = value
    return branch


def _reference(node: list[object], nodes: dict[bytes, bytes]) -> object:
    raw = rlp.encode(node)
    if len(raw) < HASH_SIZE:
        return node
    digest = bytes(keccak(raw))
    nodes[digest] = raw
    return digest


def _common(keys: Sequence[Nibbles]) -> int:
    shortest = min(map(len, keys))
    for position in range(shortest):
        if len({key[position] for key in keys}) > 1:
            return position
    return shortest


def _nibbles(data: bytes) -> Nibbles:
    return tuple(nibble for byte in data for nibble in divmod(byte, 16))


def _pack(key: Nibbles, *, is_leaf: bool) -> bytes:
    """Hex-prefix encoding (Yellow Paper, appendix C)."""
    flag = (_LEAF_FLAG if is_leaf else 0) | (len(key) & _ODD_FLAG)
    padded = (flag, *key) if len(key) & 1 else (flag, 0, *key)
    return bytes(high << 4 | low for high, low in zip(padded[::2], padded[1::2], strict=True))


def _unpack(packed: object) -> tuple[Nibbles, bool]:
    if not isinstance(packed, bytes) or not packed:
        raise ProofInvalid("a node of the receipt's path has no key")
    nibbles = _nibbles(packed)
    flag = nibbles[0]
    if flag > _LEAF_FLAG + _ODD_FLAG or (not flag & _ODD_FLAG and nibbles[1]):
        raise ProofInvalid("a node of the receipt's path has a malformed key")
    return nibbles[1:] if flag & _ODD_FLAG else nibbles[2:], bool(flag & _LEAF_FLAG)


def _value(value: object) -> bytes:
    if not isinstance(value, bytes) or not value:
        raise ProofInvalid("there is no receipt at this place")
    return value


def _decode(raw: bytes) -> object:
    try:
        return rlp.decode(raw, strict=True)
    except (rlp.exceptions.RLPException, RecursionError, ValueError) as cause:
        raise ProofInvalid("this is not RLP in its one spelling") from cause
