"""The table of reasons: complete, current, and of use to whoever meets one."""

from __future__ import annotations

import re

import pytest

from crypto.errors import Refusal
from node.cli.output import Exit, exit_code
from scripts.reasons import FILE, refusals, text

PEOPLE = {"caller", "operator", "officer", "auditor", "peer"}
CLASSES = sorted(refusals(), key=lambda kind: kind.reason)


def test_the_table_is_what_the_error_classes_say() -> None:
    assert FILE.read_text(encoding="utf-8") == text()


def test_each_reason_belongs_to_one_class() -> None:
    reasons = [kind.reason for kind in CLASSES]
    assert len(set(reasons)) == len(reasons)
    assert len(reasons) > 60, "the walk over the packages misses some"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.reason)
def test_a_reason_says_who_meets_it_what_it_means_and_what_to_do(kind: type[Refusal]) -> None:
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)+|[A-Z]{8,}", kind.reason)
    assert set(kind.seen_by.split(", ")) <= PEOPLE
    assert "reason" in vars(kind)
    assert "remedy" in vars(kind), "a remedy is not inherited"
    assert kind.__doc__ is not None
    for sentence in (kind.__doc__, kind.remedy):
        assert re.fullmatch(r"[A-Z`][^|]*[.)]", " ".join(sentence.split())), sentence


def test_the_exit_codes_are_those_of_the_documents() -> None:
    codes = {kind.reason: exit_code(kind.reason) for kind in CLASSES}
    assert {reason for reason, code in codes.items() if code is Exit.UNAVAILABLE} == {
        "CHAIN_UNAVAILABLE",
        "CHAIN_PROGRAM_FAILED",
        "NETWORK_NOT_RUNNING",
        "NODE_UNAVAILABLE",
        "PEER_UNAVAILABLE",
    }
    assert {reason for reason, code in codes.items() if code is Exit.DOES_NOT_HOLD} == {
        "DELIVERY_INVALID",
        "EVIDENCE_INVALID",
        "PROOF_INVALID",
        "ROOT_MISMATCH",
        "SIGNATURE_INVALID",
    }
    others = {"INTERNAL": 70, "INTERRUPTED": 130, "WRONG_USAGE": 2}
    assert {reason: code.value for reason, code in codes.items() if code.value not in {1, 3, 4}} == others
