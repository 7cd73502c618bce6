"""What a grant allows, as values: the terms in force, the facts that a judgement rests on, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass

from node.model.chain import DatasetOnChain, GrantOnChain, Member
from node.model.statements import Decision, Outcome


@dataclass(frozen=True)
class Terms:
    """What a provider approved. `fields` empty: all fields."""

    fields: tuple[str, ...]
    expiry_seconds: int
    quota: int


def terms_of(decision: Decision) -> Terms | None:
    """The terms that a decision states; None for a denial."""
    fields, expiry_seconds, quota = decision.fields, decision.expiry_seconds, decision.quota
    if decision.outcome is not Outcome.APPROVED or fields is None or expiry_seconds is None or quota is None:
        return None
    return Terms(fields, expiry_seconds, quota)


@dataclass(frozen=True)
class GrantFacts:
    """Everything that is known about a grant at one moment. None: not known here.

    `revoked_here`, `purged_here`: this node logged a revocation of the grant, or a purge of its dataset, whether or not it is in a
    block yet. `used`: orders so far.
    """

    grant: GrantOnChain | None
    terms: Terms | None
    dataset: DatasetOnChain | None
    requester: Member | None
    provider: Member | None
    revoked_here: bool
    used: int
    now_ms: int
    purged_here: bool = False


@dataclass(frozen=True)
class Explanation:
    """Whether a grant allows an order now; `reason` is empty or that of the first refusal; one sentence for each rule."""

    allowed: bool
    reason: str
    sentences: tuple[str, ...]
