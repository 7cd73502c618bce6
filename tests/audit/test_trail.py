"""Every kind of contradiction that a trail can hold: told when it is there, with its entries, and not told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from audit.entry import Entry
from audit.trail import AnchoredSizes, AnchorState, Finding, FindingKind, GrantFacts, Logged, build_trail
from crypto.sm3 import sm3
from tests.support.statements import member_id

PROVIDER, REQUESTER = member_id(1), member_id(2)
GRANT = "9b" * 32
NOTHING = "0" * 64

Trail = list[Logged]


def _note(kind: str, /, **lines: str) -> bytes:
    text = "".join([f"kiteline/{kind}/v1\n", *(f"{name} {value}\n" for name, value in lines.items())])
    return f"{text}\n— {PROVIDER} AAAAAAA=\n".encode()


def _digest(note: bytes) -> str:
    return sm3(note).hex()


REQUEST, DECISION = _note("request", grant=GRANT), _note("decision", grant=GRANT)
DELIVERIES = [_note("delivery", grant=GRANT, sequence=str(number), kind="bulk") for number in (1, 2, 3)]
RECEIPTS: list[bytes] = []
for _number, _delivery in enumerate(DELIVERIES, 1):
    _before = _digest(RECEIPTS[-1]) if RECEIPTS else NOTHING
    RECEIPTS.append(_note("receipt", grant=GRANT, sequence=str(_number), delivery=_digest(_delivery), previous=_before))
RELEASES = [
    _note("key-release", grant=GRANT, sequence=str(number), receipt=_digest(receipt))
    for number, receipt in enumerate(RECEIPTS, 1)
]
FACTS = GrantFacts(
    GRANT,
    PROVIDER,
    REQUESTER,
    _digest(REQUEST),
    _digest(DECISION),
    last_sequence=3,
    last_receipt_digest=_digest(RECEIPTS[2]),
)


def _whole() -> Trail:
    """Three deliveries, and nothing wrong."""
    steps: list[tuple[str, str, bytes]] = [
        (REQUESTER, "REQUEST_SENT", REQUEST),
        (PROVIDER, "REQUEST_RECEIVED", REQUEST),
        (PROVIDER, "DECISION_MADE", DECISION),
        (REQUESTER, "DECISION_RECEIVED", DECISION),
    ]
    for delivery, receipt, release in zip(DELIVERIES, RECEIPTS, RELEASES, strict=True):
        steps += [
            (PROVIDER, "DELIVERY_SENT", delivery),
            (REQUESTER, "DELIVERY_RECEIVED", delivery),
            (REQUESTER, "RECEIPT_SENT", receipt),
            (PROVIDER, "RECEIPT_RECEIVED", receipt),
            (PROVIDER, "KEYS_RELEASED", release),
            (REQUESTER, "KEYS_RECEIVED", release),
        ]
    return [
        Logged(member, index, Entry(1_000 * index, event, member, f"grant:{GRANT}", note=note))
        for index, (member, event, note) in enumerate(steps)
    ]


def _without(*dropped: bytes) -> Callable[[Trail], Trail]:
    return lambda trail: [one for one in trail if one.entry.note not in dropped]


def _without_at(member: str, dropped: bytes) -> Callable[[Trail], Trail]:
    return lambda trail: [one for one in trail if one.member != member or one.entry.note != dropped]


def _added(member: str, event: str, note: bytes) -> Callable[[Trail], Trail]:
    return lambda trail: [*trail, Logged(member, 99, Entry(99_000, event, member, f"grant:{GRANT}", note=note))]


def _changed(index: int, **changes: object) -> Callable[[Trail], Trail]:
    return lambda trail: [replace(one, **changes) if one.index == index else one for one in trail]  # type: ignore[arg-type]  # fields of Logged


SECOND = _note("delivery", grant=GRANT, sequence="2", kind="bulk", again="1")
BROKEN = _note("receipt", grant=GRANT, sequence="2", delivery=_digest(DELIVERIES[1]), previous=_digest(RECEIPTS[2]))
CASES: list[tuple[FindingKind, Callable[[Trail], Trail]]] = [
    (FindingKind.NOT_PROVEN, _changed(7, fault="the path does not lead to that head")),
    (FindingKind.KEY_COMPROMISED, _changed(7, compromised=(PROVIDER,))),
    (
        FindingKind.LOG_FORKED,
        lambda trail: [*trail, replace(trail[1], entry=replace(trail[1].entry, detail="another"))],
    ),
    (FindingKind.SEQUENCE_GAP, _without(DELIVERIES[1], RECEIPTS[1], RELEASES[1])),
    (FindingKind.DELIVERY_TWICE, _added(PROVIDER, "DELIVERY_SENT", SECOND)),
    (FindingKind.DELIVERY_WITHOUT_RECEIPT, _without(RECEIPTS[2], RELEASES[2])),
    (FindingKind.RECEIPT_WITHOUT_DELIVERY, _without(DELIVERIES[2])),
    (
        FindingKind.RECEIPT_CHAIN_BROKEN,
        lambda trail: [
            replace(one, entry=replace(one.entry, note=BROKEN)) if one.entry.note == RECEIPTS[1] else one
            for one in trail
        ],
    ),
    (FindingKind.KEYS_WITHOUT_RECEIPT, _without_at(PROVIDER, RECEIPTS[0])),
    (FindingKind.OTHER_SIDE_SILENT, _without_at(REQUESTER, DELIVERIES[1])),
    (FindingKind.NOT_ON_CHAIN, _without(DECISION)),
]


def _kinds(findings: tuple[Finding, ...]) -> set[FindingKind]:
    return {finding.kind for finding in findings}


def test_a_whole_exchange_contradicts_nothing() -> None:
    trail = build_trail(_whole(), FACTS)
    assert trail.findings == ()
    assert trail.members == (PROVIDER, REQUESTER)
    assert len(trail.steps) == len(_whole())


def test_the_cases_are_all_there_are() -> None:
    assert {kind for kind, _ in CASES} == set(FindingKind)


@pytest.mark.parametrize(("kind", "change"), CASES, ids=[kind.value for kind, _ in CASES])
def test_each_contradiction_is_named(kind: FindingKind, change: Callable[[Trail], Trail]) -> None:
    found = [finding for finding in build_trail(change(_whole()), FACTS).findings if finding.kind is kind]
    assert found
    for finding in found:
        assert finding.says
        # Nothing can be shown where something is missing.
        assert finding.entries or kind in {FindingKind.SEQUENCE_GAP, FindingKind.NOT_ON_CHAIN}


def test_one_side_alone_is_not_compared_with_the_other() -> None:
    """What was not handed over cannot be told from what was not logged."""
    trail = build_trail([one for one in _whole() if one.member == PROVIDER], FACTS)
    assert trail.findings == ()
    assert trail.members == (PROVIDER,)


def test_without_the_chain_it_is_not_compared() -> None:
    assert build_trail(_without(DECISION)(_whole())).findings == ()


@pytest.mark.parametrize(("side", "note"), [(REQUESTER, DECISION), (PROVIDER, RECEIPTS[2])])
def test_what_may_wait_is_no_contradiction(side: str, note: bytes) -> None:
    """A decision is asked for, and a receipt rides on the next query."""
    trail = [one for one in _without_at(side, note)(_whole()) if one.entry.note != RELEASES[2]]
    assert FindingKind.OTHER_SIDE_SILENT not in _kinds(build_trail(trail).findings)


def test_what_was_refused_states_nothing() -> None:
    refused = Entry(99_000, "RECEIPT_RECEIVED", REQUESTER, f"grant:{GRANT}", "RECEIPT_INVALID", note=BROKEN)
    assert build_trail([*_whole(), Logged(PROVIDER, 99, refused)], FACTS).findings == ()


def test_an_order_that_the_provider_refused_was_answered() -> None:
    order = _note("order", grant=GRANT)
    sent = Logged(REQUESTER, 98, Entry(98_000, "ORDER_SENT", REQUESTER, f"grant:{GRANT}", None, note=order))
    refused = Entry(98_001, "ORDER_RECEIVED", REQUESTER, f"grant:{GRANT}", "CHAIN_UNAVAILABLE", note=order)
    assert build_trail([*_whole(), sent, Logged(PROVIDER, 98, refused)], FACTS).findings == ()
    assert _kinds(build_trail([*_whole(), sent], FACTS).findings) == {FindingKind.OTHER_SIDE_SILENT}


def test_a_step_is_as_far_on_its_way_to_the_chain_as_the_log_that_holds_it() -> None:
    trail = replace(build_trail(_whole()), anchored={PROVIDER: AnchoredSizes(final=2, mined=3)})
    states = [
        trail.anchor_state(step) for step in sorted(trail.steps, key=lambda one: one.place) if step.member == PROVIDER
    ]
    assert states[:3] == [AnchorState.FINAL, AnchorState.ANCHORED, AnchorState.PENDING]
    assert {trail.anchor_state(step) for step in trail.steps if step.member == REQUESTER} == {AnchorState.PENDING}
