"""A proxy between a node and its chain's JSON-RPC that delays, loses, cuts, repeats, mixes up, limits and garbles, as it is told.

A fault is a value (`Fault`), and what strikes a request is chosen by a function from its method to one, so a test's faults are data. `Mix` draws them with a
seed until each has struck often enough. Callers may also watch every request on its way (`watch`), to do something at a known step of a conversation.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit

HEADER_BYTES = 64 * 1024
GARBAGE_BYTES = 400
OK = b"200 OK"


class Fault(Enum):
    """What becomes of one request. Where it says so, the chain does what it was asked, and the node does not hear of it."""

    NONE = "none"
    DELAYED = "the answer comes late"
    OVERDUE = "forwarded, and the answer comes when nobody waits any more"
    REQUEST_LOST = "the connection ends before anything is forwarded"
    ANSWER_LOST = "forwarded, and the connection ends before the answer"
    TRUNCATED = "forwarded, and the answer ends half-way"
    TWICE = "forwarded twice"
    OTHERS_ANSWER = "forwarded, and answered with what an earlier request of the method was"
    TOO_MANY = "HTTP 429"
    UNAVAILABLE = "HTTP 503 with a page"
    LIMITED = "forwarded, and answered with a JSON-RPC error about a limit on requests"
    INTERNAL = "a JSON-RPC error about nothing in particular"
    GARBAGE = "random bytes"
    GARBAGE_AFTER = "forwarded, and answered with random bytes"
    NESTED = "brackets without end"
    WRONG_SHAPE = "forwarded, and answered with a result of another kind"


Choice = Callable[[str], Fault]
Watcher = Callable[[str, bytes | None], None]  # method, and what the chain answered; None before it is asked


def clean(_method: str) -> Fault:
    """The choice of no fault."""
    return Fault.NONE


def unwatched(_method: str, _answer: bytes | None) -> None:
    """The watcher of no request."""


class Mix:
    """Draws faults with a seed until each has struck each scope `each` times; then there are none.

    A scope is a method whose requests are struck by themselves, or "" for all others: `one_in` says how seldom, one request in so many.
    """

    def __init__(self, random: Random, each: int, one_in: dict[str, int]) -> None:
        self.struck: Counter[tuple[str, Fault]] = Counter()
        self._random = random
        self._each = each
        self._one_in = one_in

    def __call__(self, method: str) -> Fault:
        scope = method if method in self._one_in else ""
        left = self._left(scope)
        if not left or self._random.randrange(self._one_in[scope]):
            return Fault.NONE
        fault = self._random.choice(left)
        self.struck[scope, fault] += 1
        return fault

    @property
    def is_over(self) -> bool:
        """Whether every fault struck often enough."""
        return not any(self._left(scope) for scope in self._one_in)

    def _left(self, scope: str) -> list[Fault]:
        return [fault for fault in Fault if fault is not Fault.NONE and self.struck[scope, fault] < self._each]


class FaultyProxy:
    """Listens on a free port of the loopback interface and passes requests on to `target`. Use it in a `with`.

    Args:
        target: JSON-RPC address that is passed on to; may be changed.
        random: what garbage and cuts are drawn from.
        late_seconds: how late an answer may come that still counts.
        overdue_seconds: after which nobody waits any more.

    Attributes:
        choose: which fault strikes a request.
        watch: told of every request before it is forwarded, and after its answer is there and not passed on yet.
        asked: requests so far, by method.
    """

    def __init__(
        self, target: str, random: Random, *, late_seconds: float = 0.05, overdue_seconds: float = 1.0
    ) -> None:
        self.target = target
        self.choose: Choice = clean
        self.watch: Watcher = unwatched
        self.asked: Counter[str] = Counter()
        self._random = random
        self._late_seconds = late_seconds
        self._overdue_seconds = overdue_seconds
        self._earlier: defaultdict[str, bytes] = defaultdict(bytes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._serving: set[asyncio.Task[None]] = set()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEADER_BYTES), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        # The node may be killed, or the chain stopped, in the middle of anything.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request. Whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(_length(head))
        method = str(json.loads(body)["method"])
        self.asked[method] += 1
        fault = self.choose(method)
        self.watch(method, None)
        if fault is Fault.REQUEST_LOST:
            return False
        answer = b""
        if fault not in {Fault.TOO_MANY, Fault.UNAVAILABLE, Fault.INTERNAL, Fault.GARBAGE, Fault.NESTED}:
            for _ in range(2 if fault is Fault.TWICE else 1):
                answer = await self._forward(body)
        self.watch(method, answer)
        if fault is Fault.ANSWER_LOST:
            return False
        status, answer = self._faulty(fault, method, json.loads(body), answer)
        if fault in {Fault.DELAYED, Fault.OVERDUE}:
            await asyncio.sleep(self._late_seconds if fault is Fault.DELAYED else self._overdue_seconds)
        sent = answer[: self._random.randrange(len(answer))] if fault is Fault.TRUNCATED else answer
        writer.write(
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(answer))
        )
        writer.write(sent)
        await writer.drain()
        return fault is not Fault.TRUNCATED

    def _faulty(self, fault: Fault, method: str, asked: dict[str, Any], answer: bytes) -> tuple[bytes, bytes]:
        """Status line and body."""
        earlier, self._earlier[method] = self._earlier[method], answer or self._earlier[method]
        result = self._random.choice([[], {}, "0x", "0xzz", 7, True, [{}], "0x" + "f" * 80])
        garbage = self._random.randbytes(GARBAGE_BYTES)
        changed = {
            Fault.OTHERS_ANSWER: (OK, earlier or b'{"jsonrpc":"2.0","id":-1,"result":null}'),
            Fault.TOO_MANY: (b"429 Too Many Requests", b'{"message":"slow down"}'),
            Fault.UNAVAILABLE: (b"503 Service Unavailable", b"<html>back soon</html>"),
            Fault.LIMITED: (OK, _error(asked, -32005, "daily request count exceeded, request rate limited")),
            Fault.INTERNAL: (OK, _error(asked, -32603, "internal error")),
            Fault.GARBAGE: (OK, garbage),
            Fault.GARBAGE_AFTER: (OK, garbage),
            Fault.NESTED: (OK, b"[" * 200_000),
            Fault.WRONG_SHAPE: (OK, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()),
        }
        return changed.get(fault, (OK, answer))

    async def _forward(self, body: bytes) -> bytes:
        parts = urlsplit(self.target)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            # By HTTP/1.0 the answer ends with the connection.
            head = f"POST {parts.path or '/'} HTTP/1.0\r\nHost: {parts.hostname}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await reader.readuntil(b"\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))


def _error(asked: dict[str, Any], code: int, message: str) -> bytes:
    error = {"code": code, "message": message}
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}).encode()
