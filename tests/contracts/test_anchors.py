"""Anchors: a log belongs to the member that anchored it first, and only grows."""

from __future__ import annotations

from tests.contracts.world import SUSPENDED, Member, World, not_a_member

LOG, OTHER_LOG, ROOT, NOTE = b"\1" * 32, b"\4" * 32, b"\2" * 32, b"\3" * 32
NEVER = (bytes(32), bytes(32), bytes(32), 0)
LARGEST_SIZE = 2**64 - 1


def test_an_anchor_is_the_logs_head_and_an_event(world: World, third: Member) -> None:
    assert world.view("Anchors.headOf", LOG) == NEVER
    world.accepts("Anchors.anchor", third, LOG, 5, ROOT, NOTE, events=[("Anchored", LOG, third.id, 5, ROOT, NOTE)])
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 5)


def test_a_later_anchor_takes_the_place_of_the_earlier_up_to_the_largest_size(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 1, ROOT, NOTE)
    world.accepts("Anchors.anchor", third, LOG, 2, NOTE, ROOT, events=[("Anchored", LOG, third.id, 2, NOTE, ROOT)])
    assert world.view("Anchors.headOf", LOG) == (third.id, NOTE, ROOT, 2)
    world.send("Anchors.anchor", third, LOG, LARGEST_SIZE, ROOT, NOTE)
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, LARGEST_SIZE)
    world.refuses(
        "Anchors.anchor",
        *(third, LOG, LARGEST_SIZE, ROOT, NOTE),
        error=("HeadDoesNotGrow", LOG, LARGEST_SIZE, LARGEST_SIZE),
    )


def test_a_member_keeps_several_logs_apart(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 9, ROOT, NOTE)
    assert world.view("Anchors.headOf", OTHER_LOG) == NEVER
    world.send("Anchors.anchor", third, OTHER_LOG, 2, NOTE, ROOT)
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 9)
    assert world.view("Anchors.headOf", OTHER_LOG) == (third.id, NOTE, ROOT, 2)


def test_an_auditor_anchors_its_log_like_a_department(world: World, auditor: Member) -> None:
    world.accepts("Anchors.anchor", auditor, LOG, 1, ROOT, NOTE, events=[("Anchored", LOG, auditor.id, 1, ROOT, NOTE)])


def test_a_size_that_does_not_grow_is_refused_whatever_its_root(world: World, third: Member) -> None:
    world.refuses("Anchors.anchor", third, LOG, 0, ROOT, NOTE, error=("HeadDoesNotGrow", LOG, 0, 0))
    assert world.view("Anchors.headOf", LOG) == NEVER
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    for size in (5, 4, 0):
        for root in (ROOT, NOTE):
            world.refuses("Anchors.anchor", third, LOG, size, root, NOTE, error=("HeadDoesNotGrow", LOG, 5, size))
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 5)


def test_a_log_stays_with_the_member_that_anchored_it_first(world: World, first: Member, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    for size in (4, 9):
        world.refuses("Anchors.anchor", first, LOG, size, ROOT, NOTE, error=("NotTheOwner", LOG, first.id))
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 5)


def test_a_suspended_members_log_stays_its_own(world: World, first: Member, second: Member, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    world.resolve("Members.proposeStatus", (first, second), third.id, SUSPENDED)
    world.refuses("Anchors.anchor", third, LOG, 9, ROOT, NOTE, error=not_a_member(third))
    world.refuses("Anchors.anchor", first, LOG, 9, ROOT, NOTE, error=("NotTheOwner", LOG, first.id))
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 5)


def test_a_log_without_an_id_is_refused(world: World, third: Member) -> None:
    world.refuses("Anchors.anchor", third, bytes(32), 9, ROOT, NOTE, error=("LogInvalid", bytes(32)))
    assert world.view("Anchors.headOf", bytes(32)) == NEVER


def test_a_log_survives_the_rotation_of_its_members_account(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys)
    world.refuses("Anchors.anchor", third, LOG, 6, ROOT, NOTE, error=not_a_member(third))
    world.send("Anchors.anchor", rotated, LOG, 6, ROOT, NOTE)
    assert world.view("Anchors.headOf", LOG) == (third.id, ROOT, NOTE, 6)
