"""Bad orders and requests to a running node, under a member's own keys: one reason each, logged, and nothing changed.

After every refusal the log holds that refusal and nothing else, the grant's use is what it was, and a good call works.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest

from crypto.notes import cosign_note, parse_note
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from kiteline.exchange.v1 import peer_pb2 as pb
from node.model.lines import ZERO_DIGEST, Range
from node.model.statements import OrderKind, Request
from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH
from tests.integration.conftest import ROWS
from tests.support.bench import Bench
from tests.support.peer_client import DAY_SECONDS, Agreement, PeerClient, Side, agree, now_ms, refused, until

pytestmark = pytest.mark.process

EXPIRY_SECONDS = 5  # enough for the decision to be mined
HOUR_MS = 3_600_000


@pytest.fixture(scope="module", autouse=True)
def expiring(dataset: str, civil: Side, health: Side) -> tuple[Agreement, int]:
    """A grant that expires while the other tests run, and when (Unix time, s)."""
    expiry = now_ms() // 1_000 + EXPIRY_SECONDS
    return agree(civil, health, bytes.fromhex(dataset), ROWS, expiry_seconds=expiry), expiry


def _spoilt(spoil: Callable[[bytes], bytes]) -> Callable[[Bench], pb.QueryRequest]:
    """A query whose note is spoilt after it was signed."""

    def make(bench: Bench) -> pb.QueryRequest:
        _, request = bench.question()
        request.order_note = spoil(request.order_note)
        return request

    return make


def _misspelt(old: str, new: str) -> Callable[[Bench], pb.QueryRequest]:
    """A query whose text is spelt otherwise, and signed so: the signature holds, the spelling does not."""

    def make(bench: Bench) -> pb.QueryRequest:
        order, request = bench.question()
        text = order.to_text()
        assert old in text
        request.order_note = bench.requester.note(text.replace(old, new, 1))
        return request

    return make


def _stating(**changes: object) -> Callable[[Bench], pb.QueryRequest]:
    """A query, canonical and rightly signed, that states something else."""
    return lambda bench: bench.question(**changes)[1]


def _signed_by(name: str, key: Callable[[Bench], SM2PrivateKey]) -> Callable[[Bench], pb.QueryRequest]:
    def make(bench: Bench) -> pb.QueryRequest:
        order, request = bench.question()
        forger = PeerClient.__new__(PeerClient)
        forger.engine, forger.member_id, forger.signing_key = bench.requester.engine, name, key(bench)
        request.order_note = forger.note(order)
        return request

    return make


def _with_the_signature_of_another_note(bench: Bench) -> pb.QueryRequest:
    _, other = bench.question()
    order, request = bench.question()
    line = parse_note(other.order_note).signatures[0]
    request.order_note = f"{order.to_text()}\n{line}".encode()
    return request


def _with_loose_base64(note: bytes) -> bytes:
    """The same signature bytes with a base64 that decodes to them and is not the canonical one."""
    head, _, encoded = note.rstrip(b"\n").rpartition(b" ")
    blob = base64.b64decode(encoded)
    # A trailing byte makes room for padding, whose unused bits can then be set.
    padded = bytearray(base64.b64encode(blob + b"\0" * ((1 - len(blob)) % 3)))
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = len(padded) - 3
    padded[last] = alphabet[alphabet.index(padded[last]) | 1]
    return head + b" " + bytes(padded) + b"\n"


def _twice_signed(bench: Bench) -> pb.QueryRequest:
    _, request = bench.question()
    auditor = bench.auditor
    request.order_note = cosign_note(request.order_note, AUDIT.member_id, HeldKey(auditor.engine, auditor.signing_key))
    return request


def _for_another_key(bench: Bench) -> pb.QueryRequest:
    _, request = bench.question()
    request.key = "K0000008"
    return request


UNOPENED, OPENED = "ACCESS_REFUSED", "ORDER_RECEIVED"  # a note that nobody is known to have signed is not kept

BAD_QUERIES: list[tuple[str, Callable[[Bench], pb.QueryRequest], str, str]] = [
    ("half a note", _spoilt(lambda note: note[: len(note) // 2]), "STATEMENT_INVALID", UNOPENED),
    ("a note without its last byte", _spoilt(lambda note: note[:-1]), "STATEMENT_INVALID", UNOPENED),
    ("a text without a signature", _spoilt(lambda note: note.partition(b"\n\n")[0]), "STATEMENT_INVALID", UNOPENED),
    ("bytes that are no text", _spoilt(lambda note: b"\xff" + note), "STATEMENT_INVALID", UNOPENED),
    ("carriage returns", _spoilt(lambda note: note.replace(b"\n", b"\r\n")), "STATEMENT_INVALID", UNOPENED),
    ("one more line feed", _spoilt(lambda note: note + b"\n"), "STATEMENT_INVALID", UNOPENED),
    ("loose base64", _spoilt(_with_loose_base64), "STATEMENT_INVALID", UNOPENED),
    ("two signatures", _twice_signed, "STATEMENT_INVALID", UNOPENED),
    ("another version of the statement", _misspelt("order/v1", "order/v2"), "STATEMENT_INVALID", UNOPENED),
    ("another type of statement", _misspelt("kiteline/order", "kiteline/receipt"), "STATEMENT_INVALID", UNOPENED),
    ("two spaces for one", _misspelt("kind query", "kind  query"), "STATEMENT_INVALID", UNOPENED),
    ("a range where there is none", _misspelt("range -", "range 00 1"), "STATEMENT_INVALID", UNOPENED),
    ("a changed text", _spoilt(lambda note: note.replace(b"kind query", b"kind queri")), "STATEMENT_INVALID", UNOPENED),
    ("a changed time", _spoilt(lambda note: note.replace(b".", b".0", 1)), "STATEMENT_INVALID", UNOPENED),
    (
        "the auditor's signature",
        _signed_by(AUDIT.member_id, lambda bench: bench.auditor.signing_key),
        "SIGNATURE_INVALID",
        UNOPENED,
    ),
    (
        "the auditor's key in the requester's name",
        _signed_by(HEALTH.member_id, lambda bench: bench.auditor.signing_key),
        "SIGNATURE_INVALID",
        UNOPENED,
    ),
    ("the signature of another note", _with_the_signature_of_another_note, "SIGNATURE_INVALID", UNOPENED),
    ("an order of an hour ago", lambda bench: bench.question(time_ms=now_ms() - HOUR_MS)[1], "ORDER_REPLAYED", OPENED),
    (
        "an order of an hour hence",
        lambda bench: bench.question(time_ms=now_ms() + HOUR_MS)[1],
        "ORDER_REPLAYED",
        OPENED,
    ),
    ("an unknown grant", _stating(grant_id=bytes(31) + b"\1"), "GRANT_UNKNOWN", OPENED),
    ("an unknown dataset", _stating(dataset_id=bytes(31) + b"\1"), "STATEMENT_INVALID", OPENED),
    ("another member's name", _stating(requester_id=AUDIT.member_id), "STATEMENT_INVALID", OPENED),
    ("another provider's name", _stating(provider_id=AUDIT.member_id), "STATEMENT_INVALID", OPENED),
    ("another key than ordered", _for_another_key, "STATEMENT_INVALID", OPENED),
    (
        "a bulk order",
        _stating(kind=OrderKind.BULK, range=Range(0, ROWS), key_digest=ZERO_DIGEST),
        "STATEMENT_INVALID",
        OPENED,
    ),
]


@pytest.mark.parametrize(
    ("make", "reason", "event"), [case[1:] for case in BAD_QUERIES], ids=[case[0] for case in BAD_QUERIES]
)
def test_a_bad_order_gets_its_one_reason_is_logged_and_changes_nothing(
    bench: Bench, make: Callable[[Bench], pb.QueryRequest], reason: str, event: str
) -> None:
    request, used = make(bench), bench.used()
    bench.log.mark()
    with refused(reason):
        bench.requester.call("Query", request)
    [entry] = bench.log.new()
    assert (entry.event, entry.refusal, entry.actor) == (event, reason, HEALTH.member_id)
    # What nobody is known to have signed is not kept as somebody's statement; what somebody signed is kept as it came.
    assert entry.note == (request.order_note if event == OPENED else None)
    assert bench.used() == used
    bench.check_good_call()


def test_a_replayed_order_is_answered_alike_until_its_receipt_and_never_after(bench: Bench) -> None:
    order, request = bench.question()
    first = bench.requester.call("Query", request)
    used = bench.used()
    bench.log.mark()
    assert bench.requester.call("Query", request) == first
    assert bench.log.steps() == []
    _, other = bench.question(order_id=order.order_id)
    with refused("ORDER_REPLAYED"):
        bench.requester.call("Query", other)
    bench.hand_in()
    bench.log.mark()
    with refused("ORDER_REPLAYED", grpc.StatusCode.ABORTED):
        bench.requester.call("Query", request)
    assert bench.log.steps() == [("ACCESS_REFUSED", "ORDER_REPLAYED")]
    assert bench.used() == used
    bench.check_good_call()


def test_a_member_without_the_grant_learns_nothing_of_it(bench: Bench) -> None:
    """The auditor asks with the requester's own note, and with one of its own."""
    order, request = bench.question()
    own = replace(order, requester_id=AUDIT.member_id)
    forms = [
        (request.order_note, "SIGNATURE_INVALID", "ACCESS_REFUSED"),
        (bench.auditor.note(own), "GRANT_UNKNOWN", "ORDER_RECEIVED"),
    ]
    for note, reason, event in forms:
        bench.log.mark()
        with refused(reason):
            bench.auditor.call("Query", pb.QueryRequest(order_note=note, key=request.key, key_salt=request.key_salt))
        [entry] = bench.log.new()
        assert (entry.event, entry.refusal, entry.actor) == (event, reason, AUDIT.member_id)
    bench.check_good_call()


