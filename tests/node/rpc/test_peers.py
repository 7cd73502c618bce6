"""Other nodes as the ports show them, over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crypto.errors import SignatureInvalid
from node.errors import (
    GrantRevoked,
    NotAMember,
    NotThisDepartment,
    PeerUnavailable,
    RequestTooLarge,
    StatementInvalid,
    SubjectInvalid,
)
from node.exchange.notes import ROTATION_GRACE_SECONDS
from node.model.chain import MemberStatus
from node.model.transfer import (
    Completed,
    Delivered,
    KeysReleased,
    QueryAsked,
    SegmentReceived,
    StreamMessage,
)
from node.rpc.certificates import to_der
from node.rpc.peers import Deadlines, GRPCPeers
from tests.node.rpc.world import PROVIDER, REQUESTER, STRANGER, World, tls_identity

GRANT = b"\x02" * 32
ASKED = QueryAsked(b"order", "370702", bytes(16), (b"receipt 1", b"receipt 2"))


@asynccontextmanager
async def peers_of(world: World, deadlines: Deadlines | None = None) -> AsyncIterator[GRPCPeers]:
    """The requester's peers."""
    peers = GRPCPeers(world.view, lambda: world.requester_tls, lambda: world.now_ms, deadlines)
    try:
        yield peers
    finally:
        await peers.close()


async def test_every_call_of_a_peer_reaches_its_use_case_as_it_was_made() -> None:
    world = World()
    async with world.serving(), peers_of(world) as peers:
        peer = peers.peer(PROVIDER)
        assert await peer.list_datasets() == [(b"\x01" * 32, b"description", b"version")]
        await peer.submit_request(b"request")
        assert await peer.decision(GRANT) == b"decision on " + GRANT
        answer = await peer.query(ASKED)
        assert (answer.delivery_note, answer.sealed_answer) == (b"delivery", b"370702" + bytes(16))
        await peer.submit_receipts([b"receipt 3", b"receipt 4"])
        checkpoint, entries = await peer.list_entries(f"grant:{GRANT.hex()}")
        assert await peer.evidence(7) == b"evidence 7"
    assert world.provider.notes == [b"request", b"order", b"receipt 1", b"receipt 2", b"receipt 3", b"receipt 4"]
    assert {caller.member_id for caller in world.provider.callers} == {REQUESTER}
    assert (checkpoint, entries[2]) == (b"checkpoint", (2, b"entry 2", [b"\x01" * 32] * 2))
    assert world.audit.subjects == [f"grant:{GRANT.hex()}"]


async def test_an_exchange_carries_every_message_in_order_and_whole() -> None:
    world = World()
    world.provider.parts = [bytes([number]) * (1024 * 1024) for number in range(5)]
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        received: list[StreamMessage] = []
        async for message in exchange.messages():
            received.append(message)
            if len(received) == 6:
                await exchange.send_receipt(b"receipt")
        await exchange.close()
    assert received == [
        Delivered(b"delivery", b"\x05" * 160, b"version"),
        *(SegmentReceived(1, number, part) for number, part in enumerate(world.provider.parts)),
        KeysReleased(b"release", b"wrapped"),
        Completed(1),
    ]
    assert world.provider.notes == [b"order", b"receipt"]


async def test_a_refusal_in_the_middle_of_a_stream_arrives_as_its_class() -> None:
    world = World()
    world.provider.failure_in_stream = GrantRevoked("the provider revoked the grant", grant=GRANT.hex())
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        received = []
        with pytest.raises(GrantRevoked) as caught:
            async for message in exchange.messages():
                received.append(message)  # noqa: PERF401  # what came before the refusal is kept
        assert len(received) == 3
        # Whoever writes after the end is told the same.
        with pytest.raises(GrantRevoked):
            await exchange.send_receipt(b"receipt")
    assert caught.value.details == {"peer": PROVIDER, "grant": GRANT.hex()}


async def test_receipts_that_cross_with_the_end_of_a_stream_hide_neither_its_messages_nor_its_refusal() -> None:
    world = World()
    world.provider.failure_in_stream = GrantRevoked("the grant is revoked")
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        await world.provider.ended.wait()
        for _ in range(200):
            # Somewhere among these gRPC notices that the provider has ended the stream, and calls it an error of its own.
            await exchange.send_receipt(bytes(1_000))
        came: list[StreamMessage] = []
        with pytest.raises(GrantRevoked):
            async for message in exchange.messages():
                came.append(message)  # noqa: PERF401  # it ends with a refusal
        await exchange.close()
    assert [type(message) for message in came] == [Delivered, SegmentReceived, SegmentReceived]


