"""The table `engine` is read strictly, and nothing can be filled in that is not there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from node.engine.description import (
    FILE_NAMES,
    GoPackage,
    ValidatorList,
    VersionCheck,
    fill,
    fill_file,
    load_engine,
    node_file,
)
from node.engine.keys import KeyKind
from node.errors import ConfigurationInvalid
from scripts.local_consortium import NETWORKS

VALID = """
name = "somewhere"
chain_id = 7
endpoints = ["http://127.0.0.1:1"]
[engine]
program = "engine"
validators = 3
files = ["genesis.json"]
prepare = ["init", "{home}/genesis.json"]
arguments = ["--rpc", "{port}", "--rpc", "{{}}", "{password_file}"]
[engine.version]
arguments = ["version"]
says = "1.2.3"
[engine.go]
package = "example.org/engine@v1.2.3"
flags = []
"""


WITH_KEYS = r"""
name = "somewhere"
chain_id = 7
endpoints = ["http://127.0.0.1:1"]
[fees]
rule = "market"
[engine]
program = "engine"
validators = 3
keys = ["certificate", "bls"]
files = ["genesis.json"]
rpc_path = "/rpc"
ready_path = "/health"
arguments = ["--cert={certificate_file}", "--key={certificate_key_file}", "--bls={bls_key_file}", "--meet={others}"]
[engine.lists.others]
of = "others"
each = "id-${node_id}"
[engine.lists.all]
of = "all"
each = "\n{\"id\": \"${node_id}\", \"proof\": \"${bls_proof}\", \"port\": ${peer_port}}"
"""


def written(directory: Path, text: str) -> Path:
    """A network file with this text, and the template that it names."""
    (directory / "genesis.json").write_text('{"id": ${chain_id}, "of": "0x${validator_accounts}00"}', encoding="utf-8")
    path = directory / "network.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_network_file_says_how_to_start_it(tmp_path: Path) -> None:
    engine = load_engine(written(tmp_path, VALID))
    assert (engine.program, engine.validators, engine.chain_id, engine.folder) == ("engine", 3, 7, tmp_path)
    assert engine.version == VersionCheck(("version",), "1.2.3")
    assert engine.go == GoPackage("example.org/engine@v1.2.3", ())
    values = {"port": "8545", "password_file": "/dev/fd/3"}
    assert fill(engine.arguments, values) == ["--rpc", "8545", "--rpc", "{}", "/dev/fd/3"]


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ('program = "engine"', "", "program is missing"),
        ("validators = 3", "validators = 0", "validators must be a whole number from 1 to 16"),
        ("validators = 3", "validator = 3", "validator is not a known setting|unknown placeholder"),
        ('"{port}"', '"{ports}"', "arguments has the unknown placeholder {ports}; known are account,"),
        ('"{port}"', '"{port"', "arguments has an ill-formed placeholder"),
        ('"{port}"', '"{port:{home}}"', "arguments has an ill-formed placeholder"),
        ('"{port}"', '"{port.real}"', "arguments has the unknown placeholder {port.real}"),
        ('"{port}"', "8545", "arguments must be a list of texts"),
        ('"{home}/genesis.json"', '"{password_file}"', "prepare has the unknown placeholder {password_file}"),
        ('files = ["genesis.json"]', 'files = ["other.json"]', "files must name files beside the network file"),
        ('files = ["genesis.json"]', 'files = ["../network.toml"]', "files must name files beside the network file"),
        ('says = "1.2.3"', "", "says is missing"),
        ("validators = 3", 'validators = 3\nsealing_key = "any"', "sealing_key must be one of account, node-key"),
        ("validators = 3", "validators = 3\nblock_seconds = 0", "block_seconds must be a whole number from 1 to 3600"),
        ("engine@v1.2.3", "engine@latest", "package must end with @ and an exact version"),
    ],
)
def test_a_wrong_engine_is_refused_by_the_settings_name(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    assert was in VALID
    with pytest.raises(ConfigurationInvalid, match=named):
        load_engine(written(tmp_path, VALID.replace(was, becomes)))


def test_a_network_file_says_what_keys_a_validator_has_and_how_validators_are_listed(tmp_path: Path) -> None:
    engine = load_engine(written(tmp_path, WITH_KEYS))
    assert engine.keys == {KeyKind.CERTIFICATE, KeyKind.BLS}
    assert engine.fewest == 1
    assert engine.lists["others"] == ValidatorList(others=True, each="id-${node_id}")
    assert engine.lists["all"].each.startswith("\n{")
    assert (engine.rpc_path, engine.ready_path, engine.treasury) == ("/rpc", "/health", True)
    assert not load_engine(written(tmp_path, WITH_KEYS.replace('"market"', '"zero"'))).treasury


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("validators = 3", "validators = 3\nfewest = 4", "fewest must be a whole number from 1 to 3"),
        ('"bls"]', '"bsl"]', "keys must be of account, peer, certificate, bls, not 'bsl'"),
        ('"bls"]', '"certificate"]', "keys names the same text twice"),
        (
            "{certificate_file}",
            "{account}",
            "arguments has the unknown placeholder {account}; known are all, bls_key_file",
        ),
        ("{others}", "{nobody}", "arguments has the unknown placeholder {nobody}"),
        ('of = "others"', 'of = "some"', "of must be one of all, others"),
        (
            "id-${node_id}",
            "id-${account}",
            "each can have only bls_proof, bls_public_key, node_id, peer_port, port after",
        ),
        ("id-${node_id}", "id-${", "each can have only"),
        ("lists.others", "lists.peers", "peers cannot be the name of a list"),
        ("lists.others", 'lists."a b"', "a b cannot be the name of a list"),
        ('"/rpc"', '"rpc"', "rpc_path must begin with a slash"),
        ('"/health"', '"health"', "ready_path must begin with a slash"),
    ],
)
def test_wrong_keys_and_lists_are_refused_by_the_settings_name(
    tmp_path: Path, was: str, becomes: str, named: str
) -> None:
    assert WITH_KEYS.count(was) == 1
    with pytest.raises(ConfigurationInvalid, match=named):
        load_engine(written(tmp_path, WITH_KEYS.replace(was, becomes)))


def test_a_network_without_an_engine_is_not_run_by_one_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"has no \[engine\]; this network is not run by one machine"):
        load_engine(written(tmp_path, VALID.replace("[engine", "[motor")))


def test_an_engine_of_one_process_has_no_account(tmp_path: Path) -> None:
    text = 'chain_id = 7\n[engine]\nprogram = "engine"\narguments = ["{account}"]\n'
    with pytest.raises(
        ConfigurationInvalid, match=r"unknown placeholder {account}; known are chain_id, home, port, state"
    ):
        load_engine(written(tmp_path, text))


def test_a_template_names_only_what_there_is(tmp_path: Path) -> None:
    written(tmp_path, VALID)
    values = dict.fromkeys(FILE_NAMES, "1f")
    assert fill_file(tmp_path / "genesis.json", values) == '{"id": 1f, "of": "0x1f00"}'
    (tmp_path / "genesis.json").write_text("${chain}", encoding="utf-8")
    with pytest.raises(
        ConfigurationInvalid,
        match="only bft_extra_data, chain_id, peer_port, peers, start_time, treasury, validator_accounts can stand after",
    ):
        fill_file(tmp_path / "genesis.json", values)


@pytest.mark.parametrize("file", sorted(NETWORKS.glob("*/network.toml")), ids=lambda file: file.parent.name)
def test_every_engine_that_ships_can_be_read_and_its_files_be_filled_in(file: Path) -> None:
    if "engine" not in tomllib.loads(file.read_text(encoding="utf-8")):
        pytest.skip(f"{file.parent.name} is not started by `kiteline chain up`")
    engine = load_engine(file)
    for name in engine.files:
        values = dict.fromkeys(FILE_NAMES | engine.lists.keys(), "1")
        assert "$" not in fill_file(engine.folder / name, values)


def test_nodes_get_the_rules_the_endpoints_that_run_and_no_engine(tmp_path: Path) -> None:
    text = node_file(written(tmp_path, VALID), ["http://127.0.0.1:5", "http://127.0.0.1:6"])
    expected = {"name": "somewhere", "chain_id": 7, "endpoints": ["http://127.0.0.1:5", "http://127.0.0.1:6"]}
    assert tomllib.loads(text) == expected
