"""Each link on the chain's side broken by itself; several networks; and what the auditor knows of contracts and blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import rlp

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.verifier import AUDITOR, FILE, Evidence, Trust, verify
from crypto.signer import HeldKey
from tests.audit.evidence_files import (
    BLOCK_TIME,
    CITY,
    CONTRACTS,
    COUNTY,
    HEAD_MS,
    Block,
    World,
    anchor_log,
    encode_receipt,
    make_block,
    opened_world,
    other_log,
)
from tests.audit.test_verifier_links import (
    ANCHOR,
    BLOCK,
    CITY_ANCHOR,
    CITY_BLOCK,
    INDEX,
    SIZE,
    File,
    check,
    in_proof,
    links,
    strangers,
    true,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened_world(tmp_path_factory.mktemp("world")) as held:
        yield held


def at_county(world: World, **changes: Any) -> File:  # noqa: ANN401 - any field of a statement about a chain
    content = true(world)
    county, city = content.proof.anchored
    return in_proof(content, anchored=(replace(county, chain=replace(county.chain, **changes)), city))


def at_city(world: World, **changes: Any) -> File:  # noqa: ANN401 - any field of a section
    content = true(world)
    county, city = content.proof.anchored
    return in_proof(content, anchored=(county, replace(city, **changes)))


def in_block(world: World, *receipts: bytes, place: int = 0, known: bool = True) -> File:
    """With another block of the county."""
    block = make_block(receipts)
    if known:
        world.blocks.add(block.hash)
    return at_county(world, header=block.header, receipt_index=place, receipt_path=block.path(place))


def with_event(world: World, contract: bytes = CONTRACTS[COUNTY], note: bytes = b"", **changes: Any) -> File:  # noqa: ANN401 - any field of a head
    """With an event in the county's block that differs from the true one in what is given."""
    head = replace(Checkpoint(world.origin, SIZE, world.tree.root_at(SIZE), 0), **changes)
    log = anchor_log(contract, head, note or true(world).proof.checkpoint)
    return in_block(world, encode_receipt([other_log(3), log]))


def true_log(world: World) -> list[Any]:
    head = Checkpoint(world.origin, SIZE, world.tree.root_at(SIZE), 0)
    return anchor_log(CONTRACTS[COUNTY], head, true(world).proof.checkpoint)


def with_header(world: World, place: int, value: object) -> File:
    """With one field of the county's header changed; the block is known nevertheless."""
    fields = rlp.decode(true(world).proof.anchored[0].chain.header)
    header: bytes = rlp.encode([value if at == place else field for at, field in enumerate(fields)])
    world.blocks.add(Block(header, ()).hash)
    return at_county(world, header=header)


def in_root(world: World, node: list[bytes]) -> File:
    """With a block whose tree of receipts is this one node."""
    raw: bytes = rlp.encode(node)
    county, city = with_header(world, 5, Block(raw, ()).hash).proof.anchored
    changed = replace(county, chain=replace(county.chain, receipt_index=0, receipt_path=(raw,)))
    return in_proof(true(world), anchored=(changed, city))


def signed_by_owner(world: World, size: int, *, contradicting: bool) -> File:
    """The city has another head that the owner signed: of another history, or at least of another root."""
    root = b"\x66" * 32 if contradicting else world.tree.root_at(size)
    head = Checkpoint(world.origin, size, root, HEAD_MS)
    note = sign_checkpoint(head, HeldKey(world.signer, world.owner.key))
    block = make_block([encode_receipt([anchor_log(CONTRACTS[CITY], head, note)])], 8)
    world.blocks.add(block.hash)
    held = true(world).proof.anchored[1]
    chain = replace(held.chain, header=block.header, receipt_index=0, receipt_path=block.path(0))
    return at_city(world, checkpoint=note, consistency=held.consistency if size != SIZE else (), chain=chain)


def path_of(world: World) -> tuple[bytes, ...]:
    return true(world).proof.anchored[0].chain.receipt_path