async def test_a_stream_that_does_not_begin_with_an_order_is_refused() -> None:
    world = World()
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_receipt(b"receipt")
        with pytest.raises(StatementInvalid):
            await anext(exchange.messages())


async def test_closing_a_stream_ends_the_providers_side_at_once() -> None:
    world = World()
    world.provider.held = asyncio.Event()
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        await world.provider.began.wait()
        await exchange.close()
        await world.provider.ended.wait()


async def test_closing_the_peers_ends_what_is_running_as_unavailable_and_not_as_cancelled() -> None:
    world = World()
    world.provider.held = asyncio.Event()
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        query = asyncio.create_task(peers.peer(PROVIDER).query(ASKED))
        messages = exchange.messages()
        for _ in range(3):
            await anext(messages)
        await world.provider.began.wait()
        await peers.close()
        for running in (anext(messages), query):
            with pytest.raises(PeerUnavailable):
                await running


async def test_a_stream_goes_on_while_the_peers_keys_are_rotated() -> None:
    world = World()
    async with world.serving() as address, peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        messages = exchange.messages()
        await anext(messages)
        world.move(PROVIDER, endpoint=address.replace("127.0.0.1", "localhost"))
        await peers.peer(PROVIDER).list_datasets()
        await exchange.send_receipt(b"receipt")
        received = [message async for message in messages]
    assert received[-1] == Completed(1)


async def test_backpressure_keeps_a_provider_from_running_ahead_of_a_slow_requester() -> None:
    world = World()
    made: list[int] = []

    class Parts(list[bytes]):
        def __getitem__(self, index: object) -> bytes:  # type: ignore[override]  # counts what is asked for
            raise AssertionError

        def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
            for number in range(200):
                made.append(number)
                yield bytes(1024 * 1024)

    world.provider.parts = Parts()
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        messages = exchange.messages()
        for _ in range(4):
            await anext(messages)
        await exchange.close()
        await world.provider.ended.wait()
    assert len(made) < 64


