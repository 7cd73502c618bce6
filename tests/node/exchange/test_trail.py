"""An auditor's trail shows every step, and an omission shows in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.entry import parse_entry
from audit.trail import FindingKind, Logged, build_trail
from node.errors import NotAnAuditor
from node.exchange.tracing import grant_facts
from node.model.chain import Role
from node.model.events import Event
from tests.support.exchange_world import Node, World, fetch, make_grant


async def _fetched() -> tuple[World, Node, Node, bytes]:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, records=24)
    await fetch(requester, grant_id)
    await requester.requester.query(grant_id, "k3")
    return world, provider, requester, grant_id


def _logged(node: Node, grant_id: bytes) -> list[Logged]:
    indices = node.context.index.about(f"grant:{grant_id.hex()}")
    return [Logged(node.member_id, index, parse_entry(node.entries[index])) for index in indices]


async def test_an_auditor_sees_every_step_proven_and_nothing_missing() -> None:
    world, _, _, grant_id = await _fetched()
    auditor = world.add(3, Role.AUDITOR)
    trail = await auditor.tracing.trail(grant_id)
    assert trail.findings == ()
    assert all(step.fault is None for step in trail.steps)
    assert {Event.ORDER_SENT, Event.DELIVERY_RECEIVED, Event.RECEIPT_RECEIVED, Event.KEYS_RELEASED} <= {
        Event(step.entry.event) for step in trail.steps
    }


async def test_a_member_that_is_no_side_and_no_auditor_sees_nothing() -> None:
    world, _, _, grant_id = await _fetched()
    stranger = world.add(4)
    with pytest.raises(NotAnAuditor):
        await stranger.tracing.trail(grant_id)


@pytest.mark.parametrize(
    ("side", "event"),
    [
        (0, Event.DELIVERY_SENT),
        (0, Event.RECEIPT_RECEIVED),
        (0, Event.KEYS_RELEASED),
        (0, Event.REQUEST_RECEIVED),
        (0, Event.DECISION_MADE),
        (1, Event.ORDER_SENT),
        (1, Event.DELIVERY_RECEIVED),
        (1, Event.KEYS_RECEIVED),
    ],
)
async def test_an_entry_that_one_side_leaves_out_is_a_finding(side: int, event: Event) -> None:
    world, provider, requester, grant_id = await _fetched()
    facts = grant_facts(world.chain.grants_by_id[grant_id])
    everything = _logged(provider, grant_id) + _logged(requester, grant_id)
    assert build_trail(everything, facts).findings == ()
    member = (provider, requester)[side].member_id
    left_out = next(one for one in everything if one.member == member and one.entry.event == event)
    assert build_trail([one for one in everything if one is not left_out], facts).findings


async def test_what_is_not_proven_is_a_finding() -> None:
    world, provider, requester, grant_id = await _fetched()
    first, *rest = _logged(provider, grant_id) + _logged(requester, grant_id)
    facts = grant_facts(world.chain.grants_by_id[grant_id])
    (finding,) = build_trail([replace(first, fault="no path"), *rest], facts).findings
    assert finding.kind is FindingKind.NOT_PROVEN
