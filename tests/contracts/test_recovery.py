"""A member that has lost its account gets another one by a proposal, and the lost one acts for nobody any more."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from tests.contracts.keys import INVALID_KEYS, LARGEST_KEYS, with_field
from tests.contracts.world import (
    ACTIVE,
    CONDITIONAL,
    RECOVERY,
    REMOVED,
    SUSPENDED,
    Member,
    World,
    dataset_id,
    member,
    not_a_member,
)

KEY_SET = "(bytes,bytes,address,bytes,string)"
LOG, DATASET, DIGEST = b"\1" * 32, dataset_id(3, 1), b"\2" * 32


@pytest.fixture
def lost(third: Member) -> Member:
    """The department, as the account that it has lost knows it."""
    return third


@pytest.fixture
def regained(third: Member) -> Member:
    """The department with another account."""
    return third.with_account()


def test_below_the_threshold_the_lost_account_stays_in_force(
    world: World, first: Member, lost: Member, regained: Member
) -> None:
    content = encode(["bytes32", KEY_SET], [lost.id, regained.keys])
    world.accepts(
        "Members.proposeRecovery",
        *(first, lost.id, regained.keys),
        events=[("Proposed", 1, first.id, RECOVERY, content), ("Approved", 1, first.id)],
    )
    assert world.view("Members.memberOf", lost.account.address) == lost.id
    world.view_refuses("Members.memberOf", regained.account.address, error=not_a_member(regained))
    assert world.view("Members.epochOf", lost.id) == 1


def test_at_the_threshold_new_keys_are_in_force_as_a_new_epoch(
    world: World, first: Member, second: Member, lost: Member, regained: Member
) -> None:
    before = [world.view(f"Members.{what}", lost.id) for what in ("statusOf", "rolesOf")]
    number = world.resolve("Members.proposeRecovery", [first], lost.id, regained.keys)
    world.accepts(
        "Members.approve",
        *(second, number),
        events=[("Approved", number, second.id), ("KeysSet", lost.id, 2, regained.keys), ("Executed", number)],
    )
    assert world.view("Members.memberOf", regained.account.address) == lost.id
    world.view_refuses("Members.memberOf", lost.account.address, error=not_a_member(lost))
    assert world.view("Members.epochOf", lost.id) == 2
    assert [world.view(f"Members.{what}", lost.id) for what in ("statusOf", "rolesOf")] == before
    assert world.view("Members.authorities") == 2


def test_what_the_member_has_is_the_new_accounts_and_not_the_lost_ones(
    world: World, first: Member, second: Member, lost: Member, regained: Member
) -> None:
    world.send("Anchors.anchor", lost, LOG, 5, DIGEST, DIGEST)
    world.send("Catalogue.register", lost, DATASET, DIGEST, 2, CONDITIONAL)
    world.resolve("Members.proposeRecovery", (first, second), lost.id, regained.keys)
    refused = not_a_member(lost)
    world.refuses("Anchors.anchor", lost, LOG, 6, DIGEST, DIGEST, error=refused)
    world.refuses("Catalogue.withdraw", lost, DATASET, error=refused)
    world.refuses("Members.rotateKeys", lost, lost.with_account().keys, 1, error=refused)
    world.send("Anchors.anchor", regained, LOG, 6, DIGEST, DIGEST)
    world.send("Catalogue.withdraw", regained, DATASET)
    world.send("Members.declareCompromise", regained, 1, 1, 1)


def test_who_holds_a_stolen_account_cannot_keep_it_from_being_recovered(
    world: World, first: Member, second: Member, lost: Member, regained: Member
) -> None:
    """The thief rotates once more while the proposal waits; the recovery still ends what the thief put in force."""
    number = world.resolve("Members.proposeRecovery", [first], lost.id, regained.keys)
    stolen = lost.with_account()
    world.send("Members.rotateKeys", lost, stolen.keys, 1)
    world.send("Members.approve", second, number)
    world.view_refuses("Members.memberOf", stolen.account.address, error=not_a_member(stolen))
    assert world.view("Members.memberOf", regained.account.address) == lost.id
    assert world.view("Members.epochOf", lost.id) == 3


def test_a_suspended_member_is_recovered_and_acts_once_it_is_reinstated(
    world: World, first: Member, second: Member, lost: Member, regained: Member
) -> None:
    world.resolve("Members.proposeStatus", (first, second), lost.id, SUSPENDED)
    world.resolve("Members.proposeRecovery", (first, second), lost.id, regained.keys)
    world.refuses("Anchors.anchor", regained, LOG, 1, DIGEST, DIGEST, error=not_a_member(regained))
    assert world.view("Members.statusOf", lost.id) == SUSPENDED
    world.resolve("Members.proposeStatus", (first, second), lost.id, ACTIVE)
    world.send("Anchors.anchor", regained, LOG, 1, DIGEST, DIGEST)
    world.refuses("Anchors.anchor", lost, LOG, 2, DIGEST, DIGEST, error=not_a_member(lost))


def test_an_authority_is_recovered_by_the_others_and_has_not_approved_anew(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    """Three authorities would be needed to agree without the lost one; two of two suffice here with the newcomer."""
    world.resolve("Members.proposeAdmission", (first, second), further.admission)
    pending = world.resolve("Members.proposeStatus", [second], third.id, SUSPENDED)
    regained = second.with_account()
    world.resolve("Members.proposeRecovery", (first, further), second.id, regained.keys)
    world.refuses("Members.approve", regained, pending, error=("AlreadyApproved", pending, second.id))
    world.refuses("Members.approve", second, pending, error=not_a_member(second))
    world.send("Members.approve", further, pending)
    assert world.view("Members.statusOf", third.id) == SUSPENDED


def test_a_removed_member_is_not_recovered(
    world: World, first: Member, second: Member, lost: Member, regained: Member
) -> None:
    world.resolve("Members.proposeStatus", (first, second), lost.id, REMOVED)
    number = world.resolve("Members.proposeRecovery", [first], lost.id, regained.keys)
    world.refuses("Members.approve", second, number, error=("MemberIsRemoved", lost.id))
    assert world.view("Members.epochOf", lost.id) == 1


def test_nobody_is_made_a_member_by_a_recovery(world: World, first: Member, second: Member, outsider: Member) -> None:
    number = world.resolve("Members.proposeRecovery", [first], outsider.id, outsider.keys)
    world.refuses("Members.approve", second, number, error=("MemberUnknown", outsider.id))
    assert world.view("Members.statusOf", outsider.id) == 0


def test_the_account_must_be_new_to_everybody(
    world: World, first: Member, second: Member, auditor: Member, third: Member
) -> None:
    """Neither anybody's, nor one that the member had, nor the one in force: a council does not turn keys in passing."""
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys, 1)
    for taken in (first, auditor, third, rotated):
        keys = with_field(third.keys, "account", taken.account.address)
        number = world.resolve("Members.proposeRecovery", [first], third.id, keys)
        world.refuses("Members.approve", second, number, error=("AccountTaken", taken.address))
    assert world.view("Members.memberOf", rotated.account.address) == third.id
    assert world.view("Members.epochOf", third.id) == 2


