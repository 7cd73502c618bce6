"""Statements that a block is final: this node's own for a peer, and those of its witnesses for evidence of its own.

An auditor who has no node, and so knows no blocks, rests on the word of members that he chooses, each of which asked an endpoint of its own. All sign the same
text, so the signatures stand under one note (docs/formats.md, "Finality").
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from audit.cosignature import with_lines
from audit.verifier import ChainStatement, finality_text, read_header
from crypto.errors import Refusal
from crypto.notes import NoteSignature, open_note, parse_note
from node.errors import BlockNotFinal, ChainUnavailable, NotAMember
from node.exchange.context import Context
from node.exchange.journal import Step
from node.exchange.notes import signing_keys
from node.model.chain import Member
from node.model.events import Event, member_subject
from node.ports import ChainProofs

_REMEMBERED = 1_024  # notes that were collected; a block that is final stays so


class Finality:
    """States, and collects. `chains`: those that this node follows."""

    def __init__(self, context: Context, chains: Sequence[ChainProofs]) -> None:
        self._context = context
        self._chains = chains
        self._collected: dict[bytes, bytes] = {}  # by block hash

    async def state(self, caller: Member, chain_id: int, number: int, block_hash: bytes) -> bytes:
        """The note in which this node states that a block is final, for any active member.

        Raises:
            NotAMember: the caller is suspended.
            BlockNotFinal: it is not, or is another one, or this node does not follow that chain.
        """
        context, subject = self._context, member_subject(caller.member_id)
        try:
            if not caller.is_active:
                raise NotAMember("the member is not active", member=caller.member_id)
            await self._check(chain_id, number, block_hash)
        except Refusal as refusal:
            await context.journal.record_refusal(Event.FINALITY_STATED, caller.member_id, subject, refusal)
            raise
        note = await context.notary.sign_text(finality_text(chain_id, number, block_hash))
        await context.journal.record(Step(Event.FINALITY_STATED, context.member_id, subject, note))
        return note

    async def _check(self, chain_id: int, number: int, block_hash: bytes) -> None:
        hashes = []
        for chain in self._chains:
            if chain.chain_id == chain_id:
                try:
                    hashes.append(await asyncio.to_thread(chain.final_hash, number))
                except ChainUnavailable as cause:
                    raise BlockNotFinal(f"this node cannot look at chain {chain_id} now: {cause}") from cause
        if not hashes:
            raise BlockNotFinal(f"this node does not follow chain {chain_id}")
        if block_hash not in hashes:
            raise BlockNotFinal(f"block {number} of chain {chain_id} is not final here with that hash")

    async def collect(self, statement: ChainStatement) -> bytes | None:
        """The note of those witnesses that saw the block of a statement final; None if nobody answers."""
        context = self._context
        block_hash = read_header(statement.header).hash
        if block_hash in self._collected:
            return self._collected[block_hash]
        asked = (statement.chain_id, statement.block_number, block_hash)
        answers = await asyncio.gather(*(self._ask(witness, *asked) for witness in context.limits.witnesses))
        lines = [line for line in answers if line is not None]
        if not lines:
            return None
        # A node's own line does not count for its own log, and a note begins with one.
        note = with_lines(await context.notary.sign_text(finality_text(*asked)), lines)
        if len(lines) == len(context.limits.witnesses):
            if len(self._collected) >= _REMEMBERED:
                self._collected.clear()
            self._collected[block_hash] = note
        return note

    async def _ask(self, witness: str, chain_id: int, number: int, block_hash: bytes) -> NoteSignature | None:
        context = self._context
        try:
            member = context.member(witness)
            raw = await context.peers.peer(witness).state_finality(chain_id, number, block_hash)
            opened = open_note(context.engine, raw, signing_keys(member, context.clock()))
        except Refusal:
            # Evidence without its word is evidence still.
            return None
        if opened.text != finality_text(chain_id, number, block_hash):
            return None
        return next(line for line in parse_note(raw).signatures if line.name == witness)
