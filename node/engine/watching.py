"""How a network of this machine is doing, seen from outside: each process's height and peers, and whether blocks are made."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

from node.chain.endpoints import Endpoints
from node.chain.json_rpc import Fault, read_quantity
from node.chain.network import Network
from node.engine.owning import Description, Running
from node.errors import ChainUnavailable

QUIET_BLOCKS = 10  # so many times the time of one without a block, and none comes any more
_LOOK_SECONDS = 0.2
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class View:
    """A process and what it answers. `height`: its newest block, `peers`: its connections; None where it does not say."""

    process: Running
    height: int | None
    peers: int | None


def look(running: Description, rules: Network) -> list[View]:
    """Ask every process at once."""
    with ThreadPoolExecutor(max_workers=max(1, len(running.processes))) as pool:
        return list(pool.map(lambda process: _view(process, rules), running.processes))


def height_of(process: Running, rules: Network) -> int | None:
    """Its newest block's number; None while it does not answer."""
    return _quantity(process, rules, "eth_blockNumber")


def call(process: Running, rules: Network, method: str, *params: object) -> object:
    """The result of a call of its JSON-RPC. Raises ChainUnavailable, ChainMismatch."""
    with closing(_endpoints(process, rules)) as endpoints:
        return endpoints.ask(method, *params)


def makes_blocks(
    views: list[View],
    rules: Network,
    block_seconds: int,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether more blocks come above those of `views` than there are processes that answer.

    Fewer prove nothing: where validators take turns, each of those that are left after a majority ended can still make one (EIP-225, `SIGNER_LIMIT`).

    Args:
        views: from `look`.
        rules: the chain's.
        block_seconds: longest time between two blocks; 0 where they come with transactions only, and an answer has to do. Without a block
            for `QUIET_BLOCKS` times as long, none comes any more.
        monotonic: a clock, s.
        sleep: waits so many seconds.
    """
    answering = [view for view in views if view.height is not None]
    if not answering or not block_seconds:
        return bool(answering)
    highest = max(view.height or 0 for view in answering)
    enough = highest + len(answering) + 1
    deadline = monotonic() + QUIET_BLOCKS * block_seconds
    while monotonic() < deadline:
        height = max(height_of(view.process, rules) or 0 for view in answering)
        if height >= enough:
            return True
        if height > highest:
            highest, deadline = height, monotonic() + QUIET_BLOCKS * block_seconds
        sleep(_LOOK_SECONDS)
    return False


def _view(process: Running, rules: Network) -> View:
    if not process.alive:
        return View(process, None, None)
    return View(process, height_of(process, rules), _quantity(process, rules, "net_peerCount"))


def _quantity(process: Running, rules: Network, method: str) -> int | None:
    try:
        with closing(_endpoints(process, rules)) as endpoints:
            answer = endpoints.attempt(method)
            return None if isinstance(answer, Fault) else read_quantity(answer)
    except ChainUnavailable:
        return None


def _endpoints(process: Running, rules: Network) -> Endpoints:
    return Endpoints(replace(rules, endpoints=(process.endpoint,), timeout_seconds=_ANSWER_SECONDS))
