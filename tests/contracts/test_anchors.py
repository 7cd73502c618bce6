"""Anchors: a log is its member's and only grows; several heads go together or not at all."""

from __future__ import annotations

import pytest

from tests.contracts.world import SUSPENDED, Member, Said, World, not_a_member

LOG, OTHER_LOG, ROOT, NOTE = b"\1" * 32, b"\4" * 32, b"\2" * 32, b"\3" * 32
NEVER = (bytes(32), bytes(32), 0)
LARGEST_SIZE = 2**64 - 1


def test_an_anchor_is_the_logs_head_and_an_event(world: World, third: Member) -> None:
    assert world.view("Anchors.headOf", third.id, LOG) == NEVER
    world.accepts("Anchors.anchor", third, LOG, 5, ROOT, NOTE, events=[("Anchored", LOG, third.id, 5, ROOT, NOTE)])
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 5)


def test_a_later_anchor_takes_the_place_of_the_earlier_up_to_the_largest_size(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 1, ROOT, NOTE)
    world.accepts("Anchors.anchor", third, LOG, 2, NOTE, ROOT, events=[("Anchored", LOG, third.id, 2, NOTE, ROOT)])
    assert world.view("Anchors.headOf", third.id, LOG) == (NOTE, ROOT, 2)
    world.send("Anchors.anchor", third, LOG, LARGEST_SIZE, ROOT, NOTE)
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, LARGEST_SIZE)
    world.refuses(
        "Anchors.anchor",
        *(third, LOG, LARGEST_SIZE, ROOT, NOTE),
        error=("HeadDoesNotGrow", LOG, LARGEST_SIZE, LARGEST_SIZE),
    )


def test_a_member_keeps_several_logs_apart(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 9, ROOT, NOTE)
    assert world.view("Anchors.headOf", third.id, OTHER_LOG) == NEVER
    world.send("Anchors.anchor", third, OTHER_LOG, 2, NOTE, ROOT)
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 9)
    assert world.view("Anchors.headOf", third.id, OTHER_LOG) == (NOTE, ROOT, 2)


def test_an_auditor_anchors_its_log_like_a_department(world: World, auditor: Member) -> None:
    world.accepts("Anchors.anchor", auditor, LOG, 1, ROOT, NOTE, events=[("Anchored", LOG, auditor.id, 1, ROOT, NOTE)])


def test_a_size_that_does_not_grow_is_refused_whatever_its_root(world: World, third: Member) -> None:
    world.refuses("Anchors.anchor", third, LOG, 0, ROOT, NOTE, error=("HeadDoesNotGrow", LOG, 0, 0))
    assert world.view("Anchors.headOf", third.id, LOG) == NEVER
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    for size in (5, 4, 0):
        for root in (ROOT, NOTE):
            world.refuses("Anchors.anchor", third, LOG, size, root, NOTE, error=("HeadDoesNotGrow", LOG, 5, size))
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 5)


def test_who_anchors_under_anothers_id_first_or_further_is_in_nobodys_way(
    world: World, first: Member, third: Member
) -> None:
    """A log's id is computed from public names, so anybody can know it beforehand."""
    world.send("Anchors.anchor", first, LOG, LARGEST_SIZE, NOTE, NOTE)
    assert world.view("Anchors.headOf", third.id, LOG) == NEVER
    world.accepts("Anchors.anchor", third, LOG, 1, ROOT, NOTE, events=[("Anchored", LOG, third.id, 1, ROOT, NOTE)])
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 1)
    assert world.view("Anchors.headOf", first.id, LOG) == (NOTE, NOTE, LARGEST_SIZE)


def test_a_suspended_members_log_stands_still(world: World, first: Member, second: Member, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    world.resolve("Members.proposeStatus", (first, second), third.id, SUSPENDED)
    world.refuses("Anchors.anchor", third, LOG, 9, ROOT, NOTE, error=not_a_member(third))
    world.send("Anchors.anchor", first, LOG, 9, ROOT, NOTE)
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 5)


def test_a_log_without_an_id_is_refused(world: World, third: Member) -> None:
    world.refuses("Anchors.anchor", third, bytes(32), 9, ROOT, NOTE, error=("LogInvalid", bytes(32)))
    assert world.view("Anchors.headOf", third.id, bytes(32)) == NEVER


def test_a_log_survives_the_rotation_of_its_members_account(world: World, third: Member) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys, 1)
    world.refuses("Anchors.anchor", third, LOG, 6, ROOT, NOTE, error=not_a_member(third))
    world.send("Anchors.anchor", rotated, LOG, 6, ROOT, NOTE)
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 6)


def test_many_heads_are_anchored_in_their_order_as_each_would_be_alone(world: World, third: Member) -> None:
    """Of several logs, and of one log in growing order: every one leaves its event, and the last is the head."""
    heads = [(LOG, 5, ROOT, NOTE), (OTHER_LOG, LARGEST_SIZE, NOTE, ROOT), (LOG, 6, NOTE, NOTE)]
    events: list[Said] = [("Anchored", log, third.id, *rest) for log, *rest in heads]
    world.accepts("Anchors.anchorMany", third, heads, events=events)
    assert world.view("Anchors.headOf", third.id, LOG) == (NOTE, NOTE, 6)
    assert world.view("Anchors.headOf", third.id, OTHER_LOG) == (NOTE, ROOT, LARGEST_SIZE)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ((LOG, 5, ROOT, NOTE), ("HeadDoesNotGrow", LOG, 5, 5)),
        ((LOG, 4, ROOT, NOTE), ("HeadDoesNotGrow", LOG, 5, 4)),
        ((OTHER_LOG, 0, ROOT, NOTE), ("HeadDoesNotGrow", OTHER_LOG, 0, 0)),
        ((bytes(32), 1, ROOT, NOTE), ("LogInvalid", bytes(32))),
    ],
    ids=["the same size", "a smaller size", "no entries", "no id"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_head_among_many_undoes_them_all(
    world: World, third: Member, bad: tuple[object, ...], error: Said, place: int
) -> None:
    world.send("Anchors.anchor", third, LOG, 5, ROOT, NOTE)
    good = [(b"\6" * 32, 3, NOTE, NOTE), (b"\7" * 32, 3, NOTE, NOTE)]
    world.refuses("Anchors.anchorMany", third, [*good[:place], bad, *good[place:]], error=error)
    for log, *_ in good:
        assert world.view("Anchors.headOf", third.id, log) == NEVER
    assert world.view("Anchors.headOf", third.id, LOG) == (ROOT, NOTE, 5)


def test_no_heads_at_all_are_refused(world: World, third: Member) -> None:
    world.refuses("Anchors.anchorMany", third, [], error=("NothingToAnchor",))
