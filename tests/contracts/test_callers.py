"""Who may write: every function of the four contracts that changes something, from callers of every standing.

The callers of an estate: an authority and department that provides datasets, keeps a log, asked for one grant and gave
others. Each call of `writes` is one that it may make; the same calls are refused to whoever has lost its standing, and to
a hostile member those of `attacks`, which mean the owner's things. A function that is in neither list fails both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.contracts.keys import with_field
from tests.contracts.world import (
    ABIS,
    ACTIVE,
    CONDITIONAL,
    DEPARTMENT,
    REMOVED,
    SUSPENDED,
    Member,
    Said,
    World,
    dataset_id,
    member,
    not_a_member,
)

LOG, OTHER_LOG = b"\1" * 32, b"\2" * 32
DATASET, FRESH_DATASET, THEIRS = dataset_id(2, 1), dataset_id(2, 2), dataset_id(3, 1)  # of `second`, and of `third`
ASKED, WANTED, UNWANTED, RUNNING, FRESH_GRANT = (bytes([number]) * 32 for number in range(5, 10))
DIGEST = b"\x0a" * 32
ACCOUNT_KEY = 3
FAR = 2**63  # an expiry that no test reaches, Unix seconds
Write = tuple[str, tuple[object, ...]]


@pytest.fixture(scope="module")
def founders(first: Member, second: Member, further: Member, third: Member, auditor: Member) -> list[Member]:
    """Three authorities, a department and an auditor."""
    return [first, second, further, third, auditor]


@pytest.fixture
def owner(second: Member) -> Member:
    """Whose estate it is."""
    return second


@pytest.fixture
def estate(world: World, owner: Member, third: Member) -> World:
    """A world in which there is something to every call that needs something."""
    world.send("Anchors.anchor", owner, LOG, 5, DIGEST, DIGEST)
    world.send("Catalogue.register", owner, DATASET, DIGEST, 2, CONDITIONAL)
    world.send("Catalogue.register", third, THEIRS, DIGEST, 2, CONDITIONAL)
    world.send("Grants.request", owner, ASKED, THEIRS, DIGEST)
    for grant in (WANTED, UNWANTED, RUNNING):
        world.send("Grants.request", third, grant, DATASET, DIGEST)
    world.send("Grants.approve", owner, RUNNING, DIGEST, FAR, 1)
    return world


def writes(owner: Member, third: Member, proposal: int) -> list[Write]:
    """Every call that changes something, in an order in which the owner may make them all."""
    return [
        ("Anchors.anchor", (LOG, 6, DIGEST, DIGEST)),
        ("Anchors.anchorMany", ([(LOG, 7, DIGEST, DIGEST), (OTHER_LOG, 1, DIGEST, DIGEST)],)),
        ("Grants.request", (FRESH_GRANT, THEIRS, DIGEST)),
        ("Grants.approve", (WANTED, DIGEST, FAR, 1)),
        ("Grants.deny", (UNWANTED, DIGEST)),
        ("Grants.advance", (RUNNING, 1, DIGEST)),
        ("Grants.advanceMany", ([(RUNNING, 2, DIGEST)],)),
        ("Grants.revoke", (RUNNING, DIGEST)),
        ("Grants.close", (ASKED,)),
        ("Catalogue.register", (FRESH_DATASET, DIGEST, 1, CONDITIONAL)),
        ("Catalogue.update", (DATASET, DIGEST, 3, CONDITIONAL)),
        ("Catalogue.setHead", (DATASET, 1, DIGEST, DIGEST)),
        ("Catalogue.withdraw", (DATASET,)),
        ("Members.approve", (proposal,)),
        ("Members.proposeAdmission", (member(7).admission,)),
        ("Members.proposeStatus", (third.id, SUSPENDED)),
        ("Members.proposeRoles", (third.id, DEPARTMENT)),
        ("Members.proposeThreshold", (3,)),
        ("Members.proposeRecovery", (third.id, third.with_account().keys)),
        ("Members.declareCompromise", (1, 1, 1)),
        ("Members.declareCompromises", ([1], 2, 1)),
        ("Members.rotateKeys", (owner.with_account().keys, 1)),
    ]


def never(world: World, owner: Member, others: list[Member]) -> Member:
    return member(8)


def suspended(world: World, owner: Member, others: list[Member]) -> Member:
    world.resolve("Members.proposeStatus", others, owner.id, SUSPENDED)
    return owner


def removed(world: World, owner: Member, others: list[Member]) -> Member:
    world.resolve("Members.proposeStatus", others, owner.id, REMOVED)
    return owner


def superseded(world: World, owner: Member, others: list[Member]) -> Member:
    world.send("Members.rotateKeys", owner, owner.with_account().keys, 1)
    return owner


def superseded_and_back(world: World, owner: Member, others: list[Member]) -> Member:
    world.send("Members.rotateKeys", owner, owner.with_account().keys, 1)
    for status in (SUSPENDED, ACTIVE):
        world.resolve("Members.proposeStatus", others, owner.id, status)
    return owner


def compromised(world: World, owner: Member, others: list[Member]) -> Member:
    world.send("Members.declareCompromise", owner, 1, ACCOUNT_KEY, 1)
    return owner


def compromised_earlier(world: World, owner: Member, others: list[Member]) -> Member:
    world.send("Members.rotateKeys", owner, with_field(owner.keys, "endpoint", "elsewhere.example:7000"), 1)
    world.send("Members.declareCompromise", owner, 1, ACCOUNT_KEY, 1)
    return owner


LOSSES: Mapping[str, Callable[[World, Member, list[Member]], Member]] = {
    "was never admitted": never,
    "is suspended": suspended,
    "is removed": removed,
    "uses an account that it has replaced": superseded,
    "uses a replaced account after a reinstatement": superseded_and_back,
    "uses an account that it declared compromised": compromised,
    "uses an account declared compromised of an epoch before": compromised_earlier,
}


def changing() -> set[str]:
    """Every function of the contracts that changes something."""
    return {
        f"{name}.{entry['name']}"
        for name, entries in ABIS.items()
        for entry in entries
        if entry["type"] == "function" and entry["stateMutability"] != "view"
    }


def test_the_calls_below_are_all_that_change_something(owner: Member, third: Member) -> None:
    calls = [call for call, _ in writes(owner, third, 1)]
    assert len(calls) == len(set(calls))
    assert set(calls) == changing()


def test_nothing_takes_money(owner: Member) -> None:
    found = {entry["stateMutability"] for entries in ABIS.values() for entry in entries if "stateMutability" in entry}
    assert found == {"nonpayable", "view"}


def test_the_owner_may_make_every_call(estate: World, owner: Member, first: Member, third: Member) -> None:
    proposal = estate.resolve("Members.proposeStatus", [first], third.id, SUSPENDED)
    for call, arguments in writes(owner, third, proposal):
        assert estate.send(call, owner, *arguments), call


@pytest.mark.parametrize("loss", LOSSES)
def test_no_call_is_accepted_from_whoever(
    estate: World, owner: Member, first: Member, further: Member, third: Member, loss: str
) -> None:
    proposal = estate.resolve("Members.proposeStatus", [first], third.id, SUSPENDED)
    caller = LOSSES[loss](estate, owner, [first, further])
    for call, arguments in writes(owner, third, proposal):
        estate.refuses(call, caller, *arguments, error=not_a_member(caller))


def test_a_contract_that_the_owner_calls_does_not_act_for_it(
    estate: World, owner: Member, first: Member, third: Member
) -> None:
    """A member that is lured into calling a stranger's contract has done nothing by it."""
    proposal = estate.resolve("Members.proposeStatus", [first], third.id, SUSPENDED)
    relay = estate.place_relay(third)
    for call, arguments in writes(owner, third, proposal):
        estate.refuses(call, owner, *arguments, error=("NotAMember", relay.lower()), relay=relay)


