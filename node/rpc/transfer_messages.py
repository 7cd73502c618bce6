"""The messages of an exchange stream and of a query: from values to the wire and back."""

from __future__ import annotations

from kiteline.exchange.v1 import peer_pb2 as pb
from kiteline.exchange.v1 import statement_pb2 as statement
from node.errors import DeliveryInvalid, StatementInvalid
from node.model.transfer import (
    Completed,
    Delivered,
    KeysReleased,
    OrderNote,
    QueryAnswer,
    QueryAsked,
    ReceiptNote,
    SegmentReceived,
    StreamMessage,
)
from node.rpc import shapes

_DIGEST_SIZE = 32


def to_response(message: StreamMessage) -> pb.ExchangeResponse:
    """What a provider says in a stream, for the wire."""
    match message:
        case SegmentReceived(sequence, position, blob):
            return pb.ExchangeResponse(segment=statement.Segment(sequence=sequence, position=position, blob=blob))
        case Delivered(note, digests, version_note):
            each = [digests[at : at + _DIGEST_SIZE] for at in range(0, len(digests), _DIGEST_SIZE)]
            delivery = pb.Delivery(delivery_note=note, segment_digests=each, version_note=version_note)
            return pb.ExchangeResponse(delivery=delivery)
        case KeysReleased(note, wrapped_secrets):
            release = pb.KeyRelease(release_note=note, wrapped_secrets=wrapped_secrets)
            return pb.ExchangeResponse(key_release=release)
        case Completed(last_sequence):
            return pb.ExchangeResponse(complete=pb.OrderComplete(last_sequence=last_sequence))


def from_response(response: pb.ExchangeResponse) -> StreamMessage:
    """What a provider said in a stream. Raises DeliveryInvalid."""
    match response.WhichOneof("step"):
        case "segment":
            segment = response.segment
            return SegmentReceived(segment.sequence, segment.position, segment.blob)
        case "delivery":
            delivery = response.delivery
            if any(len(digest) != _DIGEST_SIZE for digest in delivery.segment_digests):
                raise DeliveryInvalid(f"a segment's digest has {_DIGEST_SIZE} bytes")
            return Delivered(delivery.delivery_note, b"".join(delivery.segment_digests), delivery.version_note)
        case "key_release":
            release = response.key_release
            return KeysReleased(release.release_note, release.wrapped_secrets)
        case "complete":
            return Completed(response.complete.last_sequence)
        case _:
            raise DeliveryInvalid("the provider sent a message of no known kind")


def from_request(request: pb.ExchangeRequest) -> OrderNote | ReceiptNote:
    """What a requester said in a stream. Raises StatementInvalid, RequestTooLarge."""
    match request.WhichOneof("step"):
        case "order_note":
            return OrderNote(shapes.note(request.order_note))
        case "receipt_note":
            return ReceiptNote(shapes.note(request.receipt_note))
        case _:
            raise StatementInvalid("the message is neither an order nor a receipt")


def from_query(request: pb.QueryRequest) -> QueryAsked:
    """What a requester asked. Raises StatementInvalid, RequestTooLarge."""
    return QueryAsked(
        order_note=shapes.note(request.order_note),
        key=shapes.key(request.key),
        key_salt=shapes.salt(request.key_salt),
        receipt_notes=shapes.notes(request.receipt_notes),
    )


def to_query(asked: QueryAsked) -> pb.QueryRequest:
    """A query for the wire."""
    return pb.QueryRequest(
        order_note=asked.order_note, key=asked.key, key_salt=asked.key_salt, receipt_notes=asked.receipt_notes
    )


def to_answer(answer: QueryAnswer) -> pb.QueryResponse:
    """An answer for the wire."""
    return pb.QueryResponse(
        delivery_note=answer.delivery_note,
        sealed_answer=answer.sealed_answer,
        wrapped_secret=answer.wrapped_secret,
        version_note=answer.version_note,
    )


def from_answer(response: pb.QueryResponse) -> QueryAnswer:
    """An answer as it came; what it holds is checked by who opens it."""
    return QueryAnswer(
        delivery_note=response.delivery_note,
        sealed_answer=response.sealed_answer,
        wrapped_secret=response.wrapped_secret,
        version_note=response.version_note,
    )
