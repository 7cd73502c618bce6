"""A relay between two nodes that can be told to hold back what one of them says, or to cut the line."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

_CHUNK_BYTES = 16 * 1024


class Relay:
    """Listens on a free port of the loopback interface and passes everything on to another port there.

    What the target answers can be held back after a number of bytes, so that a transfer stands still at a known place
    without anybody's clock; what is said to the target always passes. Use it in a `with`.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._changed = threading.Condition()
        self._allowance: int | None = None  # bytes of answers that may still pass; None: all
        self._sockets: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def hold_after(self, count: int) -> None:
        """Let `count` more bytes of answers pass and hold back the rest, until `release` or `cut`."""
        with self._changed:
            self._allowance = count

    def release(self) -> None:
        """Let everything pass again, what was held back first."""
        with self._changed:
            self._allowance = None
            self._changed.notify_all()

    def cut(self) -> None:
        """End every connection, and lose what is held back. New ones pass."""
        with self._changed:
            for one in self._sockets:
                _end(one)
            self._sockets.clear()
            self._allowance = None
            self._changed.notify_all()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                near.close()
                continue
            with self._changed:
                self._sockets |= {near, far}
            for source, sink, is_answer in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink, is_answer), name="relay", daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:  # noqa: FBT001 - of a thread
        with suppress(OSError):  # one side is gone, so the other is told
            while data := source.recv(_CHUNK_BYTES):
                while data:
                    allowed = self._allowed(len(data), sink) if is_answer else len(data)
                    sink.sendall(data[:allowed])
                    data = data[allowed:]
        _end(source)
        _end(sink)

    def _allowed(self, wanted: int, sink: socket.socket) -> int:
        """How many bytes of an answer may pass now: at least one, waited for. Raises OSError once the line is cut."""
        with self._changed:
            self._changed.wait_for(lambda: self._allowance != 0 or sink not in self._sockets)
            if sink not in self._sockets:
                raise OSError
            if self._allowance is None:
                return wanted
            allowed = min(wanted, self._allowance)
            self._allowance -= allowed
            return allowed


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # it may have been ended by the other side
        one.shutdown(socket.SHUT_RDWR)
    one.close()
