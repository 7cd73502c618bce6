"""Whether a grant allows an order, and whether it still allows a key.

The rules stand in one fixed order and each is one function that gives a sentence, or a refusal. A caller from outside
meets the first refusal and nothing else; `explain` gives the provider's officer every sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from crypto.errors import Refusal
from node.errors import (
    DatasetNotShared,
    DatasetPurged,
    DatasetUnknown,
    GrantExpired,
    GrantFields,
    GrantNotApproved,
    GrantRevoked,
    GrantUnknown,
    GrantUsedUp,
    KeyCompromised,
    NotAMember,
    OrderReplayed,
    RangeInvalid,
    StatementInvalid,
)
from node.model.chain import GrantState, KeyKind, Member, SharingType
from node.model.grants import Explanation, GrantFacts
from node.model.lines import LAST_TIME_MS, write_time
from node.model.statements import Order, OrderKind

Judgement = str | Refusal
Rule = Callable[[GrantFacts], Judgement]


def _known(facts: GrantFacts) -> Judgement:
    if facts.grant is None:
        return GrantUnknown("no such grant is on the chain")
    return f"The grant is on the chain, asked for by {facts.grant.requester_id}."


def _side(member: Member | None, side: str) -> Judgement:
    if member is None:
        return NotAMember(f"the {side} is no member of the consortium")
    if not member.is_active:
        return NotAMember(f"the {side} is {member.status.name.lower()}", member=member.member_id)
    return f"The {side}, {member.name}, is an active member."


def _can_be_sealed_to(facts: GrantFacts) -> Judgement:
    # Data keys are wrapped to this key: whoever else has it could read what is delivered.
    member = facts.requester
    if member is not None and member.compromised_since(KeyKind.ENCRYPTION, member.keys.epoch) is not None:
        return KeyCompromised(
            "the requester's encryption key in force is declared compromised",
            member=member.member_id,
            epoch=member.keys.epoch,
        )
    return "The requester's encryption key is not declared compromised."


def _not_revoked(facts: GrantFacts) -> Judgement:
    if facts.grant is not None and facts.grant.state is GrantState.REVOKED:
        return GrantRevoked("the grant is revoked")
    if facts.revoked_here:
        # The provider's word holds from the moment that it is logged; the chain only tells the others.
        return GrantRevoked("the provider has revoked the grant")
    return "The grant is not revoked."


def _approved(facts: GrantFacts) -> Judgement:
    if facts.grant is None or facts.grant.state is not GrantState.APPROVED:
        state = "unknown" if facts.grant is None else facts.grant.state.value
        return GrantNotApproved(f"the grant is {state}, not approved", state=state)
    return "The grant is approved."


def _terms_known(facts: GrantFacts) -> Judgement:
    if facts.terms is None:
        return GrantNotApproved("the decision whose digest is on the chain is not in this node's log")
    if facts.grant is not None and (facts.terms.expiry_seconds, facts.terms.quota) != (
        facts.grant.expiry_seconds,
        facts.grant.quota,
    ):
        return GrantNotApproved("the decision and the chain state different terms")
    return "The decision in this node's log is the one on the chain."


def _not_expired(facts: GrantFacts) -> Judgement:
    # The chain's figure counts, so that the rule holds even where the terms are missing.
    expiry_ms = 1000 * (facts.grant.expiry_seconds if facts.grant else 0)
    if facts.now_ms >= expiry_ms:
        return GrantExpired(f"the grant expired at {write_time(expiry_ms)}")
    # The chain's integer may lie beyond the calendar; what a decision states cannot.
    return f"The grant expires at {write_time(min(expiry_ms, LAST_TIME_MS))}."


def _quota_left(facts: GrantFacts) -> Judgement:
    quota = facts.grant.quota if facts.grant else 0
    if facts.used >= quota:
        return GrantUsedUp(f"all {quota} orders of the grant are used")
    return f"{facts.used} of {quota} orders are used."


def _dataset_offered(facts: GrantFacts) -> Judgement:
    # The provider's word holds from the moment that it is logged, as for a revocation. Nothing but a purge withdraws a dataset.
    if facts.purged_here or (facts.dataset is not None and facts.dataset.withdrawn):
        return DatasetPurged("the dataset is purged")
    if facts.dataset is None:
        return DatasetUnknown("the dataset was never registered")
    if facts.dataset.sharing_type is SharingType.NOT_SHARED:
        return DatasetNotShared("the dataset is not shared")
    return "The dataset is offered."


_RELEASE_RULES: tuple[Rule, ...] = (
    _known,
    lambda facts: _side(facts.requester, "requester"),
    lambda facts: _side(facts.provider, "provider"),
    _can_be_sealed_to,
    _not_revoked,
    _approved,
    _terms_known,
    _not_expired,
    _dataset_offered,
)
# A used-up grant still releases what was ordered under it, so the quota binds orders alone.
_ORDER_RULES: tuple[Rule, ...] = (*_RELEASE_RULES, _quota_left)


def _judge(rules: Sequence[Rule], facts: GrantFacts) -> None:
    for rule in rules:
        judgement = rule(facts)
        if isinstance(judgement, Refusal):
            raise judgement


def judge_release(facts: GrantFacts) -> None:
    """Raise the first reason why nothing may be delivered and no key released under this grant at this moment."""
    _judge(_RELEASE_RULES, facts)


def judge_order(facts: GrantFacts, order: Order, published_size: int) -> None:
    """Raise the first reason why a new order is refused. `published_size`: of the dataset's newest version."""
    _judge(_ORDER_RULES, facts)
    if order.kind is OrderKind.BULK:
        if facts.terms is not None and facts.terms.fields:
            raise GrantFields("the grant covers some fields only; a bulk transfer carries whole records")
        if order.range is None or (order.range.start, order.range.stop) != (0, published_size):
            raise RangeInvalid(f"a bulk order covers records 0 to {published_size}", size=published_size)
    elif published_size == 0:
        raise RangeInvalid("the dataset has no published version")