def test_a_contract_acts_for_the_member_whose_account_it_is(estate: World, owner: Member, third: Member) -> None:
    relay = estate.place_relay(third)
    estate.send("Members.rotateKeys", owner, with_field(owner.keys, "account", relay), 1)
    call, arguments = writes(owner, third, 1)[0]
    assert estate.send(call, third, *arguments, relay=relay) == [("Anchored", LOG, owner.id, *arguments[1:])]


def test_a_reinstated_owner_may_make_every_call_again(
    estate: World, owner: Member, first: Member, further: Member, third: Member
) -> None:
    proposal = estate.resolve("Members.proposeStatus", [first], third.id, SUSPENDED)
    for status in (SUSPENDED, ACTIVE):
        estate.resolve("Members.proposeStatus", (first, further), owner.id, status)
    for call, arguments in writes(owner, third, proposal):
        assert estate.send(call, owner, *arguments), call


def attacks(owner: Member, caller: Member, proposal: int) -> Mapping[str, tuple[tuple[object, ...], Said | None]]:
    """By function: what a member without the authority's role may try against the owner, and the error that it meets.

    None: it is accepted, and makes something of the caller's own beside the owner's.
    """
    ours, nothing = owner.keys, ("NotAnAuthority", caller.address)
    return {
        "Anchors.anchor": ((LOG, 2**64 - 1, DIGEST, DIGEST), None),
        "Anchors.anchorMany": (([(OTHER_LOG, 9, DIGEST, DIGEST)],), None),
        "Catalogue.register": ((FRESH_DATASET, DIGEST, 1, CONDITIONAL), ("NotTheProvider", FRESH_DATASET, caller.id)),
        "Catalogue.update": ((DATASET, DIGEST, 4, CONDITIONAL), ("NotTheProvider", DATASET, caller.id)),
        "Catalogue.setHead": ((DATASET, 9, DIGEST, DIGEST), ("NotTheProvider", DATASET, caller.id)),
        "Catalogue.withdraw": ((DATASET,), ("NotTheProvider", DATASET, caller.id)),
        "Grants.request": ((ASKED, THEIRS, DIGEST), ("GrantInvalid", ASKED)),
        "Grants.approve": ((WANTED, DIGEST, FAR, 1), ("NotTheProvider", WANTED, caller.id)),
        "Grants.deny": ((UNWANTED, DIGEST), ("NotTheProvider", UNWANTED, caller.id)),
        "Grants.revoke": ((RUNNING, DIGEST), ("NotTheProvider", RUNNING, caller.id)),
        "Grants.advance": ((RUNNING, 1, DIGEST), ("NotTheProvider", RUNNING, caller.id)),
        "Grants.advanceMany": (([(RUNNING, 1, DIGEST)],), ("NotTheProvider", RUNNING, caller.id)),
        "Grants.close": ((ASKED,), ("NotTheRequester", ASKED, caller.id)),
        "Members.proposeAdmission": ((member(7).admission,), nothing),
        "Members.proposeStatus": ((owner.id, SUSPENDED), nothing),
        "Members.proposeRoles": ((owner.id, DEPARTMENT), nothing),
        "Members.proposeThreshold": ((1,), nothing),
        "Members.proposeRecovery": ((owner.id, caller.with_account().keys), nothing),
        "Members.approve": ((proposal,), nothing),
        # These are about the caller's own keys; the owner's account is taken, and the owner alone has a second epoch.
        "Members.rotateKeys": ((ours, 1), ("AccountTaken", owner.address)),
        "Members.declareCompromise": ((2, 1, 1), ("CompromiseInvalid", 2, 1, 1)),
        "Members.declareCompromises": (([2], 1, 1), ("CompromiseInvalid", 2, 1, 1)),
    }


