"""What the server lets in, and how it answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from crypto.errors import Refusal
from kiteline.audit.v1 import audit_pb2
from kiteline.audit.v1.audit_pb2_grpc import AuditServiceStub
from kiteline.exchange.v1 import department_pb2, peer_pb2
from kiteline.exchange.v1.department_pb2_grpc import DepartmentServiceStub
from kiteline.exchange.v1.peer_pb2_grpc import PeerServiceStub
from node.errors import (
    ConfigurationInvalid,
    InternalError,
    NotAMember,
    NotASecurityOfficer,
    NotThisDepartment,
    PeerUnavailable,
    PortTaken,
    RequestTooLarge,
    StatementInvalid,
    SubjectInvalid,
)
from node.exchange.notes import ROTATION_GRACE_SECONDS
from node.model.chain import MemberStatus
from node.rpc.certificates import TLSIdentity, to_der
from node.rpc.channels import credentials, options
from node.rpc.errors import known_reasons, refusal_of
from node.rpc.identity import Identities
from tests.node.rpc.world import PROVIDER, REQUESTER, STRANGER, World, member, tls_identity

LIST = peer_pb2.ListDatasetsRequest()


@asynccontextmanager
async def channel(world: World, address: str, own: TLSIdentity) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own, so that each has its handshake."""
    pem = world.provider_tls.certificate_pem
    async with grpc.aio.secure_channel(address, credentials(own, pem), options=options(to_der(pem))) as opened:
        yield opened


