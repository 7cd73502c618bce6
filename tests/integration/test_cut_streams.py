"""A grant that is revoked, expires or is used up: no new order within one block, a running stream is cut, and a key that was
not released by then never is.

The provider delivers one segment at a time and lets two be without a receipt. So a requester that keeps its receipt to
itself holds the stream at a known place, without anybody's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.errors import StoreDamaged
from crypto.engine import load_engine
from crypto.errors import DecryptionFailed
from crypto.seal import open_segments
from crypto.signer import HeldKey
from crypto.sm3 import sm3
from crypto.wrap import unwrap_secrets
from kiteline.exchange.v1 import department_pb2
from kiteline.exchange.v1 import peer_pb2 as pb
from node.app.consortium import governing
from node.app.settings import load
from node.errors import FetchUnfinished, GrantExpired, GrantRevoked, PeerUnavailable
from node.exchange.context import wrap_context
from node.exchange.notes import note_digest, read_as
from node.formats import open_source
from node.model.lines import ZERO_DIGEST
from node.model.statements import KeyRelease
from node.stores.vault import DiskVault
from scripts.local_consortium import HEALTH, LocalConsortium
from tests.integration.conftest import ARCHIVES, ROWS, Archives
from tests.support.keys import open_keys
from tests.support.peer_client import (
    WAIT_SECONDS,
    Agreement,
    Arrived,
    HandStream,
    LogWatch,
    PeerClient,
    Side,
    agree,
    now_ms,
    passphrase,
    peer,
    refused,
    until,
)

pytestmark = pytest.mark.process

EXPIRY_SECONDS = 5  # enough for the decision to be mined and the stream to be opened
HELD_BYTES = 500_000  # two and a half deliveries, the notes with them


@dataclass(frozen=True)
class Line:
    """A provider whose deliveries are small, the requester's program, and its keys in a hand-written client."""

    dataset_id: bytes
    provider: Side
    requester: Side
    hand: PeerClient
    log: LogWatch

    def agree(self, *, quota: int = 1_000, expiry_seconds: int = 0) -> Agreement:
        return agree(self.provider, self.requester, self.dataset_id, ROWS, quota=quota, expiry_seconds=expiry_seconds)

    def revoke(self, agreement: Agreement) -> None:
        self.provider.client.department.RevokeGrant(
            department_pb2.RevokeGrantRequest(grant_id=agreement.grant_id, reason="no longer needed")
        )

    def mine(self) -> None:
        """Have a block mined that says nothing about any grant."""
        self.provider.client.department.AnchorNow(department_pb2.AnchorNowRequest())

    def released(self, agreement: Agreement) -> list[int]:
        """Sequence numbers of the keys that the provider's log has as released."""
        entries = self.log.about(agreement.subject, "KEYS_RELEASED")
        return [read_as(KeyRelease, entry.note or b"").sequence for entry in entries]

    def check_no_order(self, agreement: Agreement, reason: str) -> None:
        """Neither a new bulk order nor a query; both are logged, and neither counts."""
        used = len(self.log.about(agreement.subject, "ORDER_RECEIVED"))
        self.log.mark()
        with self.hand.stream() as stream, refused(reason):
            stream.send_order(self.hand.note(self.hand.order(agreement)))
            stream.read()
        with refused(reason):
            self.hand.call("Query", self.hand.question(agreement, "K0000001"))
        assert self.log.steps() == [("ORDER_RECEIVED", reason)] * 2
        assert len(self.log.about(agreement.subject, "ORDER_RECEIVED")) == used


@pytest.fixture(scope="module")
def line(
    consortium: LocalConsortium, source: Path, archives_serving: Archives, archive: Side, health: Side
) -> Iterator[Line]:
    records = open_source(source, {})
    described = archive.client.department.DescribeDataset(
        department_pb2.DescribeDatasetRequest(
            name="people",
            title="people",
            fields=[department_pb2.Field(name=name) for name in records.fields],
            key_field="no",
            level=1,
            sharing_type=department_pb2.SHARING_TYPE_CONDITIONAL,
        )
    )
    *_, last = archive.client.publish(described.dataset_id, records.batches())
    assert last.sealed_count == ROWS
    with peer(consortium, HEALTH, ARCHIVES) as hand:
        log = LogWatch(archives_serving.home / "data")
        yield Line(described.dataset_id, archive, health, hand, log)


@dataclass
class Held:
    """A stream of which the requester holds three deliveries, has receipted one, and owes the receipts of two."""

    stream: HandStream
    order_note: bytes
    owed: list[Arrived]
    newest_receipt: bytes

    def receipt(self, hand: PeerClient) -> bytes:
        """The next receipt that is owed."""
        arrived = self.owed.pop(0)
        self.newest_receipt = hand.receipt(arrived.statement, arrived.note, note_digest(self.newest_receipt))
        return self.newest_receipt

    def finish(self, hand: PeerClient) -> int:
        """Go on to the end of the order; gives its last sequence number."""
        while True:
            while self.owed:
                self.stream.send_receipt(self.receipt(hand))
            response = self.stream.read()
            if response.WhichOneof("step") == "delivery":
                self.owed.append(self.stream.finish_delivery(response))
            elif response.WhichOneof("step") == "complete":
                return int(response.complete.last_sequence)


