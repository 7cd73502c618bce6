"""One checker that re-verifies two sides of a grant from their logs alone, after anything that may have happened."""

from __future__ import annotations

from audit.entry import Entry, parse_entry
from crypto.sm3 import sm3
from node.exchange.notes import read_note
from node.model.events import Event
from node.model.lines import ZERO_DIGEST
from node.model.statements import Delivery, KeyRelease, Order, Receipt
from tests.support.exchange_world import Node


def entries_of(node: Node, grant_id: bytes, event: Event) -> list[tuple[int, Entry]]:
    """Entries of one event about a grant that were not refused, with their indices."""
    found = []
    for index, raw in enumerate(node.entries):
        entry = parse_entry(raw)
        if entry.event == event and entry.subject == f"grant:{grant_id.hex()}" and entry.refusal is None:
            found.append((index, entry))
    return found


def _by_sequence(node: Node, grant_id: bytes, event: Event) -> dict[int, tuple[int, bytes]]:
    """Sequence → (index, note) of the newest entry of an event."""
    found = {}
    for index, entry in entries_of(node, grant_id, event):
        assert entry.note is not None
        statement = read_note(entry.note).statement
        assert isinstance(statement, Delivery | Receipt | KeyRelease)
        found[statement.sequence] = (index, entry.note)
    return found


def check_provider(provider: Node, grant_id: bytes) -> int:
    """No gap in the numbers, no key without a durable receipt, every receipt naming the one before.

    Returns the number of deliveries.
    """
    deliveries = _by_sequence(provider, grant_id, Event.DELIVERY_SENT)
    receipts = _by_sequence(provider, grant_id, Event.RECEIPT_RECEIVED)
    releases = _by_sequence(provider, grant_id, Event.KEYS_RELEASED)
    assert sorted(deliveries) == list(range(1, len(deliveries) + 1))
    assert sorted(receipts) == list(range(1, len(receipts) + 1))
    previous = ZERO_DIGEST
    for sequence in sorted(receipts):
        index, note = receipts[sequence]
        receipt = read_note(note).statement
        assert isinstance(receipt, Receipt)
        assert receipt.previous_digest == previous
        assert receipt.delivery_digest == sm3(deliveries[sequence][1])
        assert deliveries[sequence][0] < index
        previous = sm3(note)
    for sequence, (index, note) in releases.items():
        release = read_note(note).statement
        assert isinstance(release, KeyRelease)
        assert receipts[sequence][0] < index
        assert release.receipt_digest == sm3(receipts[sequence][1])
    orders = [
        read_note(entry.note).statement
        for _, entry in entries_of(provider, grant_id, Event.ORDER_RECEIVED)
        if entry.note
    ]
    ids = {order.order_id for order in orders if isinstance(order, Order)}
    assert len(ids) == len(orders), "an order was admitted twice"
    assert provider.ledger.provided.use(grant_id).used == len(orders)
    return len(deliveries)


def check_both(provider: Node, requester: Node, grant_id: bytes) -> None:
    """What one side says of the other is byte for byte what the other says of itself."""
    check_provider(provider, grant_id)
    for theirs, ours in (
        (Event.DELIVERY_SENT, Event.DELIVERY_RECEIVED),
        (Event.KEYS_RELEASED, Event.KEYS_RECEIVED),
    ):
        said = {entry.note for _, entry in entries_of(provider, grant_id, theirs)}
        heard = {entry.note for _, entry in entries_of(requester, grant_id, ours)}
        assert heard <= said, ours
    sent = {entry.note for _, entry in entries_of(requester, grant_id, Event.RECEIPT_SENT)}
    taken = {entry.note for _, entry in entries_of(provider, grant_id, Event.RECEIPT_RECEIVED)}
    assert taken <= sent


def check_ledger_is_a_projection(node: Node) -> None:
    """A ledger replayed from the log alone is the ledger that was there."""
    before = {
        name: dict(table.rows)
        for name, table in node.ledger._store.tables.items()  # type: ignore[attr-defined]  # the store in memory
        if name != "kept"
    }
    node.start()
    after = {
        name: dict(table.rows)
        for name, table in node.ledger._store.tables.items()  # type: ignore[attr-defined]  # likewise
        if name != "kept"
    }
    assert before == after
