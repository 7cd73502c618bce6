"""Credit codes: real ones pass, every single slip is caught."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.credit_code import check_credit_code, credit_code_check_character
from crypto.errors import CreditCodeInvalid

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"

# Published codes of well-known companies: they fix the weights and the direction of the check.
PUBLISHED = ("914403001922038216", "9144030071526726XG", "91330100799655058B", "91110000802100433B")

bodies = st.builds(
    lambda head, division, tail: head + division + tail,
    st.text(ALPHABET, min_size=2, max_size=2),
    st.text("0123456789", min_size=6, max_size=6),
    st.text(ALPHABET, min_size=9, max_size=9),
)
codes = bodies.map(lambda body: body + credit_code_check_character(body))


@pytest.mark.parametrize("code", PUBLISHED)
def test_published_codes_are_accepted_unchanged(code: str) -> None:
    assert check_credit_code(code) == code


@given(codes, st.integers(0, 17), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_caught(code: str, position: int, character: str) -> None:
    wrong = code[:position] + character + code[position + 1 :]
    if wrong == code:
        assert check_credit_code(wrong) == code
    else:
        with pytest.raises(CreditCodeInvalid):
            check_credit_code(wrong)


@given(codes, st.integers(0, 16))
def test_two_exchanged_neighbours_are_caught(code: str, position: int) -> None:
    wrong = code[:position] + code[position + 1] + code[position] + code[position + 2 :]
    if wrong != code:
        with pytest.raises(CreditCodeInvalid):
            check_credit_code(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "91440300192203821",
        "9144030019220382160",
        "914403001922038216\n",
        " 14403001922038216",
        "9144030071526726xg",
        "9I4403001922038216",
        "91A403001922038216",
        "９14403001922038216",
        "91440300192203821٦",
    ],
)
def test_malformed_codes_are_refused_with_their_reason(text: str) -> None:
    with pytest.raises(CreditCodeInvalid) as caught:
        check_credit_code(text)
    assert caught.value.reason == "CREDIT_CODE_INVALID"


def test_the_check_character_needs_exactly_seventeen_characters() -> None:
    with pytest.raises(CreditCodeInvalid):
        credit_code_check_character("914403001922038216")
