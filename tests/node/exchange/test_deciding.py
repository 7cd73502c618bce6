"""What a provider's officer may not decide any more: an approval for a member that is not active."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import ChainUnavailable, NotAMember
from node.exchange.granting import Granting, Wish
from node.exchange.provider import Provider
from node.model.chain import GrantOnChain, GrantState, MemberStatus, Mined
from node.model.grants import Terms
from tests.support.exchange_world import Node, World, make_grant
from tests.support.memory_chain import MemoryView, MemoryWriter

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


async def test_a_decision_that_is_repeated_while_the_first_is_under_way_is_the_same_one() -> None:
    """The chain did not answer in time, so the officer decides again; another note would be refused once the first is mined."""
    _, provider, _, grant_id = await _asked()
    digests: list[bytes] = []

    class SilentWriter(MemoryWriter):
        def approve_grant(self, grant_id: bytes, terms_digest: bytes, expiry_seconds: int, quota: int) -> Mined:
            digests.append(terms_digest)
            raise ChainUnavailable("it is journaled and may still be mined")

        def deny_grant(self, grant_id: bytes, reason_digest: bytes) -> Mined:
            return self.approve_grant(grant_id, reason_digest, 0, 0)

    provider.context = replace(provider.context, writer=SilentWriter(provider.world.chain, provider.member_id))
    granting = Granting(provider.context)
    before = len(provider.entries)
    for approve in (True, True, False):
        with pytest.raises(ChainUnavailable):
            await granting.decide(grant_id, approve=approve, reason="" if approve else "no", wanted=AS_ASKED)
    assert digests[0] == digests[1] != digests[2]
    assert provider.events()[before:] == ["DECISION_MADE", "DECISION_MADE"]


async def test_a_request_that_the_provider_could_not_see_on_the_chain_yet_is_handed_over_later() -> None:
    """Its view was behind, or its line to the chain was bad: without another try nobody could ever decide."""
    world, provider, requester, _ = await _asked()

    class BlindView(MemoryView):
        def grant(self, grant_id: bytes) -> GrantOnChain | None:
            return None

    seeing, provider.provider = provider.provider, Provider(replace(provider.context, view=BlindView(world.chain)))
    dataset = next(iter(world.chain.datasets_by_id))
    before = len(provider.entries)
    grant_id, _ = await requester.granting.request(Wish(dataset, (), "to test", world.clock.now_ms // 1000 + 3600, 5))
    assert provider.events()[before:] == ["REQUEST_RECEIVED:REQUEST_NOT_ON_CHAIN"]
    assert await requester.granting.hand_over_requests()
    provider.provider = seeing
    assert not await requester.granting.hand_over_requests()
    await provider.granting.decide(grant_id, approve=True, reason="", wanted=AS_ASKED)
    assert world.chain.grants_by_id[grant_id].state is GrantState.APPROVED
