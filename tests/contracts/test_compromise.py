"""Keys that are declared compromised: one kind of one epoch at a time or several epochs at once, only ever backwards; and what
becomes of a member whose account in force is among them.
"""

from __future__ import annotations

import pytest

from tests.contracts.keys import with_field
from tests.contracts.world import (
    ACTIVE,
    DEPARTMENT,
    SUSPENDED,
    Member,
    World,
    not_a_member,
)

SIGNING, ENCRYPTION, ACCOUNT, CERTIFICATE = KINDS = range(1, 5)
LOG, DIGEST = b"\1" * 32, b"\2" * 32
CALLS = ("Members.declareCompromise", "Members.declareCompromises")


def of(call: str, epoch: int) -> object:
    """One epoch as a call takes it."""
    return [epoch] if call.endswith("s") else epoch


def renewed(third: Member, name: str) -> tuple[bytes, bytes, str, bytes, str]:
    """The member's keys with another endpoint."""
    return with_field(third.keys, "endpoint", f"{name}.example:7000")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [SIGNING, ENCRYPTION, CERTIFICATE])
def test_a_compromise_is_declared_up_to_now_and_only_moves_back(
    world: World, third: Member, call: str, kind: int
) -> None:
    now = world.now() + 60
    epoch = of(call, 1)
    world.next_block_at(now)
    world.refuses(call, third, epoch, kind, now + 1, error=("CompromiseInvalid", 1, kind, now + 1))
    now += 60
    world.next_block_at(now)
    world.accepts(call, third, epoch, kind, now, events=[("CompromiseDeclared", third.id, 1, kind, now)])
    for since in (now, now + 1, 0):
        world.refuses(call, third, epoch, kind, since, error=("CompromiseInvalid", 1, kind, since))
    for since in (now - 1, 1):
        world.accepts(call, third, epoch, kind, since, events=[("CompromiseDeclared", third.id, 1, kind, since)])
    world.refuses(call, third, epoch, kind, 1, error=("CompromiseInvalid", 1, kind, 1))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [0, 5, 255])
def test_there_are_four_kinds_of_keys(world: World, third: Member, call: str, kind: int) -> None:
    world.refuses(call, third, of(call, 1), kind, 1, error=("CompromiseInvalid", 1, kind, 1))


@pytest.mark.parametrize("call", CALLS)
def test_a_compromise_is_of_an_epoch_that_exists(world: World, third: Member, call: str) -> None:
    since = world.now()
    for epoch in (0, 2, 2**32 - 1):
        invalid = ("CompromiseInvalid", epoch, SIGNING, since)
        world.refuses(call, third, of(call, epoch), SIGNING, since, error=invalid)


def test_each_kind_of_each_epoch_has_its_own_time(world: World, third: Member) -> None:
    since = world.now()
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys, 1)
    declared = [(epoch, kind) for epoch in (1, 2) for kind in KINDS if (epoch, kind) != (2, ACCOUNT)]
    for number, (epoch, kind) in enumerate(declared):
        at = since - number  # each earlier than the one before, which would be refused if they were one
        world.accepts(
            "Members.declareCompromise",
            *(rotated, epoch, kind, at),
            events=[("CompromiseDeclared", third.id, epoch, kind, at)],
        )
    for number, (epoch, kind) in enumerate(declared):
        at = since - number
        invalid = ("CompromiseInvalid", epoch, kind, at)
        world.refuses("Members.declareCompromise", rotated, epoch, kind, at, error=invalid)


def test_a_member_declares_a_compromise_of_nobodys_keys_but_its_own(world: World, first: Member, third: Member) -> None:
    world.send("Members.rotateKeys", third, third.keys, 1)
    since = world.now()
    # Epoch 2 exists for the third member alone, and the call names no member.
    for call in CALLS:
        world.refuses(call, first, of(call, 2), SIGNING, since, error=("CompromiseInvalid", 2, SIGNING, since))
    said = ("CompromiseDeclared", third.id, 2, SIGNING, since)
    world.accepts("Members.declareCompromise", third, 2, SIGNING, since, events=[said])


def test_a_key_that_stood_in_several_epochs_is_declared_in_one_transaction_or_not_at_all(
    world: World, third: Member
) -> None:
    for epoch in (1, 2, 3):
        world.send("Members.rotateKeys", third, renewed(third, str(epoch)), epoch)
    since = world.now()
    world.refuses(
        "Members.declareCompromises", third, [], SIGNING, since, error=("CompromiseInvalid", 0, SIGNING, since)
    )
    world.send("Members.declareCompromise", third, 3, SIGNING, since - 5)
    for epochs, wrong in (([1, 2, 3], 3), ([1, 2, 5], 5), ([1, 0], 0), ([1, 2, 1], 1)):
        invalid = ("CompromiseInvalid", wrong, SIGNING, since)
        world.refuses("Members.declareCompromises", third, epochs, SIGNING, since, error=invalid)
    # Nothing of what was refused is left, so that each can still be declared at that very time.
    said = [("CompromiseDeclared", third.id, epoch, SIGNING, since) for epoch in (4, 1, 2)]
    world.accepts("Members.declareCompromises", third, [4, 1, 2], SIGNING, since, events=said)


def test_an_account_in_force_that_is_declared_compromised_acts_for_nobody_at_once(world: World, third: Member) -> None:
    world.send("Members.declareCompromise", third, 1, ACCOUNT, world.now())
    refused = not_a_member(third)
    world.view_refuses("Members.memberOf", third.account.address, error=refused)
    world.refuses("Anchors.anchor", third, LOG, 1, DIGEST, DIGEST, error=refused)
    world.refuses("Members.rotateKeys", third, third.with_account().keys, 1, error=refused)
    world.refuses("Members.declareCompromise", third, 1, SIGNING, 1, error=refused)
    assert world.view("Members.statusOf", third.id) == ACTIVE


