"""The trail of a grant: entries of both sides' logs, matched with each other and with the chain. Pure: values in, values out.

It knows statements only as far as it compares them: the type, and the lines of the text by name. So it serves a node, which asks both sides, and an
auditor, who has files, alike. Every contradiction is a finding of a stable kind, with the entries that it rests on. What one
side has not handed over cannot be told from what it has not logged; `Trail.members` says whose entries there were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from audit.entry import Entry
from crypto.sm3 import sm3

_NO_DIGEST = "0" * 64


class FindingKind(StrEnum):
    """What can be wrong. Kinds never change."""

    NOT_PROVEN = "NOT_PROVEN"
    KEY_COMPROMISED = "KEY_COMPROMISED"
    LOG_FORKED = "LOG_FORKED"
    SEQUENCE_GAP = "SEQUENCE_GAP"
    DELIVERY_TWICE = "DELIVERY_TWICE"
    DELIVERY_WITHOUT_RECEIPT = "DELIVERY_WITHOUT_RECEIPT"
    RECEIPT_WITHOUT_DELIVERY = "RECEIPT_WITHOUT_DELIVERY"
    RECEIPT_CHAIN_BROKEN = "RECEIPT_CHAIN_BROKEN"
    KEYS_WITHOUT_RECEIPT = "KEYS_WITHOUT_RECEIPT"
    OTHER_SIDE_SILENT = "OTHER_SIDE_SILENT"
    NOT_ON_CHAIN = "NOT_ON_CHAIN"


class AnchorState(StrEnum):
    """How far an entry is on its way to the chain: no head there covers it, one in a block does, one in a final block does."""

    PENDING = "pending"
    ANCHORED = "anchored"
    FINAL = "final"


@dataclass(frozen=True)
class AnchoredSizes:
    """How many entries of a log the chain covers: by heads in final blocks, and by heads in any block."""

    final: int = 0
    mined: int = 0

    def state(self, index: int) -> AnchorState:
        """Of the entry with this index."""
        if index < self.final:
            return AnchorState.FINAL
        return AnchorState.ANCHORED if index < self.mined else AnchorState.PENDING


@dataclass(frozen=True)
class Finding:
    """One contradiction. `entries`: (member, index) of what it rests on."""

    kind: FindingKind
    says: str
    entries: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Logged:
    """An entry of a member's log. `fault`: why it is not proven, or None; `compromised`: who signed its statement with a key
    declared compromised by then.
    """

    member: str
    index: int
    entry: Entry
    fault: str | None = None
    compromised: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Of the note, in hexadecimal; empty without one."""
        return sm3(self.entry.note).hex() if self.entry.note is not None else ""

    @cached_property
    def lines(self) -> Mapping[str, str]:
        """The statement's lines by name."""
        pairs = (line.partition(" ") for line in self._text.split("\n")[1:])
        return {name: value for name, _, value in pairs if name}

    @cached_property
    def kind(self) -> str:
        """The statement's type: `delivery`, `receipt`; empty for other notes and without one."""
        parts = self._text.split("\n", 1)[0].split("/")
        return parts[1] if len(parts) == 3 and parts[0] == "kiteline" and parts[2] == "v1" else ""  # noqa: PLR2004 - kiteline/<type>/v1

    @property
    def sequence(self) -> int:
        """Of the delivery that it belongs to; 0 if none."""
        value = self.lines.get("sequence", "0")
        return int(value) if value.isascii() and value.isdigit() else 0

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands."""
        return self.member, self.index

    @cached_property
    def _text(self) -> str:
        note = self.entry.note or b""
        return note.rpartition(b"\n\n")[0].decode("utf-8", errors="replace")


@dataclass(frozen=True)
class GrantFacts:
    """What the chain has of a grant. Digests in hexadecimal, empty where there is none; `last_sequence`: of the newest receipt that
    the provider reported.
    """

    grant: str
    provider: str
    requester: str
    request_digest: str
    terms_digest: str = ""
    revocation_digest: str = ""
    last_sequence: int = 0
    last_receipt_digest: str = ""


@dataclass(frozen=True)
class Trail:
    """Every step of both sides, by time, and what does not fit. `members`: whose entries there were; `anchored`: what the chain has of
    their logs, where it was asked.
    """

    steps: tuple[Logged, ...]
    findings: tuple[Finding, ...]
    members: tuple[str, ...]
    anchored: Mapping[str, AnchoredSizes] = field(default_factory=dict)

    def anchor_state(self, step: Logged) -> AnchorState:
        """How far one of the steps is on its way to the chain."""
        return self.anchored.get(step.member, AnchoredSizes()).state(step.index)


# (what one side logs, what the other must have logged with the same note)
_PAIRS = (
    ("REQUEST_SENT", "REQUEST_RECEIVED"),
    ("DECISION_MADE", "DECISION_RECEIVED"),
    ("ORDER_SENT", "ORDER_RECEIVED"),
    ("DELIVERY_SENT", "DELIVERY_RECEIVED"),
    ("RECEIPT_SENT", "RECEIPT_RECEIVED"),
    ("KEYS_RELEASED", "KEYS_RECEIVED"),
)
# The other side may rightly not have these yet: a decision is asked for, a receipt rides on the next query.
_MAY_WAIT = {"DECISION_MADE", "RECEIPT_SENT"}


def build_trail(entries: Iterable[Logged], facts: GrantFacts | None = None) -> Trail:
    """Match the entries about one grant. Without `facts` the chain is not compared."""
    steps = sorted(entries, key=lambda one: (one.entry.time_ms, one.member, one.index))
    members = tuple(sorted({one.member for one in steps}))
    done = [one for one in steps if one.entry.refusal is None and one.entry.note is not None]
    findings = [
        *_unproven(steps),
        *_forked(steps),
        *(_unmatched(done, steps) if len(members) > 1 else ()),
        *_sequences(done),
        *_receipts(done),
        *_keys(done),
        *(_on_chain(done, facts) if facts is not None else ()),
    ]
    return Trail(tuple(steps), tuple(findings), members)


def _unproven(steps: Sequence[Logged]) -> list[Finding]:
    findings = []
    for one in steps:
        named = f"entry {one.index} of {one.member} ({one.entry.event})"
        if one.fault is not None:
            findings.append(Finding(FindingKind.NOT_PROVEN, f"{named} is not proven: {one.fault}", (one.place,)))
        findings += [
            Finding(FindingKind.KEY_COMPROMISED, f"{named}: the key of {signer} was compromised by then", (one.place,))
            for signer in one.compromised
        ]
    return findings


def _forked(steps: Sequence[Logged]) -> list[Finding]:
    """Two different entries that are both proven at one place."""
    held: dict[tuple[str, int], Logged] = {}
    findings = []
    for one in steps:
        if one.fault is None and held.setdefault(one.place, one).entry != one.entry:
            says = f"the log of {one.member} has two entries at index {one.index}: it was forked"
            findings.append(Finding(FindingKind.LOG_FORKED, says, (one.place,)))
    return findings


def _unmatched(done: Sequence[Logged], steps: Sequence[Logged]) -> list[Finding]:
    """Notes that one side has logged and the other not, under the event that belongs to it. Who logged that it refused one was not silent."""
    by_event = _by_event(done)
    refused = {(one.entry.event, one.digest) for one in steps if one.entry.refusal is not None and one.digest}
    findings = []
    for sent, received in _PAIRS:
        there = {one.digest: one for one in by_event[sent]}
        here = {one.digest: one for one in by_event[received]}
        for digest in sorted(there.keys() ^ here.keys()):
            one = there.get(digest) or here[digest]
            if one.entry.event in _MAY_WAIT or (digest in there and (received, digest) in refused):
                continue
            other = received if digest in there else sent
            number = f" of delivery {one.sequence}" if one.sequence else ""
            says = f"{one.member} logged {one.entry.event}{number} and the other side has no {other} of that note"
            findings.append(Finding(FindingKind.OTHER_SIDE_SILENT, says, (one.place,)))
    return findings


def _sequences(done: Sequence[Logged]) -> list[Finding]:
    """Gaps in the numbers of deliveries, and two deliveries of one number. An answer that is made again replaces the one before."""
    deliveries = _numbered(done, "delivery")
    numbers = sorted(deliveries)
    findings = [
        Finding(FindingKind.SEQUENCE_GAP, f"there is no delivery {number}, though there are later ones")
        for number in sorted(set(range(1, (numbers[-1] if numbers else 0) + 1)) - set(numbers))
    ]
    for number, found in sorted(deliveries.items()):
        bulk = {one.digest: one for one in found if one.lines.get("kind") == "bulk"}
        if len(bulk) > 1:
            says = f"there are {len(bulk)} different deliveries with the number {number}"
            findings.append(
                Finding(FindingKind.DELIVERY_TWICE, says, tuple(sorted(one.place for one in bulk.values())))
            )
    return findings


def _receipts(done: Sequence[Logged]) -> list[Finding]:
    """Bulk deliveries without a receipt, receipts without a delivery, and receipts that do not follow one another."""
    deliveries, receipts = _numbered(done, "delivery"), _numbered(done, "receipt")
    findings = []
    for number, found in sorted(deliveries.items()):
        if found[0].lines.get("kind") == "bulk" and number not in receipts:
            says = f"delivery {number} has no receipt"
            findings.append(Finding(FindingKind.DELIVERY_WITHOUT_RECEIPT, says, (found[0].place,)))
    for number, found in sorted(receipts.items()):
        receipt = found[0]
        named = receipt.lines.get("delivery")
        if named not in {one.digest for one in deliveries.get(number, ())}:
            says = f"there is a receipt of delivery {number} and no such delivery"
            findings.append(Finding(FindingKind.RECEIPT_WITHOUT_DELIVERY, says, (receipt.place,)))
        before = receipts.get(number - 1)
        expected = {_NO_DIGEST} if number == 1 else {one.digest for one in before or ()}
        if expected and receipt.lines.get("previous") not in expected:
            says = f"the receipt of delivery {number} names another receipt before it"
            findings.append(Finding(FindingKind.RECEIPT_CHAIN_BROKEN, says, (receipt.place,)))
    return findings


def _keys(done: Sequence[Logged]) -> list[Finding]:
    """Keys that a provider released without having logged the receipt that they name."""
    receipts = {(one.member, one.digest) for one in done if one.kind == "receipt"}
    return [
        Finding(
            FindingKind.KEYS_WITHOUT_RECEIPT,
            f"the keys of delivery {one.sequence} were released without its receipt",
            (one.place,),
        )
        for one in done
        if one.entry.event == "KEYS_RELEASED" and (one.member, one.lines.get("receipt", "")) not in receipts
    ]


def _on_chain(done: Sequence[Logged], facts: GrantFacts) -> list[Finding]:
    """Digests that the chain has and the logs have not."""
    held: defaultdict[str, set[str]] = defaultdict(set)
    for one in done:
        held[one.kind].add(one.digest)
    wanted = [
        (facts.request_digest, "request", "request"),
        (facts.terms_digest, "decision", "decision"),
        (facts.revocation_digest, "revocation", "revocation"),
        (facts.last_receipt_digest, "receipt", f"receipt of delivery {facts.last_sequence}"),
    ]
    return [
        Finding(FindingKind.NOT_ON_CHAIN, f"no log has the {named} whose digest is on the chain")
        for digest, kind, named in wanted
        if digest and digest not in held[kind]
    ]


def _by_event(done: Iterable[Logged]) -> defaultdict[str, list[Logged]]:
    found: defaultdict[str, list[Logged]] = defaultdict(list)
    for one in done:
        found[one.entry.event].append(one)
    return found


def _numbered(done: Iterable[Logged], kind: str) -> dict[int, list[Logged]]:
    """Statements of a type by the number of their delivery."""
    found: defaultdict[int, list[Logged]] = defaultdict(list)
    for one in done:
        if one.kind == kind and one.sequence:
            found[one.sequence].append(one)
    return dict(found)
