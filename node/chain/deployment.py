"""The deployment file (`contracts.toml`): which four contracts on which chain a consortium uses.

It is made once by `deploy` and given to every member. The hash of the deployment's first block and the hash of each
contract's code stand in it, so that a node notices an endpoint that serves another chain of the same number.

    chain_id = 31337
    block = 1                                     # indexing begins here
    block_hash = "0x…"
    [members]                                     # and likewise catalogue, grants, anchors
    address = "0x…"
    code_hash = "0x…"                             # Keccak-256 of the code at the address
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomli_w

from node.chain.network import MAX_CHAIN_ID
from node.chain.toml_section import read_document

CONTRACT_NAMES = ("Members", "Catalogue", "Grants", "Anchors")
ADDRESS_BYTES = 20
HASH_BYTES = 32


@dataclass(frozen=True)
class ContractAt:
    """A contract at its address (20 bytes), with the Keccak-256 of its code."""

    address: bytes
    code_hash: bytes


@dataclass(frozen=True)
class Deployment:
    """The consortium's contracts, by name, and the block that indexing begins at."""

    chain_id: int
    block: int
    block_hash: bytes
    contracts: dict[str, ContractAt]

    @property
    def identity(self) -> bytes:
        """What tells this deployment from any other: stores that belong to another are not used."""
        parts = [str(self.chain_id).encode(), str(self.block).encode(), self.block_hash]
        parts += [self.contracts[name].address for name in CONTRACT_NAMES]
        return b":".join(part.hex().encode() for part in parts)

    def address(self, name: str) -> bytes:
        """Address of the contract of this name."""
        return self.contracts[name].address


def load_deployment(path: Path) -> Deployment:
    """Read a deployment file. Raises ConfigurationInvalid naming the setting."""
    document = read_document(path)
    chain_id = document.number("chain_id", 1, MAX_CHAIN_ID)
    block = document.number("block", 0, 2**63 - 1)
    block_hash = document.hexadecimal("block_hash", HASH_BYTES)
    contracts: dict[str, ContractAt] = {}
    for name in CONTRACT_NAMES:
        section = document.section(name.lower())
        contracts[name] = ContractAt(
            section.hexadecimal("address", ADDRESS_BYTES), section.hexadecimal("code_hash", HASH_BYTES)
        )
        section.finish()
    document.finish()
    if len({contract.address for contract in contracts.values()}) != len(contracts):
        raise document.wrong("address", "is the same for two contracts")
    return Deployment(chain_id, block, block_hash, contracts)


def dump_deployment(deployment: Deployment) -> str:
    """The text of a deployment file that `load_deployment` reads back to the same value."""
    return tomli_w.dumps(
        {
            "chain_id": deployment.chain_id,
            "block": deployment.block,
            "block_hash": _hexadecimal(deployment.block_hash),
            **{
                name.lower(): {
                    "address": _hexadecimal(deployment.contracts[name].address),
                    "code_hash": _hexadecimal(deployment.contracts[name].code_hash),
                }
                for name in CONTRACT_NAMES
            },
        }
    )


def _hexadecimal(data: bytes) -> str:
    return "0x" + data.hex()
