"""A proposal's life: who approves, how approvals add up, when they lapse, and in which order proposals are carried out.

Three authorities found the consortium, and two approvals carry a proposal.
"""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from tests.contracts.world import (
    ACTIVE,
    AUDITOR,
    AUTHORITY,
    DEPARTMENT,
    REMOVED,
    STATUS_CHANGE,
    SUSPENDED,
    Member,
    World,
    member,
    not_a_member,
)


@pytest.fixture(scope="module")
def founders(first: Member, second: Member, further: Member, third: Member, auditor: Member) -> list[Member]:
    """Three authorities, a department and an auditor."""
    return [first, second, further, third, auditor]


@pytest.fixture
def newcomer() -> Member:
    """A department that is not admitted yet."""
    return member(6)


def status(world: World, of: Member) -> int:
    """Where a member stands."""
    return int(world.view("Members.statusOf", of.id))


def suspension(world: World, by: Member, of: Member) -> int:
    """Propose a suspension; return the proposal's number."""
    return world.resolve("Members.proposeStatus", [by], of.id, SUSPENDED)


def test_below_the_threshold_a_proposal_changes_nothing(world: World, first: Member, third: Member) -> None:
    world.accepts(
        "Members.proposeStatus",
        *(first, third.id, SUSPENDED),
        events=[
            ("Proposed", 1, first.id, STATUS_CHANGE, encode(["bytes32", "uint8"], [third.id, SUSPENDED])),
            ("Approved", 1, first.id),
        ],
    )
    assert status(world, third) == ACTIVE
    assert world.view("Members.memberOf", third.account.address) == third.id


def test_at_the_threshold_a_proposal_is_carried_out_in_the_same_transaction(
    world: World, first: Member, second: Member, third: Member
) -> None:
    number = suspension(world, first, third)
    world.accepts(
        "Members.approve",
        *(second, number),
        events=[("Approved", number, second.id), ("StatusChanged", third.id, SUSPENDED), ("Executed", number)],
    )
    assert status(world, third) == SUSPENDED


def test_proposals_are_numbered_from_one(world: World, first: Member, second: Member, third: Member) -> None:
    proposals = [suspension(world, by, third) for by in (first, second, first)]
    assert proposals == [1, 2, 3]


def test_an_authority_approves_a_proposal_once(world: World, first: Member, second: Member, third: Member) -> None:
    world.send("Members.proposeThreshold", first, 3)
    world.send("Members.approve", second, 1)
    number = suspension(world, first, third)
    world.refuses("Members.approve", first, number, error=("AlreadyApproved", number, first.id))
    world.send("Members.approve", second, number)
    for by in (first, second):
        world.refuses("Members.approve", by, number, error=("AlreadyApproved", number, by.id))
    assert status(world, third) == ACTIVE


def test_an_authority_with_a_fresh_account_does_not_approve_again(world: World, first: Member, third: Member) -> None:
    number = suspension(world, first, third)
    rotated = first.with_account()
    world.send("Members.rotateKeys", first, rotated.keys, 1)
    world.refuses("Members.approve", rotated, number, error=("AlreadyApproved", number, first.id))
    assert status(world, third) == ACTIVE


