"""Whatever members, former members and outsiders send in whatever order, the contracts keep their promises.

Hypothesis draws walks of transactions on the real chain: one kind through the council, where authorities vote on each other,
and one through the estate of datasets, grants and logs, whose members come and go. At the end each test says what its walks
reached, because a walk that gets nowhere breaks nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.contracts.chronicle import APPROVED, CLOSED, DENIED, GRANT_WAYS, REQUESTED, REVOKED, STATUS_WAYS
from tests.contracts.keys import with_field
from tests.contracts.walk import Move, Walk, among, walk
from tests.contracts.world import (
    ABIS,
    ACTIVE,
    AUDITOR,
    AUTHORITY,
    CONDITIONAL,
    DEPARTMENT,
    NOT_SHARED,
    OPEN,
    REMOVED,
    SUSPENDED,
    Member,
    World,
    dataset_id,
    member,
)

DAY = 24 * 60 * 60  # seconds
LOGS = [bytes([number]) * 32 for number in (1, 2)]
DATASETS = [dataset_id(2, 3), dataset_id(5, 4), dataset_id(3, 5)]  # of `second`, `further` and `third`
GRANTS = [bytes([number]) * 32 for number in (6, 7, 8, 9, 10)]
DIGESTS = [bytes([number]) * 32 for number in (11, 12)]
# What whoever may tries with a grant: from the two open states what leads on, and from an end everything.
ANY_STEP = ("approve", "deny", "revoke", "close", "advance")
TRIED = {
    REQUESTED: ("approve", "deny", "approve", "close"),
    APPROVED: ("advance", "revoke", "close"),
    DENIED: ANY_STEP,
    REVOKED: ANY_STEP,
    CLOSED: ANY_STEP,
}
STATUSES_TRIED = {ACTIVE: (SUSPENDED, REMOVED), SUSPENDED: (ACTIVE, REMOVED), REMOVED: (ACTIVE,)}
ANY_STATUS = (SUSPENDED, ACTIVE, REMOVED, 0)
GROWTH = (1, 2, 3, 1, 0, -1)
DAYS = (1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 0, -1)
QUOTAS = (1, 2, 3, 1, 2, 3, 1, 0)
LEVELS = (1, 2, 3, 4, 1, 2, 3, 4, 0, 5)
SHARINGS = (CONDITIONAL, OPEN, NOT_SHARED, CONDITIONAL, OPEN, NOT_SHARED, 3)


class Estate(Walk):
    """Members that offer, ask, decide and anchor, while they are suspended, reinstated and given new accounts."""

    def begin(self) -> None:
        """Two datasets are offered, and asked for three times."""
        for dataset, provider in zip(DATASETS[:2], (1, 2), strict=True):
            self.step("Catalogue.register", provider, None, dataset, DIGESTS[0], 2, CONDITIONAL)
        for grant, dataset, requester in zip(GRANTS[:3], (*DATASETS[:2], DATASETS[0]), (3, 1, 2), strict=True):
            self.step("Grants.request", requester, None, grant, dataset, DIGESTS[0])

    def anchor(self, move: Move) -> None:
        """Anchor a size beside the one that the log has; two members anchor under the same ids."""
        whose, log = self.callers[1 + move.what % 2].id, among(LOGS, move.which)
        head = self.chronicle.logs.get((whose, log))
        size = max(0, among(GROWTH, move.how) + (head.size if head else 0))
        self.step("Anchors.anchor", move.who, whose, log, size, among(DIGESTS, move.what), DIGESTS[0])

    def anchor_many(self, move: Move) -> None:
        """Anchor a head of each log, one of which may not grow."""
        whose = self.callers[1 + move.what % 2].id
        heads = [self.chronicle.logs.get((whose, log)) for log in LOGS]
        grown = (among(GROWTH, move.how), among(GROWTH, move.which))
        sizes = [max(0, more + (head.size if head else 0)) for more, head in zip(grown, heads, strict=True)]
        anchorings = [(log, size, DIGESTS[1], DIGESTS[0]) for log, size in zip(LOGS, sizes, strict=True)]
        self.step("Anchors.anchorMany", move.who, whose, anchorings)

    def register(self, move: Move) -> None:
        """Register a dataset, mostly one that is there."""
        dataset, level, sharing = among(DATASETS, move.which), among(LEVELS, move.what), among(SHARINGS, move.how)
        (provider,) = [caller.id for caller in self.callers[:5] if dataset.endswith(caller.id[:18])]
        self.step("Catalogue.register", move.who, provider, dataset, DIGESTS[0], level, sharing)

    def update(self, move: Move) -> None:
        """Describe a dataset anew."""
        dataset, level, sharing = among(DATASETS, move.which), among(LEVELS, move.what), among(SHARINGS, move.how)
        self.step("Catalogue.update", move.who, self.provider_of(dataset), dataset, DIGESTS[1], level, sharing)

    def set_head(self, move: Move) -> None:
        """Set a size beside the one that the dataset has."""
        dataset = among(DATASETS, move.which)
        found = self.chronicle.datasets.get(dataset)
        size = max(0, among(GROWTH, move.how) + (found.size if found else 0))
        root = among(DIGESTS, move.what)
        self.step("Catalogue.setHead", move.who, self.provider_of(dataset), dataset, size, root, DIGESTS[0])

    def withdraw(self, move: Move) -> None:
        """Withdraw a dataset: half of the times whoever may."""
        dataset = among(DATASETS, move.which)
        self.step("Catalogue.withdraw", among((move.what, None), move.how), self.provider_of(dataset), dataset)

    def request(self, move: Move) -> None:
        """Ask for a dataset under an id that may be taken."""
        grant, dataset = among(GRANTS, move.which), among(DATASETS, move.how)
        self.step("Grants.request", move.who, among(self.callers, move.what).id, grant, dataset, DIGESTS[0])

    def go_on(self, move: Move) -> None:
        """Take a step with a grant: whoever may, one that is worth a try; anybody, any."""
        grant = among(list(self.chronicle.grants) if move.who is None else GRANTS, move.which)
        digest = among(DIGESTS, move.how)
        found = self.chronicle.grants.get(grant)
        call = among(TRIED[found.state] if found and move.who is None else ANY_STEP, move.what)
        arguments: Mapping[str, tuple[object, ...]] = {
            "approve": (digest, self.world.now() + among(DAYS, move.how) * DAY, among(QUOTAS, move.which + move.how)),
            "advance": (max(0, among(GROWTH, move.how) + (found.sequence if found else 0)), digest),
            "close": (),
        }
        whose = (found.requester if call == "close" else self.provider_of(found.dataset)) if found else None
        self.step(f"Grants.{call}", move.who, whose, grant, *arguments.get(call, (digest,)))

    def advance_many(self, move: Move) -> None:
        """Report on every grant that there is, one of which may not grow; mostly not all are of one provider."""
        known = list(self.chronicle.grants.items())[: 1 + move.what % 3]
        if not known:
            return
        grown = (among(GROWTH, move.how), among(GROWTH, move.which), 1)
        advances = [
            (grant, max(0, found.sequence + more), DIGESTS[0])
            for (grant, found), more in zip(known, grown, strict=False)
        ]
        self.step("Grants.advanceMany", move.who, self.provider_of(known[0][1].dataset), advances)

    def change_standing(self, move: Move) -> None:
        """Suspend or reinstate a founder; one approval suffices here."""
        status = among((SUSPENDED, ACTIVE, ACTIVE), move.how)
        self.step("Members.proposeStatus", None, self.authority(0), self.callers[move.which % 5].id, status)

    def rotate(self, move: Move) -> None:
        """Give a founder another account, which may be somebody's."""
        founder = self.callers[move.which % 5]
        keys = with_field(founder.keys, "account", among(self.callers, move.what).account.address)
        self.step("Members.rotateKeys", None, founder.id, keys, self.chronicle.members[founder.id].epoch)

    def provider_of(self, dataset: bytes) -> bytes | None:
        """Who provides a dataset, if it is registered."""
        found = self.chronicle.datasets.get(dataset)
        return found.provider if found else None


