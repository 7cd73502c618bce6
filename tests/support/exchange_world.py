"""A world of members in memory: one chain, one clock, nodes that can be killed and started again, and peers that call
each other in this process through the same interfaces as over gRPC.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audit.entry import parse_entry
from audit.guard import HeadFile
from audit.index import terms_of
from audit.verifier import ChainStatement
from crypto.engine import Engine, load_engine
from crypto.errors import EncodingInvalid, Refusal
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from node.errors import ChainUnavailable, PeerUnavailable
from node.exchange.auditing import Auditing
from node.exchange.context import Context, Limits
from node.exchange.granting import Granting, Wish
from node.exchange.ledger import Ledger
from node.exchange.provider import Provider
from node.exchange.publishing import Offer
from node.exchange.requester import Requester
from node.exchange.tracing import Tracing
from node.exchange.witnessing import Witnessing
from node.model.chain import Anchor, KeyEpoch, Member, MemberStatus, Role, SharingType
from node.model.grants import Terms
from node.model.lines import FieldDescription
from node.model.results import FetchProgress
from node.model.transfer import (
    Answer,
    OrderNote,
    QueryAnswer,
    QueryAsked,
    ReceiptNote,
    StreamMessage,
)
from tests.support.memory_chain import MemoryChain, MemoryView, MemoryWriter
from tests.support.memory_stores import (
    Fuse,
    MemoryDatasets,
    MemoryLedgerStore,
    MemoryLog,
    MemoryTree,
    MemoryVault,
    VaultDisk,
)
from tests.support.statements import member_id

START_MS = 1_795_482_123_004
FIELDS = (FieldDescription("no", "编号"), FieldDescription("name"), FieldDescription("age"))


class Clock:
    """Time that moves when a test says so, and by a millisecond whenever it is read."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


