"""What else the machine is doing. On few cores a neighbour moves a figure more than most changes do, so a measurement waits for it, for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_CORES = 0.5  # that may be busy with other work when a measurement begins
_SAMPLE_SECONDS = 0.5
_USER_HERTZ = os.sysconf("SC_CLK_TCK")
_IDLE = slice(3, 5)  # of the numbers of a line of /proc/stat: idle, and waiting for a disk


def busy_seconds(stat: str) -> float:
    """Seconds that all cores together have worked since the machine began, from the text of /proc/stat (proc_stat(5))."""
    # The first eight numbers; guests' time, which follows, is in them already.
    ticks = [int(number) for number in stat.split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[_IDLE])) / _USER_HERTZ


def busy_cores() -> float:
    """How many cores worked, on average over half a second in which this process does nothing; 0 where the system does not say."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    before, begun = busy_seconds(stat.read_text(encoding="ascii")), time.monotonic()
    time.sleep(_SAMPLE_SECONDS)
    return (busy_seconds(stat.read_text(encoding="ascii")) - before) / (time.monotonic() - begun)


def wait_for_quiet(
    patience_seconds: float,
    busy: Callable[[], float] = busy_cores,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Wait until the machine is quiet, at most so long; gives how many cores were busy with other work in the end."""
    deadline = clock() + patience_seconds
    while (cores := busy()) > LIMIT_CORES and clock() < deadline:
        pass  # `busy` itself waits while it looks
    return cores
