"""What the chain says, as values. The chain holds digests and decisions, never data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag

from crypto.sm2 import SM2PublicKey


class Role(IntFlag):
    """Roles of a member (contract Members)."""

    DEPARTMENT = 1
    AUTHORITY = 2
    AUDITOR = 4


class MemberStatus(IntEnum):
    """Status of a member (contract Members)."""

    NONE = 0
    ACTIVE = 1
    SUSPENDED = 2
    REMOVED = 3


@dataclass(frozen=True)
class KeyEpoch:
    """The keys of a member in one epoch. `since_block`: block number of the event; `since_time`: its Unix time, s."""

    epoch: int
    signing_key: SM2PublicKey
    encryption_key: SM2PublicKey
    account: str  # EVM address, 0x and 40 hexadecimal digits, EIP-55
    certificate: bytes  # DER
    endpoint: str  # host:port
    since_block: int
    since_time: int
    compromised_since: int | None = None  # Unix time, s


@dataclass(frozen=True)
class Member:
    """A member with every epoch of its keys, oldest first."""

    member_id: str
    name: str
    roles: Role
    status: MemberStatus
    epochs: tuple[KeyEpoch, ...]

    @property
    def keys(self) -> KeyEpoch:
        """The keys in force."""
        return self.epochs[-1]

    @property
    def is_active(self) -> bool:
        """Whether the member may act now."""
        return self.status is MemberStatus.ACTIVE


class SharingType(IntEnum):
    """Sharing types of 国发〔2016〕51号 (contract Catalogue)."""

    UNCONDITIONAL = 0
    CONDITIONAL = 1
    NOT_SHARED = 2


@dataclass(frozen=True)
class DatasetOnChain:
    """A catalogue entry. `size` and `root` are of the newest version; size 0 before the first."""

    dataset_id: bytes
    provider_id: str
    description_digest: bytes
    level: int
    sharing_type: SharingType
    withdrawn: bool = False
    size: int = 0
    root: bytes = b""
    version_digest: bytes = b""


class GrantState(Enum):
    """State of a grant as the contract has it; expiry and use are judged by the policy."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DENIED = "denied"
    REVOKED = "revoked"
    CLOSED = "closed"


@dataclass(frozen=True)
class GrantOnChain:
    """A grant. Digests are 32 bytes; `expiry_seconds` Unix time; zero and empty until approved."""

    grant_id: bytes
    dataset_id: bytes
    requester_id: str
    provider_id: str
    state: GrantState
    request_digest: bytes
    terms_digest: bytes = b""
    expiry_seconds: int = 0
    quota: int = 0
    reason_digest: bytes = b""
    last_sequence: int = 0
    last_receipt_digest: bytes = b""


@dataclass(frozen=True)
class Block:
    """A block that the index has reached. `time`: Unix time, s."""

    number: int
    hash: bytes
    time: int


@dataclass(frozen=True)
class Anchor:
    """One anchored head of a log, and where on the chain it stands."""

    log_id: bytes
    member_id: str
    size: int
    root: bytes
    note_digest: bytes
    block: Block
    transaction_hash: bytes


@dataclass(frozen=True)
class ChainHealth:
    """Whether the last poll reached an endpoint, when one last did (Unix ms), and what is still to be mined."""

    reachable: bool
    last_contact_ms: int
    chain_id: int
    head: Block
    pending_transactions: int


@dataclass(frozen=True)
class Mined:
    """A transaction in a block."""

    transaction_hash: bytes
    block: Block
