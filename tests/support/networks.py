"""A consortium of two members on each network that this machine can run, for tests that hold whatever the engine is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.chain.endpoints import Endpoints
from node.chain.json_rpc import read_quantity
from node.chain.network import Network, load_network
from node.engine.description import EngineDescription, load_engine
from node.engine.program import find_program
from node.errors import ConfigurationInvalid
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, NETWORKS, LocalConsortium

NAMES = sorted(file.parent.name for file in NETWORKS.glob("*/network.toml"))
ROWS = 500
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class RunningNetwork:
    """A network with two members and a published dataset on it. `lines`: of the file that was published, its header first."""

    name: str
    engine: EngineDescription
    consortium: LocalConsortium
    network: Network
    endpoints: Endpoints
    dataset: str
    lines: list[str]

    def height(self) -> int:
        """The newest block's number."""
        return read_quantity(self.endpoints.ask("eth_blockNumber"))

    def exchange(self, directory: Path) -> tuple[str, list[str]]:
        """Request, approve, fetch and export: the grant, and the lines that arrived."""
        consortium = self.consortium
        grant = str(consortium.kiteline(HEALTH, "request", self.dataset, "--purpose", "to test")["grant"])
        consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
        assert consortium.kiteline(HEALTH, "fetch", grant)["records"] == ROWS
        target = directory / f"{grant[:8]}.csv"
        consortium.kiteline(HEALTH, "export", grant, "--to", str(target))
        return grant, target.read_text(encoding="utf-8").splitlines()

    def evidence(self, grant: str, directory: Path) -> tuple[Path, Path]:
        """Files with the evidence for the provider's entry about the receipt, and with what an auditor trusts."""
        trail = self.consortium.kiteline(CIVIL_AFFAIRS, "trail", grant)
        assert (trail["holds"], trail["findings"]) == (True, [])
        receipt = next(step for step in trail["steps"] if step["event"] == "RECEIPT_RECEIVED")
        file, trust = directory / "receipt.evidence", directory / "trust.json"
        options = ["--member", receipt["member"], "--index", str(receipt["index"]), "--to", str(file)]
        self.consortium.kiteline(CIVIL_AFFAIRS, "evidence", *options)
        self.consortium.kiteline(CIVIL_AFFAIRS, "chain", "trust", "--to", str(trust))
        return file, trust


def require(name: str) -> EngineDescription:
    """How the network of this folder is started; skips the asking test, in words, where this machine cannot."""
    try:
        engine = load_engine(NETWORKS / name / "network.toml")
    except ConfigurationInvalid as why:
        pytest.skip(f"{name} was not run: {why}")
    if find_program(engine) is None and (engine.go is None or shutil.which("go") is None):
        pytest.skip(f"{name} was not run: no {engine.program} of the right version, and nothing to build it with")
    return engine


@contextmanager
def started(name: str, directory: Path) -> Iterator[RunningNetwork]:
    """Start the network of this folder of network_configs with a consortium; whatever happens, no process stays.

    Skips the asking test, in words, where the network is not one that this machine can run.
    """
    file, engine = NETWORKS / name / "network.toml", require(name)
    with LocalConsortium(directory / name, [CIVIL_AFFAIRS, HEALTH], network=file) as consortium:
        network = load_network(consortium.directory / "network.toml")
        source = directory / "people.csv"
        lines = ["no,name", *(f"K{number:05},Person {number}" for number in range(ROWS))]
        source.write_text("\n".join([*lines, ""]), encoding="utf-8")
        published = consortium.kiteline(CIVIL_AFFAIRS, "publish", str(source), "--dataset", "people", "--key", "no")
        with closing(Endpoints(network)) as endpoints:
            yield RunningNetwork(name, engine, consortium, network, endpoints, str(published["dataset"]), lines)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what is sure to come; fail if it does not."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
