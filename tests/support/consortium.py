"""A consortium on a real chain for tests: contracts deployed, members admitted, each with fresh keys."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eth_account.signers.local import LocalAccount

from crypto.credit_code import credit_code_check_character
from crypto.sm2 import SM2PrivateKey
from node.chain.account import new_account
from node.chain.adapter import Chain, deploy_contracts, open_chain
from node.chain.admission import Admission, KeySet
from node.chain.deployment import Deployment
from node.chain.network import FeeRule, FinalityRule, HeaderRule, Network
from node.chain.view import IndexView
from node.model.chain import Member, Role
from tests.support.anvil import Anvil


@dataclass(frozen=True)
class MemberKit:
    """A member with its secret keys. `certificate`: bytes that the chain is told; DER where TLS is to use it."""

    member_id: str
    name: str
    roles: Role
    signing_key: SM2PrivateKey
    encryption_key: SM2PrivateKey
    account: LocalAccount
    certificate: bytes
    endpoint: str

    @property
    def keys(self) -> KeySet:
        """The public side."""
        return KeySet(
            self.signing_key.public_key.to_bytes(),
            self.encryption_key.public_key.to_bytes(),
            self.account.address,
            self.certificate,
            self.endpoint,
        )

    @property
    def admission(self) -> Admission:
        """What the consortium admits."""
        return Admission(self.member_id, self.name, self.roles, self.keys)


def clock_ms() -> int:
    """Unix time, ms."""
    return time.time_ns() // 1_000_000


def credit_code(number: int) -> str:
    """A well-formed member id for each number."""
    body = f"11370700{number:09d}"
    return body + credit_code_check_character(body)


FIRST, SECOND = credit_code(1), credit_code(2)  # the members that `found` makes where it is told a number


def dataset_of(member_id: str) -> bytes:
    """A fresh id for a dataset of a member."""
    provider = member_id.encode()
    return os.urandom(32 - len(provider)) + provider


def make_member(
    number: int, roles: Role = Role.DEPARTMENT, *, certificate: bytes | None = None, endpoint: str | None = None
) -> MemberKit:
    """A member that nobody has admitted yet."""
    return MemberKit(
        credit_code(number),
        f"第{number}局",
        roles,
        SM2PrivateKey.generate(os.urandom),
        SM2PrivateKey.generate(os.urandom),
        new_account(os.urandom),
        os.urandom(64) if certificate is None else certificate,
        f"127.0.0.1:{20_000 + number}" if endpoint is None else endpoint,
    )


def network_of(anvil: Anvil, **changes: object) -> Network:
    """The description of an anvil chain; `changes` are fields of Network."""
    network = Network(
        name="embedded",
        chain_id=anvil.chain_id,
        endpoints=(anvil.url,),
        finality=FinalityRule.EVERY_BLOCK,
        fees=FeeRule.ZERO,
        header=HeaderRule.ETHEREUM,
        poll_seconds=0.05,
        timeout_seconds=5.0,
    )
    return replace(network, **changes)  # type: ignore[arg-type]  # names are checked by replace


@dataclass(frozen=True)
class Consortium:
    """Members on a chain. The first one is an authority besides, and founded it."""

    anvil: Anvil
    network: Network
    deployment: Deployment
    members: tuple[MemberKit, ...]

    def open(self, member: MemberKit, directory: Path, network: Network | None = None) -> Chain:
        """A member's chain adapter, not started. The caller closes it."""
        return open_chain(
            network or self.network, self.deployment, directory, member.account, clock=clock_ms, deadline_seconds=20.0
        )


def found(
    anvil: Anvil, directory: Path, members: Sequence[MemberKit] | int = 2, *, threshold: int = 1, **changes: object
) -> Consortium:
    """Deploy the contracts on a chain with these members, or so many fresh ones; all of them are founders.

    `changes` are fields of Network.
    """
    kits = list(members) if not isinstance(members, int) else [make_member(number + 1) for number in range(members)]
    kits[0] = replace(kits[0], roles=kits[0].roles | Role.AUTHORITY)
    network = network_of(anvil, **changes)
    deployment = deploy_contracts(
        network,
        directory,
        kits[0].account,
        [kit.admission for kit in kits],
        threshold,
        clock=clock_ms,
        deadline_seconds=20.0,
    )
    return Consortium(anvil, network, deployment, tuple(kits))


def in_force_with(view: IndexView, certificate: bytes) -> Member | None:
    """The member whose keys in force name this TLS certificate (DER)."""
    holders = view.certificate_holders(certificate)
    return next((member for member in holders if member.keys.certificate == certificate), None)
