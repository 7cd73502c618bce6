"""The ledger: what this node has said and heard, as a projection of its audit log.

The log is the truth. Its commit thread calls `apply` after each durable batch and before those who wait for the batch
go on, so that a step is in the ledger when its author learns that it is durable. At start `replay` applies what the
store has not seen. Nothing else changes the ledger, so nothing else needs recovering:

- killed before an entry is durable: the step was not taken; the peer hears nothing and asks again;
- killed after it is durable and before `apply`: `replay` applies it;
- killed after `apply` and before the store synced: the store's mark is behind, and `replay` applies it again to tables
  that are as old as the mark;
- the store is lost: `replay` starts from 0.

The one thing that is not a projection is the table of kept blobs: wrapped keys and sealed answers, to be sent again
byte for byte. A blob that is lost is made anew (see `delivering` and `answering`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from threading import RLock

from audit.checkpoint import parse_checkpoint
from audit.entry import Entry, parse_entry
from crypto.errors import Refusal
from crypto.notes import parse_note
from node.errors import InternalError, RootMismatch
from node.exchange.notes import note_digest, read_note
from node.exchange.transfers import DELIVERY_WINDOW, Transfers, sequence_key
from node.model.events import Event
from node.model.statements import Decision, Delivery, KeyRelease, Order, Receipt, Statement
from node.ports import LedgerStore, Log

# Version of what the tables hold; a store of another layout is thrown away and replayed.
LEDGER_LAYOUT = 2

_U64 = struct.Struct(">Q")
_REPLAY_BATCH = 1_000  # entries

# Which table keeps the note of an event, under the id of its subject.
_NOTES_KEPT = {
    Event.DATASET_DESCRIBED: "descriptions",
    Event.REQUEST_SENT: "requests",
    Event.REQUEST_RECEIVED: "requests",
    Event.GRANT_REVOKED: "revocations",
    Event.DATASET_PURGED: "purges",
}
_PROVIDER_EVENTS = {
    Event.ORDER_RECEIVED,
    Event.DELIVERY_SENT,
    Event.RECEIPT_RECEIVED,
    Event.KEYS_RELEASED,
    Event.TRANSFER_COMPLETED,
}
_REQUESTER_EVENTS = {
    Event.ORDER_SENT,
    Event.DELIVERY_RECEIVED,
    Event.RECEIPT_SENT,
    Event.KEYS_RECEIVED,
    Event.TRANSFER_VERIFIED,
    Event.TRANSFER_MISMATCH,
}


class Ledger:
    """What the log says, ready to be asked. `provided` and `requested`: transfers as provider and as requester."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._lock = RLock()
        self.provided = Transfers(store, "provided", self._lock)
        self.requested = Transfers(store, "requested", self._lock)
        self._notes = {name: store.table(name) for name in _NOTES_KEPT.values()}
        self._decisions = store.table("decisions")
        self._versions = store.table("versions")
        self._checkpoints = store.table("checkpoints")
        self._kept = store.table("kept")

    @property
    def applied(self) -> int:
        """How many entries are reflected."""
        with self._lock:
            return self._store.applied

    def description(self, dataset_id: bytes) -> bytes | None:
        """The newest description note of a dataset that this node provides."""
        return self._note("descriptions", dataset_id)

    def purge(self, dataset_id: bytes) -> bytes | None:
        """The purge note of a dataset, if this node purged it."""
        return self._note("purges", dataset_id)

    def purged(self) -> list[bytes]:
        """The ids of the datasets that this node purged."""
        with self._lock:
            return [dataset_id for dataset_id, _ in self._notes["purges"].scan(b"")]

    def request(self, grant_id: bytes) -> bytes | None:
        """The request note of a grant."""
        return self._note("requests", grant_id)

    def revocation(self, grant_id: bytes) -> bytes | None:
        """The revocation note of a grant, if this node revoked it."""
        return self._note("revocations", grant_id)

    def decision(self, grant_id: bytes, digest: bytes) -> bytes | None:
        """The decision note of a grant that has this digest."""
        with self._lock:
            return self._decisions.get(grant_id + digest)

    def decisions(self, grant_id: bytes) -> list[bytes]:
        """Every decision note about a grant, also of those that did not reach the chain yet."""
        with self._lock:
            return [note for _, note in self._decisions.scan(grant_id)]

    def version(self, dataset_id: bytes, size: int) -> bytes | None:
        """The version note of one size of a dataset that this node provides."""
        with self._lock:
            return self._versions.get(dataset_id + _U64.pack(size))

    def newest_size(self, dataset_id: bytes) -> int:
        """The size of the newest version of a dataset that this node provides; 0 before the first."""
        with self._lock:
            sizes = [key[len(dataset_id) :] for key, _ in self._versions.scan(dataset_id)]
        return int.from_bytes(max(sizes), "big") if sizes else 0

    def checkpoint(self, digest: bytes) -> bytes | None:
        """The checkpoint note of this node's log that has this digest."""
        with self._lock:
            return self._checkpoints.get(digest)

    def keep(self, grant_id: bytes, sequence: int, blob: bytes) -> None:
        """Keep what was sent for a delivery, to send it again. Not a projection: it may be gone after a crash."""
        with self._lock:
            self._kept.put(sequence_key(grant_id, sequence), blob)

    def kept(self, grant_id: bytes, sequence: int) -> bytes | None:
        """What was kept for a delivery."""
        with self._lock:
            return self._kept.get(sequence_key(grant_id, sequence))

    def drop_kept(self, grant_id: bytes) -> None:
        """Forget what was kept for the deliveries under a grant."""
        with self._lock:
            for key in [key for key, _ in self._kept.scan(grant_id)]:
                self._kept.delete(key)

    def replay(self, log: Log) -> None:
        """Apply what the log has and the store has not. Before anything is submitted."""
        while (start := self.applied) < log.size:
            stop = min(start + _REPLAY_BATCH, log.size)
            self.apply(start, [log.entry(index) for index in range(start, stop)])

    def apply(self, first_index: int, entries: Iterable[bytes]) -> None:
        """Reflect durable entries, in order. Called by the log's commit thread. Entries that are reflected are skipped."""
        for index, raw in enumerate(entries, first_index):
            # One entry at a time, so that a long batch does not keep readers waiting.
            with self._lock:
                if index < self._store.applied:
                    continue
                if index > self._store.applied:
                    raise InternalError(
                        "the ledger is behind the log and was not replayed", applied=self._store.applied
                    )
                self._apply_entry(parse_entry(raw), index)
                self._store.advance(index + 1)

    def _note(self, table: str, key: bytes) -> bytes | None:
        with self._lock:
            return self._notes[table].get(key)

    def _apply_entry(self, entry: Entry, index: int) -> None:
        try:
            event = Event(entry.event)
            if event in _PROVIDER_EVENTS | _REQUESTER_EVENTS and entry.note is not None:
                statement = read_note(entry.note).statement
                self._apply_transfer(index, event, entry, statement, note_digest(entry.note))
            elif entry.note is not None and entry.refusal is None:
                self._apply_note(event, entry.subject, entry.note)
        except (Refusal, ValueError):
            # An entry of a version to come moves nothing.
            pass

    def _apply_note(self, event: Event, subject: str, note: bytes) -> None:
        """Keep the notes of publication, purge, request, decision, revocation and anchoring."""
        if event is Event.CHECKPOINT_ANCHORED:
            self._checkpoints.put(note_digest(note), note)
            return
        subject_id = bytes.fromhex(subject.partition(":")[2])
        if event is Event.VERSION_PUBLISHED:
            version = parse_checkpoint(parse_note(note).text)
            self._versions.put(subject_id + _U64.pack(version.size), note)
            return
        statement = read_note(note).statement
        if isinstance(statement, Decision):
            self._decisions.put(subject_id + note_digest(note), note)
        elif event in _NOTES_KEPT:
            self._notes[_NOTES_KEPT[event]].put(subject_id, note)

    def _apply_transfer(self, index: int, event: Event, entry: Entry, statement: Statement, digest: bytes) -> None:
        side = self.provided if event in _PROVIDER_EVENTS else self.requested
        if entry.refusal is not None:
            self._apply_refusal(event, entry.refusal, statement)
        elif isinstance(statement, Order):
            if event in {Event.ORDER_RECEIVED, Event.ORDER_SENT}:
                side.add_order(statement, digest, index)
            else:
                side.close_order(statement, finished=True)
                self._forget_order(side, statement)
        elif isinstance(statement, Delivery):
            side.add_delivery(statement, digest, index)
        elif isinstance(statement, Receipt):
            side.add_receipt(statement, digest, index)
            delivery = side.delivery(statement.grant_id, statement.sequence)
            if delivery is not None and not delivery.is_bulk:
                self._kept.delete(sequence_key(statement.grant_id, statement.sequence))
        elif isinstance(statement, KeyRelease):
            side.add_release(statement, index)

    def _apply_refusal(self, event: Event, reason: str, statement: Statement) -> None:
        """A refusal moves nothing, except that it ends the order of a requester who was refused, or was deceived."""
        if not isinstance(statement, Order):
            return
        if event is Event.ORDER_SENT or (event is Event.TRANSFER_MISMATCH and reason == RootMismatch.reason):
            self.requested.close_order(statement, finished=False)

    def _forget_order(self, side: Transfers, order: Order) -> None:
        """Drop what was kept for a finished order, but for the last deliveries, whose keys the peer may have missed."""
        for delivery in side.deliveries(order.grant_id, order.order_id)[:-DELIVERY_WINDOW]:
            self._kept.delete(sequence_key(order.grant_id, delivery.sequence))
