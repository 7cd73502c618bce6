"""The log under fire: killed at every durable step, refused by the disk at every step, and killed at random.

strace (a Debian package) strikes the n-th call of one kind that a thread makes on the store's files. Where it is missing these tests are
skipped, except for the random kills.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from audit.log import AuditLog
from crypto.engine import Engine
from crypto.packed import Packed
from tests.audit.forks import Forks
from tests.audit.kills import EPOCH_LEAVES, WRITER, Outcome, check_log, count_lost, kill_at_random, run, writer
from tests.audit.writer_process import MAP_BYTES, ORIGIN, content

pytestmark = pytest.mark.process

STRACE = shutil.which("strace")
THREADS = 3
EACH = {
    "create": 1,
    "open": 3,
}  # entries of a thread: the making of a log needs few, and two more epochs need a few more
STEPS_AT_MOST = 500
AT_ONCE = 2 * len(os.sched_getaffinity(0))  # runs; they wait for the disk most of the time

# The steps of the store, as kinds of calls; a kind has more than one name where processors or C libraries differ.
STEPS = {
    "openat": ("openat", "open"),
    "mkdir": ("mkdir", "mkdirat"),
    "fallocate": ("fallocate", "ftruncate"),
    "pwrite64": ("pwrite64",),
    "writev": ("writev", "pwritev", "pwritev2"),
    "fdatasync": ("fdatasync",),
    "fsync": ("fsync",),
    "rename": ("rename", "renameat", "renameat2"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "chmod": ("chmod", "fchmodat", "fchmodat2"),
}
# What is called on the store and changes nothing that lasts.
HARMLESS = frozenset(
    (
        *(
            "access",
            "close",
            "fadvise64",
            "fcntl",
            "flock",
            "fstat",
            "fstatfs",
            "getdents64",
            "ioctl",
            "lseek",
            "lstat",
        ),
        *("madvise", "mmap", "munmap", "newfstatat", "pread64", "read", "readlink", "stat", "statfs", "statx"),
    )
)

# Kinds that making a log has for certain, and writing to one that is there has besides. Others depend on the C library.
CERTAIN = {"openat", "mkdir", "fallocate", "pwrite64", "writev", "fdatasync", "fsync", "rename"}
OF_MODE = {"create": CERTAIN, "open": CERTAIN | {"chmod"}}

Test = TypeVar("Test", bound=Callable[..., None])

needs_strace = pytest.mark.skipif(STRACE is None, reason="no strace on the PATH to inject faults with")


@pytest.fixture(scope="module")
def writers() -> Iterator[Forks]:
    """Processes that write logs."""
    with Forks(WRITER) as forks:
        yield forks


def _paths(store: Path) -> list[Path]:
    """The store's files and directories, those too that are yet to be."""
    epochs = [store / "epochs" / name for name in ("new", *(f"{number:04}" for number in range(4)))]
    inner = [epoch / name for epoch in epochs for name in ("data.mdb", "lock.mdb")]
    return [store.parent, store, store / "lock", store / "epochs", *epochs, *inner]


def _traced(writers: Forks, store: Path, mode: str, trace: Path, kind: str | None, fault: str = "") -> Outcome:
    """Run a writer with faults in one kind of its calls on the store; `fault`: as strace spells it."""
    names = ",".join(f"?{name}" for name in STEPS[kind]) if kind else "all"
    inject = ["-e", f"inject={names}:{fault}"] if fault else []
    on = [argument for path in _paths(store) for argument in ("-P", str(path))]
    arguments = writer(store, mode, threads=THREADS, each=EACH[mode], engine="openssl")
    return run(
        writers,
        arguments,
        [
            str(STRACE),
            "-f",
            "-y",
            "-o",
            str(trace),
            *on,
            "-e",
            f"trace={names}",
            *inject,
        ],
    )


def _prepared(directory: Path, engine: Engine, mode: str) -> Path:
    """Where the writer is to work: on nothing, or on a log that has an entry, so that opening it and not making it is under fire."""
    store = directory / "log"
    if mode == "open":
        AuditLog.create(store, ORIGIN, engine, map_bytes=MAP_BYTES, epoch_leaves=EPOCH_LEAVES).close()
    return store


def _strike(
    writers: Forks, directory: Path, engine: Engine, mode: str, kind: str, fault: str, step: int
) -> Outcome | None:
    """One run with the fault at one step, and the check of all that is left; None when the run has no such step."""
    own = directory / f"{fault.replace(':', '-')}-{step}"
    own.mkdir()
    store, trace = _prepared(own, engine, mode), own / "trace"
    outcome = _traced(writers, store, mode, trace, kind, fault.format(step=step))
    text = trace.read_text(encoding="utf-8", errors="replace")
    assert outcome.errors == "", "what went wrong is told in a sentence and not as a traceback"
    written = check_log(store, engine, outcome.acknowledged)
    if outcome.code == 0:
        # What was refused and handed in again is there once.
        assert len(written) == len(outcome.acknowledged) == THREADS * EACH[mode]
        assert not outcome.stopped
    shutil.rmtree(own)
    struck = "(INJECTED)" in text or outcome.code == -signal.SIGKILL
    assert struck or outcome.code == 0
    return outcome if struck else None


