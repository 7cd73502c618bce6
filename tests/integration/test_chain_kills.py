"""A node that is killed at every step between the decision to anchor and the final block: each decided head is on the chain once, in order, and in the log once.

Where a step is, is not told to the node: a proxy sees each request and answer on its way to the chain, and strace (a Debian package) each write to the disk.
The steps of the embedded chain are recorded first and then struck one by one; by default those that differ in what they leave behind, with
KITELINE_DRILL=1 all of them (`make drill-chain`). On networks of validators one of each kind is struck.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scripts.local_consortium import CIVIL_AFFAIRS, MemberPlan
from tests.support.chain_victim import STRACE, DiskStep, Step, Victim, WireStep, every_step, strike, victim
from tests.support.networks import RunningNetwork
from tests.support.statements import member_id

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]  # an engine may have to be built first

BRIDGE = MemberPlan("bridge", "Weifang Bridge Office", member_id(90), "department")
SENDING, RECEIPT = "eth_sendRawTransaction", "eth_getTransactionReceipt"
# What an anchor is known to need on any network.
CERTAIN = {
    *(
        "eth_call",
        "eth_estimateGas",
        "eth_getTransactionCount",
        SENDING,
        RECEIPT,
        "eth_getLogs",
        "eth_getBlockByNumber",
    ),
    *("data/chain-journal/data.mdb", "data/chain-index/data.mdb", "data/log/epochs/0000/data.mdb"),
    *("audit.head.partial", "data/decided.head.partial"),
}
JOURNALED, FINISHED, LOGGED = (
    DiskStep("fdatasync", path, number)
    for path, number in (
        ("data/chain-journal/data.mdb", 1),
        ("data/chain-journal/data.mdb", 2),
        ("data/log/epochs/0000/data.mdb", 1),
    )
)
ONE_OF_EACH: list[Step] = [
    WireStep(SENDING, 1, is_answered=True),  # the chain has it, and the node was not told
    WireStep(RECEIPT, 1, is_answered=True, telling=b'"blockHash":"0x'),  # in a block that is not final
    # Not FINISHED: which thread journals the end is a matter of luck where a block takes time, and strace counts by thread.
    LOGGED,
]


@dataclass(frozen=True)
class Place:
    """On a network: how often a node looks at it, ms; the steps to strike, or None for all that are recorded."""

    poll_milliseconds: int
    steps: list[Step] | None


# Only what is asked for is on the wire, so that steps have numbers; and what there is where blocks take time.
RECORDED, GIVEN = Place(3_600_000, None), Place(500, ONE_OF_EACH)


@pytest.fixture
def bridge(running: RunningNetwork) -> Iterator[tuple[Victim, Place]]:
    """A member of a network, behind a proxy; its node runs."""
    if STRACE is None:
        pytest.skip("no strace on the PATH to strike the disk with")
    place = GIVEN if running.engine.validators else RECORDED
    with victim(running.consortium, BRIDGE, CIVIL_AFFAIRS, poll_milliseconds=place.poll_milliseconds) as made:
        made.start()
        yield made, place


def test_killed_at_any_step_of_an_anchor_the_node_brings_it_to_its_end_once(bridge: tuple[Victim, Place]) -> None:
    node, place = bridge
    steps = _chosen(every_step(node)) if place.steps is None else place.steps
    assert node.process.stop() == 0
    node.start()
    for step in steps:
        # A node that just started has something new to anchor: its start.
        before = node.check()
        strike(node, step)
        decided = node.decided()
        node.start()
        anchors = node.check()
        # From the moment that a head was kept it is on its way; before that nobody saw it.
        was_decided = decided is not None and decided[1].size > before[-1].size
        assert len(anchors) - len(before) == was_decided, str(step)
    node.anchor_now()
    assert len(node.check()) > len(steps) / 2


def _chosen(recorded: list[Step]) -> list[Step]:
    """The steps to strike, of those that were recorded; all that is certain must be among them."""
    seen = {step.method if isinstance(step, WireStep) else step.path for step in recorded}
    assert seen >= CERTAIN, CERTAIN - seen
    assert {JOURNALED, FINISHED, LOGGED} <= set(recorded)
    if os.environ.get("KITELINE_DRILL"):
        return recorded
    return [
        step
        for step in recorded
        if (isinstance(step, WireStep) and (step.method == SENDING or not step.is_answered))
        or (isinstance(step, DiskStep) and (step.call == "fdatasync" or step.call.startswith("rename")))
    ]
