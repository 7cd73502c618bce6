"""Money for the account that comes next: what the account from before has goes over, but for what its last transactions cost."""

from __future__ import annotations

from node.chain.endpoints import Endpoints
from node.chain.fees import present_fees
from node.chain.journal_store import Call, JournalStore, State
from node.chain.network import FeeRule, Network
from node.chain.purse import USUAL_GAS, balance_of
from node.chain.sender import Sender
from node.errors import AccountUnfunded
from node.model.chain import Mined

KEPT_TRANSACTIONS = 5  # the transfer itself, the rotation, and room for a market that rises between them


def move_funds(network: Network, endpoints: Endpoints, journal: JournalStore, sender: Sender, to: str) -> Mined | None:
    """Send what the sender's account has to another one, but for a reserve of `KEPT_TRANSACTIONS` transactions.

    Once for two accounts: the same call again gives the same transaction, whatever came to the account since.

    Args:
        network: says whether anything is paid for.
        endpoints: where to ask.
        journal: the sender's.
        sender: of the account from before, which is still in force.
        to: the account that comes next, EIP-55.

    Returns:
        Where it was mined; None where transactions cost nothing, so that no account needs money.

    Raises:
        AccountUnfunded: the account has no more than the reserve. Nothing is sent.
        TransactionPending, ChainUnavailable: as of any transaction; the same call goes on.
    """
    if network.fees is FeeRule.ZERO:
        return None
    purpose = f"move:{sender.address}:{to}"
    entry = journal.entry(purpose)
    if entry is not None and entry.state is not State.REFUSED:
        return entry.mined or sender.send(purpose, entry.call)
    reserve = KEPT_TRANSACTIONS * USUAL_GAS * present_fees(network, endpoints)["maxFeePerGas"]
    held = balance_of(endpoints, sender.address)
    if held <= reserve:
        raise AccountUnfunded(
            f"{sender.address} has {held} wei, and needs {reserve} for its own last transactions",
            account=sender.address,
        )
    return sender.send(purpose, Call(bytes.fromhex(to[2:]), b"", f"a transfer to {to}", held - reserve))