def of_the_owner(world: World, owner: Member) -> list[object]:
    """All that the contracts say of the owner and its estate, and of the council."""
    return [
        *(world.view("Anchors.headOf", owner.id, log) for log in (LOG, OTHER_LOG)),
        world.view("Catalogue.datasetOf", DATASET),
        *(world.view("Grants.grantOf", grant) for grant in (ASKED, WANTED, UNWANTED, RUNNING)),
        *(world.view(f"Members.{what}", owner.id) for what in ("statusOf", "rolesOf", "epochOf")),
        *(world.view("Members.keyDigestOf", owner.id, epoch) for epoch in (1, 2, 3)),
        world.view("Members.memberOf", owner.account.address),
        world.view("Members.threshold"),
        world.view("Members.authorities"),
    ]


HOSTILE = ("an outsider", "a department", "the side of its grants", "an auditor", "a suspended member")


@pytest.mark.parametrize("who", HOSTILE)
def test_a_hostile_account_does_nothing_in_the_name_of_another(
    estate: World, owner: Member, first: Member, further: Member, third: Member, auditor: Member, who: str
) -> None:
    estate.send("Members.rotateKeys", owner, with_field(owner.keys, "endpoint", "elsewhere.example:7000"), 1)
    department = member(6)
    estate.resolve("Members.proposeAdmission", (first, further), department.admission)
    proposal = estate.resolve("Members.proposeStatus", [first], owner.id, SUSPENDED)
    callers = dict(zip(HOSTILE, (member(8), department, third, auditor, department), strict=True))
    caller = callers[who]
    if who == "a suspended member":
        estate.resolve("Members.proposeStatus", (first, further), caller.id, SUSPENDED)
    tried = attacks(owner, caller, proposal)
    assert set(tried) == changing(), "a function that nobody has tried to misuse"
    before = of_the_owner(estate, owner)
    for call, (arguments, error) in tried.items():
        expected = not_a_member(caller) if who in {"an outsider", "a suspended member"} else error
        if expected is not None:
            estate.refuses(call, caller, *arguments, error=expected)
        else:
            assert {event[2] for event in estate.send(call, caller, *arguments)} == {caller.id}
        assert of_the_owner(estate, owner) == before, call
    estate.send("Anchors.anchor", owner, LOG, 6, DIGEST, DIGEST)
    estate.send("Catalogue.register", owner, FRESH_DATASET, DIGEST, 1, CONDITIONAL)
