"""The four contracts as they were compiled: their interfaces and their bytecode."""

from __future__ import annotations

from contracts.artifact import load
from node.chain.abi import ContractABI
from node.chain.deployment import CONTRACT_NAMES


def load_interfaces() -> dict[str, ContractABI]:
    """The interface of each contract, by name."""
    return {name: ContractABI(load(name).abi) for name in CONTRACT_NAMES}


def load_bytecode(name: str) -> bytes:
    """What creates a contract, without its constructor's arguments."""
    return load(name).bytecode
