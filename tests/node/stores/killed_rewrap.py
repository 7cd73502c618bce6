"""A program that re-wraps copies of datasets and is killed at one step after the other.

    python -m tests.node.stores.killed_rewrap DATASETS COPIES

Each copy gets a process of its own, forked before any store is opened, which SIGKILL ends before or after its n-th step; the last one is not
killed. For each copy one line is printed: its name, and where it was killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from crypto.engine import Engine, load_engine
from node.stores.at_rest import AtRestHolder, AtRestKeys
from node.stores.sealed_dataset import DatasetMeans
from tests.node.stores.checked_dataset import cut_small, directory
from tests.node.stores.conftest import AT_REST_KEY, MAP_BYTES
from tests.node.stores.durable_steps import Step, watch

NEW_KEY = b"AT-REST KEY 16 B"
both = AtRestHolder(AtRestKeys(2, {1: AT_REST_KEY, 2: NEW_KEY}))


def rewrap_until(path: Path, engine: Engine, last_point: int) -> None:
    """Re-wrap, and end the process at a point: 2n - 1 before the n-th step, 2n after it."""
    points = 0

    def reached(place: str) -> None:
        nonlocal points
        points += 1
        if points == last_point:
            sys.stdout.write(f"{path.name} {place}\n")
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    patch = pytest.MonkeyPatch()
    cut_small(patch)
    datasets = directory(path, DatasetMeans(engine, os.urandom, both, map_bytes=MAP_BYTES))

    def told(when: str, step: Step) -> None:
        reached(f"{when} {step}")

    watch(patch, lambda step: told("before", step), lambda step: told("after", step))
    datasets.rewrap(2, lambda done, total: reached(f"at {done} of {total}"))
    datasets.close()


def main(original: Path, copies: Path) -> None:
    """Kill at every point there is."""
    engine = load_engine()
    point, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        point += 1
        copy = copies / f"{point:03}"
        shutil.copytree(original, copy)
        child = os.fork()
        if child == 0:
            try:
                rewrap_until(copy, engine, point)
            except BaseException:  # noqa: BLE001  # told by the exit status
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            sys.stdout.write(f"{copy.name} -\n")
            sys.stdout.flush()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
