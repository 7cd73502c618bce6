"""A network file (`network_configs/<name>/network.toml`): what has to be known about a chain to use it, as data.

Nothing in the program knows an engine by name. A network is described by its chain id, its endpoints and three rules:
when a block counts (finality), what a transaction pays (fees), and what the block hash is computed over (header). The
table `engine` is for whoever starts the network and is not read here.

    name = "embedded"
    chain_id = 31337
    endpoints = ["http://127.0.0.1:8545"]
    [finality]
    rule = "every-block"            # or "depth" with blocks = N, or "finalized-tag"
    [fees]
    rule = "zero"                   # or "market" (EIP-1559)
    [header]
    rule = "ethereum"               # or "bft-extra", or "none"
    [seals]                         # left out where a block's header does not show who made it
    rule = "eip-225"
    epoch_blocks = 30000
    [poll]
    interval_milliseconds = 200
    stalled_seconds = 20            # left out where a chain with nothing to do makes no blocks
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from node.chain.toml_section import Section, read_document

MAX_CHAIN_ID = 2**53 - 1  # what every JSON reader keeps exactly
MAX_DEPTH = 1_000_000


class FinalityRule(Enum):
    """When a block counts: at once, under a number of later blocks, or when the engine says `finalized`."""

    EVERY_BLOCK = "every-block"
    DEPTH = "depth"
    FINALIZED_TAG = "finalized-tag"


class FeeRule(Enum):
    """What a transaction offers: nothing (legacy, gas price 0), or base fee and tip (EIP-1559)."""

    ZERO = "zero"
    MARKET = "market"


class HeaderRule(Enum):
    """What the block hash is the Keccak-256 of.

    ETHEREUM: the header's own RLP. BFT_EXTRA: the same with round number and commit seals blanked in the extra data,
    as in QBFT, whose seals sign that very hash. NONE: something else, so that no receipt proof can be made.
    """

    ETHEREUM = "ethereum"
    BFT_EXTRA = "bft-extra"
    NONE = "none"


@dataclass(frozen=True)
class Network:
    """A validated network file.

    Attributes:
        depth: blocks that must lie above a block before it counts (rule "depth"), else 0.
        header_fields: names of the header's fields in RLP order as the JSON-RPC calls them, for engines whose header
            is not Ethereum's and whose endpoint does not hand it out raw; empty for Ethereum's own order.
        poll_seconds: pause between two looks at the chain.
        timeout_seconds: how long an endpoint may take to answer.
        range_blocks: most blocks asked for in one request for events.
        seal_epoch: blocks between two that name the validators, where each block is sealed by one of them (EIP-225); 0 where none is.
        stalled_seconds: without a new final block for so long, the chain counts as out of reach; 0 for never, where an idle chain makes none.
    """

    name: str
    chain_id: int
    endpoints: tuple[str, ...]
    finality: FinalityRule
    fees: FeeRule
    header: HeaderRule
    poll_seconds: float
    depth: int = 0
    header_fields: tuple[str, ...] = ()
    timeout_seconds: float = 10.0
    range_blocks: int = 2_000
    stalled_seconds: int = 0
    seal_epoch: int = 0


def load_network(path: Path) -> Network:
    """Read a network file. Raises ConfigurationInvalid naming the setting."""
    document = read_document(path)
    name = document.text("name")
    chain_id = document.number("chain_id", 1, MAX_CHAIN_ID)
    endpoints = document.texts("endpoints")
    for endpoint in endpoints:
        _check_endpoint(document, endpoint)
    finality, depth = _finality(document.section("finality"))
    fees = _fees(document.section("fees"))
    header, fields = _header(document.section("header"))
    seal_epoch = _seals(document.section("seals")) if document.has("seals") else 0
    poll = document.section("poll")
    interval = poll.number("interval_milliseconds", 10, 3_600_000)
    timeout = poll.number("timeout_milliseconds", 10, 600_000, default=10_000)
    range_blocks = poll.number("range_blocks", 1, 1_000_000, default=2_000)
    stalled = poll.number("stalled_seconds", 1, 86_400, default=0)
    poll.finish()
    document.ignore("engine")
    document.finish()
    return Network(
        name=name,
        chain_id=chain_id,
        endpoints=endpoints,
        finality=finality,
        fees=fees,
        header=header,
        poll_seconds=interval / 1_000,
        depth=depth,
        header_fields=fields,
        timeout_seconds=timeout / 1_000,
        range_blocks=range_blocks,
        stalled_seconds=stalled,
        seal_epoch=seal_epoch,
    )


def _check_endpoint(document: Section, endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise document.wrong("endpoints", f"must be http or https addresses, not {endpoint!r}")


def _finality(section: Section) -> tuple[FinalityRule, int]:
    rule = FinalityRule(section.text("rule", frozenset(rule.value for rule in FinalityRule)))
    depth = section.number("blocks", 1, MAX_DEPTH) if rule is FinalityRule.DEPTH else 0
    section.finish()
    return rule, depth


def _seals(section: Section) -> int:
    section.text("rule", frozenset({"eip-225"}))
    epoch = section.number("epoch_blocks", 1, MAX_DEPTH)
    section.finish()
    return epoch


def _fees(section: Section) -> FeeRule:
    rule = FeeRule(section.text("rule", frozenset(rule.value for rule in FeeRule)))
    section.finish()
    return rule


def _header(section: Section) -> tuple[HeaderRule, tuple[str, ...]]:
    rule = HeaderRule(section.text("rule", frozenset(rule.value for rule in HeaderRule)))
    fields = section.texts("fields") if section.has("fields") else ()
    section.finish()
    return rule, fields
