"""The terms that a decision states."""

from __future__ import annotations

import pytest

from node.model.grants import Terms, terms_of
from node.model.statements import Decision, Outcome
from tests.support.statements import member_id

ID = bytes(32)


@pytest.mark.parametrize("fields", [(), ("a", "b")])
def test_an_approval_states_its_terms(fields: tuple[str, ...]) -> None:
    decision = Decision(ID, ID, Outcome.APPROVED, fields, 2_000_000_000, 7, None, member_id(1), 0)
    assert terms_of(decision) == Terms(fields, 2_000_000_000, 7)


def test_a_denial_states_none() -> None:
    assert terms_of(Decision(ID, ID, Outcome.DENIED, None, None, None, "no legal basis", member_id(1), 0)) is None
