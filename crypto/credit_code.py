"""The unified social credit code of GB 32100-2015: how a member of Kiteline is named.

Eighteen characters: one for the registering authority, one for the kind of organisation, six digits for the
administrative division, nine for the organisation (GB 11714), one check character. The alphabet leaves out I, O, S, V
and Z. Character i (from 0) weighs 3^i mod 31 (GB 32100, Annex A), so that one wrong character or two exchanged
neighbours are always caught.

Whether the code has been issued to anybody is a question for the register of organisations, not for arithmetic; and
the nine characters' own check character of GB 11714 is left alone, since the one of GB 32100 covers them.
"""

from __future__ import annotations

from crypto.errors import CreditCodeInvalid

CREDIT_CODE_LENGTH = 18
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_MODULUS = 31
_WEIGHTS = tuple(pow(3, position, _MODULUS) for position in range(CREDIT_CODE_LENGTH - 1))
_DIVISION = slice(2, 8)


def credit_code_check_character(body: str) -> str:
    """The check character of the first 17 characters (GB 32100, Annex A). Raises CreditCodeInvalid."""
    if len(body) != CREDIT_CODE_LENGTH - 1:
        raise CreditCodeInvalid(f"the check character is computed over 17 characters, not {len(body)}")
    for position, character in enumerate(body, start=1):
        if character not in _VALUES:
            raise CreditCodeInvalid(f"character {position} may not stand in a credit code", position=position)
    if not body[_DIVISION].isdecimal():
        raise CreditCodeInvalid("characters 3 to 8 of a credit code are the digits of an administrative division")
    total = sum(_VALUES[character] * weight for character, weight in zip(body, _WEIGHTS, strict=True))
    return _ALPHABET[-total % _MODULUS]


def check_credit_code(text: str) -> str:
    """Return `text` unchanged if it is a well-formed credit code in its one spelling (capitals, no spaces).

    Raises:
        CreditCodeInvalid: wrong length, a character outside the alphabet, or a wrong check character.
    """
    if len(text) != CREDIT_CODE_LENGTH:
        raise CreditCodeInvalid(f"a credit code has 18 characters, this has {len(text)}")
    if credit_code_check_character(text[:-1]) != text[-1]:
        raise CreditCodeInvalid("the check character of this credit code is wrong: one character or more was mistyped")
    return text
