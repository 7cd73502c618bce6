"""What a node asks of its own process: how the allocator and the collector of cycles are to behave while it serves."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's mallopt
# Objects made before the young are looked at, and how often that is done before the older ones are. Python's own 700 has the collector look
# through every waiting call again and again: with 1,000 of them, a pause of 8 ms in one turn of a hundred.
_YOUNG, _MIDDLE, _OLD = 50_000, 20, 50


def bound_arenas() -> None:
    """Let glibc keep two arenas instead of eight a core: each holds on to the largest batch that its threads ever had."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def calm_collector() -> None:
    """Take what was made so far (modules, mostly) out of the collector's sight, and have it look less often. For a process that serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
