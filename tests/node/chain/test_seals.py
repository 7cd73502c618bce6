"""The votes of validators lead to the sets that EIP-225 says, by the scenarios of its text, in our own spelling."""

from __future__ import annotations

import pytest

from node.chain.seals import SealedBlock, Votes
from node.errors import ChainMismatch

NOBODY = bytes(20)


def account(name: str) -> bytes:
    """A validator called by a letter."""
    return name.encode() * 20


def played(signers: str, blocks: str) -> str:
    """Who is a validator after these blocks: `A` seals one, `A+B` votes to admit B in it, `A-B` to drop it."""
    votes = Votes(frozenset(map(account, signers)))
    for number, said in enumerate(blocks.split(), 1):
        about = account(said[2]) if len(said) > 1 else NOBODY
        votes.take(SealedBlock(number, account(said[0]), about, said[1:2] == "+"))
    return "".join(sorted(one[:1].decode() for one in votes.accounts))


@pytest.mark.parametrize(
    ("signers", "blocks", "result"),
    [
        ("A", "A", "A"),
        ("A", "A+B B A+C", "AB"),
        ("AB", "A+C B+C A+D B+D C A+E B+E", "ABCD"),
        ("A", "A-A", ""),
        ("AB", "A-B", "AB"),
        ("AB", "A-B B-B", "A"),
        ("ABC", "A-C B-C", "AB"),
        ("ABCD", "A-C B-C", "ABCD"),
        ("ABCD", "A-D B-D C-D", "ABC"),
        ("AB", "A+C B A+C B A+C", "AB"),
        ("AB", "A+C B A+D B A B+D A B+C", "ABCD"),
        ("AB", "A-B B A-B B A-B", "AB"),
        ("ABCD", "A-C B C A-D B C A B-D C-D A B-C", "AB"),
        ("ABC", "C-B A-C B-C A-B", "AB"),
        ("ABC", "C+D A-C B-C A+D", "AB"),
        ("ABCD", "A-C B C A-D B-C C A B-D C-D", "ABC"),
        ("ABCD", "A-C B C A-D B-C C A B-D C-D A C+C", "AB"),
        ("ABCD", "A-C B C A-D B-C C A B-D C-D A B+C", "ABC"),
        ("ABCDE", "A+F B+F C+F D-F E-F B-F C-F D+F E+F B-A C-A D-A B+F", "BCDEF"),
    ],
)
def test_votes_lead_to_the_set_that_the_standard_says(signers: str, blocks: str, result: str) -> None:
    assert played(signers, blocks) == result


def test_a_block_of_somebody_else_is_refused() -> None:
    with pytest.raises(ChainMismatch, match="block 1 is sealed by 0x4242"):
        played("A", "B")
