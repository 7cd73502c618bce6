"""How proposals stand, and which are refused before they are made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode

from node.app.council import check_change, stand
from node.chain.admission import Admission, KeySet
from node.chain.proposals import (
    Change,
    CouncilRecord,
    Proposal,
    ProposalKind,
    Recovery,
    RolesChange,
    Standing,
    StatusChange,
    ThresholdChange,
)
from node.chain.rows import member_word
from node.errors import ProposalInvalid
from node.model.chain import MemberStatus, Role
from tests.support.statements import member_id

FIRST, SECOND, DEPARTMENT, GONE, NOBODY = map(member_id, range(1, 6))
ACCOUNTS = {one: f"0x{place:040d}" for place, one in enumerate((FIRST, SECOND, DEPARTMENT, GONE, NOBODY))}
MEMBERS = {
    FIRST: Standing("first", Role.AUTHORITY, accounts=(ACCOUNTS[FIRST],)),
    SECOND: Standing("second", Role.AUTHORITY | Role.DEPARTMENT, accounts=(ACCOUNTS[SECOND],)),
    DEPARTMENT: Standing("department", Role.DEPARTMENT, accounts=("0x" + "d" * 40, ACCOUNTS[DEPARTMENT])),
    GONE: Standing("gone", Role.AUTHORITY, MemberStatus.REMOVED, (ACCOUNTS[GONE],)),
}


def keys(account: str) -> KeySet:
    """Keys with an account."""
    return KeySet(b"\4" * 65, b"\4" * 65, account, b"certificate", "host:1")


def suspension(number: int, *approvals: str, executed_block: int | None = None) -> Proposal:
    """A proposal to suspend the department."""
    content = encode(["bytes32", "uint8"], [member_word(DEPARTMENT), int(MemberStatus.SUSPENDED)])
    return Proposal(number, ProposalKind.STATUS_CHANGE, content, approvals[0], 5, approvals, executed_block)


def record(*proposals: Proposal, threshold: int = 2) -> CouncilRecord:
    """The council with these proposals."""
    return CouncilRecord(threshold, MEMBERS, proposals)


@pytest.mark.parametrize(
    ("proposal", "threshold", "missing"),
    [
        (suspension(1, FIRST), 2, 1),
        (suspension(1, FIRST), 3, 2),
        (suspension(1, GONE, FIRST), 2, 1),  # an approval that lapsed
        (suspension(1, DEPARTMENT), 2, 2),  # whose authority has another role now
        (suspension(1, FIRST), 1, 1),  # the threshold fell since: the next approval carries it, and not the fall
        (suspension(1, FIRST, SECOND), 1, 1),
        (suspension(1, FIRST, GONE, executed_block=6), 2, 0),
    ],
)
def test_what_is_missing_is_counted_as_the_contract_counts(proposal: Proposal, threshold: int, missing: int) -> None:
    council = stand(record(proposal, threshold=threshold))
    (motion,) = council.motions
    assert motion.missing == missing
    assert [approval.counts for approval in motion.approvals] == [one in {FIRST, SECOND} for one in proposal.approvals]
    assert (motion.subject, council.authorities, council.threshold) == ("department", 2, threshold)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (StatusChange(NOBODY, MemberStatus.SUSPENDED), "no member"),
        (StatusChange(DEPARTMENT, MemberStatus.ACTIVE), "is active already"),
        (StatusChange(GONE, MemberStatus.ACTIVE), "removed, for good"),
        (RolesChange(DEPARTMENT, Role.DEPARTMENT), "just these roles"),
        (RolesChange(NOBODY, Role.DEPARTMENT), "no member"),
        (RolesChange(GONE, Role.DEPARTMENT), "removed, for good"),
        (ThresholdChange(2), "needed already"),
        (Admission(DEPARTMENT, "again", Role.DEPARTMENT, keys(ACCOUNTS[NOBODY])), "admitted before and is active"),
        (Admission(GONE, "again", Role.DEPARTMENT, keys(ACCOUNTS[NOBODY])), "admitted before and is removed"),
        (Admission(NOBODY, "new", Role.DEPARTMENT, keys("0x" + "D" * 40)), f"is or was {DEPARTMENT}'s"),
        (Recovery(NOBODY, keys(ACCOUNTS[NOBODY])), "no member"),
        (Recovery(GONE, keys(ACCOUNTS[NOBODY])), "removed, for good"),
        (Recovery(DEPARTMENT, keys(ACCOUNTS[DEPARTMENT])), f"is or was {DEPARTMENT}'s"),
        (Recovery(DEPARTMENT, keys(ACCOUNTS[FIRST])), f"is or was {FIRST}'s"),
    ],
)
def test_what_could_not_be_carried_out_is_refused(change: Change, why: str) -> None:
    with pytest.raises(ProposalInvalid, match=why):
        check_change(change, record())


@pytest.mark.parametrize(
    "change",
    [
        StatusChange(DEPARTMENT, MemberStatus.SUSPENDED),
        StatusChange(DEPARTMENT, MemberStatus.REMOVED),
        RolesChange(DEPARTMENT, Role.AUDITOR),
        ThresholdChange(3),  # more than there are authorities now: another admission may come first
        Admission(NOBODY, "new", Role.DEPARTMENT, keys(ACCOUNTS[NOBODY])),
        Recovery(DEPARTMENT, keys(ACCOUNTS[NOBODY])),
    ],
)
def test_what_could_be_carried_out_is_not(change: Change) -> None:
    check_change(change, record(suspension(1, FIRST, SECOND, executed_block=6)))


def test_what_is_open_is_not_proposed_again() -> None:
    change = StatusChange(DEPARTMENT, MemberStatus.SUSPENDED)
    with pytest.raises(ProposalInvalid, match="proposal 3 is open") as refusal:
        check_change(change, record(suspension(1, FIRST, executed_block=6), suspension(3, FIRST)))
    assert refusal.value.details["proposal"] == "3"
    check_change(replace(change, status=MemberStatus.REMOVED), record(suspension(3, FIRST)))
