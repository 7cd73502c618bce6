"""The operator's guide, in both languages, says of settings, metrics, events, reasons and codes what the program does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from prometheus_client import CollectorRegistry

from node.app.metrics import Metrics, Watched
from node.chain.network import load_network
from node.cli.output import Exit
from node.errors import ConfigurationInvalid
from scripts.reasons import refusals
from tests.node.app.settings_reference import ALL, NUMBERS, OPTIONAL
from tests.node.cli.reading import blocks

ROOT = Path(__file__).resolve().parent.parent.parent.parent
ENGLISH, CHINESE = ROOT / "docs" / "operator.md", ROOT / "docs" / "operator.zh.md"
GUIDES = pytest.mark.parametrize("guide", [ENGLISH, CHINESE], ids=["en", "zh"])
NETWORK = ROOT / "network_configs" / "embedded" / "network.toml"
OPTIONAL_WORDS = {ENGLISH: "*optional*", CHINESE: "*可选*"}


def _tables(guide: Path) -> list[list[list[str]]]:
    """Every table's rows, heads left out, cell by cell."""
    tables = re.findall(r"((?:^\|.*\|\n)+)", guide.read_text(encoding="utf-8"), re.MULTILINE)
    return [[[cell.strip() for cell in row[1:-1].split(" | ")] for row in table.splitlines()[2:]] for table in tables]


def _table(guide: Path, first: str) -> dict[str, list[str]]:
    """The table whose first row begins with this, by its first column, code marks left out."""
    (table,) = [rows for rows in _tables(guide) if rows[0][0].strip("| `") == first]
    return {row[0].strip("| `"): [cell.strip(" |") for cell in row[1:]] for row in table}


def _code(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_both_languages_give_the_same_commands_unit_and_shape() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE)
    english, chinese = (path.read_text(encoding="utf-8") for path in (ENGLISH, CHINESE))
    unit = re.compile(r"```ini\n(.*?)```", re.DOTALL)
    assert unit.findall(english) == unit.findall(chinese) != []
    shapes = [[(len(rows), len(rows[0])) for rows in _tables(guide)] for guide in (ENGLISH, CHINESE)]
    assert shapes[0] == shapes[1]
    headings = [re.findall(r"^#+ ", text, re.MULTILINE) for text in (english, chinese)]
    assert headings[0] == headings[1]
    assert len(headings[0]) > 10


@GUIDES
def test_every_setting_is_there_with_its_bounds_and_what_init_writes(guide: Path) -> None:
    rows = _table(guide, "node.member_id")
    assert set(rows) == {f"{table}.{key}" for table, key in ALL}
    for (table, key), (least, most, initial) in NUMBERS.items():
        unit, written, bounds, meaning = rows[f"{table}.{key}"]
        assert unit
        assert meaning
        assert (written, bounds) == (str(initial), f"{least}–{most}")
    optional = {name for name, cells in rows.items() if cells[1] == OPTIONAL_WORDS[guide]}
    assert optional == {f"{table}.{key}" for table, key in OPTIONAL}


@GUIDES
def test_the_network_files_numbers_have_the_bounds_that_the_guide_gives(guide: Path, tmp_path: Path) -> None:
    rows = _table(guide, "name")
    numbers = {name: cells[2] for name, cells in rows.items() if re.fullmatch(r"\d+–\d+", cells[2])}
    assert len(numbers) == 6
    for name, bounds in numbers.items():
        table, key = name.split(".")
        least, most = map(int, bounds.split("–"))
        for value in (least, most):
            load_network(_network(tmp_path, table, key, value))
        for value in (least - 1, most + 1):
            with pytest.raises(ConfigurationInvalid, match=key):
                load_network(_network(tmp_path, table, key, value))
    for rule in ("finality.rule", "fees.rule", "header.rule", "seals.rule"):
        table, key = rule.split(".")
        for word in _code(rows[rule][2]):
            load_network(_network(tmp_path, table, key, word))


def _network(directory: Path, table: str, key: str, value: object) -> Path:
    document: dict[str, Any] = tomllib.loads(NETWORK.read_text(encoding="utf-8"))
    document.setdefault(table, {"rule": "eip-225", "epoch_blocks": 1})[key] = value
    if (table, key) == ("finality", "blocks"):
        document["finality"]["rule"] = "depth"
    elif value == "depth":
        document["finality"]["blocks"] = 1
    file = directory / "network.toml"
    file.write_text(tomli_w.dumps(document), encoding="utf-8")
    return file


def _none() -> int:
    return 0


@GUIDES
def test_every_metric_is_there(guide: Path) -> None:
    metrics = Metrics(Watched(_none, _none, _none, _none, _none, _none, _none, lambda: True, _none, _none))
    metrics.call_ended("/a.B/C", "OK", 0.1)
    registry: CollectorRegistry = metrics._registry
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    assert set(_table(guide, "kiteline_calls_total")) == names


@GUIDES
def test_every_event_of_the_log_is_one_that_the_node_writes(guide: Path) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "node").rglob("*.py"))
    (rows,) = [rows for rows in _tables(guide) if "`serving`" in rows[0][0]]
    events = {event for row in rows for event in _code(row[0])}
    assert len(events) == 17
    for event in events:
        assert f'"{event}"' in source, event
    # And the other way about: what the node itself and its gate log is explained.
    logged = re.findall(r'(?:logger|_log|_logger)\.(?:info|warning|exception|error)\(\s*"([^"]+)"', source)
    assert set(logged) <= events


@GUIDES
def test_every_reason_that_is_named_is_one_that_there_is(guide: Path) -> None:
    reasons = {kind.reason for kind in refusals()}
    (rows,) = [
        rows for rows in _tables(guide) if rows[0][0] == "`NODE_UNAVAILABLE`" or "| `NODE_UNAVAILABLE`" in rows[0][0]
    ]
    named = {word for row in rows for word in _code(row[0]) if re.fullmatch(r"[A-Z_]+", word)}
    assert len(named) > 15
    assert named <= reasons


@GUIDES
def test_every_exit_code_is_there(guide: Path) -> None:
    assert set(_table(guide, "0")) == {str(code.value) for code in Exit}


@GUIDES
def test_every_variable_of_the_environment_is_there(guide: Path) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "node").rglob("*.py"))
    read = set(re.findall(r'"(KITELINE_[A-Z_]+)"', source))
    assert read
    text = guide.read_text(encoding="utf-8")
    for name in read:
        assert re.search(rf"`{name}[`=]", text), name
