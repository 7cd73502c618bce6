"""Proposals read back: what the contract encodes is what is shown, and the council is what its events add up to."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from hypothesis import given

from node.chain.abi import Event
from node.chain.admission import Admission, KeySet
from node.chain.proposals import (
    Change,
    ProposalKind,
    Recovery,
    RolesChange,
    Standing,
    StatusChange,
    ThresholdChange,
    read_change,
    record_of,
)
from node.chain.rows import member_word
from node.errors import ChainMismatch
from node.model.chain import MemberStatus, Role
from tests.support.statements import member_id

KEY_SET = "(bytes,bytes,address,bytes,string)"
TYPES = {
    ProposalKind.ADMISSION: [f"(bytes32,string,uint8,{KEY_SET})"],
    ProposalKind.STATUS_CHANGE: ["bytes32", "uint8"],
    ProposalKind.ROLES_CHANGE: ["bytes32", "uint8"],
    ProposalKind.THRESHOLD_CHANGE: ["uint16"],
    ProposalKind.RECOVERY: ["bytes32", KEY_SET],
}
FIRST, SECOND, THIRD = map(member_id, (1, 2, 3))
ACCOUNT, OTHER_ACCOUNT = (to_checksum_address("0x" + digit * 40) for digit in "ab")
KEYS = (b"\4" * 65, b"\5" * 65, ACCOUNT, b"certificate", "host:1")

ids = st.integers(0, 9_999_999).map(member_id)
key_sets = st.builds(
    KeySet,
    st.binary(max_size=70),
    st.binary(max_size=70),
    st.binary(min_size=20, max_size=20).map(to_checksum_address),
    st.binary(max_size=40),
    st.text(max_size=20),
)
roles = st.integers(0, 255).map(Role)  # the contract judges them only when they are carried out
changes: st.SearchStrategy[tuple[ProposalKind, Change]] = st.one_of(
    st.tuples(st.just(ProposalKind.ADMISSION), st.builds(Admission, ids, st.text(max_size=20), roles, key_sets)),
    st.tuples(st.just(ProposalKind.STATUS_CHANGE), st.builds(StatusChange, ids, st.sampled_from(MemberStatus))),
    st.tuples(st.just(ProposalKind.ROLES_CHANGE), st.builds(RolesChange, ids, roles)),
    st.tuples(st.just(ProposalKind.THRESHOLD_CHANGE), st.builds(ThresholdChange, st.integers(0, 2**16 - 1))),
    st.tuples(st.just(ProposalKind.RECOVERY), st.builds(Recovery, ids, key_sets)),
)


def content_of(change: Change) -> tuple[object, ...]:
    """A change in the contract's words."""
    match change:
        case Admission():
            return (change.words(),)
        case StatusChange(one, status):
            return member_word(one), int(status)
        case RolesChange(one, given_roles):
            return member_word(one), int(given_roles)
        case ThresholdChange(count):
            return (count,)
        case Recovery(one, keys):
            return member_word(one), keys.words()


@given(changes)
def test_every_change_is_read_as_it_was_proposed(proposed: tuple[ProposalKind, Change]) -> None:
    kind, change = proposed
    assert read_change(kind, encode(TYPES[kind], content_of(change))) == change


def test_text_that_is_none_hides_no_proposal() -> None:
    content = encode(["bytes32", "(bytes,bytes,address,bytes,bytes)"], [member_word(FIRST), (*KEYS[:4], b"\xff:1")])
    change = read_change(ProposalKind.RECOVERY, content)
    assert isinstance(change, Recovery)
    assert change.keys.endpoint == "�:1"


@pytest.mark.parametrize("kind", ProposalKind)
@pytest.mark.parametrize("content", [b"", b"\1", b"\xff" * 64])
def test_content_that_is_not_of_its_kind_is_another_contracts(kind: ProposalKind, content: bytes) -> None:
    with pytest.raises(ChainMismatch):
        read_change(kind, content)


def story() -> list[tuple[int, Event]]:
    """Two authorities found the consortium; one is suspended, loses its account, and two proposals are made."""
    first, second = member_word(FIRST), member_word(SECOND)
    suspension = encode(["bytes32", "uint8"], [second, 2])
    return [
        (1, Event("MemberAdmitted", (first, "one", 3))),
        (1, Event("KeysSet", (first, 1, KEYS))),
        (1, Event("MemberAdmitted", (second, "two", 2))),
        (1, Event("KeysSet", (second, 1, (*KEYS[:2], OTHER_ACCOUNT.lower(), *KEYS[3:])))),
        (1, Event("ThresholdChanged", (1,))),
        (4, Event("Proposed", (1, first, 1, suspension))),
        (4, Event("Approved", (1, first))),
        (4, Event("StatusChanged", (second, 2))),
        (4, Event("Executed", (1,))),
        (5, Event("CompromiseDeclared", (first, 1, 1, 1))),
        (6, Event("ThresholdChanged", (2,))),
        (7, Event("Proposed", (2, first, 3, encode(["uint16"], [1])))),
        (7, Event("Approved", (2, first))),
        (8, Event("RolesChanged", (first, 7))),
    ]


def test_the_council_is_what_its_events_add_up_to() -> None:
    record = record_of(story())
    assert record.threshold == 2
    assert record.authorities == 1
    assert record.members == {
        FIRST: Standing("one", Role.DEPARTMENT | Role.AUTHORITY | Role.AUDITOR, MemberStatus.ACTIVE, (ACCOUNT,)),
        SECOND: Standing("two", Role.AUTHORITY, MemberStatus.SUSPENDED, (OTHER_ACCOUNT,)),
    }
    done, waiting = record.proposals
    assert (done.number, done.proposer, done.block, done.executed_block, done.executed) == (1, FIRST, 4, 4, True)
    assert done.change == StatusChange(SECOND, MemberStatus.SUSPENDED)
    assert (waiting.number, waiting.block, waiting.executed_block, waiting.approvals) == (2, 7, None, (FIRST,))
    assert waiting.change == ThresholdChange(1)


@pytest.mark.parametrize(
    "event",
    [
        Event("Approved", (9, member_word(FIRST))),
        Event("Executed", (9,)),
        Event("StatusChanged", (member_word(THIRD), 2)),
        Event("RolesChanged", (member_word(THIRD), 2)),
        Event("KeysSet", (member_word(THIRD), 2, KEYS)),
        Event("Proposed", (3, member_word(FIRST), 99, b"")),
    ],
)
def test_events_that_do_not_fit_together_are_another_contracts(event: Event) -> None:
    with pytest.raises(ChainMismatch, match="do not fit together"):
        record_of([*story(), (9, event)])


def test_every_account_that_a_member_had_is_known() -> None:
    record = record_of(
        [*story(), (9, Event("KeysSet", (member_word(FIRST), 2, (*KEYS[:2], "0x" + "c" * 40, *KEYS[3:]))))]
    )
    assert record.members[FIRST].accounts == (ACCOUNT, to_checksum_address("0x" + "c" * 40))
    assert replace(record.members[FIRST], accounts=()).is_authority
