"""The council at the command line, on a real chain: three authorities, of which two carry a proposal, and two departments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from node.app.admission import admission_document
from node.app.settings import FILE_NAME, dump
from node.chain.deployment import dump_deployment
from node.cli.output import Exit
from node.model.chain import Role
from tests.node.app.settings_reference import complete
from tests.node.cli.desk import PASSPHRASE, Finished, kiteline, kiteline_on_a_terminal
from tests.support.anvil import Anvil
from tests.support.consortium import Consortium, MemberKit, found, make_member
from tests.support.keys import create_account_only

NETWORK = """name = "embedded"
chain_id = {chain_id}
endpoints = ["{url}"]
[finality]
rule = "every-block"
[fees]
rule = "zero"
[header]
rule = "ethereum"
[poll]
interval_milliseconds = 50
"""
NOBODY = make_member(99).member_id


@dataclass(frozen=True)
class Offices:
    """The members' directories, as `kiteline init` leaves them where the chain is concerned."""

    consortium: Consortium
    directory: Path

    def home(self, kit: MemberKit) -> Path:
        """A member's directory, with its account and its configuration."""
        home = self.directory / kit.member_id
        if not home.exists():
            create_account_only(home / "keys", kit.member_id, PASSPHRASE, bytes(kit.account.key))
            (home / "network.toml").write_text(
                NETWORK.format(chain_id=self.consortium.network.chain_id, url=self.consortium.anvil.url)
            )
            (home / "contracts.toml").write_text(dump_deployment(self.consortium.deployment))
            settings = replace(complete(home), member_id=kit.member_id, name=kit.name, witnesses=(), key_agent=None)
            (home / FILE_NAME).write_text(dump(settings, home), encoding="utf-8")
        return home

    def environment(self, kit: MemberKit) -> dict[str, str]:
        """What a member's command needs to know."""
        return {"KITELINE_CONFIG": str(self.home(kit) / FILE_NAME), "KITELINE_PASSPHRASE": PASSPHRASE.decode()}

    def run(self, kit: MemberKit, *arguments: str) -> Finished:
        """Run `kiteline chain …` for a member as a script does."""
        return kiteline("chain", *arguments, "--json", environment=self.environment(kit))

    def done(self, kit: MemberKit, *arguments: str) -> dict[str, Any]:
        """Likewise what must succeed; its document."""
        finished = self.run(kit, *arguments)
        assert finished.code == Exit.DONE, finished.out
        return finished.document

    def admission(self, kit: MemberKit, name: str) -> str:
        """A file with a member's public side."""
        file = self.directory / name
        file.write_text(json.dumps(admission_document(kit.admission)), encoding="utf-8")
        return str(file)


@pytest.fixture(scope="module")
def kits() -> list[MemberKit]:
    """Three authorities and two departments."""
    roles = [Role.AUTHORITY | Role.DEPARTMENT] * 3 + [Role.DEPARTMENT] * 2
    return [make_member(number, role) for number, role in enumerate(roles, start=1)]


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory, kits: list[MemberKit]) -> Iterator[Offices]:
    """The consortium on a chain of its own."""
    directory = tmp_path_factory.mktemp("council")
    with Anvil(directory / "anvil") as anvil:
        yield Offices(found(anvil, directory / "deployment", kits, threshold=2), directory / "homes")


def test_a_change_is_proposed_looked_at_and_carried(offices: Offices, kits: list[MemberKit]) -> None:
    first, second, _, department, _ = kits
    proposed = offices.done(first, "propose", "suspend", department.member_id)
    number = proposed["proposal"]
    assert proposed["missing"] == 1
    assert len(bytes.fromhex(proposed["transaction"])) == 32
    listed = offices.done(second, "proposals", "--open")
    assert (listed["threshold"], listed["authorities"]) == (2, 3)
    (motion,) = [one for one in listed["proposals"] if one["number"] == number]
    assert motion["block"] > 0
    assert motion == {
        "number": number,
        "state": "open",
        "kind": "suspend",
        "name": department.name,
        "member": department.member_id,
        "proposer": first.member_id,
        "block": motion["block"],
        "executed_block": None,
        "approvals": [{"member": first.member_id, "name": first.name, "counts": True}],
        "missing": 1,
    }
    shown = kiteline_on_a_terminal("chain", "proposals", environment=offices.environment(second), columns=140)
    assert shown.code == Exit.DONE
    row = next(line for line in shown.text.split("\n") if f"suspend {department.member_id}" in line)
    assert "open, 1 more needed" in row
    assert first.name in row
    assert offices.done(second, "approve", str(number))["missing"] == 0
    carried = offices.done(second, "proposals", str(number))
    assert (carried["state"], carried["missing"], carried["executed_block"]) == ("executed", 0, motion["block"] + 1)
    assert [approval["member"] for approval in carried["approvals"]] == [first.member_id, second.member_id]
    assert offices.done(second, "proposals", "--open")["proposals"] == []
    back = offices.done(second, "propose", "reinstate", department.member_id)["proposal"]
    assert offices.done(first, "approve", str(back))["missing"] == 0


