"""What this department finds out about a grant with the help of both sides' nodes, trusting neither.

Every entry is checked against a checkpoint that its member signed, and every note against the keys that the chain has of its author.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.entry import parse_entry
from audit.errors import EntryInvalid
from crypto.errors import CryptoError, Refusal
from crypto.merkle import SM3_TREE, verify_inclusion
from crypto.notes import NoteKey, open_note
from node.errors import DeliveryInvalid, NotAnAuditor
from node.exchange.auditing import Auditing
from node.exchange.context import Context, audit_origin
from node.exchange.notes import every_key
from node.exchange.trail import Logged, Trail, build_trail
from node.model.chain import GrantOnChain, Member, Role
from node.model.events import grant_subject

_Listed = tuple[bytes, Sequence[tuple[int, bytes, list[bytes]]]]


class Tracing:
    """Follows grants through both sides' logs."""

    def __init__(self, context: Context, auditing: Auditing) -> None:
        self._context = context
        self._auditing = auditing

    async def trail(self, grant_id: bytes) -> Trail:
        """The trail of a grant. Raises GrantUnknown, NotAnAuditor, PeerUnavailable, DeliveryInvalid."""
        grant = self._context.grant(grant_id)
        self._check_entitled(grant)
        logged: list[Logged] = []
        for member_id in (grant.provider_id, grant.requester_id):
            member = self._context.member(member_id)
            listed = await self._list(member, grant_subject(grant_id))
            logged += await asyncio.to_thread(self._check, member, listed)
        return build_trail(grant, logged)

    async def member_evidence(self, member_id: str, index: int) -> bytes:
        """The evidence file of one entry of a member's log."""
        if member_id == self._context.member_id:
            return await self._auditing.evidence(self._context.member(member_id), index)
        return await self._context.peers.peer(member_id).evidence(index)

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
        try:
            verify_inclusion(SM3_TREE, SM3_TREE.leaf(raw), index, head.size, path, head.root)
            if entry.note is not None:
                open_note(self._context.engine, entry.note, self._authors())
        except Refusal:
            return Logged(member.member_id, index, entry, proven=False)
        return Logged(member.member_id, index, entry, proven=True)

    def _authors(self) -> list[NoteKey]:
        return [key for member in self._context.view.members() for key in every_key(member)]
