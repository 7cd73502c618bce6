"""Catalogue: a dataset belongs to the member that its id names, its head only grows, and its withdrawal is final."""

from __future__ import annotations

import pytest

from tests.contracts.world import CONDITIONAL, NOT_SHARED, OPEN, SUSPENDED, Member, World, dataset_id, not_a_member

DATASET, OTHER_DATASET, ANOTHERS_DATASET = (
    dataset_id(3, 1),
    dataset_id(3, 2),
    dataset_id(1, 1),
)  # of `third`, and of `first`
METADATA, NEWER_METADATA = b"\3" * 32, b"\4" * 32
ROOT, NEWER_ROOT, NOTE = b"\5" * 32, b"\6" * 32, b"\7" * 32
NO_ROOT = bytes(32)
LARGEST_SIZE = 2**64 - 1
LARGEST_BYTE = 2**8 - 1


@pytest.fixture
def registered(world: World, third: Member) -> World:
    """A world in which a department has registered a dataset, conditional and of level 2."""
    world.send("Catalogue.register", third, DATASET, METADATA, 2, CONDITIONAL)
    return world


def test_a_registered_dataset_stands_under_its_provider_without_a_head(world: World, third: Member) -> None:
    world.accepts(
        "Catalogue.register",
        *(third, DATASET, METADATA, 2, CONDITIONAL),
        events=[("DatasetRegistered", DATASET, third.id, METADATA, 2, CONDITIONAL)],
    )
    assert world.view("Catalogue.datasetOf", DATASET) == (third.id, METADATA, NO_ROOT, 0, 2, CONDITIONAL, False)


def test_a_dataset_that_was_never_registered_is_unknown(registered: World, third: Member) -> None:
    unknown = ("DatasetUnknown", OTHER_DATASET)
    registered.view_refuses("Catalogue.datasetOf", OTHER_DATASET, error=unknown)
    registered.refuses("Catalogue.update", third, OTHER_DATASET, METADATA, 2, OPEN, error=unknown)
    registered.refuses("Catalogue.setHead", third, OTHER_DATASET, 1, ROOT, NOTE, error=unknown)
    registered.refuses("Catalogue.withdraw", third, OTHER_DATASET, error=unknown)


def test_an_id_is_registered_once(registered: World, third: Member) -> None:
    taken = ("DatasetInvalid", DATASET)
    registered.refuses("Catalogue.register", third, DATASET, NEWER_METADATA, 1, OPEN, error=taken)
    registered.send("Catalogue.withdraw", third, DATASET)
    registered.refuses("Catalogue.register", third, DATASET, NEWER_METADATA, 1, OPEN, error=taken)
    assert registered.view("Catalogue.datasetOf", DATASET) == (third.id, METADATA, NO_ROOT, 0, 2, CONDITIONAL, True)


def test_nobody_takes_an_id_before_the_member_that_it_names(
    world: World, first: Member, auditor: Member, third: Member
) -> None:
    for other in (first, auditor):
        error = ("NotTheProvider", DATASET, other.id)
        world.refuses("Catalogue.register", other, DATASET, METADATA, 2, OPEN, error=error)
    world.send("Catalogue.register", third, DATASET, METADATA, 2, CONDITIONAL)
    assert world.view("Catalogue.datasetOf", DATASET)[0] == third.id


@pytest.mark.parametrize(
    "dataset",
    [
        bytes(32),
        DATASET[:-1] + b"\0",
        DATASET[14:] + DATASET[:14],
        DATASET[1:] + b"X",
        bytes([*DATASET[:14], 0x30]) + DATASET[15:],
    ],
    ids=["zero", "one character off", "the provider in front", "the provider shifted", "the first character off"],
)
def test_an_id_that_does_not_end_with_its_provider_is_refused(world: World, third: Member, dataset: bytes) -> None:
    assert len(dataset) == len(DATASET)
    error = ("NotTheProvider", dataset, third.id)
    world.refuses("Catalogue.register", third, dataset, METADATA, 2, OPEN, error=error)
    world.view_refuses("Catalogue.datasetOf", dataset, error=("DatasetUnknown", dataset))


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("sharing", [OPEN, CONDITIONAL, NOT_SHARED])
def test_every_level_goes_with_every_sharing_type(world: World, third: Member, level: int, sharing: int) -> None:
    world.send("Catalogue.register", third, DATASET, METADATA, level, sharing)
    assert world.view("Catalogue.datasetOf", DATASET)[4:6] == (level, sharing)


@pytest.mark.parametrize("level", [0, 5, LARGEST_BYTE])
def test_a_level_beyond_one_to_four_is_refused(registered: World, third: Member, level: int) -> None:
    invalid = ("LevelInvalid", level)
    registered.refuses("Catalogue.register", third, OTHER_DATASET, METADATA, level, OPEN, error=invalid)
    registered.refuses("Catalogue.update", third, DATASET, NEWER_METADATA, level, OPEN, error=invalid)
    registered.view_refuses("Catalogue.datasetOf", OTHER_DATASET, error=("DatasetUnknown", OTHER_DATASET))
    assert registered.view("Catalogue.datasetOf", DATASET) == (third.id, METADATA, NO_ROOT, 0, 2, CONDITIONAL, False)


@pytest.mark.parametrize("sharing", [3, LARGEST_BYTE])
def test_a_sharing_type_beyond_the_three_is_refused(registered: World, third: Member, sharing: int) -> None:
    invalid = ("SharingTypeInvalid", sharing)
    registered.refuses("Catalogue.register", third, OTHER_DATASET, METADATA, 2, sharing, error=invalid)
    registered.refuses("Catalogue.update", third, DATASET, NEWER_METADATA, 2, sharing, error=invalid)
    registered.view_refuses("Catalogue.datasetOf", OTHER_DATASET, error=("DatasetUnknown", OTHER_DATASET))
    assert registered.view("Catalogue.datasetOf", DATASET) == (third.id, METADATA, NO_ROOT, 0, 2, CONDITIONAL, False)


