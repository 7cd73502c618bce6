"""How other commands reach the one that runs a network: through its state directory.

    STATE/up.lock       held by `chain up` as long as it runs (flock), with its process id; left behind, it is free and says nothing
    STATE/up.sock       where it can be asked, readable and writable by its owner only; there as long as the network is ready
    STATE/change.lock   held by the command that changes the validators

A request is one line, a JSON object with `ask` and, for all but "describe", the validator's `number`; so is the answer, with `error` where
it is refused. Whether the network runs is said by the lock alone, never by a process id or a file that was left behind.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crypto.errors import Refusal
from node.errors import (
    ChainProgramFailed,
    ConfigurationInvalid,
    FileUnusable,
    InternalError,
    NetworkHeld,
    NetworkNotRunning,
)

LOCK, SOCKET, CHANGE_LOCK = "up.lock", "up.sock", "change.lock"
REQUESTS = frozenset({"describe", "restart", "end"})
MAX_REQUEST_BYTES = 1_024
MAX_ANSWER_BYTES = 65_536
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 60.0  # a process may take fifteen seconds to end before it is started again
DOWN_SECONDS = 45.0
_ATTEMPTS, _PAUSE_SECONDS = 5, 0.05

Answer = dict[str, Any]


@contextmanager
def locked(path: Path, holder: str) -> Iterator[int]:
    """Hold a lock file of a state directory; gives its descriptor. Raises NetworkHeld where another one has it, FileUnusable."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise FileUnusable(f"{path} cannot be written: {cause.strerror}", path=path) from cause
    try:
        if not any(_taken(descriptor) for _ in range(_ATTEMPTS)):
            raise NetworkHeld(f"{holder} {path.parent}", state=path.parent)
        try:
            yield descriptor
        finally:
            # Said and not left to the closing: a child that was just forked has the descriptor too, until it begins its program.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


@contextmanager
def running_in(state: Path) -> Iterator[None]:
    """Be the one command that runs the network of a state directory. Raises NetworkHeld, FileUnusable."""
    with locked(state / LOCK, "another `kiteline chain up` runs the network of") as descriptor:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)


@contextmanager
def changing(state: Path) -> Iterator[None]:
    """Be the one command that changes the validators of a network that runs. Raises NetworkNotRunning, NetworkHeld, FileUnusable."""
    _holder(state)
    with locked(state / CHANGE_LOCK, "another command is changing the validators of"):
        yield


class Control:
    """Listens in the state directory while a network runs; a context manager.

    Args:
        state: the directory, whose lock this process holds.
        submit: has a piece of work done by the thread that may start processes.
        handle: answers a valid request, called by that thread; a Refusal becomes the answer.
        refused: told of each refusal, for the log.
    """

    def __init__(
        self,
        state: Path,
        submit: Callable[[Callable[[], None]], None],
        handle: Callable[[str, int], Answer],
        refused: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self._state = state
        self._submit = submit
        self._handle = handle
        self._refused = refused
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        try:
            with _short(self._state) as directory:
                (directory / SOCKET).unlink(missing_ok=True)  # of one that was killed; the lock is ours
                self._socket.bind(str(directory / SOCKET))
                (directory / SOCKET).chmod(0o600)  # nobody can connect before it listens
            self._socket.listen()
        except OSError as cause:
            self._socket.close()
            raise FileUnusable(f"{self._state / SOCKET} cannot be made: {cause.strerror}", path=self._state) from cause
        threading.Thread(target=self._accept, daemon=True, name="control").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._state / SOCKET).unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        connection.settimeout(REQUEST_SECONDS)
        try:
            ask, number = _request(_line(connection, MAX_REQUEST_BYTES))
        except (OSError, ValueError):
            _send(connection, self._refusal(ConfigurationInvalid("what was asked is not understood")))
            return
        self._submit(lambda: self._answer(connection, ask, number))

    def _answer(self, connection: socket.socket, ask: str, number: int) -> None:
        try:
            answer = self._handle(ask, number)
        except Refusal as refusal:
            answer = self._refusal(refusal)
        except Exception as defect:  # noqa: BLE001 - a defect of one request ends no network
            answer = self._refusal(InternalError(f"{type(defect).__name__}: {defect}"))
        _send(connection, answer)

    def _refusal(self, refusal: Refusal) -> Answer:
        self._refused(refusal)
        return {"error": {"reason": refusal.reason, "message": str(refusal)}}


