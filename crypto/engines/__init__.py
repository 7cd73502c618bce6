"""The three engines. Only `crypto.engine` chooses among them."""

from __future__ import annotations

from collections.abc import Callable

from crypto.engine import Engine
from crypto.errors import EngineUnavailable


def open_engine(name: str, random: Callable[[int], bytes]) -> Engine:
    """Open one engine by name, untested. Raises EngineUnavailable saying what is missing."""
    if name == "openssl":
        from crypto.engines.openssl import OpenSSLEngine  # noqa: PLC0415 - an absent library must not stop the others

        return OpenSSLEngine()
    raise EngineUnavailable(f"there is no engine {name!r}")
