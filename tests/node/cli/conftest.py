"""A department's directory, furnished once: its keys take a second to make."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.cli.desk import furnish


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys and configuration of a department."""
    directory = tmp_path_factory.mktemp("desk")
    furnish(directory)
    return directory
