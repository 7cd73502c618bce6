"""The transactions of a member's business: the port ChainWriter.

Every purpose names a thing that can happen once on the chain, so that a call repeated after a crash joins the
transaction made before it. An update of a dataset's entry can happen again with the same values, so it is the one
exception, and is left out where the view shows the values already.
"""

from __future__ import annotations

from node.chain.abi import ContractABI
from node.chain.deployment import Deployment
from node.chain.journal_store import Call
from node.chain.sender import Sender
from node.chain.view import IndexView
from node.model.chain import Mined, SharingType


class Writer:
    """Transactions of one member. Blocking; returns when the view has indexed the block.

    Args:
        sender: journals, sends and waits; its finality is the view's.
        view: what the chain says already.
        deployment: addresses of the contracts.
        interfaces: the contracts' ABIs by name.
    """

    def __init__(
        self, sender: Sender, view: IndexView, deployment: Deployment, interfaces: dict[str, ContractABI]
    ) -> None:
        self._sender = sender
        self._view = view
        self._deployment = deployment
        self._interfaces = interfaces

    def anchor(self, log_id: bytes, size: int, root: bytes, note_digest: bytes) -> Mined:
        """Anchor a log's head."""
        member = self._view.member_by_account(self._sender.address)
        known = None if member is None else self._view.anchor_of(member.member_id, log_id, size)
        if known is not None and (known.root, known.note_digest) == (root, note_digest):
            return Mined(known.transaction_hash, known.block)
        return self._send(f"anchor:{log_id.hex()}:{size}", "Anchors", "anchor", log_id, size, root, note_digest)

    def register_dataset(
        self, dataset_id: bytes, description_digest: bytes, level: int, sharing_type: SharingType
    ) -> Mined:
        """Enter a dataset into the catalogue, or change its entry."""
        known = self._view.dataset(dataset_id)
        values = (dataset_id, description_digest, level, int(sharing_type))
        name = f"{dataset_id.hex()}:{description_digest.hex()}:{level}:{int(sharing_type)}"
        if known is None:
            return self._send(f"register:{name}", "Catalogue", "register", *values)
        same = (known.description_digest, known.level, known.sharing_type) == values[1:]
        for verb in ("update", "register"):
            done = self._sender.done(f"{verb}:{name}") if same else None
            if done is not None:
                return done
        return self._send(f"update:{name}", "Catalogue", "update", *values, again=True)

    def set_head(self, dataset_id: bytes, size: int, root: bytes, version_digest: bytes) -> Mined:
        """Name a dataset's newest version."""
        return self._send(
            f"head:{dataset_id.hex()}:{size}", "Catalogue", "setHead", dataset_id, size, root, version_digest
        )

    def withdraw_dataset(self, dataset_id: bytes) -> Mined:
        """Withdraw a dataset from the catalogue, for good."""
        return self._send(f"withdraw:{dataset_id.hex()}", "Catalogue", "withdraw", dataset_id)

    def request_grant(self, grant_id: bytes, dataset_id: bytes, request_digest: bytes) -> Mined:
        """Request a grant."""
        return self._send(f"request:{grant_id.hex()}", "Grants", "request", grant_id, dataset_id, request_digest)

    def approve_grant(self, grant_id: bytes, terms_digest: bytes, expiry_seconds: int, quota: int) -> Mined:
        """Approve a grant that was requested."""
        return self._send(
            f"approve:{grant_id.hex()}", "Grants", "approve", grant_id, terms_digest, expiry_seconds, quota
        )

    def deny_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined:
        """Deny a grant that was requested."""
        return self._send(f"deny:{grant_id.hex()}", "Grants", "deny", grant_id, reason_digest)

    def revoke_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined:
        """Revoke a grant that was approved."""
        return self._send(f"revoke:{grant_id.hex()}", "Grants", "revoke", grant_id, reason_digest)

    def close_grant(self, grant_id: bytes) -> Mined:
        """Close a grant that is no longer needed."""
        return self._send(f"close:{grant_id.hex()}", "Grants", "close", grant_id)

    def advance_grant(self, grant_id: bytes, sequence: int, receipt_digest: bytes) -> Mined:
        """State the newest sequence number under a grant, and its receipt."""
        return self._send(
            f"advance:{grant_id.hex()}:{sequence}", "Grants", "advance", grant_id, sequence, receipt_digest
        )

    def _send(self, purpose: str, contract: str, function: str, *values: object, again: bool = False) -> Mined:
        call = Call(
            self._deployment.address(contract),
            self._interfaces[contract].call(function, *values),
            f"{contract}.{function}",
        )
        return self._sender.send(purpose, call, again=again)
