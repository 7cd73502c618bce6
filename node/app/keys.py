"""Opening the keys that a configuration describes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from node.app.settings import Settings
from node.chain.account import RemoteAccount, address_of
from node.chain.admission import KeySet
from node.errors import ConfigurationInvalid
from node.keys.agent_client import AgentKeeper
from node.keys.keeper import Keeper
from node.keys.material import HashSigner, Means
from node.keys.ring import KeyRing
from node.keys.store import KeyStore
from node.model.keys import Kind


@contextmanager
def opened_keys(settings: Settings, means: Means, *, exclusive: bool) -> Iterator[KeyRing]:
    """The keys in use. `exclusive`: to change them too, which one process at a time can; else beside a node that runs.

    Raises:
        KeyStoreInvalid, KeyStoreHeld, KeyInvalid, KeyFileExposed: the store's own refusals.
        ConfigurationInvalid: it is another member's store, or agent.
        KeyAgentUnavailable: the configuration names an agent, and it does not answer.
    """
    with _store(settings, means, exclusive=exclusive) as store, opened_agent(settings) as agent:
        yield KeyRing(store, agent)


@contextmanager
def opened_account(settings: Settings, means: Means) -> Iterator[RemoteAccount]:
    """This member's account alone, beside a node that may run: what the chain's commands need. Raises as opened_keys."""
    with opened_agent(settings) as agent:
        if agent is not None:
            yield _account_of(agent)
            return
        with _store(settings, means, exclusive=False) as store:
            yield _account_of(store)


@contextmanager
def opened_agent(settings: Settings) -> Iterator[AgentKeeper | None]:
    """The agent that the configuration names, if it does. Raises KeyAgentUnavailable, ConfigurationInvalid where it is another member's."""
    if settings.key_agent is None:
        yield None
        return
    agent = AgentKeeper(settings.key_agent)
    try:
        member_id = agent.manifest.member_id
        if member_id != settings.member_id:
            raise ConfigurationInvalid(
                f"the key agent at {settings.key_agent} has the keys of {member_id}", setting="keys.agent"
            )
        yield agent
    finally:
        agent.close()


def _account_of(keeper: Keeper) -> RemoteAccount:
    return chain_account(keeper.account(keeper.manifest.active(Kind.ACCOUNT).number))


@contextmanager
def _store(settings: Settings, means: Means, *, exclusive: bool) -> Iterator[KeyStore]:
    with KeyStore.open(settings.keys_directory, means, exclusive=exclusive) as store:
        if store.manifest.member_id != settings.member_id:
            raise ConfigurationInvalid(
                f"{settings.keys_directory} holds the keys of {store.manifest.member_id}", setting="node.keys_directory"
            )
        yield store


def chain_account(account: HashSigner) -> RemoteAccount:
    """What signs the transactions of an account whose key lies in a store or an agent."""
    return RemoteAccount.behind(account.public_bytes(), account.sign_hash)


def key_set(ring: KeyRing, endpoint: str) -> KeySet:
    """The public side of the keys in use, as the chain is to have it."""
    in_use = ring.in_use
    return KeySet(
        signing_key=in_use.signer.public_key.to_bytes(),
        encryption_key=in_use.decrypters[0].public_key.to_bytes(),
        account=address_of(in_use.account.public_bytes()),
        certificate=in_use.tls.certificate_der(),
        endpoint=endpoint,
    )
