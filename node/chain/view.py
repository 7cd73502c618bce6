"""The chain's state as values, read from the index: members, datasets and grants in memory, anchors from the store.

A member's keys are judged here, since a contract cannot tell a point of the curve from 65 other bytes: an epoch with a
bad key is left out, and a member whose newest epoch is bad counts as suspended, whatever the chain says, until it sets
better keys. One member's nonsense never stops the index of the others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TypeVar

from crypto.errors import KeyInvalid
from crypto.sm2 import SM2PublicKey
from node.chain.index_store import IndexStore
from node.chain.rows import (
    ANCHOR,
    DATASET,
    GRANT,
    MEMBER,
    EpochRow,
    MemberRow,
    Row,
    anchor_key,
    log_key,
    member_id_of,
    read_row,
)
from node.model.chain import (
    Anchor,
    DatasetOnChain,
    GrantOnChain,
    KeyEpoch,
    KeyKind,
    Member,
    MemberStatus,
    Role,
)

Key = TypeVar("Key")
Value = TypeVar("Value")


class IndexView:
    """Reads of the port ChainView. Never blocks on the chain; safe for use by several threads."""

    def __init__(self, store: IndexStore) -> None:
        self._store = store
        self._state_lock = threading.Lock()
        self._members: dict[str, Member] = {}
        self._by_certificate: dict[bytes, list[Member]] = {}
        self._datasets: dict[bytes, DatasetOnChain] = {}
        self._grants: dict[bytes, GrantOnChain] = {}
        for prefix in (MEMBER, DATASET, GRANT):
            self.update(dict(store.scan(prefix)))

    def member(self, member_id: str) -> Member | None:
        """A member, whatever its status."""
        return self._members.get(member_id)

    def members(self) -> Sequence[Member]:
        """Every member, in order of its id."""
        with self._state_lock:
            return sorted(self._members.values(), key=lambda member: member.member_id)

    def certificate_holders(self, certificate: bytes) -> Sequence[Member]:
        """Every member that names this TLS certificate (DER) in any epoch, whoever named it first before the others."""
        return self._by_certificate.get(certificate, ())

    def member_by_account(self, account: str) -> Member | None:
        """The member whose account in force this is (EIP-55); accounts are never reused, so there is at most one."""
        with self._state_lock:
            return next((member for member in self._members.values() if member.keys.account == account), None)

    def is_in_force(self, account: str) -> bool:
        """Whether this is the account in force of an active member (EIP-55), and not declared compromised: the contracts' `memberOf`."""
        member = self.member_by_account(account)
        return (
            member is not None
            and member.is_active
            and member.compromised_since(KeyKind.ACCOUNT, member.keys.epoch) is None
        )

    def dataset(self, dataset_id: bytes) -> DatasetOnChain | None:
        """A dataset's entry in the catalogue."""
        return self._datasets.get(dataset_id)

    def datasets(self) -> Sequence[DatasetOnChain]:
        """The catalogue."""
        with self._state_lock:
            return tuple(self._datasets.values())

    def grant(self, grant_id: bytes) -> GrantOnChain | None:
        """A grant."""
        return self._grants.get(grant_id)

    def grants(self) -> Sequence[GrantOnChain]:
        """Every grant."""
        with self._state_lock:
            return tuple(self._grants.values())

    def newest_anchor(self, member_id: str, log_id: bytes) -> Anchor | None:
        """The greatest anchored head of a member's log."""
        found = self._store.last(log_key(member_id, log_id))
        return None if found is None else _anchor(*found)

    def anchors(self, member_id: str, log_id: bytes) -> Sequence[Anchor]:
        """Every anchor of a member's log, smallest size first."""
        return tuple(_anchor(key, value) for key, value in self._store.scan(log_key(member_id, log_id)))

    def anchor_of(self, member_id: str, log_id: bytes, size: int) -> Anchor | None:
        """The anchor of a member's log at just this size."""
        key = anchor_key(member_id, log_id, size)
        value = self._store.get(key)
        return None if value is None else _anchor(key, value)

    def update(self, changed: dict[bytes, bytes | None]) -> None:
        """Take over rows that the store has changed; None for a row that is gone."""
        rows: list[tuple[bytes, Row | None]] = [
            (key, None if value is None else read_row(key, value))
            for key, value in changed.items()
            if not key.startswith(ANCHOR)
        ]
        with self._state_lock:
            touched_members = False
            for key, row in rows:
                match key[:1]:
                    case b"m":
                        touched_members = True
                        member = _member(row) if isinstance(row, MemberRow) else None
                        _put(self._members, member_id_of(key[1:]), member)
                    case b"d":
                        _put(self._datasets, key[1:], row if isinstance(row, DatasetOnChain) else None)
                    case _:
                        _put(self._grants, key[1:], row if isinstance(row, GrantOnChain) else None)
            if touched_members:
                self._by_certificate = _by_certificate(self._members.values())


def _put(values: dict[Key, Value], key: Key, value: Value | None) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _anchor(key: bytes, value: bytes) -> Anchor:
    row = read_row(key, value)
    if not isinstance(row, Anchor):
        raise TypeError("a row under an anchor's key is no anchor")  # one function writes these keys
    return row


def _member(row: MemberRow) -> Member | None:
    """The member of a row; None for one that never had usable keys."""
    epochs = tuple(epoch for keys in row.epochs if (epoch := _epoch(keys)) is not None)
    if not epochs:
        return None
    usable = epochs[-1].epoch == row.epochs[-1].epoch
    status = MemberStatus(row.status)
    if status is MemberStatus.ACTIVE and not usable:
        status = MemberStatus.SUSPENDED
    return Member(row.member_id, row.name, Role(row.roles), status, epochs)


def _epoch(row: EpochRow) -> KeyEpoch | None:
    try:
        signing_key = SM2PublicKey.from_bytes(row.signing_key)
        encryption_key = SM2PublicKey.from_bytes(row.encryption_key)
    except KeyInvalid:
        return None
    return KeyEpoch(
        row.epoch,
        signing_key,
        encryption_key,
        row.account,
        row.certificate,
        row.endpoint,
        row.since_block,
        row.since_time,
        row.compromised_since,
        row.encryption_compromised_since,
        row.account_compromised_since,
        row.certificate_compromised_since,
    )


def _by_certificate(members: Iterable[Member]) -> dict[bytes, list[Member]]:
    """Members by every certificate that they named, the first to name it first: certificates are public, so another
    member could name it too, to be taken for its owner or to get in its way.
    """
    named: dict[bytes, dict[str, tuple[int, Member]]] = {}
    for member in members:
        for epoch in member.epochs:  # oldest first
            named.setdefault(epoch.certificate, {}).setdefault(member.member_id, (epoch.since_block, member))
    return {
        certificate: [member for _, member in sorted(holders.values(), key=lambda one: (one[0], one[1].member_id))]
        for certificate, holders in named.items()
    }