def test_an_update_changes_the_description_and_leaves_the_head(registered: World, third: Member) -> None:
    registered.send("Catalogue.setHead", third, DATASET, 7, ROOT, NOTE)
    registered.accepts(
        "Catalogue.update",
        *(third, DATASET, NEWER_METADATA, 4, NOT_SHARED),
        events=[("DatasetUpdated", DATASET, NEWER_METADATA, 4, NOT_SHARED)],
    )
    assert registered.view("Catalogue.datasetOf", DATASET) == (
        *(third.id, NEWER_METADATA, ROOT),
        *(7, 4, NOT_SHARED, False),
    )


def test_a_head_is_the_newest_version_and_leaves_the_description(registered: World, third: Member) -> None:
    for size, root in ((1, ROOT), (2, NEWER_ROOT), (LARGEST_SIZE, ROOT)):
        registered.accepts(
            "Catalogue.setHead", third, DATASET, size, root, NOTE, events=[("HeadSet", DATASET, size, root, NOTE)]
        )
        assert registered.view("Catalogue.datasetOf", DATASET) == (
            *(third.id, METADATA, root),
            *(size, 2, CONDITIONAL, False),
        )


def test_a_head_whose_size_does_not_grow_is_refused(registered: World, third: Member) -> None:
    registered.refuses("Catalogue.setHead", third, DATASET, 0, ROOT, NOTE, error=("HeadDoesNotGrow", DATASET, 0, 0))
    registered.send("Catalogue.setHead", third, DATASET, 5, ROOT, NOTE)
    for size in (5, 4, 0):
        error = ("HeadDoesNotGrow", DATASET, 5, size)
        registered.refuses("Catalogue.setHead", third, DATASET, size, NEWER_ROOT, NOTE, error=error)
    assert registered.view("Catalogue.datasetOf", DATASET)[2:4] == (ROOT, 5)


def test_heads_of_two_datasets_do_not_touch(registered: World, first: Member, third: Member) -> None:
    """Not even where two members chose the same beginning."""
    assert ANOTHERS_DATASET[:14] == DATASET[:14]
    registered.send("Catalogue.register", first, ANOTHERS_DATASET, METADATA, 1, OPEN)
    registered.send("Catalogue.setHead", third, DATASET, 9, ROOT, NOTE)
    registered.send("Catalogue.setHead", first, ANOTHERS_DATASET, 3, NEWER_ROOT, NOTE)
    assert registered.view("Catalogue.datasetOf", DATASET)[2:4] == (ROOT, 9)
    assert registered.view("Catalogue.datasetOf", ANOTHERS_DATASET)[2:4] == (NEWER_ROOT, 3)


def test_a_withdrawn_dataset_stays_readable_and_changes_no_more(registered: World, third: Member) -> None:
    registered.send("Catalogue.setHead", third, DATASET, 5, ROOT, NOTE)
    registered.accepts("Catalogue.withdraw", third, DATASET, events=[("DatasetWithdrawn", DATASET)])
    withdrawn = ("DatasetIsWithdrawn", DATASET)
    registered.refuses("Catalogue.withdraw", third, DATASET, error=withdrawn)
    registered.refuses("Catalogue.update", third, DATASET, NEWER_METADATA, 1, OPEN, error=withdrawn)
    registered.refuses("Catalogue.setHead", third, DATASET, 6, NEWER_ROOT, NOTE, error=withdrawn)
    assert registered.view("Catalogue.datasetOf", DATASET) == (third.id, METADATA, ROOT, 5, 2, CONDITIONAL, True)


def test_only_its_provider_changes_a_dataset_not_even_an_authority(
    registered: World, first: Member, auditor: Member, third: Member
) -> None:
    before = registered.view("Catalogue.datasetOf", DATASET)
    for other in (first, auditor):
        error = ("NotTheProvider", DATASET, other.id)
        registered.refuses("Catalogue.update", other, DATASET, NEWER_METADATA, 1, OPEN, error=error)
        registered.refuses("Catalogue.setHead", other, DATASET, 1, ROOT, NOTE, error=error)
        registered.refuses("Catalogue.withdraw", other, DATASET, error=error)
    assert registered.view("Catalogue.datasetOf", DATASET) == before


def test_a_suspended_providers_dataset_stands_still(
    registered: World, first: Member, second: Member, third: Member
) -> None:
    registered.resolve("Members.proposeStatus", (first, second), third.id, SUSPENDED)
    registered.refuses("Catalogue.setHead", third, DATASET, 1, ROOT, NOTE, error=not_a_member(third))
    registered.refuses("Catalogue.withdraw", third, DATASET, error=not_a_member(third))
    assert registered.view("Catalogue.datasetOf", DATASET) == (third.id, METADATA, NO_ROOT, 0, 2, CONDITIONAL, False)


def test_a_dataset_survives_the_rotation_of_its_providers_account(registered: World, third: Member) -> None:
    rotated = third.with_account()
    registered.send("Members.rotateKeys", third, rotated.keys, 1)
    registered.refuses("Catalogue.setHead", third, DATASET, 1, ROOT, NOTE, error=not_a_member(third))
    registered.send("Catalogue.setHead", rotated, DATASET, 1, ROOT, NOTE)
    assert registered.view("Catalogue.datasetOf", DATASET)[:4] == (third.id, METADATA, ROOT, 1)
