"""What the audit tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from crypto.engine import Engine, load_engine
from crypto.sm2 import SM2PrivateKey
from tests.audit.forks import Forks

MEMBER = "11370700004258746X"
ORIGIN = f"kiteline/{MEMBER}/audit/SM3"
SMALL_MAP = 64 << 20


@pytest.fixture(scope="session")
def engine() -> Engine:
    return load_engine()


@pytest.fixture(scope="session")
def key() -> SM2PrivateKey:
    return SM2PrivateKey.generate(os.urandom)


@pytest.fixture(scope="session")
def keepers() -> Iterator[Forks]:
    """Processes of `tests.audit.keeping.keeping_process`."""
    with Forks("tests.audit.keeping.keeping_process") as forks:
        yield forks
