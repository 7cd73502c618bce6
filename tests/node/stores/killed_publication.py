"""A program that publishes to copies of a dataset and is killed at one step after the other.

    python -m tests.node.stores.killed_publication DATASETS COPIES

Each copy gets a process of its own, forked before any store is opened, which ends without cleaning up before or after its n-th
step; the last one is not killed. For each copy one line is printed: its name, and where it was killed.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from crypto.engine import Engine, load_engine
from node.stores.sealed_dataset import DatasetMeans
from tests.node.stores.checked_dataset import DATASET, cut_small, directory, publish, rows
from tests.node.stores.conftest import MAP_BYTES, at_rest
from tests.node.stores.durable_steps import Step, watch

FIRST, SECOND = rows(0, 30), rows(30, 45)
KILLED = 9


def publish_until(path: Path, engine: Engine, last_point: int) -> None:
    """Publish the second version, and end the process at a point: 2n - 1 before the n-th step, 2n after it."""
    points = 0

    def reached(place: str) -> None:
        nonlocal points
        points += 1
        if points == last_point:
            sys.stdout.write(f"{path.name} {place}\n")
            sys.stdout.flush()
            os._exit(KILLED)

    datasets = directory(path, DatasetMeans(engine, os.urandom, at_rest, map_bytes=MAP_BYTES))
    dataset = datasets.open(DATASET)
    patch = pytest.MonkeyPatch()
    cut_small(patch)
    watch(patch, lambda step: reached(f"before {_named(step)}"), lambda step: reached(f"after {_named(step)}"))
    publish(dataset, SECOND)
    datasets.close()


def _named(step: Step) -> str:
    within = "index" if step.path.name == "index" else "tree" if step.kind == "commit" else ""
    return f"{step.kind} {within or step.path.name}"


def main(original: Path, copies: Path) -> None:
    """Kill at every point there is."""
    engine = load_engine()
    point, status = 0, KILLED
    while status == KILLED:
        point += 1
        copy = copies / f"{point:03}"
        shutil.copytree(original, copy)
        child = os.fork()
        if child == 0:
            try:
                publish_until(copy, engine, point)
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