def test_a_carried_proposal_is_not_approved_again(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    number = world.resolve("Members.proposeStatus", (first, second), third.id, SUSPENDED)
    for by in (first, second, further):
        world.refuses("Members.approve", by, number, error=("ProposalExecuted", number))


@pytest.mark.parametrize("number", [0, 2, 2**256 - 1])
def test_a_proposal_that_nobody_made_is_unknown(world: World, first: Member, third: Member, number: int) -> None:
    suspension(world, first, third)
    world.refuses("Members.approve", first, number, error=("ProposalUnknown", number))


def test_whoever_is_no_authority_neither_proposes_nor_approves(
    world: World, first: Member, third: Member, auditor: Member, newcomer: Member
) -> None:
    number = suspension(world, first, third)
    for by in (third, auditor):
        error = ("NotAnAuthority", by.address)
        world.refuses("Members.approve", by, number, error=error)
        world.refuses("Members.proposeAdmission", by, newcomer.admission, error=error)
        world.refuses("Members.proposeStatus", by, first.id, SUSPENDED, error=error)
        world.refuses("Members.proposeRoles", by, by.id, AUTHORITY, error=error)
        world.refuses("Members.proposeThreshold", by, 1, error=error)
    assert status(world, third) == ACTIVE


def test_an_approval_lapses_while_its_authority_is_suspended(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    number = suspension(world, first, third)
    world.resolve("Members.proposeStatus", (second, further), first.id, SUSPENDED)
    world.refuses("Members.approve", first, number, error=not_a_member(first))
    world.accepts("Members.approve", second, number, events=[("Approved", number, second.id)])
    assert status(world, third) == ACTIVE
    world.accepts(
        "Members.approve",
        *(further, number),
        events=[("Approved", number, further.id), ("StatusChanged", third.id, SUSPENDED), ("Executed", number)],
    )


def test_an_approval_lapses_with_its_authoritys_role(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    number = suspension(world, first, third)
    world.resolve("Members.proposeRoles", (second, further), first.id, DEPARTMENT | AUDITOR)
    world.refuses("Members.approve", first, number, error=("NotAnAuthority", first.address))
    world.send("Members.approve", second, number)
    assert status(world, third) == ACTIVE


def test_an_approval_counts_again_once_its_authority_is_reinstated(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    number = suspension(world, first, third)
    for goal in (SUSPENDED, ACTIVE):
        world.resolve("Members.proposeStatus", (second, further), first.id, goal)
    world.refuses("Members.approve", first, number, error=("AlreadyApproved", number, first.id))
    world.send("Members.approve", second, number)
    assert status(world, third) == SUSPENDED


def test_a_removed_authority_approves_nothing_and_its_approvals_are_gone(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    number = suspension(world, first, third)
    world.resolve("Members.proposeStatus", (second, further), first.id, REMOVED)
    world.refuses("Members.approve", first, number, error=not_a_member(first))
    world.send("Members.approve", second, number)
    assert status(world, third) == ACTIVE


def test_a_new_authority_approves_what_was_proposed_before_it(
    world: World, first: Member, second: Member, third: Member, auditor: Member
) -> None:
    number = suspension(world, first, auditor)
    world.resolve("Members.proposeRoles", (first, second), third.id, AUTHORITY)
    world.send("Members.approve", third, number)
    assert status(world, auditor) == SUSPENDED


def test_a_proposal_is_measured_by_the_threshold_of_its_last_approval(
    world: World, first: Member, second: Member, further: Member, third: Member, auditor: Member
) -> None:
    early = suspension(world, first, third)
    world.resolve("Members.proposeThreshold", (first, second), 3)
    world.send("Members.approve", second, early)
    assert status(world, third) == ACTIVE
    world.resolve("Members.proposeThreshold", (first, second, further), 1)
    assert status(world, third) == ACTIVE  # nothing is carried but by an approval of its own
    world.send("Members.approve", further, early)
    assert status(world, third) == SUSPENDED
    suspension(world, first, auditor)
    assert status(world, auditor) == SUSPENDED


def test_proposals_are_carried_in_the_order_of_their_last_approvals(
    world: World, first: Member, second: Member, third: Member
) -> None:
    earlier = suspension(world, first, third)
    later = world.resolve("Members.proposeStatus", [first], third.id, REMOVED)
    world.send("Members.approve", second, later)
    assert status(world, third) == REMOVED
    invalid = ("StatusInvalid", third.id, REMOVED, SUSPENDED)
    world.refuses("Members.approve", second, earlier, error=invalid)
    assert status(world, third) == REMOVED


def test_an_approval_whose_effect_is_refused_is_not_counted_and_may_come_again(
    world: World, first: Member, second: Member, third: Member
) -> None:
    reinstatement = world.resolve("Members.proposeStatus", [first], third.id, ACTIVE)
    for _ in range(2):
        invalid = ("StatusInvalid", third.id, ACTIVE, ACTIVE)
        world.refuses("Members.approve", second, reinstatement, error=invalid)
    world.resolve("Members.proposeStatus", (first, second), third.id, SUSPENDED)
    world.accepts(
        "Members.approve",
        *(second, reinstatement),
        events=[
            ("Approved", reinstatement, second.id),
            ("StatusChanged", third.id, ACTIVE),
            ("Executed", reinstatement),
        ],
    )


def test_of_two_admissions_of_one_member_the_first_that_is_carried_stands(
    world: World, first: Member, second: Member, newcomer: Member
) -> None:
    earlier = world.resolve("Members.proposeAdmission", [first], newcomer.admission)
    other = newcomer.with_account()
    later = world.resolve("Members.proposeAdmission", [second], other.admission)
    world.send("Members.approve", first, later)
    world.refuses("Members.approve", second, earlier, error=("MemberInvalid", newcomer.id))
    assert world.view("Members.memberOf", other.account.address) == newcomer.id
    world.view_refuses("Members.memberOf", newcomer.account.address, error=not_a_member(newcomer))


def test_an_admission_is_judged_when_it_is_carried(
    world: World, first: Member, second: Member, third: Member, newcomer: Member
) -> None:
    number = world.resolve("Members.proposeAdmission", [first], newcomer.admission)
    world.send("Members.rotateKeys", third, newcomer.keys, 1)  # which names the same account
    world.refuses("Members.approve", second, number, error=("AccountTaken", newcomer.address))
    assert status(world, newcomer) == 0


def test_authorities_never_become_fewer_than_the_threshold(
    world: World, first: Member, second: Member, further: Member
) -> None:
    world.resolve("Members.proposeStatus", (first, second), further.id, SUSPENDED)
    invalid = ("ThresholdInvalid", 2, 1)
    for goal in (SUSPENDED, REMOVED):
        number = world.resolve("Members.proposeStatus", [first], second.id, goal)
        world.refuses("Members.approve", second, number, error=invalid)
    number = world.resolve("Members.proposeRoles", [first], second.id, DEPARTMENT)
    world.refuses("Members.approve", second, number, error=invalid)
    assert status(world, second) == ACTIVE
    assert world.view("Members.authorities") == 2


def test_an_authority_may_approve_its_own_suspension(world: World, first: Member, second: Member) -> None:
    number = suspension(world, first, second)
    world.send("Members.approve", second, number)
    assert status(world, second) == SUSPENDED
    world.refuses("Members.proposeStatus", second, second.id, ACTIVE, error=not_a_member(second))
