"""A member's keys and whether it may act."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from crypto.sm2 import SM2PrivateKey
from node.model.chain import KeyEpoch, KeyKind, Member, MemberStatus, Role
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


def test_a_key_is_compromised_wherever_it_stands_once_any_epoch_of_it_is_declared() -> None:
    one, other = epoch(1), epoch(2)
    kept = replace(one, epoch=3, account="0x2")
    member = Member(member_id(1), "name", Role.DEPARTMENT, MemberStatus.ACTIVE, (one, other, kept))
    for kind in (KeyKind.SIGNING, KeyKind.ENCRYPTION):
        assert member.epochs_of_key(kind, 1) == member.epochs_of_key(kind, 3) == (one, kept)
        assert member.epochs_of_key(kind, 2) == (other,)
    assert member.epochs_of_key(KeyKind.ACCOUNT, 1) == (one, other)
    assert member.epochs_of_key(KeyKind.ACCOUNT, 3) == (kept,)
    assert member.epochs_of_key(KeyKind.CERTIFICATE, 2) == (one, other, kept)
    assert member.epochs_of_key(KeyKind.SIGNING, 4) == ()
    assert {member.compromised_since(kind, number) for kind in KeyKind for number in (1, 2, 3, 4)} == {None}
    hurt = replace(
        member,
        epochs=(
            replace(one, compromised_since=9),
            replace(other, account_compromised_since=5),
            replace(kept, compromised_since=7),
        ),
    )
    found = {(kind.name, number): hurt.compromised_since(kind, number) for kind in KeyKind for number in (1, 2, 3)}
    assert {where: since for where, since in found.items() if since is not None} == {
        ("SIGNING", 1): 7,
        ("SIGNING", 3): 7,
        ("ACCOUNT", 1): 5,
        ("ACCOUNT", 2): 5,
    }


@pytest.mark.parametrize("kind", KeyKind)
def test_each_kind_of_key_has_its_own_declaration(kind: KeyKind) -> None:
    fields = ("compromised_since", *(f"{other.name.lower()}_compromised_since" for other in list(KeyKind)[1:]))
    declared = replace(epoch(1), **{fields[kind - 1]: 7})  # type: ignore[arg-type]  # a field, by name
    assert {other for other in KeyKind if declared.declared(other) == 7} == {kind}


def test_statuses_and_roles_have_the_numbers_of_the_contract() -> None:
    assert {status.name: int(status) for status in MemberStatus} == {
        "NONE": 0,
        "ACTIVE": 1,
        "SUSPENDED": 2,
        "REMOVED": 3,
    }
    assert {kind.name: int(kind) for kind in KeyKind} == {"SIGNING": 1, "ENCRYPTION": 2, "ACCOUNT": 3, "CERTIFICATE": 4}
    assert {role.name: int(role) for role in Role} == {"DEPARTMENT": 1, "AUTHORITY": 2, "AUDITOR": 4}
