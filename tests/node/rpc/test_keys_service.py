"""KeysService: what the security team asks is done and told step by step, and nobody else may ask."""

from __future__ import annotations

import asyncio

import pytest

from crypto.errors import Refusal
from kiteline.keys.v1 import keys_pb2 as pb
from node.errors import NoRotation, NotASecurityOfficer, NotThisDepartment, RotationUnderWay, StatementInvalid
from node.model.keys import Kind, Mode
from node.rpc.certificates import TLSIdentity
from node.rpc.client import Client
from tests.node.rpc.locksmith import AFFECTED, DIGEST
from tests.node.rpc.world import PROVIDER, World


def client(world: World, address: str, own: TLSIdentity) -> Client:
    return Client(address, world.provider_tls.certificate_pem, own)


async def test_a_rotation_is_told_step_by_step_and_ends_with_its_report() -> None:
    world = World()
    async with world.serving() as address:

        def work() -> list[pb.RotateKeyResponse]:
            with client(world, address, world.security_tls) as officer:
                request = pb.RotateKeyRequest(kind=pb.KEY_KIND_AT_REST, mode=pb.ROTATION_MODE_DRILL)
                return list(officer.keys.RotateKey(request))

        *told, last = await asyncio.to_thread(work)
    assert [(one.progress.what, one.progress.done, one.progress.total) for one in told] == [
        ("rehearsing", done, 2) for done in range(3)
    ]
    assert (last.outcome.kind, last.outcome.number, last.outcome.step) == (pb.KEY_KIND_AT_REST, 2, "undone")
    assert list(last.outcome.report) == ["it signs", "the contract would take it"]
    assert world.locksmith.asked == [(Kind.AT_REST, Mode.DRILL)]


async def test_what_is_held_is_listed_and_committed_or_undone_once() -> None:
    world = World()
    async with world.serving() as address:

        def work() -> None:
            with client(world, address, world.security_tls) as officer:
                hold = pb.RotateKeyRequest(kind=pb.KEY_KIND_TLS, mode=pb.ROTATION_MODE_HOLD)
                for finish in ("commit", "undo"):
                    list(officer.keys.RotateKey(hold))
                    listed = officer.keys.ListKeys(pb.ListKeysRequest())
                    assert (listed.member_id, listed.rotation.kind, listed.rotation.step) == (
                        PROVIDER,
                        pb.KEY_KIND_TLS,
                        "prepared",
                    )
                    assert listed.rotation.mode == pb.ROTATION_MODE_HOLD
                    with pytest.raises(RotationUnderWay):
                        list(officer.keys.RotateKey(hold))
                    if finish == "commit":
                        *_, last = officer.keys.CommitRotation(pb.CommitRotationRequest())
                        assert last.outcome.step == "active"
                    else:
                        undone = officer.keys.UndoRotation(pb.UndoRotationRequest())
                        assert undone.outcome.step == "undone"
                    assert not officer.keys.ListKeys(pb.ListKeysRequest()).HasField("rotation")
                    with pytest.raises(NoRotation):
                        officer.keys.UndoRotation(pb.UndoRotationRequest())
                    with pytest.raises(NoRotation):
                        list(officer.keys.CommitRotation(pb.CommitRotationRequest()))

        await asyncio.to_thread(work)


async def test_every_entry_that_a_compromised_key_had_a_part_in_comes_after_the_declaration() -> None:
    world = World()
    async with world.serving() as address:

        def work() -> list[pb.DeclareCompromiseResponse]:
            with client(world, address, world.security_tls) as officer:
                request = pb.DeclareCompromiseRequest(kind=pb.KEY_KIND_SIGNING, since_seconds=1_795_000_000)
                return list(officer.keys.DeclareCompromise(request))

        told = await asyncio.to_thread(work)
    kinds = [one.WhichOneof("content") for one in told]
    assert kinds == ["progress", "declaration", *["entry"] * AFFECTED]
    declared = told[1].declaration
    assert (declared.old_number, declared.new_number, list(declared.epochs)) == (1, 2, [1, 2])
    assert list(declared.transaction_hashes) == [DIGEST]
    assert [one.entry.index for one in told[2:]] == list(range(AFFECTED))
    assert world.locksmith.asked == [(Kind.SIGNING, 1, 1_795_000_000)]


async def test_the_departments_programs_change_no_keys_and_the_security_team_asks_for_no_data() -> None:
    world = World()
    async with world.serving() as address:

        def work() -> None:
            with client(world, address, world.client_tls) as program:
                with pytest.raises(NotASecurityOfficer):
                    program.keys.ListKeys(pb.ListKeysRequest())
                with pytest.raises(NotASecurityOfficer):
                    list(
                        program.keys.RotateKey(pb.RotateKeyRequest(kind=pb.KEY_KIND_TLS, mode=pb.ROTATION_MODE_THROUGH))
                    )
            with client(world, address, world.security_tls) as officer, pytest.raises(NotThisDepartment):
                officer.department.GetStatus(pb.ListKeysRequest())

        await asyncio.to_thread(work)
    assert world.locksmith.asked == []


@pytest.mark.parametrize(
    "call",
    [
        lambda keys: list(keys.RotateKey(pb.RotateKeyRequest(mode=pb.ROTATION_MODE_DRILL))),
        lambda keys: list(keys.RotateKey(pb.RotateKeyRequest(kind=pb.KEY_KIND_TLS))),
        lambda keys: list(keys.RotateKey(pb.RotateKeyRequest(kind=77, mode=pb.ROTATION_MODE_DRILL))),  # type: ignore[arg-type]
        lambda keys: list(keys.DeclareCompromise(pb.DeclareCompromiseRequest(kind=pb.KEY_KIND_TLS))),
        lambda keys: list(keys.DeclareCompromise(pb.DeclareCompromiseRequest(since_seconds=5))),
    ],
    ids=["no kind", "no mode", "a kind that there is not", "no time", "a compromise of no kind"],
)
async def test_what_names_no_kind_mode_or_time_is_refused(call: object) -> None:
    world = World()
    async with world.serving() as address:

        def work() -> Refusal:
            with client(world, address, world.security_tls) as officer, pytest.raises(StatementInvalid) as refused:
                call(officer.keys)  # type: ignore[operator]
            return refused.value

        await asyncio.to_thread(work)
    assert world.locksmith.asked == []