async def test_a_peer_that_does_not_listen_or_does_not_answer_is_unavailable() -> None:
    world = World()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with peers_of(world, Deadlines(call=0.5)) as peers:
            with pytest.raises(PeerUnavailable):
                await peers.peer(PROVIDER).decision(GRANT)
            exchange = peers.peer(PROVIDER).exchange()
            with pytest.raises(PeerUnavailable):
                await exchange.send_order(b"order")
                await anext(exchange.messages())
            world.move(PROVIDER, endpoint=f"127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(PeerUnavailable):
                await peers.peer(PROVIDER).list_datasets()


async def test_a_call_past_its_deadline_is_given_up() -> None:
    world = World()
    world.provider.held = asyncio.Event()
    async with world.serving(), peers_of(world, Deadlines(call=0.3)) as peers:
        with pytest.raises(PeerUnavailable) as caught:
            await peers.peer(PROVIDER).query(ASKED)
    assert caught.value.details["status"] == "DEADLINE_EXCEEDED"


async def test_a_peer_that_shows_another_certificate_than_the_chain_names_is_not_spoken_to() -> None:
    world = World()
    async with world.serving(), peers_of(world) as peers:
        world.move(PROVIDER, certificate=to_der(tls_identity(PROVIDER).certificate_pem))
        with pytest.raises(PeerUnavailable):
            await peers.peer(PROVIDER).list_datasets()
    assert world.provider.callers == []


async def test_what_is_no_certificate_on_the_chain_makes_the_peer_unavailable() -> None:
    world = World()
    world.move(PROVIDER, certificate=b"junk")
    async with peers_of(world) as peers:
        with pytest.raises(PeerUnavailable):
            await peers.peer(PROVIDER).list_datasets()


async def test_a_peer_that_moved_or_rotated_is_reached_where_the_chain_says_now() -> None:
    world = World()
    async with peers_of(world) as peers:
        peer = peers.peer(PROVIDER)
        async with world.serving():
            await peer.list_datasets()
        world.provider_tls = tls_identity(PROVIDER)
        world.move(PROVIDER, certificate=to_der(world.provider_tls.certificate_pem))
        async with world.serving():
            await peer.list_datasets()
    assert len(world.provider.callers) == 2


async def test_nobody_but_an_active_member_is_called() -> None:
    world = World()
    world.set_status(PROVIDER, MemberStatus.SUSPENDED)
    async with peers_of(world) as peers:
        for name in (PROVIDER, STRANGER):
            with pytest.raises(NotAMember):
                await peers.peer(name).list_datasets()


async def test_a_subject_of_no_known_form_is_refused_before_it_is_sent() -> None:
    world = World()
    async with peers_of(world) as peers:
        for subject in ("-", "order:00", "grant:xyz"):
            with pytest.raises(SubjectInvalid):
                await peers.peer(PROVIDER).list_entries(subject)


async def test_a_peers_answer_above_the_limit_is_refused() -> None:
    world = World()
    world.provider.parts = [bytes(17 * 1024 * 1024)]
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        with pytest.raises((RequestTooLarge, PeerUnavailable)):
            async for _ in exchange.messages():
                pass


@pytest.mark.parametrize("failure", [SignatureInvalid("bad"), NotThisDepartment("no"), PeerUnavailable("its own peer")])
async def test_refusals_of_a_unary_call_come_back_as_their_class(failure: Exception) -> None:
    world = World()
    world.provider.failure = failure
    async with world.serving(), peers_of(world) as peers:
        with pytest.raises(type(failure), match=str(failure)):
            await peers.peer(PROVIDER).decision(GRANT)


async def test_calls_never_fail_while_both_sides_change_their_certificates() -> None:
    world = World()
    async with world.serving(), peers_of(world) as peers:
        exchange = peers.peer(PROVIDER).exchange()
        await exchange.send_order(b"order")
        messages = exchange.messages()
        await anext(messages)
        for number in range(2, 6):
            # As a node does it: the chain first, then what is shown; the others are reached with either.
            for own_id in (PROVIDER, REQUESTER):
                renewed = tls_identity(own_id, number=number)
                world.rotate(own_id, renewed)
                await asyncio.gather(*(peers.peer(PROVIDER).list_datasets() for _ in range(20)))
                if own_id == PROVIDER:
                    world.provider_tls = renewed
                else:
                    world.requester_tls = renewed
                await asyncio.gather(*(peers.peer(PROVIDER).list_datasets() for _ in range(20)))
            world.now_ms += 1_000 * (ROTATION_GRACE_SECONDS + 1)
            await asyncio.gather(*(peers.peer(PROVIDER).list_datasets() for _ in range(20)))
        # What ran on the first channel ends there.
        await exchange.send_receipt(b"receipt")
        received = [message async for message in messages]
    assert received[-1] == Completed(1)
    assert len(world.provider.callers) == 1 + 4 * 5 * 20


async def test_a_server_with_the_certificate_before_is_reached_in_the_grace_alone() -> None:
    world = World()
    async with world.serving(), peers_of(world) as peers:
        world.rotate(PROVIDER, tls_identity(PROVIDER, number=2))
        await peers.peer(PROVIDER).list_datasets()
        world.now_ms += 1_000 * ROTATION_GRACE_SECONDS + 1
        with pytest.raises(PeerUnavailable):
            await peers.peer(PROVIDER).list_datasets()


async def test_a_certificate_of_ones_own_is_shown_from_the_next_call_on() -> None:
    world = World()
    async with world.serving(), peers_of(world) as peers:
        await peers.peer(PROVIDER).list_datasets()
        renewed = tls_identity(REQUESTER, number=2)
        world.rotate(REQUESTER, renewed)
        world.requester_tls = renewed
        world.now_ms += 1_000 * ROTATION_GRACE_SECONDS + 1
        # Over the first connection this would be refused.
        await peers.peer(PROVIDER).list_datasets()


@pytest.mark.parametrize("is_rotated", [True, False])
async def test_what_runs_to_a_server_ends_when_its_certificate_is_declared_compromised(*, is_rotated: bool) -> None:
    world = World()
    world.provider.held = asyncio.Event()
    async with world.serving(), peers_of(world) as peers:
        running = asyncio.create_task(peers.peer(PROVIDER).query(ASKED))
        await world.provider.began.wait()
        if is_rotated:
            world.rotate(PROVIDER, tls_identity(PROVIDER, number=2))
        world.declare_certificate(PROVIDER, epoch=1)
        with pytest.raises(PeerUnavailable):  # with its new one in force it still shows the old
            await peers.peer(PROVIDER).list_datasets()
        with pytest.raises(PeerUnavailable, match="closed on this side"):
            await running
    assert len(world.provider.callers) == 1
