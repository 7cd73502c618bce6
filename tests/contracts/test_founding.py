"""The founding of a consortium: who stands when Members has been created, and which foundings are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import Web3

from tests.contracts.world import ACTIVE, AUTHORITY, DEPARTMENT, Member, Said, Words, World, member

Founding = tuple[list[Words], int, Said]


@pytest.fixture
def bare(web3: Web3, gas: dict[str, list[int]], provoked: set[tuple[str, str]]) -> World:
    """A chain without contracts."""
    return World(web3, gas, provoked)


def test_founders_stand_in_their_order_before_the_threshold_is_set(bare: World, founders: list[Member]) -> None:
    events: list[Said] = []
    for founder in founders:
        events.append(("MemberAdmitted", founder.id, founder.name, founder.roles))
        events.append(("KeysSet", founder.id, 1, founder.keys))
    events.append(("ThresholdChanged", 2))
    admissions = [founder.admission for founder in founders]
    bare.accepts("Members.constructor", founders[0], admissions, 2, events=events)
    for founder in founders:
        assert bare.view("Members.memberOf", founder.account.address) == founder.id
        assert bare.view("Members.statusOf", founder.id) == ACTIVE
        assert bare.view("Members.rolesOf", founder.id) == founder.roles
        assert bare.view("Members.epochOf", founder.id) == 1
        digest = keccak(encode(["(bytes,bytes,address,bytes,string)"], [founder.keys]))
        assert bare.view("Members.keyDigestOf", founder.id, 1) == digest
    assert bare.view("Members.threshold") == 2
    assert bare.view("Members.authorities") == 2


def test_who_creates_the_contract_gets_no_standing_by_it(bare: World, founders: list[Member], outsider: Member) -> None:
    bare.send("Members.constructor", outsider, [founder.admission for founder in founders], 1)
    bare.refuses("Members.proposeThreshold", outsider, 2, error=("NotAMember", outsider.account.address.lower()))


def without_authorities() -> Founding:
    return [member(3, DEPARTMENT).admission], 1, ("ThresholdInvalid", 1, 0)


def without_founders() -> Founding:
    return [], 1, ("ThresholdInvalid", 1, 0)


def with_a_threshold_of_none() -> Founding:
    return [member(1, AUTHORITY).admission], 0, ("ThresholdInvalid", 0, 1)


def with_a_threshold_beyond_the_authorities() -> Founding:
    return [member(1, AUTHORITY).admission, member(3, DEPARTMENT).admission], 2, ("ThresholdInvalid", 2, 1)


def with_a_member_twice() -> Founding:
    founder = member(1, AUTHORITY)
    return [founder.admission, founder.with_account().admission], 1, ("MemberInvalid", founder.id)


def with_an_account_twice() -> Founding:
    founder, other = member(1, AUTHORITY), member(2, AUTHORITY)
    shared = replace(other, account=founder.account)
    return [founder.admission, shared.admission], 1, ("AccountTaken", founder.address)


def with_a_malformed_id() -> Founding:
    founder = replace(member(1, AUTHORITY), id=bytes(32))
    return [founder.admission], 1, ("MemberInvalid", bytes(32))


def with_unknown_roles() -> Founding:
    return [member(1, 8).admission], 1, ("RolesInvalid", 8)


def with_keys_that_are_none() -> Founding:
    return [replace(member(1, AUTHORITY), endpoint="").admission], 1, ("KeysInvalid",)


FOUNDINGS: Mapping[str, Callable[[], Founding]] = {
    case.__name__.replace("_", " "): case
    for case in (
        without_authorities,
        without_founders,
        with_a_threshold_of_none,
        with_a_threshold_beyond_the_authorities,
        with_a_member_twice,
        with_an_account_twice,
        with_a_malformed_id,
        with_unknown_roles,
        with_keys_that_are_none,
    )
}


@pytest.mark.parametrize("case", FOUNDINGS)
def test_a_founding_is_refused(bare: World, outsider: Member, case: str) -> None:
    admissions, threshold, error = FOUNDINGS[case]()
    bare.refuses("Members.constructor", outsider, admissions, threshold, error=error)
    assert bare.contracts == {}