class CountingEngine:
    """An engine that counts its calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: defaultdict[str, int] = defaultdict(int)

    def __getattr__(self, name: str) -> object:
        attribute = getattr(self._engine, name)
        if callable(attribute):
            self.calls[name] += 1
        return attribute


class PlainAnswers:
    """A spelling of answers for tests: length-prefixed parts."""

    def encode(self, answer: Answer) -> bytes:
        numbers = answer.index.to_bytes(8, "big") + answer.size.to_bytes(8, "big")
        parts = [answer.leaf_hash, numbers, b"".join(answer.path), answer.record, answer.salt, answer.granted_values]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def decode(self, raw: bytes) -> Answer:
        parts = []
        at = 0
        while at < len(raw):
            length = int.from_bytes(raw[at : at + 4], "big")
            parts.append(raw[at + 4 : at + 4 + length])
            at += 4 + length
        if len(parts) != 6:  # parts of an answer
            raise EncodingInvalid("this is no answer")
        leaf_hash, numbers, path, record, salt, values = parts
        hashes = tuple(path[start : start + 32] for start in range(0, len(path), 32))
        return Answer(
            leaf_hash,
            int.from_bytes(numbers[:8], "big"),
            int.from_bytes(numbers[8:], "big"),
            hashes,
            record,
            salt,
            values,
        )


class Wire:
    """What lies between two nodes. A test may change messages on their way, or cut a stream.

    `cut_after`: messages of a stream, either way, after which it breaks; None: never.
    """

    def __init__(self) -> None:
        self.cut_after: int | None = None
        self.messages = 0
        self.change: Callable[[StreamMessage], StreamMessage] = lambda message: message
        self.change_answer: Callable[[QueryAnswer], QueryAnswer] = lambda answer: answer
        self.lose_answers = 0
        self.on_message: Callable[[object], None] = lambda _message: None

    def carry(self, message: object) -> None:
        """One message passes, or the wire breaks."""
        if self.cut_after is not None and self.messages >= self.cut_after:
            raise PeerUnavailable("the wire is cut")
        self.messages += 1
        self.on_message(message)


class MemoryExchange:
    """A stream between two nodes in one process."""

    def __init__(self, provider: Provider, caller: Member, wire: Wire) -> None:
        self._provider = provider
        self._caller = caller
        self._wire = wire
        self._upwards: asyncio.Queue[OrderNote | ReceiptNote | None] = asyncio.Queue()
        self._downwards: asyncio.Queue[StreamMessage | BaseException | None] = asyncio.Queue(8)
        self._pump = asyncio.create_task(self._run())

    async def send_order(self, order_note: bytes) -> None:
        self._wire.carry(OrderNote(order_note))
        await self._upwards.put(OrderNote(order_note))

    async def send_receipt(self, receipt_note: bytes) -> None:
        self._wire.carry(ReceiptNote(receipt_note))
        await self._upwards.put(ReceiptNote(receipt_note))

    async def messages(self) -> AsyncIterator[StreamMessage]:
        while (message := await self._downwards.get()) is not None:
            if isinstance(message, Refusal):
                raise message
            if isinstance(message, BaseException):
                raise PeerUnavailable(f"the provider died: {message!r}")
            self._wire.carry(message)
            yield self._wire.change(message)

    async def close(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    async def _inbound(self) -> AsyncIterator[OrderNote | ReceiptNote]:
        while (message := await self._upwards.get()) is not None:
            yield message

    async def _run(self) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(self._provider.exchange(self._caller, self._inbound())) as messages:
                async for message in messages:
                    await self._downwards.put(message)
        except Exception as failure:  # noqa: BLE001  # it crosses the wire
            end = failure
        await self._downwards.put(end)


class MemoryPeer:
    """One node as another calls it."""

    def __init__(self, target: Node, caller_id: str, wire: Wire) -> None:
        self._target = target
        self._caller_id = caller_id
        self._wire = wire

    @property
    def _caller(self) -> Member:
        return self._target.world.chain.members_by_id[self._caller_id]

    async def list_datasets(self) -> Sequence[tuple[bytes, bytes, bytes]]:
        listed = await self._target.provider.list_datasets(self._caller)
        return [(dataset.dataset_id, dataset.description_note, dataset.version_note) for dataset in listed]

    async def submit_request(self, request_note: bytes) -> None:
        await self._target.provider.submit_request(self._caller, request_note)

    async def decision(self, grant_id: bytes) -> bytes:
        return await self._target.provider.decision(self._caller, grant_id)

    def exchange(self) -> MemoryExchange:
        return MemoryExchange(self._target.provider, self._caller, self._wire)

    async def query(self, asked: QueryAsked) -> QueryAnswer:
        self._wire.carry(asked)
        try:
            answer = await self._target.provider.query(self._caller, asked)
        except Refusal:
            raise
        except Exception as failure:
            raise PeerUnavailable(f"the provider died: {failure!r}") from failure
        if self._wire.lose_answers:
            self._wire.lose_answers -= 1
            raise PeerUnavailable("the answer was lost")
        return self._wire.change_answer(answer)

    async def submit_receipts(self, receipt_notes: Sequence[bytes]) -> None:
        self._wire.carry(tuple(receipt_notes))
        await self._target.provider.submit_receipts(self._caller, receipt_notes)

    async def list_entries(self, subject: str) -> tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]:
        return await self._target.auditing.entries(self._caller, subject)

    async def evidence(self, index: int) -> bytes:
        return await self._target.auditing.evidence(self._caller, index)

    async def consistency(self, old_size: int, new_size: int) -> Sequence[bytes]:
        return await self._target.auditing.consistency(self._caller, old_size, new_size)

    async def range_file(self, first: int, count: int, *, anchored: bool) -> bytes:
        return await self._target.auditing.range_file(self._caller, first, count, anchored=anchored)

    async def cosign(self, checkpoint_note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        return await self._target.witnessing.cosign(self._caller, checkpoint_note, old_size, path)

    async def state_finality(self, chain_id: int, number: int, block_hash: bytes) -> bytes:
        return await self._target.auditing.finality.state(self._caller, chain_id, number, block_hash)


class MemoryPeers:
    """Everybody, as one member reaches them."""

    def __init__(self, world: World, caller_id: str) -> None:
        self._world = world
        self._caller_id = caller_id

    def peer(self, member_id: str) -> MemoryPeer:
        return MemoryPeer(self._world.nodes[member_id], self._caller_id, self._world.wire)


class MemoryIndex:
    """Looks through all entries."""

    def __init__(self, entries: list[bytes]) -> None:
        self._entries = entries

    def about(self, term: str, start: int = 0, limit: int | None = None) -> list[int]:
        terms = [terms_of(parse_entry(raw)) for raw in self._entries]
        return [at for at, found in enumerate(terms) if at >= start and term in found][:limit]


class NoProofs:
    """A chain without blocks has no headers to prove anything with."""

    chain_id = 1337

    def final_hash(self, number: int) -> bytes | None:
        raise ChainUnavailable(f"the chain in memory keeps no block {number}")

    def mined_size(self, member_id: str, log_id: bytes) -> int:
        raise ChainUnavailable(
            f"the chain in memory has no contract that could be asked for {member_id}'s {log_id.hex()}"
        )

    def receipt_proof(self, anchor: Anchor) -> ChainStatement:
        raise ChainUnavailable(f"the chain in memory keeps no block {anchor.block.number}")


class MemoryDecidedHead:
    """What a process that was killed leaves behind of the head that it was anchoring."""

    def __init__(self) -> None:
        self._note: bytes | None = None
        self.step: Callable[[str, Callable[[], None]], None] = lambda _, act: act()

    def keep(self, note: bytes) -> None:
        self.step("decided head", lambda: setattr(self, "_note", note))

    def read(self) -> bytes | None:
        return self._note


@dataclass(frozen=True)
class HeldKeys:
    """The port Keys, of keys that never change."""

    signer: HeldKey
    decrypters: tuple[HeldKey, ...]


class Node:
    """One member's node: a disk that stays, and a process that can be killed."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.member_id = member_id(number)
        self.signing_key = SM2PrivateKey.generate(os.urandom)
        self.encryption_key = SM2PrivateKey.generate(os.urandom)
        self.entries: list[bytes] = []
        self.heads: list[tuple[int, bytes]] = []
        self.decided_head = MemoryDecidedHead()
        self.witnessed = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.witnessed, ignore_errors=True)
        self.datasets = MemoryDatasets(world.plain_engine)
        self.vault_disks: defaultdict[bytes, VaultDisk] = defaultdict(VaultDisk)
        self.limits = Limits(delivery_segments=2, receipt_timeout_seconds=20)
        self.start()

    def start(self, fuse: Fuse | None = None) -> None:
        """A new process on the same disk; the ledger is made from the log alone."""
        self.fuse = fuse or Fuse()
        self.engine = CountingEngine(self.world.plain_engine)
        self.log = MemoryLog(self.entries, self.fuse)
        self.datasets.step = self.fuse.step
        self.decided_head.step = self.fuse.step
        self.ledger = Ledger(MemoryLedgerStore())
        self.ledger.replay(self.log)
        self.log.on_commit = self.ledger.apply
        self.context = Context(
            member_id=self.member_id,
            keys=HeldKeys(
                HeldKey(self.engine, self.signing_key),  # type: ignore[arg-type]  # likewise
                (HeldKey(self.engine, self.encryption_key),),  # type: ignore[arg-type]  # likewise
            ),
            engine=self.engine,  # type: ignore[arg-type]  # it is whatever the engine is, and counts
            clock=self.world.clock,
            random=os.urandom,
            view=MemoryView(self.world.chain),
            writer=MemoryWriter(self.world.chain, self.member_id, self.fuse.step),
            log=self.log,
            tree=MemoryTree(self.entries, self.world.plain_engine),
            index=MemoryIndex(self.entries),
            ledger=self.ledger,
            datasets=self.datasets,
            peers=MemoryPeers(self.world, self.member_id),
            vaults=lambda grant_id: MemoryVault(self.vault_disks[grant_id], self.fuse),
            answers=PlainAnswers(),
            keep_head=self._keep_head,
            decided_head=self.decided_head,
            limits=self.limits,
        )
        self.provider = Provider(self.context)
        self.requester = Requester(self.context)
        self.granting = Granting(self.context)
        self.auditing = Auditing(self.context, NoProofs())
        self.tracing = Tracing(self.context, self.auditing, NoProofs())
        self.witnessing = Witnessing(self.context, lambda member_id: HeadFile(self.witnessed / member_id))

    def _keep_head(self, note: bytes, size: int) -> None:
        self.fuse.step("head", lambda: self.heads.append((size, note)))

    def limit(self, **changes: Any) -> None:  # noqa: ANN401  # any of the limits
        """Start again under other limits."""
        self.limits = replace(self.limits, **changes)
        self.start()

    @property
    def member(self) -> Member:
        """As the chain has it."""
        return self.world.chain.members_by_id[self.member_id]

    def events(self) -> list[str]:
        """Events of the log, with the reason behind a colon where refused."""
        found = []
        for entry in self.entries:
            lines = entry.decode().split("\n")
            outcome = lines[3].removeprefix("outcome ")
            found.append(lines[2].removeprefix("event ") + ("" if outcome == "ok" else ":" + outcome.split(" ")[1]))
        return found


