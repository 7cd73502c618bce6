"""The engines that this machine has, loaded once, for tests that hold on every one of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal

import pytest

from crypto.engine import ENGINE_NAMES, Engine, load_engine
from crypto.engines import open_engine
from crypto.errors import EngineUnavailable

__all__ = ["DRAWING_ENGINE_NAMES", "ENGINE_NAMES", "engine_drawing", "engine_named", "fastest_engine"]

# OpenSSL draws the ephemeral number inside, out of our sight; these two take it from the source that they are given.
DRAWING_ENGINE_NAMES = ("multibuffer", "gmssl")


@cache
def _loaded(name: str) -> Engine | EngineUnavailable:
    try:
        return load_engine(name)
    except EngineUnavailable as cause:
        return cause


def engine_named(name: str) -> Engine:
    """The engine of that name; a test that asks for one which is not installed is skipped, saying why.

    One that is installed and answers wrongly fails the test: a defect must not look like an absence.
    """
    engine = _loaded(name)
    if isinstance(engine, EngineUnavailable):
        if "self-test" in str(engine):
            pytest.fail(str(engine))
        pytest.skip(str(engine))
    return engine


def engine_drawing(name: str, *numbers: int) -> Engine:
    """A fresh engine whose random source gives these numbers in turn, and the last of them ever after."""
    engine_named(name)
    # The limbs of the library are little-endian.
    order: Literal["little", "big"] = "little" if name == "multibuffer" else "big"
    source = _in_turn(numbers)
    return open_engine(name, lambda size: next(source).to_bytes(size, order))


def _in_turn(numbers: tuple[int, ...]) -> Iterator[int]:
    yield from numbers
    while True:
        yield numbers[-1]


@cache
def fastest_engine() -> Engine:
    """The engine that Kiteline would choose here by itself."""
    return load_engine()
