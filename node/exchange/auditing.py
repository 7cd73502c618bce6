"""What others may read of this node's log: auditors everything, a side of a grant what is about it. Reading is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from audit.checkpoint import log_id
from audit.entry import parse_entry
from audit.verifier import MAX_ANCHORS, Anchored, EntryRange, Evidence, KeyStatement, Proof
from crypto.errors import EncodingInvalid, Refusal
from crypto.notes import parse_note
from node.errors import ChainMismatch, ChainUnavailable, EntryUnknown, NotAnAuditor, NotAnchored, RangeInvalid
from node.exchange.context import Context, audit_origin
from node.exchange.finality import Finality
from node.exchange.heads import signed_head
from node.exchange.journal import Step
from node.model.chain import Anchor, Member, Role
from node.model.events import Event, check_subject, member_subject
from node.ports import ChainProofs, ChainView

MAX_RANGE_ENTRIES = 65_536
MAX_RANGE_BYTES = 16 << 20  # of entries in one range file


class Auditing:
    """Reads this node's log for a caller that the transport has identified. `finality`: of the blocks that evidence names."""

    def __init__(self, context: Context, proofs: ChainProofs) -> None:
        self._context = context
        self._proofs = proofs
        self.finality = Finality(context, (proofs, *(network.proofs for network in context.anchor_networks)))
        self._log_id = log_id(audit_origin(context.member_id))

    async def checkpoint(self, caller: Member) -> tuple[bytes, bytes]:
        """The head signed now, and the newest anchored checkpoint, empty if there is none."""
        await self._admit(caller, member_subject(self._context.member_id))
        note, _ = await signed_head(self._context)
        newest = self._anchored()
        return note, newest[-1][1] if newest else b""

    async def entries(self, caller: Member, subject: str) -> tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]:
        """A checkpoint note, and (index, entry, inclusion path under it) of each entry about a subject."""
        await self._admit(caller, check_subject(subject))
        note, head = await signed_head(self._context)
        return note, await asyncio.to_thread(self._entries, subject, head.size)

    async def consistency(self, caller: Member, old_size: int, new_size: int) -> Sequence[bytes]:
        """The consistency path between two sizes, for any active member: it tells hashes, and whether the log was forked is everybody's
        business. Raises RangeInvalid.
        """
        await self._admit(caller, member_subject(self._context.member_id), to_all=True)
        try:
            return await asyncio.to_thread(self._context.tree.consistency, old_size, new_size)
        except EncodingInvalid as cause:
            raise RangeInvalid(str(cause)) from cause

    async def evidence(self, caller: Member, index: int) -> bytes:
        """The evidence file of an entry. Raises EntryUnknown, NotAnchored, ChainUnavailable."""
        context = self._context
        await self._admit(caller, member_subject(context.member_id))
        if not 0 <= index < context.tree.size:
            raise EntryUnknown(f"the log has {context.tree.size} entries")
        found = self._covering(index + 1)
        if found is None:
            raise NotAnchored("no checkpoint that covers the entry is on the chain yet")
        anchor, note = found
        anchored = await self._everywhere(anchor, note, index + 1)
        raw = await asyncio.to_thread(context.log.entry, index)
        return Evidence(
            index=index,
            entry=raw,
            path=tuple(context.tree.inclusion(index, anchor.size)),
            proof=Proof(note, anchored, tuple(self._keys({*_signers(raw)}, note, anchored))),
        ).to_bytes()

    async def range_file(self, caller: Member, first: int, count: int, *, anchored: bool) -> bytes:
        """The range file of up to `count` entries from `first` on. Raises RangeInvalid, NotAnchored, ChainUnavailable."""
        context = self._context
        await self._admit(caller, member_subject(context.member_id))
        if not 0 <= first < context.tree.size:
            raise RangeInvalid(f"the log has {context.tree.size} entries, and none at {first}")
        stop = min(first + min(count or MAX_RANGE_ENTRIES, MAX_RANGE_ENTRIES), context.tree.size)
        if not anchored:
            note, head = await signed_head(context)
            return await asyncio.to_thread(self._range, first, stop, head.size, note, ())
        found = self._covering(first + 1)
        if found is None:
            raise NotAnchored("no checkpoint that covers the first entry is on the chain yet")
        anchor, note = self._covering(stop) or self._anchored()[-1]
        stop = min(stop, anchor.size)
        anchored_at = await self._everywhere(anchor, note, stop)
        return await asyncio.to_thread(self._range, first, stop, anchor.size, note, anchored_at)

    def _range(self, first: int, stop: int, size: int, note: bytes, anchored: tuple[Anchored, ...]) -> bytes:
        context, total = self._context, 0
        entries: list[bytes] = []
        for raw in context.log.entries(first, stop):
            total += len(raw)
            if entries and total > MAX_RANGE_BYTES:
                break
            entries.append(raw)
        stop = first + len(entries)
        signers = {name for raw in entries for name in _signers(raw)}
        return EntryRange(
            first=first,
            entries=tuple(entries),
            left=tuple(context.tree.subtrees(0, first)),
            right=tuple(context.tree.subtrees(stop, size)),
            proof=Proof(note, anchored, tuple(self._keys(signers, note, anchored))),
        ).to_bytes()

    def _entries(self, subject: str, size: int) -> list[tuple[int, bytes, list[bytes]]]:
        context = self._context
        indices = [index for index in context.index.about(subject) if index < size]
        return [(index, context.log.entry(index), context.tree.inclusion(index, size)) for index in indices]

    async def _everywhere(self, anchor: Anchor, note: bytes, size: int) -> tuple[Anchored, ...]:
        """The networks that have a head of at least `size` entries: the first one the head itself, others that or another. A network
        that does not answer is left out, but for the first. Raises ChainUnavailable.
        """
        statement = await asyncio.to_thread(self._proofs.receipt_proof, anchor)
        found = [Anchored(note, (), statement, await self.finality.collect(statement))]
        for network in self._context.anchor_networks[: MAX_ANCHORS - 1]:
            other = self._covering(size, network.view)
            if other is None:
                continue
            path: Sequence[bytes] = ()
            if other[0].size != anchor.size:
                sizes = sorted((other[0].size, anchor.size))
                path = await asyncio.to_thread(self._context.tree.consistency, *sizes)
            with suppress(ChainUnavailable, ChainMismatch):
                statement = await asyncio.to_thread(network.proofs.receipt_proof, other[0])
                found.append(Anchored(other[1], tuple(path), statement, await self.finality.collect(statement)))
        return tuple(found)

    def _covering(self, size: int, view: ChainView | None = None) -> tuple[Anchor, bytes] | None:
        """The oldest anchor of at least `size` entries: the earlier the block, the more it proves about a key's time."""
        return next((found for found in self._anchored(view) if found[0].size >= size), None)

    def _anchored(self, view: ChainView | None = None) -> list[tuple[Anchor, bytes]]:
        """Anchors whose checkpoint this node can show, oldest first; on the first network, or another one."""
        shown = []
        for anchor in (view or self._context.view).anchors(self._context.member_id, self._log_id):
            note = self._context.ledger.checkpoint(anchor.note_digest)
            if note is not None:
                shown.append((anchor, note))
        return shown

    def _keys(self, signers: set[str], note: bytes, anchored: Sequence[Anchored]) -> list[KeyStatement]:
        """Every key of these members, and of those under the heads: this one, and its witnesses."""
        notes = [note, *(one.checkpoint for one in anchored), *(one.finality for one in anchored if one.finality)]
        names = signers.union(*map(_names_under, notes))
        members = [member for name in sorted(names) if (member := self._context.view.member(name)) is not None]
        return [
            KeyStatement(
                member.member_id,
                epoch.epoch,
                epoch.signing_key.to_bytes(),
                epoch.since_time,
                epoch.compromised_since,
            )
            for member in members
            for epoch in member.epochs
        ]

    async def _admit(self, caller: Member, subject: str, *, to_all: bool = False) -> None:
        """Let in an auditor, this department, each side of the grant asked about, or every member; log it either way."""
        try:
            if not caller.is_active:
                raise NotAnAuditor("the member is not active")
            is_own = caller.member_id == self._context.member_id
            if not to_all and not is_own and Role.AUDITOR not in caller.roles and not self._is_side(caller, subject):
                raise NotAnAuditor("this member has not the auditor's role and is no side of that grant")
        except Refusal as refusal:
            await self._context.journal.record_refusal(Event.AUDIT_READ, caller.member_id, subject, refusal)
            raise
        await self._context.journal.record(Step(Event.AUDIT_READ, caller.member_id, subject))

    def _is_side(self, caller: Member, subject: str) -> bool:
        kind, _, name = subject.partition(":")
        grant = self._context.view.grant(bytes.fromhex(name)) if kind == "grant" else None
        return grant is not None and caller.member_id in {grant.requester_id, grant.provider_id}


def _signers(raw: bytes) -> list[str]:
    """The names under an entry's note."""
    note = parse_entry(raw).note
    return _names_under(note) if note is not None else []


def _names_under(note: bytes) -> list[str]:
    """Who says to have signed: authors, and witnesses."""
    return [line.name for line in parse_note(note).signatures]