@pytest.mark.parametrize(
    ("dataset_id", "reason"),
    [(bytes(31) + b"\1", "DATASET_UNKNOWN"), (None, "REQUEST_NOT_ON_CHAIN")],
    ids=["an unknown dataset", "no transaction"],
)
def test_a_request_that_cannot_be_granted_is_refused_and_logged(
    bench: Bench, dataset_id: bytes | None, reason: str
) -> None:
    request = Request(
        grant_id=os.urandom(32),
        dataset_id=dataset_id or bench.agreement.dataset_id,
        requester_id=HEALTH.member_id,
        provider_id=CIVIL_AFFAIRS.member_id,
        fields=(),
        purpose="to test",
        expiry_seconds=now_ms() // 1_000 + DAY_SECONDS,
        quota=1,
        time_ms=now_ms(),
    )
    bench.log.mark()
    with refused(reason):
        note = bench.requester.note(request)
        bench.requester.call("SubmitRequest", pb.SubmitRequestRequest(request_note=note))
    [entry] = bench.log.new()
    assert (entry.event, entry.refusal) == ("REQUEST_RECEIVED", reason)
    assert entry.subject == f"grant:{request.grant_id.hex()}"
    with refused("GRANT_UNKNOWN", grpc.StatusCode.NOT_FOUND):
        bench.requester.call("GetDecision", pb.GetDecisionRequest(grant_id=request.grant_id))
    assert bench.log.steps()[-1] == ("ACCESS_REFUSED", "GRANT_UNKNOWN")
    bench.check_good_call()


def test_an_order_under_a_grant_that_expired_is_refused_and_logged(
    bench: Bench, expiring: tuple[Agreement, int]
) -> None:
    agreement, expiry = expiring
    until(lambda: now_ms() >= 1_000 * expiry)
    bench.log.mark()
    with refused("GRANT_EXPIRED", grpc.StatusCode.PERMISSION_DENIED):
        bench.requester.call("Query", bench.requester.question(agreement, "K0000007"))
    assert bench.log.steps() == [("ORDER_RECEIVED", "GRANT_EXPIRED")]
    bench.check_good_call()
