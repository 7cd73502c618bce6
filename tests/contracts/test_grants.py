"""Grants: who may take which step from which state, what a grant keeps, and what time does to it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.contracts.world import (
    ACTIVE,
    CONDITIONAL,
    NOT_SHARED,
    OPEN,
    REMOVED,
    SUSPENDED,
    Member,
    Said,
    World,
    dataset_id,
    not_a_member,
)

DATASET, OTHER_DATASET = dataset_id(1, 1), dataset_id(2, 2)  # of `first`, who is the provider here, and of `second`
METADATA = b"\3" * 32
GRANT, OTHER_GRANT = b"\4" * 32, b"\5" * 32
REQUEST, TERMS, REASON, RECEIPT = b"\6" * 32, b"\7" * 32, b"\x08" * 32, b"\x09" * 32
NONE, REQUESTED, APPROVED, DENIED, REVOKED, CLOSED = range(6)
NOTHING = bytes(32)
FAR = 2**63  # an expiry that no test reaches, Unix seconds
QUOTA = 12
LARGEST_SEQUENCE, LARGEST_QUOTA, LARGEST_EXPIRY = 2**64 - 1, 2**32 - 1, 2**64 - 1
DAY = 24 * 60 * 60  # seconds

# Every step, and what it takes besides the grant.
STEPS: Mapping[str, tuple[object, ...]] = {
    "request": (DATASET, REQUEST),
    "approve": (TERMS, FAR, QUOTA),
    "deny": (REASON,),
    "revoke": (REASON,),
    "close": (),
    "advance": (1, RECEIPT),
}
# Each situation of a grant: the steps that lead there, the state that it then has, and the steps that lead on.
SITUATIONS: Mapping[str, tuple[tuple[str, ...], int, Mapping[str, int]]] = {
    "requested": (("request",), REQUESTED, {"approve": APPROVED, "deny": DENIED, "close": CLOSED}),
    "approved": (("request", "approve"), APPROVED, {"revoke": REVOKED, "close": CLOSED, "advance": APPROVED}),
    "denied": (("request", "deny"), DENIED, {}),
    "revoked": (("request", "approve", "revoke"), REVOKED, {"advance": REVOKED}),
    "request taken back": (("request", "close"), CLOSED, {}),
    "grant given back": (("request", "approve", "close"), CLOSED, {"advance": CLOSED}),
}


@pytest.fixture
def provider(first: Member) -> Member:
    """Who provides the dataset."""
    return first


@pytest.fixture
def requester(third: Member) -> Member:
    """Who asks for it."""
    return third


@pytest.fixture
def offering(world: World, provider: Member) -> World:
    """A world with a dataset that can be asked for."""
    world.send("Catalogue.register", provider, DATASET, METADATA, 2, CONDITIONAL)
    return world


def take(world: World, step: str, provider: Member, requester: Member) -> None:
    """Have whoever may do so take a step with GRANT."""
    world.send(f"Grants.{step}", requester if step in {"request", "close"} else provider, GRANT, *STEPS[step])


def bring(world: World, situation: str, provider: Member, requester: Member) -> None:
    """Lead GRANT into a situation."""
    for step in SITUATIONS[situation][0]:
        take(world, step, provider, requester)


def test_a_request_keeps_who_asked_for_what_and_no_terms_yet(offering: World, requester: Member) -> None:
    offering.accepts(
        "Grants.request",
        *(requester, GRANT, DATASET, REQUEST),
        events=[("GrantRequested", GRANT, DATASET, requester.id, REQUEST)],
    )
    assert offering.view("Grants.grantOf", GRANT) == (DATASET, requester.id, REQUEST, NOTHING, REQUESTED, 0, 0, 0)


def test_an_approval_sets_terms_expiry_and_quota(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    offering.accepts(
        "Grants.approve",
        *(provider, GRANT, TERMS, FAR, QUOTA),
        events=[("GrantApproved", GRANT, TERMS, FAR, QUOTA)],
    )
    assert offering.view("Grants.grantOf", GRANT) == (
        *(DATASET, requester.id, REQUEST, TERMS),
        *(APPROVED, FAR, QUOTA, 0),
    )


def test_a_denial_names_its_reason_and_sets_no_terms(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    offering.accepts("Grants.deny", provider, GRANT, REASON, events=[("GrantDenied", GRANT, REASON)])
    assert offering.view("Grants.grantOf", GRANT) == (DATASET, requester.id, REQUEST, NOTHING, DENIED, 0, 0, 0)


def test_a_revocation_names_its_reason_and_leaves_the_terms_readable(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "approved", provider, requester)
    offering.accepts("Grants.revoke", provider, GRANT, REASON, events=[("GrantRevoked", GRANT, REASON)])
    assert offering.view("Grants.grantOf", GRANT)[3:] == (TERMS, REVOKED, FAR, QUOTA, 0)


@pytest.mark.parametrize("situation", ["requested", "approved"])
def test_the_requester_closes_what_it_asked_for_or_was_given(
    offering: World, provider: Member, requester: Member, situation: str
) -> None:
    bring(offering, situation, provider, requester)
    before = offering.view("Grants.grantOf", GRANT)
    offering.accepts("Grants.close", requester, GRANT, events=[("GrantClosed", GRANT)])
    assert offering.view("Grants.grantOf", GRANT) == (*before[:4], CLOSED, *before[5:])


@pytest.mark.parametrize("situation", SITUATIONS)
def test_from_each_situation_exactly_the_named_steps_lead_on(
    offering: World, provider: Member, requester: Member, situation: str
) -> None:
    _, state, onward = SITUATIONS[situation]
    bring(offering, situation, provider, requester)
    before = offering.view("Grants.grantOf", GRANT)
    assert before[4] == state
    for step, arguments in STEPS.items():
        if step not in onward:
            by = requester if step in {"request", "close"} else provider
            error: Said = ("GrantInvalid", GRANT) if step == "request" else ("StateInvalid", GRANT, state)
            offering.refuses(f"Grants.{step}", by, GRANT, *arguments, error=error)
            assert offering.view("Grants.grantOf", GRANT) == before


@pytest.mark.parametrize(
    ("situation", "step"), [(situation, step) for situation, found in SITUATIONS.items() for step in found[2]]
)
def test_each_named_step_leads_to_its_state(
    offering: World, provider: Member, requester: Member, situation: str, step: str
) -> None:
    bring(offering, situation, provider, requester)
    take(offering, step, provider, requester)
    assert offering.view("Grants.grantOf", GRANT)[4] == SITUATIONS[situation][2][step]


def test_a_grant_that_nobody_asked_for_is_unknown_to_every_step(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "approved", provider, requester)
    unknown = ("GrantUnknown", OTHER_GRANT)
    offering.view_refuses("Grants.grantOf", OTHER_GRANT, error=unknown)
    for step, arguments in STEPS.items():
        if step != "request":
            for member in (provider, requester):
                offering.refuses(f"Grants.{step}", member, OTHER_GRANT, *arguments, error=unknown)


def test_a_grants_id_is_taken_once_by_whomever(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    for member in (requester, provider):
        offering.refuses("Grants.request", member, GRANT, DATASET, TERMS, error=("GrantInvalid", GRANT))
    assert offering.view("Grants.grantOf", GRANT)[1:3] == (requester.id, REQUEST)


def test_a_grant_without_an_id_is_refused(offering: World, requester: Member) -> None:
    offering.refuses("Grants.request", requester, bytes(32), DATASET, REQUEST, error=("GrantInvalid", bytes(32)))


def test_two_grants_of_one_dataset_are_decided_apart(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    offering.send("Grants.request", requester, OTHER_GRANT, DATASET, REQUEST)
    offering.send("Grants.deny", provider, OTHER_GRANT, REASON)
    assert offering.view("Grants.grantOf", GRANT)[4] == REQUESTED
    offering.send("Grants.approve", provider, GRANT, TERMS, FAR, QUOTA)
    assert offering.view("Grants.grantOf", OTHER_GRANT)[3:] == (NOTHING, DENIED, 0, 0, 0)


def test_what_the_catalogue_does_not_know_cannot_be_asked_for(offering: World, requester: Member) -> None:
    unknown = ("DatasetUnknown", OTHER_DATASET)
    offering.refuses("Grants.request", requester, GRANT, OTHER_DATASET, REQUEST, error=unknown)


def test_what_is_not_shared_can_be_neither_asked_for_nor_approved(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "requested", provider, requester)
    offering.send("Catalogue.update", provider, DATASET, METADATA, 4, NOT_SHARED)
    error = ("DatasetNotOffered", DATASET)
    offering.refuses("Grants.request", requester, OTHER_GRANT, DATASET, REQUEST, error=error)
    offering.refuses("Grants.approve", provider, GRANT, TERMS, FAR, QUOTA, error=error)
    offering.send("Catalogue.update", provider, DATASET, METADATA, 4, OPEN)
    offering.send("Grants.approve", provider, GRANT, TERMS, FAR, QUOTA)


def test_what_is_withdrawn_can_be_neither_asked_for_nor_approved_but_denied(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "requested", provider, requester)
    offering.send("Catalogue.withdraw", provider, DATASET)
    error = ("DatasetNotOffered", DATASET)
    offering.refuses("Grants.request", requester, OTHER_GRANT, DATASET, REQUEST, error=error)
    offering.refuses("Grants.approve", provider, GRANT, TERMS, FAR, QUOTA, error=error)
    offering.accepts("Grants.deny", provider, GRANT, REASON, events=[("GrantDenied", GRANT, REASON)])


def test_a_withdrawal_leaves_running_grants_to_be_reported_and_revoked(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "approved", provider, requester)
    offering.send("Catalogue.withdraw", provider, DATASET)
    assert offering.view("Grants.grantOf", GRANT)[4] == APPROVED
    offering.send("Grants.advance", provider, GRANT, 1, RECEIPT)
    offering.send("Grants.revoke", provider, GRANT, REASON)
    assert offering.view("Grants.grantOf", GRANT)[4] == REVOKED


def test_an_expiry_that_does_not_lie_ahead_is_refused_to_the_second(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "requested", provider, requester)
    now = offering.now() + DAY
    for expiry in (now, now - 1, 0):
        offering.next_block_at(now)
        invalid = ("TermsInvalid", expiry, QUOTA)
        offering.refuses("Grants.approve", provider, GRANT, TERMS, expiry, QUOTA, error=invalid)
        now += DAY
    offering.next_block_at(now)
    offering.send("Grants.approve", provider, GRANT, TERMS, now + 1, QUOTA)
    assert offering.now() == now
    assert offering.view("Grants.grantOf", GRANT)[5] == now + 1


def test_a_quota_is_at_least_one_order(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    offering.refuses("Grants.approve", provider, GRANT, TERMS, FAR, 0, error=("TermsInvalid", FAR, 0))
    assert offering.view("Grants.grantOf", GRANT)[3:] == (NOTHING, REQUESTED, 0, 0, 0)
    offering.send("Grants.approve", provider, GRANT, TERMS, FAR, 1)
    assert offering.view("Grants.grantOf", GRANT)[6] == 1


def test_the_largest_terms_are_kept_whole(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    offering.send("Grants.approve", provider, GRANT, b"\xff" * 32, LARGEST_EXPIRY, LARGEST_QUOTA)
    offering.send("Grants.advance", provider, GRANT, LARGEST_SEQUENCE, RECEIPT)
    assert offering.view("Grants.grantOf", GRANT)[3:] == (
        *(b"\xff" * 32, APPROVED),
        *(LARGEST_EXPIRY, LARGEST_QUOTA, LARGEST_SEQUENCE),
    )


def test_expiry_is_a_matter_of_time_and_ends_no_state(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "requested", provider, requester)
    expiry = offering.now() + DAY
    offering.send("Grants.approve", provider, GRANT, TERMS, expiry, QUOTA)
    offering.next_block_at(expiry + DAY)
    offering.send("Grants.advance", provider, GRANT, 1, RECEIPT)
    assert offering.now() > expiry
    assert offering.view("Grants.grantOf", GRANT)[3:] == (TERMS, APPROVED, expiry, QUOTA, 1)
    offering.send("Grants.revoke", provider, GRANT, REASON)
    assert offering.view("Grants.grantOf", GRANT)[4] == REVOKED


def test_reported_sequence_numbers_only_grow_and_may_leap(offering: World, provider: Member, requester: Member) -> None:
    bring(offering, "approved", provider, requester)
    offering.refuses("Grants.advance", provider, GRANT, 0, RECEIPT, error=("SequenceDoesNotGrow", GRANT, 0, 0))
    for sequence in (1, 2, 9):
        offering.accepts(
            "Grants.advance", provider, GRANT, sequence, RECEIPT, events=[("GrantAdvanced", GRANT, sequence, RECEIPT)]
        )
        assert offering.view("Grants.grantOf", GRANT)[7] == sequence
    for sequence in (9, 8, 0):
        error = ("SequenceDoesNotGrow", GRANT, 9, sequence)
        offering.refuses("Grants.advance", provider, GRANT, sequence, RECEIPT, error=error)
    assert offering.view("Grants.grantOf", GRANT) == (
        *(DATASET, requester.id, REQUEST, TERMS),
        *(APPROVED, FAR, QUOTA, 9),
    )


def test_several_grants_are_advanced_in_their_order_or_none_is(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "approved", provider, requester)
    offering.send("Grants.request", requester, OTHER_GRANT, DATASET, REQUEST)
    offering.send("Grants.approve", provider, OTHER_GRANT, TERMS, FAR, QUOTA)
    advances = [(GRANT, 2, RECEIPT), (OTHER_GRANT, 5, REASON), (GRANT, 3, REASON)]
    offering.accepts(
        "Grants.advanceMany", provider, advances, events=[("GrantAdvanced", *advance) for advance in advances]
    )
    for bad, error in (
        ((GRANT, 3, RECEIPT), ("SequenceDoesNotGrow", GRANT, 3, 3)),
        ((b"\x77" * 32, 1, RECEIPT), ("GrantUnknown", b"\x77" * 32)),
    ):
        for place in (0, 1):
            some = [(OTHER_GRANT, 6, RECEIPT)]
            offering.refuses("Grants.advanceMany", provider, [*some[:place], bad, *some[place:]], error=error)
    offering.refuses("Grants.advanceMany", provider, [], error=("NothingToAdvance",))
    assert [offering.view("Grants.grantOf", grant)[7] for grant in (GRANT, OTHER_GRANT)] == [3, 5]


@pytest.mark.parametrize("situation", ["revoked", "grant given back"])
def test_receipts_after_the_end_are_still_reported_and_still_grow(
    offering: World, provider: Member, requester: Member, situation: str
) -> None:
    bring(offering, "approved", provider, requester)
    offering.send("Grants.advance", provider, GRANT, 3, RECEIPT)
    take(offering, SITUATIONS[situation][0][-1], provider, requester)
    offering.refuses("Grants.advance", provider, GRANT, 3, RECEIPT, error=("SequenceDoesNotGrow", GRANT, 3, 3))
    offering.accepts("Grants.advance", provider, GRANT, 4, RECEIPT, events=[("GrantAdvanced", GRANT, 4, RECEIPT)])
    assert offering.view("Grants.grantOf", GRANT)[4] == SITUATIONS[situation][1]


@pytest.mark.parametrize("situation", ["requested", "approved"])
def test_nobody_but_the_provider_decides_not_even_one_of_another_dataset(
    offering: World, provider: Member, requester: Member, second: Member, auditor: Member, situation: str
) -> None:
    bring(offering, situation, provider, requester)
    offering.send("Catalogue.register", second, OTHER_DATASET, METADATA, 2, CONDITIONAL)
    before = offering.view("Grants.grantOf", GRANT)
    for other in (requester, second, auditor):
        for step in ("approve", "deny", "revoke", "advance"):
            error = ("NotTheProvider", GRANT, other.id)
            offering.refuses(f"Grants.{step}", other, GRANT, *STEPS[step], error=error)
    assert offering.view("Grants.grantOf", GRANT) == before


@pytest.mark.parametrize("situation", ["requested", "approved"])
def test_nobody_but_the_requester_closes_not_even_the_provider(
    offering: World, provider: Member, requester: Member, second: Member, auditor: Member, situation: str
) -> None:
    bring(offering, situation, provider, requester)
    for other in (provider, second, auditor):
        offering.refuses("Grants.close", other, GRANT, error=("NotTheRequester", GRANT, other.id))
    assert offering.view("Grants.grantOf", GRANT)[4] == SITUATIONS[situation][1]


def test_a_suspended_requester_cannot_close_and_its_grant_can_be_revoked(
    offering: World, provider: Member, requester: Member, second: Member
) -> None:
    bring(offering, "approved", provider, requester)
    offering.resolve("Members.proposeStatus", (provider, second), requester.id, SUSPENDED)
    offering.refuses("Grants.close", requester, GRANT, error=not_a_member(requester))
    offering.send("Grants.revoke", provider, GRANT, REASON)
    assert offering.view("Grants.grantOf", GRANT)[4] == REVOKED


@pytest.mark.parametrize("status", [SUSPENDED, REMOVED])
def test_what_a_member_asked_for_that_is_not_active_any_more_is_not_approved(
    offering: World, provider: Member, requester: Member, second: Member, status: int
) -> None:
    bring(offering, "requested", provider, requester)
    before = offering.view("Grants.grantOf", GRANT)
    offering.resolve("Members.proposeStatus", (provider, second), requester.id, status)
    error = ("RequesterNotActive", GRANT, requester.id)
    offering.refuses("Grants.approve", provider, GRANT, TERMS, FAR, QUOTA, error=error)
    assert offering.view("Grants.grantOf", GRANT) == before
    offering.send("Grants.deny", provider, GRANT, REASON)


def test_a_reinstated_members_request_is_approved(
    offering: World, provider: Member, requester: Member, second: Member
) -> None:
    bring(offering, "requested", provider, requester)
    for status in (SUSPENDED, ACTIVE):
        offering.resolve("Members.proposeStatus", (provider, second), requester.id, status)
    take(offering, "approve", provider, requester)
    assert offering.view("Grants.grantOf", GRANT)[4] == APPROVED


def test_a_grant_survives_the_rotation_of_both_sides_accounts(
    offering: World, provider: Member, requester: Member
) -> None:
    bring(offering, "requested", provider, requester)
    new_provider, new_requester = provider.with_account(), requester.with_account()
    offering.send("Members.rotateKeys", provider, new_provider.keys, 1)
    offering.send("Members.rotateKeys", requester, new_requester.keys, 1)
    offering.refuses("Grants.approve", provider, GRANT, TERMS, FAR, QUOTA, error=not_a_member(provider))
    offering.refuses("Grants.close", requester, GRANT, error=not_a_member(requester))
    offering.send("Grants.approve", new_provider, GRANT, TERMS, FAR, QUOTA)
    offering.send("Grants.close", new_requester, GRANT)
    assert offering.view("Grants.grantOf", GRANT)[4] == CLOSED
