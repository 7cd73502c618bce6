"""Coroutine tests run here as they do for the exchange."""

from __future__ import annotations

from tests.node.exchange.conftest import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]
