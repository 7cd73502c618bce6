"""What the services call: the use cases of `node.exchange`, as far as the wire knows them, and the node's own status."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.trail import Trail
from crypto.errors import Refusal
from crypto.packed import Packed
from node.exchange.granting import Wish
from node.exchange.publishing import Offer
from node.model.chain import Member, Mined
from node.model.grants import Explanation, Terms
from node.model.keys import Kind, Mode
from node.model.results import (
    CatalogueEntry,
    FetchProgress,
    GrantSummary,
    PublishedDataset,
    PublishProgress,
    Purged,
    QueryResult,
)
from node.model.transfer import OrderNote, QueryAnswer, QueryAsked, ReceiptNote, StreamMessage

Tell = Callable[
    [str, int, int], None
]  # what is being done, how much of it, of how much; 0 of 0 where it is not counted


class ProviderFace(Protocol):
    """This node as provider (node.exchange.provider.Provider)."""

    async def list_datasets(self, caller: Member) -> Sequence[PublishedDataset]:
        """The datasets that this node provides."""

    async def submit_request(self, caller: Member, note: bytes) -> None:
        """Take a request note."""

    async def decision(self, caller: Member, grant_id: bytes) -> bytes:
        """The decision note of a grant."""

    def exchange(
        self, caller: Member, inbound: AsyncIterator[OrderNote | ReceiptNote]
    ) -> AsyncGenerator[StreamMessage, None]:
        """One bulk transfer."""

    async def query(self, caller: Member, asked: QueryAsked) -> QueryAnswer:
        """One record by its key."""

    async def submit_receipts(self, caller: Member, notes: Sequence[bytes]) -> None:
        """Take receipts of answers, oldest first."""

    async def log_refusal(self, caller: Member, refusal: Refusal) -> None:
        """Log what was refused before a use case saw it."""


class RequesterFace(Protocol):
    """This node as requester (node.exchange.requester.Requester)."""

    def fetch(self, grant_id: bytes) -> AsyncGenerator[FetchProgress, None]:
        """Fetch what a grant covers; the last progress has the summary."""

    async def query(self, grant_id: bytes, key: str) -> QueryResult:
        """Ask for one record."""

    def read_records(self, grant_id: bytes) -> tuple[Sequence[str], Iterator[Packed]]:
        """Field names, and the records of a finished fetch in batches. Blocking."""


class GrantingFace(Protocol):
    """The department's officers (node.exchange.granting.Granting)."""

    async def describe_dataset(self, offer: Offer) -> bytes:
        """Create a dataset; its id."""

    def publish(self, dataset_id: bytes, batches: AsyncIterator[Packed]) -> AsyncGenerator[PublishProgress, None]:
        """Append records as one version; the last progress has its note."""

    async def purge(self, dataset_id: bytes, reason: str) -> Purged:
        """Destroy a dataset's records and withdraw it."""

    async def request(self, wish: Wish) -> tuple[bytes, Mined]:
        """Ask for a grant; its id and the transaction."""

    async def decide(self, grant_id: bytes, *, approve: bool, reason: str, wanted: Terms) -> Mined:
        """Approve or deny."""

    async def revoke(self, grant_id: bytes, reason: str) -> Mined:
        """Take a grant back."""

    async def catalogue(self, contains: str) -> Sequence[CatalogueEntry]:
        """The catalogue."""

    async def grants(self) -> Sequence[GrantSummary]:
        """The grants that this department is a side of."""

    async def explain(self, grant_id: bytes) -> Explanation:
        """Why a grant does or does not allow an order now."""


class AuditingFace(Protocol):
    """Who may read this node's log, and what they get (node.exchange.auditing.Auditing)."""

    async def checkpoint(self, caller: Member) -> tuple[bytes, bytes]:
        """The newest signed checkpoint, and the newest anchored one or nothing."""

    async def entries(self, caller: Member, subject: str) -> tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]:
        """A checkpoint note, and (index, entry, inclusion path under it) of each entry about a subject."""

    async def consistency(self, caller: Member, old_size: int, new_size: int) -> Sequence[bytes]:
        """The consistency path between two sizes."""

    async def evidence(self, caller: Member, index: int) -> bytes:
        """The evidence file of one entry."""

    async def range_file(self, caller: Member, first: int, count: int, *, anchored: bool) -> bytes:
        """The range file of up to `count` entries from `first` on."""