def test_a_member_is_admitted_recovered_given_roles_and_removed(offices: Offices, kits: list[MemberKit]) -> None:
    """What an officer compares before approving, the keys above all, is shown as the member states it."""
    first, second, *_ = kits
    newcomer = make_member(6)
    admitted = offices.done(first, "admit", offices.admission(newcomer, "newcomer.json"))
    motion = offices.done(second, "proposals", str(admitted["proposal"]))
    stated = admission_document(newcomer.admission)
    compared = ("name", "roles", "account", "endpoint", "signing_key", "encryption_key")
    assert motion["kind"] == "admit"
    assert motion["member"] == newcomer.member_id
    assert {name: motion[name] for name in compared} == {name: stated[name] for name in compared}
    text = kiteline_on_a_terminal(
        "chain", "proposals", str(admitted["proposal"]), environment=offices.environment(second), columns=300
    ).text
    assert newcomer.keys.signing_key.hex() in text
    assert newcomer.account.address in text
    offices.done(second, "approve", str(admitted["proposal"]))

    regained = replace(make_member(6), name=newcomer.name)
    recovered = offices.done(first, "propose", "recover", offices.admission(regained, "regained.json"))
    motion = offices.done(second, "proposals", str(recovered["proposal"]))
    assert (motion["kind"], motion["member"], motion["name"]) == ("recover", newcomer.member_id, newcomer.name)
    assert (motion["account"], motion["signing_key"]) == (
        regained.account.address,
        regained.keys.signing_key.hex(),
    )
    offices.done(second, "approve", str(recovered["proposal"]))
    refused = offices.run(newcomer, "propose", "threshold", "3")
    assert "NotAMember" in refused.document["error"]["message"]

    given = offices.done(first, "propose", "role", newcomer.member_id, "department,authority")
    assert offices.done(second, "proposals", str(given["proposal"]))["roles"] == ["department", "authority"]
    offices.done(second, "approve", str(given["proposal"]))
    assert offices.done(first, "proposals")["authorities"] == 4

    removed = offices.done(first, "propose", "remove", newcomer.member_id, "--yes")
    offices.done(second, "approve", str(removed["proposal"]))
    assert offices.done(first, "proposals")["authorities"] == 3
    again = offices.run(first, "propose", "recover", offices.admission(make_member(6), "third.json"))
    assert (again.code, again.document["error"]["reason"]) == (Exit.REFUSED, "PROPOSAL_INVALID")
    assert "removed, for good" in again.document["error"]["message"]


def test_an_approval_lapses_with_its_authority_and_a_raised_threshold_is_told(
    offices: Offices, kits: list[MemberKit]
) -> None:
    first, second, third, _, department = kits
    waiting = offices.done(third, "propose", "suspend", department.member_id)["proposal"]
    number = offices.done(first, "propose", "role", third.member_id, "department")["proposal"]
    offices.done(second, "approve", str(number))
    motion = offices.done(first, "proposals", str(waiting))
    assert (motion["approvals"][0]["counts"], motion["missing"]) == (False, 2)
    assert "lapsed" in kiteline("chain", "proposals", environment=offices.environment(first)).out
    number = offices.done(first, "propose", "role", third.member_id, "department,authority")["proposal"]
    offices.done(second, "approve", str(number))
    raised = offices.done(first, "propose", "threshold", "3")["proposal"]
    assert offices.done(first, "proposals", str(raised))["threshold"] == 3
    offices.done(second, "approve", str(raised))
    assert offices.done(first, "proposals", str(waiting))["missing"] == 2
    lowered = offices.done(first, "propose", "threshold", "2")
    assert lowered["missing"] == 2
    assert offices.done(second, "approve", str(lowered["proposal"]))["missing"] == 1
    assert offices.done(third, "approve", str(lowered["proposal"]))["missing"] == 0


