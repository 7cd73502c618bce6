"""The chain as one thing to open, start and stop: what the node, the command line and the scripts compose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from eth_account.signers.local import LocalAccount

from audit.verifier import ValidatorSet
from node.chain.abi import ErrorBook
from node.chain.account import AccountSigner
from node.chain.admission import Admission
from node.chain.deploy import deploy
from node.chain.deployment import Deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import HeadFinality
from node.chain.follower import Follower
from node.chain.governance import Governance
from node.chain.index_store import IndexStore
from node.chain.interfaces import load_interfaces
from node.chain.journal_store import JournalStore
from node.chain.moving import move_funds
from node.chain.network import Network
from node.chain.proofs import Proofs
from node.chain.purse import Purse
from node.chain.seals import validator_sets
from node.chain.sender import CHANGE_SECONDS, Sender
from node.chain.writer import Writer
from node.model.chain import Mined

T = TypeVar("T")
INDEX, JOURNAL = "chain-index", "chain-journal"


@dataclass(frozen=True)
class Chain:
    """An open chain. Made by `open_chain`.

    Attributes:
        network: which one.
        view: the port ChainView.
        writer: the port ChainWriter.
        proofs: the port ChainProofs.
        governance: membership and keys.
        purse: what the account can pay for.
    """

    network: Network
    view: Follower
    writer: Writer
    proofs: Proofs
    governance: Governance
    sender: Sender
    endpoints: Endpoints
    index: IndexStore
    journal: JournalStore
    purse: Purse

    def check(self) -> None:
        """Check every endpoint that answers. Raises ChainMismatch, ChainUnavailable."""
        self.endpoints.check()

    def validators(self, read: Callable[[int], None] = lambda _: None) -> dict[int, tuple[ValidatorSet, ...]]:
        """By chain id, who may seal the network's blocks; nothing where blocks show no seal. Raises ChainMismatch, ChainUnavailable."""
        if not self.network.seal_epoch:
            return {}
        return {self.network.chain_id: validator_sets(self.network, self.endpoints, read)}

    def start(self) -> None:
        """Follow the chain from now on, and send again what was under way when the node last stopped."""
        self.view.start()

    def change_account(
        self,
        account: LocalAccount | AccountSigner,
        act: Callable[[], T],
        *,
        deadline_seconds: float = CHANGE_SECONDS,
    ) -> T:
        """Go over to another account while the node runs; `act` sends the rotation. See `Sender.change_account`."""
        return self.sender.change_account(account, act, deadline_seconds=deadline_seconds)

    def move_funds(self, to: str) -> Mined | None:
        """Send what the account has, but for a reserve, to the one that comes next. See `node.chain.moving`."""
        return move_funds(self.network, self.endpoints, self.journal, self.sender, to)

    def close(self) -> None:
        """Stop following, let waiting calls end, close the stores."""
        self.sender.stop()
        self.view.stop()
        self.endpoints.close()
        self.index.close()
        self.journal.close()


def open_chain(  # noqa: PLR0913 (a composition has as many parts as it has)
    network: Network,
    deployment: Deployment,
    directory: Path,
    account: LocalAccount | AccountSigner,
    *,
    clock: Callable[[], int],
    deadline_seconds: float = 120.0,
) -> Chain:
    """Open index and journal in `directory` (made if absent); no endpoint is asked yet.

    Args:
        network: how to reach the chain.
        deployment: the consortium's contracts.
        directory: where index and journal lie.
        account: signs this member's transactions.
        clock: Unix time, ms.
        deadline_seconds: how long a transaction may take to a final block.

    Raises:
        ChainMismatch: the deployment is on another chain, or the journal belongs to another deployment.
    """
    endpoints = Endpoints(network, deployment)
    interfaces = load_interfaces()
    journal = JournalStore.open_or_create(directory / JOURNAL, deployment.identity)
    index = IndexStore.open_or_create(directory / INDEX, deployment.identity)
    view = Follower(network, deployment, endpoints, index, interfaces, clock=clock, pending=journal.pending)
    explain = ErrorBook(interfaces.values()).explain
    sender = Sender(
        network,
        endpoints,
        journal,
        account,
        view,
        explain=explain,
        acts=view.is_in_force,
        clock=clock,
        deadline_seconds=deadline_seconds,
    )
    view.on_reorganisation(sender.reorganised)
    view.on_contact(sender.resume)
    view.on_block(sender.sweep)
    purse = Purse(network, endpoints, lambda: sender.address)
    view.on_contact(purse.look)
    view.on_block(purse.look)
    writer = Writer(sender, view, deployment, interfaces)
    governance = Governance(sender, network, deployment, endpoints, interfaces)
    return Chain(
        network,
        view,
        writer,
        Proofs(network, deployment, endpoints, interfaces["Anchors"]),
        governance,
        sender,
        endpoints,
        index,
        journal,
        purse,
    )


def deploy_contracts(  # noqa: PLR0913 (likewise)
    network: Network,
    directory: Path,
    account: LocalAccount | AccountSigner,
    founders: list[Admission],
    threshold: int,
    *,
    clock: Callable[[], int],
    deadline_seconds: float = 120.0,
) -> Deployment:
    """Create the consortium's contracts. Its journal lies in `directory`, so that the same call goes on after a crash.

    Raises:
        TransactionRefused: a contract refuses the founders or the threshold.
        ChainUnavailable: no endpoint answers, or not in time.
    """
    endpoints = Endpoints(network)
    journal = JournalStore.open_or_create(directory / "deployment-journal", str(network.chain_id).encode())
    sender = Sender(
        network,
        endpoints,
        journal,
        account,
        HeadFinality(network, endpoints),
        explain=ErrorBook(load_interfaces().values()).explain,
        clock=clock,
        deadline_seconds=deadline_seconds,
    )
    try:
        return deploy(sender, network, endpoints, founders, threshold)
    finally:
        endpoints.close()
        journal.close()
