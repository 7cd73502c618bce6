"""The compose files: of one form, with pinned images, and with the ports and chain ids of the network files beside them."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.local_consortium import NETWORKS
from tests.network_configs.compose_files import Malformed, read

FILES = sorted(NETWORKS.glob("*/compose.yaml"))
EACH = pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
SERVICE_KEYS = {
    *("image", "restart", "stop_grace_period", "ports", "volumes", "command", "depends_on", "environment"),
    *("secrets", "healthcheck", "working_dir", "ulimits"),
}
TAG = re.compile(r"(?:[a-z0-9.-]+/)?[a-z0-9-]+:v?\d+\.\d+\.\d+")


def services(file: Path) -> dict[str, dict[str, Any]]:
    """The services of a compose file, by name."""
    document: dict[str, dict[str, Any]] = read(file.read_text(encoding="utf-8"))["services"]
    return document


def test_every_network_of_several_organisations_has_one() -> None:
    assert {file.parent.name for file in FILES} == {"avalanche", "clique", "fisco", "qbft"}


@EACH
def test_it_has_one_validator_and_the_node_and_nothing_that_is_not_known(file: Path) -> None:
    document = read(file.read_text(encoding="utf-8"))
    assert set(document) <= {"services", "volumes", "secrets"}
    named = services(file)
    assert {"validator", "kiteline"} <= set(named) <= {"validator", "rpc", "kiteline"}
    for service in named.values():
        assert set(service) <= SERVICE_KEYS
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in document["volumes"]
        assert set(service.get("depends_on", [])) <= set(named)
        assert set(service.get("secrets", [])) <= set(document["secrets"])


@EACH
def test_images_are_pinned_by_an_exact_tag(file: Path) -> None:
    for service in services(file).values():
        assert TAG.fullmatch(service["image"]), service["image"]
    assert services(file)["kiteline"]["image"] == f"kiteline:{version('kiteline')}"
    engine = {service["image"] for name, service in services(file).items() if name != "kiteline"}
    assert len(engine) == 1


@EACH
def test_the_engine_is_of_the_version_that_the_network_file_asks_for(file: Path) -> None:
    network = _network(file)
    (image,) = {service["image"] for name, service in services(file).items() if name != "kiteline"}
    if "version" not in network.get("engine", {}):
        pytest.skip("the network file asks for no version")
    wanted = re.search(r"\d+\.(?:\d+\.\d+)?", network["engine"]["version"]["says"])
    assert wanted is not None
    assert image.rpartition(":")[2].removeprefix("v").startswith(wanted[0])


@EACH
def test_ports_and_chain_ids_are_those_of_the_network_file(file: Path) -> None:
    network, named = _network(file), services(file)
    serving = named.get("rpc", named["validator"])
    (rpc,) = [port for port in serving["ports"] if port.startswith("127.0.0.1:")]
    port = urlsplit(network["endpoints"][0]).port
    assert rpc == f"127.0.0.1:{port}:{port}/tcp", "JSON-RPC is for this machine alone"
    for service in named.values():
        for word in service["command"]:
            if word.startswith(("--networkid=", "--network-id=")):
                assert int(word.partition("=")[2]) == network["chain_id"]
            if word.startswith(("--http.port=", "--rpc-http-port=", "--http-port=")):
                assert int(word.partition("=")[2]) == port
    # What the others meet is not bound to the loopback interface, and the validator's own JSON-RPC is published only where it is the one that nodes use.
    public = [one for one in named["validator"]["ports"] if not one.startswith("127.0.0.1:")]
    assert len(public) == 1
    assert ("rpc" in named) == all(not one.startswith("127.0.0.1:") for one in named["validator"]["ports"])


@pytest.mark.parametrize(
    "text",
    [
        "a: [b]",
        "a: b: c",
        "a: &b c",
        "a:\n   b: c",
        "a:\n\tb: c",
        "a: b\na: c",
        "a: yes",
        "a: b #c",
        "a: 'b'",
        "a:\n    b: c",
        "- a",
        "a:\n  - b\n  c: d",
        "a: b\n  c: d",
        "a: {b: c}",
        "a: |",
    ],
)
def test_what_another_reader_could_take_otherwise_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read(text)


def test_the_form_itself_is_read() -> None:
    text = '# said\na:\n  b:\n    - --c=d\n    - "1:2"\n  e: ${F}\ng:\n'
    assert read(text) == {"a": {"b": ["--c=d", "1:2"], "e": "${F}"}, "g": None}


def _network(file: Path) -> dict[str, Any]:
    beside = file.parent / "network.toml"
    if not beside.is_file():
        pytest.skip(f"there is no network file of {file.parent.name}")
    return tomllib.loads(beside.read_text(encoding="utf-8"))
