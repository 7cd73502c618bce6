"""A chain and a consortium for the tests of the chain adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.chain.adapter import Chain
from tests.support.anvil import Anvil
from tests.support.consortium import Consortium, found


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    """A chain of its own for one test."""
    with Anvil(tmp_path / "anvil") as started:
        yield started


@pytest.fixture
def consortium(anvil: Anvil, tmp_path: Path) -> Consortium:
    """Two members on that chain."""
    return found(anvil, tmp_path / "deployment")


@pytest.fixture
def chain(consortium: Consortium, tmp_path: Path) -> Iterator[Chain]:
    """The first member's adapter, not started, at the chain's head."""
    opened = consortium.open(consortium.members[0], tmp_path / "first")
    opened.view.refresh()
    yield opened
    opened.close()


@pytest.fixture
def second_chain(consortium: Consortium, tmp_path: Path) -> Iterator[Chain]:
    """The second member's adapter, likewise."""
    opened = consortium.open(consortium.members[1], tmp_path / "second")
    opened.view.refresh()
    yield opened
    opened.close()
