"""A grant between two running nodes, and everyone who speaks under it: what tests of bad input spoil and check."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from crypto.sm3 import sm3
from kiteline.exchange.v1 import department_pb2
from kiteline.exchange.v1 import peer_pb2 as pb
from node.exchange.notes import note_digest, read_as
from node.model.lines import ZERO_DIGEST
from node.model.statements import Delivery, Order, OrderKind
from tests.support.peer_client import Agreement, LogWatch, PeerClient, Side


@dataclass(frozen=True)
class Bench:
    """A grant in force, and who speaks under it or against it.

    Attributes:
        agreement: the grant.
        requester: a hand-written client with the requester's keys.
        auditor: one with those of a member that has no part in the grant.
        provider: the provider's own program.
        log: the provider's log.
        printed: the file that the provider's node prints to, one JSON object a line.
    """

    agreement: Agreement
    requester: PeerClient
    auditor: PeerClient
    provider: Side
    log: LogWatch
    printed: Path

    def used(self) -> tuple[int, int]:
        """(orders used, last sequence) of the grant, as the provider has it."""
        grants = self.provider.client.department.ListGrants(department_pb2.ListGrantsRequest()).grants
        [grant] = [grant for grant in grants if grant.grant_id == self.agreement.grant_id]
        return grant.used, grant.last_sequence

    def question(self, **changes: object) -> tuple[Order, pb.QueryRequest]:
        """A query in order; its order with changes, signed as it then is."""
        salt, key = os.urandom(16), "K0000007"
        order = self.requester.order(self.agreement, OrderKind.QUERY, sm3(salt + key.encode()))
        order = replace(order, **changes)  # type: ignore[arg-type]  # the order's own fields
        return order, pb.QueryRequest(order_note=self.requester.note(order), key=key, key_salt=salt)

    def check_good_call(self) -> Delivery:
        """The node lives on: the next order gets the next number, and no number is missing."""
        _, before = self.used()
        self.log.mark()
        answer = self.requester.call("Query", self.question()[1])
        delivery = read_as(Delivery, answer.delivery_note)
        assert delivery.sequence == before + 1
        assert self.log.steps() == [("ORDER_RECEIVED", None), ("DELIVERY_SENT", None)]
        return delivery

    def receipts_due(self) -> list[bytes]:
        """Receipts for every answer under the grant that has none, chained."""
        done = self.log.about(self.agreement.subject, "RECEIPT_RECEIVED")
        previous = note_digest(done[-1].note or b"") if done else ZERO_DIGEST
        notes: list[bytes] = []
        for entry in self.log.about(self.agreement.subject, "DELIVERY_SENT")[len(done) :]:
            note = entry.note or b""
            notes.append(self.requester.receipt(read_as(Delivery, note), note, previous))
            previous = note_digest(notes[-1])
        return notes

    def hand_in(self) -> None:
        """Hand in every receipt that is due."""
        self.requester.call("SubmitReceipts", pb.SubmitReceiptsRequest(receipt_notes=self.receipts_due()))

    def told_since(self, position: int) -> list[str]:
        """Reasons of the calls that the node printed as refused after a position in its file."""
        lines = self.printed.read_bytes()[position:].splitlines()
        printed = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [line["reason"] for line in printed if line["event"] == "call_refused"]
