"""Every error and every event of the contracts is expected and met by a test of this folder.

This file comes after all others of the folder, whatever their names: it looks back on what they noted.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from web3 import Web3

from tests.contracts.world import ABIS
from tests.support.anvil import ROOT

HERE = Path(__file__).resolve()


OPCODES_THAT_CHANGE_CODE = {
    0xF2: "CALLCODE",
    0xF4: "DELEGATECALL",
    0xF0: "CREATE",
    0xF5: "CREATE2",
    0xFF: "SELFDESTRUCT",
}
PUSH1, PUSH32 = 0x60, 0x7F


def opcodes(code: bytes) -> set[int]:
    """The instructions of a contract, without what they push and what stands behind its end."""
    found, at = set(), 0
    while at < len(code):
        found.add(code[at])
        at += 1 + (code[at] - PUSH1 + 1 if PUSH1 <= code[at] <= PUSH32 else 0)
    return found


def declared() -> set[tuple[str, str]]:
    """Each error and event, as (contract, name)."""
    return {
        (contract, entry["name"])
        for contract, entries in ABIS.items()
        for entry in entries
        if entry["type"] in {"error", "event"}
    }


def written() -> set[tuple[str, str]]:
    """Each test that stands in the folder's other files, as (file, function)."""
    return {
        (path.name, found.name)
        for path in HERE.parent.glob("test_*.py")
        if path != HERE
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(found, ast.FunctionDef) and found.name.startswith("test_")
    }


def collected(session: pytest.Session) -> set[tuple[str, str]]:
    """Each test of the folder's other files that is in this run, as (file, function)."""
    return {
        (item.path.name, item.originalname)
        for item in session.items
        if isinstance(item, pytest.Function) and item.path.parent == HERE.parent and item.path != HERE
    }


def test_every_error_and_event_is_met_by_a_test(
    web3: Web3, provoked: set[tuple[str, str]], request: pytest.FixtureRequest
) -> None:
    """`web3` is asked for because without a chain no other test has run either."""
    left_out = written() - collected(request.session)
    if left_out:
        pytest.skip(f"{len(left_out)} tests of this folder are not in this run, and only all of them meet everything")
    assert declared() - provoked == set()


def test_only_what_a_contract_declares_itself_is_noted(provoked: set[tuple[str, str]]) -> None:
    assert provoked <= declared()


def test_every_contract_has_both_errors_and_events_to_be_met() -> None:
    for contract, entries in ABIS.items():
        kinds = [entry["type"] for entry in entries]
        assert len([name for name, _ in declared() if name == contract]) == kinds.count("error") + kinds.count("event")
        assert kinds.count("error") > 0
        assert kinds.count("event") > 0


@pytest.mark.parametrize("contract", ABIS)
def test_no_contract_can_run_other_code_or_end(contract: str) -> None:
    """So nobody can change what is deployed: no proxy, no library, no end. Each says what it is and ends with an invalid instruction, behind which are constants."""
    artifact = json.loads((ROOT / "contracts" / "artifacts" / f"{contract}.json").read_text(encoding="utf-8"))
    code, _, _ = bytes.fromhex(artifact["deployedBytecode"]).rpartition(b"\xfe")
    assert not opcodes(code) & OPCODES_THAT_CHANGE_CODE.keys()
