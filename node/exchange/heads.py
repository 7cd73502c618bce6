"""The signed head of this node's audit log as it is now, kept before anyone sees it; and the witnesses' lines under it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from audit.checkpoint import Checkpoint
from audit.cosignature import check_cosignature, parse_line, with_lines
from audit.errors import LogForked, WitnessBehind
from crypto.errors import CryptoError, Refusal
from crypto.notes import NoteSignature, parse_note
from node.errors import CosignaturesMissing, PeerUnavailable
from node.exchange.context import Context, audit_origin
from node.exchange.notes import signing_keys
from node.model.events import Event, member_subject


async def signed_head(context: Context) -> tuple[bytes, Checkpoint]:
    """A checkpoint over every entry that is durable now, as a note and as a value."""
    size = context.tree.size
    head = Checkpoint(audit_origin(context.member_id), size, context.tree.root_at(size), context.clock())
    note = await context.notary.sign_text(head.to_text())
    # What others are shown a later start must know of (audit.guard).
    await asyncio.to_thread(context.keep_head, note, size)
    return note, head


class Cosigning:
    """Asks this node's witnesses. `cosigned_by`: who signed the head that was asked about last."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, int] = {}  # by witness: the size that it knows this log at
        self.cosigned_by: tuple[str, ...] = ()

    async def cosigned(self, note: bytes, head: Checkpoint) -> bytes:
        """The head's note with the witnesses' lines. Raises CosignaturesMissing if there are fewer than are needed."""
        limits = self._context.limits
        if not limits.witnesses:
            return note
        answers = await asyncio.gather(*(self._ask(witness, note, head) for witness in limits.witnesses))
        lines = [line for line in answers if line is not None]
        self.cosigned_by = tuple(line.name for line in lines)
        if len(lines) < limits.cosignatures_needed:
            raise CosignaturesMissing(
                f"{len(lines)} witnesses cosigned the head at {head.size} entries, {limits.cosignatures_needed} are needed"
            )
        return with_lines(note, lines)

    async def _ask(self, witness: str, note: bytes, head: Checkpoint) -> NoteSignature | None:
        """A witness's line, or None if it gives none now."""
        context = self._context
        try:
            member = context.member(witness)
            try:
                line = await self._cosign(witness, note, head, self._known.get(witness, 0))
            except WitnessBehind as behind:
                # It knows another size than this process thought: after a restart of either, say.
                line = await self._cosign(witness, note, head, int(behind.details["size"]))
            signature = parse_line(line)
            text = parse_note(note).text
            check_cosignature(context.engine, text, signature, signing_keys(member, context.clock()))
        except PeerUnavailable:
            return None
        except Refusal as refusal:
            await self._log(witness, note, refusal)
            return None
        self._known[witness] = head.size
        return signature

    async def _cosign(self, witness: str, note: bytes, head: Checkpoint, known: int) -> str:
        context = self._context
        path: Sequence[bytes] = ()
        if known > head.size:
            raise LogForked(f"the witness {witness} knows {known} entries of this log, which has {head.size}")
        if known:
            path = await asyncio.to_thread(context.tree.consistency, known, head.size)
        return await context.peers.peer(witness).cosign(note, known, path)

    async def _log(self, witness: str, note: bytes, refusal: Refusal) -> None:
        kept = None if isinstance(refusal, CryptoError) else note
        await self._context.journal.record_refusal(
            Event.CHECKPOINT_COSIGNED, witness, member_subject(self._context.member_id), refusal, kept
        )
