"""What the exchange needs from the world: the chain, the stores, the peers. Implementations stand in
`chain`, `stores` and `rpc`; the exchange knows these interfaces alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Protocol

from audit.verifier import ChainStatement
from crypto.packed import Packed
from crypto.signer import Decrypter, Signer
from node.model.chain import (
    Anchor,
    ChainHealth,
    DatasetOnChain,
    GrantOnChain,
    Member,
    Mined,
    SharingType,
)
from node.model.transfer import QueryAnswer, QueryAsked, StreamMessage

Clock = Callable[[], int]  # Unix time, milliseconds
Random = Callable[[int], bytes]


class ChainView(Protocol):
    """The chain as indexed up to the network's finality rule. Reads are local, fast and never block on the chain."""

    def member(self, member_id: str) -> Member | None: ...
    def members(self) -> Sequence[Member]: ...
    def certificate_holders(self, certificate: bytes) -> Sequence[Member]:
        """Every member that names this TLS certificate (DER) in any epoch, whoever named it first before the others."""

    def dataset(self, dataset_id: bytes) -> DatasetOnChain | None: ...
    def datasets(self) -> Sequence[DatasetOnChain]: ...
    def grant(self, grant_id: bytes) -> GrantOnChain | None: ...
    def grants(self) -> Sequence[GrantOnChain]: ...
    def newest_anchor(self, member_id: str, log_id: bytes) -> Anchor | None: ...
    def anchors(self, member_id: str, log_id: bytes) -> Sequence[Anchor]:
        """Every anchor of a member's log, smallest size first. Others may anchor under the same id; that is another log."""

    def health(self) -> ChainHealth: ...
    def refresh(self) -> None:
        """Index up to the chain's present head. Blocking; raises ChainUnavailable."""

    def on_block(self, callback: Callable[[], None]) -> None:
        """Call back after blocks were indexed or taken back, on the thread that did it."""


class ChainWriter(Protocol):
    """Transactions of this member. Each call is blocking: journaled before it is sent, never sent twice, waits until
    mined *and indexed by the view*. Raises ChainUnavailable (it may still be mined) or TransactionRefused.
    """

    def anchor(self, log_id: bytes, size: int, root: bytes, note_digest: bytes) -> Mined: ...
    def register_dataset(
        self, dataset_id: bytes, description_digest: bytes, level: int, sharing_type: SharingType
    ) -> Mined: ...
    def set_head(self, dataset_id: bytes, size: int, root: bytes, version_digest: bytes) -> Mined: ...
    def withdraw_dataset(self, dataset_id: bytes) -> Mined: ...
    def request_grant(self, grant_id: bytes, dataset_id: bytes, request_digest: bytes) -> Mined: ...
    def approve_grant(self, grant_id: bytes, terms_digest: bytes, expiry_seconds: int, quota: int) -> Mined: ...
    def deny_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined: ...
    def revoke_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined: ...
    def close_grant(self, grant_id: bytes) -> Mined: ...
    def advance_grant(self, grant_id: bytes, sequence: int, receipt_digest: bytes) -> Mined: ...


class ChainProofs(Protocol):
    """What only the chain's own blocks can prove."""

    @property
    def chain_id(self) -> int: ...
    def final_hash(self, number: int) -> bytes | None:
        """The hash of the block of this number, asked of this node's own endpoints now; None while it is not final. Blocking; raises
        ChainUnavailable.
        """

    def mined_size(self, member_id: str, log_id: bytes) -> int:
        """The size of a log's newest head in any block, also in one that is not final yet; 0 if there is none. Blocking; raises
        ChainUnavailable.
        """

    def receipt_proof(self, anchor: Anchor) -> ChainStatement:
        """The chain's part of an evidence file. Blocking; raises ChainUnavailable, ChainMismatch."""


class Log(Protocol):
    """The audit log, as the exchange uses it (audit.log.AuditLog)."""

    @property
    def size(self) -> int: ...
    def submit(self, entry: bytes) -> Future[int]:
        """Append by group commit; resolves to the entry's index once durable and applied to the ledger."""

    def entry(self, index: int) -> bytes: ...
    def entries(self, start: int, stop: int) -> Iterator[bytes]: ...


class Table(Protocol):
    """An ordered map of byte strings that survives a restart; writes become durable together with the ledger's mark."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]: ...


class LedgerStore(Protocol):
    """Tables that are a projection of the audit log: `applied` says how many entries they reflect. The store may be
    thrown away; the log rebuilds it.
    """

    @property
    def applied(self) -> int: ...
    def table(self, name: str) -> Table: ...
    def advance(self, applied: int) -> None:
        """Note that entries below `applied` are reflected; what was written becomes durable with it, in time."""


class Staging(Protocol):
    """Records that are to become the next version of a dataset. Nothing of it shows before `commit` returns."""

    @property
    def size(self) -> int:
        """Records of the dataset with those staged so far."""

    def add(self, records: Packed, keys: Packed | None) -> None:
        """Seal a batch and stage it on disk. `keys`: the records' keys as UTF-8, or None where there is no key field."""

    def commit(self) -> int:
        """Make all of it part of the dataset, durably and as a whole, and give the new size. What is committed and under
        no version note yet, because of a crash in between, is a whole batch: its note can still be issued.
        """

    def abandon(self) -> None:
        """Forget what was staged. Does nothing after `commit`."""


