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


class KeyKind(IntEnum):
    """Kinds of a member's keys, each of which may be declared compromised by itself (contract Members)."""

    SIGNING = 1
    ENCRYPTION = 2
    ACCOUNT = 3
    CERTIFICATE = 4


@dataclass(frozen=True)
class KeyEpoch:
    """The keys of a member in one epoch. `since_block`: block number of the event; `since_time`: its Unix time, s.

    What is declared compromised is declared of one kind of key: `compromised_since` is the signing key's, the others say
    whose they are (Unix time, s; None: not declared). A key may stand in several epochs: `Member.compromised_since` asks all.
    """

    epoch: int
    signing_key: SM2PublicKey
    encryption_key: SM2PublicKey
    account: str  # EVM address, 0x and 40 hexadecimal digits, EIP-55
    certificate: bytes  # DER
    endpoint: str  # host:port
    since_block: int
    since_time: int
    compromised_since: int | None = None
    encryption_compromised_since: int | None = None
    account_compromised_since: int | None = None
    certificate_compromised_since: int | None = None

    def key(self, kind: KeyKind) -> object:
        """The key of a kind, as a value that can be compared."""
        return {
            KeyKind.SIGNING: self.signing_key,
            KeyKind.ENCRYPTION: self.encryption_key,
            KeyKind.ACCOUNT: self.account,
            KeyKind.CERTIFICATE: self.certificate,
        }[kind]

    def declared(self, kind: KeyKind) -> int | None:
        """Since when the key of a kind is declared compromised in this epoch (Unix time, s)."""
        return {
            KeyKind.SIGNING: self.compromised_since,
            KeyKind.ENCRYPTION: self.encryption_compromised_since,
            KeyKind.ACCOUNT: self.account_compromised_since,
            KeyKind.CERTIFICATE: self.certificate_compromised_since,
        }[kind]


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

    def epochs_of_key(self, kind: KeyKind, epoch: int) -> tuple[KeyEpoch, ...]:
        """Every epoch with the same key of this kind as the epoch of this number, itself among them; none if it does not exist."""
        keys = [one.key(kind) for one in self.epochs if one.epoch == epoch]
        return tuple(one for one in self.epochs if one.key(kind) in keys)

    def compromised_since(self, kind: KeyKind, epoch: int) -> int | None:
        """Since when an epoch's key of a kind is compromised (Unix time, s): the earliest that was declared of the same key in any epoch."""
        declared = [since for one in self.epochs_of_key(kind, epoch) if (since := one.declared(kind)) is not None]
        return min(declared, default=None)


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
