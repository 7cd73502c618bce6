"""The department's own programs against their node, as the command line uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc
import pytest

from audit.entry import Entry
from audit.trail import Finding, FindingKind, Logged, Trail
from crypto.packed import Packed
from kiteline.audit.v1 import audit_pb2
from kiteline.exchange.v1 import department_pb2 as pb
from kiteline.exchange.v1.department_pb2_grpc import DepartmentServiceStub
from node.errors import ConfigurationInvalid, RecordInvalid, StatementInvalid, SubjectInvalid
from node.model.chain import DatasetOnChain, GrantOnChain, GrantState, SharingType
from node.model.grants import Terms
from node.model.lines import FieldDescription
from node.model.results import CatalogueEntry, FetchProgress, FetchSummary, GrantSummary
from node.model.statements import Description, Request
from node.rpc.certificates import to_der
from node.rpc.channels import credentials, options
from node.rpc.client import Client
from node.rpc.errors import NodeUnavailable
from tests.node.rpc.world import MINED, PROVIDER, REQUESTER, World, tls_identity

DATASET, GRANT = b"\x01" * 32, b"\x02" * 32


def client_of(world: World, address: str) -> Client:
    """The department's own program."""
    return Client(address, world.provider_tls.certificate_pem, world.client_tls)


async def test_records_are_published_as_they_were_given_whatever_the_batches() -> None:
    world = World()
    records = [b'["%d","%s"]' % (number, b"x" * 3_000) for number in range(2_000)]
    batches = [Packed.of(records[:1]), Packed.of([]), Packed.of(records[1:])]

    def publish(address: str) -> list[pb.PublishResponse]:
        with client_of(world, address) as client:
            responses = list(client.publish(DATASET, batches))
            assert client.last_stream_seconds > 0
            return responses

    async with world.serving() as address:
        responses = await asyncio.to_thread(publish, address)
    assert world.office.published == records
    assert responses[-1].version_note == b"version of " + DATASET
    assert responses[-1].transaction_hash == MINED.transaction_hash
    # A large batch crosses in pieces.
    assert len(responses) > 5


async def test_a_source_that_fails_half_way_publishes_nothing_and_says_why() -> None:
    world = World()

    def batches() -> Iterator[Packed]:
        yield Packed.of([b'["1"]'])
        raise RecordInvalid("line 2 has one value too many", line=2)

    def publish(address: str) -> None:
        with client_of(world, address) as client:
            list(client.publish(DATASET, batches()))

    async with world.serving() as address:
        with pytest.raises(RecordInvalid, match="line 2"):
            await asyncio.to_thread(publish, address)
        await world.office.publication_ended.wait()
    assert world.office.published is None


async def test_a_program_that_goes_away_in_the_middle_of_a_publication_publishes_nothing() -> None:
    world = World()
    pem = world.provider_tls.certificate_pem
    async with world.serving() as address:
        for goes_quietly in (False, True):
            world.office.first_batch.clear()
            world.office.publication_ended.clear()
            made = credentials(world.client_tls, pem)
            channel = grpc.aio.secure_channel(address, made, options=options(to_der(pem)))
            stream = DepartmentServiceStub(channel).Publish()
            await stream.write(pb.PublishRequest(dataset_id=DATASET, records=b'["1"]', lengths=[5]))
            await world.office.first_batch.wait()
            if goes_quietly:
                await stream.done_writing()
            else:
                await channel.close()
            await world.office.publication_ended.wait()
            await channel.close()
    assert world.office.published is None


@pytest.mark.parametrize(
    ("messages", "refused"),
    [
        ([pb.PublishRequest(dataset_id=b"short")], StatementInvalid),
        ([], StatementInvalid),
        ([pb.PublishRequest(dataset_id=DATASET, records=b"abc", lengths=[2])], RecordInvalid),
        ([pb.PublishRequest(dataset_id=DATASET, records=b"abc", lengths=[3])], StatementInvalid),
        (
            [
                pb.PublishRequest(dataset_id=DATASET, records=b"abc", lengths=[3]),
                pb.PublishRequest(total_count=2),
            ],
            StatementInvalid,
        ),
    ],
)
async def test_a_publication_that_contradicts_itself_is_refused(
    messages: list[pb.PublishRequest], refused: type[Exception]
) -> None:
    world = World()

    def publish(address: str) -> None:
        with client_of(world, address) as client:
            list(client.department.Publish(iter(messages)))

    async with world.serving() as address:
        with pytest.raises(refused):
            await asyncio.to_thread(publish, address)
    assert world.office.published is None


