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
from tests.support.statements import member_id

pytestmark = pytest.mark.process

CITY_CHAIN_ID = 31_338
BOARD = MemberPlan("board", "Weifang Data Board", member_id(78), "authority")
LIBRARY = MemberPlan("library", "Weifang Library", member_id(79), "department")
SECONDS = 60.0


@pytest.fixture(scope="module")
def city(consortium: LocalConsortium) -> Iterator[Path]:
    """Another embedded chain with another id; the board founded a consortium on it. Gives the directory of both files."""
    directory = consortium.directory / "city"
    directory.mkdir()
    port = free_port()
    network = tomllib.loads(NETWORK.read_text(encoding="utf-8"))
    network |= {"name": "city", "chain_id": CITY_CHAIN_ID, "endpoints": [f"http://127.0.0.1:{port}"]}
    file = directory / "network.toml"
    file.write_text(tomli_w.dumps(network), encoding="utf-8")
    command = ["chain", "up", "--network", str(file), "--state", str(directory / "state"), "--port", str(port)]
    chain = Child("city", consortium._command(*command), directory / "chain.log", consortium.environment)
    try:
        chain.wait_until(lambda: accepts(port), SECONDS)
        home = consortium.home(BOARD)
        names = ["--member-id", BOARD.member_id, "--name", BOARD.name, "--roles", BOARD.roles]
        listens = ["--listen", f"127.0.0.1:{free_port()}"]
        places = ["--network", str(file), "--contracts", str(directory / "contracts.toml")]
        consortium.kiteline(None, "init", str(home), *names, *listens, *places)
        consortium.kiteline(BOARD, "chain", "deploy", "--founder", str(home / "admission.json"))
        yield directory
    finally:
        chain.stop()


@pytest.fixture(scope="module")
def library(consortium: LocalConsortium, city: Path) -> Iterator[MemberPlan]:
    """A member of both, whose log goes on both; its node runs."""
    consortium._ports.setdefault(LIBRARY.slug, free_port())
    initialise(consortium, LIBRARY, advertise=f"127.0.0.1:{consortium.port(LIBRARY)}")
    path = consortium.config(LIBRARY)
    settings = tomllib.loads(path.read_text(encoding="utf-8"))
    settings["audit"]["anchor_networks"] = [str(city)]
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
