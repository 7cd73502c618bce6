"""The directory of a further network: `network.toml`, how to reach the chain, and `contracts.toml`, which contracts on it."""

from __future__ import annotations

from pathlib import Path

from node.chain.deployment import Deployment, load_deployment
from node.chain.network import Network, load_network

NETWORK_FILE, CONTRACTS_FILE = "network.toml", "contracts.toml"


def read_network_directory(directory: Path) -> tuple[Network, Deployment]:
    """Both files. Raises ConfigurationInvalid naming the file or the setting."""
    return load_network(directory / NETWORK_FILE), load_deployment(directory / CONTRACTS_FILE)
