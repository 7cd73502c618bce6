"""This node as a witness of other members' logs: it signs only what goes on from what it has seen (docs/decisions/0009).

Crash points: before the head is kept, nothing was signed; between keeping and answering, the witness knows a head under which its line is missing,
and the owner asks again from there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.cosignature import cosign
from audit.errors import EntryInvalid, LogForked, WitnessBehind
from audit.guard import HeadFile
from crypto.errors import ProofInvalid, Refusal
from crypto.merkle import SM3_TREE, verify_consistency
from crypto.notes import parse_note
from node.errors import NotAMember
from node.exchange.context import Context, audit_origin
from node.exchange.journal import Step
from node.exchange.notes import every_key, signing_keys
from node.model.chain import Member
from node.model.events import Event, member_subject

HeadFiles = Callable[[str], HeadFile]  # the head file of a member's log, as this witness keeps it


class Witnessing:
    """Cosigns heads; one at a time for each log, so that checking and remembering are one step."""

    def __init__(self, context: Context, heads: HeadFiles) -> None:
        self._context = context
        self._heads = heads
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def cosign(self, caller: Member, note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        """The cosignature line under a head of the caller's own log.

        Raises:
            NotAMember: the caller is suspended.
            SignatureInvalid, EntryInvalid: not a head that the caller signed of its audit log.
            WitnessBehind: the path begins elsewhere than at the head that this witness knows; `size` says where that is.
            LogForked: the head contradicts the one that this witness knows.
        """
        member_id = caller.member_id
        async with self._turns[member_id]:
            try:
                if not caller.is_active:
                    raise NotAMember("the member is not active", member=member_id)
                return await self._cosign(caller, note, old_size, path)
            except WitnessBehind:
                # The owner's ordinary question, and no offence.
                raise
            except Refusal as refusal:
                kept = note if isinstance(refusal, LogForked) else None
                step_of = (Event.CHECKPOINT_COSIGNED, member_id, member_subject(member_id), refusal)
                await self._context.journal.record_refusal(*step_of, kept)
                raise

    async def _cosign(self, caller: Member, note: bytes, old_size: int, path: Sequence[bytes]) -> str:
        context, heads = self._context, self._heads(caller.member_id)
        head = await asyncio.to_thread(open_checkpoint, context.engine, note, signing_keys(caller, context.clock()))
        if head.origin != audit_origin(caller.member_id):
            raise EntryInvalid("the checkpoint is not of the caller's audit log")
        known = await asyncio.to_thread(heads.open, context.engine, every_key(caller))
        if known is not None and head != known:
            _check_goes_on(known, head, old_size, path)
        await asyncio.to_thread(heads.keep, note, head.size)
        line = await asyncio.to_thread(
            cosign,
            parse_note(note).text,
            context.member_id,
            context.keys.signer,
            context.clock() // 1_000,
        )
        detail = f"size {head.size} root {head.root.hex()}"
        step = Step(Event.CHECKPOINT_COSIGNED, caller.member_id, member_subject(caller.member_id), note, detail=detail)
        await context.journal.record(step)
        return str(line)


def _check_goes_on(known: Checkpoint, head: Checkpoint, old_size: int, path: Sequence[bytes]) -> None:
    if known.size and old_size != known.size and head.size >= known.size:
        raise WitnessBehind(f"this witness knows the log at {known.size} entries", size=known.size)
    if head.size < known.size:
        raise LogForked(f"the witness has seen {known.size} entries of this log, and now there are {head.size}")
    if not known.size:
        return
    try:
        verify_consistency(SM3_TREE, known.size, known.root, head.size, head.root, path)
    except ProofInvalid as cause:
        raise LogForked(f"the head does not go on from the one at {known.size} entries: {cause}") from cause
