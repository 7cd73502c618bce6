"""What every use case shares: who this node is, its ports, its limits, and the facts of a grant as they stand now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

from crypto.engine import Engine
from crypto.errors import DecryptionFailed
from crypto.sm3 import sm3
from crypto.wrap import unwrap_secrets
from node.errors import ChainUnavailable, DatasetPurged, DatasetUnknown, GrantUnknown, NotAMember
from node.exchange.coalesce import Coalescer
from node.exchange.journal import Journal
from node.exchange.ledger import Ledger
from node.exchange.notes import Notary, read_as
from node.model.chain import DatasetOnChain, GrantOnChain, Member
from node.model.events import Event, dataset_subject
from node.model.grants import GrantFacts, Terms, terms_of
from node.model.statements import Decision, Description
from node.model.transfer import Answer
from node.ports import ChainProofs, ChainView, ChainWriter, Clock, Datasets, Keys, Log, Peers, Random, Vault


@dataclass(frozen=True)
class Limits:
    """Configuration of the exchange."""

    delivery_segments: int = 16  # sealed segments in one delivery
    max_clock_skew_seconds: int = 300  # between an order's time and this node's
    max_outstanding_answers: int = 1_024  # of a grant, without a receipt
    max_outage_seconds: int = 86_400  # for which deliveries go on while the chain is down
    finish_orders_seconds: int = 0  # for which orders that were accepted before go on after that
    receipt_timeout_seconds: int = 60  # for which a stream waits for a receipt
    max_receipts_per_call: int = 4_096
    anchor_interval_seconds: int = 10
    witnesses: tuple[str, ...] = ()  # members that are asked to cosign this log's heads
    cosignatures_needed: int = 0  # of them, before a head is anchored


Found = TypeVar("Found")


class AnswerCodec(Protocol):
    """How the plaintext of an answer is spelled on the wire (proto `Answer`). The exchange knows the value alone."""

    def encode(self, answer: Answer) -> bytes:
        """The bytes to seal."""

    def decode(self, raw: bytes) -> Answer:
        """The reverse. Raises EncodingInvalid."""


KeepHead = Callable[[bytes, int], None]  # (note, size)


class DecidedHead(Protocol):
    """Where the note of the head that is being anchored outlives the process (node.stores.decided_head)."""

    def keep(self, note: bytes) -> None:
        """Make it durable in place of the one before."""

    def read(self) -> bytes | None:
        """The newest; None if there was never any."""


class EntryIndex(Protocol):
    """Which entries of the audit log are about what (audit.index.Index)."""

    def about(self, term: str, start: int = 0, limit: int | None = None) -> list[int]:
        """Indices of the entries about a grant, dataset, transfer or member, oldest first."""


class LogTree(Protocol):
    """The tree over the audit log (audit.store.TreeStore): its roots and proofs."""

    @property
    def size(self) -> int:
        """Entries so far."""

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` entries."""

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion path of an entry."""

    def consistency(self, old_size: int, new_size: int) -> list[bytes]:
        """The consistency path between two sizes."""

    def subtrees(self, start: int, stop: int) -> list[bytes]:
        """The fewest complete subtrees over the leaves from `start` to `stop`, from left to right."""


@dataclass(frozen=True)
class AnchorNetwork:
    """Another network that has this log's heads and nothing else: a city's or a province's chain beside the county's. `name`: as its
    network file and evidence call it.
    """

    name: str
    view: ChainView
    writer: ChainWriter
    proofs: ChainProofs


@dataclass(frozen=True)
class Context:
    """Shared by all use cases of one node. `vaults` gives the vault of a grant; `keep_head` makes a signed head of the audit log
    durable outside its store; `decided_head` keeps the head that is being anchored; `anchor_networks` are those beside the one that has members and grants.
    """

    member_id: str
    keys: Keys
    engine: Engine
    clock: Clock
    random: Random
    view: ChainView
    writer: ChainWriter
    log: Log
    tree: LogTree
    index: EntryIndex
    ledger: Ledger
    datasets: Datasets
    peers: Peers
    vaults: Callable[[bytes], Vault]
    answers: AnswerCodec
    keep_head: KeepHead
    decided_head: DecidedHead
    limits: Limits = field(default_factory=Limits)
    anchor_networks: tuple[AnchorNetwork, ...] = ()

    @cached_property
    def notary(self) -> Notary:
        """Signs and verifies notes."""
        return Notary(self.engine, self.member_id, self.keys, self.clock, self._renewed)

    @cached_property
    def journal(self) -> Journal:
        """Writes the audit log."""
        return Journal(self.log, self.clock, 1_000 * self.limits.max_clock_skew_seconds)

    @cached_property
    def on_purge(self) -> list[Callable[[], None]]:
        """What to call when this node has logged a purge: running deliveries look at their grant again."""
        return []

    @cached_property
    def _refresher(self) -> Coalescer[None, None]:
        return Coalescer(self._refresh_once, limit=1_000_000)

    def member(self, member_id: str) -> Member:
        """A member of the consortium, whatever its status. Raises NotAMember."""
        member = self.view.member(member_id)
        if member is None:
            raise NotAMember("no such member is on the chain", member=member_id)
        return member

    def grant(self, grant_id: bytes) -> GrantOnChain:
        """A grant. Raises GrantUnknown."""
        grant = self.view.grant(grant_id)
        if grant is None:
            raise GrantUnknown("no such grant is on the chain")
        return grant

    def dataset(self, dataset_id: bytes) -> DatasetOnChain:
        """A dataset of the catalogue. Raises DatasetUnknown, DatasetPurged."""
        if self.is_purged(dataset_id):
            raise DatasetPurged("the dataset is purged", dataset=dataset_id.hex())
        dataset = self.view.dataset(dataset_id)
        if dataset is None:
            raise DatasetUnknown("no such dataset is in the catalogue")
        return dataset

    def is_purged(self, dataset_id: bytes) -> bool:
        """Whether this node logged the dataset's purge, or the chain has it withdrawn, which nothing but a purge does."""
        dataset = self.view.dataset(dataset_id)
        return self.ledger.purge(dataset_id) is not None or (dataset is not None and dataset.withdrawn)

    async def check_not_purged(self, dataset_id: bytes) -> None:
        """Refuse what this department's own programs want of a purged dataset. Raises DatasetPurged, which is logged."""
        if self.is_purged(dataset_id):
            refusal = DatasetPurged("the dataset is purged", dataset=dataset_id.hex())
            subject = dataset_subject(dataset_id)
            await self.journal.record_refusal(Event.ACCESS_REFUSED, self.member_id, subject, refusal)
            raise refusal

    def description(self, dataset_id: bytes) -> Description:
        """This node's own description of a dataset that it provides. Raises DatasetUnknown."""
        note = self.ledger.description(dataset_id)
        if note is None:
            raise DatasetUnknown("this node provides no such dataset")
        return read_as(Description, note)

    def terms(self, grant: GrantOnChain) -> Terms | None:
        """The terms whose decision note is in the log and has the digest that is on the chain."""
        note = self.ledger.decision(grant.grant_id, grant.terms_digest) if grant.terms_digest else None
        return terms_of(read_as(Decision, note)) if note else None

    def facts(self, grant_id: bytes, pending_orders: int = 0) -> GrantFacts:
        """Everything known about a grant now. `pending_orders`: accepted and not in the ledger yet."""
        grant = self.view.grant(grant_id)
        return GrantFacts(
            grant=grant,
            terms=self.terms(grant) if grant else None,
            dataset=self.view.dataset(grant.dataset_id) if grant else None,
            requester=self.view.member(grant.requester_id) if grant else None,
            provider=self.view.member(grant.provider_id) if grant else None,
            revoked_here=self.ledger.revocation(grant_id) is not None,
            used=self.ledger.provided.use(grant_id).used + pending_orders,
            now_ms=self.clock(),
            purged_here=grant is not None and self.ledger.purge(grant.dataset_id) is not None,
        )

    async def refresh_view(self, *, under_way: bool = False) -> None:
        """See what the chain says now, so that a revocation one block ago counts.

        Callers who come while a refresh is running share the next one, not that one, which may have read too early.

        Args:
            under_way: for an order that was accepted before.

        Raises:
            ChainUnavailable: the chain is down, and has been for longer than an outage may last.
        """
        try:
            await self._refresher(None)
        except ChainUnavailable as cause:
            silent_ms = self.clock() - self.view.health().last_contact_ms
            seconds = self.limits.max_outage_seconds + (self.limits.finish_orders_seconds if under_way else 0)
            if silent_ms > 1000 * seconds:
                raise ChainUnavailable("the chain has been out of reach for longer than deliveries go on") from cause

    async def looked_up(self, find: Callable[[], Found]) -> Found:
        """What `find` finds on the chain, for a program of this department's own. Where it finds nothing the chain is looked at once more: what
        another node has just done may be in a block that this one has not indexed yet. Raises what `find` raises.
        """
        try:
            return find()
        except (DatasetUnknown, GrantUnknown):
            with suppress(ChainUnavailable):
                await self.refresh_view()
            return find()

    def unwrap(self, bound_to: bytes, blob: bytes) -> bytes:
        """Secrets that were wrapped to this member for one context, under whichever of its keys. Raises EncodingInvalid, DecryptionFailed."""
        failure: DecryptionFailed | None = None
        for decrypter in self.keys.decrypters:
            try:
                return unwrap_secrets(self.engine, decrypter, bound_to, blob)
            except DecryptionFailed as cause:
                failure = failure or cause
        raise failure or DecryptionFailed("this node has no decryption key")

    async def _renewed(self, member: Member) -> Member:
        """A member as the chain has it now, for a note under a key that was not known yet: it may have been rotated a block ago."""
        with suppress(ChainUnavailable):
            await self.refresh_view()
        return self.member(member.member_id)

    async def _refresh_once(self, callers: Sequence[None]) -> Sequence[Exception | None]:
        await asyncio.to_thread(self.view.refresh)
        return [None] * len(callers)


def dataset_id_of(provider_id: str, name: str) -> bytes:
    """The id of a dataset, 32 bytes: the first 14 of SM3(provider, a line feed, local name), then its provider's id.

    The contract Catalogue lets nobody but that provider register it.
    """
    member = provider_id.encode()
    return sm3(member + b"\n" + name.encode())[: -len(member)] + member


def version_origin(provider_id: str, dataset_id: bytes) -> str:
    """The origin of a dataset's log, as its version notes state it."""
    return f"kiteline/{provider_id}/dataset/{dataset_id.hex()}/SM3"


def audit_origin(member_id: str) -> str:
    """The origin of a member's audit log, as its checkpoints state it."""
    return f"kiteline/{member_id}/audit/SM3"


def wrap_context(grant_id: bytes, sequence: int) -> bytes:
    """What the keys of a delivery are wrapped for: grant, 32 bytes ‖ sequence, u64 big-endian."""
    return grant_id + sequence.to_bytes(8, "big")
