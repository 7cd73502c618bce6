"""A member's keys and whether it may act."""

from __future__ import annotations

import os

import pytest

from crypto.sm2 import SM2PrivateKey
from node.model.chain import KeyEpoch, Member, MemberStatus, Role
from tests.support.statements import member_id


def epoch(number: int) -> KeyEpoch:
    key = SM2PrivateKey.generate(os.urandom).public_key
    return KeyEpoch(number, key, key, "0x", b"certificate", "host:1", number, number)


def test_the_keys_in_force_are_those_of_the_newest_epoch() -> None:
    epochs = (epoch(1), epoch(2), epoch(5))
    member = Member(member_id(1), "name", Role.DEPARTMENT, MemberStatus.ACTIVE, epochs)
    assert member.keys is epochs[2]


@pytest.mark.parametrize("status", MemberStatus)
def test_only_an_active_member_may_act(status: MemberStatus) -> None:
    member = Member(member_id(1), "name", Role.DEPARTMENT, status, (epoch(1),))
    assert member.is_active == (status.name == "ACTIVE")


def test_statuses_and_roles_have_the_numbers_of_the_contract() -> None:
    assert {status.name: int(status) for status in MemberStatus} == {
        "NONE": 0,
        "ACTIVE": 1,
        "SUSPENDED": 2,
        "REMOVED": 3,
    }
    assert {role.name: int(role) for role in Role} == {"DEPARTMENT": 1, "AUTHORITY": 2, "AUDITOR": 4}
