"""Proposals of the contract Members as values: what one would do, who approved it, and what the council's events add up to.

Pure rules: events in, values out. A proposal's content is written by the contract itself (`abi.encode` of checked arguments), so
content that cannot be read is another contract's, and ChainMismatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from node.chain.abi import Event
from node.chain.admission import Admission, KeySet
from node.chain.rows import member_id_of
from node.errors import ChainMismatch
from node.model.chain import MemberStatus, Role

# Strings are read as bytes: what members wrote need not be UTF-8, and must not hide a proposal from whoever approves it.
_KEY_SET = "(bytes,bytes,address,bytes,bytes)"
_Keys = tuple[bytes, bytes, str, bytes, bytes]


class ProposalKind(IntEnum):
    """What a proposal would do (contract Members)."""

    ADMISSION = 0
    STATUS_CHANGE = 1
    ROLES_CHANGE = 2
    THRESHOLD_CHANGE = 3
    RECOVERY = 4


@dataclass(frozen=True)
class StatusChange:
    """Suspend, reinstate or remove a member."""

    member_id: str
    status: MemberStatus


@dataclass(frozen=True)
class RolesChange:
    """Give a member other roles."""

    member_id: str
    roles: Role


@dataclass(frozen=True)
class ThresholdChange:
    """Need another number of approvals."""

    threshold: int


@dataclass(frozen=True)
class Recovery:
    """Put other keys in force for a member, with an account that nobody had."""

    member_id: str
    keys: KeySet


Change = Admission | StatusChange | RolesChange | ThresholdChange | Recovery


@dataclass(frozen=True)
class Proposal:
    """A proposal.

    Attributes:
        number: from 1.
        content: ABI encoding of what its kind needs.
        proposer: member id of the authority that made it.
        block: number of the block that has it.
        approvals: ids of the authorities that approved, in their order, the proposer's first.
        executed_block: number of the block in which it was carried out; None while it is open.
    """

    number: int
    kind: ProposalKind
    content: bytes
    proposer: str
    block: int
    approvals: tuple[str, ...] = ()
    executed_block: int | None = None

    @property
    def executed(self) -> bool:
        """Whether it was carried out."""
        return self.executed_block is not None

    @property
    def change(self) -> Change:
        """What it would do, or did. Raises ChainMismatch."""
        return read_change(self.kind, self.content)


@dataclass(frozen=True)
class Standing:
    """A member as the contract has it, whatever its keys are worth. `accounts`: every one that it had, EIP-55, the present one last."""

    name: str
    roles: Role
    status: MemberStatus = MemberStatus.ACTIVE
    accounts: tuple[str, ...] = ()

    @property
    def is_authority(self) -> bool:
        """Whether its approvals count."""
        return self.status is MemberStatus.ACTIVE and Role.AUTHORITY in self.roles


@dataclass(frozen=True)
class CouncilRecord:
    """What the events of Members say. `threshold`: approvals that a proposal needs now; `members`: by id."""

    threshold: int
    members: Mapping[str, Standing]
    proposals: tuple[Proposal, ...]

    @property
    def authorities(self) -> int:
        """Members that may approve."""
        return sum(member.is_authority for member in self.members.values())


def read_change(kind: ProposalKind, content: bytes) -> Change:
    """Read the content of a proposal. Raises ChainMismatch."""
    try:
        match kind:
            case ProposalKind.ADMISSION:
                ((word, name, roles, keys),) = decode([f"(bytes32,bytes,uint8,{_KEY_SET})"], content)
                return Admission(member_id_of(word), _text(name), Role(roles), _key_set(keys))
            case ProposalKind.STATUS_CHANGE:
                word, status = decode(["bytes32", "uint8"], content)
                return StatusChange(member_id_of(word), MemberStatus(status))
            case ProposalKind.ROLES_CHANGE:
                word, roles = decode(["bytes32", "uint8"], content)
                return RolesChange(member_id_of(word), Role(roles))
            case ProposalKind.THRESHOLD_CHANGE:
                (threshold,) = decode(["uint16"], content)
                return ThresholdChange(threshold)
            case ProposalKind.RECOVERY:
                word, keys = decode(["bytes32", _KEY_SET], content)
                return Recovery(member_id_of(word), _key_set(keys))
    except (DecodingError, ValueError) as cause:
        raise ChainMismatch(f"a proposal's content is no {kind.name}", kind=kind.name) from cause


def record_of(events: Iterable[tuple[int, Event]]) -> CouncilRecord:
    """What the events of Members, in their order and each with its block's number, say of the council.

    Raises ChainMismatch where an event is about a member or a proposal that no earlier one made.
    """
    members: dict[str, Standing] = {}
    proposals: dict[int, Proposal] = {}
    threshold = 0
    try:
        for block, event in events:
            if event.name == "ThresholdChanged":
                (threshold,) = event.values
            _tell_member(members, event)
            _tell_proposal(proposals, event, block)
    except (KeyError, ValueError) as cause:
        raise ChainMismatch(f"the events of Members do not fit together: {cause}") from cause
    return CouncilRecord(threshold, members, tuple(proposals[number] for number in sorted(proposals)))


def _tell_member(members: dict[str, Standing], event: Event) -> None:
    match event.name, event.values:
        case "MemberAdmitted", (word, name, roles):
            members[member_id_of(word)] = Standing(name, Role(roles))
        case "KeysSet", (word, _, (_, _, account, _, _)):
            one = members[member_id_of(word)]
            members[member_id_of(word)] = replace(one, accounts=(*one.accounts, to_checksum_address(account)))
        case "StatusChanged", (word, status):
            members[member_id_of(word)] = replace(members[member_id_of(word)], status=MemberStatus(status))
        case "RolesChanged", (word, roles):
            members[member_id_of(word)] = replace(members[member_id_of(word)], roles=Role(roles))
        case _:
            pass


def _tell_proposal(proposals: dict[int, Proposal], event: Event, block: int) -> None:
    match event.name, event.values:
        case "Proposed", (number, authority, kind, content):
            proposals[number] = Proposal(number, ProposalKind(kind), content, member_id_of(authority), block)
        case "Approved", (number, authority):
            held = proposals[number]
            proposals[number] = replace(held, approvals=(*held.approvals, member_id_of(authority)))
        case "Executed", (number,):
            proposals[number] = replace(proposals[number], executed_block=block)
        case _:
            pass


def _key_set(keys: _Keys) -> KeySet:
    signing_key, encryption_key, account, certificate, endpoint = keys
    return KeySet(signing_key, encryption_key, to_checksum_address(account), certificate, _text(endpoint))


def _text(text: bytes) -> str:
    return text.decode(errors="replace")
