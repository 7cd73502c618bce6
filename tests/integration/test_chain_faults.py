"""Two nodes whose chain lies behind proxies that delay, lose, cut, repeat, mix up, limit and garble what they say to it: nothing false is believed, nothing is done
twice, nobody crashes, and when it is over everything that was decided is final once.

The faults are drawn with a seed until each has struck sendings, receipts and everything else so often: once by default, KITELINE_DRILL times where that is set
(`make drill-chain`).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random
from typing import TypeVar

import pytest

from crypto.engine import load_engine
from crypto.errors import Refusal
from kiteline.exchange.v1 import department_pb2 as pb
from node.chain.account import account_of
from node.chain.adapter import Chain, open_chain
from node.chain.deployment import load_deployment
from node.chain.journal_store import Entry, State, _read
from node.chain.json_rpc import read_quantity
from node.model.chain import GrantState
from node.rpc.client import Client
from scripts.local_consortium import CIVIL_AFFAIRS, LocalConsortium, MemberPlan
from tests.support.chain_victim import Victim, victim
from tests.support.faulty_proxy import Mix, clean
from tests.support.keys import account_secret
from tests.support.peer_client import now_ms, passphrase, until
from tests.support.statements import member_id

pytestmark = [pytest.mark.process, pytest.mark.timeout(1_800)]  # the long drill

DOCKS = MemberPlan("docks", "Weifang Docks", member_id(91), "department")
CUSTOMS = MemberPlan("customs", "Weifang Customs", member_id(92), "department")
ROWS = 50
EACH = int(os.environ.get("KITELINE_DRILL") or 1)
ROUNDS_AT_MOST = 60 * EACH
ATTEMPTS = 60  # of one thing; each fault strikes each kind of request EACH times only
ONE_IN = {"eth_sendRawTransaction": 2, "eth_getTransactionReceipt": 3, "": 9}
# What a call may be refused with while the chain answers anything, or nothing.
EXPECTED = {
    "CHAIN_UNAVAILABLE",
    "TRANSACTION_PENDING",
    "CHAIN_MISMATCH",  # an answer like "no code at this address" is of the right shape
    "GRANT_UNKNOWN",  # not seen yet, or its note has not arrived
    "GRANT_UNDECIDED",
    "GRANT_NOT_APPROVED",
    "REQUEST_NOT_ON_CHAIN",
}
DAY_SECONDS = 86_400

Done = TypeVar("Done")


class Officer:
    """Somebody who repeats what is refused, and keeps the reasons."""

    def __init__(self, client: Client) -> None:
        self.department = client.department
        self.reasons: Counter[str] = Counter()

    def insist(self, act: Callable[[], Done]) -> Done:
        for _ in range(ATTEMPTS):
            try:
                return act()
            except Refusal as refusal:
                if refusal.reason not in EXPECTED:
                    raise
                self.reasons[refusal.reason] += 1
        raise AssertionError(f"refused {ATTEMPTS} times: {self.reasons}")


@pytest.fixture(scope="module")
def sides(consortium: LocalConsortium) -> Iterator[tuple[Victim, Victim]]:
    """A provider and a requester, each behind a proxy of its own, both running."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(
                victim(
                    consortium,
                    plan,
                    CIVIL_AFFAIRS,
                    poll_milliseconds=100,
                    timeout_milliseconds=500,
                    anchor_interval_seconds=1,
                )
            )
            for plan in (DOCKS, CUSTOMS)
        ]
        for one in made:
            one.start()
        yield made[0], made[1]


def test_an_exchange_through_every_fault_is_done_once_and_ends_as_on_a_clean_line(
    consortium: LocalConsortium, sides: tuple[Victim, Victim], tmp_path: Path
) -> None:
    docks, customs = sides
    dataset = _publish(consortium, tmp_path)
    mixes = [Mix(Random(seed), EACH, ONE_IN) for seed in (1, 2)]
    with closing(docks.client()) as here, closing(customs.client()) as there:
        provider, requester = Officer(here), Officer(there)
        until(lambda: any(entry.dataset.dataset_id == dataset for entry in _catalogue(there)))
        for side, mix in zip(sides, mixes, strict=True):
            side.proxy.choose = mix
        approved = []
        for _ in range(ROUNDS_AT_MOST):
            if all(mix.is_over for mix in mixes):
                break
            approved.append(_exchange(provider, requester, dataset))
            for officer in (provider, requester):
                officer.insist(lambda officer=officer: officer.department.AnchorNow(pb.AnchorNowRequest()))  # type: ignore[misc]
        for side in sides:
            side.proxy.choose = clean
        assert all(mix.is_over for mix in mixes), [mix.struck for mix in mixes]
        # One whole exchange more: the line is clean, so nothing is refused.
        before = provider.reasons + requester.reasons
        approved.append(_exchange(provider, requester, dataset))
        assert provider.reasons + requester.reasons == before
        for side, client in zip(sides, (here, there), strict=True):
            until(lambda client=client: _is_settled(client))  # type: ignore[misc]
            assert len(side.check()) > 1
    for side in sides:
        assert side.process.running, side.process.log_end()
        assert side.process.stop() == 0, side.process.log_end()
        log = consortium.log(side.plan).read_text(encoding="utf-8")
        assert "Traceback" not in log, log[-5_000:]
        _check_stores(consortium, side, approved, tmp_path / side.plan.slug)


