"""One log on two chains: a second network with an authority of its own, and evidence that names both."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from scripts.local_consortium import CIVIL_AFFAIRS, NETWORK, LocalConsortium, MemberPlan
from scripts.processes import Child, accepts, free_port
from tests.integration.conftest import initialise
from tests.support.peer_client import until
from tests.support.statements import member_id

pytestmark = pytest.mark.process

CITY_CHAIN_ID = 31_338
BOARD = MemberPlan("board", "Weifang Data Board", member_id(78), "authority")
LIBRARY = MemberPlan("library", "Weifang Library", member_id(79), "department")
SECONDS = 60.0


class City:
    """The second network: the directory of its two files, and its chain, which can be stopped and goes on where it was."""

    def __init__(self, consortium: LocalConsortium, directory: Path, port: int) -> None:
        self.directory = directory
        self._consortium = consortium
        self._port = port
        self._chain: Child | None = None

    def start(self) -> None:
        file, state = self.directory / "network.toml", self.directory / "state"
        command = ["chain", "up", "--network", str(file), "--state", str(state), "--port", str(self._port)]
        whole = self._consortium._command(*command)
        self._chain = Child("city", whole, self.directory / "chain.log", self._consortium.environment)
        self._chain.wait_until(lambda: accepts(self._port), SECONDS)

    def stop(self) -> None:
        if self._chain is not None:
            self._chain.stop()


@pytest.fixture(scope="module")
def city(consortium: LocalConsortium) -> Iterator[City]:
    """Another embedded chain with another id; the board founded a consortium on it."""
    directory = consortium.directory / "city"
    directory.mkdir()
    port = free_port()
    network = tomllib.loads(NETWORK.read_text(encoding="utf-8"))
    network |= {"name": "city", "chain_id": CITY_CHAIN_ID, "endpoints": [f"http://127.0.0.1:{port}"]}
    file = directory / "network.toml"
    file.write_text(tomli_w.dumps(network), encoding="utf-8")
    made = City(consortium, directory, port)
    try:
        made.start()
        home = consortium.home(BOARD)
        names = ["--member-id", BOARD.member_id, "--name", BOARD.name, "--roles", BOARD.roles]
        listens = ["--listen", f"127.0.0.1:{free_port()}"]
        places = ["--network", str(file), "--contracts", str(directory / "contracts.toml")]
        consortium.kiteline(None, "init", str(home), *names, *listens, *places)
        consortium.kiteline(BOARD, "chain", "deploy", "--founder", str(home / "admission.json"))
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def library(consortium: LocalConsortium, city: City) -> Iterator[MemberPlan]:
    """A member of both, whose log goes on both; its node runs."""
    consortium._ports.setdefault(LIBRARY.slug, free_port())
    initialise(consortium, LIBRARY, advertise=f"127.0.0.1:{consortium.port(LIBRARY)}")
    path = consortium.config(LIBRARY)
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    settings["audit"]["anchor_networks"] = [str(city.directory)]
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    admission = str(consortium.home(LIBRARY) / "admission.json")
    consortium.kiteline(CIVIL_AFFAIRS, "chain", "admit", admission)
    consortium.kiteline(BOARD, "chain", "admit", admission)
    node = consortium.start_node(LIBRARY)
    try:
        yield LIBRARY
    finally:
        assert node.stop() == 0, node.log_end()
        consortium.nodes.pop(LIBRARY.slug)


def test_a_log_is_anchored_on_both_and_evidence_proves_both(
    consortium: LocalConsortium, library: MemberPlan, tmp_path: Path
) -> None:
    consortium.kiteline(library, "chain", "anchor")
    status = consortium.kiteline(library, "status")
    (network,) = status["anchor_networks"]
    assert (network["name"], network["reachable"]) == ("city", True)
    assert network["anchored_entries"] == status["anchored_entries"] > 0
    file, trust = tmp_path / "start.evidence", tmp_path / "trust.json"
    options = ["--member", library.member_id, "--index", "0", "--to", str(file)]
    consortium.kiteline(library, "evidence", *options)
    consortium.kiteline(library, "chain", "trust", "--to", str(trust))
    verdict = consortium.kiteline(None, "verify", str(file), "--trust", str(trust))
    assert verdict["proven"]
    links = {link["name"]: link for link in verdict["links"]}
    assert {"anchor embedded", "block embedded", "anchor city", "block city"} <= set(links)
    assert "the chain 31338" in links["anchor city"]["says"]


def test_a_network_that_is_down_delays_only_its_own_anchors(
    consortium: LocalConsortium, library: MemberPlan, city: City
) -> None:
    consortium.kiteline(library, "chain", "anchor")
    before = consortium.kiteline(library, "status")["anchor_networks"][0]["anchored_entries"]
    city.stop()
    # Anything that is logged: reading the own log is.
    options = ["--member", library.member_id, "--first", "0", "--count", "1", "--to"]
    consortium.kiteline(library, "audit", "range", *options, str(city.directory / "first.range"))
    anchored = consortium.kiteline(library, "chain", "anchor")
    status = consortium.kiteline(library, "status")
    (network,) = status["anchor_networks"]
    assert status["chain_reachable"]
    assert status["anchored_entries"] > before
    assert (network["reachable"], network["anchored_entries"]) == (False, before)
    assert anchored["transaction"]
    city.start()

    def caught_up() -> bool:
        told = consortium.kiteline(library, "status")
        return bool(told["anchor_networks"][0]["anchored_entries"] >= status["anchored_entries"])

    # On its schedule, without anybody's doing.
    until(caught_up)