class DatasetStore(Protocol):
    """One dataset of this provider: a Merkle log of sealed segments, their secrets wrapped at rest, and a key index."""

    @property
    def dataset_id(self) -> bytes: ...
    @property
    def size(self) -> int: ...
    def root(self, size: int) -> bytes: ...
    def blobs(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """(first record index, sealed segment) of the segments that cover records start to stop, in order."""

    def secrets(self, start: int, stop: int) -> bytes:
        """Secrets of those segments, 32 bytes each, opened."""

    def digests(self, start: int, stop: int) -> bytes:
        """SM3 digests of those segments, 32 bytes each (kept from sealing; not hashed again)."""

    def find(self, key: str, size: int) -> int | None:
        """Index of the newest record with this key among the first `size`, which are those of a published version."""

    def open_record(self, index: int) -> tuple[bytes, bytes, bytes]:
        """(record, salt, leaf hash), checked against the stored leaf."""

    def inclusion(self, index: int, size: int) -> list[bytes]: ...
    def begin_append(self) -> Staging:
        """Begin the next version. One at a time: raises StoreLocked while another is open."""


class Keys(Protocol):
    """This member's keys as they are now. A rotation changes them while the node runs, so nobody holds on to what it is given here."""

    @property
    def signer(self) -> Signer:
        """Signs this member's statements."""

    @property
    def decrypters(self) -> Sequence[Decrypter]:
        """Opens what others encrypt to this member: the key in force, then those of which something may still be on its way."""


class Datasets(Protocol):
    """This provider's datasets. Create is not open. A shredded one can be neither: DatasetPurged."""

    def create(self, dataset_id: bytes) -> DatasetStore: ...
    def open(self, dataset_id: bytes) -> DatasetStore: ...
    def ids(self) -> Sequence[bytes]: ...
    def shred(self, dataset_id: bytes) -> int:
        """Destroy what a dataset has on disk: records, secrets, key index. Gives the bytes destroyed, which is 0 where nothing is
        left to destroy. What is open of it raises DatasetPurged from now on. May be repeated after any crash.
        """


class Vault(Protocol):
    """What this requester received under one grant: sealed segments first, opened plaintext after the keys."""

    def begin(self, order_id: bytes) -> None: ...
    def store_segments(self, sequence: int, blobs: Sequence[bytes]) -> None:
        """Durable on return. Storing the same again changes nothing."""

    def segments(self, sequence: int) -> Sequence[bytes] | None: ...
    def store_keys(self, sequence: int, wrapped_secrets: bytes) -> None: ...
    def keys(self, sequence: int) -> bytes | None: ...
    def released_digest(self, sequence: int) -> bytes | None:
        """SM3 of the keys as they were released, also where they were wrapped to another key of this member since."""

    def write_plaintext(self, sequence: int, records: Packed, leaf_hashes: bytes) -> None:
        """Append opened records to the plaintext file at this delivery's place; idempotent by sequence."""

    def finish(self, root: bytes, size: int) -> str:
        """Mark the transfer verified, durably; gives the plaintext file's path. Doing it again changes nothing."""

    def records(self) -> Iterator[Packed]:
        """The verified plaintext of the newest finished order, in batches. Raises FetchUnfinished if there is none."""


class PeerExchange(Protocol):
    """An open exchange stream to a provider."""

    async def send_order(self, order_note: bytes) -> None: ...
    async def send_receipt(self, receipt_note: bytes) -> None: ...
    def messages(self) -> AsyncIterator[StreamMessage]:
        """Delivered, SegmentReceived, KeysReleased … as they come; ends after the order is complete. Refusals of the
        peer arrive as the same error classes, with the peer's reason.
        """

    async def close(self) -> None: ...


class Peer(Protocol):
    """Another member's node, over mutual TLS pinned to the chain. Raises PeerUnavailable or the peer's refusal."""

    async def list_datasets(self) -> Sequence[tuple[bytes, bytes, bytes]]:
        """(dataset id, description note, version note or empty)."""

    async def submit_request(self, request_note: bytes) -> None: ...
    async def decision(self, grant_id: bytes) -> bytes: ...
    def exchange(self) -> PeerExchange: ...
    async def query(self, asked: QueryAsked) -> QueryAnswer: ...
    async def submit_receipts(self, receipt_notes: Sequence[bytes]) -> None: ...
    async def list_entries(self, subject: str) -> tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]:
        """(checkpoint note, [(index, entry, inclusion path)…]) about a subject, from the peer's audit service."""

    async def evidence(self, index: int) -> bytes: ...
    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]: ...
    async def range_file(self, first: int, count: int, *, anchored: bool) -> bytes: ...
    async def cosign(self, checkpoint_note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        """The cosignature line of this witness. Raises WitnessBehind with `size`, LogForked."""

    async def state_finality(self, chain_id: int, number: int, block_hash: bytes) -> bytes:
        """The note in which this peer states that a block is final. Raises BlockNotFinal."""


class Peers(Protocol):
    """How to reach members."""

    def peer(self, member_id: str) -> Peer: ...
