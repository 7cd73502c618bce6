"""The consortium's chain in memory, behind ChainView and ChainWriter: the contracts' rules, blocks and time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from crypto.sm3 import sm3
from node.errors import ChainUnavailable, TransactionRefused
from node.model.chain import (
    Anchor,
    Block,
    ChainHealth,
    DatasetOnChain,
    GrantOnChain,
    GrantState,
    Member,
    Mined,
    SharingType,
)


class MemoryChain:
    """One chain for a whole world. Every transaction is one block; `is_reachable` False makes it go away."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self.members_by_id: dict[str, Member] = {}
        self.datasets_by_id: dict[bytes, DatasetOnChain] = {}
        self.grants_by_id: dict[bytes, GrantOnChain] = {}
        self.anchors_by_log: defaultdict[tuple[str, bytes], list[Anchor]] = defaultdict(list)
        self.is_reachable = True
        self.refreshes = 0
        self.head = Block(0, bytes(32), 0)
        self.last_contact_ms = clock()
        self._callbacks: list[Callable[[], None]] = []

    def mine(self) -> Mined:
        """One more block."""
        if not self.is_reachable:
            raise ChainUnavailable("the chain is down")
        number = self.head.number + 1
        self.head = Block(number, sm3(number.to_bytes(8, "big")), self._clock() // 1000)
        for callback in tuple(self._callbacks):
            callback()
        return Mined(sm3(b"transaction" + number.to_bytes(8, "big")), self.head)

    def change_grant(self, grant_id: bytes, **changes: object) -> Mined:
        """Put a grant into another state, as a contract would."""
        grant = self.grants_by_id[grant_id]
        self.grants_by_id[grant_id] = replace(grant, **changes)  # type: ignore[arg-type]  # any field, by name
        return self.mine()

    def on_block(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def forget_callbacks(self) -> None:
        """A process ended, and with it those who listened."""
        self._callbacks.clear()


class MemoryView:
    """The chain as one node sees it: at once, and locally even while the chain is down."""

    def __init__(self, chain: MemoryChain) -> None:
        self._chain = chain

    def member(self, member_id: str) -> Member | None:
        return self._chain.members_by_id.get(member_id)

    def members(self) -> Sequence[Member]:
        return list(self._chain.members_by_id.values())

    def certificate_holders(self, certificate: bytes) -> Sequence[Member]:
        named = [
            (min(epoch.since_block for epoch in member.epochs if epoch.certificate == certificate), member)
            for member in self.members()
            if any(epoch.certificate == certificate for epoch in member.epochs)
        ]
        return [member for _, member in sorted(named, key=lambda one: (one[0], one[1].member_id))]

    def dataset(self, dataset_id: bytes) -> DatasetOnChain | None:
        return self._chain.datasets_by_id.get(dataset_id)

    def datasets(self) -> Sequence[DatasetOnChain]:
        return list(self._chain.datasets_by_id.values())

    def grant(self, grant_id: bytes) -> GrantOnChain | None:
        return self._chain.grants_by_id.get(grant_id)

    def grants(self) -> Sequence[GrantOnChain]:
        return list(self._chain.grants_by_id.values())

    def newest_anchor(self, member_id: str, log_id: bytes) -> Anchor | None:
        anchors = self._chain.anchors_by_log[member_id, log_id]
        return anchors[-1] if anchors else None

    def anchors(self, member_id: str, log_id: bytes) -> Sequence[Anchor]:
        return list(self._chain.anchors_by_log[member_id, log_id])

    def health(self) -> ChainHealth:
        return ChainHealth(self._chain.is_reachable, self._chain.last_contact_ms, 1337, self._chain.head, 0)

    def refresh(self) -> None:
        self._chain.refreshes += 1
        if not self._chain.is_reachable:
            raise ChainUnavailable("the chain is down")
        self._chain.last_contact_ms = self._chain._clock()

    def on_block(self, callback: Callable[[], None]) -> None:
        self._chain.on_block(callback)


class MemoryWriter:
    """One member's transactions, under the contracts' rules."""

    def __init__(
        self, chain: MemoryChain, member_id: str, step: Callable[[str, Callable[[], None]], None] = lambda _, act: act()
    ) -> None:
        self._chain = chain
        self._member_id = member_id
        self._step = step  # around what a node may be killed at

    def anchor(self, log_id: bytes, size: int, root: bytes, note_digest: bytes) -> Mined:
        anchors = self._chain.anchors_by_log[self._member_id, log_id]
        for held in anchors:
            if (held.size, held.root, held.note_digest) == (size, root, note_digest):
                return Mined(held.transaction_hash, held.block)  # the same thing again is the same transaction
        self._require(not anchors or anchors[-1].size < size, "SizeHasNotGrown")
        mined: list[Mined] = []

        def act() -> None:
            mined.append(self._chain.mine())
            (done,) = mined
            anchors.append(Anchor(log_id, self._member_id, size, root, note_digest, done.block, done.transaction_hash))

        self._step("anchor", act)
        return mined[0]

    def register_dataset(
        self, dataset_id: bytes, description_digest: bytes, level: int, sharing_type: SharingType
    ) -> Mined:
        self._require(dataset_id.endswith(self._member_id.encode()), "NotTheProvider")
        self._require(dataset_id not in self._chain.datasets_by_id, "DatasetExists")
        mined = self._chain.mine()
        self._chain.datasets_by_id[dataset_id] = DatasetOnChain(
            dataset_id, self._member_id, description_digest, level, sharing_type
        )
        return mined

    def set_head(self, dataset_id: bytes, size: int, root: bytes, version_digest: bytes) -> Mined:
        dataset = self._chain.datasets_by_id[dataset_id]
        self._require(dataset.provider_id == self._member_id and size > dataset.size, "SizeHasNotGrown")
        mined = self._chain.mine()
        self._chain.datasets_by_id[dataset_id] = replace(dataset, size=size, root=root, version_digest=version_digest)
        return mined

    def withdraw_dataset(self, dataset_id: bytes) -> Mined:
        dataset = self._chain.datasets_by_id[dataset_id]
        self._require(dataset.provider_id == self._member_id and not dataset.withdrawn, "DatasetIsWithdrawn")
        mined: list[Mined] = []

        def act() -> None:
            mined.append(self._chain.mine())
            self._chain.datasets_by_id[dataset_id] = replace(dataset, withdrawn=True)

        self._step("withdraw", act)
        return mined[0]

    def request_grant(self, grant_id: bytes, dataset_id: bytes, request_digest: bytes) -> Mined:
        self._require(grant_id not in self._chain.grants_by_id, "GrantExists")
        self._require(not self._chain.datasets_by_id[dataset_id].withdrawn, "DatasetNotOffered")
        provider_id = self._chain.datasets_by_id[dataset_id].provider_id
        mined = self._chain.mine()
        self._chain.grants_by_id[grant_id] = GrantOnChain(
            grant_id, dataset_id, self._member_id, provider_id, GrantState.REQUESTED, request_digest
        )
        return mined

    def approve_grant(self, grant_id: bytes, terms_digest: bytes, expiry_seconds: int, quota: int) -> Mined:
        self._require_state(grant_id, GrantState.REQUESTED)
        dataset = self._chain.datasets_by_id[self._chain.grants_by_id[grant_id].dataset_id]
        self._require(not dataset.withdrawn, "DatasetNotOffered")
        requester = self._chain.members_by_id[self._chain.grants_by_id[grant_id].requester_id]
        self._require(requester.is_active, "RequesterNotActive")
        return self._chain.change_grant(
            grant_id,
            state=GrantState.APPROVED,
            terms_digest=terms_digest,
            expiry_seconds=expiry_seconds,
            quota=quota,
        )

    def deny_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined:
        self._require_state(grant_id, GrantState.REQUESTED)
        return self._chain.change_grant(grant_id, state=GrantState.DENIED, reason_digest=reason_digest)

    def revoke_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined:
        self._require_state(grant_id, GrantState.APPROVED)
        return self._chain.change_grant(grant_id, state=GrantState.REVOKED, reason_digest=reason_digest)

    def close_grant(self, grant_id: bytes) -> Mined:
        return self._chain.change_grant(grant_id, state=GrantState.CLOSED)

    def advance_grant(self, grant_id: bytes, sequence: int, receipt_digest: bytes) -> Mined:
        grant = self._chain.grants_by_id[grant_id]
        self._require(grant.provider_id == self._member_id and sequence > grant.last_sequence, "SequenceHasNotGrown")
        return self._chain.change_grant(grant_id, last_sequence=sequence, last_receipt_digest=receipt_digest)

    def _require_state(self, grant_id: bytes, state: GrantState) -> None:
        grant = self._chain.grants_by_id[grant_id]
        self._require(grant.state is state and grant.provider_id == self._member_id, "WrongState")

    def _require(self, holds: bool, error: str) -> None:  # noqa: FBT001  # reads as the contract's `require`
        if not holds:
            raise TransactionRefused(error)