@pytest.mark.parametrize(
    ("arguments", "reason", "says"),
    [
        (("propose", "suspend", NOBODY), "PROPOSAL_INVALID", "no member of the consortium"),
        (("propose", "suspend", "113707000042591161"), "CREDIT_CODE_INVALID", "check character"),
        (("propose", "reinstate", "{department}"), "PROPOSAL_INVALID", "is active already"),
        (("propose", "role", "{department}", "department"), "PROPOSAL_INVALID", "has just these roles"),
        (("propose", "role", "{department}", "department,king"), "CONFIGURATION_INVALID", "king"),
        (("propose", "threshold", "2"), "PROPOSAL_INVALID", "2 approvals are needed already"),
        (("admit", "{admission}"), "PROPOSAL_INVALID", "was admitted before and is active"),
        (("propose", "recover", "{admission}"), "PROPOSAL_INVALID", "none is used twice"),
        (("proposals", "9999"), "PROPOSAL_INVALID", "no proposal has the number 9999"),
        (("approve", "9999"), "TRANSACTION_REFUSED", "ProposalUnknown(proposal=9999)"),
        (("approve", "1"), "TRANSACTION_REFUSED", "Proposal"),
    ],
)
def test_what_could_not_be_carried_out_is_refused_and_not_sent(
    offices: Offices, kits: list[MemberKit], arguments: tuple[str, ...], reason: str, says: str
) -> None:
    first, *_, department = kits
    values = {"department": department.member_id, "admission": offices.admission(department, "department.json")}
    before = offices.consortium.anvil.height()
    finished = offices.run(first, *(argument.format(**values) for argument in arguments))
    assert finished.code == Exit.REFUSED
    assert finished.document["error"]["reason"] == reason
    assert says in finished.document["error"]["message"]
    assert offices.consortium.anvil.height() == before


def test_the_same_is_not_proposed_twice_nor_by_whoever_is_no_authority(offices: Offices, kits: list[MemberKit]) -> None:
    first, second, _, department, _ = kits
    number = offices.done(first, "propose", "role", department.member_id, "auditor")["proposal"]
    before = offices.consortium.anvil.height()
    again = offices.run(second, "propose", "role", department.member_id, "auditor").document["error"]
    assert (again["reason"], again["details"]["proposal"]) == ("PROPOSAL_INVALID", str(number))
    refused = offices.run(department, "propose", "threshold", "1").document["error"]
    assert refused["reason"] == "TRANSACTION_REFUSED"
    assert "NotAnAuthority" in refused["message"]
    assert offices.consortium.anvil.height() == before


def test_a_removal_is_asked_for_twice(offices: Offices, kits: list[MemberKit]) -> None:
    first, *_, department = kits
    before = offices.consortium.anvil.height()
    finished = offices.run(first, "propose", "remove", department.member_id)
    assert finished.code == Exit.USAGE
    assert "--yes" in finished.document["error"]["message"]
    command = ("chain", "propose", "remove", department.member_id)
    other = kiteline_on_a_terminal(*command, environment=offices.environment(first), typed=f"{NOBODY}\n")
    assert other.code == Exit.USAGE
    assert "nothing was proposed" in other.text
    assert offices.consortium.anvil.height() == before
    meant = kiteline_on_a_terminal(*command, environment=offices.environment(first), typed=f"{department.member_id}\n")
    assert meant.code == Exit.DONE, meant.text
    assert offices.consortium.anvil.height() == before + 1


def test_while_the_chain_is_down_nothing_is_said_of_it(offices: Offices, kits: list[MemberKit]) -> None:
    offices.consortium.anvil.stop()
    try:
        finished = offices.run(kits[0], "proposals")
        assert finished.code == Exit.UNAVAILABLE
        assert finished.document["error"]["reason"] == "CHAIN_UNAVAILABLE"
    finally:
        offices.consortium.anvil.start()
