"""Memory that the C library keeps for later, and the kernel counts as ours."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Hand freed memory back to the kernel, where the C library is glibc; elsewhere nothing happens."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
