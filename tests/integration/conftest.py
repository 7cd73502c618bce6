"""A consortium of real processes, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, LocalConsortium, MemberPlan
from scripts.processes import free_port
from tests.support.bench import Bench
from tests.support.mounts import mount, unmount
from tests.support.networks import NAMES, RunningNetwork, started
from tests.support.peer_client import LogWatch, Side, agree, department, peer
from tests.support.relay import Relay

ROWS = 30_000
RAN = pytest.StashKey[list[str]]()
# A member whose node is not started with the others. Its deliveries are of one segment, so that a small dataset makes
# several; its directory is a file system of its own where one may be mounted, so that it can be full.
ARCHIVES = MemberPlan("archives", "Weifang Archives", "113707000042585110", "department")
MUSEUM = MemberPlan("museum", "Weifang Museum", "113707000042591274", "department")  # never admitted
ARCHIVES_BYTES = 256 * 1024 * 1024


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """A chain and three nodes; whatever happens, no process stays."""
    with LocalConsortium(tmp_path_factory.mktemp("consortium"), [CIVIL_AFFAIRS, HEALTH, AUDIT]) as started:
        yield started


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file whose every value can be told from anything else on a wire or a disk."""
    path = tmp_path_factory.mktemp("source") / "people.csv"
    lines = [f"K{number:07},Sentinel Person {number:07},{number % 90}" for number in range(ROWS)]
    path.write_text("\n".join(["no,name,age", *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def dataset(consortium: LocalConsortium, source: Path) -> str:
    """The file, published by the provider; the dataset's id."""
    published = consortium.kiteline(CIVIL_AFFAIRS, "publish", str(source), "--dataset", "people", "--key", "no")
    assert published["records"] == ROWS
    return str(published["dataset"])


@pytest.fixture(scope="module")
def civil(consortium: LocalConsortium) -> Iterator[Side]:
    """The provider's own program."""
    with department(consortium, CIVIL_AFFAIRS) as client:
        yield Side(CIVIL_AFFAIRS, client)


@pytest.fixture(scope="module")
def health(consortium: LocalConsortium) -> Iterator[Side]:
    """The requester's own program."""
    with department(consortium, HEALTH) as client:
        yield Side(HEALTH, client)


@dataclass(frozen=True)
class Archives:
    """The member whose node tests start and stop. `mounted`: whether its directory is a file system of its own; `relay`:
    what other members reach it through.
    """

    home: Path
    mounted: bool
    relay: Relay


@pytest.fixture(scope="session")
def archives(consortium: LocalConsortium) -> Iterator[Archives]:
    """A fourth member, admitted, with keys and configuration; its node does not run."""
    home = consortium.home(ARCHIVES)
    home.mkdir(mode=0o700)
    mounted = mount(home, ARCHIVES_BYTES)
    port = consortium._ports.setdefault(ARCHIVES.slug, free_port())
    try:
        with Relay(port) as relay:
            initialise(consortium, ARCHIVES, advertise=f"127.0.0.1:{relay.port}")
            configuration = consortium.config(ARCHIVES)
            text = configuration.read_text(encoding="utf-8")
            configuration.write_text(text.replace("delivery_segments = 16", "delivery_segments = 1"), encoding="utf-8")
            consortium.kiteline(CIVIL_AFFAIRS, "chain", "admit", str(home / "admission.json"))
            yield Archives(home, mounted, relay)
    finally:
        node = consortium.nodes.pop(ARCHIVES.slug, None)
        if node is not None:
            node.stop()
        if mounted:
            unmount(home)


def initialise(consortium: LocalConsortium, member: MemberPlan, *, advertise: str) -> None:
    """Make a member's directory in the consortium, as `kiteline init` does."""
    directory = consortium.directory
    names = ["--member-id", member.member_id, "--name", member.name, "--roles", member.roles]
    places = ["--listen", f"127.0.0.1:{consortium.port(member)}", "--advertise", advertise]
    chain = ["--network", str(directory / "network.toml"), "--contracts", str(directory / "contracts.toml")]
    consortium.kiteline(None, "init", str(consortium.home(member)), *names, *places, *chain)


@pytest.fixture(scope="module")
def archives_serving(consortium: LocalConsortium, archives: Archives) -> Iterator[Archives]:
    """The fourth member with its node running."""
    node = consortium.start_node(ARCHIVES)
    try:
        yield archives
    finally:
        assert node.stop() == 0, node.log_end()


@pytest.fixture(scope="module")
def archive(consortium: LocalConsortium, archives_serving: Archives) -> Iterator[Side]:
    """The fourth member's own program, at its running node."""
    with department(consortium, ARCHIVES) as client:
        yield Side(ARCHIVES, client)


@pytest.fixture(scope="module")
def bench(consortium: LocalConsortium, dataset: str, civil: Side, health: Side) -> Iterator[Bench]:
    """A grant in force on the dataset, with hand-written clients on the requester's side of it."""
    agreement = agree(civil, health, bytes.fromhex(dataset), ROWS)
    with peer(consortium, HEALTH, CIVIL_AFFAIRS) as requester, peer(consortium, AUDIT, CIVIL_AFFAIRS) as auditor:
        log = LogWatch(consortium.home(CIVIL_AFFAIRS) / "data")
        yield Bench(agreement, requester, auditor, civil, log, consortium.log(CIVIL_AFFAIRS))


@pytest.fixture(scope="session", params=NAMES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    """Each network that ships, one after the other, with a consortium of two on it."""
    with started(request.param, tmp_path_factory.mktemp(request.param)) as network:
        request.config.stash.setdefault(RAN, []).append(network.name)
        yield network


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which networks the tests ran on; those that did not are among the skipped, with the reason."""
    ran = terminalreporter.config.stash.get(RAN, [])
    if ran:
        terminalreporter.write_line(f"networks that ran: {', '.join(sorted(set(ran)))}")
