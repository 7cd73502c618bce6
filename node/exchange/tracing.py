"""What this department finds out about a grant with the help of both sides' nodes, trusting neither.

Every entry is checked against a checkpoint that its member signed, and every note against the keys that the chain has of its author.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from audit.checkpoint import Checkpoint, log_id, open_checkpoint
from audit.entry import parse_entry
from audit.errors import EntryInvalid
from audit.trail import AnchoredSizes, Finding, FindingKind, GrantFacts, Logged, Trail, build_trail
from crypto.errors import CryptoError, ProofInvalid, Refusal
from crypto.merkle import SM3_TREE, verify_consistency, verify_inclusion
from crypto.notes import NoteKey, open_note
from node.errors import ChainMismatch, ChainUnavailable, DeliveryInvalid, NotAnAuditor
from node.exchange.auditing import Auditing
from node.exchange.context import Context, audit_origin
from node.exchange.notes import every_key
from node.model.chain import GrantOnChain, GrantState, Member, Role
from node.model.events import grant_subject
from node.ports import ChainProofs

_Listed = tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]


class Tracing:
    """Follows grants through both sides' logs."""

    def __init__(self, context: Context, auditing: Auditing, chain: ChainProofs) -> None:
        self._context = context
        self._chain = chain
        self._auditing = auditing

    async def trail(self, grant_id: bytes) -> Trail:
        """The trail of a grant. Raises GrantUnknown, NotAnAuditor, PeerUnavailable, DeliveryInvalid."""
        grant = await self._context.looked_up(lambda: self._context.grant(grant_id))
        self._check_entitled(grant)
        logged: list[Logged] = []
        forks: list[Finding] = []
        anchored: dict[str, AnchoredSizes] = {}
        for member_id in (grant.provider_id, grant.requester_id):
            member = self._context.member(member_id)
            listed = await self._list(member, grant_subject(grant_id))
            logged += await asyncio.to_thread(self._check, member, listed)
            forks += await self._forks(member, listed[0])
            anchored[member_id] = await asyncio.to_thread(self._anchored, member_id)
        trail = build_trail(logged, grant_facts(grant))
        return replace(trail, findings=(*trail.findings, *forks), anchored=anchored)

    async def member_evidence(self, member_id: str, index: int) -> bytes:
        """The evidence file of one entry of a member's log."""
        if member_id == self._context.member_id:
            return await self._auditing.evidence(self._context.member(member_id), index)
        return await self._context.peers.peer(member_id).evidence(index)

    async def member_range(self, member_id: str, first: int, count: int, *, anchored: bool) -> bytes:
        """The range file of up to `count` entries of a member's log."""
        if member_id == self._context.member_id:
            own = self._context.member(member_id)
            return await self._auditing.range_file(own, first, count, anchored=anchored)
        return await self._context.peers.peer(member_id).range_file(first, count, anchored=anchored)

    def _check_entitled(self, grant: GrantOnChain) -> None:
        own = self._context.member(self._context.member_id)
        if own.member_id not in {grant.provider_id, grant.requester_id} and Role.AUDITOR not in own.roles:
            raise NotAnAuditor("this department is no side of that grant and has not the auditor's role")

    async def _list(self, member: Member, subject: str) -> _Listed:
        if member.member_id == self._context.member_id:
            return await self._auditing.entries(member, subject)
        return await self._context.peers.peer(member.member_id).list_entries(subject)

    def _check(self, member: Member, listed: _Listed) -> list[Logged]:
        note, entries = listed
        try:
            head = open_checkpoint(self._context.engine, note, every_key(member))
            if head.origin != audit_origin(member.member_id):
                raise DeliveryInvalid(f"{member.member_id} answered with the checkpoint of another log")
            return [self._logged(member, head, *one) for one in entries]
        except (EntryInvalid, CryptoError) as cause:
            raise DeliveryInvalid(f"{member.member_id} answered with what it cannot have logged: {cause}") from cause

    def _logged(self, member: Member, head: Checkpoint, index: int, raw: bytes, path: list[bytes]) -> Logged:
        entry = parse_entry(raw)
        compromised: list[str] = []
        try:
            verify_inclusion(SM3_TREE, SM3_TREE.leaf(raw), index, head.size, path, head.root)
            if entry.note is not None:
                opened = open_note(self._context.engine, entry.note, self._authors())
                compromised = [key.name for key in opened.signers if self._was_compromised(key, entry.time_ms)]
        except Refusal as refusal:
            return Logged(member.member_id, index, entry, str(refusal))
        return Logged(member.member_id, index, entry, None, tuple(compromised))

    async def _forks(self, member: Member, note: bytes) -> list[Finding]:
        """Whether the head that the member answered with goes on from the one that the chain has."""
        head = open_checkpoint(self._context.engine, note, every_key(member))
        anchor = self._context.view.newest_anchor(member.member_id, log_id(head.origin))
        if anchor is None:
            return []
        if anchor.size > head.size:
            why = f"the chain has {anchor.size} entries of it, and it answered with {head.size}"
        else:
            path = await self._consistency(member, anchor.size, head.size)
            try:
                verify_consistency(SM3_TREE, anchor.size, anchor.root, head.size, head.root, path)
            except ProofInvalid as cause:
                why = str(cause)
            else:
                return []
        return [Finding(FindingKind.LOG_FORKED, f"the log of {member.member_id} is not the one on the chain: {why}")]

    async def _consistency(self, member: Member, old_size: int, new_size: int) -> Sequence[bytes]:
        if member.member_id == self._context.member_id:
            return await self._auditing.consistency(member, old_size, new_size)
        return await self._context.peers.peer(member.member_id).consistency(old_size, new_size)

    def _anchored(self, member_id: str) -> AnchoredSizes:
        log = log_id(audit_origin(member_id))
        newest = self._context.view.newest_anchor(member_id, log)
        final = 0 if newest is None else newest.size
        try:
            return AnchoredSizes(final, max(final, self._chain.mined_size(member_id, log)))
        except (ChainUnavailable, ChainMismatch):
            return AnchoredSizes(final, final)  # what is final is known without the chain

    def _was_compromised(self, key: NoteKey, time_ms: int) -> bool:
        """Whether a key had been declared compromised when an entry was logged."""
        public = key.public_key.to_bytes()
        return any(
            epoch.signing_key.to_bytes() == public
            and epoch.compromised_since is not None
            and time_ms >= 1_000 * epoch.compromised_since
            for epoch in self._context.member(key.name).epochs
        )

    def _authors(self) -> list[NoteKey]:
        return [key for member in self._context.view.members() for key in every_key(member)]


def grant_facts(grant: GrantOnChain) -> GrantFacts:
    """What the chain has of a grant, as a trail compares it."""
    return GrantFacts(
        grant=grant.grant_id.hex(),
        provider=grant.provider_id,
        requester=grant.requester_id,
        request_digest=grant.request_digest.hex(),
        terms_digest=grant.terms_digest.hex(),
        revocation_digest=grant.reason_digest.hex() if grant.state is GrantState.REVOKED else "",
        last_sequence=grant.last_sequence,
        last_receipt_digest=grant.last_receipt_digest.hex() if grant.last_sequence else "",
    )
