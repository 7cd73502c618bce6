"""A chain for all tests of this folder, contracts on it for each file, and their founding state for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from tests.contracts.world import AUDITOR, AUTHORITY, DEPARTMENT, Member, World, member
from tests.support.anvil import Anvil

GAS = pytest.StashKey[dict[str, list[int]]]()
LOOKS_BACK = "test_surface.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that look back on all others behind them."""
    items.sort(key=lambda item: item.path.name == LOOKS_BACK)


@pytest.fixture(scope="session")
def web3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web3]:
    """A client of a real chain. It would otherwise ask for the chain's id before every call."""
    asked_once = {RPCEndpoint("eth_chainId")}
    with Anvil(tmp_path_factory.mktemp("contracts-chain")) as anvil:
        yield Web3(HTTPProvider(anvil.url, cache_allowed_requests=True, cacheable_requests=asked_once))


@pytest.fixture(scope="session")
def gas(request: pytest.FixtureRequest) -> dict[str, list[int]]:
    """What every call used, for the report at the end of a verbose run."""
    return request.config.stash.setdefault(GAS, {})


@pytest.fixture(scope="session")
def provoked() -> set[tuple[str, str]]:
    """Each error and event that a test of this run expected and met, as (contract, name)."""
    return set()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Gas a call, least and most, where the run is verbose. Reported, not asserted."""
    used = config.stash.get(GAS, {})
    if used and config.get_verbosity() > 0:
        terminalreporter.section("gas")
        for title, figures in sorted(used.items()):
            terminalreporter.write_line(f"{title:34} {min(figures):>9,} {max(figures):>9,}")


@pytest.fixture(scope="module")
def first() -> Member:
    """An authority that provides data."""
    return member(1, DEPARTMENT | AUTHORITY)


@pytest.fixture(scope="module")
def second() -> Member:
    """Another authority."""
    return member(2, DEPARTMENT | AUTHORITY)


@pytest.fixture(scope="module")
def further() -> Member:
    """A third authority, which founds where a test says so."""
    return member(5, AUTHORITY)


@pytest.fixture(scope="module")
def third() -> Member:
    """A department."""
    return member(3)


@pytest.fixture(scope="module")
def auditor() -> Member:
    """An auditor."""
    return member(4, AUDITOR)


@pytest.fixture(scope="module")
def outsider() -> Member:
    """Somebody that was never admitted."""
    return member(9)


@pytest.fixture(scope="module")
def founders(first: Member, second: Member, third: Member, auditor: Member) -> list[Member]:
    """Two authorities, a department and an auditor."""
    return [first, second, third, auditor]


@pytest.fixture(scope="module")
def threshold() -> int:
    """Approvals that carry a proposal."""
    return 2


@pytest.fixture(scope="module")
def founded(
    web3: Web3, gas: dict[str, list[int]], provoked: set[tuple[str, str]], founders: list[Member], threshold: int
) -> World:
    """The contracts, founded by the founders with the threshold."""
    made = World(web3, gas, provoked)
    made.found(founders, threshold)
    return made


@pytest.fixture
def world(founded: World) -> Iterator[World]:
    """The contracts as they were founded. What a test does to them and to the chain's clock is taken back after it."""
    mark = founded.mark()
    yield founded
    founded.go_back(mark)
