"""Merkle proofs of the verifier: the published vectors of RFC 6962, their twins under SM3, and every tree that `crypto.merkle` builds."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import verifier
from crypto.errors import ProofInvalid
from crypto.merkle import (
    SHA256_TREE,
    SM3_TREE,
    TreeHash,
    consistency_path,
    inclusion_path,
    range_nodes,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from crypto.sm3 import sm3

LIMIT = 70  # leaves
# The tree of the vectors has these leaves (transparency-dev/merkle, testonly/tree.go).
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]

Case = dict[str, Any]


def every_node(tree: TreeHash, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """The hash over each interval of leaves that is a tree of its own, as RFC 9162, section 2.1.1, defines it."""

    def over(start: int, stop: int) -> bytes:
        if stop - start == 1:
            return tree.leaf(leaves[start])
        split = start + (1 << (stop - start - 1).bit_length() - 1)
        return tree.node(over(start, split), over(split, stop))

    return {(a, b): over(a, b) for a in range(len(leaves)) for b in range(a + 1, len(leaves) + 1)}


def twin_of(hashed: bytes, twins: dict[bytes, bytes]) -> bytes:
    """The same value of the same tree under the other hash. What is a node with one changed byte becomes the twin with the same
    change; what is no node of the tree, such as a random root, stays.
    """
    if hashed in twins:
        return twins[hashed]
    for node, twin in twins.items():
        changed = [at for at in range(len(node)) if len(hashed) == len(node) and hashed[at] != node[at]]
        if len(changed) == 1:
            (at,) = changed
            return twin[:at] + bytes([twin[at] ^ node[at] ^ hashed[at]]) + twin[at + 1 :]
    return hashed


def twins_of_nodes() -> dict[bytes, bytes]:
    """From each node under SHA-256 to the one under SM3."""
    plain, national = every_node(SHA256_TREE, LEAVES), every_node(SM3_TREE, LEAVES)
    return {plain[place]: national[place] for place in plain} | {SHA256_TREE.empty(): SM3_TREE.empty()}


def published(vectors: Path, kind: str, tree: TreeHash) -> list[tuple[str, Case]]:
    """The cases of a folder, values decoded, in the tree's hash."""
    twins = twins_of_nodes() if tree is SM3_TREE else {}
    folder = vectors / "rfc6962" / kind
    found = []
    for path in sorted(folder.rglob("*.json")):
        case: Case = json.loads(path.read_text(encoding="utf-8"))
        for name in {"root", "leafHash", "root1", "root2"} & case.keys():
            case[name] = twin_of(base64.b64decode(case[name] or ""), twins)
        case["proof"] = [twin_of(base64.b64decode(item or ""), twins) for item in case["proof"] or []]
        found.append((str(path.relative_to(folder)), case))
    return found


def check_all(cases: list[tuple[str, Case]], holds: Callable[[Case], bool]) -> None:
    assert len(cases) == 98
    assert {name: holds(case) for name, case in cases} == {name: not case["wantErr"] for name, case in cases}
    assert {case["wantErr"] for _, case in cases} == {True, False}


def hold(check: Callable[[], None]) -> bool:
    try:
        check()
    except ProofInvalid:
        return False
    return True


