"""What an entry is about: one spelling for each subject, and no other is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import SubjectInvalid
from node.model.events import NOBODY, Event, check_subject, dataset_subject, grant_subject, member_subject
from tests.support.statements import member_id

ID = bytes(range(0xE0, 0x100))


def test_subjects_read_as_documented() -> None:
    assert grant_subject(ID) == "grant:" + ID.hex()
    assert dataset_subject(ID) == "dataset:" + ID.hex()
    assert member_subject(member_id(1)) == "member:" + member_id(1)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 9_999_999))
def test_every_subject_that_is_made_is_accepted_as_it_is(thing: bytes, number: int) -> None:
    for subject in (grant_subject(thing), dataset_subject(thing), member_subject(member_id(number))):
        assert check_subject(subject) == subject


@pytest.mark.parametrize(
    "subject",
    [
        "",
        NOBODY,
        "grant",
        "grant:",
        "grant:" + ID.hex()[:-1],
        "grant:" + ID.hex() + "0",
        "grant:" + ID.hex().upper(),
        "grant:" + ID.hex()[:-1] + "g",
        "grant:" + ID.hex() + "\n",
        " grant:" + ID.hex(),
        "Grant:" + ID.hex(),
        "order:" + ID.hex(),
        "grant:dataset:" + ID.hex(),
        "member",
        "member:",
        "member:" + member_id(1)[:-1],
        "member:" + member_id(1) + "0",
        "member:" + member_id(1)[:-1] + ("1" if member_id(1)[-1] != "1" else "2"),
        "member:" + member_id(1).lower(),
        member_id(1),
        "dataset:" + member_id(1),
    ],
)
def test_anything_else_is_refused(subject: str) -> None:
    with pytest.raises(SubjectInvalid):
        check_subject(subject)


def test_an_event_is_spelled_as_its_name() -> None:
    """The name stands in entries that are signed, so it can never change."""
    for event in Event:
        assert event.value == event.name == str(event)
        assert Event(event.name) is event
