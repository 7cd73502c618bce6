"""What the tests of `crypto` may ask for."""

from __future__ import annotations

import pytest

from crypto.engine import Engine
from tests.crypto.engines_at_hand import ENGINE_NAMES, engine_named


@pytest.fixture(params=ENGINE_NAMES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn; one that this machine does not have is skipped, saying why."""
    return engine_named(request.param)
