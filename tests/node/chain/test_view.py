"""The chain's state as values: keys are judged here, and what one member writes never speaks for another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.sm2 import SM2PrivateKey
from node.chain.index_store import IndexStore
from node.chain.rows import EpochRow, MemberRow, Row, anchor_key, member_word, write_row
from node.chain.view import IndexView
from node.model.chain import Anchor, Block, DatasetOnChain, GrantOnChain, GrantState, MemberStatus, Role, SharingType
from tests.support.consortium import in_force_with
from tests.support.statements import member_id

FIRST, SECOND = member_id(1), member_id(2)
BAD_POINT = b"\4" + bytes(64)
LOG = b"\x05" * 32


def point() -> bytes:
    return SM2PrivateKey.generate(os.urandom).public_key.to_bytes()


def epoch(number: int, certificate: bytes, since_block: int) -> EpochRow:
    return EpochRow(number, point(), point(), "0xaccount", certificate, "host:1", since_block, 1_000 + since_block)


def member(named: str, *epochs: EpochRow, status: int = 1) -> MemberRow:
    return MemberRow(named, "民政局", 5, status, epochs)


class World:
    """A store and the view of it."""

    def __init__(self, path: Path) -> None:
        self.store = IndexStore.create(path, b"identity")
        self.view = IndexView(self.store)
        self._blocks = 0

    def put(self, rows: dict[bytes, Row]) -> None:
        """Write rows as a block does, and tell the view."""
        self._blocks += 1
        with self.store.batch() as batch:
            for key, row in rows.items():
                batch.put(key, write_row(row))
            batch.finish_block(Block(self._blocks, bytes(32), 1))
        self.view.update(batch.changed)

    def put_members(self, *members: MemberRow) -> None:
        self.put({b"m" + member_word(row.member_id): row for row in members})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "index")
    yield made
    made.store.close()


def test_a_member_has_its_epochs_in_order_and_the_newest_in_force(world: World) -> None:
    world.put_members(member(FIRST, epoch(1, b"old", 3), replace(epoch(2, b"new", 9), compromised_since=77)))
    found = world.view.member(FIRST)
    assert found is not None
    assert (found.member_id, found.name, found.status, found.is_active) == (FIRST, "民政局", MemberStatus.ACTIVE, True)
    assert found.roles == Role.DEPARTMENT | Role.AUDITOR
    assert [keys.epoch for keys in found.epochs] == [1, 2]
    assert found.keys == found.epochs[1]
    assert (found.keys.account, found.keys.certificate, found.keys.endpoint) == ("0xaccount", b"new", "host:1")
    assert (found.keys.since_block, found.keys.since_time, found.keys.compromised_since) == (9, 1_009, 77)


@pytest.mark.parametrize("which", ["signing_key", "encryption_key"])
@pytest.mark.parametrize("bad", [BAD_POINT, b"", b"\4" * 65, b"\2" + bytes(32)])
def test_a_member_whose_newest_keys_are_no_points_counts_as_suspended(world: World, which: str, bad: bytes) -> None:
    good, spoilt = epoch(1, b"good", 1), epoch(2, b"bad", 2)
    spoilt = replace(spoilt, signing_key=bad) if which == "signing_key" else replace(spoilt, encryption_key=bad)
    world.put_members(member(FIRST, good, spoilt))
    found = world.view.member(FIRST)
    assert found is not None
    assert found.status is MemberStatus.SUSPENDED
    assert [keys.epoch for keys in found.epochs] == [1]
    world.put_members(member(FIRST, good, spoilt, epoch(3, b"better", 3)))
    mended = world.view.member(FIRST)
    assert mended is not None
    assert mended.is_active
    assert [keys.epoch for keys in mended.epochs] == [1, 3]


def test_bad_keys_lift_no_suspension(world: World) -> None:
    spoilt = replace(epoch(2, b"bad", 2), signing_key=BAD_POINT)
    world.put_members(member(FIRST, epoch(1, b"good", 1), spoilt, status=3))
    found = world.view.member(FIRST)
    assert found is not None
    assert found.status is MemberStatus.REMOVED


def test_a_member_that_never_had_usable_keys_is_none(world: World) -> None:
    world.put_members(
        member(FIRST), member(SECOND, replace(epoch(1, b"bad", 2), signing_key=BAD_POINT)), member(member_id(3))
    )
    assert world.view.member(FIRST) is None
    assert world.view.members() == []
    assert in_force_with(world.view, b"bad") is None


def test_a_certificate_is_its_first_owners_however_later_members_name_it(world: World) -> None:
    """Certificates are public: naming another's must neither take its place nor hide it."""
    world.put_members(member(SECOND, epoch(1, b"certificate", 4)), member(FIRST, epoch(1, b"certificate", 9)))
    assert in_force_with(world.view, b"certificate") == world.view.member(SECOND)
    # Its owner changes other keys and keeps the certificate: the block in which it first named it still counts.
    world.put_members(member(SECOND, epoch(1, b"certificate", 4), epoch(2, b"certificate", 20)))
    assert in_force_with(world.view, b"certificate") == world.view.member(SECOND)
    # Once its owner has another, the old one is whoever's names it now.
    world.put_members(member(SECOND, epoch(1, b"certificate", 4), epoch(2, b"other", 30)))
    assert in_force_with(world.view, b"certificate") == world.view.member(FIRST)
    assert in_force_with(world.view, b"other") == world.view.member(SECOND)
    assert in_force_with(world.view, b"nobody's") is None
    # Yet it stays its first owner's: for the grace of a rotation, and where it is declared stolen.
    assert world.view.certificate_holders(b"certificate") == [world.view.member(SECOND), world.view.member(FIRST)]
    assert world.view.certificate_holders(b"other") == [world.view.member(SECOND)]
    assert list(world.view.certificate_holders(b"nobody's")) == []


