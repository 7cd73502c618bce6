"""Verify an evidence file offline: opens no file, no socket and no store, and needs no record.

Each link of the chain of proof is judged by itself, so that a finding can be explained: what it says, whether it holds, and what that rests
on: arithmetic, the auditor's own knowledge, or the file's word alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from audit.anchor_event import anchor_events
from audit.checkpoint import Checkpoint, log_id, open_checkpoint
from audit.entry import Entry, parse_entry
from audit.evidence import Evidence, KeyStatement, parse_evidence
from audit.receipt_proof import block_hash, receipts_root, verify_receipt_proof
from crypto.engine import Engine
from crypto.errors import CryptoError, ProofInvalid, Refusal, SignatureInvalid
from crypto.merkle import SM3_TREE, verify_inclusion
from crypto.notes import NoteKey, open_note
from crypto.sm2 import SM2PublicKey
from crypto.sm3 import sm3

ARITHMETIC = "arithmetic"
AUDITOR = "the auditor's own knowledge"
FILE = "the file's word"


@dataclass(frozen=True)
class TrustRoot:
    """What the auditor knows from elsewhere. Empty: the report says what it had to take from the file.

    Attributes:
        keys: SM2 public keys (65 bytes) by member id.
        blocks: hashes of blocks known to be final.
        contracts: addresses (20 bytes) of the consortium's Anchors contract.
    """

    keys: dict[str, frozenset[bytes]] = field(default_factory=dict)
    blocks: frozenset[bytes] = frozenset()
    contracts: frozenset[bytes] = frozenset()


@dataclass(frozen=True)
class Link:
    """One link: its name, whether it holds, what it says or why it does not hold, and what that rests on."""

    name: str
    holds: bool
    says: str
    rests_on: str


@dataclass(frozen=True)
class EvidenceReport:
    """The verdict over one file."""

    entry: Entry | None
    links: tuple[Link, ...]

    @property
    def holds(self) -> bool:
        """Whether every link holds."""
        return all(link.holds for link in self.links)


def verify_evidence(engine: Engine, raw: bytes, trust: TrustRoot) -> EvidenceReport:
    """Judge every link. Raises EvidenceMalformed if the file is not in its one spelling; nothing else."""
    return _Judge(engine, parse_evidence(raw), trust).report()


class _Judge:
    def __init__(self, engine: Engine, evidence: Evidence, trust: TrustRoot) -> None:
        self._engine = engine
        self._evidence = evidence
        self._trust = trust
        self._entry: Entry | None = None
        self._checkpoint: Checkpoint | None = None

    def report(self) -> EvidenceReport:
        steps: list[tuple[str, Callable[[], tuple[str, str]]]] = [
            ("entry", self._read_entry),
            ("statement", self._check_statement),
            ("checkpoint", self._check_checkpoint),
            ("inclusion", self._check_inclusion),
            ("anchor", self._check_anchor),
            ("block", self._check_block),
            ("keys", self._check_keys),
        ]
        return EvidenceReport(links=tuple(_judged(name, step) for name, step in steps), entry=self._entry)

    def _read_entry(self) -> tuple[str, str]:
        self._entry = entry = parse_entry(self._evidence.entry)
        outcome = "done" if entry.refusal is None else f"refused, {entry.refusal}"
        return f"{entry.event} of {entry.actor} about {entry.subject}: {outcome}", ARITHMETIC

    def _check_statement(self) -> tuple[str, str]:
        entry = self._entry
        if entry is None:
            raise ProofInvalid("there is no entry to check")
        if entry.note is None:
            return "the entry carries no statement of its own", ARITHMETIC
        opened = open_note(self._engine, entry.note, self._note_keys())
        names = ", ".join(sorted({signer.name for signer in opened.signers}))
        kind = opened.text.split("\n", 1)[0]
        return f"the statement {kind} is signed by {names}", self._key_trust(names.split(", "))

    def _check_checkpoint(self) -> tuple[str, str]:
        self._checkpoint = checkpoint = open_checkpoint(self._engine, self._evidence.checkpoint, self._note_keys())
        return (
            f"{checkpoint.member_id} signed the head of its log at {checkpoint.size} entries",
            self._key_trust([checkpoint.member_id]),
        )

    def _check_inclusion(self) -> tuple[str, str]:
        checkpoint, evidence = self._needed(), self._evidence
        leaf = SM3_TREE.leaf(evidence.entry)
        verify_inclusion(SM3_TREE, leaf, evidence.index, checkpoint.size, evidence.path, checkpoint.root)
        return f"the entry stands at index {evidence.index} under that head", ARITHMETIC

    def _check_anchor(self) -> tuple[str, str]:
        checkpoint, chain = self._needed(), self._evidence.chain
        receipt = verify_receipt_proof(receipts_root(chain.header), chain.receipt_index, chain.receipt_path)
        digest = sm3(self._evidence.checkpoint)
        for event in anchor_events(receipt):
            stated = (event.contract, event.log_id, event.member_id, event.size, event.root, event.note_digest)
            if stated == (
                chain.contract,
                log_id(checkpoint.origin),
                checkpoint.member_id,
                checkpoint.size,
                checkpoint.root,
                digest,
            ):
                rests = AUDITOR if chain.contract in self._trust.contracts else FILE
                return f"contract {chain.contract.hex()} on chain {chain.chain_id} anchored exactly that head", rests
        raise ProofInvalid("the receipt holds no event that anchors this head")

    def _check_block(self) -> tuple[str, str]:
        chain = self._evidence.chain
        digest = block_hash(chain.header)
        if digest in self._trust.blocks:
            return f"block {chain.block_number}, {digest.hex()}, is one that the auditor knows", AUDITOR
        if self._trust.blocks:
            raise ProofInvalid(f"block {digest.hex()} is none of those that the auditor knows")
        return f"the anchor stands in the block with the hash {digest.hex()}; compare it with the chain", FILE

    def _check_keys(self) -> tuple[str, str]:
        checkpoint, entry = self._needed(), self._entry
        signed = {checkpoint.member_id: checkpoint.time_ms}
        if entry is not None and entry.note is not None:
            for signer in open_note(self._engine, entry.note, self._note_keys()).signers:
                signed.setdefault(signer.name, entry.time_ms)
        for key in self._evidence.keys:
            since = key.compromised_since
            if since is not None and signed.get(key.member_id, -1) >= 1_000 * since:
                raise SignatureInvalid(f"the key of {key.member_id}, epoch {key.epoch}, was compromised by then")
            self._check_known(key)
        return "no key used was declared compromised when it signed", self._key_trust(list(signed))

    def _check_known(self, key: KeyStatement) -> None:
        known = self._trust.keys.get(key.member_id)
        if known is not None and key.public_key not in known:
            raise SignatureInvalid(f"the auditor knows other keys of {key.member_id}")

    def _note_keys(self) -> list[NoteKey]:
        return [NoteKey(key.member_id, SM2PublicKey(key.public_key)) for key in self._evidence.keys]

    def _key_trust(self, members: Sequence[str]) -> str:
        return AUDITOR if all(member in self._trust.keys for member in members) else FILE

    def _needed(self) -> Checkpoint:
        if self._checkpoint is None:
            raise ProofInvalid("there is no valid checkpoint to lead to")
        return self._checkpoint


def _judged(name: str, step: Callable[[], tuple[str, str]]) -> Link:
    try:
        says, rests_on = step()
    except (CryptoError, Refusal) as refusal:
        return Link(name, holds=False, says=str(refusal), rests_on=ARITHMETIC)
    return Link(name, holds=True, says=says, rests_on=rests_on)
