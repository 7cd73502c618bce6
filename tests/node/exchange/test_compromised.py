"""Nothing is sealed to an encryption key that its owner declared compromised: no order taken, no key released, no answer given."""

from __future__ import annotations

import os
from contextlib import aclosing
from dataclasses import replace

import pytest

from crypto.sm2 import SM2PrivateKey
from node.errors import KeyCompromised, PeerUnavailable
from node.exchange.notes import signing_keys
from node.model.transfer import QueryAnswer, QueryAsked
from tests.support.exchange_world import MemoryPeer, Node, World, fetch, make_grant

RECORDS = 800
DELIVERIES = RECORDS // 8  # of two segments of four records


def declare(world: World, node: Node) -> None:
    """The member declares its encryption key in force compromised; a block tells everybody."""
    keys = replace(node.member.keys, encryption_compromised_since=world.clock() // 1_000)
    world.chain.members_by_id[node.member_id] = replace(node.member, epochs=(*node.member.epochs[:-1], keys))
    world.chain.mine()


def renew(world: World, node: Node) -> None:
    """The member puts another encryption key in force, and its node goes on with it."""
    node.encryption_key = SM2PrivateKey.generate(os.urandom)
    keys = replace(
        node.member.keys,
        epoch=node.member.keys.epoch + 1,
        encryption_key=node.encryption_key.public_key,
        encryption_compromised_since=None,
    )
    world.chain.members_by_id[node.member_id] = replace(node.member, epochs=(*node.member.epochs, keys))
    world.chain.mine()
    node.start()


async def record_a_question(provider: Node, requester: Node, grant_id: bytes) -> QueryAsked:
    """A question as the requester's node asks it, of a provider that is not reached."""
    heard: list[QueryAsked] = []

    async def unreached(self: MemoryPeer, asked: QueryAsked) -> QueryAnswer:
        heard.append(asked)
        raise PeerUnavailable("the provider is not reached", peer=provider.member_id)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(PeerUnavailable):
        patch.setattr(MemoryPeer, "query", unreached)
        await requester.requester.query(grant_id, "k17")
    return heard[0]


async def test_an_order_and_a_query_are_refused_and_logged_until_another_key_is_in_force() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester)
    declare(world, requester)
    with pytest.raises(KeyCompromised):  # its own node does not even ask
        await fetch(requester, grant_id)
    assert provider.events()[-1] == "DECISION_MADE"
    with pytest.raises(KeyCompromised):
        await requester.requester.query(grant_id, "k17")
    assert provider.events()[-1] == "ORDER_RECEIVED:KEY_COMPROMISED"
    assert not {"DELIVERY_SENT", "KEYS_RELEASED"} & set(provider.events())
    assert provider.ledger.provided.use(grant_id).used == 0
    renew(world, requester)
    assert (await requester.requester.query(grant_id, "k17")).proven


async def test_a_transfer_that_runs_is_cut_and_goes_on_under_another_key() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, records=RECORDS)
    async with aclosing(requester.requester.fetch(grant_id)) as steps:
        await anext(steps)
        declare(world, requester)
        with pytest.raises(KeyCompromised):
            async for _ in steps:
                pass
    assert "ACCESS_REFUSED:KEY_COMPROMISED" in provider.events()
    released = provider.events().count("KEYS_RELEASED")
    assert released < DELIVERIES
    with pytest.raises(KeyCompromised):
        await fetch(requester, grant_id)
    assert provider.events().count("KEYS_RELEASED") == released
    renew(world, requester)
    last = await fetch(requester, grant_id)
    assert last.summary is not None
    assert last.summary.record_count == RECORDS


async def test_an_answer_that_was_sealed_to_a_compromised_key_is_sealed_anew() -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester)
    asked = await record_a_question(provider, requester, grant_id)
    first = await provider.provider.query(requester.member, asked)
    assert await provider.provider.query(requester.member, asked) == first  # sealed once, given out again
    declare(world, requester)
    with pytest.raises(KeyCompromised):
        await provider.provider.query(requester.member, asked)
    renew(world, requester)
    again = await provider.provider.query(requester.member, asked)
    assert again.wrapped_secret != first.wrapped_secret


def test_a_signing_key_declared_in_one_epoch_counts_in_every_epoch_that_has_it() -> None:
    world = World()
    node = world.add(1)
    keys = replace(node.member.keys, epoch=node.member.keys.epoch + 1, endpoint="127.0.0.1:2")
    unchanged = replace(node.member, epochs=(*node.member.epochs, keys))
    assert {key.public_key for key in signing_keys(unchanged, world.clock())} == {keys.signing_key}
    stolen = replace(node.member.keys, compromised_since=world.clock() // 1_000)
    assert signing_keys(replace(unchanged, epochs=(stolen, keys)), world.clock()) == []
