"""The three engines. Only `crypto.engine` chooses among them."""

from __future__ import annotations

from collections.abc import Callable

from crypto.engine import Engine
from crypto.errors import EngineUnavailable


def open_engine(name: str, random: Callable[[int], bytes]) -> Engine:
    """Open one engine by name, untested. Raises EngineUnavailable saying what is missing."""
    # Imported only when it is asked for: a library that one lacks must not stop the others.
    if name == "multibuffer":
        from crypto.engines.multibuffer import MultibufferEngine  # noqa: PLC0415

        return MultibufferEngine(random)
    if name == "openssl":
        from crypto.engines.openssl import OpenSSLEngine  # noqa: PLC0415

        return OpenSSLEngine()
    if name == "gmssl":
        from crypto.engines.gmssl import GMSSLEngine  # noqa: PLC0415

        return GMSSLEngine(random)
    raise EngineUnavailable(f"there is no engine {name!r}")
