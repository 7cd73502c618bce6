"""Lets calls through side by side, and holds new ones back while one thread has something to change under them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from node.errors import ChainUnavailable


class Turnstile:
    """Safe for use by several threads.

    Args:
        is_stopping: whether whoever waits is to give up; `wake` has them ask.
    """

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping
        self._state = threading.Condition()
        self._inside = 0
        self._holder: int | None = None  # the thread that holds the others back

    @property
    def inside(self) -> int:
        """How many calls are inside, without those of the thread that holds the others back."""
        return self._inside

    def wake(self) -> None:
        """Have those who wait look again whether they are to give up."""
        with self._state:
            self._state.notify_all()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Go through, after waiting for whoever holds the others back. Raises ChainUnavailable when that is given up."""
        if self._holder == threading.get_ident():
            yield
            return
        with self._state:
            self._wait_until_free()
            self._inside += 1
        try:
            yield
        finally:
            with self._state:
                self._inside -= 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold back who comes from now on, but not who is inside, nor this thread. One at a time. Raises ChainUnavailable."""
        with self._state:
            self._wait_until_free()
            self._holder = threading.get_ident()
        try:
            yield
        finally:
            with self._state:
                self._holder = None
                self._state.notify_all()

    def _wait_until_free(self) -> None:
        while self._holder is not None:
            if self._is_stopping():
                raise ChainUnavailable("the node is being stopped")
            self._state.wait()
