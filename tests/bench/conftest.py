"""Real processes, once for each engine: exchange and queries are measured on the same ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.formats import open_source
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, LocalConsortium
from tests.bench.villages import VILLAGES
from tests.bench.world import Published, World
from tests.crypto.engines_at_hand import engine_named


@pytest.fixture(scope="session", params=["multibuffer", "openssl"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A provider's and a requester's node whose engine is this one."""
    engine = engine_named(request.param).name
    directory = tmp_path_factory.mktemp(f"world-{engine}")
    with LocalConsortium(directory, [CIVIL_AFFAIRS, HEALTH], {"KITELINE_ENGINE": engine}) as consortium:
        yield World(consortium, engine)


@pytest.fixture(scope="session")
def villages(world: World) -> Published:
    """The whole country's villages, published."""
    return world.publish(open_source(VILLAGES))
