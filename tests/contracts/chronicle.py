"""What the contracts' events tell, held against the rules while it is told.

The chronicle knows nothing of what was asked: only who sent a transaction, and which events it left. Each event must have
been open to that caller as things stood, and afterwards the contracts must answer what the events add up to. The rules are
those of the interfaces, stated here as facts about what has happened and not as conditions of calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from web3 import Web3

from tests.contracts.world import (
    ACTIVE,
    ADMISSION,
    ALL_ROLES,
    AUTHORITY,
    NOT_SHARED,
    RECOVERY,
    REMOVED,
    ROLES_CHANGE,
    STATUS_CHANGE,
    SUSPENDED,
    THRESHOLD_CHANGE,
    KeySet,
    Member,
    Refused,
    Said,
    World,
)

ACCOUNT_KEY = 3
NONE, REQUESTED, APPROVED, DENIED, REVOKED, CLOSED = range(6)
STATUS_WAYS = {(ACTIVE, SUSPENDED), (ACTIVE, REMOVED), (SUSPENDED, ACTIVE), (SUSPENDED, REMOVED)}
GRANT_WAYS = {
    (NONE, REQUESTED),
    (REQUESTED, APPROVED),
    (REQUESTED, DENIED),
    (REQUESTED, CLOSED),
    (APPROVED, REVOKED),
    (APPROVED, CLOSED),
}
EFFECTS = {
    ADMISSION: {"MemberAdmitted", "KeysSet"},
    STATUS_CHANGE: {"StatusChanged"},
    ROLES_CHANGE: {"RolesChanged"},
    THRESHOLD_CHANGE: {"ThresholdChanged"},
    RECOVERY: {"KeysSet"},
}
Row = TypeVar("Row")
Now = Callable[[], int]


@dataclass
class Standing:
    """A member."""

    status: int
    roles: int
    account: str = ""
    epoch: int = 0
    account_epoch: int = 1
    is_compromised: bool = False  # the account in force
    compromises: dict[tuple[int, int], int] = field(default_factory=dict)  # by epoch and kind


@dataclass
class Dataset:
    """A dataset, in the order of the contract's struct."""

    provider: bytes
    metadata: bytes
    root: bytes
    size: int
    level: int
    sharing: int
    withdrawn: bool = False


@dataclass
class Grant:
    """A grant, in the order of the contract's struct."""

    dataset: bytes
    requester: bytes
    request: bytes
    terms: bytes = bytes(32)
    state: int = NONE
    expiry: int = 0
    quota: int = 0
    sequence: int = 0


@dataclass
class Head:
    """A log's head, in the order of the contract's struct."""

    root: bytes
    note: bytes
    size: int


@dataclass
class Proposal:
    """A proposal. `enough`: its newest approval reached the threshold."""

    kind: int
    content: bytes
    approvers: list[bytes] = field(default_factory=list)
    executed: bool = False
    enough: bool = False


