"""A decision never gives more than was asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.errors import DatasetNotShared, StatementInvalid, TermsInvalid
from node.model.chain import DatasetOnChain, SharingType
from node.model.grants import Terms
from node.model.lines import FieldDescription
from node.model.statements import Description, Request
from node.policy.terms import check_fields, check_request, narrow
from tests.support.statements import member_id

DATASET = DatasetOnChain(b"\x02" * 32, member_id(2), b"\x05" * 32, 2, SharingType.CONDITIONAL)
DESCRIPTION = Description(
    DATASET.dataset_id,
    "people",
    member_id(2),
    "People",
    2,
    SharingType.CONDITIONAL,
    None,
    (FieldDescription("a"), FieldDescription("b"), FieldDescription("c")),
    0,
)
REQUEST = Request(b"\x01" * 32, DATASET.dataset_id, member_id(1), member_id(2), ("a", "b"), "why", 100, 5, 0)
NOW = 50_000


def test_what_is_left_out_is_as_asked() -> None:
    assert narrow(REQUEST, DESCRIPTION, Terms((), 0, 0), NOW) == Terms(("a", "b"), 100, 5)
    assert narrow(replace(REQUEST, fields=()), DESCRIPTION, Terms((), 0, 0), NOW) == Terms((), 100, 5)


def test_fewer_fields_an_earlier_expiry_and_a_lower_quota_are_given() -> None:
    assert narrow(REQUEST, DESCRIPTION, Terms(("b",), 99, 1), NOW) == Terms(("b",), 99, 1)
    assert narrow(replace(REQUEST, fields=()), DESCRIPTION, Terms(("c",), 99, 1), NOW) == Terms(("c",), 99, 1)


@pytest.mark.parametrize(
    ("fields", "expiry", "quota"),
    [(("c",), 0, 0), (("d",), 0, 0), (("a", "a"), 0, 0), ((), 101, 0), ((), 50, 0), ((), 0, 6), ((), 0, -1)],
)
def test_wider_or_void_terms_are_refused(fields: tuple[str, ...], expiry: int, quota: int) -> None:
    with pytest.raises(TermsInvalid):
        narrow(REQUEST, DESCRIPTION, Terms(fields, expiry, quota), NOW)


def test_a_request_fits_its_dataset() -> None:
    check_request(REQUEST, DATASET, NOW)
    with pytest.raises(DatasetNotShared):
        check_request(REQUEST, replace(DATASET, sharing_type=SharingType.NOT_SHARED), NOW)
    for request in (
        replace(REQUEST, provider_id=member_id(3)),
        replace(REQUEST, requester_id=member_id(2)),
        replace(REQUEST, expiry_seconds=50),
        replace(REQUEST, dataset_id=b"\x09" * 32),
    ):
        with pytest.raises(StatementInvalid):
            check_request(request, DATASET, NOW)


def test_unknown_fields_are_refused() -> None:
    check_fields(("a", "c"), DESCRIPTION)
    with pytest.raises(StatementInvalid):
        check_fields(("a", "x"), DESCRIPTION)
