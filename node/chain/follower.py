"""Keeps the index at the chain's newest final block, and answers the port ChainView from it.

One pass: ask for the newest final block; find the newest block of the index that is still on the chain; take back what
lies above it; read the events from there on in ranges, and check after each range that the chain has not moved
meanwhile (the block below, every block with an event, and the last block are asked for by number and compared by hash).
A range becomes durable as a whole or not at all, so a pass may end anywhere.

A chain that is shorter than the index, without contradicting it, is an endpoint that lags, and nothing is taken back,
unless it stays so for LAG_SECONDS. One that makes blocks all the time, as its network file says, and makes none any more
is out of reach as much as one that does not answer: nobody can revoke a grant there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from itertools import groupby

import structlog

from crypto.errors import Refusal
from node.chain.abi import ContractABI
from node.chain.deployment import CONTRACT_NAMES, Deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head, header_at
from node.chain.index_store import Batch, IndexStore
from node.chain.json_rpc import Fault, Header, LogRecord, hexadecimal, read_logs
from node.chain.network import Network
from node.chain.projection import apply_event
from node.chain.rows import Row, read_row, write_row
from node.chain.view import IndexView
from node.errors import ChainUnavailable
from node.model.chain import Block, ChainHealth

LAG_SECONDS = 15
ATTEMPTS = 3  # passes that a moving chain may spoil before the next poll's turn
NO_BLOCK = Block(0, bytes(32), 0)


class Follower(IndexView):
    """The view that keeps itself up to date.

    Args:
        interfaces: the contracts' ABIs by name (`contracts` package).
        clock: Unix time, ms.
        pending: number of transactions that wait for a final block.
    """

    def __init__(  # noqa: PLR0913 (each is a part that tests replace)
        self,
        network: Network,
        deployment: Deployment,
        endpoints: Endpoints,
        store: IndexStore,
        interfaces: dict[str, ContractABI],
        *,
        clock: Callable[[], int],
        pending: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(store)
        self._network = network
        self._deployment = deployment
        self._endpoints = endpoints
        self._clock = clock
        self._pending = pending
        self._interfaces = {deployment.address(name): interfaces[name] for name in CONTRACT_NAMES}
        self._filter = {
            "address": [hexadecimal(address) for address in self._interfaces],
            "topics": [[hexadecimal(topic) for contract in self._interfaces.values() for topic in contract.topics]],
        }
        self._passing = threading.Lock()
        self._begun = 0  # passes begun so far
        self._failure: Refusal | None = None  # how the newest pass ended
        self._head = store.head()
        self._reached = False  # whether the newest pass ended well
        # After a start without a chain, the outage has lasted at least since the newest block that is indexed.
        self._last_contact_ms = 0 if self._head is None else self._head.time * 1_000
        self._newest: bytes | None = None  # hash of the newest final block that was seen
        self._moved_ms = 0  # when it was seen first
        self._stayed: int | None = None  # last block that a reorganisation left, until it was told
        self._lagging_since_ms: int | None = None
        self._on_block: list[Callable[[], None]] = []
        self._on_contact: list[Callable[[], None]] = []
        self._on_reorganisation: list[Callable[[int], None]] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger(component="chain")

    def start(self) -> None:
        """Begin to poll, on a thread of its own."""
        self._thread = threading.Thread(target=self._poll, name="chain-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def on_block(self, callback: Callable[[], None]) -> None:
        """Call back after blocks were indexed or taken back, on the thread that did it."""
        self._on_block.append(callback)

    def on_contact(self, callback: Callable[[], None]) -> None:
        """Call back after the first pass that reached the chain, and after the first one that did so again."""
        self._on_contact.append(callback)

    def on_reorganisation(self, callback: Callable[[int], None]) -> None:
        """Call back with the number of the last block that stayed, after blocks were taken back."""
        self._on_reorganisation.append(callback)

    def health(self) -> ChainHealth:
        """How the follower stands with the chain."""
        return ChainHealth(
            reachable=self._reached,
            last_contact_ms=self._last_contact_ms,
            chain_id=self._network.chain_id,
            head=self._head or NO_BLOCK,
            pending_transactions=self._pending(),
        )

    def refresh(self) -> None:
        """Index up to the newest final block. Callers at one time share a pass that began after they called.

        Raises:
            ChainUnavailable: no endpoint answers.
            ChainMismatch: the endpoints serve another chain.
        """
        wanted = self._begun + 1
        steps: list[Callable[[], None]] = []
        with self._passing:
            if self._begun < wanted:
                self._begun += 1
                steps = self._make_pass()
            failure = self._failure
        for step in steps:
            try:
                step()
            except Refusal as cause:  # the next block, or the next start, does it again
                self._log.warning("a step after indexing failed", reason=cause.reason, error=str(cause))
        if failure is not None:
            raise failure

    def _make_pass(self) -> list[Callable[[], None]]:
        """Make a pass and note how it ended. Returns what is to be called back."""
        before, was_reached = self._head, self._reached
        try:
            self._pass()
        except Refusal as cause:
            self._failure = cause
        else:
            self._failure = None
            self._last_contact_ms = self._clock()
        steps: list[Callable[[], None]] = []
        stayed, self._stayed = self._stayed, None
        if stayed is not None:
            steps += [partial(callback, stayed) for callback in self._on_reorganisation]
        self._reached = self._failure is None
        if self._reached and not was_reached:
            steps += self._on_contact
        if self._head != before:
            steps += self._on_block
        return steps

    def final_block(self, number: int) -> Block | None:
        """The final block of this number, as of the last refresh; None beyond the indexed head."""
        head = self._head
        if head is None or number > head.number:
            return None
        known = self._store.reference(number)
        if known is not None:
            return known
        header = header_at(self._endpoints, number)
        return None if header is None else _block(header)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            before = self._failure
            try:
                self.refresh()
            except Refusal as cause:
                if before is None or before.reason != cause.reason:
                    self._log.warning("the chain cannot be followed", reason=cause.reason, error=str(cause))
            except Exception:  # noqa: BLE001 (logged with its trace)
                # A defect in a callback must not silently end the following, and with it every revocation.
                self._log.exception("a step after indexing failed")
            else:
                if before is not None:
                    self._log.info("the chain is followed again", block=self._head and self._head.number)
            self._stopping.wait(self._network.poll_seconds)

    def _pass(self) -> None:
        """Bring the index to the chain's newest final block."""
        for _ in range(ATTEMPTS):
            target = final_head(self._network, self._endpoints)
            if target is None:
                return
            ancestor = self._ancestor(target)
            if ancestor != self._head:
                # Before anything is taken back: an endpoint may have come to serve another chain without ever failing to answer.
                self._endpoints.doubt()
                if final_head(self._network, self._endpoints) != target:
                    continue
                self._take_back(ancestor)
            if self._read_to(target):
                self._check_moving(target)
                return
        raise ChainUnavailable("the chain moved on during every attempt to read it")

    def _check_moving(self, target: Header) -> None:
        """Raise ChainUnavailable if the chain, which makes blocks all the time, has not made one for too long."""
        seconds, now = self._network.stalled_seconds, self._clock()
        if target.hash != self._newest:
            # Of the first one it is not known since when it is the newest, but it cannot be for longer than it exists.
            self._moved_ms = now if self._newest is not None else min(now, target.time * 1_000)
            self._newest = target.hash
        if seconds and now - self._moved_ms > seconds * 1_000:
            raise ChainUnavailable(
                f"the chain has made no final block above {target.number} for more than {seconds} s",
                block=target.number,
            )

    def _ancestor(self, target: Header) -> Block | None:
        """The newest block of the index that is on the chain; None if none is, or there is none."""
        head = self._head
        if head is None or self._is_on_chain(head, target):
            self._lagging_since_ms = None
            return head
        contradicted = False
        for reference in self._store.references():
            if reference.number > target.number:
                continue
            if self._is_on_chain(reference, target):
                break
            contradicted = True
        else:
            return None
        if contradicted or self._has_lagged():
            self._lagging_since_ms = None
            return reference
        return head

    def _is_on_chain(self, block: Block, target: Header) -> bool:
        if block.number >= target.number:
            return (block.number, block.hash) == (target.number, target.hash)
        if block.number == target.number - 1:
            return block.hash == target.parent_hash
        header = header_at(self._endpoints, block.number)
        return header is not None and header.hash == block.hash

    def _has_lagged(self) -> bool:
        now = self._clock()
        if self._lagging_since_ms is None:
            self._lagging_since_ms = now
        return now - self._lagging_since_ms >= LAG_SECONDS * 1_000

    def _take_back(self, ancestor: Block | None) -> None:
        self._log.warning(
            "the chain was reorganised",
            was=self._head and self._head.number,
            stays=ancestor and ancestor.number,
        )
        changed = self._store.undo_above(ancestor)
        self._head = self._store.head()
        self.update(changed)
        number = self._deployment.block - 1 if self._head is None else self._head.number
        self._stayed = number if self._stayed is None else min(self._stayed, number)

    def _read_to(self, target: Header) -> bool:
        """Index the blocks above the head up to `target`; False if the chain moved meanwhile."""
        span = self._network.range_blocks
        while True:
            start = self._deployment.block if self._head is None else self._head.number + 1
            if start > target.number:
                return True
            stop = min(start + span - 1, target.number)
            answer = self._endpoints.attempt(
                "eth_getLogs", {**self._filter, "fromBlock": hex(start), "toBlock": hex(stop)}
            )
            if isinstance(answer, Fault):
                if start == stop:
                    raise ChainUnavailable(f"the chain refused to list events: {answer.message}", block=start)
                span = (stop - start + 1) // 2  # engines limit how much they list at once
                continue
            logs = sorted(read_logs(answer), key=lambda log: (log.block_number, log.log_index))
            if not self._index(logs, start, stop):
                return False

    def _index(self, logs: list[LogRecord], start: int, stop: int) -> bool:
        """Apply the events of blocks `start` to `stop`; False, and nothing applied, if the chain moved meanwhile."""
        by_block = {number: list(group) for number, group in groupby(logs, key=lambda log: log.block_number)}
        headers = {number: header_at(self._endpoints, number) for number in sorted({*by_block, stop})}
        last = headers[stop]
        head = self._head
        if last is None or (head is not None and not self._is_on_chain(head, last)):
            return False
        blocks: list[tuple[Block, list[LogRecord]]] = []
        for number, header in headers.items():
            events = by_block.get(number, [])
            if header is None or not start <= number <= stop or any(log.block_hash != header.hash for log in events):
                return False
            blocks.append((_block(header), events))
        with self._store.batch() as batch:
            rows = _BatchRows(batch)
            for block, events in blocks:
                for log in events:
                    contract = self._interfaces.get(log.address)
                    event = None if contract is None else contract.event(log)
                    if event is not None:
                        apply_event(rows, event, block, log.transaction_hash)
                batch.finish_block(block)
        self.update(batch.changed)
        self._head = blocks[-1][0]
        return True


class _BatchRows:
    """The rows of a batch, as the projection takes them."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def get(self, key: bytes) -> Row | None:
        value = self._batch.get(key)
        return None if value is None else read_row(key, value)

    def put(self, key: bytes, row: Row) -> None:
        self._batch.put(key, write_row(row))


def _block(header: Header) -> Block:
    return Block(header.number, header.hash, header.time)
