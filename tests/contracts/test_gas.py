"""No call costs other gas than `gas.toml` says; `make gen` measures anew."""

from __future__ import annotations

import pytest
from web3 import Web3

from tests.contracts.gas_table import BATCHES, FILE, measure, recorded, text
from tests.contracts.test_callers import changing
from tests.contracts.world import CONTRACTS

BLOCK_GAS = 30_000_000  # what anvil and geth give a block by default


@pytest.fixture(scope="module")
def measured(web3: Web3) -> dict[str, int]:
    """The table, measured now."""
    return measure(web3)


def test_every_call_costs_what_the_table_says_to_the_unit(measured: dict[str, int]) -> None:
    assert measured == recorded()
    assert list(measured) == list(recorded())


def test_the_file_is_as_it_would_be_written() -> None:
    assert FILE.read_text(encoding="utf-8") == text(recorded())


def test_every_contract_and_every_function_that_changes_something_has_a_row() -> None:
    rows = {title.partition(":")[0] for title in recorded()}
    assert rows == changing() | {f"{contract} (creation)" for contract in CONTRACTS}


def test_heads_that_go_together_cost_less_than_each_alone() -> None:
    table = recorded()
    for alone, together in (("the first head of a log", "first"), ("a later head", "later")):
        each = table[f"Anchors.anchor: {alone}"]
        for count in BATCHES[1:]:
            assert table[f"Anchors.anchorMany: {count} {together}"] < 0.8 * count * each


def test_every_call_fits_a_block_with_room_to_spare() -> None:
    assert max(recorded().values()) < BLOCK_GAS // 2
