"""Membership by proposal and keys by epoch, as the index then tells them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.sm2 import SM2PrivateKey
from node.chain.account import new_account
from node.chain.proposals import ProposalKind
from node.errors import TransactionRefused
from node.model.chain import MemberStatus, Role
from tests.support.anvil import Anvil
from tests.support.consortium import found, make_member

DIGEST = b"\7" * 32


def test_a_member_is_admitted_by_as_many_authorities_as_the_threshold_says(anvil: Anvil, tmp_path: Path) -> None:
    kits = [make_member(1, Role.AUTHORITY), make_member(2, Role.AUTHORITY)]
    consortium = found(anvil, tmp_path / "deployment", kits, threshold=2)
    first = consortium.open(kits[0], tmp_path / "first")
    second = consortium.open(kits[1], tmp_path / "second")
    newcomer = make_member(3, Role.DEPARTMENT | Role.AUDITOR)
    number, mined = first.governance.propose_admission(newcomer.admission)
    assert first.governance.propose_admission(newcomer.admission) == (number, mined)  # the same call, the same proposal
    assert first.view.member(newcomer.member_id) is None
    (waiting,) = second.governance.proposals()
    assert (waiting.number, waiting.kind, waiting.approvals, waiting.executed) == (
        number,
        ProposalKind.ADMISSION,
        (kits[0].member_id,),
        False,
    )
    with pytest.raises(TransactionRefused, match="AlreadyApproved"):
        first.governance.approve(number)
    second.governance.approve(number)
    first.view.refresh()
    member = first.view.member(newcomer.member_id)
    assert member is not None
    assert (member.name, member.roles, member.status) == (newcomer.name, newcomer.roles, MemberStatus.ACTIVE)
    (done,) = first.governance.proposals()
    assert done.executed
    assert done.approvals == (kits[0].member_id, kits[1].member_id)
    first.close()
    second.close()


def test_a_suspended_member_is_refused_and_reinstated(anvil: Anvil, tmp_path: Path) -> None:
    consortium = found(anvil, tmp_path / "deployment")
    first = consortium.open(consortium.members[0], tmp_path / "first")
    second = consortium.open(consortium.members[1], tmp_path / "second")
    other = consortium.members[1].member_id
    for _ in range(2):  # the same change can be made again after it was undone
        first.governance.propose_status(other, MemberStatus.SUSPENDED)
        member = first.view.member(other)
        assert member is not None
        assert not member.is_active
        with pytest.raises(TransactionRefused, match="NotAMember"):
            second.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
        first.governance.propose_status(other, MemberStatus.ACTIVE)
    second.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
    first.governance.propose_roles(other, Role.AUDITOR)
    member = first.view.member(other)
    assert member is not None
    assert (member.is_active, member.roles) == (True, Role.AUDITOR)
    with pytest.raises(TransactionRefused, match="ThresholdInvalid"):
        first.governance.propose_threshold(2)
    with pytest.raises(TransactionRefused, match="NotAnAuthority"):
        second.governance.propose_threshold(1)
    first.close()
    second.close()


def test_rotated_keys_begin_an_epoch_and_the_old_account_is_refused(anvil: Anvil, tmp_path: Path) -> None:
    consortium = found(anvil, tmp_path / "deployment")
    kit = consortium.members[1]
    old = consortium.open(kit, tmp_path / "old")
    rotated = replace(
        kit, signing_key=SM2PrivateKey.generate(os.urandom), account=new_account(os.urandom), certificate=b"renewed"
    )
    mined = old.governance.rotate_keys(rotated.keys)
    member = old.view.member_by_certificate(b"renewed")
    assert member is not None
    assert [epoch.epoch for epoch in member.epochs] == [1, 2]
    assert member.keys.signing_key == rotated.signing_key.public_key
    assert (member.keys.since_block, member.keys.since_time) == (mined.block.number, mined.block.time)
    assert old.view.member_by_certificate(kit.certificate) is None
    with pytest.raises(TransactionRefused, match="NotAMember"):
        old.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
    old.close()
    new = consortium.open(rotated, tmp_path / "old")
    new.governance.declare_compromise(1, mined.block.time - 100)
    member = new.view.member(kit.member_id)
    assert member is not None
    assert [epoch.compromised_since for epoch in member.epochs] == [mined.block.time - 100, None]
    new.close()


def test_an_interrupted_deployment_goes_on(anvil: Anvil, tmp_path: Path) -> None:
    kit = make_member(1)
    first = found(anvil, tmp_path / "deployment", [kit])
    height = anvil.height()
    again = found(anvil, tmp_path / "deployment", [kit])  # every creation is journaled, so nothing is created twice
    assert again.deployment == first.deployment
    assert anvil.height() == height


def test_a_deployment_that_no_contract_accepts_is_refused(anvil: Anvil, tmp_path: Path) -> None:
    with pytest.raises(TransactionRefused, match="ThresholdInvalid"):
        found(anvil, tmp_path / "deployment", [make_member(1)], threshold=2)