def _hold(line: Line, agreement: Agreement, stream: HandStream) -> Held:
    note = line.hand.note(line.hand.order(agreement))
    stream.send_order(note)
    first, second = stream.read_delivery(), stream.read_delivery()
    receipt = line.hand.receipt(first.statement, first.note, ZERO_DIGEST)
    stream.send_receipt(receipt)
    assert stream.read_keys().sequence == 1
    third = stream.read_delivery()
    assert [one.statement.sequence for one in (first, second, third)] == [1, 2, 3]
    return Held(stream, note, [second, third], receipt)


def _revoke_by_officer(_: LocalConsortium, line: Line, agreement: Agreement, once_mined: Callable[[], None]) -> None:
    line.revoke(agreement)
    once_mined()


def _revoke_on_chain(
    consortium: LocalConsortium, line: Line, agreement: Agreement, once_mined: Callable[[], None]
) -> None:
    """As another node of the same department would: the node that serves hears of it from the chain alone."""
    settings = load(consortium.config(ARCHIVES))
    with governing(settings, passphrase(consortium), now_ms) as chain:
        chain.writer.revoke_grant(agreement.grant_id, sm3(b"a reason"))
        # Before the node has looked at the chain again by itself.
        once_mined()
    assert line.log.about(agreement.subject, "GRANT_REVOKED") == []


@pytest.mark.parametrize("revoke", [_revoke_by_officer, _revoke_on_chain], ids=["by its officer", "on the chain alone"])
def test_a_receipt_that_comes_after_the_revocation_is_taken_and_opens_nothing(
    consortium: LocalConsortium,
    line: Line,
    revoke: Callable[[LocalConsortium, Line, Agreement, Callable[[], None]], None],
) -> None:
    agreement = line.agree()
    with line.hand.stream() as stream:
        held = _hold(line, agreement, stream)
        revoke(consortium, line, agreement, lambda: stream.send_receipt(held.receipt(line.hand)))
        with refused("GRANT_REVOKED"):
            stream.read()
    assert line.released(agreement) == [1]
    line.check_no_order(agreement, "GRANT_REVOKED")
    with line.hand.stream() as stream, refused("GRANT_REVOKED"):
        # Nor is the order, which was good, taken up again.
        stream.send_order(held.order_note)
        stream.read()
    # What arrived may still be acknowledged, since the provider delivered it; that opens nothing either.
    notes = [held.newest_receipt, held.receipt(line.hand)]
    line.hand.call("SubmitReceipts", pb.SubmitReceiptsRequest(receipt_notes=notes))
    assert len(line.log.about(agreement.subject, "RECEIPT_RECEIVED")) == 3
    with line.hand.stream() as stream, refused("GRANT_REVOKED"):
        stream.send_order(held.order_note)
        stream.read()
    assert line.released(agreement) == [1]


def test_a_stream_that_waits_for_a_receipt_is_cut_by_the_block_that_revokes(line: Line) -> None:
    agreement = line.agree()
    with line.hand.stream() as stream:
        _hold(line, agreement, stream)
        line.log.mark()
        line.revoke(agreement)
        with refused("GRANT_REVOKED"):
            stream.read()
    steps = line.log.steps()
    # The next delivery may be on its way into the log when the revocation is; nothing else follows but the end of the stream.
    after = [step for step in steps[steps.index(("GRANT_REVOKED", None)) + 1 :] if step != ("DELIVERY_SENT", None)]
    assert after == [("ACCESS_REFUSED", "GRANT_REVOKED")]
    assert line.released(agreement) == [1]


