"""What the rules allow, and the one reason that they give."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from crypto.errors import Refusal
from crypto.sm2 import SM2PrivateKey
from node.errors import GrantUnknown, OrderReplayed, StatementInvalid
from node.model.chain import DatasetOnChain, GrantOnChain, GrantState, KeyEpoch, Member, MemberStatus, Role, SharingType
from node.model.grants import GrantFacts, Terms
from node.model.lines import ZERO_DIGEST, Range
from node.model.statements import Order, OrderKind
from node.policy.grants import explain, judge_freshness, judge_order, judge_release, judge_sides
from tests.support.statements import member_id

GRANT, DATASET = b"\x01" * 32, b"\x02" * 32
REQUESTER, PROVIDER = member_id(1), member_id(2)
EXPIRY = 2_000_000_000
POINT = SM2PrivateKey.generate(os.urandom).public_key
KEYS = KeyEpoch(1, POINT, POINT, "0x", b"certificate", "host:1", 1, 1)
FACTS = GrantFacts(
    grant=GrantOnChain(
        GRANT, DATASET, REQUESTER, PROVIDER, GrantState.APPROVED, b"\x03" * 32, b"\x04" * 32, EXPIRY, quota=3
    ),
    terms=Terms((), EXPIRY, 3),
    dataset=DatasetOnChain(DATASET, PROVIDER, b"\x05" * 32, 2, SharingType.CONDITIONAL, size=10),
    requester=Member(REQUESTER, "大数据局", Role.DEPARTMENT, MemberStatus.ACTIVE, (KEYS,)),
    provider=Member(PROVIDER, "民政局", Role.DEPARTMENT, MemberStatus.ACTIVE, (KEYS,)),
    revoked_here=False,
    used=0,
    now_ms=1_900_000_000_000,
)
BULK = Order(b"\x06" * 16, GRANT, DATASET, REQUESTER, PROVIDER, OrderKind.BULK, Range(0, 10), ZERO_DIGEST, 0)
QUERY = replace(BULK, kind=OrderKind.QUERY, range=None, key_digest=b"\x07" * 32)


def _with_grant(**changes: object) -> GrantFacts:
    assert FACTS.grant is not None
    return replace(FACTS, grant=replace(FACTS.grant, **changes))  # type: ignore[arg-type]  # any field, by name


def _with_dataset(**changes: object) -> GrantFacts:
    assert FACTS.dataset is not None
    return replace(FACTS, dataset=replace(FACTS.dataset, **changes))  # type: ignore[arg-type]  # any field, by name


def _suspended(side: str) -> GrantFacts:
    member = getattr(FACTS, side)
    return replace(FACTS, **{side: replace(member, status=MemberStatus.SUSPENDED)})


def _requester_with(*epochs: KeyEpoch) -> GrantFacts:
    assert FACTS.requester is not None
    return replace(FACTS, requester=replace(FACTS.requester, epochs=epochs))


LOST = replace(KEYS, encryption_compromised_since=1)  # Unix time, s
RENEWED = replace(KEYS, epoch=2, encryption_key=SM2PrivateKey.generate(os.urandom).public_key)
REFUSED = [
    (replace(FACTS, grant=None), "GRANT_UNKNOWN"),
    (replace(FACTS, requester=None), "NOT_A_MEMBER"),
    (_suspended("requester"), "NOT_A_MEMBER"),
    (_suspended("provider"), "NOT_A_MEMBER"),
    (_requester_with(LOST), "KEY_COMPROMISED"),
    (_requester_with(LOST, replace(KEYS, epoch=2)), "KEY_COMPROMISED"),  # the same key, declared of an epoch before
    (_with_grant(state=GrantState.REVOKED), "GRANT_REVOKED"),
    (replace(FACTS, revoked_here=True), "GRANT_REVOKED"),
    (_with_grant(state=GrantState.REQUESTED), "GRANT_NOT_APPROVED"),
    (_with_grant(state=GrantState.DENIED), "GRANT_NOT_APPROVED"),
    (_with_grant(state=GrantState.CLOSED), "GRANT_NOT_APPROVED"),
    (replace(FACTS, terms=None), "GRANT_NOT_APPROVED"),
    (replace(FACTS, terms=Terms((), EXPIRY, 4)), "GRANT_NOT_APPROVED"),
    (replace(FACTS, now_ms=EXPIRY * 1000), "GRANT_EXPIRED"),
    (_with_dataset(withdrawn=True), "DATASET_PURGED"),
    (replace(FACTS, purged_here=True), "DATASET_PURGED"),
    (replace(FACTS, dataset=None), "DATASET_UNKNOWN"),
    (_with_dataset(sharing_type=SharingType.NOT_SHARED), "DATASET_NOT_SHARED"),
]


def test_a_grant_in_force_allows_orders_and_keys() -> None:
    judge_release(FACTS)
    judge_order(FACTS, BULK, 10)
    judge_order(FACTS, QUERY, 10)
    assert explain(FACTS).allowed


@pytest.mark.parametrize(("facts", "reason"), REFUSED)
def test_each_fault_refuses_keys_and_orders_with_its_reason(facts: GrantFacts, reason: str) -> None:
    with pytest.raises(Refusal) as refused:
        judge_release(facts)
    assert refused.value.reason == reason
    with pytest.raises(Refusal) as refused:
        judge_order(facts, BULK, 10)
    assert refused.value.reason == reason
    explanation = explain(facts)
    assert (explanation.allowed, explanation.reason) == (False, reason)
    assert any(sentence.startswith(reason) for sentence in explanation.sentences)


@pytest.mark.parametrize(
    "epochs",
    [
        (LOST, RENEWED),
        (replace(KEYS, compromised_since=1, account_compromised_since=1, certificate_compromised_since=1),),
    ],
)
def test_a_renewed_key_and_other_kinds_of_keys_do_not_keep_data_back(epochs: tuple[KeyEpoch, ...]) -> None:
    judge_release(_requester_with(*epochs))
    judge_order(_requester_with(*epochs), BULK, 10)


def test_the_providers_encryption_key_is_nothing_that_a_grant_depends_on() -> None:
    assert FACTS.provider is not None
    judge_release(replace(FACTS, provider=replace(FACTS.provider, epochs=(LOST,))))


def test_the_last_millisecond_of_a_grant_still_counts() -> None:
    judge_release(replace(FACTS, now_ms=EXPIRY * 1000 - 1))


def test_a_used_up_grant_refuses_orders_and_still_releases_what_was_ordered() -> None:
    facts = replace(FACTS, used=3)
    with pytest.raises(Refusal) as refused:
        judge_order(facts, BULK, 10)
    assert refused.value.reason == "GRANT_USED_UP"
    judge_release(facts)


def test_narrowed_fields_allow_queries_and_refuse_bulk() -> None:
    facts = replace(FACTS, terms=Terms(("name",), EXPIRY, 3))
    judge_order(facts, QUERY, 10)
    with pytest.raises(Refusal) as refused:
        judge_order(facts, BULK, 10)
    assert refused.value.reason == "GRANT_FIELDS"
    assert explain(facts).sentences[-1] == "It covers the fields name: queries only."


@pytest.mark.parametrize("ordered", [Range(0, 9), Range(0, 11), Range(1, 10)])
def test_a_bulk_order_covers_the_newest_version(ordered: Range) -> None:
    with pytest.raises(Refusal) as refused:
        judge_order(FACTS, replace(BULK, range=ordered), 10)
    assert refused.value.reason == "RANGE_INVALID"


def test_nothing_can_be_queried_before_the_first_version() -> None:
    with pytest.raises(Refusal) as refused:
        judge_order(FACTS, QUERY, 0)
    assert refused.value.reason == "RANGE_INVALID"


def test_a_stranger_is_not_told_that_the_grant_exists() -> None:
    judge_sides(FACTS, BULK, REQUESTER, PROVIDER)
    for facts, caller, provider in (
        (replace(FACTS, grant=None), REQUESTER, PROVIDER),
        (FACTS, member_id(3), PROVIDER),
        (FACTS, REQUESTER, member_id(3)),
    ):
        with pytest.raises(GrantUnknown, match="no such grant between these members"):
            judge_sides(facts, BULK, caller, provider)
    for order in (
        replace(BULK, requester_id=member_id(3)),
        replace(BULK, provider_id=member_id(3)),
        replace(BULK, dataset_id=b"\x09" * 32),
    ):
        with pytest.raises(StatementInvalid):
            judge_sides(FACTS, order, REQUESTER, PROVIDER)


@pytest.mark.parametrize("away", [-300_001, 300_001])
def test_an_order_too_old_or_from_the_future_is_a_replay(away: int) -> None:
    judge_freshness(1_000_000, 1_000_000 + away - (1 if away > 0 else -1), 300)
    with pytest.raises(OrderReplayed):
        judge_freshness(1_000_000, 1_000_000 + away, 300)


def test_an_expiry_beyond_the_calendar_is_still_explained() -> None:
    facts = replace(_with_grant(expiry_seconds=(1 << 64) - 1), terms=Terms((), (1 << 64) - 1, 3))
    assert explain(facts).allowed


def test_the_officer_reads_a_sentence_for_every_rule_in_order() -> None:
    assert explain(replace(FACTS, used=2)).sentences == (
        f"The grant is on the chain, asked for by {REQUESTER}.",
        "The requester, 大数据局, is an active member.",
        "The provider, 民政局, is an active member.",
        "The requester's encryption key is not declared compromised.",
        "The grant is not revoked.",
        "The grant is approved.",
        "The decision in this node's log is the one on the chain.",
        "The grant expires at 2033-05-18T03:33:20.000Z.",
        "The dataset is offered.",
        "2 of 3 orders are used.",
        "It covers all fields: bulk and queries.",
    )


def test_of_several_faults_a_caller_meets_the_first_and_the_officer_all() -> None:
    """Faults are added from the last rule to the first: each is met in place of those after it."""
    facts, met = FACTS, []
    for changes in (
        {"used": 3},
        {"dataset": None},
        {"now_ms": EXPIRY * 1000},
        {"terms": None},
        {"grant": replace(_grant(FACTS), state=GrantState.CLOSED)},
        {"revoked_here": True},
        {"provider": None},
        {"requester": None},
    ):
        facts = replace(facts, **changes)
        with pytest.raises(Refusal) as refused:
            judge_order(facts, BULK, 10)
        met.append(refused.value.reason)
    assert met == [
        "GRANT_USED_UP",
        "DATASET_UNKNOWN",
        "GRANT_EXPIRED",
        "GRANT_NOT_APPROVED",
        "GRANT_NOT_APPROVED",
        "GRANT_REVOKED",
        "NOT_A_MEMBER",
        "NOT_A_MEMBER",
    ]
    told = [sentence.split(":")[0] for sentence in explain(facts).sentences if sentence.split(":")[0].isupper()]
    assert told == met[::-1]


def _grant(facts: GrantFacts) -> GrantOnChain:
    assert facts.grant is not None
    return facts.grant


def test_the_terms_in_the_log_are_those_of_the_chain_or_none() -> None:
    for terms in (Terms((), EXPIRY - 1, 3), Terms((), EXPIRY, 2), Terms((), EXPIRY + 1, 3)):
        with pytest.raises(Refusal) as refused:
            judge_release(replace(FACTS, terms=terms))
        assert refused.value.reason == "GRANT_NOT_APPROVED"
        assert "different terms" in str(refused.value)
