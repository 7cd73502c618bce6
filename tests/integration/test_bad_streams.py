"""Bad orders and receipts in exchange streams of a running node: one reason each, logged, and no key given out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest

from crypto.notes import parse_note
from crypto.sm3 import sm3
from kiteline.exchange.v1 import peer_pb2 as pb
from node.exchange.notes import note_digest
from node.model.lines import Range
from node.rpc import shapes
from tests.integration.conftest import ROWS
from tests.support.bench import Bench
from tests.support.peer_client import now_ms, refused

pytestmark = pytest.mark.process

HOUR_MS = 3_600_000
UNOPENED, OPENED = "ACCESS_REFUSED", "ORDER_RECEIVED"  # a note that nobody is known to have signed is not kept


def _bulk(**changes: object) -> Callable[[Bench], pb.ExchangeRequest]:
    def make(bench: Bench) -> pb.ExchangeRequest:
        order = replace(bench.requester.order(bench.agreement), **changes)  # type: ignore[arg-type]  # as in `question`
        return pb.ExchangeRequest(order_note=bench.requester.note(order))

    return make


def _first_words(bench: Bench) -> pb.ExchangeRequest:
    delivery = bench.check_good_call()
    return pb.ExchangeRequest(receipt_note=bench.requester.receipt(delivery, b"x", sm3(b"another")))


def _old_order(bench: Bench) -> pb.ExchangeRequest:
    return _bulk(time_ms=now_ms() - HOUR_MS)(bench)


BAD_STREAMS: list[tuple[str, Callable[[Bench], pb.ExchangeRequest], str, str]] = [
    ("a message without a note", lambda _: pb.ExchangeRequest(), "STATEMENT_INVALID", UNOPENED),
    (
        "a note of 1 MiB and a byte",
        lambda _: pb.ExchangeRequest(order_note=bytes(shapes.MAX_NOTE_BYTES + 1)),
        "REQUEST_TOO_LARGE",
        UNOPENED,
    ),
    ("a receipt before the order", _first_words, "STATEMENT_INVALID", UNOPENED),
    (
        "half an order",
        lambda bench: pb.ExchangeRequest(order_note=bench.question()[1].order_note[:90]),
        "STATEMENT_INVALID",
        UNOPENED,
    ),
    (
        "a query",
        lambda bench: pb.ExchangeRequest(order_note=bench.question()[1].order_note),
        "STATEMENT_INVALID",
        OPENED,
    ),
    ("a part of the dataset", _bulk(range=Range(0, ROWS - 1)), "RANGE_INVALID", OPENED),
    ("more than the dataset", _bulk(range=Range(0, ROWS + 1)), "RANGE_INVALID", OPENED),
    ("an unknown grant", _bulk(grant_id=bytes(31) + b"\1"), "GRANT_UNKNOWN", OPENED),
    ("an old order", _old_order, "ORDER_REPLAYED", OPENED),
]


@pytest.mark.parametrize(
    ("make", "reason", "event"), [case[1:] for case in BAD_STREAMS], ids=[case[0] for case in BAD_STREAMS]
)
def test_a_stream_that_begins_badly_ends_with_its_one_reason_and_delivers_nothing(
    bench: Bench, make: Callable[[Bench], pb.ExchangeRequest], reason: str, event: str
) -> None:
    request, used = make(bench), bench.used()
    bench.log.mark()
    with bench.requester.stream() as stream, refused(reason):
        stream.send(request)
        stream.read()
    assert bench.log.steps() == [(event, reason)]
    assert bench.used() == used
    bench.check_good_call()


def test_a_second_stream_and_a_second_order_of_one_id_are_replays(bench: Bench) -> None:
    """A bulk order that is sent again resumes; one that only has its id does not, nor one beside an open stream."""
    order = bench.requester.order(bench.agreement)
    note = bench.requester.note(order)
    with bench.requester.stream() as stream:
        stream.send_order(note)
        arrived = stream.read_delivery()
        bench.log.mark()
        with bench.requester.stream() as second, refused("ORDER_REPLAYED", grpc.StatusCode.ABORTED):
            second.send_order(bench.requester.note(bench.requester.order(bench.agreement)))
            second.read()
        assert bench.log.steps() == [("ACCESS_REFUSED", "ORDER_REPLAYED")]
        notes = bench.receipts_due()
        stream.send_receipt(notes[0])
        for receipt in notes[1:]:
            stream.send_receipt(receipt)
        assert stream.read_keys().sequence == arrived.statement.sequence
        assert stream.read().WhichOneof("step") == "complete"
        with pytest.raises(EOFError):
            stream.read()
    used = bench.used()
    bench.log.mark()
    with bench.requester.stream() as stream, refused("ORDER_REPLAYED"):
        stream.send_order(bench.requester.note(replace(order, time_ms=order.time_ms + 1)))
        stream.read()
    assert bench.log.steps() == [("ORDER_RECEIVED", "ORDER_REPLAYED")]
    with bench.requester.stream() as stream:
        stream.send_order(note)
        assert stream.read_keys().sequence == arrived.statement.sequence
    assert bench.used() == used
    bench.check_good_call()


def _under_another_signature(bench: Bench, note: bytes) -> bytes:
    other = parse_note(bench.requester.note("another text\n"))
    return f"{parse_note(note).text}\n{other.signatures[0]}".encode()


BAD_RECEIPTS: list[tuple[str, Callable[[Bench, bytes], pb.ExchangeRequest], str]] = [
    ("an order for a receipt", lambda _, note: pb.ExchangeRequest(order_note=note), "STATEMENT_INVALID"),
    ("half a receipt", lambda _, note: pb.ExchangeRequest(receipt_note=note[:70]), "STATEMENT_INVALID"),
    (
        "another signature",
        lambda bench, note: pb.ExchangeRequest(receipt_note=_under_another_signature(bench, note)),
        "SIGNATURE_INVALID",
    ),
    (
        "a note above the limit",
        lambda _, note: pb.ExchangeRequest(receipt_note=note + bytes(shapes.MAX_NOTE_BYTES)),
        "REQUEST_TOO_LARGE",
    ),
]


@pytest.mark.parametrize(
    ("spoil", "reason"), [case[1:] for case in BAD_RECEIPTS], ids=[case[0] for case in BAD_RECEIPTS]
)
def test_a_bad_receipt_in_a_stream_ends_it_without_a_key(
    bench: Bench, spoil: Callable[[Bench, bytes], pb.ExchangeRequest], reason: str
) -> None:
    bench.hand_in()
    note = bench.requester.note(bench.requester.order(bench.agreement))
    with bench.requester.stream() as stream, refused(reason):
        stream.send_order(note)
        stream.read_delivery()
        [receipt] = bench.receipts_due()
        bench.log.mark()
        stream.send(spoil(bench, receipt))
        stream.read()
    assert bench.log.steps() == [("ACCESS_REFUSED", reason)]
    with bench.requester.stream() as stream:
        # The very same order goes on where its last receipt left it, and a good receipt opens the delivery.
        stream.send_order(note)
        stream.read_delivery()
        stream.send_receipt(receipt)
        assert stream.read_keys().receipt_digest == note_digest(receipt)
        assert stream.read().WhichOneof("step") == "complete"


def test_a_receipt_that_is_not_for_what_was_sent_is_refused_and_kept_as_evidence(bench: Bench) -> None:
    bench.hand_in()
    delivery = bench.check_good_call()
    [good] = bench.receipts_due()
    receipt = parse_note(good).text
    other = f"delivery {bytes(31).hex()}01"
    lines = [line if not line.startswith("delivery ") else other for line in receipt.split("\n")]
    forged = {
        "another delivery": bench.requester.note("\n".join(lines)),
        "a number that was not sent": bench.requester.note(
            receipt.replace(f"sequence {delivery.sequence}\n", f"sequence {delivery.sequence + 1}\n")
        ),
    }
    for note in forged.values():
        bench.log.mark()
        with refused("RECEIPT_INVALID", grpc.StatusCode.INVALID_ARGUMENT):
            bench.requester.call("SubmitReceipts", pb.SubmitReceiptsRequest(receipt_notes=[note]))
        steps = bench.log.new()
        assert ("RECEIPT_RECEIVED", "RECEIPT_INVALID", note) in [(one.event, one.refusal, one.note) for one in steps]
        assert {one.refusal for one in steps} == {"RECEIPT_INVALID"}
    bench.log.mark()
    with refused("SIGNATURE_INVALID"):
        bench.auditor.call("SubmitReceipts", pb.SubmitReceiptsRequest(receipt_notes=[good]))
    assert bench.log.steps() == [("ACCESS_REFUSED", "SIGNATURE_INVALID")]
    bench.requester.call("SubmitReceipts", pb.SubmitReceiptsRequest(receipt_notes=[good]))
    assert bench.log.steps()[-1] == ("RECEIPT_RECEIVED", None)
