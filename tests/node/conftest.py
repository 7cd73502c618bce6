"""Runs a coroutine test to its end, with a deadline, and sees to it that no task outlives it."""

from __future__ import annotations

import asyncio
import inspect

import pytest

_DEADLINE_SECONDS = 60


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Await the test if it is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), _DEADLINE_SECONDS))
    return True
