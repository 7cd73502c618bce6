"""True evidence and range files: a log on disk, SM2 keys, and blocks encoded with Ethereum's own libraries.

Everything is drawn with a seed, signatures too, so that a file that shows a defect can be had again. Tests change one thing of what is
true here; nothing in this module knows how the verifier works.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rlp
from eth_hash.auto import keccak

from audit.checkpoint import Checkpoint, log_id, sign_checkpoint
from audit.cosignature import cosign, with_lines
from audit.entry import Entry
from audit.log import AuditLog
from audit.receipt_proof import build_receipt_proof
from audit.verifier import (
    Anchored,
    ChainStatement,
    EntryRange,
    Evidence,
    KeyStatement,
    KnownKey,
    Proof,
    Trust,
)
from crypto.engine import load_engine
from crypto.engines import open_engine
from crypto.notes import cosign_note, parse_note, sign_note
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from tests.support.statements import member_id

SINCE = 1_790_000_000  # Unix s, when every key came into force
BLOCK_TIME = 1_795_400_000  # Unix s
HEAD_MS = 1000 * (BLOCK_TIME - 60)
COUNTY, CITY = "weifang-county", "weifang-city"
CONTRACTS = {COUNTY: b"\xa1" * 20, CITY: b"\xc1" * 20}
CHAIN_IDS = {COUNTY: 20_260, CITY: 20_261}
ANCHORED = keccak(b"Anchored(bytes32,bytes32,uint64,bytes32,bytes32)")
GRANT, ORDER = "9b" * 32, "51" * 16

Receipt = bytes


@dataclass(frozen=True)
class Department:
    """A member with its one signing key."""

    name: str
    key: SM2PrivateKey

    @property
    def public(self) -> bytes:
        """65 bytes."""
        return self.key.public_key.to_bytes()

    def stated(self, **changes: Any) -> KeyStatement:  # noqa: ANN401 - any field of a statement
        """The key as a file states it."""
        return replace(KeyStatement(self.name, 1, self.public, SINCE, None), **changes)


@dataclass(frozen=True)
class Block:
    """A raw header, and the receipts under it."""

    header: bytes
    receipts: tuple[Receipt, ...]

    @property
    def hash(self) -> bytes:
        """As the chain names it."""
        return bytes(keccak(self.header))

    def path(self, index: int) -> tuple[bytes, ...]:
        """The nodes that lead to a receipt."""
        return tuple(build_receipt_proof(self.receipts, index))


def statement(kind: str, **lines: str) -> str:
    """A statement's text; what of a real one no verifier looks at is left out."""
    return "".join([f"kiteline/{kind}/v1\n", *(f"{name.replace('_', '-')} {value}\n" for name, value in lines.items())])


def anchor_log(contract: bytes, head: Checkpoint, note: bytes) -> list[Any]:
    """The event of the contract Anchors, as a receipt has it."""
    data = head.size.to_bytes(32, "big") + head.root + sm3(note)
    return [contract, [ANCHORED, log_id(head.origin), head.member_id.encode().ljust(32, b"\0")], data]


def other_log(number: int) -> list[Any]:
    """Some other contract's event."""
    return [bytes([number]) * 20, [bytes([number]) * 32], bytes([number]) * (31 * number % 70)]


def encode_receipt(logs: Sequence[Any], *, status: bytes = b"\1", kind: int = 0, gas: int = 21_000) -> Receipt:
    """A receipt in consensus encoding (EIP-658, EIP-2718); kind 0 is the legacy one."""
    body: bytes = rlp.encode([status, gas, bytes(256), list(logs)])
    return (bytes([kind]) if kind else b"") + body


def make_block(receipts: Sequence[Receipt], number: int = 77, time: int = BLOCK_TIME, extra_fields: int = 1) -> Block:
    """A block over these receipts. London's header has one field after the first fifteen."""
    root = keccak(build_receipt_proof(receipts, 0)[0])
    fields: list[Any] = [bytes([place]) * 32 for place in range(15 + extra_fields)]
    fields[5], fields[8], fields[9], fields[10], fields[11] = root, number, 30_000_000, 21_000, time
    return Block(rlp.encode(fields), tuple(receipts))