@pytest.mark.parametrize("declared", [[1], [2], [1, 2]])
def test_an_account_is_compromised_in_whichever_of_its_epochs_it_is_declared(
    world: World, third: Member, declared: list[int]
) -> None:
    world.send("Members.rotateKeys", third, renewed(third, "new"), 1)  # which keeps the account
    since = world.now()
    said = [("CompromiseDeclared", third.id, epoch, ACCOUNT, since) for epoch in declared]
    world.accepts("Members.declareCompromises", third, declared, ACCOUNT, since, events=said)
    world.view_refuses("Members.memberOf", third.account.address, error=not_a_member(third))


def test_an_account_that_was_replaced_is_declared_by_its_successor_which_goes_on(world: World, third: Member) -> None:
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys, 1)
    said = ("CompromiseDeclared", third.id, 1, ACCOUNT, 1)
    world.accepts("Members.declareCompromise", rotated, 1, ACCOUNT, 1, events=[said])
    assert world.view("Members.memberOf", rotated.account.address) == third.id
    world.send("Anchors.anchor", rotated, LOG, 1, DIGEST, DIGEST)
    world.send("Members.declareCompromise", rotated, 2, ACCOUNT, 1)
    world.view_refuses("Members.memberOf", rotated.account.address, error=not_a_member(rotated))


def test_neither_suspension_nor_reinstatement_brings_a_compromised_account_back(
    world: World, first: Member, second: Member, third: Member
) -> None:
    world.send("Members.declareCompromise", third, 1, ACCOUNT, 1)
    for status in (SUSPENDED, ACTIVE):
        world.resolve("Members.proposeStatus", (first, second), third.id, status)
        world.view_refuses("Members.memberOf", third.account.address, error=not_a_member(third))


def test_a_recovery_ends_the_compromise_of_the_account(
    world: World, first: Member, second: Member, third: Member
) -> None:
    """Whoever stole the account and declared it, or everything, compromised has not kept the council from helping."""
    for kind in (SIGNING, ENCRYPTION, CERTIFICATE, ACCOUNT):
        world.send("Members.declareCompromise", third, 1, kind, 1)
    regained = third.with_account()
    world.resolve("Members.proposeRecovery", (first, second), third.id, regained.keys)
    assert world.view("Members.memberOf", regained.account.address) == third.id
    world.view_refuses("Members.memberOf", third.account.address, error=not_a_member(third))
    world.send("Anchors.anchor", regained, LOG, 1, DIGEST, DIGEST)
    taken = ("AccountTaken", third.address)
    world.refuses("Members.rotateKeys", regained, third.keys, 2, error=taken)


def test_an_authority_that_the_threshold_needs_cannot_lose_its_account_so(
    world: World, first: Member, second: Member
) -> None:
    """There are two, and both are needed: if one could go, nobody could recover it, nor anybody else ever again."""
    world.refuses("Members.declareCompromise", first, 1, ACCOUNT, 1, error=("ThresholdInvalid", 2, 1))
    world.refuses("Members.declareCompromises", first, [1], ACCOUNT, 1, error=("ThresholdInvalid", 2, 1))
    assert world.view("Members.memberOf", first.account.address) == first.id
    assert world.view("Members.authorities") == 2
    rotated = first.with_account()
    world.send("Members.rotateKeys", first, rotated.keys, 1)
    world.send("Members.declareCompromise", rotated, 1, ACCOUNT, 1)
    assert world.view("Members.memberOf", rotated.account.address) == first.id
    world.send("Members.declareCompromise", second, 1, SIGNING, 1)  # of other keys whoever likes


def test_an_authority_with_a_compromised_account_is_not_counted_until_it_is_recovered(
    world: World, first: Member, second: Member, further: Member, third: Member
) -> None:
    world.resolve("Members.proposeAdmission", (first, second), further.admission)
    assert world.view("Members.authorities") == 3
    pending = world.resolve("Members.proposeStatus", [further], third.id, SUSPENDED)
    world.send("Members.declareCompromise", further, 1, ACCOUNT, 1)
    assert world.view("Members.authorities") == 2
    # What it approved does not count either: whoever has its account may have done that.
    world.send("Members.approve", first, pending)
    assert world.view("Members.statusOf", third.id) == ACTIVE
    world.refuses("Members.declareCompromise", first, 1, ACCOUNT, 1, error=("ThresholdInvalid", 2, 1))
    for status in (SUSPENDED, ACTIVE):  # which counts it neither off nor on
        world.resolve("Members.proposeStatus", (first, second), further.id, status)
        assert world.view("Members.authorities") == 2
    regained = further.with_account()
    number = world.resolve("Members.proposeRecovery", [first], further.id, regained.keys)
    left = world.send("Members.approve", second, number)
    assert ("KeysSet", further.id, 2, regained.keys) in left
    assert world.view("Members.authorities") == 3
    world.send("Members.approve", regained, world.resolve("Members.proposeRoles", [first], third.id, DEPARTMENT))


def test_a_recovery_that_waits_is_not_held_up_by_what_a_thief_declares(
    world: World, first: Member, second: Member, third: Member
) -> None:
    regained = third.with_account()
    number = world.resolve("Members.proposeRecovery", [first], third.id, regained.keys)
    world.send("Members.declareCompromises", third, [1], ACCOUNT, 1)
    said = [("Approved", number, second.id), ("KeysSet", third.id, 2, regained.keys), ("Executed", number)]
    world.accepts("Members.approve", second, number, events=said)
    world.view_refuses("Members.memberOf", third.account.address, error=not_a_member(third))