def ask(state: Path, request: str, number: int = 0) -> Answer:
    """Ask the command that runs the network of a state directory.

    Args:
        state: the directory.
        request: one of `REQUESTS`.
        number: the validator that it is about.

    Raises:
        NetworkNotRunning: none runs, or it is only starting or ending.
        Refusal: whatever it refused, with its reason.
    """
    _holder(state)
    try:
        with _short(state) as directory, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(directory / SOCKET))
            connection.sendall(json.dumps({"ask": request, "number": number}).encode() + b"\n")
            answer: Answer = json.loads(_line(connection, MAX_ANSWER_BYTES))
    except (OSError, ValueError) as cause:
        raise NetworkNotRunning(f"the network of {state} is starting or ending, and answers nothing") from cause
    if "error" in answer:
        raise _refusal(answer["error"])
    return answer


def end_network(state: Path) -> int:
    """Ask the running `chain up` of a state directory to end, and wait until it has. Gives its process id.

    Raises:
        NetworkNotRunning: none runs.
        ChainProgramFailed: it did not end in time.
    """
    process = _holder(state)
    try:
        descriptor = os.pidfd_open(process)
    except OSError as cause:
        raise NetworkNotRunning(f"the network of {state} has just ended") from cause
    try:
        # Held still, so the descriptor is that of the holder and of no process that came to the same id since.
        if _holder(state) != process:
            raise NetworkNotRunning(f"the network of {state} has just ended")
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(DOWN_SECONDS * 1_000):
            raise ChainProgramFailed(f"process {process} was asked to end and did not within {DOWN_SECONDS:.0f} s")
    except OSError as cause:
        raise FileUnusable(f"process {process}, which runs the network, cannot be asked: {cause.strerror}") from cause
    finally:
        os.close(descriptor)
    return process


def _taken(descriptor: int) -> bool:
    """Whether the lock is ours. One that only looks whether it is held has it for a moment, so it is tried again."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_PAUSE_SECONDS)
        return False
    return True


def _holder(state: Path) -> int:
    """The process that holds a state directory. Raises NetworkNotRunning if none does."""
    try:
        with (state / LOCK).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
    except (OSError, ValueError) as cause:
        raise NetworkNotRunning(f"no `kiteline chain up` runs the network of {state}", state=state) from cause
    raise NetworkNotRunning(f"no `kiteline chain up` runs the network of {state}", state=state)


@contextmanager
def _short(state: Path) -> Iterator[Path]:
    """A state directory by a name that fits a socket's address, which has 108 bytes (unix(7))."""
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _request(line: bytes) -> tuple[str, int]:
    """What is asked, and of which validator. Raises ValueError."""
    request = json.loads(line)
    asked, number = (request.get("ask"), request.get("number", 0)) if isinstance(request, dict) else (None, 0)
    if not isinstance(asked, str) or asked not in REQUESTS or type(number) is not int:
        raise ValueError("unknown request")
    return asked, number


def _line(connection: socket.socket, most: int) -> bytes:
    with connection.makefile("rb") as stream:
        line: bytes = stream.readline(most)
    if not line.endswith(b"\n"):
        raise ValueError("no line")
    return line


def _send(connection: socket.socket, answer: Answer) -> None:
    with connection, suppress(OSError):  # who asked may be gone
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _refusal(error: dict[str, str]) -> Refusal:
    kinds = {kind.reason: kind for kind in _kinds(Refusal) if hasattr(kind, "reason")}
    return kinds.get(error["reason"], InternalError)(error["message"])


def _kinds(base: type[Refusal]) -> Iterator[type[Refusal]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)