@pytest.fixture(params=[SHA256_TREE, SM3_TREE], ids=lambda tree: tree.name)
def tree(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TreeHash:
    """The verifier has one hash; where the vectors are of another, that one stands in its place."""
    if request.param is SHA256_TREE:
        monkeypatch.setattr(verifier, "sm3", lambda message: hashlib.sha256(message).digest())
    chosen: TreeHash = request.param
    return chosen


def test_every_published_inclusion_case_comes_out_as_stated(vectors: Path, tree: TreeHash) -> None:
    cases = published(vectors, "inclusion", tree)

    def verifiers(case: Case) -> bool:
        computed = verifier.root_from_inclusion(case["leafHash"], case["leafIdx"], case["treeSize"], case["proof"])
        # A leaf that is no hash is no leaf; in a file the verifier hashes it itself.
        return len(case["leafHash"]) == 32 and computed == case["root"]

    def merkles(case: Case) -> bool:
        return hold(
            lambda: verify_inclusion(
                tree, case["leafHash"], case["leafIdx"], case["treeSize"], case["proof"], case["root"]
            )
        )

    check_all(cases, verifiers)
    check_all(cases, merkles)


def test_every_published_consistency_case_comes_out_as_stated(vectors: Path, tree: TreeHash) -> None:
    cases = published(vectors, "consistency", tree)

    def verifiers(case: Case) -> bool:
        return verifier.is_consistent(case["size1"], case["root1"], case["size2"], case["root2"], case["proof"])

    def merkles(case: Case) -> bool:
        return hold(
            lambda: verify_consistency(tree, case["size1"], case["root1"], case["size2"], case["root2"], case["proof"])
        )

    check_all(cases, verifiers)
    check_all(cases, merkles)


def test_the_twins_are_other_values_of_the_same_shape(vectors: Path) -> None:
    for kind in ("inclusion", "consistency"):
        plain, national = published(vectors, kind, SHA256_TREE), published(vectors, kind, SM3_TREE)
        happy = [(one, other) for (name, one), (_, other) in zip(plain, national, strict=True) if "happy" in name]
        assert len(happy) >= 5
        for one, other in happy:
            values = [name for name in one if isinstance(one[name], bytes)]
            assert values
            assert all(one[name] != other[name] and len(other[name]) == 32 for name in values)
            assert len(one["proof"]) == len(other["proof"])
            assert not set(one["proof"]) & set(other["proof"])


# Against the batch implementation, which has other arithmetic.


def leaves_of(count: int) -> list[bytes]:
    return [verifier.leaf_hash(b"entry %d" % at) for at in range(count)]


def reader(leaves: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """Complete nodes of a tree."""

    def read(level: int, index: int) -> bytes:
        if level == 0:
            return leaves[index]
        return sm3(b"\1" + read(level - 1, 2 * index) + read(level - 1, 2 * index + 1))

    return read


ALL = leaves_of(LIMIT)
READ = reader(ALL)
ROOTS = [tree_root(SM3_TREE, READ, size) for size in range(LIMIT + 1)]


def test_every_inclusion_path_leads_to_its_root_and_to_no_other_place() -> None:
    for size in (*range(1, 20), 31, 32, 33, LIMIT):
        for index in range(size):
            path = inclusion_path(SM3_TREE, READ, index, size)
            assert verifier.root_from_inclusion(ALL[index], index, size, path) == ROOTS[size]
            assert verifier.root_from_inclusion(ALL[index], index, size, [*path, ALL[0]]) is None
            assert not path or verifier.root_from_inclusion(ALL[index], index, size, path[:-1]) is None
            others = (other for other in range(-1, size + 2) if other != index)
            assert all(verifier.root_from_inclusion(ALL[index], at, size, path) != ROOTS[size] for at in others)


def test_every_consistency_path_is_accepted_and_no_longer_or_shorter_one() -> None:
    for new in (*range(1, 20), 33, LIMIT):
        for old in range(1, new + 1):
            path = consistency_path(SM3_TREE, READ, old, new)
            assert verifier.is_consistent(old, ROOTS[old], new, ROOTS[new], path)
            assert not verifier.is_consistent(old, ROOTS[old], new, ROOTS[new], [*path, ALL[0]])
            assert not path or not verifier.is_consistent(old, ROOTS[old], new, ROOTS[new], path[:-1])
            assert not path or not verifier.is_consistent(old, ROOTS[old], new, ROOTS[new], path[1:])
            assert old == new or not verifier.is_consistent(new, ROOTS[new], old, ROOTS[old], path)
            assert not verifier.is_consistent(old, ROOTS[old - 1], new, ROOTS[new], path)
            assert not verifier.is_consistent(old, ROOTS[old], new, ROOTS[new - 1], path)


def test_nothing_is_consistent_with_an_empty_log() -> None:
    """Everything begins with nothing, so such a path would prove nothing."""
    empty = SM3_TREE.empty()
    assert not verifier.is_consistent(0, empty, 0, empty, [])
    assert not verifier.is_consistent(0, empty, 5, ROOTS[5], [])


@settings(deadline=None)
@given(st.integers(1, LIMIT), st.data())
def test_both_implementations_judge_any_path_alike(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    path = list(consistency_path(SM3_TREE, READ, old, new))
    pool = [*path, ALL[0], ROOTS[new], ROOTS[old]]
    drawn = data.draw(st.lists(st.sampled_from(pool), max_size=len(path) + 1))
    stated = data.draw(st.tuples(st.integers(0, LIMIT), st.integers(0, LIMIT)))
    for a, b in ((old, new), stated):
        for nodes in (path, drawn):
            ours = verifier.is_consistent(a, ROOTS[a], b, ROOTS[b], nodes)
            assert ours == hold(lambda: verify_consistency(SM3_TREE, a, ROOTS[a], b, ROOTS[b], nodes))  # noqa: B023
            ours = verifier.root_from_inclusion(ALL[old - 1], a, b, nodes) == ROOTS[b]
            assert ours == hold(lambda: verify_inclusion(SM3_TREE, ALL[old - 1], a, b, nodes, ROOTS[b]))  # noqa: B023


@settings(deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_the_subtrees_beside_a_range_are_those_of_merkle(start: int, length: int) -> None:
    assert verifier.subtrees(start, start + length) == [level for level, _ in range_nodes(start, start + length)]


def sides(first: int, stop: int, size: int) -> tuple[list[bytes], list[bytes]]:
    return [READ(*node) for node in range_nodes(0, first)], [READ(*node) for node in range_nodes(stop, size)]


def test_every_range_of_every_small_tree_leads_to_its_root() -> None:
    for size in (*range(1, 18), 33):
        for first in range(size):
            for stop in range(first + 1, size + 1):
                left, right = sides(first, stop, size)
                assert verifier.root_from_range(first, ALL[first:stop], size, left, right) == ROOTS[size]


@settings(deadline=None)
@given(st.integers(2, LIMIT), st.data())
def test_a_range_with_anything_left_out_added_or_moved_leads_elsewhere(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(first + 1, size))
    left, right = sides(first, stop, size)
    leaves = ALL[first:stop]
    at = data.draw(st.integers(0, len(leaves) - 1))
    other = verifier.leaf_hash(b"another")
    # The size is not among these: a path can lead to one root under two sizes (RFC 9162), and the head's signature binds it.
    attempts: list[tuple[int, list[bytes], int, list[bytes], list[bytes]]] = [
        (first, leaves[:at] + leaves[at + 1 :], size, left, right),
        (first, [*leaves[:at], other, *leaves[at:]], size, left, right),
        (first, [*leaves[:at], other, *leaves[at + 1 :]], size, left, right),
        (first + 1, leaves, size, left, right),
        (first - 1, leaves, size, left, right),
        (first, leaves, size, [*left, other], right),
        (first, leaves, size, left, [*right, other]),
        (first, leaves, size, left[:-1], right) if left else (first, [], size, left, right),
        (first, leaves, size, left, right[1:]) if right else (first, [], size, left, right),
        (first, leaves, size, right, left) if left != right else (first, [], size, left, right),
    ]
    if len(leaves) > 1:
        attempts.append((first, leaves[::-1], size, left, right))
    for attempt in attempts:
        assert verifier.root_from_range(*attempt) != ROOTS[size]


def test_what_is_hashed_at_two_levels_is_hashed_differently() -> None:
    """An entry that is spelled like an inner node is no inner node."""
    left, right = ALL[:2]
    assert verifier.leaf_hash(left + right) != verifier._node(left, right)
    assert verifier.leaf_hash(b"\1" + left + right) != verifier._node(left, right)
