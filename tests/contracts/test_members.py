"""Members: what an admission, a change of status or roles, a rotation and a declared compromise do, and what they refuse.

One approval carries a proposal here, so that each change is one transaction; `test_proposals` is about how approvals add up.
"""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3.exceptions import ContractCustomError, ContractLogicError

from tests.contracts.keys import (
    FOUR_BYTES,
    INVALID_IDS,
    INVALID_KEYS,
    INVALID_NAMES,
    INVALID_ROLES,
    LARGEST_KEYS,
    MAX_TEXT,
    with_field,
    with_keys,
)
from tests.contracts.world import (
    ACTIVE,
    ADMISSION,
    ALL_ROLES,
    AUDITOR,
    AUTHORITY,
    DEPARTMENT,
    REMOVED,
    ROLES_CHANGE,
    STATUS_CHANGE,
    SUSPENDED,
    THRESHOLD_CHANGE,
    Member,
    Said,
    World,
    member,
    member_id,
    not_a_member,
)

KEY_SET = "(bytes,bytes,address,bytes,string)"
ADMISSION_WORDS = f"(bytes32,string,uint8,{KEY_SET})"
NOBODY = member_id("91370700MA3C00000X")
STATUSES = (0, ACTIVE, SUSPENDED, REMOVED)
UNKNOWN_STATUS = 4
ALLOWED = {(ACTIVE, SUSPENDED), (ACTIVE, REMOVED), (SUSPENDED, ACTIVE), (SUSPENDED, REMOVED)}


@pytest.fixture(scope="module")
def threshold() -> int:
    """One approval carries a proposal."""
    return 1


@pytest.fixture
def newcomer() -> Member:
    """A department that is not admitted yet."""
    return member(6)


def carried(by: Member, kind: int, content: bytes, *effects: Said, number: int = 1) -> list[Said]:
    """The events of a proposal that is carried at once."""
    return [
        ("Proposed", number, by.id, kind, content),
        ("Approved", number, by.id),
        *effects,
        ("Executed", number),
    ]


def test_an_admitted_member_stands_active_in_its_roles_with_its_first_keys(
    world: World, first: Member, newcomer: Member
) -> None:
    world.view_refuses("Members.memberOf", newcomer.account.address, error=not_a_member(newcomer))
    world.accepts(
        "Members.proposeAdmission",
        *(first, newcomer.admission),
        events=carried(
            *(first, ADMISSION, encode([ADMISSION_WORDS], [newcomer.admission])),
            ("MemberAdmitted", newcomer.id, newcomer.name, DEPARTMENT),
            ("KeysSet", newcomer.id, 1, newcomer.keys),
        ),
    )
    assert world.view("Members.memberOf", newcomer.account.address) == newcomer.id
    assert world.view("Members.statusOf", newcomer.id) == ACTIVE
    assert world.view("Members.rolesOf", newcomer.id) == DEPARTMENT
    assert world.view("Members.epochOf", newcomer.id) == 1
    assert world.view("Members.keyDigestOf", newcomer.id, 1) == keccak(encode([KEY_SET], [newcomer.keys]))


def test_nobody_has_no_status_roles_epoch_or_keys(world: World) -> None:
    assert world.view("Members.statusOf", NOBODY) == 0
    assert world.view("Members.rolesOf", NOBODY) == 0
    assert world.view("Members.epochOf", NOBODY) == 0
    assert world.view("Members.keyDigestOf", NOBODY, 1) == bytes(32)


def test_the_account_zero_is_nobodys(world: World) -> None:
    zero = "0x" + "00" * 20
    world.view_refuses("Members.memberOf", zero, error=("NotAMember", zero))


@pytest.mark.parametrize("reason", INVALID_IDS)
def test_a_malformed_id_is_not_admitted(world: World, first: Member, newcomer: Member, reason: str) -> None:
    found = INVALID_IDS[reason]
    admission = (found, *newcomer.admission[1:])
    world.refuses("Members.proposeAdmission", first, admission, error=("MemberInvalid", found))
    assert world.view("Members.statusOf", found) == 0


