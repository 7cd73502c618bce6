"""Orders, deliveries, receipts and key releases of one side, as the log tells them: half of the ledger.

Keys are grant (32 bytes) ‖ sequence (u64), or order id (16). Values are fixed structures that point into the log by
index, so that a note stands once, in the log. Read from any thread; written by the ledger alone, while it applies an
entry.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from threading import RLock
from typing import Concatenate, ParamSpec, TypeVar

from node.model.lines import ZERO_DIGEST, Range
from node.model.statements import Delivery, KeyRelease, Order, OrderKind, Receipt
from node.ports import LedgerStore

# Deliveries of one bulk order that may be without a released key. A peer that was sent delivery n holds every key up
# to n - DELIVERY_WINDOW, because keys and deliveries share one ordered stream; on resume only the last ones are unsure.
DELIVERY_WINDOW = 2

_U64 = struct.Struct(">Q")
_ORDER = struct.Struct(">32s32sQ??QQ")
_DELIVERY = struct.Struct(">16s?32s32sQQQ32sQQ")
_USE = struct.Struct(">QQQQ32sQ")
_NO_INDEX = (1 << 64) - 1

P = ParamSpec("P")
R = TypeVar("R")


def _locked(
    method: Callable[Concatenate[Transfers, P], R],
) -> Callable[Concatenate[Transfers, P], R]:
    """Hold the ledger's lock for the time of the call, so that a reader sees an entry as a whole or not at all."""

    @wraps(method)
    def under_lock(self: Transfers, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return method(self, *args, **kwargs)

    return under_lock


@dataclass(frozen=True)
class OrderState:
    """An order. `index`: of its entry; `stop`: end of a bulk order's range; `sequence`: of a query's answer, 0 if none."""

    grant_id: bytes
    digest: bytes
    index: int
    is_bulk: bool
    is_closed: bool
    stop: int
    sequence: int


@dataclass(frozen=True)
class DeliveryState:
    """A delivery. Indices are of log entries, None where the step is not taken; digests are zeros likewise."""

    sequence: int
    order_id: bytes
    is_bulk: bool
    digest: bytes
    segments_digest: bytes
    start: int
    stop: int
    index: int
    receipt_digest: bytes
    receipt_index: int | None
    release_index: int | None

    @property
    def has_receipt(self) -> bool:
        """Whether a receipt is in the log."""
        return self.receipt_index is not None

    @property
    def range(self) -> Range:
        """The records delivered."""
        return Range(self.start, self.stop)


@dataclass(frozen=True)
class GrantUse:
    """How far a grant is used. `used`: orders; `last_sequence`: the highest; `delivered`: distinct deliveries;
    `receipts`: sequence up to which every delivery has one, and `last_receipt_digest` is of that one;
    `outstanding`: answers without a receipt.
    """

    used: int = 0
    last_sequence: int = 0
    delivered: int = 0
    receipts: int = 0
    last_receipt_digest: bytes = ZERO_DIGEST
    outstanding: int = 0


def sequence_key(grant_id: bytes, sequence: int) -> bytes:
    """The key under which a table holds what belongs to one delivery."""
    return grant_id + _U64.pack(sequence)


class Transfers:
    """One side's transfers, under the lock of the ledger that they belong to."""

    def __init__(self, store: LedgerStore, side: str, lock: RLock) -> None:
        self.lock = lock
        self._orders = store.table(f"{side}.orders")
        self._deliveries = store.table(f"{side}.deliveries")
        self._of_order = store.table(f"{side}.order_deliveries")
        self._uses = store.table(f"{side}.uses")
        self._open = store.table(f"{side}.open")
        self._finished = store.table(f"{side}.finished")
        self._unanswered = store.table(f"{side}.unanswered")

    @_locked
    def order(self, order_id: bytes) -> OrderState | None:
        """What is known of an order."""
        found = self._orders.get(order_id)
        return OrderState(*_ORDER.unpack(found)) if found else None

    @_locked
    def delivery(self, grant_id: bytes, sequence: int) -> DeliveryState | None:
        """What is known of a delivery."""
        found = self._deliveries.get(sequence_key(grant_id, sequence))
        if not found:
            return None
        order_id, is_bulk, digest, segments_digest, start, stop, index, receipt, receipt_index, release_index = (
            _DELIVERY.unpack(found)
        )
        return DeliveryState(
            sequence,
            order_id,
            is_bulk,
            digest,
            segments_digest,
            start,
            stop,
            index,
            receipt,
            None if receipt_index == _NO_INDEX else receipt_index,
            None if release_index == _NO_INDEX else release_index,
        )

    @_locked
    def deliveries(self, grant_id: bytes, order_id: bytes) -> list[DeliveryState]:
        """The deliveries of a bulk order, oldest first."""
        keys = [key for key, _ in self._of_order.scan(order_id)]
        found = [self.delivery(grant_id, *_U64.unpack(key[len(order_id) :])) for key in keys]
        return [delivery for delivery in found if delivery is not None]

    @_locked
    def use(self, grant_id: bytes) -> GrantUse:
        """How far a grant is used."""
        found = self._uses.get(grant_id)
        return GrantUse(*_USE.unpack(found)) if found else GrantUse()

    @_locked
    def free_sequences(self, grant_id: bytes) -> list[int]:
        """Sequence numbers below the highest that no delivery has. Not empty only after a full disk broke a batch."""
        use = self.use(grant_id)
        if use.delivered == use.last_sequence:
            return []
        taken = {_U64.unpack(key[len(grant_id) :])[0] for key, _ in self._deliveries.scan(grant_id)}
        return [sequence for sequence in range(1, use.last_sequence) if sequence not in taken]

    @_locked
    def open_bulk(self, grant_id: bytes) -> bytes | None:
        """The id of the grant's newest bulk order, if it is not closed."""
        return self._open.get(grant_id)

    @_locked
    def finished(self, grant_id: bytes) -> bytes | None:
        """The id of the grant's newest bulk order that was verified."""
        return self._finished.get(grant_id)

    @_locked
    def unanswered(self, grant_id: bytes) -> list[bytes]:
        """The ids of queries without an answer or a refusal."""
        return [key[len(grant_id) :] for key, _ in self._unanswered.scan(grant_id)]

    # Written by the ledger, entry by entry.

    @_locked
    def add_order(self, order: Order, digest: bytes, index: int) -> None:
        """An order was sent or admitted."""
        is_bulk = order.kind is OrderKind.BULK
        stop = order.stop
        state = OrderState(order.grant_id, digest, index, is_bulk, is_closed=False, stop=stop, sequence=0)
        self._put_order(order.order_id, state)
        use = self.use(order.grant_id)
        self._put_use(order.grant_id, replace(use, used=use.used + 1))
        if is_bulk:
            self._open.put(order.grant_id, order.order_id)
        else:
            self._unanswered.put(order.grant_id + order.order_id, b"")

    @_locked
    def close_order(self, order: Order, *, finished: bool) -> None:
        """Nothing more happens under this order: it is verified or completed, or it was refused."""
        state = self.order(order.order_id)
        if state is None:
            return
        self._put_order(order.order_id, replace(state, is_closed=True))
        self._unanswered.delete(order.grant_id + order.order_id)
        if self._open.get(order.grant_id) == order.order_id:
            self._open.delete(order.grant_id)
        if finished:
            self._finished.put(order.grant_id, order.order_id)

    @_locked
    def add_delivery(self, delivery: Delivery, digest: bytes, index: int) -> None:
        """A delivery was announced or received. An answer that is made again replaces the one before."""
        grant_id, sequence = delivery.grant_id, delivery.sequence
        is_bulk = delivery.kind is OrderKind.BULK
        known = self.delivery(grant_id, sequence)
        fresh = DeliveryState(
            sequence,
            delivery.order_id,
            is_bulk,
            digest,
            delivery.segments_digest,
            delivery.range.start,
            delivery.range.stop,
            index,
            ZERO_DIGEST,
            None,
            None,
        )
        self._put_delivery(grant_id, fresh)
        if is_bulk:
            self._of_order.put(delivery.order_id + _U64.pack(sequence), b"")
        else:
            self._unanswered.delete(grant_id + delivery.order_id)
            order = self.order(delivery.order_id)
            if order is not None:
                self._put_order(delivery.order_id, replace(order, sequence=sequence))
        if known is None:
            use = self.use(grant_id)
            self._put_use(
                grant_id,
                replace(
                    use,
                    delivered=use.delivered + 1,
                    last_sequence=max(use.last_sequence, sequence),
                    outstanding=use.outstanding + (not is_bulk),
                ),
            )

    @_locked
    def add_receipt(self, receipt: Receipt, digest: bytes, index: int) -> None:
        """A receipt was signed or accepted. `receipts` moves on only while there is no gap below it."""
        grant_id = receipt.grant_id
        delivery = self.delivery(grant_id, receipt.sequence)
        if delivery is None or delivery.has_receipt:
            return
        self._put_delivery(grant_id, replace(delivery, receipt_digest=digest, receipt_index=index))
        use = self.use(grant_id)
        use = replace(use, outstanding=use.outstanding - (not delivery.is_bulk))
        while (following := self.delivery(grant_id, use.receipts + 1)) is not None and following.has_receipt:
            use = replace(use, receipts=use.receipts + 1, last_receipt_digest=following.receipt_digest)
        self._put_use(grant_id, use)

    @_locked
    def add_release(self, release: KeyRelease, index: int) -> None:
        """Keys were released or received."""
        delivery = self.delivery(release.grant_id, release.sequence)
        if delivery is not None:
            self._put_delivery(release.grant_id, replace(delivery, release_index=index))

    def _put_order(self, order_id: bytes, state: OrderState) -> None:
        self._orders.put(
            order_id,
            _ORDER.pack(
                state.grant_id, state.digest, state.index, state.is_bulk, state.is_closed, state.stop, state.sequence
            ),
        )

    def _put_delivery(self, grant_id: bytes, state: DeliveryState) -> None:
        self._deliveries.put(
            sequence_key(grant_id, state.sequence),
            _DELIVERY.pack(
                state.order_id,
                state.is_bulk,
                state.digest,
                state.segments_digest,
                state.start,
                state.stop,
                state.index,
                state.receipt_digest,
                _NO_INDEX if state.receipt_index is None else state.receipt_index,
                _NO_INDEX if state.release_index is None else state.release_index,
            ),
        )

    def _put_use(self, grant_id: bytes, use: GrantUse) -> None:
        self._uses.put(
            grant_id,
            _USE.pack(
                use.used, use.last_sequence, use.delivered, use.receipts, use.last_receipt_digest, use.outstanding
            ),
        )