class World:
    """Everything."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.chain = MemoryChain(self.clock)
        self.wire = Wire()
        self.plain_engine = load_engine()
        self.nodes: dict[str, Node] = {}

    def add(self, number: int, roles: Role = Role.DEPARTMENT) -> Node:
        """Admit a member and start its node."""
        node = Node(self, number)
        epoch = KeyEpoch(
            1,
            node.signing_key.public_key,
            node.encryption_key.public_key,
            f"0x{number:040x}",
            b"certificate of " + node.member_id.encode(),
            f"node{number}:1",
            1,
            START_MS // 1000,
        )
        self.chain.members_by_id[node.member_id] = Member(
            node.member_id, f"部门{number}", roles, MemberStatus.ACTIVE, (epoch,)
        )
        self.nodes[node.member_id] = node
        return node


def make_records(count: int, start: int = 0) -> list[bytes]:
    """Records of (no, name, age); the key of record i is "k<i>"."""
    return [f'["k{index}","name {index}",{index % 90}]'.encode() for index in range(start, start + count)]


async def batches_of(records: list[bytes], size: int = 7) -> AsyncIterator[Packed]:
    """Records as a caller pushes them."""
    for at in range(0, len(records), size):
        yield Packed.of(records[at : at + size])


async def publish(node: Node, dataset_id: bytes, records: list[bytes]) -> bytes:
    """Publish records; gives the version note."""
    note = b""
    async for progress in node.granting.publish(dataset_id, batches_of(records)):
        note = progress.version_note
    return note


async def make_grant(  # a grant's terms, each with a default
    world: World,
    provider: Node,
    requester: Node,
    *,
    records: int = 40,
    fields: tuple[str, ...] = (),
    quota: int = 1000,
    seconds: int = 3600,
) -> bytes:
    """A dataset of that many records, and an approved grant for it; gives the grant's id."""
    offer = Offer("people", "People of the city", FIELDS, "no", 2, SharingType.CONDITIONAL)
    dataset_id = await provider.granting.describe_dataset(offer)
    if provider.datasets.held[dataset_id].size == 0 and records:
        await publish(provider, dataset_id, make_records(records))
    expiry = world.clock.now_ms // 1000 + seconds
    grant_id, _ = await requester.granting.request(Wish(dataset_id, fields, "to test", expiry, quota))
    await provider.granting.decide(grant_id, approve=True, reason="", wanted=Terms((), 0, 0))
    return grant_id


async def fetch(node: Node, grant_id: bytes) -> FetchProgress:
    """Fetch to the end; gives the last progress."""
    async with aclosing(node.requester.fetch(grant_id)) as steps:
        last = None
        async for progress in steps:
            last = progress
    assert last is not None
    return last