async def test_records_are_read_back_as_they_lie_with_their_fields() -> None:
    world = World()
    batch = Packed.of([b"r" * (number % 900) for number in range(5_000)])
    world.office.batches = [batch, Packed.of([]), Packed.of([b"last"])]

    def read(address: str) -> tuple[list[str], list[bytes]]:
        with client_of(world, address) as client:
            fields, batches = client.read_records(GRANT)
            return list(fields), [record for batch in batches for record in batch]

    async with world.serving() as address:
        fields, records = await asyncio.to_thread(read, address)
        world.office.batches = []
        assert await asyncio.to_thread(read, address) == (["no", "name"], [])
    assert (fields, records) == (["no", "name"], [*batch, b"last"])


def _found() -> Trail:
    """A trail with a step and a finding."""
    entry = Entry(1_795_482_123_004, "DELIVERY_SENT", PROVIDER, "-", note=b"kiteline/delivery/v1\nsequence 2\n\nline\n")
    finding = Finding(FindingKind.DELIVERY_WITHOUT_RECEIPT, "delivery 2 has no receipt")
    return Trail((Logged(PROVIDER, 4, entry),), (finding,), (PROVIDER,))


async def test_what_a_department_asks_and_is_told_crosses_unchanged() -> None:
    world = World()
    on_chain = DatasetOnChain(DATASET, PROVIDER, bytes(32), 2, SharingType.CONDITIONAL, size=7)
    fields = (FieldDescription("no", "编号"), FieldDescription("name"))
    described = Description(DATASET, "villages", PROVIDER, "村", 2, SharingType.CONDITIONAL, "no", fields, 1)
    world.office.entries = [
        CatalogueEntry(on_chain, "民政局", described),
        CatalogueEntry(on_chain, "民政局", None, is_purged=True),
        CatalogueEntry(on_chain, "other", None),
    ]
    asked = Request(GRANT, DATASET, REQUESTER, PROVIDER, ("no",), "match", 1_800_000_000, 9, 1)
    given = GrantOnChain(
        GRANT, DATASET, REQUESTER, PROVIDER, GrantState.APPROVED, bytes(32), expiry_seconds=1_790_000_000, quota=5
    )
    requested = GrantOnChain(GRANT, DATASET, REQUESTER, PROVIDER, GrantState.REQUESTED, bytes(32))
    terms = Terms(("no",), 1_790_000_000, 5)
    world.office.summaries = [
        GrantSummary(given, asked, terms, 2, 4, is_expired=False, is_used_up=False),
        GrantSummary(given, asked, terms, 2, 4, is_expired=True, is_used_up=True),
        GrantSummary(given, asked, terms, 5, 4, is_expired=False, is_used_up=True),
        GrantSummary(requested, asked, None, 0, 0, is_expired=False, is_used_up=False),
        GrantSummary(requested, None, None, 0, 0, is_expired=False, is_used_up=False),
    ]
    summary = FetchSummary(b"o" * 16, 7, 99, 12, "/tmp/records.jsonl", b"\x03" * 32, 1, 2, "openssl")  # noqa: S108
    world.office.progress = [FetchProgress(3, 0, 7), FetchProgress(7, 7, 7, summary)]
    world.office.found = _found()

    def ask(address: str) -> None:
        with client_of(world, address) as client:
            call = client.department
            offer = pb.DescribeDatasetRequest(
                name="villages",
                title="村",
                fields=[pb.Field(name="no", title="编号"), pb.Field(name="name")],
                key_field="no",
                level=2,
                sharing_type=pb.SHARING_TYPE_CONDITIONAL,
            )
            assert call.DescribeDataset(offer).dataset_id == DATASET
            with pytest.raises(StatementInvalid):
                call.DescribeDataset(pb.DescribeDatasetRequest(name="villages"))
            entries = call.ListCatalogue(pb.ListCatalogueRequest(contains="民政")).entries
            assert [(one.name, one.dataset.record_count, one.level) for one in entries] == [
                ("villages", 7, 2),
                ("", 7, 2),
            ]
            assert [one.state for one in entries] == [pb.DATASET_STATE_OFFERED, pb.DATASET_STATE_PURGED]
            purged = call.PurgeDataset(pb.PurgeDatasetRequest(dataset_id=DATASET, reason="over"))
            assert (purged.purge_note, purged.record_count, purged.destroyed_bytes) == (b"tombstone", 7, 4_096)
            assert (purged.root, purged.transaction_hash) == (b"\x04" * 32, b"\x07" * 32)
            with pytest.raises(StatementInvalid):
                call.PurgeDataset(pb.PurgeDatasetRequest(dataset_id=b"short", reason="over"))
            assert entries[0].fields[0] == pb.Field(name="no", title="编号")
            assert entries[0].sharing_type == pb.SHARING_TYPE_CONDITIONAL
            wish = pb.RequestGrantRequest(
                dataset_id=DATASET, fields=["no"], purpose="match", expiry_seconds=1_800_000_000, quota=9
            )
            assert call.RequestGrant(wish).grant_id == GRANT
            call.DecideGrant(pb.DecideGrantRequest(grant_id=GRANT, approve=True, quota=5))
            call.RevokeGrant(pb.RevokeGrantRequest(grant_id=GRANT, reason="over"))
            grants = call.ListGrants(pb.ListGrantsRequest()).grants
            assert [one.state for one in grants] == [
                pb.GRANT_STATE_APPROVED,
                pb.GRANT_STATE_EXPIRED,
                pb.GRANT_STATE_USED_UP,
                pb.GRANT_STATE_REQUESTED,
                pb.GRANT_STATE_REQUESTED,
            ]
            assert [(one.quota, one.expiry_seconds) for one in grants[-3:]] == [
                (5, 1_790_000_000),
                (9, 1_800_000_000),
                (0, 0),
            ]
            responses = list(call.Fetch(pb.FetchRequest(grant_id=GRANT)))
            assert not responses[0].HasField("summary")
            assert (responses[1].verified_count, responses[1].summary.engine) == (7, "openssl")
            record = call.QueryRecord(pb.QueryRecordRequest(grant_id=GRANT, key="王"))
            assert (record.values.decode(), record.proven, record.record_index) == ('["1","王"]', True, 12)
            assert call.Explain(pb.ExplainRequest(grant_id=GRANT)).reason == "GRANT_EXPIRED"
            assert call.AnchorNow(pb.AnchorNowRequest()).checkpoint_note == b"checkpoint"
            trail = call.GetTrail(pb.GetTrailRequest(grant_id=GRANT))
            assert (trail.steps[0].event, trail.steps[0].sequence, trail.steps[0].proven) == ("DELIVERY_SENT", 2, True)
            assert trail.findings[0] == pb.TrailFinding(
                kind="DELIVERY_WITHOUT_RECEIPT", says="delivery 2 has no receipt"
            )
            wanted = pb.GetMemberEvidenceRequest(member_id=PROVIDER, index=4)
            assert call.GetMemberEvidence(wanted).evidence == f"evidence {PROVIDER} 4".encode()
            with pytest.raises(SubjectInvalid):
                call.GetTrail(pb.GetTrailRequest(grant_id=b"x"))
            with pytest.raises(SubjectInvalid):
                call.GetMemberEvidence(pb.GetMemberEvidenceRequest(member_id="nobody"))
            consistency = client.audit.GetConsistency(audit_pb2.GetConsistencyRequest(old_size=1, new_size=2))
            assert consistency.path == [b"\x01" * 32, b"\x02" * 32]
            block = audit_pb2.StateFinalityRequest(chain_id=1337, block_number=9, block_hash=b"\x07" * 32)
            stated = client.audit.StateFinality(block).finality_note.decode()
            assert stated.endswith(f" 1337 9 {'07' * 32}")
            with pytest.raises(StatementInvalid):
                client.audit.StateFinality(audit_pb2.StateFinalityRequest(chain_id=1337, block_hash=b"x"))

    async with world.serving() as address:
        await asyncio.to_thread(ask, address)
    assert world.office.purges == [(DATASET, "over")]
    assert world.office.offers[0].fields == fields
    assert world.office.wishes[0].fields == ("no",)
    assert world.office.decisions == [(GRANT, True, "", Terms((), 0, 5)), (GRANT, False, "over", Terms((), 0, 0))]


def test_a_node_that_is_not_there_is_said_to_be_the_departments_own() -> None:
    world = World()
    with client_of(world, "127.0.0.1:1") as client, pytest.raises(NodeUnavailable):
        client.department.GetStatus(pb.GetStatusRequest())


def test_a_node_certificate_that_is_none_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationInvalid):
        Client("127.0.0.1:1", b"junk", tls_identity("a program"))
