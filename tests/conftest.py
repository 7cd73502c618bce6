"""What every test may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

import node.chain  # noqa: F401 - before any test imports web3: it keeps the recursion limit

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The directory of published test vectors that stands beside a checkout; a test that finds none says so."""
    directory = ROOT.parent / "shared" / "vectors"
    if not directory.is_dir():
        pytest.skip("no ../shared/vectors beside this checkout")
    return directory
