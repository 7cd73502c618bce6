"""A department whose keys are in others' hands goes on with its data, its log and new keys, as the operator's guide says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.local_consortium import CIVIL_AFFAIRS, CommandFailed, LocalConsortium, MemberPlan
from scripts.processes import free_port
from tests.integration.conftest import initialise
from tests.support.statements import member_id

pytestmark = pytest.mark.process

REGISTRY = MemberPlan("registry", "Weifang Land Registry", member_id(80), "department")
RENEWED = MemberPlan("registry-renewed", REGISTRY.name, REGISTRY.member_id, REGISTRY.roles)


@pytest.fixture
def registry(consortium: LocalConsortium) -> Iterator[MemberPlan]:
    """A member whose node runs and has anchored its log."""
    consortium._ports.setdefault(REGISTRY.slug, free_port())
    consortium._ports.setdefault(RENEWED.slug, consortium.port(REGISTRY))
    initialise(consortium, REGISTRY, advertise=f"127.0.0.1:{consortium.port(REGISTRY)}")
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "admit", str(consortium.home(REGISTRY) / "admission.json"))
    consortium.start_node(REGISTRY)
    consortium.kiteline(REGISTRY, "chain", "anchor")
    yield REGISTRY
    node = consortium.nodes.pop(REGISTRY.slug, None)
    if node is not None:
        node.stop()


def test_keys_made_anew_are_put_in_force_and_the_log_goes_on(consortium: LocalConsortium, registry: MemberPlan) -> None:
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "propose", "suspend", registry.member_id)
    with pytest.raises(CommandFailed, match="NotAMember"):
        consortium.kiteline(registry, "chain", "propose", "threshold", "2")
    before = consortium.kiteline(registry, "status")
    assert consortium.nodes.pop(registry.slug).stop() == 0

    initialise(consortium, RENEWED, advertise=f"127.0.0.1:{consortium.port(REGISTRY)}")
    admission = str(consortium.home(RENEWED) / "admission.json")
    assert consortium.kiteline(CIVIL_AFFAIRS, "chain", "propose", "recover", admission)["missing"] == 0
    adopted = consortium.kiteline(registry, "keys", "adopt", str(consortium.home(RENEWED) / "keys"))
    assert {(one["kind"], one["number"]) for one in adopted["keys"] if one["state"] == "active"} == {
        ("signing", 2),
        ("encryption", 2),
        ("account", 2),
        ("tls", 2),
        ("at-rest", 1),
    }
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "propose", "reinstate", registry.member_id)

    consortium.start_node(registry)
    consortium.kiteline(registry, "chain", "anchor")
    after = consortium.kiteline(registry, "status")
    assert after["anchored_entries"] > before["anchored_entries"] > 0
    assert after["log_entries"] > before["log_entries"]
