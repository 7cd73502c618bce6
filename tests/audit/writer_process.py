"""A process that writes a log from several threads until it is done, is refused or is killed. Its output is what it promised.

    python -m tests.audit.writer_process DIRECTORY create|open THREADS EACH EPOCH_LEAVES FIRST ENGINE

FIRST is the number of its first thread, by which several processes can write to one log in turn. Each line is one write to the standard
output, so that a kill leaves whole lines: `ack <index> <thread> <number>` for an entry that was acknowledged, `full` where the disk had no room and it is
going to try again, `stopped <reason>`, and at the end `done <commits>`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from audit.errors import DiskFull
from audit.log import AuditLog
from crypto.engine import Engine, load_engine
from crypto.errors import Refusal

MAP_BYTES = 64 << 20
ORIGIN = "kiteline/11370700004258746X/audit/SM3"
ATTEMPTS = 12  # before it gives up on a disk that stays full
_FILL = bytes(range(256)) * 24

Result = TypeVar("Result")


def content(thread: int, number: int) -> bytes:
    """The entry that a thread writes; of lengths from a few bytes to more than a page of the store."""
    return b"entry %d/%d " % (thread, number) + _FILL[: (thread * 5_003 + number * 1_409) % 6_000]


def main(arguments: list[str]) -> int:
    """See the module."""
    *rest, name = arguments
    return work(rest, load_engine(name))


def work(arguments: list[str], engine: Engine) -> int:
    """Write, as the arguments before the engine say; 0 when every entry was acknowledged."""
    directory, mode, *rest = arguments
    threads, each, epoch_leaves, first = map(int, rest)
    path = Path(directory)
    opened = partial(AuditLog.open, path, engine, map_bytes=MAP_BYTES)
    if mode == "create":
        opened = partial(AuditLog.create, path, ORIGIN, engine, map_bytes=MAP_BYTES, epoch_leaves=epoch_leaves)
    refused: list[Refusal] = []
    try:
        with _insist(opened) as log:
            names = range(first, first + threads)
            writers = [threading.Thread(target=_write, args=(log, name, each, refused)) for name in names]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            commits = log.commits
    except Refusal as refusal:
        _stopped(refusal, refused)
    if not refused:
        _say(f"done {commits}")
    return 1 if refused else 0


def _write(log: AuditLog, thread: int, each: int, refused: list[Refusal]) -> None:
    for number in range(each):
        entry = content(thread, number)
        try:
            index = _insist(lambda entry=entry: log.submit(entry).result())  # type: ignore[misc]  # bound at once
        except Refusal as refusal:
            _stopped(refusal, refused)
            return
        _say(f"ack {index} {thread} {number}")


def _insist(work: Callable[[], Result]) -> Result:
    """Do it, again where the disk was full: it may have room by then."""
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except DiskFull:
            _say("full")
    return work()


def _stopped(refusal: Refusal, refused: list[Refusal]) -> None:
    refused.append(refusal)
    _say(f"stopped {refusal.reason}")


def _say(line: str) -> None:
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
