"""Merkle trees: the published vectors, and batch, frontier and proofs against the recursive definition of the RFC."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import EncodingInvalid, EngineUnavailable, ProofInvalid
from crypto.merkle import (
    SHA256_TREE,
    SM3_TREE,
    Frontier,
    TreeHash,
    consistency_nodes,
    consistency_path,
    entry_leaves,
    fold,
    hash_tiles,
    inclusion_nodes,
    inclusion_path,
    merkle_levels,
    parents,
    range_nodes,
    tree_node,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from crypto.packed import Packed
from tests.crypto.engines_at_hand import ENGINE_NAMES, engine_named, fastest_engine

TREES = [SM3_TREE, SHA256_TREE]
LIMIT = 70  # leaves: beyond the power of two 64, small enough to try every case


def leaf_hashes(tree: TreeHash, count: int) -> list[bytes]:
    return [tree.leaf(b"entry %d" % i) for i in range(count)]


def recursive_root(tree: TreeHash, leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word for word."""
    if not leaves:
        return tree.digest(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return tree.node(recursive_root(tree, leaves[:split]), recursive_root(tree, leaves[split:]))


def recursive_path(tree: TreeHash, index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162, section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*recursive_path(tree, index, leaves[:split]), recursive_root(tree, leaves[split:])]
    return [*recursive_path(tree, index - split, leaves[split:]), recursive_root(tree, leaves[:split])]


def recursive_proof(tree: TreeHash, old: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 9162, section 2.1.4.1."""
    if old == len(leaves):
        return [] if whole else [recursive_root(tree, leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return [*recursive_proof(tree, old, leaves[:split], whole=whole), recursive_root(tree, leaves[split:])]
    rest = recursive_proof(tree, old - split, leaves[split:], whole=False)
    return [*rest, recursive_root(tree, leaves[:split])]


def reader(tree: TreeHash, leaves: list[bytes]) -> Callable[[int, int], bytes]:
    """A store that holds complete nodes only."""

    def read(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        assert len(part) == 1 << level, "only complete nodes may be asked for"
        return recursive_root(tree, part)

    return read


# The published vectors.


def cases(vectors: Path, kind: str) -> list[tuple[str, dict[str, object]]]:
    folder = vectors / "rfc6962" / kind
    # By the whole path: folders of one name stand at two depths.
    return [(str(path.relative_to(folder)), json.loads(path.read_text())) for path in sorted(folder.rglob("*.json"))]


def decoded(case: dict[str, object], name: str) -> bytes:
    return base64.b64decode(str(case[name] or ""))


def decoded_path(case: dict[str, object]) -> list[bytes]:
    proof = case["proof"] or []
    assert isinstance(proof, list)
    return [base64.b64decode(item or "") for item in proof]


def outcomes(results: dict[str, bool], stated: dict[str, bool]) -> None:
    assert len(results) == 98
    assert {name: held for name, held in results.items() if held != stated[name]} == {}
    assert True in results.values()
    assert False in results.values()


def holds(check: Callable[[], None]) -> bool:
    try:
        check()
    except ProofInvalid:
        return False
    return True


def test_all_published_inclusion_cases_come_out_as_stated(vectors: Path) -> None:
    results, stated = {}, {}
    for name, case in cases(vectors, "inclusion"):
        index, size = int(str(case["leafIdx"])), int(str(case["treeSize"]))
        leaf, root, path = decoded(case, "leafHash"), decoded(case, "root"), decoded_path(case)
        results[name] = holds(
            lambda leaf=leaf, index=index, size=size, path=path, root=root: verify_inclusion(  # type: ignore[misc]
                SHA256_TREE, leaf, index, size, path, root
            )
        )
        stated[name] = not case["wantErr"]
    outcomes(results, stated)


def test_all_published_consistency_cases_come_out_as_stated(vectors: Path) -> None:
    results, stated = {}, {}
    for name, case in cases(vectors, "consistency"):
        old, new = int(str(case["size1"])), int(str(case["size2"]))
        old_root, new_root, path = decoded(case, "root1"), decoded(case, "root2"), decoded_path(case)
        results[name] = holds(
            lambda old=old, old_root=old_root, new=new, new_root=new_root, path=path: verify_consistency(  # type: ignore[misc]
                SHA256_TREE, old, old_root, new, new_root, path
            )
        )
        stated[name] = not case["wantErr"]
    outcomes(results, stated)


# Proofs against the definition, every case up to LIMIT leaves.


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_every_inclusion_path_is_the_rfcs_and_verifies(tree: TreeHash) -> None:
    leaves = leaf_hashes(tree, LIMIT)
    for size in (*range(1, 18), 31, 32, 33, LIMIT):
        held = leaves[:size]
        root, read = recursive_root(tree, held), reader(tree, held)
        assert tree_root(tree, read, size) == root
        for index in range(size):
            path = inclusion_path(tree, read, index, size)
            assert path == recursive_path(tree, index, held)
            verify_inclusion(tree, leaves[index], index, size, path, root)


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_every_consistency_path_is_the_rfcs_and_verifies(tree: TreeHash) -> None:
    leaves = leaf_hashes(tree, LIMIT)
    roots = [recursive_root(tree, leaves[:size]) for size in range(LIMIT + 1)]
    for new in (*range(1, 18), 33, LIMIT):
        read = reader(tree, leaves[:new])
        for old in range(1, new + 1):
            path = consistency_path(tree, read, old, new)
            assert path == recursive_proof(tree, old, leaves[:new])
            verify_consistency(tree, old, roots[old], new, roots[new], path)


@given(st.integers(1, LIMIT), st.data())
def test_an_inclusion_proof_with_any_one_value_changed_is_refused(size: int, data: st.DataObject) -> None:
    leaves = leaf_hashes(SM3_TREE, size)
    index = data.draw(st.integers(0, size - 1))
    root = recursive_root(SM3_TREE, leaves)
    path = recursive_path(SM3_TREE, index, leaves)
    wrong = SM3_TREE.leaf(b"another")
    place = data.draw(st.integers(0, len(path)))
    changed = [wrong if i == place else item for i, item in enumerate(path)]
    attempts: list[tuple[bytes, int, list[bytes], bytes]] = [
        (wrong, index, path, root),
        (leaves[index], index, path, wrong),
        (leaves[index], index, [*path, wrong], root),
        (leaves[index], index, [item[:-1] for item in path] or [b""], root),
        (leaves[index], size, path, root),
        (leaves[index], -1, path, root),
        (leaves[index] + b"\x00", index, path, root),
    ]
    attempts += [(leaves[index], other, path, root) for other in range(size) if other != index]
    if path:
        attempts += [(leaves[index], index, path[:-1], root), (leaves[index], index, path[1:], root)]
    if changed != path:
        attempts.append((leaves[index], index, changed, root))
    for leaf, at, hashes, top in attempts:
        with pytest.raises(ProofInvalid):
            verify_inclusion(SM3_TREE, leaf, at, size, hashes, top)


@given(st.integers(2, LIMIT), st.data())
def test_a_consistency_proof_with_any_one_value_changed_is_refused(new: int, data: st.DataObject) -> None:
    leaves = leaf_hashes(SM3_TREE, new)
    old = data.draw(st.integers(1, new - 1))
    old_root, new_root = recursive_root(SM3_TREE, leaves[:old]), recursive_root(SM3_TREE, leaves)
    path = recursive_proof(SM3_TREE, old, leaves)
    wrong = SM3_TREE.leaf(b"another")
    place = data.draw(st.integers(0, len(path) - 1))
    changed = [wrong if i == place else item for i, item in enumerate(path)]
    for a, first, b, second, hashes in [
        (old, wrong, new, new_root, path),
        (old, old_root, new, wrong, path),
        (old, old_root, new, new_root, changed),
        (old, old_root, new, new_root, path[:-1]),
        (old, old_root, new, new_root, [*path, wrong]),
        (old, old_root, new, new_root, []),
        (new, new_root, old, old_root, path),
        (0, SM3_TREE.empty(), new, new_root, []),
        (-1, old_root, new, new_root, path),
        (new, old_root, new, new_root, []),
    ]:
        with pytest.raises(ProofInvalid):
            verify_consistency(SM3_TREE, a, first, b, second, hashes)


def test_a_failed_proof_carries_both_roots_as_evidence() -> None:
    leaf, other = leaf_hashes(SM3_TREE, 2)
    with pytest.raises(ProofInvalid) as caught:
        verify_inclusion(SM3_TREE, leaf, 0, 1, [], other)
    assert caught.value.details == {"computed": leaf.hex(), "stated": other.hex()}


# Coordinates.


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_range_is_covered_without_gap_or_overlap_by_at_most_two_nodes_a_level(start: int, length: int) -> None:
    position = start
    nodes = range_nodes(start, start + length)
    for level, index in nodes:
        assert index << level == position
        position = (index + 1) << level
    assert position == start + length
    levels = [level for level, _ in nodes]
    assert all(levels.count(level) <= 2 for level in levels)


@given(st.integers(1, 2**62), st.data())
def test_paths_stay_short_and_hold_one_ragged_node_at_most(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    nodes = inclusion_nodes(index, size)
    assert len(nodes) <= 62
    assert sum((at + 1) << level > size for level, at in nodes) <= 1
    old = data.draw(st.integers(1, size))
    assert len(consistency_nodes(old, size)) <= 63


@pytest.mark.parametrize("arguments", [(0, 0), (5, 5), (-1, 5)])
def test_a_leaf_outside_the_tree_has_no_path(arguments: tuple[int, int]) -> None:
    with pytest.raises(EncodingInvalid):
        inclusion_nodes(*arguments)


@pytest.mark.parametrize("arguments", [(0, 5), (6, 5), (-1, 5)])
def test_sizes_in_the_wrong_order_have_no_consistency_path(arguments: tuple[int, int]) -> None:
    with pytest.raises(EncodingInvalid):
        consistency_nodes(*arguments)


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(EncodingInvalid):
        range_nodes(3, 2)


# Batches.


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_batch_levels_agree_with_the_definition_on_every_engine(name: str) -> None:
    engine = engine_named(name)
    sizes = (1, 2, 3, 5, 8, 13) if engine.name == "gmssl" else (*range(1, 34), 255, 256, 257)
    for size in sizes:
        leaves = leaf_hashes(SM3_TREE, size)
        levels = merkle_levels(engine, b"".join(leaves))
        assert levels[-1] == recursive_root(SM3_TREE, leaves)
        assert [len(level) // 32 for level in levels] == [-(-size >> depth) for depth in range(len(levels))]
        read = reader(SM3_TREE, leaves)
        for depth, level in enumerate(levels):
            for index in range(len(level) // 32):
                assert level[32 * index : 32 * index + 32] == tree_node(SM3_TREE, read, (depth, index), size)


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_entries_are_hashed_as_leaves(name: str) -> None:
    engine = engine_named(name)
    entries = [b"", b"a", b"entry " * 20]
    assert entry_leaves(engine, Packed.of(entries)) == b"".join(SM3_TREE.leaf(entry) for entry in entries)


def test_entries_of_more_than_one_piece_are_hashed_whole() -> None:
    entries = [number.to_bytes(4, "big") * (1 + number % 400) for number in range(2_000)]
    assert sum(map(len, entries)) > 2 * 524_288
    hashed = entry_leaves(fastest_engine(), Packed.of(entries))
    assert hashed == b"".join(SM3_TREE.leaf(entry) for entry in entries)


def test_a_level_larger_than_one_call_is_hashed_whole() -> None:
    engine = fastest_engine()
    leaves = b"".join(i.to_bytes(32, "big") for i in range(2 * 65_536 + 4))
    got = parents(engine, leaves)
    for index in (0, 65_535, 65_536, 65_537):
        assert got[32 * index : 32 * index + 32] == SM3_TREE.node(
            leaves[64 * index : 64 * index + 32], leaves[64 * index + 32 : 64 * index + 64]
        )
    assert len(got) == 32 * (65_536 + 2)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_frontier_grown_in_any_steps_equals_the_tree_built_at_once(steps: list[int]) -> None:
    engine = fastest_engine()
    leaves = leaf_hashes(SM3_TREE, sum(steps))
    read = reader(SM3_TREE, leaves)
    frontier = Frontier()
    kept: dict[tuple[int, int], bytes] = {}
    for step in steps:
        old = frontier.size
        for level, grown in enumerate(frontier.extend(engine, b"".join(leaves[old : old + step]))):
            assert len(grown) // 32 == (frontier.size >> level) - (old >> level)
            for i in range(len(grown) // 32):
                kept[level, (old >> level) + i] = grown[32 * i : 32 * i + 32]
        assert frontier.size == old + step
        assert frontier.nodes == [read(*node) for node in range_nodes(0, frontier.size)]
        assert frontier.root() == recursive_root(SM3_TREE, leaves[: frontier.size])
        frontier = Frontier(frontier.size, frontier.nodes)
    assert kept == {
        (level, index): read(level, index) for level in range(9) for index in range(len(leaves) >> level)
    }, "every complete node was handed out once"


class FailingEngine:
    """An engine that has stopped to work: only what the frontier calls is there."""

    name = "failing"

    def sm3_many(self, messages: Packed) -> bytes:
        raise EngineUnavailable(f"{len(messages)} digests asked for, none given")


def test_a_frontier_is_unchanged_when_the_engine_fails() -> None:
    frontier = Frontier()
    frontier.extend(fastest_engine(), b"".join(leaf_hashes(SM3_TREE, 5)))
    before = (frontier.size, frontier.nodes)
    with pytest.raises(EngineUnavailable):
        frontier.extend(FailingEngine(), b"".join(leaf_hashes(SM3_TREE, 4)))  # type: ignore[arg-type]
    assert (frontier.size, frontier.nodes) == before


@pytest.mark.parametrize("height", [1, 3, 8])
def test_fat_tiles_hold_every_level_and_hand_up_their_roots(height: int) -> None:
    engine = fastest_engine()
    width = 1 << height
    leaves = leaf_hashes(SM3_TREE, 3 * width)
    tiles, roots = hash_tiles(engine, b"".join(leaves), height)
    size = 32 * (2 * width - 2)
    assert len(tiles) == 3 * size
    for tile in range(3):
        levels = merkle_levels(engine, b"".join(leaves[tile * width : (tile + 1) * width]))
        assert tiles[tile * size : (tile + 1) * size] == b"".join(levels[:-1])
        assert roots[32 * tile : 32 * tile + 32] == levels[-1]


def test_an_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    assert Frontier().root() == fold(SM3_TREE, []) == SM3_TREE.digest(b"")
    assert Frontier().root().hex() == "1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b"


@pytest.mark.parametrize("leaves", [b"", b"\x00" * 31, b"\x00" * 33])
def test_leaves_that_are_not_whole_are_refused(leaves: bytes) -> None:
    engine = fastest_engine()
    with pytest.raises(EncodingInvalid):
        merkle_levels(engine, leaves)
    if leaves:
        for act in (lambda: Frontier().extend(engine, leaves), lambda: hash_tiles(engine, leaves)):
            with pytest.raises(EncodingInvalid):
                act()
        with pytest.raises(EncodingInvalid):
            parents(engine, leaves)


@pytest.mark.parametrize(("size", "nodes"), [(1, []), (0, [b"\x00" * 32]), (3, [b"\x00" * 32, b"\x00" * 31]), (-1, [])])
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, nodes: list[bytes]) -> None:
    with pytest.raises(EncodingInvalid):
        Frontier(size, nodes)
