"""Notes in and out: signing this member's statements and opening the others', many at a time.

A statement travels under exactly one signature, its author's. A second line would change the note's digest without
changing what it says, and digests are what receipts and the chain name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from crypto.engine import Engine
from crypto.errors import EncodingInvalid, SignatureInvalid
from crypto.notes import NoteKey, NoteSignature, parse_note, sign_notes
from crypto.sm2 import SM2PublicKey
from crypto.sm3 import sm3
from node.errors import StatementInvalid
from node.exchange.coalesce import Coalescer
from node.model.chain import KeyKind, Member
from node.model.statements import Statement, parse_statement
from node.ports import Keys

S = TypeVar("S", bound=Statement)

# After a rotation the others hear of the new key a block or two later, and notes under the old one are on their way.
ROTATION_GRACE_SECONDS = 300

_Claim = tuple[SM2PublicKey, bytes, bytes]  # key, message, signature


@dataclass(frozen=True)
class ReadNote:
    """A note as read, with nothing verified."""

    text: str
    statement: Statement
    signature: NoteSignature


def note_digest(note: bytes) -> bytes:
    """The digest by which a note is named everywhere: SM3 of its exact bytes."""
    return sm3(note)


@lru_cache(maxsize=4096)
def read_note(raw: bytes) -> ReadNote:
    """Read a statement's note. Verifies nothing. Raises StatementInvalid.

    Cached, because a note is read when it comes, when its entry reaches the ledger, and when it is answered.
    """
    try:
        note = parse_note(raw)
    except EncodingInvalid as cause:
        raise StatementInvalid(f"not a note: {cause}") from cause
    if len(note.signatures) != 1:
        raise StatementInvalid("a statement has one signature, its author's")
    return ReadNote(note.text, parse_statement(note.text), note.signatures[0])


def read_as(kind: type[S], raw: bytes) -> S:
    """The statement of a note that must be of one type. Verifies nothing. Raises StatementInvalid."""
    statement = read_note(raw).statement
    if not isinstance(statement, kind):
        raise StatementInvalid(f"a {kind.TYPE} is wanted here, and this is a {statement.TYPE}")
    return statement


def signing_keys(member: Member, now_ms: int) -> list[NoteKey]:
    """The keys under which a member's notes are taken now: the one in force, and the one before it for a short time.

    A key that its owner declared compromised, in whichever of the epochs that had it, is not among them.
    """
    newest = member.epochs[-2:]
    if len(newest) > 1 and now_ms > 1000 * (member.keys.since_time + ROTATION_GRACE_SECONDS):
        newest = newest[-1:]
    return [
        NoteKey(member.member_id, epoch.signing_key)
        for epoch in newest
        if member.compromised_since(KeyKind.SIGNING, epoch.epoch) is None
    ]


def every_key(member: Member) -> list[NoteKey]:
    """The keys of every epoch of a member, for notes that the chain already names by their digest."""
    return [NoteKey(member.member_id, epoch.signing_key) for epoch in member.epochs]


class Notary:
    """Signs for this member and verifies for it; concurrent calls share the engine's batches.

    `renewed` gives a member as the chain has it now, for a note under a key that was not known before.
    """

    def __init__(
        self,
        engine: Engine,
        member_id: str,
        keys: Keys,
        clock: Callable[[], int],
        renewed: Callable[[Member], Awaitable[Member]],
    ) -> None:
        self._engine = engine
        self._member_id = member_id
        self._keys = keys
        self._clock = clock
        self._renewed = renewed
        self._signer: Coalescer[str, bytes] = Coalescer(self._sign_batch)
        self._verifier: Coalescer[_Claim, None] = Coalescer(self._verify_batch)

    async def sign(self, statement: Statement) -> bytes:
        """The note of this member's statement."""
        return await self._signer(statement.to_text())

    async def sign_text(self, text: str) -> bytes:
        """The note of a text that is no statement: a checkpoint."""
        return await self._signer(text)

    async def sign_many(self, statements: Sequence[Statement]) -> list[bytes]:
        """The notes of several statements of this member."""
        return list(await asyncio.gather(*map(self.sign, statements)))

    def sign_here(self, statement: Statement) -> bytes:
        """The note of a statement, signed on this very thread: for chains, where each names the one before."""
        return sign_notes([statement.to_text()], self._member_id, self._keys.signer)[0]

    async def open(self, kind: type[S], raw: bytes, author: Member) -> S:
        """The statement of a note that `author` signed.

        Raises:
            StatementInvalid: not a note of that type in its one spelling.
            SignatureInvalid: not signed by a key of the author that is in force, or wrongly.
        """
        statement = read_as(kind, raw)
        await self.verify(raw, author)
        return statement

    async def verify(self, raw: bytes, author: Member) -> None:
        """Raise SignatureInvalid unless the note of a statement is signed by `author`."""
        note = read_note(raw)
        line = note.signature
        key = self._key_of(author, line) or self._key_of(await self._renewed(author), line)
        if key is None:
            raise SignatureInvalid("the note is not signed with a key in force of its author", author=author.member_id)
        await self._verifier((key.public_key, note.text.encode(), line.signature))

    def _key_of(self, author: Member, line: NoteSignature) -> NoteKey | None:
        """The key in force that a signature line names."""
        named = (line.name, line.key_id)
        return next((key for key in signing_keys(author, self._clock()) if (key.name, key.key_id) == named), None)

    async def _sign_batch(self, texts: Sequence[str]) -> Sequence[bytes | Exception]:
        return await asyncio.to_thread(sign_notes, texts, self._member_id, self._keys.signer)

    async def _verify_batch(self, claims: Sequence[_Claim]) -> Sequence[Exception | None]:
        return await asyncio.to_thread(self._verify_many, claims)

    def _verify_many(self, claims: Sequence[_Claim]) -> list[Exception | None]:
        keys, messages, signatures = zip(*claims, strict=True)
        try:
            self._engine.sm2_verify_many(keys, messages, signatures)
        except SignatureInvalid as wrong:
            if len(claims) == 1:
                return [wrong]
            # Somebody's signature is wrong, and the others in the batch must not suffer for it.
            return [result for claim in claims for result in self._verify_many([claim])]
        return [None] * len(claims)
