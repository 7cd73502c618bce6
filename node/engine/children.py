"""Processes of an engine: none outlives this one, and the operator's Ctrl-C reaches them through us alone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
STOP_SECONDS = 15.0  # to write down its state; then it is made to end


def spawn(
    command: Sequence[str],
    *,
    output: int | IO[bytes],
    errors: int | IO[bytes] = subprocess.STDOUT,
    environment: dict[str, str] | None = None,
    descriptors: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, to be ended by the kernel if this process dies. Main thread only.

    Args:
        command: the program and its arguments.
        output: where its standard output goes.
        errors: likewise its standard error.
        environment: its whole environment; None for this process's.
        descriptors: what it inherits besides.

    Raises:
        OSError: it cannot be run.
    """
    parent = os.getpid()

    def bind_to_parent() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=environment,
        pass_fds=tuple(descriptors),
        process_group=0,  # a terminal's Ctrl-C comes to us; we ask each child once
        preexec_fn=bind_to_parent,  # noqa: PLW1509 - two system calls, and there is no other way
    )


def stop(children: Sequence[subprocess.Popen[bytes]], seconds: float = STOP_SECONDS) -> None:
    """Ask all to end, then wait; whoever is there after `seconds` is killed with its whole group."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            seconds = 0.0  # they had the time together
        finally:
            # The group too: what a compiler or an engine started itself.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def run(command: Sequence[str], log: Path) -> int:
    """Run a program to its end, what it prints added to a file. Gives its exit code. Raises OSError."""
    with log.open("ab") as output:
        child = spawn(command, output=output)
        try:
            return child.wait()
        finally:
            stop([child])


def end_of(log: Path, lines: int = 5) -> str:
    """The last lines of what a process printed, for a message."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