class World:
    """One department's log of `size` entries, those who write to it, and the networks that have its heads."""

    def __init__(self, directory: Path, size: int = 21, owner: SM2PrivateKey | None = None) -> None:
        draw = random.Random(32918)
        self.signer = open_engine("gmssl", draw.randbytes)  # the one engine whose signatures can be had again
        people = [Department(member_id(number), SM2PrivateKey.generate(draw.randbytes)) for number in range(1, 6)]
        people[0] = people[0] if owner is None else replace(people[0], key=owner)
        self.owner, self.requester, self.stranger, *self.witnesses = people
        self.everyone = people
        self.origin = f"kiteline/{self.owner.name}/audit/SM3"
        self.entries = [entry.to_bytes() for entry in self.steps(size)]
        self.log = AuditLog.create(directory / "log", self.origin, load_engine(), map_bytes=64 << 20)
        self.log.append_many(Packed.of(self.entries))
        self.tree = self.log.tree
        self.blocks: set[bytes] = set()
        self._proofs: dict[int, Proof] = {}

    def note(self, text: str, author: Department) -> bytes:
        """A signed note."""
        return sign_note(text, author.name, HeldKey(self.signer, author.key))

    def steps(self, size: int) -> Iterator[Entry]:
        """A life of a grant, then plain entries up to the size."""
        mine, other = self.owner.name, self.requester.name
        about = f"grant:{GRANT}"
        request = self.note(statement("request", grant=GRANT, requester=other, provider=mine), self.requester)
        decision = self.note(statement("decision", grant=GRANT, outcome="approved"), self.owner)
        order = self.note(statement("order", order=ORDER, requester=other, provider=mine), self.requester)
        delivery = self.note(statement("delivery", grant=GRANT, provider=mine, requester=other), self.owner)
        receipt = self.note(statement("receipt", grant=GRANT, sequence="1", requester=other), self.requester)
        release = self.note(statement("key-release", grant=GRANT, provider=mine), self.owner)
        # Refused, because it names another as its author than the one who signed and sent it.
        foreign = self.note(statement("receipt", grant=GRANT, sequence="2", requester=other), self.stranger)
        head = sign_checkpoint(Checkpoint(self.origin, 4, b"\4" * 32, HEAD_MS), HeldKey(self.signer, self.owner.key))
        cosigned = self.cosigned(head, self.witnesses[0])
        dataset = f"kiteline/{mine}/dataset/{'da' * 32}/SM3"
        version = sign_checkpoint(Checkpoint(dataset, 9, b"\5" * 32, HEAD_MS), HeldKey(self.signer, self.owner.key))
        theirs = f"kiteline/{self.stranger.name}/audit/SM3"
        seen = sign_checkpoint(Checkpoint(theirs, 5, b"\6" * 32, HEAD_MS), HeldKey(self.signer, self.stranger.key))
        steps: list[tuple[str, str, str, str | None, str | None, bytes | None]] = [
            ("NODE_STARTED", mine, f"member:{mine}", None, None, None),
            ("REQUEST_RECEIVED", other, about, None, None, request),
            ("DECISION_MADE", mine, about, None, None, decision),
            ("ORDER_RECEIVED", other, about, None, "一次下单 0-4096", order),
            ("DELIVERY_SENT", mine, about, None, None, delivery),
            ("RECEIPT_RECEIVED", other, about, None, None, receipt),
            ("KEYS_RELEASED", mine, about, None, None, release),
            ("TRANSFER_COMPLETED", mine, about, None, None, order),
            ("RECEIPT_RECEIVED", self.stranger.name, about, "RECEIPT_INVALID", None, foreign),
            ("CHECKPOINT_ANCHORED", mine, f"member:{mine}", None, None, cosigned),
            ("VERSION_PUBLISHED", mine, f"dataset:{'da' * 32}", None, None, version),
            ("CHECKPOINT_COSIGNED", self.stranger.name, f"member:{self.stranger.name}", None, "size 5", seen),
            ("ACCESS_REFUSED", "-", "-", "NOT_A_MEMBER", None, None),
        ]
        steps += [("AUDIT_READ", mine, f"member:{mine}", None, f"read {at}", None) for at in range(len(steps), size)]
        for at, (event, actor, subject, refusal, detail, note) in enumerate(steps[:size]):
            yield Entry(HEAD_MS - 1000 * size + 1000 * at, event, actor, subject, refusal, detail, note)

    # Heads.

    def head(self, size: int, time_ms: int = HEAD_MS) -> bytes:
        """The signed head at a size."""
        return sign_checkpoint(
            Checkpoint(self.origin, size, self.tree.root_at(size), time_ms), HeldKey(self.signer, self.owner.key)
        )

    def cosigned(self, note: bytes, *witnesses: Department, time: int = BLOCK_TIME - 30) -> bytes:
        """The note with witnesses' lines."""
        text = parse_note(note).text
        return with_lines(note, [cosign(text, one.name, HeldKey(self.signer, one.key), time) for one in witnesses])

    def signed_again(self, note: bytes, by: Department) -> bytes:
        """The note with one more ordinary signature."""
        return cosign_note(note, by.name, HeldKey(self.signer, by.key))

    # Anchors.

    def anchored(
        self,
        note: bytes,
        size: int,
        *,
        head: int | None = None,
        network: str = COUNTY,
        receipts: int = 5,
        place: int = 2,
        kind: int = 2,
        status: bytes = b"\1",
        time: int = BLOCK_TIME,
        number: int = 77,
        is_known: bool = True,
    ) -> Anchored:
        """A network's section: the note anchored in the transaction at `place` of a block of so many.

        Args:
            note: the anchored note, of `size` entries.
            size: as above.
            head: the size of the file's own checkpoint, if that is another one.
            network: COUNTY or CITY.
            receipts: in the block.
            place: of the transaction that anchors.
            kind: of that transaction, 0 for a legacy one.
            status: of that transaction.
            time: of the block, Unix s.
            number: of the block.
            is_known: whether `trust` knows the block.
        """
        stated = Checkpoint(self.origin, size, self.tree.root_at(size), 0)
        logs = [other_log(3), anchor_log(CONTRACTS[network], stated, note), other_log(4)]
        others = [encode_receipt([other_log(at % 200)], kind=(0, 1, 2)[at % 3]) for at in range(receipts)]
        others[place] = encode_receipt(logs, kind=kind, status=status)
        return self.in_block(
            note, make_block(others, number, time), place, size, head or size, network, is_known=is_known
        )

    def in_block(
        self,
        note: bytes,
        block: Block,
        place: int,
        size: int,
        head: int,
        network: str = COUNTY,
        *,
        number: int | None = None,
        is_known: bool = True,
    ) -> Anchored:
        """The section of a block that was made already."""
        if is_known:
            self.blocks.add(block.hash)
        path = () if head == size else tuple(self.tree.consistency(min(head, size), max(head, size)))
        stated = int.from_bytes(rlp.decode(block.header)[8], "big") if number is None else number
        chain = ChainStatement(
            network, CHAIN_IDS[network], CONTRACTS[network], stated, block.header, place, block.path(place)
        )
        return Anchored(note, path, chain)

    # Files.

    def proof(self, note: bytes, *anchored: Anchored, keys: Sequence[KeyStatement] | None = None) -> Proof:
        """What both formats end in; without `keys` everyone's is stated."""
        return Proof(note, anchored, tuple(one.stated() for one in self.everyone) if keys is None else tuple(keys))

    def evidence(self, index: int, size: int, proof: Proof) -> Evidence:
        """One entry under the head at `size`, which the proof's checkpoint is."""
        return Evidence(index, self.entries[index], tuple(self.tree.inclusion(index, size)), proof)

    def range(self, first: int, stop: int, size: int, proof: Proof) -> EntryRange:
        """The entries of an interval under the head at `size`."""
        left, right = self.tree.subtrees(0, first), self.tree.subtrees(stop, size)
        return EntryRange(first, tuple(self.entries[first:stop]), tuple(left), tuple(right), proof)

    def true_proof(self, size: int) -> Proof:
        """A head that two witnesses cosigned and both networks have: the county that very one, the city a younger one. The same
        whenever it is asked for.
        """
        if size not in self._proofs:
            note = self.cosigned(self.head(size), *self.witnesses)
            anchors = [self.anchored(note, size)]
            newest = len(self.entries)
            if size < newest:
                younger = self.head(newest, HEAD_MS + 1)
                city = self.anchored(younger, newest, head=size, network=CITY, number=8, time=BLOCK_TIME + 9)
                anchors.append(city)
            self._proofs[size] = self.proof(note, *anchors)
        return self._proofs[size]

    def true_evidence(self, index: int = 5, size: int = 19) -> Evidence:
        """An entry under that head."""
        return self.evidence(index, size, self.true_proof(size))

    def true_range(self, first: int = 3, stop: int = 14, size: int = 19) -> EntryRange:
        """The same for an interval."""
        return self.range(first, stop, size, self.true_proof(size))

    def trust(self, **changes: Any) -> Trust:  # noqa: ANN401 - any field of what is known
        """An auditor who knows every key, every block that was made so far, both contracts, and wants both witnesses."""
        known: dict[str, tuple[KnownKey, ...]] = {one.name: (KnownKey(one.public, SINCE),) for one in self.everyone}
        held = Trust(
            known,
            frozenset(self.blocks),
            frozenset(CONTRACTS.values()),
            frozenset(one.name for one in self.witnesses),
            len(self.witnesses),
        )
        return replace(held, **changes)


@contextmanager
def opened_world(directory: Path, owner: SM2PrivateKey | None = None) -> Iterator[World]:
    """A world whose log is closed in the end."""
    world = World(directory, owner=owner)
    try:
        yield world
    finally:
        world.log.close()
