"""A consortium of real processes, once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local_consortium import AUDIT, CIVIL_AFFAIRS, HEALTH, LocalConsortium

ROWS = 30_000


@pytest.fixture(scope="session")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalConsortium]:
    """A chain and three nodes; whatever happens, no process stays."""
    with LocalConsortium(tmp_path_factory.mktemp("consortium"), [CIVIL_AFFAIRS, HEALTH, AUDIT]) as started:
        yield started


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file whose every value can be told from anything else on a wire or a disk."""
    path = tmp_path_factory.mktemp("source") / "people.csv"
    lines = [f"K{number:07},Sentinel Person {number:07},{number % 90}" for number in range(ROWS)]
    path.write_text("\n".join(["no,name,age", *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def dataset(consortium: LocalConsortium, source: Path) -> str:
    """The file, published by the provider; the dataset's id."""
    published = consortium.kiteline(CIVIL_AFFAIRS, "publish", str(source), "--dataset", "people", "--key", "no")
    assert published["records"] == ROWS
    return str(published["dataset"])
