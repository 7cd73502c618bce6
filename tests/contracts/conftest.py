"""A chain for all tests of this folder, and fresh contracts on it for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from web3 import HTTPProvider, Web3

from tests.contracts.world import AUDITOR, AUTHORITY, DEPARTMENT, Member, World, member
from tests.support.anvil import Anvil

GAS = pytest.StashKey[dict[str, list[int]]]()


@pytest.fixture(scope="session")
def web3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web3]:
    """A client of a real chain."""
    with Anvil(tmp_path_factory.mktemp("contracts-chain")) as anvil:
        yield Web3(HTTPProvider(anvil.url))


@pytest.fixture(scope="session")
def gas(request: pytest.FixtureRequest) -> dict[str, list[int]]:
    """What every call used, for the report at the end of a verbose run."""
    return request.config.stash.setdefault(GAS, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Gas a call, least and most, where the run is verbose. Reported, not asserted."""
    used = config.stash.get(GAS, {})
    if used and config.get_verbosity() > 0:
        terminalreporter.section("gas")
        for title, figures in sorted(used.items()):
            terminalreporter.write_line(f"{title:34} {min(figures):>9,} {max(figures):>9,}")


@pytest.fixture
def first() -> Member:
    """An authority that provides data."""
    return member(1, DEPARTMENT | AUTHORITY)


@pytest.fixture
def second() -> Member:
    """Another authority."""
    return member(2, DEPARTMENT | AUTHORITY)


@pytest.fixture
def third() -> Member:
    """A department."""
    return member(3)


@pytest.fixture
def auditor() -> Member:
    """An auditor."""
    return member(4, AUDITOR)


@pytest.fixture
def outsider() -> Member:
    """Somebody that was never admitted."""
    return member(9)


@pytest.fixture
def world(
    web3: Web3, gas: dict[str, list[int]], first: Member, second: Member, third: Member, auditor: Member
) -> World:
    """The contracts, founded by two authorities, a department and an auditor; two approvals carry a proposal."""
    made = World(web3, gas)
    made.found([first, second, third, auditor], 2)
    return made
