"""Processes that are forked from one which has imported everything, so that a test can strike many of them in the time that one interpreter takes to start.

    forks = Forks("tests.audit.writer_process")
    child = forks.start(["DIRECTORY", "create", …])   # it exists, and waits
    child.traced_by(["strace", …])                    # optional: a tracer is attached to it
    child.begin()

`Forks` starts one process, the nursery, which forks at each request. The child waits at a gate, so that whatever is to strike it is in place before its first
step, and has the streams that it was given. The nursery has one thread and holds no store, so a fork of it is as good as a new process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 120  # after which a child is taken to hang
_MESSAGE = 65_536  # bytes of a request or an answer
_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)


class Forks:
    """The nursery of a module that has `main(arguments) -> int`. May be used from several threads; a context manager.

    `prepare`, a function of that module without arguments, is called once before anything is forked, if there is one.
    """

    def __init__(self, module: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            # Threads of a numerical library would not survive a fork.
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.audit.forks", module, str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def start(self, arguments: Sequence[object]) -> Forked:
        """A child that will run `main` with these arguments."""
        gate, opener = os.pipe()
        output, outputs = os.pipe()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the child's object closes it
        try:
            request = json.dumps([*map(str, arguments)]).encode()
            answer = self._ask(request, [gate, outputs, errors.fileno()])
        finally:
            os.close(gate)
            os.close(outputs)
        return Forked(self, int(answer), opener, os.fdopen(output, encoding="utf-8"), errors)

    def wait(self, pid: int) -> int:
        """The code with which a child of the nursery ended: negative for a signal."""
        return os.waitstatus_to_exitcode(int(self._ask(json.dumps(pid).encode(), [])))

    def _ask(self, request: bytes, descriptors: list[int]) -> bytes:
        with self._lock:
            socket.send_fds(self._socket, [request], descriptors)
            return self._socket.recv(_MESSAGE)

    def close(self) -> None:
        """End the nursery."""
        self._socket.close()
        self._nursery.wait(SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Forked:
    """A child that waits to begin. Leaving its context ends it, whatever it does. `output` is its standard output."""

    def __init__(self, forks: Forks, pid: int, opener: int, output: IO[str], errors: IO[bytes]) -> None:
        self.pid = pid
        self.output = output
        self._forks = forks
        self._opener = opener
        self._errors = errors
        self._tracer: subprocess.Popen[str] | None = None
        self._ended = False
        self._alarm = threading.Timer(SECONDS, self.kill)
        self._alarm.daemon = True
        self._alarm.start()

    def traced_by(self, command: Sequence[str]) -> None:
        """Attach an strace; on return the child makes no call that it does not see."""
        self._tracer = subprocess.Popen([*command, "-p", str(self.pid)], stderr=subprocess.PIPE, text=True)
        assert self._tracer.stderr is not None
        said = self._tracer.stderr.readline()
        assert f"Process {self.pid} attached" in said, said

    def begin(self) -> None:
        """Open the gate."""
        os.write(self._opener, b"x")

    def kill(self) -> None:
        """End it now. The nursery reaps it when it is waited for, so its number is no other's yet."""
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)

    def end(self) -> tuple[int, str, str]:
        """Its code (negative for a signal), the rest of its output, and its errors, once it has ended."""
        rest = self.output.read()
        code = self._forks.wait(self.pid)
        self._ended = True
        if self._tracer is not None:
            self._tracer.communicate(timeout=SECONDS)
        self._errors.seek(0)
        return code, rest, self._errors.read().decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.kill()
            self.end()
        self._alarm.cancel()
        os.close(self._opener)
        self.output.close()
        self._errors.close()


def main(arguments: list[str]) -> int:
    """The nursery: fork at each request, and wait for a child at each that names one."""
    name, descriptor = arguments
    module = importlib.import_module(name)
    if hasattr(module, "prepare"):
        module.prepare()
    with socket.socket(fileno=int(descriptor)) as asked:
        while True:
            request, descriptors, _, _ = socket.recv_fds(asked, _MESSAGE, 3)
            if not request:
                return 0
            wanted = json.loads(request)
            if isinstance(wanted, int):
                _, status = os.waitpid(wanted, 0)
                asked.send(str(status).encode())
                continue
            pid = os.fork()
            if not pid:
                asked.close()
                _child(module.main, wanted, descriptors)
            for given in descriptors:
                os.close(given)
            asked.send(str(pid).encode())


def _child(work: object, arguments: list[str], descriptors: list[int]) -> None:
    """Wait for the gate and work; never returns."""
    gate, output, errors = descriptors
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    # Where the system lets only a parent trace its child, the child has to allow it; elsewhere the call fails, which is as well.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
    select.select([gate], [], [])
    if not os.read(gate, 1):
        os._exit(0)  # whoever asked for it is gone
    code = 70
    try:
        assert callable(work)
        code = work(arguments)
    except BaseException:  # noqa: BLE001 - a process's end is told by its code and its errors
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
