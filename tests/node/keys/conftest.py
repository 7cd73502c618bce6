"""What these tests share."""

from __future__ import annotations

import pytest

from crypto.engine import Engine, load_engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The fastest engine that this machine has."""
    return load_engine()
