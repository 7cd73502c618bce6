"""Queries as the requester makes them: order, ask, check, and owe a receipt.

Where a node is killed:

- before the order is durable: nothing was sent;
- between the order and the answer's entry: the order is unanswered in the ledger; `settle` sends the same note again and
  gets the same delivery, so that the grant's receipts do not stop at the gap;
- after the answer's entry: the receipt is made and handed in with the next query or flush (`acknowledging`).

An answer that does not open or prove itself is logged as TRANSFER_MISMATCH with the delivery note, and kept in the vault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from audit.checkpoint import open_checkpoint
from audit.entry import parse_entry
from crypto.errors import CryptoError, Refusal
from crypto.merkle import SM3_TREE, verify_inclusion
from crypto.packed import Packed
from crypto.sm3 import sm3
from node.errors import DeliveryInvalid, PeerUnavailable, ReceiptsOutstanding, RecordInvalid
from node.exchange.acknowledging import Acknowledging
from node.exchange.answering import ANSWER_VERSION, KEY_SALT_SIZE, NONCE_SIZE
from node.exchange.context import Context, version_origin
from node.exchange.journal import Step
from node.exchange.notes import every_key, note_digest, read_as
from node.exchange.papers import Papers
from node.exchange.receiving import check_delivery
from node.model.chain import GrantOnChain, GrantState
from node.model.events import Event, grant_subject
from node.model.grants import Terms
from node.model.records import decode_record
from node.model.results import QueryResult
from node.model.statements import Delivery, Description, Order, OrderKind
from node.model.transfer import Answer, QueryAnswer, QueryAsked
from node.policy.grants import judge_release

_ORDER_ID_SIZE = 16  # bytes


@dataclass(frozen=True)
class _Question:
    """An order for one record, and what an answer must hold. Where the order is asked again after a restart, which only fetches
    what the receipts wait for, `key`, `salt` and `names` are empty. `is_narrowed`: the grant shows some fields only.
    """

    order: Order
    note: bytes
    key: str = ""
    salt: bytes = b""
    names: tuple[str, ...] = ()
    key_field: str | None = None
    is_narrowed: bool = False

    def values(self, answer: Answer) -> bytes:
        """The part of the answer that the grant shows."""
        return answer.granted_values if self.is_narrowed else answer.record


class Asking:
    """Makes queries."""

    def __init__(self, context: Context, papers: Papers, acknowledging: Acknowledging) -> None:
        self._context = context
        self._papers = papers
        self._acknowledging = acknowledging
        self._at_work: set[bytes] = set()  # order ids

    async def query(self, grant_id: bytes, key: str) -> QueryResult:
        """Ask for one record by its key. Raises the provider's refusal, PeerUnavailable or DeliveryInvalid."""
        grant, terms, description = await self._prepare(grant_id)
        try:
            return await self._ask_new(grant, terms, description, key)
        except ReceiptsOutstanding:
            # The provider waits for receipts that this node owes; it gets them, and is asked once more.
            await self.flush(grant_id)
            return await self._ask_new(grant, terms, description, key)

    async def flush(self, grant_id: bytes) -> None:
        """Hand in what receipts are due under a grant, after settling queries whose answers were missed."""
        await self.settle(grant_id)
        provider = self._context.peers.peer(self._context.grant(grant_id).provider_id)
        limit = self._context.limits.max_receipts_per_call
        async with self._acknowledging.carrier(grant_id):
            await self._acknowledging.make(grant_id)
            start = self._acknowledging.handed_in(grant_id)
            while notes := await self._acknowledging.due(grant_id, start, limit):
                await provider.submit_receipts(notes)
                start += len(notes)
                self._acknowledging.note_handed_in(grant_id, start)

    async def settle(self, grant_id: bytes) -> None:
        """Ask again what was ordered and never answered, with the very same notes."""
        for order_id in self._context.ledger.requested.unanswered(grant_id):
            state = self._context.ledger.requested.order(order_id)
            if state is None or order_id in self._at_work:
                continue
            note = parse_entry(await asyncio.to_thread(self._context.log.entry, state.index)).note or b""
            try:
                await self._ask(self._context.grant(grant_id), _Question(read_as(Order, note), note), ())
            except PeerUnavailable:
                raise
            except Refusal:
                # Refused: the order is closed in the ledger, and there is no delivery to wait for.
                continue

    async def _prepare(self, grant_id: bytes) -> tuple[GrantOnChain, Terms, Description]:
        grant = await self._context.looked_up(lambda: self._papers.own_grant(grant_id))
        if grant.state is not GrantState.APPROVED:
            await self._context.refresh_view()
            grant = self._papers.own_grant(grant_id)
            if grant.state is not GrantState.APPROVED:
                # What is refused so has no terms to ask for; of what was just approved they are still to come.
                judge_release(self._context.facts(grant_id))
        return grant, await self._papers.terms(grant), await self._papers.description(grant.dataset_id)

    async def _ask_new(self, grant: GrantOnChain, terms: Terms, description: Description, key: str) -> QueryResult:
        salt = self._context.random(KEY_SALT_SIZE)
        order = Order(
            order_id=self._context.random(_ORDER_ID_SIZE),
            grant_id=grant.grant_id,
            dataset_id=grant.dataset_id,
            requester_id=self._context.member_id,
            provider_id=grant.provider_id,
            kind=OrderKind.QUERY,
            range=None,
            # Salted, so that no log holds the key and no reader of a log can guess it.
            key_digest=sm3(salt + key.encode()),
            time_ms=self._context.clock(),
        )
        note = await self._context.notary.sign(order)
        names = terms.fields or description.field_names
        question = _Question(order, note, key, salt, tuple(names), description.key_field, bool(terms.fields))
        self._at_work.add(order.order_id)
        try:
            subject = grant_subject(grant.grant_id)
            await self._context.journal.record(Step(Event.ORDER_SENT, self._context.member_id, subject, note))
            async with self._acknowledging.riding(grant.grant_id) as receipts:
                delivery, answer = await self._ask(grant, question, receipts)
        finally:
            self._at_work.discard(order.order_id)
        return QueryResult(names, question.values(answer), not terms.fields, delivery.sequence, answer.index)

    async def _ask(
        self, grant: GrantOnChain, question: _Question, receipts: Sequence[bytes]
    ) -> tuple[Delivery, Answer]:
        asked = QueryAsked(question.note, question.key, question.salt, tuple(receipts))
        subject = grant_subject(grant.grant_id)
        try:
            answer = await self._context.peers.peer(grant.provider_id).query(asked)
        except PeerUnavailable:
            # It may have been answered: the order stays unanswered until it is settled.
            raise
        except Refusal as refusal:
            await self._context.journal.record_refusal(
                Event.ORDER_SENT, self._context.member_id, subject, refusal, question.note
            )
            raise
        return await self._accept(grant, question, answer)

    async def _accept(self, grant: GrantOnChain, question: _Question, answer: QueryAnswer) -> tuple[Delivery, Answer]:
        """Check what was signed, log it, then check that it keeps what it says."""
        provider = self._context.member(grant.provider_id)
        subject = grant_subject(grant.grant_id)
        evidence: bytes | None = None
        sequence = 0
        try:
            delivery = await self._open(answer.delivery_note, grant)
            evidence, sequence = answer.delivery_note, delivery.sequence
            check_delivery(delivery, question.order, note_digest(answer.version_note))
            if (delivery.answer_digest, delivery.wrapped_digest) != (
                sm3(answer.sealed_answer),
                sm3(answer.wrapped_secret),
            ):
                raise DeliveryInvalid("the answer is not the one of the note", sequence=sequence)  # noqa: TRY301
            known = self._context.ledger.requested.delivery(grant.grant_id, sequence)
            if known is not None and known.order_id != question.order.order_id:
                raise DeliveryInvalid("the number belongs to another delivery", sequence=sequence)  # noqa: TRY301
            if known is None:
                await self._context.journal.record(
                    Step(Event.DELIVERY_RECEIVED, provider.member_id, subject, answer.delivery_note)
                )
            opened = await asyncio.to_thread(self._unseal, grant, question, delivery, answer)
        except DeliveryInvalid as mismatch:
            await self._keep_evidence(question.order, sequence, answer)
            await self._context.journal.record(
                Step(Event.TRANSFER_MISMATCH, provider.member_id, subject, evidence, mismatch.reason, str(mismatch))
            )
            raise
        return delivery, opened

    async def _open(self, note: bytes, grant: GrantOnChain) -> Delivery:
        try:
            return await self._context.notary.open(Delivery, note, self._context.member(grant.provider_id))
        except PeerUnavailable:
            raise
        except Refusal as cause:
            raise DeliveryInvalid(f"the provider's delivery is not in order: {cause}") from cause

    async def _keep_evidence(self, order: Order, sequence: int, answer: QueryAnswer) -> None:
        if sequence == 0:
            return  # Signed by nobody: it proves nothing.
        vault = self._context.vaults(order.grant_id)
        await asyncio.to_thread(vault.begin, order.order_id)
        await asyncio.to_thread(vault.store_segments, sequence, [answer.sealed_answer])
        await asyncio.to_thread(vault.store_keys, sequence, answer.wrapped_secret)

    # On a worker thread.

    def _unseal(self, grant: GrantOnChain, question: _Question, delivery: Delivery, answer: QueryAnswer) -> Answer:
        context = self._context
        bound_to = note_digest(question.note)
        sealed = answer.sealed_answer
        head = len(ANSWER_VERSION) + NONCE_SIZE
        if not sealed.startswith(ANSWER_VERSION):
            raise DeliveryInvalid("the sealed answer is of an unknown version", sequence=delivery.sequence)
        try:
            key = context.unwrap(bound_to, answer.wrapped_secret)
            nonce = sealed[len(ANSWER_VERSION) : head]
            plaintext = context.engine.sm4_gcm_open_many(
                key, nonce, Packed.of([bound_to]), Packed.of([sealed[head:]])
            ).data
            opened = context.answers.decode(plaintext)
            self._prove(grant, delivery, answer.version_note, opened)
        except CryptoError as cause:
            raise DeliveryInvalid(f"the answer does not hold: {cause}", sequence=delivery.sequence) from cause
        if question.names:
            _check_answers(question, delivery, question.values(opened))
        return opened

    def _prove(self, grant: GrantOnChain, delivery: Delivery, version_note: bytes, answer: Answer) -> None:
        """The leaf stands in a version that the provider signed and, if it is the newest, that the chain names."""
        provider = self._context.member(grant.provider_id)
        checkpoint = open_checkpoint(self._context.engine, version_note, every_key(provider))
        if checkpoint.origin != version_origin(grant.provider_id, grant.dataset_id):
            raise DeliveryInvalid("the version is of another dataset", sequence=delivery.sequence)
        if (answer.index, answer.size) != (delivery.range.start, checkpoint.size):
            raise DeliveryInvalid("the proof is for another record or version", sequence=delivery.sequence)
        if answer.record and sm3(b"\0" + answer.salt + answer.record) != answer.leaf_hash:
            raise DeliveryInvalid("the record is not the one of the leaf", sequence=delivery.sequence)
        verify_inclusion(SM3_TREE, answer.leaf_hash, answer.index, answer.size, list(answer.path), checkpoint.root)
        dataset = self._context.dataset(grant.dataset_id)
        if dataset.size == checkpoint.size and dataset.version_digest != note_digest(version_note):
            raise DeliveryInvalid("the version is not the one on the chain", sequence=delivery.sequence)
        if checkpoint.size > dataset.size:
            raise DeliveryInvalid("the version is not on the chain", sequence=delivery.sequence)


def _check_answers(question: _Question, delivery: Delivery, shown: bytes) -> None:
    """The values are of the granted fields, and of the record that was asked for: a proof of another record is no answer."""
    try:
        values = decode_record(shown)
    except RecordInvalid as cause:
        raise DeliveryInvalid(f"the answer is no record: {cause}", sequence=delivery.sequence) from cause
    if len(values) != len(question.names):
        raise DeliveryInvalid("the answer does not hold the granted fields", sequence=delivery.sequence)
    if question.key_field in question.names:
        held = values[question.names.index(question.key_field)]
        if held is None or isinstance(held, bool) or str(held) != question.key:
            raise DeliveryInvalid("the record has another key than was asked for", sequence=delivery.sequence)