def test_the_ends_of_the_alphabets_are_in_ids(world: World, first: Member, newcomer: Member) -> None:
    found = member_id("09AZ09AZ09AZ09AZ09")
    world.send("Members.proposeAdmission", first, (found, *newcomer.admission[1:]))
    assert world.view("Members.memberOf", newcomer.account.address) == found


@pytest.mark.parametrize("reason", INVALID_NAMES)
def test_a_member_without_a_name_or_with_a_long_one_is_not_admitted(
    world: World, first: Member, newcomer: Member, reason: str
) -> None:
    admission = (newcomer.id, INVALID_NAMES[reason], *newcomer.admission[2:])
    world.refuses("Members.proposeAdmission", first, admission, error=("MemberInvalid", newcomer.id))


@pytest.mark.parametrize("name", ["n" * MAX_TEXT, FOUR_BYTES * (MAX_TEXT // 4)])
def test_a_name_may_have_256_bytes(world: World, first: Member, newcomer: Member, name: str) -> None:
    world.send("Members.proposeAdmission", first, (newcomer.id, name, *newcomer.admission[2:]))
    assert world.view("Members.statusOf", newcomer.id) == ACTIVE


@pytest.mark.parametrize("roles", INVALID_ROLES)
def test_no_roles_or_unknown_ones_are_refused(
    world: World, first: Member, third: Member, newcomer: Member, roles: int
) -> None:
    admission = (newcomer.id, newcomer.name, roles, newcomer.keys)
    world.refuses("Members.proposeAdmission", first, admission, error=("RolesInvalid", roles))
    world.refuses("Members.proposeRoles", first, third.id, roles, error=("RolesInvalid", roles))
    assert world.view("Members.rolesOf", third.id) == DEPARTMENT


@pytest.mark.parametrize("reason", INVALID_KEYS)
def test_keys_without_their_form_are_refused(
    world: World, first: Member, third: Member, newcomer: Member, reason: str
) -> None:
    admission = with_keys(newcomer.admission, with_field(newcomer.keys, *INVALID_KEYS[reason]))
    world.refuses("Members.proposeAdmission", first, admission, error=("KeysInvalid",))
    rotated = with_field(third.keys, *INVALID_KEYS[reason])
    world.refuses("Members.rotateKeys", third, rotated, 1, error=("KeysInvalid",))
    assert world.view("Members.epochOf", third.id) == 1


@pytest.mark.parametrize("reason", LARGEST_KEYS)
def test_the_largest_keys_are_taken(world: World, first: Member, third: Member, newcomer: Member, reason: str) -> None:
    keys = with_field(newcomer.keys, *LARGEST_KEYS[reason])
    world.send("Members.proposeAdmission", first, with_keys(newcomer.admission, keys))
    assert world.view("Members.keyDigestOf", newcomer.id, 1) == keccak(encode([KEY_SET], [keys]))
    keys = with_field(third.keys, *LARGEST_KEYS[reason])
    world.accepts("Members.rotateKeys", third, keys, 1, events=[("KeysSet", third.id, 2, keys)])


def test_an_id_is_admitted_once_even_after_removal(world: World, first: Member, third: Member) -> None:
    again = third.with_account()
    for status in (None, SUSPENDED, REMOVED):
        if status is not None:
            world.send("Members.proposeStatus", first, third.id, status)
        world.refuses("Members.proposeAdmission", first, again.admission, error=("MemberInvalid", third.id))


def test_an_account_that_ever_belonged_to_a_member_is_never_another_members(
    world: World, first: Member, third: Member, auditor: Member, newcomer: Member
) -> None:
    old = third
    world.send("Members.rotateKeys", third, third.with_account().keys, 1)
    world.send("Members.proposeStatus", first, auditor.id, REMOVED)
    for owner in (first, old, auditor):
        taken = ("AccountTaken", owner.address)
        admission = with_keys(newcomer.admission, with_field(newcomer.keys, "account", owner.account.address))
        world.refuses("Members.proposeAdmission", first, admission, error=taken)


def test_a_rotation_puts_new_keys_in_force_and_keeps_the_old_digest(world: World, third: Member) -> None:
    rotated = third.with_account()
    world.accepts("Members.rotateKeys", third, rotated.keys, 1, events=[("KeysSet", third.id, 2, rotated.keys)])
    assert world.view("Members.epochOf", third.id) == 2
    assert world.view("Members.keyDigestOf", third.id, 1) == keccak(encode([KEY_SET], [third.keys]))
    assert world.view("Members.keyDigestOf", third.id, 2) == keccak(encode([KEY_SET], [rotated.keys]))
    assert world.view("Members.keyDigestOf", third.id, 3) == bytes(32)
    assert world.view("Members.memberOf", rotated.account.address) == third.id
    world.view_refuses("Members.memberOf", third.account.address, error=not_a_member(third))
    assert world.view("Members.rolesOf", third.id) == DEPARTMENT


def test_a_rotation_may_keep_the_account(world: World, third: Member) -> None:
    keys = with_field(third.keys, "endpoint", "elsewhere.example:7000")
    world.accepts("Members.rotateKeys", third, keys, 1, events=[("KeysSet", third.id, 2, keys)])
    assert world.view("Members.memberOf", third.account.address) == third.id


def test_a_rotation_takes_neither_anothers_account_nor_an_own_old_one(
    world: World, first: Member, third: Member
) -> None:
    stolen = with_field(third.keys, "account", first.account.address)
    world.refuses("Members.rotateKeys", third, stolen, 1, error=("AccountTaken", first.address))
    rotated = third.with_account()
    world.send("Members.rotateKeys", third, rotated.keys, 1)
    world.refuses("Members.rotateKeys", rotated, third.keys, 2, error=("AccountTaken", third.address))
    assert world.view("Members.memberOf", first.account.address) == first.id


def test_a_rotation_with_the_old_account_is_refused(world: World, third: Member) -> None:
    world.send("Members.rotateKeys", third, third.with_account().keys, 1)
    world.refuses("Members.rotateKeys", third, third.with_account().keys, 1, error=not_a_member(third))


@pytest.mark.parametrize("origin", [ACTIVE, SUSPENDED, REMOVED])
@pytest.mark.parametrize("goal", STATUSES)
def test_a_status_changes_along_the_four_allowed_ways_only(
    world: World, first: Member, third: Member, origin: int, goal: int
) -> None:
    earlier = 0
    if origin != ACTIVE:
        earlier = world.resolve("Members.proposeStatus", [first], third.id, origin)
    if (origin, goal) in ALLOWED:
        content = encode(["bytes32", "uint8"], [third.id, goal])
        world.accepts(
            "Members.proposeStatus",
            *(first, third.id, goal),
            events=carried(first, STATUS_CHANGE, content, ("StatusChanged", third.id, goal), number=earlier + 1),
        )
        assert world.view("Members.statusOf", third.id) == goal
    else:
        invalid = ("StatusInvalid", third.id, origin, goal)
        world.refuses("Members.proposeStatus", first, third.id, goal, error=invalid)
        assert world.view("Members.statusOf", third.id) == origin


def test_a_status_that_does_not_exist_cannot_even_be_proposed(world: World, first: Member, third: Member) -> None:
    with pytest.raises(ContractLogicError) as refusal:
        world.send("Members.proposeStatus", first, third.id, UNKNOWN_STATUS)
    assert not isinstance(refusal.value, ContractCustomError)  # the calldata itself is refused, before any rule
    assert world.view("Members.statusOf", third.id) == ACTIVE


def test_a_reinstated_member_has_its_roles_keys_and_account_back(world: World, first: Member, third: Member) -> None:
    world.send("Members.proposeStatus", first, third.id, SUSPENDED)
    world.view_refuses("Members.memberOf", third.account.address, error=not_a_member(third))
    world.send("Members.proposeStatus", first, third.id, ACTIVE)
    assert world.view("Members.memberOf", third.account.address) == third.id
    assert world.view("Members.rolesOf", third.id) == DEPARTMENT
    assert world.view("Members.epochOf", third.id) == 1


def test_roles_change_to_any_mixture_of_the_three(world: World, first: Member, third: Member) -> None:
    for number, roles in enumerate(range(1, ALL_ROLES + 1), start=1):
        content = encode(["bytes32", "uint8"], [third.id, roles])
        world.accepts(
            "Members.proposeRoles",
            *(first, third.id, roles),
            events=carried(first, ROLES_CHANGE, content, ("RolesChanged", third.id, roles), number=number),
        )
        assert world.view("Members.rolesOf", third.id) == roles
        assert world.view("Members.authorities") == 2 + bool(roles & AUTHORITY)


def test_only_active_authorities_are_counted(world: World, first: Member, second: Member, third: Member) -> None:
    def authorities() -> int:
        return int(world.view("Members.authorities"))

    assert authorities() == 2
    world.send("Members.proposeStatus", first, second.id, SUSPENDED)
    assert authorities() == 1
    world.send("Members.proposeRoles", first, second.id, AUTHORITY)
    assert authorities() == 1
    world.send("Members.proposeStatus", first, second.id, ACTIVE)
    assert authorities() == 2
    world.send("Members.proposeRoles", first, second.id, AUDITOR)
    assert authorities() == 1
    world.send("Members.proposeStatus", first, third.id, SUSPENDED)
    world.send("Members.proposeRoles", first, third.id, AUTHORITY)
    assert authorities() == 1
    world.send("Members.proposeStatus", first, third.id, REMOVED)
    assert authorities() == 1


def test_a_suspended_authority_that_is_removed_is_not_counted_off_twice(
    world: World, first: Member, second: Member
) -> None:
    world.send("Members.proposeStatus", first, second.id, SUSPENDED)
    world.send("Members.proposeStatus", first, second.id, REMOVED)
    assert world.view("Members.authorities") == 1


def test_the_last_authority_cannot_go(world: World, first: Member, second: Member) -> None:
    world.send("Members.proposeStatus", first, second.id, SUSPENDED)
    invalid = ("ThresholdInvalid", 1, 0)
    world.refuses("Members.proposeStatus", first, first.id, SUSPENDED, error=invalid)
    world.refuses("Members.proposeStatus", first, first.id, REMOVED, error=invalid)
    world.refuses("Members.proposeRoles", first, first.id, DEPARTMENT, error=invalid)
    assert world.view("Members.memberOf", first.account.address) == first.id
    assert world.view("Members.authorities") == 1


def test_a_threshold_lies_between_one_and_the_authorities(world: World, first: Member) -> None:
    for impossible in (0, 3, 2**16 - 1):
        invalid = ("ThresholdInvalid", impossible, 2)
        world.refuses("Members.proposeThreshold", first, impossible, error=invalid)
        assert world.view("Members.threshold") == 1
    world.accepts(
        "Members.proposeThreshold",
        *(first, 2),
        events=carried(first, THRESHOLD_CHANGE, encode(["uint16"], [2]), ("ThresholdChanged", 2)),
    )
    assert world.view("Members.threshold") == 2


def test_changes_of_somebody_who_was_never_admitted_are_refused(world: World, first: Member) -> None:
    unknown = ("MemberUnknown", NOBODY)
    world.refuses("Members.proposeStatus", first, NOBODY, SUSPENDED, error=unknown)
    world.refuses("Members.proposeStatus", first, NOBODY, ACTIVE, error=unknown)
    world.refuses("Members.proposeRoles", first, NOBODY, DEPARTMENT, error=unknown)


def test_of_two_rotations_from_one_epoch_the_second_is_told_that_it_is_late(world: World, third: Member) -> None:
    one, other = (with_field(third.keys, "endpoint", f"{name}.example:7000") for name in ("one", "other"))
    for epoch in (0, 2, 2**32 - 1):
        passed = ("EpochPassed", third.id, epoch, 1)
        world.refuses("Members.rotateKeys", third, one, epoch, error=passed)
    world.send("Members.rotateKeys", third, one, 1)
    world.refuses("Members.rotateKeys", third, other, 1, error=("EpochPassed", third.id, 1, 2))
    world.refuses("Members.rotateKeys", third, one, 1, error=("EpochPassed", third.id, 1, 2))
    assert world.view("Members.epochOf", third.id) == 2
    assert world.view("Members.keyDigestOf", third.id, 2) == keccak(encode([KEY_SET], [one]))
    world.accepts("Members.rotateKeys", third, other, 2, events=[("KeysSet", third.id, 3, other)])
