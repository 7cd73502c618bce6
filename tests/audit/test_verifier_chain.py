"""RLP, headers, receipts and the tree of receipts, against Ethereum's libraries and as somebody would forge them."""

from __future__ import annotations

from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, log_id
from audit.receipt_proof import build_receipt_proof
from audit.verifier import (
    ANCHORED_TOPIC,
    AnchorEvent,
    Malformed,
    anchor_events,
    read_header,
    read_rlp,
    receipt_under,
)
from crypto.sm3 import sm3
from tests.audit.evidence_files import ANCHORED, BLOCK_TIME, anchor_log, encode_receipt, make_block, other_log

CONTRACT = b"\xa1" * 20
HEAD = Checkpoint("kiteline/11370700004258746X/audit/SM3", 12, b"\x0c" * 32, 5)
NOTE = b"the note that is anchored"
EVENT = AnchorEvent(
    CONTRACT, log_id(HEAD.origin), HEAD.member_id.encode().ljust(32, b"\0"), HEAD.size, HEAD.root, sm3(NOTE)
)

items = st.recursive(st.binary(max_size=70), lambda inner: st.lists(inner, max_size=5), max_leaves=12)


def depth(item: Any) -> int:  # noqa: ANN401 - bytes or a list of the same
    return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0


def as_library(raw: bytes) -> Any:  # noqa: ANN401 - as above, or None if the library refuses it
    try:
        return rlp.decode(raw, strict=True)
    except (rlp.exceptions.RLPException, IndexError):
        return None


def as_verifier(raw: bytes) -> Any:  # noqa: ANN401 - as above
    try:
        return read_rlp(raw)
    except Malformed:
        return None


# RLP.


@settings(deadline=None)
@given(items)
@example([b"a" * 55, b"b" * 56, b"\x7f", b"\x80", b"", []])
@example([b"a" * 300])
def test_rlp_is_read_as_the_library_writes_it(item: Any) -> None:  # noqa: ANN401 - bytes or a list of the same
    assert read_rlp(rlp.encode(item)) == item


@settings(deadline=None)
@given(items, st.data())
def test_any_changed_rlp_is_judged_as_the_library_judges_it(item: Any, data: st.DataObject) -> None:  # noqa: ANN401 - as above
    raw = bytearray(rlp.encode(item))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for changed in (bytes(raw), bytes(raw[:-1]), bytes(raw) + b"\0"):
        assert as_verifier(changed) == as_library(changed)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([0, 1, 0x7F, 0x80, 0x81, 0xB7, 0xB8, 0xB9, 0xBF, 0xC0, 0xC1, 0xF7, 0xF8, 0xFF, 55, 56]),
        max_size=9,
    )
)
def test_any_bytes_are_judged_as_the_library_judges_them(raw: list[int]) -> None:
    assert as_verifier(bytes(raw)) == as_library(bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x81\x01",  # a byte below 0x80 stands for itself
        b"\xb8\x01\xff",  # long form of a short length
        b"\xb9\x00\x38" + b"a" * 56,  # a length with a leading zero
        b"\xb8\x38" + b"a" * 55,
        b"\xb8",
        b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xf8\x01\x01",
        b"\xff" * 9,
        b"\xc2\x82\x01\x01",  # the item is longer than its list
        b"\xc1",
        b"\x01\x01",
    ],
)
def test_another_spelling_of_rlp_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_rlp(raw)


def test_rlp_may_be_nested_sixteen_deep_and_no_deeper() -> None:
    item: Any = b"x"
    for deep in range(1, 20):
        item = [item]
        assert (as_verifier(rlp.encode(item)) is not None) == (deep <= 16)


def test_a_million_levels_are_refused_and_end_nothing() -> None:
    for raw in (b"\xc1" * 1_000_000, b"\xf8\xff" * 500_000, b"\xc0" * 1_000_000):
        with pytest.raises(Malformed):
            read_rlp(raw)


# Headers.


def header_with(place: int, value: Any) -> bytes:  # noqa: ANN401 - what RLP can hold
    fields = rlp.decode(make_block([encode_receipt([])]).header)
    encoded: bytes = rlp.encode([value if at == place else field for at, field in enumerate(fields)])
    return encoded


@pytest.mark.parametrize("extra_fields", [0, 1, 2, 6, 12])
def test_a_header_is_read_whatever_its_chain_has_added_to_it(extra_fields: int) -> None:
    block = make_block([encode_receipt([])], 2**63, 2**64 - 1, extra_fields)
    header = read_header(block.header)
    assert (header.hash, header.number, header.time) == (keccak(block.header), 2**63, 2**64 - 1)
    assert header.receipts_root == rlp.decode(block.header)[5]