class Chronicle:
    """The story of one consortium. `met` counts what happened in it, over all stories that share it."""

    def __init__(self, founders: Sequence[Member], threshold: int, met: Counter[str]) -> None:
        self.met = met
        self.threshold = threshold
        self.members = {one.id: Standing(ACTIVE, one.roles, one.address, 1) for one in founders}
        self.owners = {one.address: one.id for one in founders}
        self.datasets: dict[bytes, Dataset] = {}
        self.grants: dict[bytes, Grant] = {}
        self.logs: dict[tuple[bytes, bytes], Head] = {}  # by member and log
        self.proposals: dict[int, Proposal] = {}
        self._carried: int | None = None  # kind of the proposal that the present transaction carries out
        self._chapters: dict[str, Callable[..., None]] = {
            "Anchored": self._anchored,
            "DatasetRegistered": self._registered,
            "DatasetUpdated": self._updated,
            "HeadSet": self._head_set,
            "DatasetWithdrawn": self._withdrawn,
            "GrantRequested": self._requested,
            "GrantApproved": self._granted,
            "GrantDenied": self._denied,
            "GrantRevoked": self._revoked,
            "GrantClosed": self._closed,
            "GrantAdvanced": self._advanced,
            "Proposed": self._proposed,
            "Approved": self._approved,
            "Executed": self._executed,
            "MemberAdmitted": self._admitted,
            "KeysSet": self._keys_set,
            "StatusChanged": self._status_changed,
            "RolesChanged": self._roles_changed,
            "ThresholdChanged": self._threshold_changed,
            "CompromiseDeclared": self._compromise_declared,
        }

    def acting(self, address: str) -> bytes | None:
        """The active member whose account in force this is."""
        found = self.owners.get(address, b"")
        standing = self.members.get(found)
        is_in_force = standing is not None and standing.account == address and not standing.is_compromised
        return found if is_in_force and standing is not None and standing.status == ACTIVE else None

    def authorities(self) -> int:
        """Active members with the authority's role."""
        return sum(self.is_authority(found) for found in self.members)

    def is_authority(self, member: bytes) -> bool:
        """Whether a member is active and in that role, with an account that nobody has declared compromised."""
        standing = self.members[member]
        return standing.status == ACTIVE and bool(standing.roles & AUTHORITY) and not standing.is_compromised

    def tell(self, caller: Member, events: Sequence[Said], now: Now) -> None:
        """Go on: a caller's transaction was accepted and left these events. `now`: the time of its block."""
        actor = self.acting(caller.address)
        assert actor is not None, f"somebody without standing wrote {events}"
        assert events, "something was accepted without an event"
        names = {name for name, *_ in events}
        self._carried = None
        for name, *values in events:
            self.met[name] += 1
            self._chapters[name](actor, now, *values)
        # A transaction is about one thing: one own change, or one proposal with its one effect.
        effects = names - {"Proposed", "Approved", "Executed"}
        if "Approved" in names:
            proposal = self.proposals[next(values[0] for name, *values in events if name == "Approved")]
            assert proposal.executed == proposal.enough
            assert effects == (EFFECTS[proposal.kind] if proposal.executed else set())
        else:
            assert len(events) == 1 or names in ({"Anchored"}, {"CompromiseDeclared"})
            assert not effects & {"MemberAdmitted", "StatusChanged", "RolesChanged", "ThresholdChanged"}
        assert 1 <= self.threshold <= self.authorities()

    def refused(self, caller: Member, error: Said) -> None:
        """A caller's transaction was refused."""
        self.met[f"refused: {error[0]}"] += 1
        if self.acting(caller.address) is None:
            standing = self.members.get(self.owners.get(caller.address, b""))
            self.met["refused while suspended"] += standing is not None and standing.status == SUSPENDED
        else:
            assert error[0] != "NotAMember", f"{caller.id!r} is a member and was told that it is none"

    def agrees(self, world: World, touched: Sequence[object] | None = None) -> None:
        """The contracts answer what the events add up to: for these ids, or for all."""
        members = _of(self.members, touched)
        if members:
            assert world.view("Members.threshold") == self.threshold
            assert world.view("Members.authorities") == self.authorities()
        for key, standing in members:
            assert world.view("Members.statusOf", key) == standing.status
            assert world.view("Members.rolesOf", key) == standing.roles
            assert world.view("Members.epochOf", key) == standing.epoch
        for key, dataset in _of(self.datasets, touched):
            assert world.view("Catalogue.datasetOf", key) == tuple(vars(dataset).values())
        for key, grant in _of(self.grants, touched):
            assert world.view("Grants.grantOf", key) == tuple(vars(grant).values())
        for (member, log), head in self.logs.items():
            if touched is None or log in touched:
                assert world.view("Anchors.headOf", member, log) == tuple(vars(head).values())
        for address in self.owners if touched is None else ():
            assert _member_of(world, address) == self.acting(address)

    def _anchored(self, actor: bytes, _: Now, log: bytes, member: bytes, size: int, root: bytes, note: bytes) -> None:
        before = self.logs.get((member, log))
        assert member == actor
        assert before is None or before.size < size
        assert size > 0
        self.logs[member, log] = Head(root, note, size)

    def _registered(
        self, actor: bytes, _: Now, dataset: bytes, provider: bytes, metadata: bytes, level: int, sharing: int
    ) -> None:
        assert provider == actor
        assert dataset.endswith(provider[:18])
        assert dataset not in self.datasets
        self.datasets[dataset] = Dataset(provider, metadata, bytes(32), 0, level, sharing)

    def _updated(self, actor: bytes, _: Now, dataset: bytes, metadata: bytes, level: int, sharing: int) -> None:
        found = self._own(actor, dataset)
        found.metadata, found.level, found.sharing = metadata, level, sharing

    def _head_set(self, actor: bytes, _: Now, dataset: bytes, size: int, root: bytes, _note: bytes) -> None:
        found = self._own(actor, dataset)
        assert found.size < size
        found.size, found.root = size, root

    def _withdrawn(self, actor: bytes, _: Now, dataset: bytes) -> None:
        self._own(actor, dataset).withdrawn = True

    def _own(self, actor: bytes, dataset: bytes) -> Dataset:
        found = self.datasets[dataset]
        assert found.provider == actor
        assert not found.withdrawn
        return found

    def _requested(self, actor: bytes, _: Now, grant: bytes, dataset: bytes, requester: bytes, digest: bytes) -> None:
        assert requester == actor
        assert grant not in self.grants
        self._is_offered(dataset)
        self.grants[grant] = Grant(dataset, requester, digest)
        self._move(grant, REQUESTED)

    def _granted(self, actor: bytes, now: Now, grant: bytes, terms: bytes, expiry: int, quota: int) -> None:
        found = self._as_provider(actor, grant)
        self._is_offered(found.dataset)
        assert self.members[found.requester].status == ACTIVE
        assert expiry > now()
        assert quota > 0
        found.terms, found.expiry, found.quota = terms, expiry, quota
        self._move(grant, APPROVED)

    def _denied(self, actor: bytes, _: Now, grant: bytes, _reason: bytes) -> None:
        self._as_provider(actor, grant)
        self._move(grant, DENIED)

    def _revoked(self, actor: bytes, _: Now, grant: bytes, _reason: bytes) -> None:
        self._as_provider(actor, grant)
        self._move(grant, REVOKED)

    def _closed(self, actor: bytes, _: Now, grant: bytes) -> None:
        assert self.grants[grant].requester == actor
        self._move(grant, CLOSED)

    def _advanced(self, actor: bytes, _: Now, grant: bytes, sequence: int, _receipt: bytes) -> None:
        found = self._as_provider(actor, grant)
        assert found.quota > 0, "a delivery under what was never approved"
        assert found.sequence < sequence
        found.sequence = sequence

    def _as_provider(self, actor: bytes, grant: bytes) -> Grant:
        found = self.grants[grant]
        assert self.datasets[found.dataset].provider == actor
        return found

    def _is_offered(self, dataset: bytes) -> None:
        assert not self.datasets[dataset].withdrawn
        assert self.datasets[dataset].sharing != NOT_SHARED

    def _move(self, grant: bytes, state: int) -> None:
        way = (self.grants[grant].state, state)
        assert way in GRANT_WAYS
        self.met[f"grant: {way[0]} to {way[1]}"] += 1
        self.grants[grant].state = state

    def _proposed(self, actor: bytes, _: Now, number: int, authority: bytes, kind: int, content: bytes) -> None:
        assert authority == actor
        assert self.is_authority(actor)
        assert number == len(self.proposals) + 1
        self.proposals[number] = Proposal(kind, content)

    def _approved(self, actor: bytes, _: Now, number: int, authority: bytes) -> None:
        proposal = self.proposals[number]
        assert authority == actor
        assert self.is_authority(actor)
        assert actor not in proposal.approvers
        assert not proposal.executed
        proposal.approvers.append(actor)
        standing = sum(self.is_authority(approver) for approver in proposal.approvers)
        self.met["approval lapsed"] += standing < len(proposal.approvers)
        proposal.enough = standing >= self.threshold
        self._carried = proposal.kind if proposal.enough else None

    def _executed(self, _actor: bytes, _: Now, number: int) -> None:
        assert not self.proposals[number].executed
        self.proposals[number].executed = True

    def _admitted(self, _actor: bytes, _: Now, member: bytes, _name: str, roles: int) -> None:
        assert member not in self.members
        assert 1 <= roles <= ALL_ROLES
        self.members[member] = Standing(ACTIVE, roles)

    def _keys_set(self, actor: bytes, _: Now, member: bytes, epoch: int, keys: KeySet) -> None:
        standing, account = self.members[member], keys[2].lower()
        if self._carried == RECOVERY:
            assert standing.status in {ACTIVE, SUSPENDED}
            assert standing.epoch > 0
            self.met[f"recovered: {standing.status}"] += 1
        else:
            assert member == actor or standing.epoch == 0, "somebody else's keys"
        assert epoch == standing.epoch + 1
        may_stay = account == standing.account and self._carried != RECOVERY
        assert may_stay or account not in self.owners, "an account in second hand"
        if account != standing.account:
            self.met["recovered from a compromise"] += standing.is_compromised
            standing.account_epoch, standing.is_compromised = epoch, False
        standing.epoch, standing.account = epoch, account
        self.owners[account] = member

    def _status_changed(self, _actor: bytes, _: Now, member: bytes, status: int) -> None:
        way = (self.members[member].status, status)
        assert way in STATUS_WAYS
        self.met[f"status: {way[0]} to {way[1]}"] += 1
        self.members[member].status = status

    def _roles_changed(self, _actor: bytes, _: Now, member: bytes, roles: int) -> None:
        assert 1 <= roles <= ALL_ROLES
        self.members[member].roles = roles

    def _threshold_changed(self, _actor: bytes, _: Now, threshold: int) -> None:
        self.threshold = threshold

    def _compromise_declared(self, actor: bytes, now: Now, member: bytes, epoch: int, kind: int, since: int) -> None:
        standing = self.members[member]
        assert member == actor
        assert 1 <= epoch <= standing.epoch
        assert 0 < since <= now()
        assert kind in {1, 2, 3, 4}
        assert since < standing.compromises.get((epoch, kind), since + 1)
        standing.compromises[epoch, kind] = since
        if kind == ACCOUNT_KEY and epoch >= standing.account_epoch:
            standing.is_compromised = True
            self.met["lost its account to a declaration"] += 1


def _of(rows: Mapping[bytes, Row], touched: Sequence[object] | None) -> list[tuple[bytes, Row]]:
    return [(key, row) for key, row in rows.items() if touched is None or key in touched]


def _member_of(world: World, address: str) -> bytes | None:
    """The member that the contract says acts with an account; None where it says that there is none."""
    try:
        return bytes(world.view("Members.memberOf", Web3.to_checksum_address(address)))
    except Refused as refusal:
        if refusal.error != ("NotAMember", address):
            raise
        return None