async def refusal(call: grpc.aio.Call) -> Refusal:
    """The refusal that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return refusal_of(error.code(), error.details(), error.trailing_metadata(), peer="here")


async def test_self_signed_certificates_of_members_are_their_own_roots_both_ways() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        listed = await PeerServiceStub(opened).ListDatasets(LIST)
    assert listed.datasets[0].provider_id == PROVIDER
    assert world.provider.callers[0].member_id == REQUESTER
    assert world.calls == [("/kiteline.exchange.v1.PeerService/ListDatasets", "OK")]


async def test_a_strangers_certificate_does_not_pass_the_handshake() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, tls_identity(STRANGER)) as opened:
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), PeerUnavailable)
    assert world.provider.callers == []


async def test_a_caller_without_a_certificate_does_not_pass_the_handshake() -> None:
    world = World()
    pem = world.provider_tls.certificate_pem
    async with world.serving() as address:
        nobody = grpc.ssl_channel_credentials(pem)
        async with grpc.aio.secure_channel(address, nobody, options=options(to_der(pem))) as opened:
            assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), PeerUnavailable)


async def test_a_certificate_in_a_members_name_but_of_another_key_does_not_pass() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, tls_identity(REQUESTER)) as opened:
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), PeerUnavailable)


async def test_a_member_admitted_while_the_server_runs_is_let_in_without_a_restart() -> None:
    world = World()
    newcomer = tls_identity(STRANGER)
    async with world.serving() as address:
        async with channel(world, address, newcomer) as opened:
            assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), PeerUnavailable)
        world.admit(member(STRANGER, newcomer))
        async with channel(world, address, newcomer) as opened:
            await PeerServiceStub(opened).ListDatasets(LIST)
    assert world.provider.callers[0].member_id == STRANGER


async def test_a_removed_member_is_cut_off_on_an_open_connection_and_at_the_door() -> None:
    world = World()
    async with world.serving() as address:
        async with channel(world, address, world.requester_tls) as opened:
            stub = AuditServiceStub(opened)
            await stub.GetCheckpoint(audit_pb2.GetCheckpointRequest())
            world.set_status(REQUESTER, MemberStatus.REMOVED)
            assert isinstance(await refusal(stub.GetCheckpoint(audit_pb2.GetCheckpointRequest())), NotAMember)
        async with channel(world, address, world.requester_tls) as opened:
            assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), PeerUnavailable)


async def test_a_suspended_member_reaches_the_provider_that_tells_it_and_reads_no_log() -> None:
    world = World()
    world.set_status(REQUESTER, MemberStatus.SUSPENDED)
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        await PeerServiceStub(opened).ListDatasets(LIST)
        told = await refusal(AuditServiceStub(opened).GetCheckpoint(audit_pb2.GetCheckpointRequest()))
    # Whom the provider serves it judges, and logs, by itself: it is given the member as the chain has it.
    assert world.provider.callers[0].status is MemberStatus.SUSPENDED
    assert isinstance(told, NotAMember)
    assert world.audit.readers == []


async def test_a_certificate_that_a_member_has_rotated_away_is_no_longer_let_in() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        await PeerServiceStub(opened).ListDatasets(LIST)
        world.rotate(REQUESTER, tls_identity(REQUESTER))
        world.now_ms += 1_000 * ROTATION_GRACE_SECONDS + 1
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), NotAMember)


async def test_a_departments_program_calls_its_own_face_and_not_that_of_peers() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.client_tls) as opened:
        status = await DepartmentServiceStub(opened).GetStatus(department_pb2.GetStatusRequest())
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), NotAMember)
    assert (status.member_name, status.log_size) == ("民政局", 5)


async def test_a_member_does_not_call_another_departments_face() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        told = await refusal(DepartmentServiceStub(opened).GetStatus(department_pb2.GetStatusRequest()))
    assert isinstance(told, NotThisDepartment)


async def test_a_departments_program_reads_its_own_log_as_its_member() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.client_tls) as opened:
        await AuditServiceStub(opened).GetCheckpoint(audit_pb2.GetCheckpointRequest())
    assert world.audit.readers[0].member_id == PROVIDER


async def test_every_reason_comes_through_with_its_details() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        for reason, kind in known_reasons().items():
            failure = kind.__new__(kind)
            Refusal.__init__(failure, f"被拒绝: {reason}", grant="ab", limit=3)
            world.provider.failure = failure
            told = await refusal(PeerServiceStub(opened).ListDatasets(LIST))
            assert type(told) is kind
            assert (str(told), told.details) == (f"被拒绝: {reason}", {"peer": "here", "grant": "ab", "limit": "3"})
            assert world.log.kept[-1][1]["reason"] == reason


async def test_a_defect_shows_an_incident_number_outside_and_its_cause_in_the_log_alone() -> None:
    world = World()
    world.provider.failure = ZeroDivisionError("secret of the node")
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        call = PeerServiceStub(opened).ListDatasets(LIST)
        told = await refusal(call)
    assert isinstance(told, InternalError)
    assert "secret" not in f"{told}{told.details}"
    [(event, fields)] = world.log.kept
    assert (event, fields["incident"]) == ("call_failed", told.details["incident"])
    assert world.calls[-1][1] == "INTERNAL"


async def test_a_message_above_the_limit_is_refused_and_never_reaches_the_use_case() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        stub = PeerServiceStub(opened)
        within = await refusal(stub.SubmitRequest(peer_pb2.SubmitRequestRequest(request_note=b"n" * (1024 * 1024 + 1))))
        above = peer_pb2.SubmitReceiptsRequest(receipt_notes=[b"n" * (1024 * 1024)] * 16)
        pem = world.provider_tls.certificate_pem
        unlimited = [*options(to_der(pem)), ("grpc.max_send_message_length", -1)]
        async with grpc.aio.secure_channel(
            address, credentials(world.requester_tls, pem), options=unlimited
        ) as careless:
            beyond = await refusal(PeerServiceStub(careless).SubmitReceipts(above))
    assert isinstance(within, RequestTooLarge)
    assert isinstance(beyond, RequestTooLarge)
    assert world.provider.notes == []


async def test_bytes_of_a_wrong_shape_are_refused_with_the_reason_of_their_face() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        peer, audit = PeerServiceStub(opened), AuditServiceStub(opened)
        decision = await refusal(peer.GetDecision(peer_pb2.GetDecisionRequest(grant_id=b"short")))
        empty = await refusal(peer.SubmitRequest(peer_pb2.SubmitRequestRequest()))
        salt = await refusal(peer.Query(peer_pb2.QueryRequest(order_note=b"n", key="k", key_salt=b"1")))
        crowd = await refusal(peer.SubmitReceipts(peer_pb2.SubmitReceiptsRequest(receipt_notes=[b"n"] * 4_097)))
        for request in (
            audit_pb2.ListEntriesRequest(),
            audit_pb2.ListEntriesRequest(grant_id=b"short"),
            audit_pb2.ListEntriesRequest(member_id="113707000000000000"),
        ):
            call = audit.ListEntries(request)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            error = caught.value
            told = refusal_of(error.code(), error.details(), error.trailing_metadata(), peer="here")
            assert isinstance(told, SubjectInvalid)
    assert [type(one) for one in (decision, empty, salt)] == [StatementInvalid] * 3
    assert isinstance(crowd, RequestTooLarge)
    assert world.provider.callers == []
    # What no use case has seen is logged all the same.
    assert world.provider.refusals == [(REQUESTER, one.reason) for one in (decision, empty, salt, crowd)]


async def test_a_port_that_is_taken_is_said_to_be() -> None:
    world = World()
    async with world.serving() as address:
        with pytest.raises(PortTaken):
            await world.server(address).start()
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTaken):
        await world.server(f"127.0.0.1:{other.getsockname()[1]}").start()


async def test_health_and_reflection_answer() -> None:
    world = World()
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        name = "kiteline.exchange.v1.PeerService"
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        stream = reflection_pb2_grpc.ServerReflectionStub(opened).ServerReflectionInfo(iter([asked]))
        reflected = await stream.read()
        stream.cancel()
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert {name, "kiteline.audit.v1.AuditService", "kiteline.exchange.v1.DepartmentService"} <= {
        service.name for service in reflected.list_services_response.service
    }


async def test_a_stop_lets_running_calls_end_and_takes_no_new_ones() -> None:
    world = World()
    world.provider.held = asyncio.Event()
    server = world.server()
    address = await server.start()
    async with channel(world, address, world.requester_tls) as opened:
        query = peer_pb2.QueryRequest(order_note=b"order", key="k", key_salt=bytes(16))
        running = asyncio.ensure_future(PeerServiceStub(opened).Query(query))
        await world.provider.began.wait()
        health = health_pb2_grpc.HealthStub(opened)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop(20))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        async with channel(world, address, world.requester_tls) as late:
            assert isinstance(await refusal(PeerServiceStub(late).ListDatasets(LIST)), PeerUnavailable)
        world.provider.held.set()
        assert (await running).delivery_note == b"delivery"
        await stopping


async def test_a_stop_ends_what_is_left_when_the_grace_is_over() -> None:
    world = World()
    world.provider.held = asyncio.Event()
    server = world.server()
    address = await server.start()
    async with channel(world, address, world.requester_tls) as opened:
        stream = PeerServiceStub(opened).Exchange()
        await stream.write(peer_pb2.ExchangeRequest(order_note=b"order"))
        await world.provider.began.wait()
        await server.stop(0.01)
        await world.provider.ended.wait()
        stream.cancel()
    assert world.calls[-1][1] == "CANCELLED"


async def test_the_certificate_before_a_rotation_is_accepted_for_the_grace_and_then_refused() -> None:
    world = World()
    old, new = world.requester_tls, tls_identity(REQUESTER, number=2)
    async with world.serving() as address, channel(world, address, old) as opened:
        await PeerServiceStub(opened).ListDatasets(LIST)
        world.rotate(REQUESTER, new)
        for own in (old, new):
            async with channel(world, address, own) as fresh:
                await PeerServiceStub(fresh).ListDatasets(LIST)
        world.now_ms = 1_000 * (world.now_ms // 1_000 + ROTATION_GRACE_SECONDS)
        await PeerServiceStub(opened).ListDatasets(LIST)
        world.now_ms += 1
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), NotAMember)
        async with channel(world, address, old) as late:
            assert isinstance(await refusal(PeerServiceStub(late).ListDatasets(LIST)), PeerUnavailable)
        async with channel(world, address, new) as fresh:
            await PeerServiceStub(fresh).ListDatasets(LIST)
    assert {caller.member_id for caller in world.provider.callers} == {REQUESTER}


async def test_another_key_rotated_after_the_certificate_does_not_end_its_grace() -> None:
    world = World()
    old = world.requester_tls
    world.rotate(REQUESTER, tls_identity(REQUESTER, number=2))
    world.move(REQUESTER, endpoint="127.0.0.1:2")
    async with world.serving() as address, channel(world, address, old) as opened:
        await PeerServiceStub(opened).ListDatasets(LIST)


@pytest.mark.parametrize("is_rotated", [True, False])
async def test_a_certificate_declared_compromised_is_refused_at_once_at_the_door_and_in_calls(
    *, is_rotated: bool
) -> None:
    world = World()
    old = world.requester_tls
    async with world.serving() as address, channel(world, address, old) as opened:
        await PeerServiceStub(opened).ListDatasets(LIST)
        if is_rotated:
            world.rotate(REQUESTER, tls_identity(REQUESTER, number=2))
        else:
            # Declared of the first epoch, and in force in the second too.
            world.move(REQUESTER, endpoint="127.0.0.1:2")
        world.declare_certificate(REQUESTER, epoch=1)
        told = await refusal(PeerServiceStub(opened).ListDatasets(LIST))
        assert isinstance(told, NotAMember)
        assert "compromised" in str(told)
        async with channel(world, address, old) as late:
            assert isinstance(await refusal(PeerServiceStub(late).ListDatasets(LIST)), PeerUnavailable)
    assert len(world.provider.callers) == 1
    assert world.log.kept[-1][1]["reason"] == NotAMember.reason


async def test_a_member_that_names_anothers_certificate_takes_its_calls_neither_in_the_grace_nor_when_it_is_stolen() -> (
    None
):
    world = World()
    old = world.requester_tls
    world.rotate(REQUESTER, tls_identity(REQUESTER, number=2))
    thief = member(STRANGER, old)
    world.admit(replace(thief, epochs=(replace(thief.keys, since_block=9),)))
    async with world.serving() as address, channel(world, address, old) as opened:
        await PeerServiceStub(opened).ListDatasets(LIST)
        assert world.provider.callers[0].member_id == REQUESTER
        world.declare_certificate(REQUESTER, epoch=1)
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), NotAMember)


async def test_a_new_certificate_of_the_server_is_shown_from_the_next_handshake_on_and_watchers_go_on() -> None:
    world = World()
    old = world.provider_tls
    async with world.serving() as address, channel(world, address, world.requester_tls) as opened:
        watch = health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        world.provider_tls = tls_identity(PROVIDER, number=2)
        async with channel(world, address, world.requester_tls) as fresh:
            await PeerServiceStub(fresh).ListDatasets(LIST)
        pem = old.certificate_pem
        shows_old = grpc.aio.secure_channel(
            address, credentials(world.requester_tls, pem), options=options(to_der(pem))
        )
        async with shows_old as pinned:
            assert isinstance(await refusal(PeerServiceStub(pinned).ListDatasets(LIST)), PeerUnavailable)
        # What was open before goes on, and its watcher has heard of nothing else.
        await PeerServiceStub(opened).ListDatasets(LIST)
        assert not watch.done()
        watch.cancel()


async def test_the_security_team_passes_the_handshake_and_is_nobody_else() -> None:
    world = World()
    identities = world.identities()
    team, program = to_der(world.security_tls.certificate_pem), to_der(world.client_tls.certificate_pem)
    identities.security(team)
    for certificate in (program, to_der(world.requester_tls.certificate_pem)):
        with pytest.raises(NotASecurityOfficer):
            identities.security(certificate)
    async with world.serving() as address, channel(world, address, world.security_tls) as opened:
        status = DepartmentServiceStub(opened).GetStatus(department_pb2.GetStatusRequest())
        assert isinstance(await refusal(status), NotThisDepartment)
        assert isinstance(await refusal(PeerServiceStub(opened).ListDatasets(LIST)), NotAMember)
        checkpoint = AuditServiceStub(opened).GetCheckpoint(audit_pb2.GetCheckpointRequest())
        assert isinstance(await refusal(checkpoint), NotAMember)


def test_programs_and_security_team_share_no_certificate_and_no_subject() -> None:
    world = World()
    program, namesake = (to_der(one.certificate_pem) for one in (world.client_tls, tls_identity("a program")))
    for shared in (program, namesake):
        with pytest.raises(ConfigurationInvalid) as caught:
            Identities(world.view, PROVIDER, [program], lambda: world.now_ms, [shared])
        assert caught.value.details["setting"] == "security_certificates"
