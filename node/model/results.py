"""What the use cases give back to the department's own programs."""

from __future__ import annotations

from dataclasses import dataclass

from node.model.chain import DatasetOnChain, GrantOnChain
from node.model.grants import Terms
from node.model.statements import Description, Purge, Request


@dataclass(frozen=True)
class PublishedDataset:
    """A dataset as its provider lists it. `version_note` is empty before the first publication."""

    dataset_id: bytes
    description_note: bytes
    version_note: bytes
    record_count: int


@dataclass(frozen=True)
class PublishProgress:
    """Records sealed so far; the last one has the version note and its transaction."""

    sealed_count: int
    version_note: bytes = b""
    transaction_hash: bytes = b""


@dataclass(frozen=True)
class Purged:
    """A purge that is done. `destroyed_bytes`: by this call; `transaction_hash`: of the withdrawal, empty if it was made before or
    the dataset was never in the catalogue.
    """

    purge: Purge
    note: bytes
    destroyed_bytes: int
    transaction_hash: bytes


@dataclass(frozen=True)
class FetchSummary:
    """A finished fetch. `path`: of the verified plaintext; `engine`: that opened it."""

    order_id: bytes
    record_count: int
    plaintext_bytes: int
    elapsed_milliseconds: int
    path: str
    root: bytes
    first_sequence: int
    last_sequence: int
    engine: str


@dataclass(frozen=True)
class FetchProgress:
    """Records delivered, and opened and hashed, of the total. The last one has the summary."""

    delivered_count: int
    verified_count: int
    total_count: int
    summary: FetchSummary | None = None


@dataclass(frozen=True)
class QueryResult:
    """The answer to a query. `values`: a JSON array; `proven`: checked against the root on the chain."""

    fields: tuple[str, ...]
    values: bytes
    proven: bool
    sequence: int
    record_index: int


@dataclass(frozen=True)
class CatalogueEntry:
    """A dataset of the catalogue; no description where its provider has not given it. `is_purged`: nothing can be had of it."""

    dataset: DatasetOnChain
    provider_name: str
    description: Description | None
    is_purged: bool = False


@dataclass(frozen=True)
class GrantSummary:
    """A grant that this department is a side of. `used`: orders, as far as this node knows."""

    grant: GrantOnChain
    request: Request | None
    terms: Terms | None
    used: int
    last_sequence: int
    is_expired: bool
    is_used_up: bool