def judge_sides(facts: GrantFacts, order: Order, caller_id: str, provider_id: str) -> None:
    """Raise unless the order names this grant's members and dataset, and comes from its requester.

    A caller who is not the requester learns nothing about the grant, not even that it exists.
    """
    grant = facts.grant
    if grant is None or caller_id != grant.requester_id or grant.provider_id != provider_id:
        raise GrantUnknown("no such grant between these members")
    if order.requester_id != caller_id or order.provider_id != provider_id or order.dataset_id != grant.dataset_id:
        raise StatementInvalid("the order names other members or another dataset than its grant")


def judge_freshness(order_time_ms: int, now_ms: int, max_clock_skew_seconds: int) -> None:
    """Raise OrderReplayed for an unknown order whose time is too far from now, in either direction."""
    if abs(now_ms - order_time_ms) > 1000 * max_clock_skew_seconds:
        raise OrderReplayed(
            f"the order's time is more than {max_clock_skew_seconds} s from this node's", order_time=order_time_ms
        )


# What these judge is on the chain once the grant is approved; before that, their figures are zeros that say nothing.
_AFTER_APPROVAL: tuple[Rule, ...] = (_terms_known, _not_expired, _quota_left)


def _sentences(facts: GrantFacts) -> Iterator[Judgement]:
    never_approved = facts.grant is None or facts.grant.state in {GrantState.REQUESTED, GrantState.DENIED}
    for rule in _ORDER_RULES:
        if not (never_approved and rule in _AFTER_APPROVAL):
            yield rule(facts)


def explain(facts: GrantFacts) -> Explanation:
    """Every rule's sentence, in order, and the first refusal's reason. For the provider's officer only."""
    judgements = list(_sentences(facts))
    refusals = [judgement for judgement in judgements if isinstance(judgement, Refusal)]
    sentences = [
        f"{judgement.reason}: {judgement}." if isinstance(judgement, Refusal) else judgement for judgement in judgements
    ]
    if facts.terms is not None:
        sentences.append(
            f"It covers the fields {', '.join(facts.terms.fields)}: queries only."
            if facts.terms.fields
            else "It covers all fields: bulk and queries."
        )
    return Explanation(not refusals, refusals[0].reason if refusals else "", tuple(sentences))