def test_a_member_is_found_by_the_account_in_force_and_not_by_one_before(world: World) -> None:
    world.put_members(
        member(FIRST, epoch(1, b"one", 1), replace(epoch(2, b"two", 2), account="0xnew")),
        member(SECOND, epoch(1, b"c", 3)),
    )
    assert world.view.member_by_account("0xnew") == world.view.member(FIRST)
    assert world.view.member_by_account("0xaccount") == world.view.member(SECOND)
    assert world.view.member_by_account("0xnobody's") is None


def test_members_are_listed_by_their_id(world: World) -> None:
    numbers = [7, 3, 5, 1]
    world.put_members(*(member(member_id(number), epoch(1, b"%d" % number, 1)) for number in numbers))
    assert [found.member_id for found in world.view.members()] == sorted(member_id(number) for number in numbers)


def test_what_the_store_took_back_is_gone_from_the_view_and_a_new_view_agrees(world: World) -> None:
    dataset = DatasetOnChain(b"\1" * 32, FIRST, b"d" * 32, 2, SharingType.CONDITIONAL)
    grant = GrantOnChain(b"\2" * 32, b"\1" * 32, SECOND, FIRST, GrantState.REQUESTED, b"q" * 32)
    anchors = [Anchor(LOG, FIRST, size, bytes(32), bytes(32), Block(1, bytes(32), 1), bytes(32)) for size in (5, 300)]
    world.put_members(member(FIRST, epoch(1, b"one", 1)))
    world.put({b"d" + dataset.dataset_id: dataset, anchor_key(FIRST, LOG, 5): anchors[0]})
    world.put({b"g" + grant.grant_id: grant, anchor_key(FIRST, LOG, 300): anchors[1]})
    world.put({b"g" + grant.grant_id: replace(grant, state=GrantState.DENIED)})
    for view in (world.view, IndexView(world.store)):
        assert list(view.datasets()) == [dataset]
        assert view.dataset(dataset.dataset_id) == dataset
        assert [held.state for held in view.grants()] == [GrantState.DENIED]
        assert list(view.anchors(FIRST, LOG)) == anchors
        assert view.newest_anchor(FIRST, LOG) == anchors[1]
        assert view.anchor_of(FIRST, LOG, 5) == anchors[0]
        assert view.anchor_of(FIRST, LOG, 6) is None
        assert view.newest_anchor(FIRST, b"\6" * 32) is None
    world.view.update(world.store.undo_above(world.store.reference(3)))
    assert world.view.grant(grant.grant_id) == grant
    world.view.update(world.store.undo_above(world.store.reference(2)))
    assert world.view.grant(grant.grant_id) is None
    assert list(world.view.anchors(FIRST, LOG)) == anchors[:1]
    world.view.update(world.store.undo_above(None))
    assert (world.view.member(FIRST), list(world.view.datasets()), list(world.view.members())) == (None, [], [])
    assert in_force_with(world.view, b"one") is None