class Council(Walk):
    """Authorities that vote on admissions, standings, roles and thresholds, and on each other."""

    def begin(self) -> None:
        """A department is suspended, and from then on two must agree."""
        self.step("Members.proposeStatus", 0, None, self.callers[3].id, SUSPENDED)
        self.step("Members.proposeThreshold", 1, None, 2)

    def propose_status(self, move: Move) -> None:
        """Propose another status: whoever may, for one that is not active if there is one; anybody, for anybody."""
        standings = self.chronicle.members
        if move.who is None:
            inactive = [key for key, standing in standings.items() if standing.status != ACTIVE]
            whom = among(inactive if inactive and move.what % 2 else list(standings), move.which)
            status = among(STATUSES_TRIED[standings[whom].status], move.how)
        else:
            whom, status = self.callers[move.what % 7].id, among(ANY_STATUS, move.how)
        self.step("Members.proposeStatus", move.who, self.authority(move.which), whom, status)

    def propose_roles(self, move: Move) -> None:
        """Propose other roles for somebody."""
        roles = among((AUTHORITY, DEPARTMENT, AUTHORITY | AUDITOR, 0, 8), move.how)
        whom = self.callers[move.what % 7].id
        self.step("Members.proposeRoles", move.who, self.authority(move.which), whom, roles)

    def propose_threshold(self, move: Move) -> None:
        """Propose a threshold, possible or not."""
        self.step("Members.proposeThreshold", move.who, self.authority(move.which), among((2, 1, 3, 0, 4), move.how))

    def propose_admission(self, move: Move) -> None:
        """Propose to admit one of the two newcomers, or somebody who is a member."""
        whom = self.callers[4 + move.what % 3]
        self.step("Members.proposeAdmission", move.who, self.authority(move.which), whom.admission)

    def propose_recovery(self, move: Move) -> None:
        """Propose other keys for somebody, with an account that may be taken: whoever may, for one whose account is compromised."""
        hurt = [
            one for one in self.callers[:7] if (found := self.chronicle.members.get(one.id)) and found.is_compromised
        ]
        whom = among(hurt if hurt and move.who is None else self.callers[:7], move.what)
        keys = with_field(whom.keys, "account", among(self.callers[7:], move.how).account.address)
        self.step("Members.proposeRecovery", move.who, self.authority(move.which), whom.id, keys)

    def approve(self, move: Move) -> None:
        """Approve: whoever may, one of the newest that are pending; anybody, anything."""
        pending = [number for number, found in self.chronicle.proposals.items() if not found.executed]
        number = among(pending[-4:], move.what) if pending and move.who is None else move.what
        found = self.chronicle.proposals.get(number)
        whose = self.authority(move.which, found.approvers if found else ())
        self.step("Members.approve", move.who, whose, number)

    def rotate(self, move: Move) -> None:
        """Give somebody another account, which may be taken."""
        whom = self.callers[move.what % 7]
        keys = with_field(whom.keys, "account", among(self.callers, move.which).account.address)
        before = self.epoch_of(whom.id)
        given = max(0, before + among((0, 0, 0, 1, 0, -1), move.how))
        self.step("Members.rotateKeys", move.who, whom.id, keys, given)
        if move.who is None and given != before:
            assert self.epoch_of(whom.id) == before, "a rotation that went out from another epoch"

    def declare_compromise(self, move: Move) -> None:
        """Declare keys of an epoch compromised, which may not exist, since a time that may lie ahead."""
        since = self.world.now() - among(DAYS, move.how) * DAY
        whom = self.callers[move.what % 5].id
        kind = among((1, 2, 3, 4, 3, 0, 5), move.how + move.what)
        self.step("Members.declareCompromise", move.who, whom, among((1, 1, 2, 0), move.which), kind, since)

    def declare_compromises(self, move: Move) -> None:
        """Declare a key compromised in every epoch so far, or in none, or in one that does not exist."""
        whom = self.callers[move.what % 5].id
        epochs = list(range(1, self.epoch_of(whom) + among((1, 1, 1, 2), move.which))) if move.how % 5 else []
        self.step(
            "Members.declareCompromises",
            move.who,
            whom,
            epochs,
            among((4, 1, 2, 3), move.which),
            self.world.now() - DAY,
        )

    def epoch_of(self, member: bytes) -> int:
        """The epoch in force of somebody's keys; 0 before the admission."""
        standing = self.chronicle.members.get(member)
        return standing.epoch if standing else 0


