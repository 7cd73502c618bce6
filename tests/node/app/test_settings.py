"""The configuration file: what is accepted, what is refused by name, and that it reads back as it was written."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from node.app.settings import Settings, dump, load, parse
from node.errors import ConfigurationInvalid
from tests.node.app.settings_reference import ADDRESSES, ALL, LISTS, NUMBERS, OPTIONAL, PATHS, TEXTS, complete
from tests.support.statements import member_id

HOME = Path("/srv/kiteline")
FILE = HOME / "kiteline.toml"


def _document() -> dict[str, Any]:
    return tomllib.loads(dump(complete(HOME), HOME))


def _with(table: str, key: str, value: object) -> str:
    document = _document()
    document[table][key] = value
    return tomli_w.dumps(document)


def _refused(text: str) -> ConfigurationInvalid:
    with pytest.raises(ConfigurationInvalid) as refused:
        parse(text, FILE)
    return refused.value


def test_the_file_has_every_setting_and_the_reference_knows_them_all() -> None:
    document = _document()
    assert document.pop("version") == 1
    assert sorted((table, key) for table, values in document.items() for key in values) == sorted(ALL)
    assert len(ALL) == len(dataclasses.fields(Settings))


@pytest.mark.parametrize(("setting", "bounds"), NUMBERS.items(), ids=lambda value: ".".join(map(str, value)))
def test_a_number_is_taken_within_its_bounds_and_refused_beyond(
    setting: tuple[str, str], bounds: tuple[int, int, int]
) -> None:
    table, key = setting
    least, most, initial = bounds
    for value in (least, most):
        assert getattr(parse(_with(table, key, value), FILE), key) == value
    for wrong in (least - 1, most + 1, 2**63 - 1, True, 1.0, str(least), [least]):
        assert _refused(_with(table, key, wrong)).details["setting"] == f"{table}.{key}"
    assert _document()[table][key] == initial


@pytest.mark.parametrize(("table", "key"), ADDRESSES)
def test_an_address_is_a_host_and_a_port(table: str, key: str) -> None:
    attribute = "metrics_listen" if table == "metrics" else key
    for right in ("127.0.0.1:0", "0.0.0.0:65535", "[::1]:7001", "node.example:1"):
        assert getattr(parse(_with(table, key, right), FILE), attribute) == right
    for wrong in (
        "",
        "7001",
        ":7001",
        "host:",
        "host:07",
        "host:-1",
        "host:65536",
        "host:７",
        " host:1",
        "host:1\n",
        7001,
    ):
        assert _refused(_with(table, key, wrong)).details["setting"] == f"{table}.{key}"


@pytest.mark.parametrize(("table", "key"), [*TEXTS, *PATHS])
def test_a_text_is_printable_and_not_empty(table: str, key: str) -> None:
    for wrong in ("", " ", "a ", "a\tb", "a\nb", 1, ["a"]):
        assert _refused(_with(table, key, wrong)).details["setting"] == f"{table}.{key}"


@pytest.mark.parametrize("wrong", [2, -1, True, "1"])
def test_no_more_cosignatures_are_needed_than_there_are_witnesses(wrong: object) -> None:
    assert parse(_with("audit", "cosignatures_needed", 1), FILE).cosignatures_needed == 1
    assert _refused(_with("audit", "cosignatures_needed", wrong)).details["setting"] == "audit.cosignatures_needed"


@pytest.mark.parametrize("wrong", [["113707000042591161"], ["113707000042591160"] * 2, [1]])
def test_a_witness_is_a_member_and_named_once(wrong: list[object]) -> None:
    assert _refused(_with("audit", "witnesses", wrong)).details["setting"] == "audit.witnesses"


@pytest.mark.parametrize(("table", "key"), LISTS)
def test_a_list_of_files_holds_texts_alone(table: str, key: str) -> None:
    assert getattr(parse(_with(table, key, []), FILE), key) == ()
    for wrong in ("a.pem", [""], ["a.pem", 1]):
        assert _refused(_with(table, key, wrong)).details["setting"] == f"{table}.{key}"


@pytest.mark.parametrize(
    "wrong", ["113707000042587460", "11370700004258746x", "1137070000425874", "11370700004258746XX"]
)
def test_a_member_is_named_by_a_credit_code_with_its_right_check_character(wrong: str) -> None:
    assert _refused(_with("node", "member_id", wrong)).details["setting"] == "node.member_id"


@pytest.mark.parametrize(("table", "key"), ALL)
def test_a_missing_setting_is_refused_by_name_unless_it_may_be_absent(table: str, key: str) -> None:
    document = _document()
    del document[table][key]
    text = tomli_w.dumps(document)
    if (table, key) in OPTIONAL:
        attribute = {"metrics": "metrics_listen", "keys": "key_agent"}.get(table, key)
        assert getattr(parse(text, FILE), attribute) is None
    else:
        assert _refused(text).details["setting"] == f"{table}.{key}"


@pytest.mark.parametrize("table", ["node", "chain", "exchange", "audit", "storage", "keys", "metrics"])
def test_a_misspelt_setting_is_refused_by_name(table: str) -> None:
    refused = _refused(_with(table, "grace_second", 5))
    assert refused.details["setting"] == f"{table}.grace_second"
    assert "is not a setting of this version" in str(refused)


def test_a_misspelt_table_another_version_and_a_value_for_a_table_are_refused() -> None:
    assert _refused(tomli_w.dumps(_document() | {"metric": {}})).details["setting"] == "metric"
    for version in (0, 2, "1"):
        assert _refused(tomli_w.dumps(_document() | {"version": version})).details["setting"] == "version"
    assert _refused(tomli_w.dumps(_document() | {"storage": 1})).details["setting"] == "storage"


def test_a_file_that_is_absent_or_no_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kiteline.toml"
    with pytest.raises(ConfigurationInvalid, match="kiteline init"):
        load(file)
    for content in (b"version = ", b"\xff\xfe", b"version = 1\nversion = 1\n"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationInvalid, match="cannot be read"):
            load(file)


def test_paths_are_relative_to_the_file_wherever_it_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "node"
    home.mkdir()
    (home / "kiteline.toml").write_text(dump(complete(home), home), encoding="utf-8")
    assert str(home) not in (home / "kiteline.toml").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load(Path("node/kiteline.toml")) == complete(home)


_names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)
_ports = st.integers(0, 65_535)
_hosts = st.sampled_from(["127.0.0.1", "0.0.0.0", "[::1]", "node.civil.example"])  # noqa: S104 - an operator may
_addresses = st.builds("{}:{}".format, _hosts, _ports)
_parts = st.text("abcXYZ09._-潍坊 ", min_size=1, max_size=12).filter(
    lambda part: part == part.strip() and part not in {".", ".."}
)
_paths = st.builds(
    lambda base, parts: Path(base, *parts), st.sampled_from([HOME, Path("/")]), st.lists(_parts, min_size=1)
)
_settings = st.builds(
    Settings,
    member_id=st.integers(1, 999_999).map(member_id),
    name=_names,
    listen=_addresses,
    advertise=_addresses,
    keys_directory=_paths,
    data_directory=_paths,
    network_file=_paths,
    contracts_file=_paths,
    head_file=_paths,
    witnesses=st.lists(st.integers(1, 999_999).map(member_id), max_size=3, unique=True).map(tuple),
    cosignatures_needed=st.just(0),
    client_certificates=st.lists(_paths, max_size=3).map(tuple),
    security_certificates=st.lists(_paths, max_size=3).map(tuple),
    key_agent=st.none() | _paths,
    metrics_listen=st.none() | _addresses,
    engine=st.none() | st.sampled_from(["multibuffer", "openssl", "gmssl"]),
    **{key: st.integers(least, most) for (_, key), (least, most, _) in NUMBERS.items()},
)


@given(_settings)
def test_what_is_written_reads_back_to_the_same_settings(settings: Settings) -> None:
    text = dump(settings, HOME)
    assert parse(text, FILE) == settings
    assert dump(parse(text, FILE), HOME) == text
