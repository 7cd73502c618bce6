"""The engines that this machine has, loaded once, for tests that hold on every one of them."""

from __future__ import annotations

from functools import cache

import pytest

from crypto.engine import ENGINE_NAMES, Engine, load_engine
from crypto.errors import EngineUnavailable

__all__ = ["ENGINE_NAMES", "engine_named", "fastest_engine"]


@cache
def _loaded(name: str) -> Engine | EngineUnavailable:
    try:
        return load_engine(name)
    except EngineUnavailable as cause:
        return cause


def engine_named(name: str) -> Engine:
    """The engine of that name; a test that asks for one which is not installed is skipped, saying why."""
    engine = _loaded(name)
    if isinstance(engine, EngineUnavailable):
        pytest.skip(str(engine))
    return engine


@cache
def fastest_engine() -> Engine:
    """The engine that Kiteline would choose here by itself."""
    return load_engine()
