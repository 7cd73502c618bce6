"""Network and deployment files are read strictly, and the one that ships is valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.chain.deployment import CONTRACT_NAMES, ContractAt, Deployment, dump_deployment, load_deployment
from node.chain.network import FeeRule, FinalityRule, HeaderRule, load_network
from node.errors import ConfigurationInvalid
from tests.support.anvil import ROOT

VALID = """
name = "somewhere"
chain_id = 7
endpoints = ["http://127.0.0.1:1", "https://chain.example/rpc"]
[finality]
rule = "depth"
blocks = 12
[fees]
rule = "market"
[header]
rule = "bft-extra"
[poll]
interval_milliseconds = 250
timeout_milliseconds = 1500
range_blocks = 100
stalled_seconds = 60
[engine]
anything = "that starts it"
"""


def written(directory: Path, text: str) -> Path:
    """A file with this text."""
    path = directory / "file.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_network_file_gives_its_rules(tmp_path: Path) -> None:
    network = load_network(written(tmp_path, VALID))
    assert (network.finality, network.depth) == (FinalityRule.DEPTH, 12)
    assert (network.fees, network.header) == (FeeRule.MARKET, HeaderRule.BFT_EXTRA)
    assert (network.poll_seconds, network.timeout_seconds, network.range_blocks) == (0.25, 1.5, 100)
    assert network.stalled_seconds == 60
    assert len(network.endpoints) == 2


@pytest.mark.parametrize(
    "file", sorted((ROOT / "network_configs").glob("*/network.toml")), ids=lambda file: file.parent.name
)
def test_every_network_that_ships_is_valid(file: Path) -> None:
    assert load_network(file).name == file.parent.name


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("chain_id = 7", "", "chain_id is missing"),
        ("chain_id = 7", 'chain_id = "7"', "chain_id must be a whole number"),
        ("chain_id = 7", "chain_id = true", "chain_id must be a whole number"),
        ("chain_id = 7", "chain_id = 0", "chain_id must be a whole number"),
        ("chain_id = 7", "chain_id = 7\nchainid = 8", "chainid is not a known setting"),
        ('"depth"', '"deep"', "rule must be one of depth, every-block, finalized-tag"),
        ("blocks = 12", "", "blocks is missing"),
        ('rule = "depth"', 'rule = "every-block"', "blocks is not a known setting"),
        ('"http://127.0.0.1:1"', '"ftp://127.0.0.1"', "endpoints must be http or https"),
        ('"http://127.0.0.1:1"', '"http://127.0.0.1:port"', "endpoints must be http or https"),
        ('"http://127.0.0.1:1"', '"https://chain.example/rpc"', "endpoints names the same text twice"),
        ('["http://127.0.0.1:1", "https://chain.example/rpc"]', "[]", "endpoints must be a list"),
        ("[fees]", "[fee]", r"fees is missing"),
        ('name = "somewhere"', 'name = " "', "name must be a non-empty text"),
        ("interval_milliseconds = 250", "interval_milliseconds = 0", "interval_milliseconds must be a whole number"),
        ("[poll]", "[poll", "cannot be read"),
    ],
)
def test_a_wrong_network_file_is_refused_by_the_settings_name(
    tmp_path: Path, was: str, becomes: str, named: str
) -> None:
    assert was in VALID
    with pytest.raises(ConfigurationInvalid, match=named):
        load_network(written(tmp_path, VALID.replace(was, becomes)))


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="there is no file"):
        load_network(tmp_path / "nowhere.toml")


DEPLOYMENT = Deployment(
    7,
    3,
    b"\1" * 32,
    {name: ContractAt(bytes([place]) * 20, bytes([place]) * 32) for place, name in enumerate(CONTRACT_NAMES)},
)


def test_a_deployment_file_reads_back_to_the_same_value(tmp_path: Path) -> None:
    read = load_deployment(written(tmp_path, dump_deployment(DEPLOYMENT)))
    assert read == DEPLOYMENT
    assert read.identity == DEPLOYMENT.identity


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("[grants]", "[grant]", "grants is missing"),
        ("0x" + "02" * 20, "0x" + "02" * 19, "address must be 0x and 40 hexadecimal digits"),
        ("0x" + "02" * 20, "02" * 21, "address must be 0x and 40 hexadecimal digits"),
        ("0x" + "02" * 20, "0x" + "zz" * 20, "address must be hexadecimal"),
        ("0x" + "02" * 20, "0x" + "01" * 20, "the same for two contracts"),
        ("block = 3", "block = -3", "block must be a whole number"),
    ],
)
def test_a_wrong_deployment_file_is_refused(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    text = dump_deployment(DEPLOYMENT)
    assert was in text
    with pytest.raises(ConfigurationInvalid, match=named):
        load_deployment(written(tmp_path, text.replace(was, becomes)))