def _publish(consortium: LocalConsortium, directory: Path) -> bytes:
    path = directory / "ships.csv"
    lines = ["no,name", *(f"S{number:04},Ship {number}" for number in range(ROWS))]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    published = consortium.kiteline(DOCKS, "publish", str(path), "--dataset", "ships", "--key", "no")
    return bytes.fromhex(published["dataset"])


def _catalogue(client: Client) -> list[pb.CatalogueEntry]:
    return list(client.department.ListCatalogue(pb.ListCatalogueRequest()).entries)


def _grants(officer: Officer) -> list[pb.Grant]:
    return list(officer.department.ListGrants(pb.ListGrantsRequest()).grants)


def _exchange(provider: Officer, requester: Officer, dataset: bytes) -> bytes:
    """Ask, approve and fetch, each until it is done; gives the grant."""
    wish = pb.RequestGrantRequest(
        dataset_id=dataset, purpose="to test", expiry_seconds=now_ms() // 1_000 + DAY_SECONDS, quota=10
    )
    grant = bytes(requester.insist(lambda: requester.department.RequestGrant(wish)).grant_id)
    approval = pb.DecideGrantRequest(grant_id=grant, approve=True)
    # The requester's node hands it over, again if need be, in its own time.
    until(lambda: any(one.purpose for one in _grants(provider) if one.grant_id == grant))

    def decide() -> None:
        try:
            provider.department.DecideGrant(approval)
        except Refusal as refusal:
            # It was approved by the call before, which did not hear of it.
            if refusal.reason != "GRANT_DECIDED":
                raise

    provider.insist(decide)
    fetched = requester.insist(lambda: list(requester.department.Fetch(pb.FetchRequest(grant_id=grant))))
    assert fetched[-1].summary.record_count == ROWS
    return grant


def _is_settled(client: Client) -> bool:
    """Nothing waits for a block, and the chain has all of the log but the entry about its newest anchor."""
    status = client.department.GetStatus(pb.GetStatusRequest())
    return bool(status.pending_transactions == 0 and status.anchored_size >= status.log_size - 1)


def _check_stores(consortium: LocalConsortium, side: Victim, approved: list[bytes], directory: Path) -> None:
    """The stopped node's index is the one that is read from the chain anew; each journaled thing was mined, as one transaction."""
    account = account_of(account_secret(side.home / "keys", passphrase(consortium), load_engine("openssl")))
    deployment = load_deployment(consortium.directory / "contracts.toml")

    def opened(place: Path) -> Chain:
        return open_chain(side.network, deployment, place, account, clock=lambda: time.time_ns() // 1_000_000)

    with closing(opened(side.home / "data")) as kept, closing(opened(directory)) as anew:
        while True:  # others write to the same chain
            kept.view.refresh()
            anew.view.refresh()
            if kept.index.head() == anew.index.head():
                break
        assert list(kept.index.scan(b"")) == list(anew.index.scan(b""))
        for grant_id in approved:
            grant = anew.view.grant(grant_id)
            assert grant is not None
            assert grant.state is GrantState.APPROVED
        entries = _journaled(kept)
        assert {entry.state for entry in entries} == {State.MINED}
        count = read_quantity(anew.endpoints.ask("eth_getTransactionCount", account.address, "latest"))
        assert count == len(entries)


def _journaled(chain: Chain) -> list[Entry]:
    journal = chain.journal
    with journal._environment.begin() as transaction, transaction.cursor(journal._entries) as cursor:
        return [_read(key.decode(), value) for key, value in cursor]
