"""What a requester checks before it believes a provider: notes against the order, bytes against the notes.

Every function takes values and raises DeliveryInvalid (or RootMismatch), which names what the provider signed and did not keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crypto.engine import Engine
from crypto.errors import EncodingInvalid
from crypto.packed import Packed
from crypto.seal import segment_header
from crypto.sm3 import sm3
from node.errors import DeliveryInvalid, InternalError, RootMismatch
from node.exchange.transfers import DeliveryState
from node.model.lines import DIGEST_SIZE
from node.model.statements import Delivery, KeyRelease, Order


@dataclass(frozen=True)
class OrderedVersion:
    """The version that an order is for, as the chain named it when the order was made. Logged with the order."""

    digest: bytes
    root: bytes

    def to_detail(self) -> str:
        """As it stands in the entry's detail line."""
        return f"version {self.digest.hex()} root {self.root.hex()}"

    @classmethod
    def from_detail(cls, detail: str | None) -> OrderedVersion:
        """The reverse. Raises InternalError: this node wrote the line."""
        parts = (detail or "").split(" ")
        if len(parts) != 4 or parts[0::2] != ["version", "root"]:  # noqa: PLR2004  # two names and two values
            raise InternalError("the order's entry does not name the version ordered")
        return cls(bytes.fromhex(parts[1]), bytes.fromhex(parts[3]))


@dataclass(frozen=True)
class PlacedOrder:
    """A bulk order that is in the log."""

    order: Order
    note: bytes
    version: OrderedVersion


def check_delivery(delivery: Delivery, order: Order, version_digest: bytes) -> None:
    """The delivery is one of this order, of the version ordered."""
    stated = (
        delivery.grant_id,
        delivery.order_id,
        delivery.kind,
        delivery.dataset_id,
        delivery.provider_id,
        delivery.requester_id,
    )
    wanted = (order.grant_id, order.order_id, order.kind, order.dataset_id, order.provider_id, order.requester_id)
    if stated != wanted:
        raise DeliveryInvalid("the delivery is for another order", sequence=delivery.sequence)
    if delivery.version_digest != version_digest:
        raise DeliveryInvalid("the delivery is of another version than was ordered", sequence=delivery.sequence)


def check_continues(delivery: Delivery, digest: bytes, known: Sequence[DeliveryState], stop: int) -> bool:
    """Whether the delivery is new; it then begins where the last one ended. A known one must be the same note."""
    for earlier in known:
        if earlier.sequence == delivery.sequence:
            if earlier.digest != digest:
                raise DeliveryInvalid("the provider signed two deliveries of one number", sequence=delivery.sequence)
            return False
    start = known[-1].stop if known else 0
    if delivery.range.start != start or delivery.range.stop > stop:
        raise DeliveryInvalid(
            f"records from {start} on are due, and {delivery.range.start} to {delivery.range.stop} came",
            sequence=delivery.sequence,
        )
    if known and delivery.sequence <= known[-1].sequence:
        raise DeliveryInvalid("the delivery's number is not above the one before", sequence=delivery.sequence)
    return True


def check_digests(delivery: Delivery, digests: bytes) -> None:
    """The digests announced are those that the note commits to."""
    if len(digests) != DIGEST_SIZE * delivery.segments or sm3(digests) != delivery.segments_digest:
        raise DeliveryInvalid("the announced digests are not those of the note", sequence=delivery.sequence)


def check_segments(engine: Engine, delivery: Delivery, digests: bytes, blobs: Sequence[bytes]) -> None:
    """The segments have the announced digests, and cover the delivery's range without a gap."""
    if engine.sm3_many(Packed.of(blobs)) != digests:
        raise DeliveryInvalid("a segment is not the one that was announced", sequence=delivery.sequence)
    position = delivery.range.start
    for blob in blobs:
        try:
            header = segment_header(blob)
        except EncodingInvalid as cause:
            raise DeliveryInvalid(f"a segment is malformed: {cause}", sequence=delivery.sequence) from cause
        if header.first_index != position:
            raise DeliveryInvalid(f"record {position} is missing or out of order", sequence=delivery.sequence)
        position += header.count
    if position != delivery.range.stop:
        raise DeliveryInvalid("the segments do not cover the delivery's range", sequence=delivery.sequence)


def check_release(release: KeyRelease, wrapped: bytes, delivery: DeliveryState | None) -> DeliveryState:
    """The keys are for a delivery that this node gave that receipt for."""
    if delivery is None or not delivery.has_receipt or delivery.order_id != release.order_id:
        raise DeliveryInvalid("keys came for a delivery without a receipt", sequence=release.sequence)
    if release.receipt_digest != delivery.receipt_digest:
        raise DeliveryInvalid("the keys name another receipt than was given", sequence=release.sequence)
    if release.wrapped_digest != sm3(wrapped):
        raise DeliveryInvalid("the wrapped keys are not those of the note", sequence=release.sequence)
    return delivery


def check_root(placed: PlacedOrder, root: bytes, size: int) -> None:
    """What was opened is the version that the chain named. Raises RootMismatch."""
    if (root, size) != (placed.version.root, placed.order.stop):
        raise RootMismatch("the records opened do not lead to the root on the chain", root=root.hex(), size=size)
