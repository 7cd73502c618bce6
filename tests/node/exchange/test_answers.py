"""What a requester makes of an answer that proves itself and does not answer the question."""

from __future__ import annotations

import pytest

from crypto.wrap import KEK_SIZE
from node.errors import DeliveryInvalid
from node.exchange.answering import Answering
from node.exchange.opening import kept_context
from node.model.statements import Order
from node.model.transfer import QueryAsked
from tests.support.exchange_world import World, make_grant


def _answers_with_a_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that looks up the next record instead: sealed, signed and proven like any."""
    find = Answering._find

    def neighbour(self: Answering, order: Order, asked: QueryAsked) -> int:
        return find(self, order, asked) + 1

    monkeypatch.setattr(Answering, "_find", neighbour)


@pytest.mark.parametrize("fields", [(), ("age", "no")], ids=["whole records", "narrowed to some fields"])
async def test_a_proven_record_with_another_key_is_no_answer_and_is_kept_as_evidence(
    monkeypatch: pytest.MonkeyPatch, fields: tuple[str, ...]
) -> None:
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, fields=fields)
    _answers_with_a_neighbour(monkeypatch)
    with pytest.raises(DeliveryInvalid, match="another key than was asked for"):
        await requester.requester.query(grant_id, "k5")
    assert requester.events()[-2:] == ["DELIVERY_RECEIVED", "TRANSFER_MISMATCH:DELIVERY_INVALID"]
    # What is kept can be opened, and so be wrapped anew, by whoever knows what its keys are bound to.
    context = requester.context
    kept = context.vaults(grant_id).keys(1)
    assert kept is not None
    bound_to = kept_context(context, grant_id, 1)
    assert len(context.unwrap(bound_to, kept)) == KEK_SIZE


async def test_where_the_grant_does_not_show_the_key_the_provider_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of such an answer is proven to the requester, and it is not shown as proven."""
    world = World()
    provider, requester = world.add(1), world.add(2)
    grant_id = await make_grant(world, provider, requester, fields=("age",))
    _answers_with_a_neighbour(monkeypatch)
    result = await requester.requester.query(grant_id, "k5")
    assert (result.values, result.proven) == (b"[6]", False)