@pytest.mark.parametrize("reason", INVALID_KEYS)
def test_keys_without_their_form_are_refused(
    world: World, first: Member, second: Member, lost: Member, regained: Member, reason: str
) -> None:
    keys = with_field(regained.keys, *INVALID_KEYS[reason])
    number = world.resolve("Members.proposeRecovery", [first], lost.id, keys)
    world.refuses("Members.approve", second, number, error=("KeysInvalid",))
    assert world.view("Members.memberOf", lost.account.address) == lost.id


@pytest.mark.parametrize("reason", LARGEST_KEYS)
def test_the_largest_keys_are_taken(
    world: World, first: Member, second: Member, lost: Member, regained: Member, reason: str
) -> None:
    keys = with_field(regained.keys, *LARGEST_KEYS[reason])
    number = world.resolve("Members.proposeRecovery", (first, second), lost.id, keys)
    assert number == 1
    assert world.view("Members.epochOf", lost.id) == 2


def test_only_authorities_propose_a_recovery(world: World, auditor: Member, lost: Member) -> None:
    for by in (lost, auditor):
        error = ("NotAnAuthority", by.address)
        world.refuses("Members.proposeRecovery", by, lost.id, lost.with_account().keys, error=error)
    stranger = member(8)
    world.refuses("Members.proposeRecovery", stranger, lost.id, stranger.keys, error=not_a_member(stranger))
