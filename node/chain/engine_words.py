"""What engines say when they do not take a transaction, told apart by their words: no standard gives their codes."""

from __future__ import annotations

from collections.abc import Collection

from node.chain.json_rpc import Fault

ALREADY_THERE = ("already known", "already imported", "known transaction", "already exists", "alreadyintxpool")
NO_FUNDS = ("insufficient funds", "insufficient balance", "upfront cost exceeds")
NONCE_TAKEN = ("nonce too low", "nonce is too low", "invalid nonce", "old nonce")
# What engines say of a transaction that none of them will ever take as it is. Anything else that a sending is answered with (a limit on
# requests, a full pool, an internal error, a proxy's words) is about the endpoint: the transaction may be on its way all the same.
REJECTED = frozenset(
    """
    intrinsic gas, gas limit, block base fee, gas price below, transaction underpriced, exceeds the configured cap, insufficient funds,
    insufficient balance, upfront cost, account balance, signature, invalid sender, not authorized, chain id, chainid, replay-protected,
    type not supported, initcode, oversized, marked the transaction as invalid
    """.strip()
    .replace("\n    ", " ")
    .split(", ")
)
# Another transaction waits under this nonce, maybe an older one of ours.
NONCE_HELD = ("replacement transaction underpriced",)


def is_rejection(fault: Fault) -> bool:
    """Whether no engine will ever take it as it is."""
    return says(fault, REJECTED) and not says(fault, NONCE_HELD)


def says(fault: Fault, phrases: Collection[str]) -> bool:
    """Whether a fault has one of these phrases, in whatever case."""
    said = fault.message.lower()
    return any(phrase in said for phrase in phrases)
