"""Admission to the consortium and key sets, as the contract Members takes them."""

from __future__ import annotations

from dataclasses import dataclass

from node.chain.rows import member_word
from node.model.chain import Role

KeySetWords = tuple[bytes, bytes, str, bytes, str]
AdmissionWords = tuple[bytes, str, int, KeySetWords]


@dataclass(frozen=True)
class KeySet:
    """The public side of a member's keys.

    Attributes:
        signing_key: SM2 point, 65 bytes; encryption_key likewise.
        account: EVM address, EIP-55.
        certificate: TLS certificate, DER.
        endpoint: host:port of the member's node.
    """

    signing_key: bytes
    encryption_key: bytes
    account: str
    certificate: bytes
    endpoint: str

    def words(self) -> KeySetWords:
        """The struct KeySet of the contract."""
        return (self.signing_key, self.encryption_key, self.account, self.certificate, self.endpoint)


@dataclass(frozen=True)
class Admission:
    """A member to be admitted."""

    member_id: str
    name: str
    roles: Role
    keys: KeySet

    def words(self) -> AdmissionWords:
        """The struct Admission of the contract."""
        return (member_word(self.member_id), self.name, int(self.roles), self.keys.words())
