"""The consortium's council, as an authority's operator uses it: what is proposed, who approved it, and proposals of one's own.

The contract judges a proposal when it is carried out. What could never be carried out as things stand (nobody has that id, nothing would
change, the same is proposed already) is refused here, before anything is sent, so that no approval is asked for in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crypto.credit_code import check_credit_code
from node.app.admission import read_admission
from node.app.consortium import Clock, governing
from node.app.settings import Settings
from node.chain.admission import Admission
from node.chain.governance import Governance
from node.chain.proposals import (
    Change,
    CouncilRecord,
    Proposal,
    Recovery,
    RolesChange,
    Standing,
    StatusChange,
    ThresholdChange,
)
from node.errors import ProposalInvalid
from node.model.chain import MemberStatus, Mined, Role


@dataclass(frozen=True)
class Approval:
    """An authority's approval. `counts`: an approval lapses while its authority is not active or not in that role."""

    member_id: str
    name: str
    counts: bool


@dataclass(frozen=True)
class Motion:
    """A proposal as it stands now.

    Attributes:
        subject: name of the member that it is about; empty where the chain knows none, or it is about nobody.
        missing: further approvals that it needs; 0 once it was carried out.
    """

    proposal: Proposal
    change: Change
    subject: str
    approvals: tuple[Approval, ...]
    missing: int


@dataclass(frozen=True)
class Council:
    """Every motion, oldest first. `threshold`: approvals that one needs; `authorities`: how many members may give one."""

    threshold: int
    authorities: int
    motions: tuple[Motion, ...]


@dataclass(frozen=True)
class Proposed:
    """What a proposal or an approval did. `missing`: further approvals that the proposal needs; 0: it was carried out."""

    number: int
    transaction_hash: bytes
    missing: int


def council(settings: Settings, passphrase: bytes, clock: Clock) -> Council:
    """The council as the chain has it now. Raises ChainUnavailable, ChainMismatch, ConfigurationInvalid."""
    with governing(settings, passphrase, clock) as chain:
        return stand(chain.governance.council())


def propose(settings: Settings, passphrase: bytes, change: Change, clock: Clock) -> Proposed:
    """Propose a change by this department's account, which counts as its approval.

    Raises:
        ProposalInvalid: it could not be carried out as things stand, or is proposed already; nothing was sent.
        TransactionRefused: this department is no authority, or the contract refuses what would be carried out at once.
    """
    with governing(settings, passphrase, clock) as chain:
        check_change(change, chain.governance.council())
        number, mined = _send(chain.governance, change)
        return Proposed(number, mined.transaction_hash, _missing(chain.governance, mined, number))


def approve(settings: Settings, passphrase: bytes, number: int, clock: Clock) -> Proposed:
    """Approve a proposal. Raises TransactionRefused."""
    with governing(settings, passphrase, clock) as chain:
        mined = chain.governance.approve(number)
        return Proposed(number, mined.transaction_hash, _missing(chain.governance, mined, number))


def status_change(member_id: str, status: MemberStatus) -> StatusChange:
    """A change of status. Raises CreditCodeInvalid."""
    return StatusChange(check_credit_code(member_id), status)


def roles_change(member_id: str, roles: Role) -> RolesChange:
    """A change of roles. Raises CreditCodeInvalid."""
    return RolesChange(check_credit_code(member_id), roles)


def recovery(admission: Path) -> Recovery:
    """New keys for a member, as it states them in an admission file; roles and name in it count for nothing here.

    Raises ConfigurationInvalid.
    """
    stated = read_admission(admission)
    return Recovery(stated.member_id, stated.keys)


def stand(record: CouncilRecord) -> Council:
    """How every proposal stands."""
    members, motions = record.members, []
    for proposal in record.proposals:
        approvals = tuple(Approval(one, members[one].name, members[one].is_authority) for one in proposal.approvals)
        standing = sum(approval.counts for approval in approvals)
        # It is the approval that carries a proposal out; one that has enough, because the threshold fell, still waits for another.
        missing = 0 if proposal.executed else max(1, record.threshold - standing)
        change = proposal.change
        motions.append(Motion(proposal, change, _subject(change, members), approvals, missing))
    return Council(record.threshold, record.authorities, tuple(motions))


def check_change(change: Change, record: CouncilRecord) -> None:
    """Refuse what could not be carried out as things stand. Raises ProposalInvalid."""
    same = next((one for one in record.proposals if not one.executed and one.change == change), None)
    if same is not None:
        raise ProposalInvalid(
            f"proposal {same.number} is open and says the same; approve that one", proposal=str(same.number)
        )
    match change:
        case ThresholdChange(threshold):
            if threshold == record.threshold:
                raise ProposalInvalid(f"{threshold} approvals are needed already", threshold=str(threshold))
        case Admission():
            if change.member_id in record.members:
                status = record.members[change.member_id].status.name.lower()
                raise ProposalInvalid(
                    f"{change.member_id} was admitted before and is {status}", member=change.member_id
                )
        case _:
            _check_member(change, record.members.get(change.member_id))
    if isinstance(change, Admission | Recovery):
        account = change.keys.account
        # The admission file may spell an address without its checksum.
        had = ((one, held) for one, member in record.members.items() for held in member.accounts)
        owner = next((one for one, held in had if held.lower() == account.lower()), None)
        if owner is not None:
            raise ProposalInvalid(f"the account {account} is or was {owner}'s, and none is used twice", member=owner)


def _check_member(change: StatusChange | RolesChange | Recovery, member: Standing | None) -> None:
    if member is None:
        raise ProposalInvalid(f"{change.member_id} is no member of the consortium", member=change.member_id)
    why = None
    if member.status is MemberStatus.REMOVED:
        why = "was removed, for good"
    elif isinstance(change, RolesChange) and change.roles == member.roles:
        why = "has just these roles"
    elif isinstance(change, StatusChange) and change.status is member.status:
        why = f"is {member.status.name.lower()} already"
    if why is not None:
        raise ProposalInvalid(f"{change.member_id} {why}", member=change.member_id)


def _send(governance: Governance, change: Change) -> tuple[int, Mined]:
    match change:
        case Admission():
            return governance.propose_admission(change)
        case StatusChange(member_id, status):
            return governance.propose_status(member_id, status)
        case RolesChange(member_id, roles):
            return governance.propose_roles(member_id, roles)
        case ThresholdChange(threshold):
            return governance.propose_threshold(threshold)
        case Recovery(member_id, keys):
            return governance.propose_recovery(member_id, keys)


def _missing(governance: Governance, mined: Mined, number: int) -> int:
    if governance.carried(mined):
        return 0
    motions = stand(governance.council()).motions
    return next((motion.missing for motion in motions if motion.proposal.number == number), 0)


def _subject(change: Change, members: Mapping[str, Standing]) -> str:
    if isinstance(change, Admission):
        return change.name
    if isinstance(change, ThresholdChange) or change.member_id not in members:
        return ""
    return members[change.member_id].name
