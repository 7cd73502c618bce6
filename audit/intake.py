"""What waits to be written: entries of many callers, in the order they came, and never more than a bound of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np

from audit.errors import LogClosed
from crypto.packed import Packed

WAITING_ENTRIES = 131_072  # where so many wait, callers wait themselves, so that memory stays bounded
WAITING_BYTES = 64 * 1_048_576

Answer = Future[int] | asyncio.Future[int]


@dataclass(frozen=True)
class GroupCommit:
    """When a batch closes."""

    max_entries: int = 8_192
    max_bytes: int = 4 * 1_048_576
    # For as long a batch waits for as many callers as the one before had; a lone caller is never kept waiting.
    max_wait_seconds: float = 0.002


class Submission:
    """Entries that stand one after another, and who is told where. One entry is a plain byte string: a batch is packed once.

    There is one for each caller of the log, so it is made of no more than it needs. `acknowledged` belongs to a loop if the caller waits in one.
    """

    __slots__ = ("acknowledged", "count", "entries", "size")

    def __init__(self, entries: Packed | bytes, acknowledged: Answer) -> None:
        self.entries = entries
        if isinstance(entries, bytes):
            self.count, self.size = 1, len(entries)
        else:
            self.count, self.size = len(entries), len(entries.data)
        self.acknowledged = acknowledged


class Intake:
    """Many threads put, one takes."""

    def __init__(self, limits: GroupCommit) -> None:
        self._limits = limits
        self._waiting: deque[Submission] = deque()
        self._entries = self._bytes = 0
        self._closed = False
        self._wanted = 0  # submissions that the taker waits for; 0 if it is busy
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)

    def put(self, submission: Submission) -> None:
        """Add it; waits while too much waits. Raises LogClosed."""
        with self._lock:
            while not self._closed and (self._entries >= WAITING_ENTRIES or self._bytes >= WAITING_BYTES):
                self._room.wait()
            if self._closed:
                raise LogClosed("the log takes no more entries")
            self._waiting.append(submission)
            self._entries += submission.count
            self._bytes += submission.size
            if self._wanted and (len(self._waiting) >= self._wanted or self._is_full()):
                # The taker is woken once for a batch and not once for each entry.
                self._wanted = 0
                self._arrived.notify()

    def take(self, callers: int) -> list[Submission]:
        """The next batch, within the limits unless one submission alone exceeds them; waits for it.

        `callers`: how many the batch before had; for so many more time is given. Empty when closed and nothing waits.
        """
        with self._lock:
            while not self._waiting:
                if self._closed:
                    return []
                self._wait(1, None)
            deadline = time.monotonic() + self._limits.max_wait_seconds
            while len(self._waiting) < callers and not self._is_full() and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._wait(callers, left)
            taken = self._taken()
            self._room.notify_all()
            return taken

    def close(self) -> None:
        """Take in nothing more; what waits can be taken still."""
        with self._lock:
            self._closed = True
            self._arrived.notify_all()
            self._room.notify_all()

    def _wait(self, wanted: int, seconds: float | None) -> None:
        self._wanted = wanted
        self._arrived.wait(seconds)
        self._wanted = 0

    def _is_full(self) -> bool:
        return self._entries >= self._limits.max_entries or self._bytes >= self._limits.max_bytes

    def _taken(self) -> list[Submission]:
        limits, waiting = self._limits, self._waiting
        if self._entries <= limits.max_entries and self._bytes <= limits.max_bytes:
            everything = list(waiting)
            waiting.clear()
            self._entries = self._bytes = 0
            return everything
        taken: list[Submission] = []
        entries = size = 0
        while waiting:
            entries, size = entries + waiting[0].count, size + waiting[0].size
            if taken and (entries > limits.max_entries or size > limits.max_bytes):
                break
            taken.append(waiting.popleft())
        self._entries -= sum(submission.count for submission in taken)
        self._bytes -= sum(submission.size for submission in taken)
        return taken


def acknowledge(submissions: Sequence[Submission], first: int) -> None:
    """Tell the callers of a batch where their entries stand, in the order of the entries. `first`: the batch's first index."""
    elsewhere: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int]]] = {}
    for submission in submissions:
        future = submission.acknowledged
        if isinstance(future, Future):
            try:  # noqa: SIM105 - a context manager costs more than telling the caller
                future.set_result(first)
            except InvalidStateError:
                # It was cancelled and need not be told; the entry stands nevertheless.
                pass
        else:
            elsewhere.setdefault(future.get_loop(), []).append((future, first))
        first += submission.count
    # A loop is woken once for all of its callers: waking it for each costs more than all the rest.
    for loop, told in elsewhere.items():
        _in_loop(loop, partial(_tell, told))


def refuse(submissions: Sequence[Submission], error: BaseException) -> None:
    """Tell the callers of a batch that it is not written, and why."""
    for submission in submissions:
        future = submission.acknowledged
        if isinstance(future, Future):
            with suppress(InvalidStateError):
                future.set_exception(error)
        else:
            _in_loop(future.get_loop(), partial(_fail, future, error))


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    # A loop that was closed has nobody left to tell.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(work)


def _tell(told: Sequence[tuple[asyncio.Future[int], int]]) -> None:
    for future, index in told:
        if not future.done():
            future.set_result(index)


def _fail(future: asyncio.Future[int], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def joined(submissions: Sequence[Submission]) -> Packed:
    """The entries of several submissions as one batch."""
    first = submissions[0].entries
    if len(submissions) == 1 and isinstance(first, Packed):
        return first
    data: list[bytes] = []
    sizes: list[int] = []
    for submission in submissions:
        entries = submission.entries
        if isinstance(entries, bytes):
            data.append(entries)
            sizes.append(submission.size)
        else:
            data.append(entries.data)
            sizes += np.diff(entries.offsets).tolist()
    return Packed(b"".join(data), np.fromiter(accumulate(sizes, initial=0), dtype=np.uint64, count=len(sizes) + 1))