@pytest.fixture(scope="module")
def founders(first: Member, second: Member, further: Member, third: Member, auditor: Member) -> list[Member]:
    """Three authorities, a department and an auditor."""
    return [first, second, further, third, auditor]


@pytest.fixture(scope="module")
def threshold() -> int:
    """One approval suffices, until a council votes for more."""
    return 1


@pytest.fixture
def others() -> Sequence[Member]:
    """Two who may be admitted, and accounts that a member may change to."""
    newcomers = [member(6), member(7, AUTHORITY)]
    return [*newcomers, *(newcomers[0].with_account() for _ in range(3))]


def events_of(*contracts: str) -> set[str]:
    """The names of some contracts' events."""
    return {entry["name"] for contract in contracts for entry in ABIS[contract] if entry["type"] == "event"}


def test_an_estate_of_comers_and_goers_keeps_its_promises(
    world: World, founders: list[Member], others: Sequence[Member]
) -> None:
    kinds = [
        "anchor",
        "anchor_many",
        "advance_many",
        "register",
        "update",
        "set_head",
        "withdraw",
        "request",
        "change_standing",
        "rotate",
    ]
    met = walk(Estate, [*kinds, *["go_on"] * 6], world, walks=12, moves=60, founders=founders, others=others)
    wanted = events_of("Catalogue", "Grants", "Anchors")
    wanted |= {f"grant: {origin} to {goal}" for origin, goal in GRANT_WAYS}
    wanted |= {f"refused: NotThe{owner}" for owner in ("Provider", "Requester")}
    wanted |= {"refused while suspended", "refused: HeadDoesNotGrow", "refused: StateInvalid"}
    assert {what for what in wanted if not met[what]} == set()


def test_a_council_that_votes_on_itself_keeps_its_promises(
    world: World, founders: list[Member], others: Sequence[Member]
) -> None:
    kinds = [
        "propose_status",
        "propose_roles",
        "propose_threshold",
        "propose_admission",
        "propose_recovery",
        "rotate",
        "declare_compromise",
        "declare_compromises",
    ]
    met = walk(Council, [*kinds, *["approve"] * 6], world, walks=8, moves=60, founders=founders, others=others)
    wanted = events_of("Members") | {f"status: {origin} to {goal}" for origin, goal in STATUS_WAYS}
    wanted |= {"refused while suspended", "refused: NotAnAuthority", "refused: ThresholdInvalid", "approval lapsed"}
    wanted |= {f"recovered: {status}" for status in (ACTIVE, SUSPENDED)} | {"refused: AccountTaken"}
    wanted |= {"refused: EpochPassed", "refused: CompromiseInvalid"}
    wanted |= {"lost its account to a declaration", "recovered from a compromise"}
    assert {what for what in wanted if not met[what]} == set()
