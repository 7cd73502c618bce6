"""Child processes that never outlive their parent, and ports that are free."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05
_ATTEMPTS = 1_000
_FIRST_PORT, _LAST_PORT = 10_240, 65_535
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RANDOM = random.SystemRandom()
_GIVEN: set[int] = set()  # ports that were named to somebody in this process, who may not have taken them yet
_LIBC = ctypes.CDLL(None)


class ProcessFailed(RuntimeError):
    """A child ended, or did not become ready in time; the message carries the end of its log."""


class Child:
    """One long-running process with its output in a file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call; the child must not outlive us
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition; raise ProcessFailed with the log's end if the child ends or the time is over."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise ProcessFailed(f"{self.name} ended with code {self._process.returncode}:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{self.name} was not ready within {seconds:.0f} s:\n{self.log_end()}")
            time.sleep(_POLL_SECONDS)

    def stop(self, seconds: float = 20.0) -> int:
        """Ask it to end, insist after `seconds`; gives its exit code."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self._process.wait()

    def resident_peak_bytes(self) -> int:
        """The most memory that it held at once (VmHWM); 0 where the system does not say."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return 0
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1_024
        return 0

    def log_end(self, lines: int = 20) -> str:
        """The last lines of its log."""
        try:
            return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def free_port() -> int:
    """A port that was free a moment ago on the loopback interface."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that were free a moment ago on the loopback interface.

    They lie below those that the system gives to outgoing connections, one of which could take a port before its process has it.
    """
    end = min(_LAST_PORT, _first_ephemeral_port()) - count
    for _ in range(_ATTEMPTS):
        first = _RANDOM.randrange(_FIRST_PORT, end)
        if not _GIVEN.isdisjoint(range(first, first + count)):
            continue
        with ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probe = probes.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _GIVEN.update(range(first, first + count))
        return first
    raise ProcessFailed(f"there are no {count} free ports in a row")


def _first_ephemeral_port() -> int:
    try:
        return int(_EPHEMERAL.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _LAST_PORT


def accepts(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(_POLL_SECONDS)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    """In the child: have the kernel end it when the parent dies, however the parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