@pytest.mark.parametrize("place", [8, 11])
@pytest.mark.parametrize("value", [b"\0", b"\0\1", b"\1" * 9, b"\1" * 5_000, [b"\1"], []])
def test_a_number_of_a_header_has_one_spelling_and_eight_bytes_at_most(place: int, value: object) -> None:
    """Without the limit, a number of thousands of digits could not even be printed."""
    with pytest.raises(Malformed, match="a number of the block header"):
        read_header(header_with(place, value))


@pytest.mark.parametrize("raw", [b"", b"\xc0", rlp.encode([b"\1" * 32] * 14), rlp.encode(b"\1" * 600), b"\xff"])
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_header(raw)


@pytest.mark.parametrize("value", [b"", b"\1" * 31, b"\1" * 33, [b"\1" * 32]])
def test_a_header_without_a_receipts_root_is_refused(value: object) -> None:
    with pytest.raises(Malformed, match="no receipts root"):
        read_header(header_with(5, value))


# The tree of receipts.


def root_of(values: list[bytes]) -> bytes:
    return bytes(keccak(build_receipt_proof(values, 0)[0]))


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 127, 128, 129, 200, 257, 300])
@pytest.mark.parametrize("size", [1, 3, 300])
def test_every_receipt_of_a_block_is_under_its_root_at_its_place_alone(count: int, size: int) -> None:
    """Small values make nodes below 32 bytes, which stand inside their parents; over 128 receipts there are extension nodes."""
    values = [at.to_bytes(2, "big").lstrip(b"\0").ljust(size, b"\xee") for at in range(1, count + 1)]
    root = root_of(values)
    for index in {0, 1, 2, 15, 16, 126, 127, 128, 129, 255, 256, count - 1} & set(range(count)):
        path = build_receipt_proof(values, index)
        assert receipt_under(root, index, path) == values[index]
        for other in (index + 1, index - 1, index + 128, index ^ 16, 2**40):
            if other >= 0:
                assert receipt_under(root, other, path) != values[index]
        assert receipt_under(root, index, [*path, path[-1]]) is None  # nothing superfluous
        assert receipt_under(root, index, [path[0], *path]) is None
        assert receipt_under(root, index, path[:-1]) is None
        assert receipt_under(root, index, path[1:]) is None
        assert receipt_under(keccak(b"another"), index, path) is None
        if len(path) > 1:
            assert receipt_under(root, index, path[::-1]) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=140), st.data())
