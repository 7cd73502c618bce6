"""A certificate is changed between nodes that are connected, without a restart and without a call that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from node.errors import NotAMember, PeerUnavailable
from node.exchange.notes import ROTATION_GRACE_SECONDS
from node.keys.material import certified
from node.rpc.certificates import TLSIdentity, accepted, to_der
from node.rpc.peers import GRPCPeers
from tests.node.rpc.world import PROVIDER, REQUESTER, World, member


def certificate(own_id: str, number: int) -> TLSIdentity:
    """The certificate of a member with this number, as a key store makes it."""
    files = certified(own_id, f"{own_id.lower()}.kiteline", 1_795_000_000_000, serial_number=str(number))
    return TLSIdentity(files.certificate_pem, files.key_pem)


def world() -> World:
    """Both members with a first certificate."""
    made = World()
    made.provider_tls, made.requester_tls = certificate(PROVIDER, 1), certificate(REQUESTER, 1)
    made.admit(member(PROVIDER, made.provider_tls))
    made.admit(member(REQUESTER, made.requester_tls))
    return made


def rotate(made: World, own_id: str, new: TLSIdentity) -> None:
    """The chain has another certificate in force from now on."""
    made.move(own_id, certificate=to_der(new.certificate_pem), since_time=made.now_ms // 1_000)


async def test_no_call_fails_while_either_side_changes_its_certificate() -> None:
    made = world()
    failures: list[Exception] = []
    async with made.serving() as address:
        made.move(PROVIDER, endpoint=address)
        peers = GRPCPeers(made.view, lambda: made.requester_tls, made.clock)
        ended = asyncio.Event()
        count = 0

        async def call() -> None:
            nonlocal count
            while not ended.is_set():
                try:
                    await peers.peer(PROVIDER).list_datasets()
                except Exception as failure:  # noqa: BLE001 - every one counts
                    failures.append(failure)
                count += 1
                await asyncio.sleep(0)

        async def some_calls() -> None:
            seen = count
            while count < seen + 20:  # noqa: ASYNC110 - for a task of this very loop
                await asyncio.sleep(0)

        calling = asyncio.create_task(call())
        for number in (2, 3):
            await some_calls()
            for own_id in (PROVIDER, REQUESTER):
                new = certificate(own_id, number)
                # The chain first, and for a while each side still shows what it had.
                rotate(made, own_id, new)
                await some_calls()
                if own_id == PROVIDER:
                    made.provider_tls = new
                else:
                    made.requester_tls = new
                await some_calls()
        ended.set()
        await calling
        # A connection of its own, whose handshake meets the newest certificates.
        fresh = GRPCPeers(made.view, lambda: made.requester_tls, made.clock)
        await fresh.peer(PROVIDER).list_datasets()
        await fresh.close()
        await peers.close()
    assert not failures
    assert count > 160


@pytest.mark.parametrize("rotated", [PROVIDER, REQUESTER])
async def test_the_certificate_from_before_is_taken_for_a_while_and_not_longer(rotated: str) -> None:
    made = world()
    async with made.serving() as address:
        made.move(PROVIDER, endpoint=address)
        rotate(made, rotated, certificate(rotated, 2))
        for after_seconds, taken in ((0, True), (ROTATION_GRACE_SECONDS, True), (ROTATION_GRACE_SECONDS + 1, False)):
            made.now_ms = 1_795_482_123_000 + 1_000 * after_seconds
            peers = GRPCPeers(made.view, lambda: made.requester_tls, made.clock)
            if taken:
                await peers.peer(PROVIDER).list_datasets()
            else:
                with pytest.raises(PeerUnavailable):
                    await peers.peer(PROVIDER).list_datasets()
            await peers.close()


@pytest.mark.parametrize("rotated", [PROVIDER, REQUESTER])
async def test_a_certificate_that_is_declared_compromised_is_taken_by_nobody(rotated: str) -> None:
    made = world()
    async with made.serving() as address:
        made.move(PROVIDER, endpoint=address)
        open_before = GRPCPeers(made.view, lambda: made.requester_tls, made.clock)
        await open_before.peer(PROVIDER).list_datasets()
        rotate(made, rotated, certificate(rotated, 2))
        held = made.chain.members_by_id[rotated]
        spoilt = [replace(one, certificate_compromised_since=made.now_ms // 1_000) for one in held.epochs[:-1]]
        made.admit(replace(held, epochs=(*spoilt, held.epochs[-1])))
        peers = GRPCPeers(made.view, lambda: made.requester_tls, made.clock)
        with pytest.raises(PeerUnavailable):
            await peers.peer(PROVIDER).list_datasets()
        if rotated == REQUESTER:
            # The connection is older than the declaration; the gate looks at each call.
            with pytest.raises((NotAMember, PeerUnavailable)):
                await open_before.peer(PROVIDER).list_datasets()
        await peers.close()
        await open_before.close()
    assert accepted(made.chain.members_by_id[rotated], made.now_ms) == (held.epochs[-1].certificate,)