def _strikes(writers: Forks, directory: Path, engine: Engine, mode: str, kind: str, fault: str) -> Iterator[Outcome]:
    """A run for each step, from the first until a run comes to its end before the fault does."""
    strike = partial(_strike, writers, directory, engine, mode, kind, fault)
    struck = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for first in range(1, STEPS_AT_MOST, AT_ONCE):
            outcomes = list(pool.map(strike, range(first, first + AT_ONCE)))
            struck += sum(outcome is not None for outcome in outcomes)
            yield from (outcome for outcome in outcomes if outcome is not None)
            if None in outcomes:
                assert struck or kind not in OF_MODE[mode], "nothing was struck"
                return
    pytest.fail(f"a run has more than {STEPS_AT_MOST} steps")


def over_the_matrix(test: Test) -> Test:
    """A test for each kind of step of making a log and of writing to one that is there."""
    for name, values in (("kind", STEPS), ("mode", EACH)):
        test = pytest.mark.parametrize(name, values)(test)
    return test


@needs_strace
@pytest.mark.parametrize("mode", EACH)
def test_the_matrix_knows_every_call_by_which_a_store_is_written(
    writers: Forks, tmp_path: Path, engine: Engine, mode: str
) -> None:
    """Otherwise a newer LMDB or C library could write in a way in which nothing is injected."""
    store, trace = _prepared(tmp_path, engine, mode), tmp_path / "trace"
    assert _traced(writers, store, mode, trace, None).code == 0
    calls = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    known = {name for names in STEPS.values() for name in names}
    assert calls - HARMLESS <= known
    kinds = {kind for kind, names in STEPS.items() if calls & set(names)}
    assert kinds >= OF_MODE[mode]


@needs_strace
@over_the_matrix
def test_a_kill_at_any_step_loses_nothing_that_was_acknowledged(
    writers: Forks, tmp_path: Path, engine: Engine, mode: str, kind: str
) -> None:
    for outcome in _strikes(writers, tmp_path, engine, mode, kind, "signal=KILL:when={step}"):
        assert outcome.code == -signal.SIGKILL
        assert not outcome.stopped


@needs_strace
@over_the_matrix
def test_a_disk_that_is_full_once_is_told_and_the_same_process_goes_on(
    writers: Forks, tmp_path: Path, engine: Engine, mode: str, kind: str
) -> None:
    for outcome in _strikes(writers, tmp_path, engine, mode, kind, "error=ENOSPC:when={step}"):
        assert outcome.code == 0
        # Sealing is only a mark, and LMDB looks at a file once more than it needs to. No other step may fail unheard.
        assert outcome.full or kind in {"chmod", "openat"}


@needs_strace
@over_the_matrix
def test_a_disk_that_stays_full_is_told_to_every_caller_and_harms_nothing(
    writers: Forks, tmp_path: Path, engine: Engine, mode: str, kind: str
) -> None:
    for outcome in _strikes(writers, tmp_path, engine, mode, kind, "error=ENOSPC:when={step}+"):
        assert set(outcome.stopped) <= {"DISK_FULL"}
        assert outcome.code == (1 if outcome.stopped else 0)
        assert outcome.stopped or kind == "chmod"


@needs_strace
@over_the_matrix
def test_a_disk_that_fails_ends_the_writing_and_never_acknowledges_wrongly(
    writers: Forks, tmp_path: Path, engine: Engine, mode: str, kind: str
) -> None:
    for outcome in _strikes(writers, tmp_path, engine, mode, kind, "error=EIO:when={step}"):
        assert set(outcome.stopped) <= {"STORE_DAMAGED", "LOG_CLOSED"}
        assert outcome.code == (1 if outcome.stopped else 0)
        assert outcome.stopped or kind in {"chmod", "openat"}
        assert not outcome.full


@needs_strace
def test_a_batch_costs_one_sync(writers: Forks, tmp_path: Path) -> None:
    """Each commit syncs its pages once; the meta page goes through a descriptor of its own that syncs what it writes."""
    store, trace = tmp_path / "log", tmp_path / "trace"
    names = [argument for path in _paths(store) for argument in ("-P", str(path))]
    arguments = writer(store, "create", threads=8, each=30, epoch_leaves=1_000, engine="openssl")
    outcome = run(writers, arguments, [str(STRACE), "-f", "-o", str(trace), *names, "-e", "trace=fdatasync"])
    assert (outcome.code, len(outcome.acknowledged)) == (0, 240)
    making = 1
    assert trace.read_text(encoding="utf-8").count("= 0\n") == making + outcome.commits
    assert outcome.commits < 240


def test_an_entry_that_is_gone_is_counted_as_lost(tmp_path: Path, engine: Engine) -> None:
    """Otherwise the zero that the kills end with would say nothing."""
    log = tmp_path / "log"
    assert count_lost(log, engine, {(1, 0): 0}) == 1
    with AuditLog.create(log, ORIGIN, engine, map_bytes=MAP_BYTES) as opened:
        opened.append_many(Packed.of([content(1, 0), content(1, 1)]))
    assert count_lost(log, engine, {(1, 0): 0, (1, 1): 1}) == 0
    assert count_lost(log, engine, {(1, 0): 0, (1, 1): 0, (1, 2): 2}) == 2


def test_fifty_kills_at_random_lose_nothing(writers: Forks, tmp_path: Path, engine: Engine) -> None:
    totals = kill_at_random(writers, tmp_path, engine, 50, seed=20_261_124)
    assert (totals["kills"], totals["lost"]) == (50, 0)
    assert totals["entries"] >= totals["acknowledged"] >= 50
    assert totals["epochs"] > totals["logs"]