def consistency_of(world: World) -> tuple[bytes, ...]:
    return true(world).proof.anchored[1].consistency


NO_RECEIPT = "the path does not lead from the header to a receipt"
NO_EVENT = "the receipt holds no event that anchors this head"
NO_WAY = "the path does not lead from the head at 19 entries to the one at 21"

CASES: dict[str, tuple[Callable[[World], File], set[str], str]] = {
    "nothing but the block": (with_event, set(), ""),
    "nothing but the block, of one receipt": (lambda w: in_block(w, encode_receipt([true_log(w)])), set(), ""),
    "nothing but the younger head": (lambda w: signed_by_owner(w, 21, contradicting=False), set(), ""),
    "another place in the block": (lambda w: at_county(w, receipt_index=3), {ANCHOR}, NO_RECEIPT),
    "a place far beyond": (lambda w: at_county(w, receipt_index=2**63 - 1), {ANCHOR}, NO_RECEIPT),
    "a superfluous node": (lambda w: at_county(w, receipt_path=(*path_of(w), b"\xc0")), {ANCHOR}, NO_RECEIPT),
    "a node less": (lambda w: at_county(w, receipt_path=path_of(w)[:-1]), {ANCHOR}, NO_RECEIPT),
    "nodes in another order": (lambda w: at_county(w, receipt_path=path_of(w)[::-1]), {ANCHOR}, NO_RECEIPT),
    "another transaction of the block": (
        lambda w: in_block(w, encode_receipt([true_log(w)]), encode_receipt([other_log(1)]), place=1),
        {ANCHOR},
        NO_EVENT,
    ),
    "a transaction without events": (lambda w: in_block(w, encode_receipt([])), {ANCHOR}, NO_EVENT),
    "a transaction that failed": (lambda w: in_block(w, encode_receipt([true_log(w)], status=b"")), {ANCHOR}, NO_EVENT),
    "a receipt that is none": (lambda w: in_block(w, b"\xc3\1\2\3"), {ANCHOR}, "this is no receipt"),
    "a node of another form": (
        lambda w: in_root(w, [b"\x40", b"x"]),
        {ANCHOR},
        "has a malformed key",
    ),
    "another contract than the event's": (lambda w: at_county(w, contract=CONTRACTS[CITY]), {ANCHOR}, NO_EVENT),
    "another contract's event": (lambda w: with_event(w, b"\x99" * 20), {ANCHOR}, NO_EVENT),
    "an event with another size": (lambda w: with_event(w, size=SIZE + 1), {ANCHOR}, NO_EVENT),
    "an event with another root": (lambda w: with_event(w, root=b"\1" * 32), {ANCHOR}, NO_EVENT),
    "an event with another note": (lambda w: with_event(w, note=w.head(SIZE)), {ANCHOR}, NO_EVENT),
    "an event about another log": (lambda w: with_event(w, origin=strangers(w)), {ANCHOR}, NO_EVENT),
    "a block number that the header does not have": (
        lambda w: at_county(w, block_number=78),
        {BLOCK},
        "the header is of block 77, not 78",
    ),
    "a header that is none": (lambda w: at_county(w, header=b"\xc0"), {ANCHOR, BLOCK}, "this is no block header"),
    "a header with a number that cannot be printed": (
        lambda w: with_header(w, 8, b"\1" * 5_000),
        {ANCHOR, BLOCK},
        "a number of the block header is not in its one spelling",
    ),
    "a header with a time of nine bytes": (
        lambda w: with_header(w, 11, b"\1" * 9),
        {ANCHOR, BLOCK},
        "a number of the block header is not in its one spelling",
    ),
    "a header with another receipts root": (lambda w: with_header(w, 5, b"\1" * 32), {ANCHOR}, NO_RECEIPT),
    "the header of the city's block": (
        lambda w: at_county(w, header=true(w).proof.anchored[1].chain.header),
        {ANCHOR, BLOCK},
        "the header is of block 8, not 77",
    ),
    "a node of the consistency path": (
        lambda w: at_city(w, consistency=(*consistency_of(w)[:-1], bytes(32))),
        {CITY_ANCHOR},
        NO_WAY,
    ),
    "no consistency path": (lambda w: at_city(w, consistency=()), {CITY_ANCHOR}, NO_WAY),
    "a longer consistency path": (
        lambda w: at_city(w, consistency=(*consistency_of(w), bytes(32))),
        {CITY_ANCHOR},
        NO_WAY,
    ),
    "a consistency path in another order": (
        lambda w: at_city(w, consistency=consistency_of(w)[::-1]),
        {CITY_ANCHOR},
        NO_WAY,
    ),
    "a consistency path where none belongs": (
        lambda w: in_proof(true(w), anchored=(replace(true(w).proof.anchored[0], consistency=(bytes(32),)),)),
        {ANCHOR},
        "the path does not lead from the head at 19 entries to the one at 19",
    ),
    "another head of the same size, signed as well": (
        lambda w: signed_by_owner(w, SIZE, contradicting=True),
        {CITY_ANCHOR},
        "two signed heads at 19 entries have different roots: the log was forked",
    ),
    "a larger head that does not go on from this one": (
        lambda w: signed_by_owner(w, 21, contradicting=True),
        {CITY_ANCHOR},
        NO_WAY,
    ),
    "a head that its member did not sign": (
        lambda w: at_city(w, checkpoint=w.head(21).replace(b"\ntime 1", b"\ntime 2")),
        {CITY_ANCHOR},
        "under the head that weifang-city has is wrong",
    ),
    "a head that is no checkpoint": (
        lambda w: at_city(w, checkpoint=w.note("hello\n", w.owner)),
        {CITY_ANCHOR},
        "a checkpoint has four lines",
    ),
    "a head of another log": (
        lambda w: at_city(
            w, checkpoint=sign_checkpoint(Checkpoint(strangers(w), 21, bytes(32), 0), HeldKey(w.signer, w.stranger.key))
        ),
        {CITY_ANCHOR},
        "the head that is anchored is of another log",
    ),
    "a head that does not cover the entry": (
        lambda w: in_proof(
            true(w),
            anchored=(
                true(w).proof.anchored[0],
                w.anchored(w.head(INDEX), INDEX, head=SIZE, network=CITY, number=8, time=BLOCK_TIME + 9),
            ),
        ),
        {CITY_ANCHOR},
        "the anchored head has 5 entries and does not cover this",
    ),
    "no network": (lambda w: in_proof(true(w), anchored=()), {"anchor"}, "no network is named that has a head"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_link_to_a_chain_does_not_hold(world: World, case: str) -> None:
    change, broken, says = CASES[case]
    content = change(world)
    check(content, world.trust(), broken, says)
    check(content, Trust(), broken, says)


# What a file may look like and hold.


@pytest.mark.parametrize("kind", [0, 1, 2, 4])
@pytest.mark.parametrize(("receipts", "place"), [(1, 0), (2, 1), (200, 0), (200, 127), (200, 128), (200, 199)])
def test_an_anchor_holds_wherever_it_stands_in_its_block(world: World, kind: int, receipts: int, place: int) -> None:
    note = world.cosigned(world.head(SIZE), *world.witnesses)
    anchored = world.anchored(note, SIZE, receipts=receipts, place=place, kind=kind)
    check(world.evidence(INDEX, SIZE, world.proof(note, anchored)), world.trust(), set(), "")


@pytest.mark.parametrize("size", [6, 7, 8, 13, 16, 18, 19, 20, 21])
def test_an_older_and_a_younger_anchored_head_prove_the_entry_alike(world: World, size: int) -> None:
    note, other = world.cosigned(world.head(SIZE), *world.witnesses), world.head(size, HEAD_MS - 5)
    anchored = world.anchored(other, size, head=SIZE)
    content = world.evidence(INDEX, SIZE, world.proof(note, anchored))
    check(content, world.trust(), set(), "")
    report = verify(content.to_bytes(), world.trust())
    assert report.anchored_size == size
    assert "no block dates the checkpoint, the cosigned checkpoint" in report.links[-1].says


def test_an_anchor_counts_only_with_its_block(world: World) -> None:
    """The size that is anchored is not read off a block that nobody knows."""
    content = true(world)
    county = content.proof.anchored[0]
    blocks = frozenset({Block(county.chain.header, ()).hash})
    report = verify(content.to_bytes(), world.trust(blocks=blocks))
    assert {link.name for link in report.links if not link.holds} == {CITY_BLOCK}
    assert report.anchored_size == SIZE


# What the auditor knows.


def test_a_block_that_the_auditor_does_not_know_does_not_hold(world: World) -> None:
    others = world.trust(blocks=frozenset({bytes(32)}))
    check(true(world), others, {BLOCK, CITY_BLOCK}, "is none of those that the auditor knows")
    content = in_block(world, encode_receipt([true_log(world)], gas=22_000), known=False)
    check(content, world.trust(), {BLOCK}, "is none of those")


def test_a_contract_that_the_auditor_does_not_know_does_not_hold(world: World) -> None:
    """Anyone can deploy the same contract, and anchor what he likes in it."""
    content, contracts = true(world), frozenset({CONTRACTS[CITY]})
    says = f"contract {CONTRACTS[COUNTY].hex()} is none of those that the auditor knows"
    check(content, world.trust(contracts=contracts), {ANCHOR}, says)


@pytest.mark.parametrize("unknown", ["blocks", "contracts", "keys"])
def test_what_the_auditor_does_not_know_is_the_files_word(world: World, unknown: str) -> None:
    """Also for what rests on it: without the block nobody but the file says when a key signed."""
    content = true(world)
    trust = world.trust(**{unknown: {} if unknown == "keys" else frozenset()})
    found = links(content, trust)
    assert all(link.holds for link in found.values())
    on_file = {
        "blocks": {BLOCK, CITY_BLOCK, "keys"},
        "contracts": {ANCHOR, CITY_ANCHOR},
        "keys": {"checkpoint", "statement", "cosignatures", ANCHOR, CITY_ANCHOR, "keys"},
    }[unknown]
    assert {name for name, link in found.items() if link.rests_on == FILE} == on_file
    assert found[BLOCK].rests_on == (FILE if unknown == "blocks" else AUDITOR)


def test_the_chain_is_named_by_the_files_word(world: World) -> None:
    """No field of a header or a receipt binds the chain's number, so no link claims it."""
    content = at_county(world, chain_id=1)
    check(content, world.trust(), set(), "")
    assert links(content, world.trust())[ANCHOR].says.endswith("the file calls the chain 1")


def test_sections_of_two_true_files_do_not_mix(world: World) -> None:
    """Everything but the keys, which are everyone's."""
    one = true(world)
    note = world.cosigned(world.head(20, HEAD_MS + 7), *world.witnesses)
    two = world.evidence(7, 20, world.proof(note, world.anchored(note, 20, number=99)))
    check(two, world.trust(), set(), "")
    mixed: list[tuple[Evidence, set[str]]] = [
        (replace(one, entry=two.entry), {"inclusion"}),
        (replace(one, path=two.path), {"inclusion"}),
        (replace(one, entry=two.entry, path=two.path, index=two.index), {"inclusion"}),
        (replace(one, proof=replace(one.proof, checkpoint=note)), {"inclusion", ANCHOR, CITY_ANCHOR}),
        (replace(one, proof=replace(one.proof, anchored=two.proof.anchored)), {ANCHOR}),
        (replace(one, proof=two.proof), {"inclusion"}),
    ]
    for content, broken in mixed:
        check(content, world.trust(), broken, "does not lead")
    chain = replace(one.proof.anchored[0], chain=two.proof.anchored[0].chain)
    check(in_proof(one, anchored=(chain,)), world.trust(), {ANCHOR}, NO_EVENT)
