"""Which blocks count, asked of a real chain under each of the rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.chain.endpoints import Endpoints
from node.chain.finality import HeadFinality, final_head, header_at
from node.chain.network import FeeRule, FinalityRule, HeaderRule, Network
from node.model.chain import Block
from tests.support.anvil import CHAIN_ID, Anvil

HEIGHT = 100


@pytest.fixture
def grown(anvil: Anvil) -> Anvil:
    """A chain of a hundred blocks. Anvil calls those final that lie 64 below its head."""
    anvil.mine(HEIGHT)
    return anvil


@contextmanager
def asked(anvil: Anvil, rule: FinalityRule, depth: int = 0) -> Iterator[tuple[Network, Endpoints]]:
    """A network of this rule, and its endpoints."""
    network = Network(
        "test", CHAIN_ID, (anvil.url,), rule, FeeRule.ZERO, HeaderRule.ETHEREUM, poll_seconds=0.1, depth=depth
    )
    endpoints = Endpoints(network)
    yield network, endpoints
    endpoints.close()


@pytest.mark.parametrize(
    ("rule", "depth", "expected"),
    [
        (FinalityRule.EVERY_BLOCK, 0, HEIGHT),
        (FinalityRule.DEPTH, 1, HEIGHT - 1),
        (FinalityRule.DEPTH, 12, HEIGHT - 12),
        (FinalityRule.DEPTH, HEIGHT, 0),
        (FinalityRule.DEPTH, HEIGHT + 1, None),
        (FinalityRule.FINALIZED_TAG, 0, HEIGHT - 64),
    ],
)
def test_the_newest_final_block_is_the_one_of_the_rule(
    grown: Anvil, rule: FinalityRule, depth: int, expected: int | None
) -> None:
    with asked(grown, rule, depth) as (network, endpoints):
        head = final_head(network, endpoints)
        if expected is None:
            assert head is None
        else:
            assert head is not None
            assert head.number == expected
            assert head == header_at(endpoints, expected)


def test_a_block_is_final_from_the_refresh_on_that_saw_it(grown: Anvil) -> None:
    with asked(grown, FinalityRule.DEPTH, 10) as (network, endpoints):
        finality = HeadFinality(network, endpoints)
        assert finality.final_block(0) is None
        finality.refresh()
        header = header_at(endpoints, HEIGHT - 10)
        assert header is not None
        assert finality.final_block(HEIGHT - 10) == Block(HEIGHT - 10, header.hash, header.time)
        assert finality.final_block(HEIGHT - 9) is None
        grown.mine(5)
        assert finality.final_block(HEIGHT - 9) is None
        finality.refresh()
        assert finality.final_block(HEIGHT - 5) is not None
        assert finality.final_block(HEIGHT - 4) is None


def test_beyond_the_end_of_the_chain_there_is_no_header(grown: Anvil) -> None:
    with asked(grown, FinalityRule.EVERY_BLOCK) as (_, endpoints):
        assert header_at(endpoints, HEIGHT + 1) is None
        genesis, first = header_at(endpoints, 0), header_at(endpoints, 1)
        assert genesis is not None
        assert first is not None
        assert first.parent_hash == genesis.hash


def test_a_young_chain_has_no_final_block_yet(anvil: Anvil) -> None:
    with asked(anvil, FinalityRule.DEPTH, 3) as (network, endpoints):
        finality = HeadFinality(network, endpoints)
        finality.refresh()
        assert finality.final_block(0) is None
        anvil.mine(3)
        finality.refresh()
        assert finality.final_block(0) is not None
