"""A statement has one text, and a text one statement."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.errors import StatementInvalid
from node.model.chain import SharingType
from node.model.lines import ZERO_DIGEST, FieldDescription, Range, escape, read_time, unescape, write_time
from node.model.statements import (
    STATEMENT_TYPES,
    Decision,
    Delivery,
    Description,
    Order,
    OrderKind,
    Outcome,
    Receipt,
    Revocation,
    Statement,
    parse_as,
    parse_statement,
)
from tests.support.statements import member_id, statements

PROVIDER = member_id(1)
GRANT = bytes(range(32))
RECEIPT = Receipt(GRANT, bytes(16), 3, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32, member_id(1), 1_795_482_123_004)
TEXT = f"""kiteline/receipt/v1
grant {GRANT.hex()}
order {"00" * 16}
sequence 3
delivery {"01" * 32}
segments-digest {"02" * 32}
previous {"03" * 32}
requester {member_id(1)}
time 2026-11-24T01:02:03.004Z
"""


def test_a_receipt_reads_as_documented() -> None:
    assert RECEIPT.to_text() == TEXT
    assert parse_statement(TEXT) == RECEIPT


def test_a_description_reads_as_documented() -> None:
    description = Description(
        GRANT,
        "licences",
        member_id(1),
        "营业执照 (business licences)",
        2,
        SharingType.NOT_SHARED,
        "no,1",
        (FieldDescription("no,1", "编号=1; 100%"), FieldDescription("holder")),
        0,
    )
    assert description.to_text() == (
        f"kiteline/description/v1\ndataset {GRANT.hex()}\nname licences\nprovider {member_id(1)}\n"
        "title 营业执照 (business licences)\nlevel 2\nsharing not-shared\nkey-field no%2C1\n"
        "fields no%2C1=编号%3D1%3B 100%25;holder\ntime 1970-01-01T00:00:00.000Z\n"
    )
    assert parse_statement(description.to_text()) == description


def test_a_denial_states_no_terms() -> None:
    denial = Decision(GRANT, b"\x01" * 32, Outcome.DENIED, None, None, None, "no legal basis", PROVIDER, 0)
    assert "outcome denied\nfields -\nexpiry -\nquota -\nreason no legal basis\n" in denial.to_text()


@settings(max_examples=400, deadline=None)
@given(statements)
def test_every_statement_round_trips(statement: Statement) -> None:
    text = statement.to_text()
    assert parse_statement(text) == statement
    assert parse_statement(text).to_text() == text
    assert text.encode().decode() == text


@settings(max_examples=400, deadline=None)
@given(statements, st.data())
def test_no_text_that_differs_gives_the_same_statement(statement: Statement, data: st.DataObject) -> None:
    """Any single edit is refused, or is another statement with that text as its own."""
    text = statement.to_text()
    at = data.draw(st.integers(0, len(text)))
    edit = data.draw(st.sampled_from(["delete", "insert", "replace", "upper"]))
    mark = data.draw(st.sampled_from(" \n\t\r0-*%=;,Aaéé\x00\u202e"))
    changed = {
        "delete": text[:at] + text[at + 1 :],
        "insert": text[:at] + mark + text[at:],
        "replace": text[:at] + mark + text[at + 1 :],
        "upper": text[:at] + text[at : at + 1].upper() + text[at + 1 :],
    }[edit]
    if changed == text:
        return
    try:
        read = parse_statement(changed)
    except StatementInvalid:
        return
    assert read != statement
    assert read.to_text() == changed


@given(st.text())
@example("")
@example("\n")
@example("kiteline/receipt/v1\n")
def test_any_text_at_all_is_read_or_refused(text: str) -> None:
    with pytest.raises(StatementInvalid):
        parse_statement(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sequence 3", "sequence 03"),
        ("sequence 3", "sequence +3"),
        ("sequence 3", "sequence ３"),
        ("sequence 3", "sequence 0"),
        ("sequence 3", "sequence 18446744073709551616"),
        ("sequence 3", "sequence  3"),
        ("sequence 3", "sequence 3 "),
        ("03.004Z", "03Z"),
        ("03.004Z", "03.004+00:00"),
        ("2026-11-24T", "2026-02-30T"),
        ("2026-11-24T01:02:03.004Z", "1969-12-31T23:59:59.999Z"),
        ("2026-11-24T01", "2026-11-24T24"),
        ("02:03.004Z", "02:60.004Z"),
        ("\n", "\r\n"),
        ("0102", "010G"),
        ("0a0b", "0A0B"),
        ("receipt/v1", "receipt/v2"),
        (TEXT, TEXT + "\n"),
        (TEXT, TEXT[:-1]),
        (TEXT, TEXT + "time 2026-11-24T01:02:03.004Z\n"),
    ],
)
def test_other_spellings_are_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(StatementInvalid):
        parse_statement(TEXT.replace(old, new))


def test_a_wrong_check_character_is_refused() -> None:
    code = member_id(1)
    other = code[:-1] + ("1" if code[-1] != "1" else "2")
    with pytest.raises(StatementInvalid, match="requester"):
        parse_statement(TEXT.replace(code, other))


@pytest.mark.parametrize("text", ["", " a", "a ", "a\nb", "a\u2028b", "a\x7fb", "\u202eevil", "x" * 1001, "a\ud800"])
def test_a_text_that_could_mislead_is_not_written(text: str) -> None:
    with pytest.raises(StatementInvalid):
        Revocation(GRANT, text, PROVIDER, 0).to_text()


@pytest.mark.parametrize("name", ["*", "-", "", "a\tb", " a"])
def test_a_field_has_a_plain_name(name: str) -> None:
    with pytest.raises(StatementInvalid):
        Description(
            GRANT, "n", member_id(1), "t", 1, SharingType.CONDITIONAL, None, (FieldDescription(name),), 0
        ).to_text()


def test_contradictions_are_refused() -> None:
    order = Order(GRANT[:16], GRANT, GRANT, member_id(1), member_id(2), OrderKind.BULK, Range(0, 5), ZERO_DIGEST, 0)
    with pytest.raises(StatementInvalid):
        replace(order, range=None)
    with pytest.raises(StatementInvalid):
        replace(order, key_digest=GRANT)
    with pytest.raises(StatementInvalid):
        replace(order, kind=OrderKind.QUERY)
    with pytest.raises(StatementInvalid):
        replace(RECEIPT, sequence=1)
    with pytest.raises(StatementInvalid):
        replace(RECEIPT, previous_digest=ZERO_DIGEST)
    with pytest.raises(StatementInvalid):
        Decision(GRANT, GRANT, Outcome.APPROVED, (), None, 1, None, PROVIDER, 0)
    with pytest.raises(StatementInvalid):
        Decision(GRANT, GRANT, Outcome.DENIED, None, None, None, None, PROVIDER, 0)
    with pytest.raises(StatementInvalid):
        Range(5, 5)


def test_a_bulk_order_ends_where_its_range_ends_and_a_query_nowhere() -> None:
    bulk = Order(GRANT[:16], GRANT, GRANT, member_id(1), member_id(2), OrderKind.BULK, Range(3, 70), ZERO_DIGEST, 0)
    assert bulk.stop == 70
    assert replace(bulk, kind=OrderKind.QUERY, range=None, key_digest=GRANT).stop == 0


def test_a_key_field_is_one_of_the_fields() -> None:
    fields = (FieldDescription("code"), FieldDescription("name"))
    described = Description(GRANT, "n", member_id(1), "t", 1, SharingType.CONDITIONAL, "name", fields, 0)
    assert described.field_names == ("code", "name")
    with pytest.raises(StatementInvalid, match="not one of the fields"):
        replace(described, key_field="title")
    with pytest.raises(StatementInvalid, match="not one of the fields"):
        parse_statement(described.to_text().replace("key-field name", "key-field title"))


BULK_DELIVERY = Delivery(
    GRANT, GRANT[:16], 1, OrderKind.BULK, GRANT, GRANT, Range(0, 5), 2, b"\x01" * 32, ZERO_DIGEST, ZERO_DIGEST,
    member_id(1), member_id(2), 0,
)  # fmt: skip
ANSWER = replace(
    BULK_DELIVERY,
    kind=OrderKind.QUERY,
    segments=0,
    segments_digest=ZERO_DIGEST,
    answer_digest=b"\x02" * 32,
    wrapped_digest=b"\x03" * 32,
)


@pytest.mark.parametrize(
    ("delivery", "changes"),
    [
        (BULK_DELIVERY, {"segments": 0}),
        (BULK_DELIVERY, {"segments_digest": ZERO_DIGEST}),
        (BULK_DELIVERY, {"answer_digest": GRANT}),
        (BULK_DELIVERY, {"wrapped_digest": GRANT}),
        (BULK_DELIVERY, {"kind": OrderKind.QUERY}),
        (ANSWER, {"segments": 1}),
        (ANSWER, {"segments_digest": GRANT}),
        (ANSWER, {"answer_digest": ZERO_DIGEST}),
        (ANSWER, {"wrapped_digest": ZERO_DIGEST}),
        (ANSWER, {"kind": OrderKind.BULK}),
    ],
)
def test_a_delivery_states_segments_or_an_answer_and_never_a_part_of_both(
    delivery: Delivery, changes: dict[str, object]
) -> None:
    assert parse_statement(delivery.to_text()) == delivery
    with pytest.raises(StatementInvalid, match="a bulk delivery states segments alone"):
        replace(delivery, **changes)  # type: ignore[arg-type]  # any field, by name


def test_another_type_is_refused_where_one_is_wanted() -> None:
    assert parse_as(Receipt, TEXT) == RECEIPT
    with pytest.raises(StatementInvalid, match="order is wanted"):
        parse_as(Order, TEXT)


def test_types_are_unique() -> None:
    assert len({kind.TYPE for kind in STATEMENT_TYPES}) == len(STATEMENT_TYPES)


@given(st.integers(0, 253_402_300_799_999))
def test_times_round_trip(milliseconds: int) -> None:
    assert read_time(write_time(milliseconds)) == milliseconds


@given(st.text())
def test_escaping_round_trips(text: str) -> None:
    assert unescape(escape(text)) == text
