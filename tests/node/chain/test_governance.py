"""Membership by proposal and keys by epoch, as the index then tells them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.sm2 import SM2PrivateKey
from node.chain.account import new_account
from node.chain.adapter import Chain
from node.chain.proposals import ProposalKind
from node.errors import TransactionRefused
from node.model.chain import KeyKind, Member, MemberStatus, Role
from tests.support.anvil import Anvil
from tests.support.consortium import MemberKit, found, in_force_with, make_member

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
    mined = old.governance.rotate_keys(rotated.keys, 1)
    assert old.governance.rotate_keys(rotated.keys, 1) == mined  # the same call, the same transaction
    member = in_force_with(old.view, b"renewed")
    assert member is not None
    assert [epoch.epoch for epoch in member.epochs] == [1, 2]
    assert member.keys.signing_key == rotated.signing_key.public_key
    assert (member.keys.since_block, member.keys.since_time) == (mined.block.number, mined.block.time)
    assert in_force_with(old.view, kit.certificate) is None
    with pytest.raises(TransactionRefused, match="NotAMember"):
        old.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
    old.close()
    new = consortium.open(rotated, tmp_path / "old")
    new.governance.declare_compromise(KeyKind.SIGNING, [1], mined.block.time - 100)
    member = new.view.member(kit.member_id)
    assert member is not None
    assert [epoch.compromised_since for epoch in member.epochs] == [mined.block.time - 100, None]
    new.close()


def test_of_two_rotations_that_were_begun_at_once_one_is_told_that_it_is_late(anvil: Anvil, tmp_path: Path) -> None:
    """Two machines with one account, each with a journal of its own."""
    consortium = found(anvil, tmp_path / "deployment")
    kit = consortium.members[1]
    here, there = (consortium.open(kit, tmp_path / name) for name in ("here", "there"))
    one, other = (replace(kit, certificate=name) for name in (b"one", b"other"))
    assert there.governance.rehearse_rotation(other.keys, 1) > 0
    here.governance.rotate_keys(one.keys, 1)
    for late in (there.governance.rehearse_rotation, there.governance.rotate_keys):
        with pytest.raises(TransactionRefused, match=rf"EpochPassed\(member={kit.member_id}, given=1, current=2\)"):
            late(other.keys, 1)
    assert there.journal.pending() == 0
    there.view.refresh()
    member = there.view.member(kit.member_id)
    assert member is not None
    assert (member.keys.epoch, member.keys.certificate) == (2, b"one")
    there.governance.rotate_keys(other.keys, 2)
    here.governance.rotate_keys(
        one.keys, 3
    )  # the keys before last once more: another rotation, not the first one again
    member = here.view.member(kit.member_id)
    assert member is not None
    assert [epoch.certificate for epoch in member.epochs] == [kit.certificate, b"one", b"other", b"one"]
    here.close()
    there.close()


def test_a_rehearsal_finds_what_the_transaction_would_and_leaves_nothing(anvil: Anvil, tmp_path: Path) -> None:
    consortium = found(anvil, tmp_path / "deployment")
    first, kit = consortium.members
    chain = consortium.open(kit, tmp_path / "second")
    rotated = replace(kit, account=new_account(os.urandom))
    height = anvil.height()
    taken = replace(kit, account=first.account)
    drilled = [
        (lambda: chain.governance.rehearse_rotation(taken.keys, 1), "AccountTaken"),
        (lambda: chain.governance.rehearse_rotation(replace(kit, endpoint="").keys, 1), "KeysInvalid"),
        (lambda: chain.governance.rehearse_compromise(KeyKind.SIGNING, [2], 1), "CompromiseInvalid"),
        (lambda: chain.governance.rehearse_compromise(KeyKind.SIGNING, [], 1), "CompromiseInvalid"),
        (lambda: chain.governance.rehearse_compromise(KeyKind.SIGNING, [1], 2**40), "CompromiseInvalid"),
    ]
    for drill, error in drilled:
        with pytest.raises(TransactionRefused, match=error):
            drill()
    tried = (
        chain.governance.rehearse_rotation(rotated.keys, 1),
        chain.governance.rehearse_compromise(KeyKind.ACCOUNT, [1], 1),
    )
    assert all(gas > 21_000 for gas in tried)
    assert (anvil.height(), chain.journal.pending()) == (height, 0)
    chain.view.refresh()
    assert chain.view.member(kit.member_id) == _first_epoch_of(chain, kit)
    chain.close()


def test_a_key_that_stood_in_several_epochs_is_declared_in_one_transaction(anvil: Anvil, tmp_path: Path) -> None:
    consortium = found(anvil, tmp_path / "deployment")
    kit = consortium.members[1]
    chain = consortium.open(kit, tmp_path / "second")
    for epoch in (1, 2):
        chain.governance.rotate_keys(replace(kit, certificate=f"number {epoch}".encode()).keys, epoch)
    renewed = replace(kit, encryption_key=SM2PrivateKey.generate(os.urandom), account=new_account(os.urandom))
    chain.governance.rotate_keys(renewed.keys, 3)
    member = chain.view.member(kit.member_id)
    assert member is not None
    epochs = [epoch.epoch for epoch in member.epochs_of_key(KeyKind.ENCRYPTION, 1)]
    assert epochs == [1, 2, 3]
    chain.close()
    chain = consortium.open(renewed, tmp_path / "second")
    height = anvil.height()
    mined = chain.governance.declare_compromise(KeyKind.ENCRYPTION, epochs, 1_000)
    assert chain.governance.declare_compromise(KeyKind.ENCRYPTION, epochs, 1_000) == mined
    assert anvil.height() == height + 1
    member = chain.view.member(kit.member_id)
    assert member is not None
    assert [epoch.encryption_compromised_since for epoch in member.epochs] == [1_000, 1_000, 1_000, None]
    assert {epoch.compromised_since for epoch in member.epochs} == {None}
    assert (member.compromised_since(KeyKind.ENCRYPTION, 2), member.compromised_since(KeyKind.ENCRYPTION, 4)) == (
        1_000,
        None,
    )
    # The account in force, by its last act. What the index says of it, everybody sees.
    chain.governance.declare_compromise(KeyKind.ACCOUNT, [4], 2_000)
    with pytest.raises(TransactionRefused, match="NotAMember"):
        chain.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
    other = consortium.open(consortium.members[0], tmp_path / "first")
    regained = replace(renewed, account=new_account(os.urandom))
    other.governance.propose_recovery(kit.member_id, regained.keys)
    chain.close()
    chain = consortium.open(regained, tmp_path / "second")
    chain.writer.anchor(os.urandom(32), 1, DIGEST, DIGEST)
    member = chain.view.member(kit.member_id)
    assert member is not None
    assert [epoch.account_compromised_since for epoch in member.epochs] == [None, None, None, 2_000, None]
    chain.close()
    other.close()


def _first_epoch_of(chain: Chain, kit: MemberKit) -> Member:
    """The member as it was founded."""
    member = chain.view.member(kit.member_id)
    assert member is not None
    assert len(member.epochs) == 1
    assert {member.keys.declared(kind) for kind in KeyKind} == {None}
    return member


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
