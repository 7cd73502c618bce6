"""Rows of the index: what is written is read back, and keys lie in the order in which they are asked for."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from node.chain.rows import (
    ANCHOR,
    DATASET,
    GRANT,
    MEMBER,
    EpochRow,
    MemberRow,
    Row,
    anchor_key,
    log_key,
    member_id_of,
    member_word,
    read_row,
    write_row,
)
from node.model.chain import Anchor, Block, DatasetOnChain, GrantOnChain, GrantState, SharingType
from tests.support.statements import member_id

words = st.binary(min_size=32, max_size=32)
digests = words | st.just(b"")
sizes = st.integers(0, (1 << 64) - 1)
ids = st.integers(0, 9_999_999).map(member_id) | words.map(bytes.hex)
texts = st.text(max_size=20)
epochs = st.builds(
    EpochRow, sizes, st.binary(max_size=70), st.binary(max_size=70), texts, st.binary(max_size=40), texts, sizes, sizes,
    *4 * (st.none() | sizes,),
)  # fmt: skip
blocks = st.builds(Block, sizes, words, sizes)
rows: st.SearchStrategy[Row] = st.one_of(
    st.builds(MemberRow, ids, texts, st.integers(0, 7), st.integers(0, 3), st.lists(epochs, max_size=3).map(tuple)),
    st.builds(
        DatasetOnChain, words, ids, words, st.integers(1, 4), st.sampled_from(SharingType), st.booleans(), sizes,
        digests, digests,
    ),
    st.builds(
        GrantOnChain, words, words, ids, ids, st.sampled_from(GrantState), words, digests, sizes, sizes, digests, sizes,
        digests,
    ),
    st.builds(Anchor, words, ids, sizes, words, words, blocks, words),
)  # fmt: skip
KINDS = {MemberRow: MEMBER, DatasetOnChain: DATASET, GrantOnChain: GRANT, Anchor: ANCHOR}


@given(rows)
def test_every_row_comes_back_as_it_was_written(row: Row) -> None:
    written = write_row(row)
    assert read_row(KINDS[type(row)] + b"any key", written) == row
    assert write_row(read_row(KINDS[type(row)], written)) == written


@given(st.integers(0, 9_999_999).map(member_id), words, sizes, sizes)
def test_anchors_of_a_members_log_lie_together_by_size(member: str, log_id: bytes, one: int, other: int) -> None:
    assert (anchor_key(member, log_id, one) < anchor_key(member, log_id, other)) == (one < other)
    assert log_key(member, log_id) == ANCHOR + member.encode() + bytes(14) + log_id
    assert anchor_key(member, log_id, one) == log_key(member, log_id) + one.to_bytes(8, "big")


@given(st.integers(0, 9_999_999).map(member_id))
def test_a_member_id_comes_back_from_its_word(given_id: str) -> None:
    assert member_word(given_id) == given_id.encode() + bytes(14)
    assert member_id_of(member_word(given_id)) == given_id


@given(words)
@example(bytes(32))
@example(b"1" * 17 + bytes(15))
@example(b"1" * 18 + bytes(13) + b"\1")
@example(b"1" * 19 + bytes(13))
@example(b"113707000042 8746X" + bytes(14))
@example("一二三四五六".encode() + bytes(14))
def test_a_word_that_is_no_member_id_is_told_apart_from_every_member(word: bytes) -> None:
    """Two words never give one id: 18 characters are a member's, 64 are anything else."""
    found = member_id_of(word)
    if len(found) == 18:
        assert member_word(found) == word
    else:
        assert found == word.hex()
