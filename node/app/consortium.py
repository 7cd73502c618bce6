"""What an operator does on the chain without a running node: deploy the contracts, and read for auditors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.checkpoint import log_id
from audit.verifier import KnownKey, Trust, ValidatorSet
from audit.verify import trust_text
from crypto.engine import load_engine
from node.app.admission import read_admission
from node.app.keys import opened_account
from node.app.networks import read_network_directory
from node.app.settings import Settings
from node.chain.adapter import Chain, deploy_contracts, open_chain
from node.chain.deployment import Deployment, dump_deployment, load_deployment
from node.chain.network import Network, load_network
from node.errors import ConfigurationInvalid
from node.exchange.context import audit_origin
from node.exchange.tracing import grant_facts
from node.keys.material import Means

Clock = Callable[[], int]


def deploy_consortium(
    settings: Settings, passphrase: bytes, founders: Sequence[Path], threshold: int, clock: Clock
) -> Path:
    """Create the contracts with these founders, by this member's account; gives the file that was written."""
    if settings.contracts_file.exists():
        raise ConfigurationInvalid(f"{settings.contracts_file} exists: the consortium's contracts are deployed")
    with opened_account(settings, _means(settings, passphrase, clock)) as account:
        deployment = deploy_contracts(
            load_network(settings.network_file),
            settings.data_directory,
            account,
            [read_admission(founder) for founder in founders],
            threshold,
            clock=clock,
        )
    settings.contracts_file.write_text(dump_deployment(deployment), encoding="utf-8")
    return settings.contracts_file


@dataclass(frozen=True)
class TrustDocument:
    """A trust file's text, and how much is in it."""

    text: str
    members: int
    blocks: int


def trust_document(
    settings: Settings, passphrase: bytes, clock: Clock, read: Callable[[int], None] = lambda _: None
) -> TrustDocument:
    """What the chain says, read by this department itself: every member's keys, every block with an anchor, and who may seal blocks.

    `read` is told how many blocks were read for their seals.
    """
    validators: dict[int, tuple[ValidatorSet, ...]] = {}
    contracts = {load_deployment(settings.contracts_file).address("Anchors")}
    with governing(settings, passphrase, clock) as chain:
        chain.view.refresh()
        members = chain.view.members()
        grants = chain.view.grants()
        logs = [(member.member_id, log_id(audit_origin(member.member_id))) for member in members]
        blocks = _anchoring_blocks(chain, logs)
        validators |= chain.validators(read)
    for directory in settings.anchor_networks:
        network, deployment = read_network_directory(directory)
        contracts.add(deployment.address("Anchors"))
        with _following(settings, passphrase, clock, network, deployment) as chain:
            chain.view.refresh()
            blocks |= _anchoring_blocks(chain, logs)
            validators |= chain.validators(read)
    keys = {
        member.member_id: tuple(
            KnownKey(epoch.signing_key.to_bytes(), epoch.since_time, epoch.compromised_since) for epoch in member.epochs
        )
        for member in members
    }
    trust = Trust(keys, frozenset(blocks), frozenset(contracts), validators=validators)
    return TrustDocument(
        trust_text(trust, map(grant_facts, grants), {member.member_id: member.name for member in members}),
        len(members),
        len(blocks),
    )


@contextmanager
def governing(settings: Settings, passphrase: bytes, clock: Clock) -> Iterator[Chain]:
    """The chain with stores of its own, so that a running node is not disturbed."""
    network, deployment = load_network(settings.network_file), load_deployment(settings.contracts_file)
    with _following(settings, passphrase, clock, network, deployment) as chain:
        yield chain


def _anchoring_blocks(chain: Chain, logs: Sequence[tuple[str, bytes]]) -> set[bytes]:
    return {anchor.block.hash for log in logs for anchor in chain.view.anchors(*log)}


@contextmanager
def _following(
    settings: Settings, passphrase: bytes, clock: Clock, network: Network, deployment: Deployment
) -> Iterator[Chain]:
    place = settings.data_directory / "governance" / network.name
    with opened_account(settings, _means(settings, passphrase, clock)) as account:
        chain = open_chain(network, deployment, place, account, clock=clock)
        try:
            chain.check()
            chain.start()
            yield chain
        finally:
            chain.close()


def _means(settings: Settings, passphrase: bytes, clock: Clock) -> Means:
    return Means(load_engine(settings.engine), passphrase, os.urandom, clock)
