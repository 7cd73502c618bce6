"""The built contracts, as committed: ABI and bytecode."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).resolve().parent / "artifacts"


@dataclass(frozen=True)
class Artifact:
    """One contract. `bytecode`: creation code; `deployed_bytecode`: what lies at its address, immutables zero."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed_bytecode: bytes


def load(name: str) -> Artifact:
    """Read the artifact of a contract by name: Members, Catalogue, Grants or Anchors."""
    document = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
    return Artifact(
        name=document["contractName"],
        abi=document["abi"],
        bytecode=bytes.fromhex(document["bytecode"]),
        deployed_bytecode=bytes.fromhex(document["deployedBytecode"]),
    )
