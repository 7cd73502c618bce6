"""Who may seal the blocks of a network whose validators take turns and vote on each other in their blocks (EIP-225, Clique).

For a trust file: the sets of validators from the first block on, each with the number of the block since which it holds. At the
first block of an epoch its header names the set; in between, votes change it. An epoch that begins and ends with one set is not read
through: who came and went again within it is not known, and what he sealed then is not vouched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from audit.verifier import Malformed, ValidatorSet, sealed_by
from node.chain.block_evidence import ETHEREUM_FIELDS, encode_header
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head
from node.chain.json_rpc import WITHOUT_TRANSACTIONS, read_bytes, read_object
from node.chain.network import Network
from node.errors import ChainMismatch

VANITY_BYTES, SEAL_BYTES, ACCOUNT_BYTES = 32, 65, 20
_AUTHORIZE, _DROP = b"\xff" * 8, bytes(8)


@dataclass(frozen=True)
class SealedBlock:
    """What of a block concerns its validators. `named`: the whole set, in the first block of an epoch; `about`: whom its sealer votes on."""

    number: int
    sealer: bytes
    about: bytes
    admits: bool
    named: frozenset[bytes] = frozenset()


class Votes:
    """The set of validators after each block, by the votes in them (EIP-225, "Repurposing header fields for signing and voting").

    Args:
        accounts: those that the first block of an epoch names.
    """

    def __init__(self, accounts: frozenset[bytes]) -> None:
        self.accounts = accounts
        # (who votes, on whom): to admit him if he is no validator, to drop him if he is one; another vote counts for nothing.
        self._votes: set[tuple[bytes, bytes]] = set()

    def take(self, block: SealedBlock) -> None:
        """The next block. Raises ChainMismatch if its sealer is no validator."""
        if block.sealer not in self.accounts:
            raise ChainMismatch(f"block {block.number} is sealed by 0x{block.sealer.hex()}, who is no validator then")
        about, is_validator = block.about, block.about in self.accounts
        self._votes.discard((block.sealer, about))
        if block.admits != is_validator:
            self._votes.add((block.sealer, about))
        # Whoever is voted on is looked at, even if this vote counts for nothing: fewer validators may need fewer votes by now.
        if sum(on == about for _, on in self._votes) <= len(self.accounts) // 2:
            return
        self.accounts = self.accounts - {about} if is_validator else self.accounts | {about}
        # A validator's votes go with it, and so do those on it.
        self._votes = {(by, on) for by, on in self._votes if on != about and by in self.accounts}


def validator_sets(
    network: Network,
    endpoints: Endpoints,
    read: Callable[[int], None] = lambda _: None,
) -> tuple[ValidatorSet, ...]:
    """The sets of a network's validators from its first block to the newest final one, as this node's own endpoint has the blocks.

    Args:
        network: one with seals.
        endpoints: of the network.
        read: told how many blocks were read so far.

    Raises:
        ChainMismatch: the blocks are not sealed and voted on as EIP-225 says.
        ChainUnavailable: no endpoint answers.
    """
    head = final_head(network, endpoints)
    newest = -1 if head is None else head.number
    found: list[ValidatorSet] = []
    done = 0
    for first in range(0, newest + 1, network.seal_epoch):
        named = _named(network, endpoints, first)
        if found and found[-1].accounts != named:
            raise ChainMismatch(f"block {first} names other validators than the votes before it lead to", block=first)
        if not found:
            found.append(ValidatorSet(0, named))
        following = first + network.seal_epoch
        if following <= newest and _named(network, endpoints, following) == named:
            continue
        votes = Votes(named)
        for block in _blocks(network, endpoints, first + 1, min(following - 1, newest)):
            votes.take(block)
            done += 1
            read(done)
            if votes.accounts != found[-1].accounts:
                found.append(ValidatorSet(block.number + 1, votes.accounts))
    return tuple(found)


def _blocks(network: Network, endpoints: Endpoints, first: int, last: int) -> Iterator[SealedBlock]:
    for number in range(first, last + 1):
        block, header = _header(network, endpoints, number)
        nonce = read_bytes(block.get("nonce"))
        if nonce not in {_AUTHORIZE, _DROP}:
            raise ChainMismatch(f"block {number} holds neither a vote nor none", block=number)
        try:
            sealer = sealed_by(header)
        except Malformed as cause:
            raise ChainMismatch(f"block {number} has no seal: {cause}", block=number) from cause
        yield SealedBlock(number, sealer or b"", read_bytes(block.get("miner"), ACCOUNT_BYTES), nonce == _AUTHORIZE)


def _named(network: Network, endpoints: Endpoints, number: int) -> frozenset[bytes]:
    block, _ = _header(network, endpoints, number)
    extra = read_bytes(block.get("extraData"))
    accounts = extra[VANITY_BYTES:-SEAL_BYTES]
    if not accounts or len(accounts) % ACCOUNT_BYTES:
        raise ChainMismatch(f"block {number} should name the validators, as the first of an epoch", block=number)
    return frozenset(accounts[at : at + ACCOUNT_BYTES] for at in range(0, len(accounts), ACCOUNT_BYTES))


def _header(network: Network, endpoints: Endpoints, number: int) -> tuple[dict[str, object], bytes]:
    block = read_object(endpoints.ask("eth_getBlockByNumber", hex(number), WITHOUT_TRANSACTIONS))
    return block, encode_header(block, network.header_fields or ETHEREUM_FIELDS)
