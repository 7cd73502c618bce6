"""What a crash or an outage left undone is finished when the node starts again."""

from __future__ import annotations

import pytest

from crypto.packed import Packed
from node.errors import ChainUnavailable
from node.exchange.publishing import Offer
from node.model.chain import SharingType
from node.model.lines import FieldDescription
from tests.support.exchange_world import Node, World, make_records, publish

FIELDS = (FieldDescription("no"), FieldDescription("name"), FieldDescription("age"))


async def _described(node: Node, name: str = "people") -> bytes:
    return await node.granting.describe_dataset(Offer(name, "People", FIELDS, "no", 2, SharingType.CONDITIONAL))


def _commit(node: Node, dataset_id: bytes, start: int, count: int) -> None:
    """Records become part of the dataset, and the process ends before their version note."""
    staging = node.datasets.open(dataset_id).begin_append()
    records = make_records(count, start)
    staging.add(Packed.of(records), Packed.of(f"k{index}".encode() for index in range(start, start + count)))
    staging.commit()


async def test_a_version_without_a_note_is_issued_and_on_the_chain_after_a_restart() -> None:
    world = World()
    provider = world.add(1)
    dataset_id = await _described(provider)
    await publish(provider, dataset_id, make_records(8))
    _commit(provider, dataset_id, 8, 4)
    provider.start()
    assert world.chain.datasets_by_id[dataset_id].size == 8
    assert await provider.granting.recover() == []
    assert world.chain.datasets_by_id[dataset_id].size == 12
    assert provider.events().count("VERSION_PUBLISHED") == 2
    assert await provider.granting.recover() == []
    assert provider.events().count("VERSION_PUBLISHED") == 2


async def test_one_dataset_that_cannot_be_finished_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    provider = world.add(1)
    first, second = [await _described(provider, name) for name in ("people", "places")]
    _commit(provider, first, 0, 4)
    _commit(provider, second, 0, 4)
    provider.start()
    set_head = provider.context.writer.set_head

    def down_for_one(dataset_id: bytes, size: int, root: bytes, version_digest: bytes) -> object:
        if dataset_id == first:
            raise ChainUnavailable("no endpoint answers")
        return set_head(dataset_id, size, root, version_digest)

    monkeypatch.setattr(provider.context.writer, "set_head", down_for_one)
    (refusal,) = await provider.granting.recover()
    assert refusal.reason == "CHAIN_UNAVAILABLE"
    assert world.chain.datasets_by_id[second].size == 4
    monkeypatch.undo()
    assert await provider.granting.recover() == []
    assert world.chain.datasets_by_id[first].size == 4
    assert provider.events().count("VERSION_PUBLISHED") == 2
