"""The interfaces: they declare all that the built contracts offer, and every declaration says what it means."""

from __future__ import annotations

import re
from typing import Any

import pytest

from contracts.build import SOURCES
from tests.contracts.natspec import Interface, Malformed, Parameter, parse
from tests.contracts.world import ABIS, CONTRACTS

DECLARED = ("error", "event", "function")


def text_of(contract: str) -> str:
    """The text of a contract's interface."""
    return (SOURCES / "interfaces" / f"I{contract}.sol").read_text(encoding="utf-8")


@pytest.fixture(params=CONTRACTS)
def contract(request: pytest.FixtureRequest) -> str:
    """Each contract by name."""
    return str(request.param)


@pytest.fixture
def interface(contract: str) -> Interface:
    """Its interface."""
    return parse(text_of(contract))


def built(contract: str, kind: str) -> dict[str, dict[str, Any]]:
    """What the compiler says that a contract offers of a kind, by name."""
    return {entry["name"]: entry for entry in ABIS[contract] if entry["type"] == kind}


def as_declared(entry: dict[str, Any]) -> Parameter:
    """A parameter of an ABI as the source spells it: structs and enums by their own names."""
    return Parameter(re.split(r"[ .]", entry["internalType"])[-1], entry["name"], entry.get("indexed", False))


def test_there_is_an_interface_for_each_contract_and_no_other() -> None:
    files = sorted(path.stem for path in (SOURCES / "interfaces").iterdir())
    assert files == sorted(f"I{contract}" for contract in CONTRACTS)
    assert sorted(path.stem for path in SOURCES.glob("*.sol")) == sorted(CONTRACTS)


@pytest.mark.parametrize("kind", DECLARED)
def test_the_interface_declares_exactly_what_the_contract_offers(
    contract: str, interface: Interface, kind: str
) -> None:
    names = [found.name for found in interface.of(kind)]
    assert names
    assert len(names) == len(set(names)), "an overloaded name"
    assert set(names) == set(built(contract, kind))


@pytest.mark.parametrize("kind", ["error", "event"])
def test_errors_and_events_carry_the_declared_values_in_the_declared_order(
    contract: str, interface: Interface, kind: str
) -> None:
    for declared in interface.of(kind):
        entry = built(contract, kind)[declared.name]
        assert declared.parameters == tuple(as_declared(found) for found in entry["inputs"])
        assert not entry.get("anonymous", False)


def test_functions_take_and_return_what_is_declared(contract: str, interface: Interface) -> None:
    for declared in interface.of("function"):
        entry = built(contract, "function")[declared.name]
        # An implementation may name its arguments otherwise.
        assert [found.type for found in declared.parameters] == [as_declared(item).type for item in entry["inputs"]]
        assert [found.type for found in declared.returns] == [as_declared(item).type for item in entry["outputs"]]
        assert declared.view == (entry["stateMutability"] == "view")


def test_every_declaration_has_a_notice_of_its_own(interface: Interface) -> None:
    assert interface.notice
    within = {kind: [found.notice for found in interface.of(kind)] for kind in (*DECLARED, "struct", "enum")}
    for notices in within.values():
        assert len(notices) == len(set(notices))
    assert sum(map(len, within.values())) == len(interface.declarations)


def test_a_declaration_without_its_notice_would_be_noticed(contract: str, interface: Interface) -> None:
    text = text_of(contract)
    for declared in interface.declarations:
        undocumented = re.sub(rf"(?: {{4}}/// .*\n)+(?= {{4}}{declared.kind} {declared.name}\b)", "", text, count=1)
        assert undocumented != text
        with pytest.raises(Malformed, match="not a documented declaration"):
            parse(undocumented)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("    /// @notice The log id is zero.\n", "    /// The log id is zero.\n"),
        ("    /// @notice The log id is zero.\n", "    /// @dev The log id is zero.\n"),
        ("    /// @notice The log id is zero.\n", "    /// @notice\n"),
        ("    /// @notice The log id is zero.\n", "    // The log id is zero.\n"),
        ("    /// @notice The log id is zero.\n", "    /// @notice The log id is zero\n"),
        ("/// @title The heads of the members' logs.\n", ""),
        (
            "/// @notice A log is known by its member and its id: what another member anchors under the same id is another log, so\n",
            "",
        ),
        ("    error LogInvalid(bytes32 log);\n", "    error LogInvalid(bytes32 log)\n"),
        ("    error LogInvalid(bytes32 log);\n", "    error LogInvalid(bytes32);\n"),
        ("    error LogInvalid(bytes32 log);\n", "    error LogInvalid(bytes32 log);\n    error Bare();\n"),
    ],
)
def test_a_text_that_is_not_documented_to_the_last_line_is_refused(right: str, wrong: str) -> None:
    text = text_of("Anchors")
    assert text.count(right) == 1
    with pytest.raises(Malformed):
        parse(text.replace(right, wrong))


def test_the_implementation_inherits_each_functions_words(contract: str, interface: Interface) -> None:
    text = (SOURCES / f"{contract}.sol").read_text(encoding="utf-8")
    for declared in interface.of("function"):
        spelled = rf"    /// @inheritdoc I{contract}\n    (?:function {declared.name}\(|\w+ public {declared.name};)"
        assert len(re.findall(spelled, text)) == 1, declared.name
    assert text.count("@inheritdoc") == len(interface.of("function"))


def test_the_implementation_declares_no_error_or_event_of_its_own(contract: str) -> None:
    text = (SOURCES / f"{contract}.sol").read_text(encoding="utf-8")
    assert re.findall(r"^\s*(?:error|event) ", text, re.MULTILINE) == []
