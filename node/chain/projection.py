"""What an event of the contracts changes in the index: pure rules, no store and no socket.

The contracts have checked every change before they emitted an event, so an event is applied as it stands. What they
cannot check (that a key is a point of the curve) is judged where rows become members, in `view`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from eth_utils.address import to_checksum_address

from node.chain.abi import Event
from node.chain.rows import DATASET, GRANT, MEMBER, EpochRow, MemberRow, Row, anchor_key, member_id_of
from node.errors import ChainMismatch
from node.model.chain import (
    Anchor,
    Block,
    DatasetOnChain,
    GrantOnChain,
    GrantState,
    KeyKind,
    MemberStatus,
    SharingType,
)

R = TypeVar("R", MemberRow, DatasetOnChain, GrantOnChain)


class Rows(Protocol):
    """The rows that events change."""

    def get(self, key: bytes) -> Row | None: ...  # noqa: D102 (a port's name and types say it)
    def put(self, key: bytes, row: Row) -> None: ...  # noqa: D102 (likewise)


def apply_event(rows: Rows, event: Event, block: Block, transaction_hash: bytes) -> None:
    """Change the rows as an event of `block` says. Events of no consequence for the index are passed over.

    Raises ChainMismatch if the event is about something that no earlier event made.
    """
    rule = _RULES.get(event.name)
    if rule is not None:
        rule(rows, event.values, block, transaction_hash)


def _row(rows: Rows, key: bytes, kind: type[R]) -> R:
    row = rows.get(key)
    if not isinstance(row, kind):
        raise ChainMismatch(f"an event is about {key[1:].hex()}, which no earlier event made")
    return row


def _member_admitted(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    member, name, roles = values
    row = MemberRow(member_id_of(member), name, roles, int(MemberStatus.ACTIVE))
    rows.put(MEMBER + member, row)


def _keys_set(rows: Rows, values: tuple[Any, ...], block: Block, _hash: bytes) -> None:
    member, epoch, (signing_key, encryption_key, account, certificate, endpoint) = values
    row = _row(rows, MEMBER + member, MemberRow)
    keys = EpochRow(
        epoch,
        signing_key,
        encryption_key,
        to_checksum_address(account),
        certificate,
        endpoint,
        block.number,
        block.time,
    )
    rows.put(MEMBER + member, replace(row, epochs=(*row.epochs, keys)))


def _status_changed(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    member, status = values
    rows.put(MEMBER + member, replace(_row(rows, MEMBER + member, MemberRow), status=status))


def _roles_changed(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    member, roles = values
    rows.put(MEMBER + member, replace(_row(rows, MEMBER + member, MemberRow), roles=roles))


def _compromise_declared(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    member, epoch, kind, since = values
    row = _row(rows, MEMBER + member, MemberRow)
    epochs = tuple(_compromised(keys, kind, since) if keys.epoch == epoch else keys for keys in row.epochs)
    rows.put(MEMBER + member, replace(row, epochs=epochs))


def _compromised(keys: EpochRow, kind: int, since: int) -> EpochRow:
    match kind:
        case KeyKind.SIGNING:
            return replace(keys, compromised_since=since)
        case KeyKind.ENCRYPTION:
            return replace(keys, encryption_compromised_since=since)
        case KeyKind.ACCOUNT:
            return replace(keys, account_compromised_since=since)
        case KeyKind.CERTIFICATE:
            return replace(keys, certificate_compromised_since=since)
    raise ChainMismatch(f"a key of kind {kind} was declared compromised, which the contract does not know")


def _dataset_registered(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    dataset, provider, digest, level, sharing_type = values
    row = DatasetOnChain(dataset, member_id_of(provider), digest, level, SharingType(sharing_type))
    rows.put(DATASET + dataset, row)


def _dataset_updated(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    dataset, *_, digest, level, sharing_type = values
    row = _row(rows, DATASET + dataset, DatasetOnChain)
    changed = replace(row, description_digest=digest, level=level, sharing_type=SharingType(sharing_type))
    rows.put(DATASET + dataset, changed)


def _head_set(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    dataset, size, root, digest = values
    row = _row(rows, DATASET + dataset, DatasetOnChain)
    rows.put(DATASET + dataset, replace(row, size=size, root=root, version_digest=digest))


def _dataset_withdrawn(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    dataset = values[0]
    rows.put(DATASET + dataset, replace(_row(rows, DATASET + dataset, DatasetOnChain), withdrawn=True))


def _grant_requested(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    grant, dataset, requester, digest = values
    provider = _row(rows, DATASET + dataset, DatasetOnChain).provider_id
    row = GrantOnChain(grant, dataset, member_id_of(requester), provider, GrantState.REQUESTED, digest)
    rows.put(GRANT + grant, row)


def _grant_approved(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    grant, terms, expiry, quota = values
    row = _row(rows, GRANT + grant, GrantOnChain)
    changed = replace(row, state=GrantState.APPROVED, terms_digest=terms, expiry_seconds=expiry, quota=quota)
    rows.put(GRANT + grant, changed)


def _grant_ended(state: GrantState) -> _Rule:
    def rule(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
        grant, reason = values
        row = _row(rows, GRANT + grant, GrantOnChain)
        rows.put(GRANT + grant, replace(row, state=state, reason_digest=reason))

    return rule


def _grant_closed(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    grant = values[0]
    rows.put(GRANT + grant, replace(_row(rows, GRANT + grant, GrantOnChain), state=GrantState.CLOSED))


def _grant_advanced(rows: Rows, values: tuple[Any, ...], _block: Block, _hash: bytes) -> None:
    grant, sequence, receipt = values
    row = _row(rows, GRANT + grant, GrantOnChain)
    rows.put(GRANT + grant, replace(row, last_sequence=sequence, last_receipt_digest=receipt))


def _anchored(rows: Rows, values: tuple[Any, ...], block: Block, transaction_hash: bytes) -> None:
    log, member, size, root, note = values
    row = Anchor(log, member_id_of(member), size, root, note, block, transaction_hash)
    rows.put(anchor_key(row.member_id, log, size), row)


_Rule = Callable[[Rows, tuple[Any, ...], Block, bytes], None]
_RULES: dict[str, _Rule] = {
    "MemberAdmitted": _member_admitted,
    "KeysSet": _keys_set,
    "StatusChanged": _status_changed,
    "RolesChanged": _roles_changed,
    "CompromiseDeclared": _compromise_declared,
    "DatasetRegistered": _dataset_registered,
    "DatasetUpdated": _dataset_updated,
    "HeadSet": _head_set,
    "DatasetWithdrawn": _dataset_withdrawn,
    "GrantRequested": _grant_requested,
    "GrantApproved": _grant_approved,
    "GrantDenied": _grant_ended(GrantState.DENIED),
    "GrantRevoked": _grant_ended(GrantState.REVOKED),
    "GrantClosed": _grant_closed,
    "GrantAdvanced": _grant_advanced,
    "Anchored": _anchored,
}