def test_a_path_with_a_changed_byte_leads_nowhere(values: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    root, path = root_of(values), build_receipt_proof(values, index)
    assert receipt_under(root, index, path) == values[index]
    node = data.draw(st.integers(0, len(path) - 1))
    at = data.draw(st.integers(0, len(path[node]) - 1))
    changed = path[node][:at] + bytes([path[node][at] ^ data.draw(st.integers(1, 255))]) + path[node][at + 1 :]
    assert receipt_under(root, index, [*path[:node], changed, *path[node + 1 :]]) is None


def walk(node: Any, key_index: int, *more: Any) -> bytes | None:  # noqa: ANN401 - nodes as RLP has them
    nodes = [rlp.encode(one) for one in (node, *more)]
    return receipt_under(keccak(nodes[0]), key_index, nodes)


BRANCH: list[Any] = [b""] * 17


def test_nodes_are_taken_in_the_forms_of_the_yellow_paper_alone() -> None:
    """The key of receipt 1 is the nibbles 0 and 1."""
    inner = BRANCH.copy()
    inner[1] = [b"\x20", b"value"]
    assert walk([b"\x20\x01", b"value"], 1) == b"value"  # an even leaf
    assert walk([b"\x10", inner], 1) == b"value"  # an odd extension, with its branch inside
    assert walk([b"\x00\x01", [b"\x20", b"value"]], 1) == b"value"  # an even extension before an empty leaf
    assert walk([b"\x00", [b"\x00", [b"\x20\x01", b"value"]]], 1) == b"value"  # extensions of nothing end
    assert walk([b"\x20\x02", b"value"], 1) is None  # another key
    assert walk([b"\x20", b"value"], 1) is None  # too short
    assert walk([b"\x20\x01\x02", b"value"], 1) is None  # too long
    assert walk([b"\x20\x01", b""], 1) is None  # nothing there
    assert walk([b"\x20\x01", [b"value"]], 1) is None
    assert walk([b"\x00\x01", b"value"], 1) is None  # an extension's value is a reference
    assert walk(BRANCH, 1) is None


@pytest.mark.parametrize(
    "node",
    [
        [b"\x40\x01", b"value"],  # no such flag
        [b"\xff", b"value"],
        [b"\x21\x01", b"value"],  # even, and the padding is not zero
        [b"", b"value"],
        [[b"\x20"], b"value"],
        [b"\x20\x01", b"value", b"third"],
        [b"\x20\x01"],
        [b""] * 16,
        [b""] * 18,
        [],
    ],
)
def test_a_node_of_another_form_is_malformed(node: list[Any]) -> None:
    with pytest.raises(Malformed):
        walk(node, 1)


def test_a_receipt_is_never_taken_for_a_node() -> None:
    """A member can choose what its receipt says, and could let it look like a node that leads further."""
    evil = rlp.encode([b"\x20", b"forged receipt"])
    values = [b"true receipt" * 5, keccak(evil)]
    path = build_receipt_proof(values, 1)
    assert receipt_under(root_of(values), 1, [*path, evil]) is None
    assert receipt_under(root_of(values), 1, path) == keccak(evil)


# Events.


def test_the_topic_is_the_events() -> None:
    assert ANCHORED_TOPIC == ANCHORED


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 0x7F])
def test_the_event_is_found_in_receipts_of_every_kind_and_place(kind: int) -> None:
    log = anchor_log(CONTRACT, HEAD, NOTE)
    for logs in ([log], [other_log(1), log], [log, other_log(1)], [other_log(1), other_log(2), log, other_log(3)]):
        assert anchor_events(encode_receipt(logs, kind=kind)) == [EVENT]
    assert anchor_events(encode_receipt([log, log], kind=kind)) == [EVENT, EVENT]
    assert anchor_events(encode_receipt([other_log(1)], kind=kind)) == []


@pytest.mark.parametrize("status", [b"", b"\2", b"\1" * 32, b"\1\0"])
def test_a_transaction_that_failed_anchors_nothing(status: bytes) -> None:
    """Before EIP-658 a state root stood where the status stands; such a receipt says nothing of success."""
    for kind in (0, 2):
        assert anchor_events(encode_receipt([anchor_log(CONTRACT, HEAD, NOTE)], status=status, kind=kind)) == []


def test_a_log_of_another_form_is_passed_over() -> None:
    contract, topics, data = anchor_log(CONTRACT, HEAD, NOTE)
    shapes: list[Any] = [
        [contract, topics[:2], data],
        [contract, [*topics, b"\0" * 32], data],
        [contract, topics[::-1], data],
        [contract, [b"\0" * 32, *topics[1:]], data],
        [contract, [topics[0], topics[1], topics[2][:31]], data],
        [contract, topics, data[:-1]],
        [contract, topics, data + b"\0"],
        [contract, topics],
        [contract, topics, data, b""],
        [[contract], topics, data],
        [contract, b"".join(topics), data],
        [contract, topics, [data]],
        [],
        b"",
    ]
    assert anchor_events(encode_receipt([*shapes, anchor_log(CONTRACT, HEAD, NOTE)])) == [EVENT]
    other = anchor_events(encode_receipt([anchor_log(b"\1" * 20, HEAD, NOTE)]))
    assert [event.contract for event in other] == [b"\1" * 20]


@pytest.mark.parametrize("first", [0x80, 0xA0, 0xB8, 0xBF])
def test_the_type_of_a_receipt_is_a_byte_below_0x80(first: int) -> None:
    body = encode_receipt([anchor_log(CONTRACT, HEAD, NOTE)])
    with pytest.raises(Malformed):
        anchor_events(bytes([first]) + body)


@pytest.mark.parametrize(
    "raw", [b"", b"\2", b"\2\2" + encode_receipt([]), rlp.encode([b"\1"] * 5), rlp.encode([b"\1"] * 4), b"\xc0"]
)
def test_what_is_no_receipt_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        anchor_events(raw)


def test_the_block_of_the_tests_is_one() -> None:
    """The builder of blocks and the library agree on what stands where."""
    block = make_block([encode_receipt([]), encode_receipt([other_log(1)], kind=2)])
    fields = rlp.decode(block.header)
    assert len(fields) == 16
    assert int.from_bytes(fields[11], "big") == BLOCK_TIME
    assert receipt_under(fields[5], 1, block.path(1)) == block.receipts[1]
