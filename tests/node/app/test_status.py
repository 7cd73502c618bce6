"""What a node says of itself, from its own log and its index of the chain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from node.app.status import Status
from node.exchange.anchoring import Anchoring
from node.exchange.journal import Step
from node.model.events import Event, member_subject
from tests.node.app.settings_reference import complete
from tests.support.exchange_world import Node, World


async def _log_something(node: Node) -> None:
    await node.context.journal.record(Step(Event.AUDIT_READ, node.member_id, member_subject(node.member_id)))


async def test_it_says_how_long_the_oldest_entry_waits_for_its_anchor(tmp_path: Path) -> None:
    world = World()
    node = world.add(1)
    anchoring = Anchoring(node.context)
    settings = replace(complete(tmp_path), member_id=node.member_id)
    status = Status(settings, node.context, lambda: "127.0.0.1:1", lambda: (), 0.0, lambda: 1_800_000_000)
    assert (await status.status()).unanchored_seconds == 0
    await _log_something(node)
    world.clock.now_ms += 40_000
    await _log_something(node)
    world.clock.now_ms += 2_000
    assert (await status.status()).unanchored_seconds == 42
    await anchoring.anchor_now()
    world.clock.now_ms += 100_000
    # The entry about the anchor is not covered by it, and waits for nothing.
    told = await status.status()
    assert (told.unanchored_seconds, told.log_size - told.anchored_size) == (0, 1)
    await _log_something(node)
    world.clock.now_ms += 7_000
    assert (await status.status()).unanchored_seconds == 7
