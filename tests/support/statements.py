"""Hypothesis strategies for the values and statements of an exchange."""

from __future__ import annotations

from hypothesis import strategies as st

from crypto.credit_code import credit_code_check_character
from node.model.chain import SharingType
from node.model.lines import ZERO_DIGEST, FieldDescription, Range
from node.model.statements import (
    Decision,
    Delivery,
    Description,
    KeyRelease,
    Order,
    OrderKind,
    Outcome,
    Purge,
    Receipt,
    Request,
    Revocation,
    Statement,
)


def member_id(number: int) -> str:
    """A well-formed credit code of a department of Weifang."""
    body = f"11370700MB{number:07d}"
    return body + credit_code_check_character(body)


_LETTERS = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufeff"
).filter(lambda c: not "\u202a" <= c <= "\u202e" and not "\u2066" <= c <= "\u2069")

members = st.integers(0, 9_999_999).map(member_id)
digests = st.binary(min_size=32, max_size=32)
used_digests = digests.filter(lambda digest: digest != ZERO_DIGEST)
order_ids = st.binary(min_size=16, max_size=16)
texts = st.text(_LETTERS, min_size=1, max_size=60).filter(lambda text: text == text.strip() and text != "-")
names = st.text(_LETTERS, min_size=1, max_size=20).filter(lambda text: text == text.strip() and text not in "*-")
times = st.integers(0, 253_402_300_799_999)
expiries = st.integers(0, 253_402_300_799)
sequences = st.integers(1, (1 << 64) - 1)
quotas = st.integers(1, (1 << 32) - 1)
field_names = st.lists(names, max_size=5, unique=True).map(tuple)
ranges = st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 20)).map(lambda pair: Range(pair[0], sum(pair)))


@st.composite
def descriptions(draw: st.DrawFn) -> Description:
    fields = draw(
        st.lists(
            st.builds(FieldDescription, names, st.one_of(st.just(""), texts)),
            min_size=1,
            max_size=6,
            unique_by=lambda field: field.name,
        ).map(tuple)
    )
    return Description(
        dataset_id=draw(digests),
        name=draw(st.from_regex(r"[a-z0-9-]{1,64}", fullmatch=True)),
        provider_id=draw(members),
        title=draw(texts),
        level=draw(st.integers(1, 4)),
        sharing_type=draw(st.sampled_from(SharingType)),
        key_field=draw(st.one_of(st.none(), st.sampled_from([field.name for field in fields]))),
        fields=fields,
        time_ms=draw(times),
    )


requests = st.builds(Request, digests, digests, members, members, field_names, texts, expiries, quotas, times)
approvals = st.builds(
    Decision,
    digests,
    digests,
    st.just(Outcome.APPROVED),
    field_names,
    expiries,
    quotas,
    st.one_of(st.none(), texts),
    members,
    times,
)
denials = st.builds(
    Decision, digests, digests, st.just(Outcome.DENIED), st.none(), st.none(), st.none(), texts, members, times
)
revocations = st.builds(Revocation, digests, texts, members, times)
bulk_orders = st.builds(
    Order,
    order_ids,
    digests,
    digests,
    members,
    members,
    st.just(OrderKind.BULK),
    ranges,
    st.just(ZERO_DIGEST),
    times,
)
query_orders = st.builds(
    Order,
    order_ids,
    digests,
    digests,
    members,
    members,
    st.just(OrderKind.QUERY),
    st.none(),
    used_digests,
    times,
)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    kind = draw(st.sampled_from(OrderKind))
    bulk = kind is OrderKind.BULK
    zeros = st.just(ZERO_DIGEST)
    return Delivery(
        grant_id=draw(digests),
        order_id=draw(order_ids),
        sequence=draw(sequences),
        kind=kind,
        dataset_id=draw(digests),
        version_digest=draw(digests),
        range=draw(ranges),
        segments=draw(st.integers(1, 1 << 20)) if bulk else 0,
        segments_digest=draw(used_digests if bulk else zeros),
        answer_digest=draw(zeros if bulk else used_digests),
        wrapped_digest=draw(zeros if bulk else used_digests),
        provider_id=draw(members),
        requester_id=draw(members),
        time_ms=draw(times),
    )


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    sequence = draw(st.one_of(st.just(1), sequences))
    previous = draw(used_digests) if sequence > 1 else ZERO_DIGEST
    return Receipt(
        draw(digests), draw(order_ids), sequence, draw(digests), draw(digests), previous, draw(members), draw(times)
    )


key_releases = st.builds(KeyRelease, digests, order_ids, sequences, digests, digests, members, times)
purges = st.builds(Purge, digests, st.integers(0, (1 << 64) - 1), digests, texts, members, times)

statements: st.SearchStrategy[Statement] = st.one_of(
    descriptions(),
    requests,
    approvals,
    denials,
    revocations,
    bulk_orders,
    query_orders,
    deliveries(),
    receipts(),
    key_releases,
    purges,
)
