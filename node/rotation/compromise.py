"""A key that may be in others' hands: replaced, declared on the chain, and everything listed that it signed or opened since.

In this order: a new key first, without waiting for anybody, then the declaration about the old one. An account that is declared compromised while it is
in force acts for nobody any more (contract Members), and a member without a valid key could not even say so. From the block of the declaration on no
node takes what the key signs, and nobody wraps anything to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from audit.entry import Entry, parse_entry
from crypto.errors import EncodingInvalid
from crypto.notes import NoteKey, parse_note
from crypto.sm2 import SM2PublicKey
from node.errors import KeyStateInvalid, StatementInvalid
from node.exchange.journal import Step
from node.exchange.notes import note_digest
from node.model.chain import KeyEpoch, KeyKind
from node.model.events import Event, member_subject
from node.model.keys import CHAIN_KINDS, Kind, Mode
from node.rotation.kinds import Places, digest_in_store, digest_on_chain
from node.rotation.rotating import Rotating, quiet, refusals_logged
from node.rpc.faces import AffectedView, CompromisedView, Tell

ON_CHAIN = {
    Kind.SIGNING: KeyKind.SIGNING,
    Kind.ENCRYPTION: KeyKind.ENCRYPTION,
    Kind.ACCOUNT: KeyKind.ACCOUNT,
    Kind.TLS: KeyKind.CERTIFICATE,
}
# What others wrapped to the encryption key: keys of a delivery, and the key of an answer.
_WRAPPED = frozenset({Event.KEYS_RECEIVED, Event.DELIVERY_RECEIVED})


class Compromising:
    """Declares this member's keys compromised."""

    def __init__(self, places: Places, rotating: Rotating) -> None:
        self._places = places
        self._rotating = rotating

    async def compromise(self, kind: Kind, since_seconds: int, tell: Tell = quiet) -> CompromisedView:
        """Replace the active key of a kind, and declare that it may have been in others' hands since a time (Unix, s).

        May be called again after a failure: where the key was replaced already, say so by its number with `declare`.

        Raises:
            StatementInvalid: the time is in the future.
            RotationUnderWay, ChainUnavailable, TransactionRefused: as a rotation.
        """
        places = self._places
        async with refusals_logged(places.context, Event.KEY_COMPROMISED):
            if since_seconds * 1_000 > places.context.clock():
                raise StatementInvalid("a compromise lies in the past")
            old = places.ring.record(kind).number
            await self._rotating.rotate(kind, Mode.THROUGH, tell, at_once=True)
            return await self._declare(kind, old, since_seconds, tell)

    async def declare(self, kind: Kind, number: int, since_seconds: int, tell: Tell = quiet) -> CompromisedView:
        """Declare a key that was replaced before. Raises KeyStateInvalid where it is the active one."""
        async with refusals_logged(self._places.context, Event.KEY_COMPROMISED):
            if number >= self._places.ring.record(kind).number:
                raise KeyStateInvalid(
                    f"{kind} {number} was not replaced; without a number the active key is", kind=kind
                )
            return await self._declare(kind, number, since_seconds, tell)

    async def _declare(self, kind: Kind, old: int, since_seconds: int, tell: Tell) -> CompromisedView:
        places, context = self._places, self._places.context
        new = places.ring.record(kind).number
        digest = digest_in_store(places.ring, kind, old) if kind in CHAIN_KINDS else None
        epochs: tuple[int, ...] = ()
        transactions: list[bytes] = []
        tell("declaring it on the chain", 0, 0)
        for chain in places.chains if kind in CHAIN_KINDS else ():
            member = chain.view.member(context.member_id)
            held = [one.epoch for one in member.epochs if digest_on_chain(one, kind) == digest] if member else []
            mined = await asyncio.to_thread(chain.governance.declare_compromise, ON_CHAIN[kind], held, since_seconds)
            transactions.append(mined.transaction_hash)
            epochs = epochs or tuple(held)
        keeper = places.ring.keeper(kind)
        await asyncio.to_thread(keeper.compromise, kind, old)
        await asyncio.to_thread(places.ring.renew)
        detail = f"{kind} {old} since {since_seconds}, replaced by {new}"
        await context.journal.record(
            Step(Event.KEY_COMPROMISED, context.member_id, member_subject(context.member_id), detail=detail)
        )
        tell("looking for what it had a part in", 0, 0)
        member = places.chains[0].view.member(context.member_id)
        stood = [one for one in member.epochs if one.epoch in epochs] if member else []
        affected = await asyncio.to_thread(lambda: tuple(self._affected(kind, stood, 1_000 * since_seconds)))
        return CompromisedView(kind, old, new, epochs, tuple(transactions), affected)

    def _affected(self, kind: Kind, stood: list[KeyEpoch], since_ms: int) -> Iterator[AffectedView]:
        """The entries since then that the key signed, or that something wrapped to it belongs to."""
        context = self._places.context
        keys = {_named(context.member_id, one.signing_key) for one in stood} if kind is Kind.SIGNING else set()
        # Entries are in the order of their times, so the first is found by halving.
        low, high = 0, context.tree.size
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (middle + 1, high) if parse_entry(context.log.entry(middle)).time_ms < since_ms else (low, middle)
            )
        for index, raw in enumerate(context.log.entries(low, context.tree.size), low):
            entry = parse_entry(raw)
            if entry.refusal is None and (
                (kind is Kind.SIGNING and bool(keys & _signers(entry)))
                or (kind is Kind.ENCRYPTION and entry.event in _WRAPPED)
            ):
                digest = note_digest(entry.note) if entry.note else b""
                yield AffectedView(index, entry.time_ms, entry.event, entry.subject, digest)


def _named(member_id: str, key: SM2PublicKey) -> tuple[str, bytes]:
    return member_id, NoteKey(member_id, key).key_id


def _signers(entry: Entry) -> set[tuple[str, bytes]]:
    try:
        return {(line.name, line.key_id) for line in parse_note(entry.note).signatures} if entry.note else set()
    except EncodingInvalid:
        return set()
