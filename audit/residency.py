"""What is read through a memory map counts as this process's memory until it is unmapped, 64 KiB around each page that was touched.

A log of 10⁷ entries that is asked for proofs would grow to gigabytes. The pages can be let go of at any time: they are the file's, the
kernel keeps them as long as it has room, and the next reading maps them again.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np

AROUND_BYTES = 65_536  # that the kernel maps along with a page
_DONTNEED = 4  # MADV_DONTNEED of Linux: a private copy would be lost, a map of a file is read again


class MappedPages:
    """The pages of one map. `inside`: a view of any place in it."""

    def __init__(self, inside: memoryview) -> None:
        address = int(np.frombuffer(inside, dtype=np.uint8).ctypes.data)
        self._start, self._length = _range_of(address)

    def let_go(self) -> None:
        """Unmap what was touched; the map stays, and so does whatever reads in it meanwhile."""
        if self._length:
            madvise = ctypes.CDLL(None).madvise
            madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            madvise(self._start, self._length, _DONTNEED)


def _range_of(address: int) -> tuple[int, int]:
    """Where the map that holds an address begins, and its length; nothing where the system does not say."""
    maps = Path("/proc/self/maps")
    if sys.platform != "linux" or not maps.exists():
        return 0, 0
    for line in maps.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        start, stop = (int(part, 16) for part in line.split(" ", 1)[0].split("-"))
        if start <= address < stop:
            # Of a shared map of a file only; nothing else is what it seems to be.
            return (start, stop - start) if line.split()[1] == "r--s" else (0, 0)
    return 0, 0