class WitnessingFace(Protocol):
    """This node as a witness of other logs (node.exchange.witnessing.Witnessing)."""

    async def cosign(self, caller: Member, checkpoint_note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        """The cosignature line under a head of the caller's log."""


class FinalityFace(Protocol):
    """This node's word about blocks (node.exchange.finality.Finality)."""

    async def state(self, caller: Member, chain_id: int, number: int, block_hash: bytes) -> bytes:
        """The note in which this node states that a block is final."""


class AnchoringFace(Protocol):
    """Putting the log's head on the chain (node.exchange.anchoring.Anchoring)."""

    async def anchor_now(self) -> tuple[bytes, Mined]:
        """The checkpoint note and its transaction."""


@dataclass(frozen=True)
class AnchorNetworkStatus:
    """A further network that gets the log's heads (proto `AnchorNetwork`)."""

    name: str
    reachable: bool
    anchored_size: int


@dataclass(frozen=True)
class NodeStatus:
    """What a node says of itself (proto `GetStatusResponse`)."""

    member_id: str
    member_name: str
    version: str
    engine: str
    listen_address: str
    log_size: int
    log_root: bytes
    anchored_size: int
    chain_reachable: bool
    chain_id: int
    block_number: int
    dataset_count: int
    record_count: int
    pending_transactions: int
    uptime_seconds: int
    witnesses: tuple[str, ...]
    cosignatures_needed: int
    cosigned_by: tuple[str, ...]
    anchor_networks: tuple[AnchorNetworkStatus, ...]
    unanchored_seconds: int
    certificate_expiry_seconds: int


class StatusFace(Protocol):
    """The node's own status (the composition knows it)."""

    async def status(self) -> NodeStatus:
        """How the node is now."""


class TracingFace(Protocol):
    """What this department finds out with the other nodes' help (node.exchange.tracing.Tracing)."""

    async def trail(self, grant_id: bytes) -> Trail:
        """Every step of a grant from both sides' logs."""

    async def member_evidence(self, member_id: str, index: int) -> bytes:
        """The evidence file of one entry of a member's log."""

    async def member_range(self, member_id: str, first: int, count: int, *, anchored: bool) -> bytes:
        """The range file of up to `count` entries of a member's log."""


class KeyView(Protocol):
    """A key as it is listed (node.keys.manifest.KeyRecord)."""

    @property
    def kind(self) -> Kind:
        """What it is for."""

    @property
    def number(self) -> int:
        """Counted from 1 for each kind."""

    @property
    def state(self) -> str:
        """next, active, retiring, retired or compromised."""

    @property
    def digest(self) -> bytes:
        """What names its public side, 32 bytes."""

    @property
    def since_ms(self) -> int:
        """When it came into its state, Unix ms."""


class RotationView(Protocol):
    """A rotation under way (node.keys.manifest.RotationRecord)."""

    @property
    def kind(self) -> Kind:
        """Of which kind of key."""

    @property
    def number(self) -> int:
        """Of the next key."""

    @property
    def step(self) -> str:
        """begun, prepared or committing."""

    @property
    def mode(self) -> str:
        """through, hold or drill."""

    @property
    def begun_ms(self) -> int:
        """Unix ms."""


@dataclass(frozen=True)
class KeysView:
    """Every key of the node."""

    member_id: str
    keys: Sequence[KeyView]
    rotation: RotationView | None


@dataclass(frozen=True)
class RotatedView:
    """How a rotation, or its drill, ended: prepared, active or undone. `report`: sentences about what was tried and done."""

    kind: Kind
    number: int
    step: str
    report: tuple[str, ...]


@dataclass(frozen=True)
class AffectedView:
    """An entry of the log that a compromised key had a part in. `note_digest`: of its note, or empty."""

    index: int
    time_ms: int
    event: str
    subject: str
    note_digest: bytes


@dataclass(frozen=True)
class CompromisedView:
    """What was declared. `transactions`: of the declarations, one a network; empty for a key of the disk."""

    kind: Kind
    old: int
    new: int
    epochs: tuple[int, ...]
    transactions: tuple[bytes, ...]
    affected: tuple[AffectedView, ...]


class RotatingFace(Protocol):
    """Rotations (node.rotation.rotating.Rotating)."""

    async def rotate(self, kind: Kind, mode: Mode, tell: Tell) -> RotatedView:
        """Rotate a key, as far as the mode says."""

    async def commit(self, tell: Tell) -> RotatedView:
        """Carry out the rotation that was held."""

    async def undo(self) -> RotatedView:
        """Take back the rotation under way."""


class CompromisingFace(Protocol):
    """Keys in others' hands (node.rotation.compromise.Compromising)."""

    async def compromise(self, kind: Kind, since_seconds: int, tell: Tell) -> CompromisedView:
        """Replace the active key, and declare it."""

    async def declare(self, kind: Kind, number: int, since_seconds: int, tell: Tell) -> CompromisedView:
        """Declare a key that was replaced before."""
