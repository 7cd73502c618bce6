"""The trail of a grant: both sides' entries, matched with each other and with the chain. Pure: values in, values out.

What does not fit is a finding, in plain words: a delivery that one side lacks, a gap in the numbers, a note that differs, a broken chain of
receipts, a key released without a receipt, a digest that the chain does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.entry import Entry
from node.exchange.notes import note_digest, read_note
from node.model.chain import GrantOnChain, GrantState
from node.model.events import Event
from node.model.lines import ZERO_DIGEST
from node.model.statements import Delivery, KeyRelease, OrderKind, Receipt, Statement


@dataclass(frozen=True)
class Logged:
    """An entry of a member's log. `proven`: its place in the log and the signature under its note hold."""

    member_id: str
    index: int
    entry: Entry
    proven: bool


@dataclass(frozen=True)
class TrailStep:
    """One step as shown. `sequence`: of the delivery that it belongs to, 0 if none."""

    member_id: str
    index: int
    time_ms: int
    event: str
    outcome: str
    actor: str
    sequence: int
    proven: bool
    note_digest: bytes


@dataclass(frozen=True)
class Trail:
    """Every step of both sides, by time, and what does not fit."""

    steps: tuple[TrailStep, ...]
    findings: tuple[str, ...]


# (what one side logs, what the other must have logged with the same note)
_PAIRS = (
    (Event.REQUEST_SENT, Event.REQUEST_RECEIVED),
    (Event.DECISION_MADE, Event.DECISION_RECEIVED),
    (Event.ORDER_SENT, Event.ORDER_RECEIVED),
    (Event.DELIVERY_SENT, Event.DELIVERY_RECEIVED),
    (Event.RECEIPT_SENT, Event.RECEIPT_RECEIVED),
    (Event.KEYS_RELEASED, Event.KEYS_RECEIVED),
)


def build_trail(grant: GrantOnChain, logged: Iterable[Logged]) -> Trail:
    """Match the entries of both sides of a grant."""
    entries = sorted(logged, key=lambda one: (one.entry.time_ms, one.member_id, one.index))
    findings = [
        f"entry {one.index} of {one.member_id} ({one.entry.event}) is not proven" for one in entries if not one.proven
    ]
    done = [one for one in entries if one.entry.refusal is None and one.entry.note is not None]
    findings += _unmatched(done)
    findings += _sequences(_statements(done, grant.provider_id, Event.DELIVERY_SENT))
    findings += _receipts(done, grant)
    findings += _on_chain(done, grant)
    return Trail(tuple(map(_step, entries)), tuple(findings))


def _unmatched(done: Sequence[Logged]) -> list[str]:
    """Notes that one side has logged and the other not, under the event that belongs to it."""
    findings = []
    by_event: dict[str, dict[bytes, Logged]] = {}
    for one in done:
        by_event.setdefault(one.entry.event, {})[note_digest(one.entry.note or b"")] = one
    for sent, received in _PAIRS:
        there, here = by_event.get(sent, {}), by_event.get(received, {})
        for digest in there.keys() ^ here.keys():
            one = there.get(digest) or here[digest]
            if _may_wait(one):
                continue
            other = received if digest in there else sent
            findings.append(
                f"{one.member_id} logged {one.entry.event}{_numbered(one)} and the other side has no {other} of that note"
            )
    return sorted(findings)


def _may_wait(one: Logged) -> bool:
    """Whether the other side may rightly not have it yet: a decision not asked for, a receipt that rides on the next query."""
    if one.entry.event == Event.DECISION_MADE:
        return True
    statement = read_note(one.entry.note or b"").statement
    return one.entry.event == Event.RECEIPT_SENT and isinstance(statement, Receipt)


def _sequences(statements: Sequence[Statement]) -> list[str]:
    """Gaps and doubles in the numbers of deliveries."""
    numbers = sorted({one.sequence for one in statements if isinstance(one, Delivery)})
    missing = sorted(set(range(1, (numbers[-1] if numbers else 0) + 1)) - set(numbers))
    return [f"there is no delivery {number}, though there are later ones" for number in missing]


def _receipts(done: Sequence[Logged], grant: GrantOnChain) -> list[str]:
    """Receipts that do not follow one another, bulk deliveries without one, and keys released without one."""
    findings = []
    receipts = {
        receipt.sequence: (receipt, note_digest(one.entry.note or b""))
        for one in done
        if one.entry.event == Event.RECEIPT_RECEIVED
        and isinstance(receipt := read_note(one.entry.note or b"").statement, Receipt)
    }
    for number, (receipt, _) in sorted(receipts.items()):
        before = receipts.get(number - 1)
        expected = ZERO_DIGEST if number == 1 else before[1] if before else None
        if expected is not None and receipt.previous_digest != expected:
            findings.append(f"the receipt of delivery {number} names another receipt before it")
    findings += [
        f"delivery {sent.sequence} has no receipt"
        for sent in _statements(done, grant.provider_id, Event.DELIVERY_SENT)
        if isinstance(sent, Delivery) and sent.kind is OrderKind.BULK and sent.sequence not in receipts
    ]
    for statement in _statements(done, grant.provider_id, Event.KEYS_RELEASED):
        if isinstance(statement, KeyRelease):
            held = receipts.get(statement.sequence)
            if held is None or held[1] != statement.receipt_digest:
                findings.append(f"the keys of delivery {statement.sequence} were released without its receipt")
    return findings


def _on_chain(done: Sequence[Logged], grant: GrantOnChain) -> list[str]:
    """Statements whose digests the chain does not have."""
    digests: dict[str, set[bytes]] = {}
    for one in done:
        digests.setdefault(one.entry.event, set()).add(note_digest(one.entry.note or b""))
    findings = []
    if grant.request_digest not in digests.get(Event.REQUEST_RECEIVED, set()):
        findings.append("the provider's log has no request with the digest that is on the chain")
    if grant.terms_digest and grant.terms_digest not in digests.get(Event.DECISION_MADE, set()):
        findings.append("the provider's log has no decision with the digest that is on the chain")
    if grant.state is GrantState.REVOKED and grant.reason_digest not in digests.get(Event.GRANT_REVOKED, set()):
        findings.append("the provider's log has no revocation with the digest that is on the chain")
    if grant.last_sequence and grant.last_receipt_digest not in digests.get(Event.RECEIPT_RECEIVED, set()):
        findings.append(f"the chain has a receipt of delivery {grant.last_sequence} that the provider's log has not")
    return findings


def _statements(done: Sequence[Logged], member_id: str, event: Event) -> list[Statement]:
    return [
        read_note(one.entry.note or b"").statement
        for one in done
        if one.entry.event == event and one.member_id == member_id
    ]


def _step(one: Logged) -> TrailStep:
    entry = one.entry
    return TrailStep(
        member_id=one.member_id,
        index=one.index,
        time_ms=entry.time_ms,
        event=entry.event,
        outcome="ok" if entry.refusal is None else f"refused {entry.refusal}",
        actor=entry.actor,
        sequence=_sequence(one),
        proven=one.proven,
        note_digest=note_digest(entry.note) if entry.note is not None else b"",
    )


def _sequence(one: Logged) -> int:
    if one.entry.note is None:
        return 0
    return getattr(read_note(one.entry.note).statement, "sequence", 0)


def _numbered(one: Logged) -> str:
    number = _sequence(one)
    return f" of delivery {number}" if number else ""
