"""Opening what was fetched: unwrap, decrypt, hash, write; beside the transfer, delivery by delivery, in order.

The tree grows as a frontier, so that memory does not grow with the dataset. After a restart everything is opened again
from the vault, which costs less than trusting a half-written state would; plaintext that is there already is not
written twice. Plaintext carries its final name only after the root was right (`Vault.finish`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from audit.entry import parse_entry
from audit.errors import StoreDamaged
from crypto.errors import CryptoError
from crypto.merkle import Frontier
from crypto.packed import Packed
from crypto.seal import SECRET_SIZE, open_segments
from crypto.sm3 import sm3
from node.errors import DeliveryInvalid, InternalError
from node.exchange.context import Context, wrap_context
from node.exchange.notes import read_as
from node.exchange.transfers import DeliveryState
from node.model.statements import KeyRelease, Order
from node.ports import Vault

_WAITING = 4  # deliveries that have keys and wait to be opened; more hold up the stream


def kept_context(context: Context, grant_id: bytes, sequence: int) -> bytes:
    """What the keys that a vault keeps of a delivery are bound to: those of an answer that was kept as evidence to the order's note."""
    delivery = context.ledger.requested.delivery(grant_id, sequence)
    order = None if delivery is None or delivery.is_bulk else context.ledger.requested.order(delivery.order_id)
    return wrap_context(grant_id, sequence) if order is None else order.digest


class Opener:
    """Opens an order's deliveries on a worker thread, one after another.

    Attributes:
        verified_count: records opened and hashed so far.
        plaintext_bytes: their length.
    """

    def __init__(self, context: Context, order: Order, vault: Vault) -> None:
        self._context = context
        self._order = order
        self._vault = vault
        self._frontier = Frontier()
        self._queue: asyncio.Queue[DeliveryState | None] = asyncio.Queue(_WAITING)
        self._stopping = False
        self._worker = asyncio.create_task(self._run())
        self.verified_count = 0
        self.plaintext_bytes = 0

    async def put(self, delivery: DeliveryState) -> None:
        """Have a delivery opened whose segments and keys are in the vault. Raises what an earlier one failed with."""
        putting = asyncio.create_task(self._queue.put(delivery))
        await asyncio.wait({putting, self._worker}, return_when=asyncio.FIRST_COMPLETED)
        if self._worker.done():
            putting.cancel()
            self._worker.result()

    async def finish(self) -> tuple[bytes, int]:
        """Wait for everything that was put. Returns the root and the number of records."""
        putting = asyncio.create_task(self._queue.put(None))
        await self._worker
        await putting
        return self._frontier.root(), self._frontier.size

    def raise_failure(self) -> None:
        """Raise what opening failed with, if it has."""
        if self._worker.done():
            self._worker.result()

    async def close(self) -> None:
        """Stop, whatever is left. A delivery that is being opened is finished first."""
        self._stopping = True
        if not self._queue.full():
            self._queue.put_nowait(None)
        # The vault is written on a thread, which no cancellation stops; the next fetch must not meet it there.
        await asyncio.shield(asyncio.gather(self._worker, return_exceptions=True))

    async def _run(self) -> None:
        while (delivery := await self._queue.get()) is not None and not self._stopping:
            await asyncio.to_thread(self._open, delivery)

    def _open(self, delivery: DeliveryState) -> None:
        if delivery.start != self._frontier.size:
            raise InternalError("deliveries are opened in order", start=delivery.start)
        blobs, wrapped = self._vault.segments(delivery.sequence), self._vault.keys(delivery.sequence)
        if blobs is None or wrapped is None:
            raise InternalError("the vault lacks what the log says it has", sequence=delivery.sequence)
        engine = self._context.engine
        try:
            secrets = self._context.unwrap(wrap_context(self._order.grant_id, delivery.sequence), wrapped)
            if len(secrets) != SECRET_SIZE * len(blobs):
                raise DeliveryInvalid("there is not one key for each segment", sequence=delivery.sequence)
            batches, leaf_hashes = open_segments(engine, self._order.dataset_id, secrets, list(blobs))
        except CryptoError as cause:
            self._check_kept(delivery.sequence, blobs)
            raise DeliveryInvalid(f"the keys do not open the delivery: {cause}", sequence=delivery.sequence) from cause
        records = Packed.joined(batches)
        if len(records) != delivery.stop - delivery.start:
            raise DeliveryInvalid("the delivery holds another number of records", sequence=delivery.sequence)
        self._frontier.extend(engine, leaf_hashes)
        self._vault.write_plaintext(delivery.sequence, records, leaf_hashes)
        self.verified_count += len(records)
        self.plaintext_bytes += len(records.data)

    def _check_kept(self, sequence: int, blobs: Sequence[bytes]) -> None:
        """Raise StoreDamaged where the vault no longer holds what was receipted: the provider is not at fault for that."""
        delivery = self._context.ledger.requested.delivery(self._order.grant_id, sequence)
        if delivery is None or delivery.release_index is None:
            raise InternalError("keys were opened that the log does not have", sequence=sequence)
        release = read_as(KeyRelease, parse_entry(self._context.log.entry(delivery.release_index)).note or b"")
        found = (sm3(self._context.engine.sm3_many(Packed.of(blobs))), self._vault.released_digest(sequence))
        if found != (delivery.segments_digest, release.wrapped_digest):
            raise StoreDamaged(f"what is kept of delivery {sequence} is not as it arrived", sequence=sequence)
