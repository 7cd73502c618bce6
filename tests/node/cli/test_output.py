"""How results are drawn: nothing that others wrote is markup, and tables fit where they are shown."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from crypto.errors import Refusal
from node.cli.output import Output, line, pairs, spoken, table
from node.errors import InternalError


def _output(width: int = 80) -> tuple[Output, io.StringIO, io.StringIO]:
    people, asides = io.StringIO(), io.StringIO()
    return (
        Output(people=Console(file=people, width=width), asides=Console(file=asides, width=width)),
        people,
        asides,
    )


@given(st.text(max_size=40) | st.text("[]\\/bold ", max_size=20))
def test_a_text_is_shown_as_it_is_and_never_as_markup(text: str) -> None:
    shown = "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
    for drawn in (spoken(text), line(text), line("", text)):
        assert drawn.plain == shown
        assert drawn.spans == []
    (span,) = line((text + "!", "red"), text).spans
    assert (span.start, span.end, span.style) == (0, len(shown) + 1, "red")


@given(
    st.dictionaries(st.text(max_size=10), st.text("[]\\/ab", max_size=20) | st.booleans() | st.integers(), min_size=1)
)
def test_pairs_and_cells_of_any_text_can_be_drawn(document: dict[str, object]) -> None:
    output, people, _ = _output()
    output.result(document)
    output.result(document, table("[t]", ["name", "value"], [list(pair) for pair in document.items()]))
    assert people.getvalue()


def test_values_are_spoken_as_people_do() -> None:
    assert [spoken(value).plain for value in (True, False, ["a", "b"], 12, "x")] == ["yes", "no", "a, b", "12", "x"]


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_a_table_fits_and_its_first_column_stays_whole(width: int) -> None:
    output, people, _ = _output(width)
    identity, member, prose = "0123456789ab", "11370700004258746X", "a purpose that goes on and on " * 4
    drawn = table("Grants", ["grant", "other side", "purpose"], [[identity, member, prose]], folds={"purpose"})
    output.result({}, drawn)
    lines = people.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any(identity in line for line in lines)
    assert any(member in line for line in lines)
    words = " ".join(people.getvalue().split())
    assert words.count("purpose") == 5, "text is folded and not cut"


def test_where_nothing_else_helps_every_column_but_the_first_is_folded() -> None:
    output, people, _ = _output(30)
    output.result({}, table("", ["id", "member"], [["0123456789ab", "11370700004258746X"]]))
    text = people.getvalue()
    assert "0123456789ab" in text
    assert "11370700004258746X" in "".join(line[13:].strip() for line in text.splitlines())


def test_a_table_without_rows_is_not_drawn() -> None:
    output, people, _ = _output()
    output.result({}, table("Grants", ["grant"], []))
    assert people.getvalue() == ""


def test_a_refusal_shows_what_its_sentence_leaves_out() -> None:
    output, people, asides = _output()
    output.refusal(InternalError("a defect of this node ended the call", incident="00aa11bb"))
    assert people.getvalue() == ""
    assert "incident: 00aa11bb" in asides.getvalue()


def test_a_script_gets_the_refusal_on_standard_output_alone(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    refusal: Refusal = InternalError("潍坊", incident="1")
    output.note("people read this")
    assert output.refusal(refusal) == 70
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "error": {"reason": "INTERNAL", "message": "潍坊", "remedy": refusal.remedy, "details": {"incident": "1"}}
    }


def test_off_a_terminal_lines_are_long_and_no_bar_is_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    output = Output()
    assert output.people.width > 150
    with output.progress("publish", 10) as bar:
        bar.to(10)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "")


def test_pairs_name_their_values() -> None:
    output, people, _ = _output()
    output.result({"anchored_entries": 18}, pairs({"anchored_entries": 18}))
    assert people.getvalue().split() == ["anchored", "entries", "18"]
