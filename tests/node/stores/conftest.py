"""What the tests of the stores share."""

from __future__ import annotations

import os

import pytest

from crypto.engine import Engine, load_engine
from node.stores.at_rest import AtRestHolder, AtRestKeys
from node.stores.sealed_dataset import DatasetMeans

MAP_BYTES = 1 << 28
AT_REST_KEY = b"at-rest key 16 b"
at_rest = AtRestHolder(AtRestKeys(1, {1: AT_REST_KEY}))


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that Kiteline would choose here."""
    return load_engine()


@pytest.fixture
def means(engine: Engine) -> DatasetMeans:
    """What datasets are made with, small."""
    return DatasetMeans(engine, os.urandom, at_rest, map_bytes=MAP_BYTES)
