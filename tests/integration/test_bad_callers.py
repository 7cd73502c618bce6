"""Messages of a wrong shape, and callers who may not call, at a running node: one reason each, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from kiteline.audit.v1 import audit_pb2
from kiteline.exchange.v1 import department_pb2
from kiteline.exchange.v1 import peer_pb2 as pb
from node.errors import NotThisDepartment
from node.rpc.certificates import TLSIdentity
from node.rpc.client import Client
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, LocalConsortium
from tests.node.rpc.world import tls_identity
from tests.support.bench import Bench
from tests.support.keys import CLIENT, TLS, open_tls
from tests.support.peer_client import PeerClient, WireRefusal, address, passphrase, refused, shown

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("rpc", "request_of", "reason"),
    [
        ("SubmitRequest", pb.SubmitRequestRequest, "STATEMENT_INVALID"),
        ("SubmitRequest", lambda: pb.SubmitRequestRequest(request_note=bytes(1024 * 1024 + 1)), "REQUEST_TOO_LARGE"),
        ("SubmitReceipts", lambda: pb.SubmitReceiptsRequest(receipt_notes=[b"n"] * 4_097), "REQUEST_TOO_LARGE"),
        ("GetDecision", lambda: pb.GetDecisionRequest(grant_id=b"short"), "STATEMENT_INVALID"),
        ("Query", lambda: pb.QueryRequest(order_note=b"n", key="k" * 4_097, key_salt=bytes(16)), "REQUEST_TOO_LARGE"),
        ("Query", lambda: pb.QueryRequest(order_note=b"n", key="k", key_salt=bytes(15)), "STATEMENT_INVALID"),
    ],
    ids=["no note", "a large note", "many notes", "a short id", "a long key", "a short salt"],
)
def test_a_message_of_a_wrong_shape_is_refused_and_logged(
    bench: Bench, rpc: str, request_of: Callable[[], object], reason: str
) -> None:
    position = bench.printed.stat().st_size
    bench.log.mark()
    with refused(reason):
        bench.requester.call(rpc, request_of())
    assert bench.told_since(position) == [reason]
    assert bench.log.steps() == [("ACCESS_REFUSED", reason)]
    bench.check_good_call()


def test_a_message_above_the_wires_limit_does_not_reach_the_node(bench: Bench) -> None:
    bench.log.mark()
    with pytest.raises(WireRefusal) as refusal:
        bench.requester.call("SubmitReceipts", pb.SubmitReceiptsRequest(receipt_notes=[bytes(1024 * 1024)] * 17))
    assert refusal.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bench.log.steps() == []
    bench.check_good_call()


def test_a_certificate_that_is_on_no_chain_does_not_pass_the_handshake(
    consortium: LocalConsortium, bench: Bench
) -> None:
    """A stranger's certificate, and a stranger's in the requester's name, each with the requester's own good note."""
    for own in (tls_identity("11370700MB00000015"), tls_identity(HEALTH.member_id)):
        bench.log.mark()
        pem = shown(consortium, CIVIL_AFFAIRS)
        key = bench.requester.signing_key
        with (
            PeerClient(address(consortium, CIVIL_AFFAIRS), pem, own, HEALTH.member_id, key) as stranger,
            pytest.raises(WireRefusal) as refusal,
        ):
            stranger.call("Query", bench.question()[1])
        assert (refusal.value.code, refusal.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")
        assert bench.log.steps() == []
    bench.check_good_call()


def test_a_members_program_is_no_member_and_a_member_is_no_program_of_another(
    consortium: LocalConsortium, bench: Bench
) -> None:
    position = bench.printed.stat().st_size
    program = open_tls(consortium.home(CIVIL_AFFAIRS) / "keys", CLIENT, passphrase(consortium))
    pem, place = shown(consortium, CIVIL_AFFAIRS), address(consortium, CIVIL_AFFAIRS)
    own = TLSIdentity(program.certificate_pem, program.key_pem)
    bench.log.mark()
    with (
        PeerClient(place, pem, own, HEALTH.member_id, bench.requester.signing_key) as pretender,
        refused("NOT_A_MEMBER"),
    ):
        pretender.call("Query", bench.question()[1])
    keys = open_tls(consortium.home(HEALTH) / "keys", TLS, passphrase(consortium))
    with (
        Client(place, pem, TLSIdentity(keys.certificate_pem, keys.key_pem)) as intruder,
        pytest.raises(NotThisDepartment),
    ):
        intruder.department.RevokeGrant(
            department_pb2.RevokeGrantRequest(grant_id=bench.agreement.grant_id, reason="to harm")
        )
    assert bench.told_since(position) == ["NOT_A_MEMBER", "NOT_THIS_DEPARTMENT"]
    assert [event for event, refusal in bench.log.steps() if refusal is None] == []
    bench.check_good_call()


def test_a_member_that_is_no_auditor_reads_no_other_log(consortium: LocalConsortium, bench: Bench) -> None:
    bench.log.mark()
    with pytest.raises(WireRefusal) as refusal:
        bench.requester.read_log("GetEvidence", audit_pb2.GetEvidenceRequest(index=0))
    assert refusal.value.reason == "NOT_AN_AUDITOR"
    assert bench.log.steps() == [("AUDIT_READ", "NOT_AN_AUDITOR")]
    with refused("ENTRY_UNKNOWN"):
        bench.auditor.read_log("GetEvidence", audit_pb2.GetEvidenceRequest(index=1 << 40))
    bench.check_good_call()
