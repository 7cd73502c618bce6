"""Anchors: a log belongs to the member that anchored it first, and only grows."""

from __future__ import annotations

import pytest

from tests.contracts.world import SUSPENDED, Member, Refused, World

LOG, ROOT, NOTE = b"\1" * 32, b"\2" * 32, b"\3" * 32
LARGEST_SIZE = 2**64 - 1


def refused(world: World, by: Member, log: bytes = LOG, size: int = 9) -> tuple[object, ...]:
    """The error of an anchor that must not succeed, and that changes nothing."""
    before = world.view("Anchors.headOf", log)
    with pytest.raises(Refused) as refusal:
        world.send("Anchors.anchor", by, log, size, ROOT, NOTE)
    assert world.view("Anchors.headOf", log) == before
    return refusal.value.error


def test_an_anchor_is_the_logs_head_and_an_event(world: World, third: Member) -> None:
    assert world.view("Anchors.headOf", LOG) == (bytes(32), bytes(32), bytes(32), 0)
    assert world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE) == [("Anchored", LOG, third.id, 5, ROOT, NOTE)]
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 5)
    world.send("Anchors.anchor", third, LOG, LARGEST_SIZE, NOTE, ROOT)
    assert world.view("Anchors.headOf", LOG) == (third.id, NOTE, ROOT, LARGEST_SIZE)


def test_an_auditor_anchors_its_log_like_a_department(world: World, auditor: Member) -> None:
    assert world.send("Anchors.anchor", auditor, LOG, 1, ROOT, NOTE) == [("Anchored", LOG, auditor.id, 1, ROOT, NOTE)]


def test_a_size_that_does_not_grow_is_refused(world: World, third: Member) -> None:
    assert refused(world, third, size=0) == ("HeadDoesNotGrow", LOG, 0, 0)
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    assert refused(world, third, size=5) == ("HeadDoesNotGrow", LOG, 5, 5)
    assert refused(world, third, size=4) == ("HeadDoesNotGrow", LOG, 5, 4)


def test_a_log_stays_with_the_member_that_anchored_it_first(world: World, first: Member, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    assert refused(world, first) == ("NotTheOwner", LOG, first.id)


def test_a_log_without_an_id_is_refused(world: World, third: Member) -> None:
    assert refused(world, third, log=bytes(32)) == ("LogInvalid", bytes(32))


def test_only_active_members_anchor(
    world: World, first: Member, second: Member, third: Member, outsider: Member
) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    assert refused(world, outsider) == ("NotAMember", outsider.account.address.lower())
    world.send("Members.proposeStatus", first, third.id, SUSPENDED)
    world.send("Members.approve", second, 1)
    assert refused(world, third) == ("NotAMember", third.account.address.lower())


def test_a_log_survives_the_rotation_of_its_members_account(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys)
    assert refused(world, third) == ("NotAMember", third.account.address.lower())
    world.send("Anchors.anchor", rotated, LOG, 6, ROOT, NOTE)
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 6)
