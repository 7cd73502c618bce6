"""What a provider's officer may not decide any more: an approval for a member that is not active."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import NotAMember
from node.exchange.granting import Wish
from node.model.chain import GrantState, MemberStatus
from node.model.grants import Terms
from tests.support.exchange_world import Node, World, make_grant

AS_ASKED = Terms((), 0, 0)


async def _asked() -> tuple[World, Node, Node, bytes]:
    """A provider, a member that asked it for a dataset, and the request."""
    world = World()
    provider, other, requester = world.add(1), world.add(2), world.add(3)
    granted = await make_grant(world, provider, other, records=4)
    dataset = world.chain.grants_by_id[granted].dataset_id
    grant_id, _ = await requester.granting.request(Wish(dataset, (), "to test", world.clock.now_ms // 1000 + 3600, 5))
    return world, provider, requester, grant_id


def _set_status(world: World, node: Node, status: MemberStatus) -> None:
    world.chain.members_by_id[node.member_id] = replace(node.member, status=status)


@pytest.mark.parametrize("status", [MemberStatus.SUSPENDED, MemberStatus.REMOVED])
async def test_an_approval_for_a_member_that_is_not_active_is_refused_logged_and_not_signed(
    status: MemberStatus,
) -> None:
    world, provider, requester, grant_id = await _asked()
    _set_status(world, requester, status)
    before = len(provider.entries)
    with pytest.raises(NotAMember, match=f"the requester is {status.name.lower()}"):
        await provider.granting.decide(grant_id, approve=True, reason="", wanted=AS_ASKED)
    assert provider.events()[before:] == ["ACCESS_REFUSED:NOT_A_MEMBER"]
    assert world.chain.grants_by_id[grant_id].state is GrantState.REQUESTED
    await provider.granting.decide(grant_id, approve=False, reason="suspended", wanted=AS_ASKED)
    assert world.chain.grants_by_id[grant_id].state is GrantState.DENIED


async def test_a_reinstated_members_request_is_approved() -> None:
    world, provider, requester, grant_id = await _asked()
    for status in (MemberStatus.SUSPENDED, MemberStatus.ACTIVE):
        _set_status(world, requester, status)
    await provider.granting.decide(grant_id, approve=True, reason="", wanted=AS_ASKED)
    assert world.chain.grants_by_id[grant_id].state is GrantState.APPROVED