def test_an_expired_grant_cuts_its_stream_with_the_next_block_and_releases_nothing(line: Line) -> None:
    agreement = line.agree(expiry_seconds=(expiry := now_ms() // 1_000 + EXPIRY_SECONDS))
    other = line.agree(expiry_seconds=expiry)
    with line.hand.stream() as waiting, line.hand.stream() as acknowledging:
        _hold(line, agreement, waiting)
        held = _hold(line, other, acknowledging)
        until(lambda: now_ms() >= 1_000 * expiry)
        # One requester hands in its receipt too late, the other waits and is told all the same.
        acknowledging.send_receipt(held.receipt(line.hand))
        with refused("GRANT_EXPIRED"):
            acknowledging.read()
        line.mine()
        with refused("GRANT_EXPIRED"):
            waiting.read()
    for one in (agreement, other):
        line.check_no_order(one, "GRANT_EXPIRED")
        assert line.released(one) == [1]
    with pytest.raises(GrantExpired):
        list(line.requester.client.department.Fetch(department_pb2.FetchRequest(grant_id=agreement.grant_id)))


def test_a_used_up_grant_takes_no_order_and_keeps_to_what_was_ordered_within_it(line: Line) -> None:
    """The quota counts orders: what was ordered while it lasted is delivered, and nothing else is."""
    agreement = line.agree(quota=1)
    with line.hand.stream() as stream:
        held = _hold(line, agreement, stream)
        with refused("GRANT_USED_UP"):
            line.hand.call("Query", line.hand.question(agreement, "K0000001"))
        last = held.finish(line.hand)
    line.check_no_order(agreement, "GRANT_USED_UP")
    assert line.released(agreement) == list(range(1, last + 1))


# Between two nodes.


def test_a_fetch_is_cut_by_a_revocation_and_what_was_not_released_can_never_be_opened(
    consortium: LocalConsortium, line: Line, archives: Archives
) -> None:
    """The line stands still within the third delivery; the revocation comes; then the line goes on."""
    agreement = line.agree()
    heard = LogWatch(consortium.home(HEALTH) / "data")
    archives.relay.hold_after(HELD_BYTES)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(_fetch, line.requester, agreement)
        try:
            until(lambda: 2 in line.released(agreement))
            until(lambda: heard.about(agreement.subject, "KEYS_RECEIVED") != [])
            line.log.mark()
            line.revoke(agreement)
        finally:
            archives.relay.release()
        with pytest.raises(GrantRevoked):
            fetching.result(WAIT_SECONDS)
    steps = line.log.steps()
    assert "KEYS_RELEASED" not in [event for event, _ in steps[steps.index(("GRANT_REVOKED", None)) :]]
    assert steps[-1] == ("ACCESS_REFUSED", "GRANT_REVOKED")
    assert heard.steps()[-1] == ("ACCESS_REFUSED", "GRANT_REVOKED")
    assert line.released(agreement) == [1, 2]
    for _ in range(2):
        # Asking again is refused in the same words, and nothing comes of the receipts that it hands in.
        with pytest.raises(GrantRevoked):
            _fetch(line.requester, agreement)
    with pytest.raises(FetchUnfinished):
        line.requester.client.read_records(agreement.grant_id)
    assert line.released(agreement) == [1, 2]
    _check_sealed(consortium, agreement)


def _fetch(requester: Side, agreement: Agreement) -> list[department_pb2.FetchResponse]:
    return list(requester.client.department.Fetch(department_pb2.FetchRequest(grant_id=agreement.grant_id)))


def _check_sealed(consortium: LocalConsortium, agreement: Agreement) -> None:
    """From the requester's own disk, with the requester's own keys: what has its keys opens, what has none does not."""
    engine = load_engine("openssl")
    keys = open_keys(consortium.home(HEALTH) / "keys", passphrase(consortium), engine)
    directory = consortium.home(HEALTH) / "data" / "received" / agreement.grant_id.hex()
    vault = DiskVault(directory)
    held = [int(path.stem) for path in sorted((directory / "deliveries").glob("*.segments"))]
    wrapped = {sequence: vault.keys(sequence) for sequence in held}
    opening = {sequence: found for sequence, found in wrapped.items() if found is not None}
    secrets = {
        sequence: unwrap_secrets(
            engine, HeldKey(engine, keys.encryption_key), wrap_context(agreement.grant_id, sequence), found
        )
        for sequence, found in opening.items()
    }
    assert set(secrets) <= {1, 2}
    assert set(held) - set(secrets), "the requester holds no delivery without its keys"
    for sequence in held:
        blobs = list(vault.segments(sequence) or ())
        if sequence in secrets:
            batches, _ = open_segments(engine, agreement.dataset_id, secrets[sequence], blobs)
            assert b"Sentinel Person" in batches[0].data
            continue
        for secret in secrets.values():
            with pytest.raises(DecryptionFailed):
                open_segments(engine, agreement.dataset_id, secret, blobs)
    assert list(directory.glob("*/records.jsonl")) == []


@pytest.mark.parametrize(
    ("file", "at"),
    [("000001.segments", 0), ("000001.segments", 9), ("000001.keys", 0), ("000001.keys", 1)],
    ids=["of the file of segments", "of a sealed segment", "of the file of keys", "of the wrapped keys"],
)
def test_a_wrong_version_byte_in_the_vault_is_refused_and_blames_nobody(
    consortium: LocalConsortium, line: Line, archives: Archives, file: str, at: int
) -> None:
    """The line is cut within the third delivery. What arrived before is opened again from the requester's own disk."""
    agreement = line.agree()
    heard = LogWatch(consortium.home(HEALTH) / "data")
    archives.relay.hold_after(HELD_BYTES)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(_fetch, line.requester, agreement)
        try:
            until(lambda: heard.about(agreement.subject, "KEYS_RECEIVED") != [])
        finally:
            archives.relay.cut()
        with pytest.raises(PeerUnavailable):
            fetching.result(WAIT_SECONDS)
    path = consortium.home(HEALTH) / "data" / "received" / agreement.grant_id.hex() / "deliveries" / file
    whole = path.read_bytes()
    assert whole[at] == 1
    path.write_bytes(whole[:at] + b"\x02" + whole[at + 1 :])
    with pytest.raises(StoreDamaged):
        _fetch(line.requester, agreement)
    assert all(refusal is None for _, refusal in heard.steps())
    path.write_bytes(whole)
    assert _fetch(line.requester, agreement)[-1].summary.record_count == ROWS
    assert heard.steps()[-1] == ("TRANSFER_VERIFIED", None)
