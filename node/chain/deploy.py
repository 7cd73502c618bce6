"""Puts the four contracts on a chain: once for a consortium.

Each creation is journaled like any transaction, so a deployment that was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_hash.auto import keccak

from node.chain.admission import Admission
from node.chain.deployment import CONTRACT_NAMES, ContractAt, Deployment
from node.chain.endpoints import Endpoints
from node.chain.interfaces import load_bytecode, load_interfaces
from node.chain.journal_store import Call
from node.chain.json_rpc import hexadecimal, read_bytes
from node.chain.network import Network
from node.chain.sender import Sender
from node.errors import ChainUnavailable
from node.model.chain import Mined


def deploy(
    sender: Sender, network: Network, endpoints: Endpoints, founders: Sequence[Admission], threshold: int
) -> Deployment:
    """Create the contracts, with these founders admitted and so many approvals needed for any later change.

    Raises:
        TransactionRefused: a contract refuses what it is created with.
        ChainUnavailable: it may still be mined; the same call goes on.
    """
    interfaces = load_interfaces()
    addresses: dict[str, bytes] = {}
    first: Mined | None = None
    for name in CONTRACT_NAMES:
        members = addresses.get("Members", b"")
        arguments: dict[str, tuple[object, ...]] = {
            "Members": ([founder.words() for founder in founders], threshold),
            "Catalogue": (members,),
            "Grants": (members, addresses.get("Catalogue", b"")),
            "Anchors": (members,),
        }
        data = interfaces[name].creation(load_bytecode(name), *arguments[name])
        mined = sender.send(f"deploy:{name}:{keccak(data).hex()}", Call(b"", data, f"creation of {name}"))
        receipt = sender.receipt(mined.transaction_hash)
        if receipt is None or not receipt.contract:
            raise ChainUnavailable(f"the chain does not show where {name} was created")
        addresses[name] = receipt.contract
        first = first or mined
    if first is None:
        raise AssertionError("there are no contracts to create")
    contracts = {
        name: ContractAt(address, keccak(read_bytes(endpoints.ask("eth_getCode", hexadecimal(address), "latest"))))
        for name, address in addresses.items()
    }
    return Deployment(network.chain_id, first.block.number, first.block.hash, contracts)
