"""Queries as the provider answers them: one record by key, ordered, delivered and sealed in one round trip.

The answer is sealed anew, because a segment's key would open its neighbours, and narrowed to the granted fields. It is
kept until its receipt, so that a requester who missed it gets the very same again. Where a node is killed:

- before the order is durable: nothing happened;
- between the order and its delivery: asked again, the order is known, not counted twice, and answered;
- after the delivery: asked again, the same note and answer go out; if the answer was lost with the process, it is
  sealed anew under the same number and a new note, which is logged.

The sealed answer is 0x01 ‖ nonce, 12 ‖ SM4-GCM(the plaintext of an Answer) ‖ tag, 16. Its AAD, and the context that its
key is wrapped for, is the digest of the order note.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

from audit.entry import parse_entry
from crypto.errors import Refusal
from crypto.packed import Packed
from crypto.sm3 import sm3
from crypto.wrap import wrap_secrets
from node.errors import DatasetUnknown, InternalError, OrderReplayed, RecordUnknown, StatementInvalid
from node.exchange.context import Context
from node.exchange.dispatch import Dispatcher, Draft
from node.exchange.notes import note_digest, read_as
from node.exchange.receipting import ReceiptBook
from node.exchange.transfers import DeliveryState
from node.model.chain import Member
from node.model.events import Event, grant_subject, member_subject
from node.model.grants import Terms
from node.model.lines import ZERO_DIGEST, Range
from node.model.records import project
from node.model.statements import Delivery, Order, OrderKind
from node.model.transfer import Answer, QueryAnswer, QueryAsked
from node.policy.grants import judge_freshness, judge_order, judge_release, judge_sides

ANSWER_VERSION = b"\x01"
NONCE_SIZE = 12  # bytes
KEY_SALT_SIZE = 16  # bytes
_KEY_SIZE = 16  # bytes
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class _Sealed:
    """An answer ready to be announced."""

    index: int
    version_note: bytes
    sealed_answer: bytes
    wrapped_secret: bytes


class Answering:
    """Serves queries."""

    def __init__(self, context: Context, dispatcher: Dispatcher, receipts: ReceiptBook) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._receipts = receipts
        self._at_work: set[bytes] = set()  # order ids

    async def query(self, caller: Member, asked: QueryAsked) -> QueryAnswer:
        """Take the receipts that ride along, then answer. Raises the refusal, which is logged."""
        order: Order | None = None
        try:
            await self._receipts.take(caller, asked.receipt_notes)
            order = await self._context.notary.open(Order, asked.order_note, caller)
            if order.order_id in self._at_work:
                raise OrderReplayed("the order is being answered")
            self._at_work.add(order.order_id)
            try:
                return await self._answer(caller, order, asked)
            finally:
                self._at_work.discard(order.order_id)
        except Refusal as refusal:
            await self._log_refusal(caller, order, asked.order_note, refusal)
            raise

    async def _log_refusal(self, caller: Member, order: Order | None, note: bytes, refusal: Refusal) -> None:
        journal = self._context.journal
        if order is None:
            subject = member_subject(caller.member_id)
            await journal.record_refusal(Event.ACCESS_REFUSED, caller.member_id, subject, refusal)
        elif self._context.ledger.provided.order(order.order_id) is None:
            subject = grant_subject(order.grant_id)
            await journal.record_refusal(Event.ORDER_RECEIVED, caller.member_id, subject, refusal, note)
        else:
            # An order is received once; what is refused to it later does not unmake it.
            subject = grant_subject(order.grant_id)
            await journal.record_refusal(Event.ACCESS_REFUSED, caller.member_id, subject, refusal, note)

    async def _answer(self, caller: Member, order: Order, asked: QueryAsked) -> QueryAnswer:
        await self._context.refresh_view()
        facts = self._context.facts(order.grant_id)
        judge_sides(facts, order, caller.member_id, self._context.member_id)
        if order.kind is not OrderKind.QUERY:
            raise StatementInvalid("a query is asked with an order of that kind")
        known = self._context.ledger.provided.order(order.order_id)
        if known is None:
            judge_freshness(order.time_ms, facts.now_ms, self._context.limits.max_clock_skew_seconds)
            # Judged here before any record is touched, and again, with the orders around it, when it is admitted.
            judge_order(facts, order, self._dispatcher.published_size(order.dataset_id))
        else:
            if known.digest != note_digest(asked.order_note):
                raise OrderReplayed("another order has this id")
            judge_release(facts)
            delivery = self._context.ledger.provided.delivery(order.grant_id, known.sequence)
            if delivery is not None:
                return await self._answer_again(order, known.digest, delivery, facts.terms)
        new_note = None if known else asked.order_note
        try:
            index = await asyncio.to_thread(self._find, order, asked)
        except RecordUnknown:
            # Whether a key exists is an answer as well: the order counts, or the quota would not bind guessing.
            if new_note is not None:
                await self._dispatcher.admit(order, new_note)
            raise
        sealed = await asyncio.to_thread(self._seal, order, note_digest(asked.order_note), facts.terms, index)
        return await self._announce(order, new_note, sealed, 0)

    async def _answer_again(
        self, order: Order, digest: bytes, delivery: DeliveryState, terms: Terms | None
    ) -> QueryAnswer:
        entry = await asyncio.to_thread(self._context.log.entry, delivery.index)
        note = parse_entry(entry).note or b""
        stated = read_as(Delivery, note)
        kept = self._context.ledger.kept(order.grant_id, delivery.sequence)
        requester = self._context.member(order.requester_id)
        # What is kept may be sealed to a key from before: it is not given out again once one of those is compromised.
        if kept is not None and all(epoch.encryption_compromised_since is None for epoch in requester.epochs):
            sealed = _read_kept(kept)
            if stated.answer_digest == sm3(sealed.sealed_answer) and stated.wrapped_digest == sm3(
                sealed.wrapped_secret
            ):
                return QueryAnswer(note, sealed.sealed_answer, sealed.wrapped_secret, sealed.version_note)
        if delivery.has_receipt:
            raise OrderReplayed("the answer has its receipt already")
        anew = await asyncio.to_thread(self._seal, order, digest, terms, delivery.start)
        return await self._announce(order, None, anew, delivery.sequence)

    async def _announce(self, order: Order, order_note: bytes | None, sealed: _Sealed, sequence: int) -> QueryAnswer:
        """Log order and delivery, and give the answer out. `sequence` 0: the next one."""
        delivery = Delivery(
            grant_id=order.grant_id,
            order_id=order.order_id,
            sequence=sequence,
            kind=OrderKind.QUERY,
            dataset_id=order.dataset_id,
            version_digest=note_digest(sealed.version_note),
            range=Range(sealed.index, sealed.index + 1),
            segments=0,
            segments_digest=ZERO_DIGEST,
            answer_digest=sm3(sealed.sealed_answer),
            wrapped_digest=sm3(sealed.wrapped_secret),
            provider_id=order.provider_id,
            requester_id=order.requester_id,
            time_ms=0,
        )
        dispatched = await self._dispatcher.announce(Draft(order, order_note, delivery, is_repeat=sequence > 0))
        self._context.ledger.keep(order.grant_id, dispatched.delivery.sequence, _write_kept(sealed))
        # The grant may have gone while the answer was logged; its key is not given out then.
        judge_release(self._context.facts(order.grant_id))
        return QueryAnswer(dispatched.note, sealed.sealed_answer, sealed.wrapped_secret, sealed.version_note)

    # On a worker thread.

    def _find(self, order: Order, asked: QueryAsked) -> int:
        key = asked.key.encode()
        if len(asked.key_salt) != KEY_SALT_SIZE or sm3(asked.key_salt + key) != order.key_digest:
            raise StatementInvalid("the key is not the one that the order commits to")
        if self._context.description(order.dataset_id).key_field is None:
            raise DatasetUnknown("the dataset has no key field, so it answers no queries")
        store = self._context.datasets.open(order.dataset_id)
        index = store.find(asked.key, self._dispatcher.published_size(order.dataset_id))
        if index is None:
            raise RecordUnknown("no record has that key")
        return index

    def _seal(self, order: Order, bound_to: bytes, terms: Terms | None, index: int) -> _Sealed:
        if terms is None:
            raise InternalError("a grant without terms was judged to be in force")
        context = self._context
        size = self._dispatcher.published_size(order.dataset_id)
        version = context.ledger.version(order.dataset_id, size)
        if version is None or index >= size:
            raise InternalError("the version to answer from is not in the log")
        store = context.datasets.open(order.dataset_id)
        record, salt, leaf_hash = store.open_record(index)
        path = tuple(store.inclusion(index, size))
        if terms.fields:
            names = context.description(order.dataset_id).field_names
            granted = project(record, [names.index(name) for name in terms.fields])
            answer = Answer(leaf_hash, index, size, path, granted_values=granted)
        else:
            answer = Answer(leaf_hash, index, size, path, record=record, salt=salt)
        # The order ties the answer to the question; the delivery's number is dealt out only after it is sealed.
        key, nonce = context.random(_KEY_SIZE), context.random(NONCE_SIZE)
        plaintext = Packed.of([context.answers.encode(answer)])
        ciphertext = context.engine.sm4_gcm_seal_many(key, nonce, Packed.of([bound_to]), plaintext)
        recipient = context.member(order.requester_id).keys.encryption_key
        wrapped = wrap_secrets(context.engine, context.random, recipient, bound_to, key)
        return _Sealed(index, version, ANSWER_VERSION + nonce + ciphertext.data, wrapped)


def _write_kept(sealed: _Sealed) -> bytes:
    parts = (sealed.sealed_answer, sealed.wrapped_secret, sealed.version_note)
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def _read_kept(blob: bytes) -> _Sealed:
    parts = []
    position = 0
    while position < len(blob):
        (length,) = _LENGTH.unpack_from(blob, position)
        position += _LENGTH.size
        parts.append(blob[position : position + length])
        position += length
    sealed_answer, wrapped_secret, version_note = parts
    return _Sealed(0, version_note, sealed_answer, wrapped_secret)
