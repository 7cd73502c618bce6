"""What the provider's officer is told of a grant that was never approved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.model.chain import GrantState
from node.policy.grants import explain
from tests.node.policy.test_grants import FACTS


@pytest.mark.parametrize("state", [GrantState.REQUESTED, GrantState.DENIED])
def test_a_grant_that_was_never_approved_is_not_called_expired_or_used_up(state: GrantState) -> None:
    assert FACTS.grant is not None
    undecided = replace(FACTS.grant, state=state, expiry_seconds=0, quota=0)
    explanation = explain(replace(FACTS, grant=undecided, terms=None))
    refusals = [sentence for sentence in explanation.sentences if sentence.split(":")[0].isupper()]
    assert refusals == [f"GRANT_NOT_APPROVED: the grant is {state.value}, not approved."]
    assert explanation.reason == "GRANT_NOT_APPROVED"
