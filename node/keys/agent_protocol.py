"""What a node and its key agent say to each other: frames of u32be length ‖ JSON, at most MAX_FRAME bytes, each in one spelling (sorted names, no spaces, ASCII).

    {"digest":"…","number":1,"operation":"sign_hash","version":1}
    {"result":{…},"version":1}
    {"error":{"details":{},"message":"…","reason":"KEY_INVALID"},"version":1}

Bytes are lower-case hex. A refusal of the agent is raised as the same class at the node. No operation gives out a private key.
"""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from crypto.errors import EncodingInvalid, Refusal, refusals_by_reason
from node.errors import InternalError, RequestTooLarge

VERSION = 1
MAX_FRAME = 16 << 20  # bytes
_LENGTH = struct.Struct(">I")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))
_RESERVED = frozenset({"self", "message"})

Document = dict[str, object]


@dataclass(frozen=True)
class Request:
    """One operation with its arguments."""

    operation: str
    arguments: Mapping[str, object]

    def text(self, name: str) -> str:
        """An argument that is a text. Raises EncodingInvalid."""
        value = self.arguments[name]
        if not isinstance(value, str):
            raise EncodingInvalid(f"{name} must be a text")
        return value

    def number(self) -> int:
        """The number of a key. Raises EncodingInvalid."""
        value = self.arguments["number"]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise EncodingInvalid("number must be an integer from 1")
        return value

    def octets(self, name: str) -> bytes:
        """An argument that is bytes. Raises EncodingInvalid."""
        return from_hex(self.arguments[name])

    def many(self, name: str) -> list[bytes]:
        """An argument that is a list of bytes. Raises EncodingInvalid."""
        values = self.arguments[name]
        if not isinstance(values, list):
            raise EncodingInvalid(f"{name} must be a list")
        return [from_hex(value) for value in values]

    def expect(self, *names: str) -> None:
        """Raise EncodingInvalid unless these are its arguments, all and no others."""
        if set(self.arguments) != set(names):
            raise EncodingInvalid("the operation has other arguments")


def from_hex(value: object) -> bytes:
    """Bytes of lower-case hex. Raises EncodingInvalid."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise EncodingInvalid("bytes are written in lower-case hex")
    return bytes.fromhex(value)


def write_request(request: Request) -> bytes:
    """The frame's content."""
    return _write({**request.arguments, "operation": request.operation, "version": VERSION})


def parse_request(content: bytes) -> Request:
    """Read a request. Raises EncodingInvalid unless it is exactly what `write_request` writes."""
    document = _read(content)
    operation = document.pop("operation", None)
    if not isinstance(operation, str):
        raise EncodingInvalid("a request names its operation")
    return Request(operation, document)


def write_result(result: Document) -> bytes:
    """The frame's content."""
    return _write({"result": result, "version": VERSION})


def write_refusal(refusal: Refusal) -> bytes:
    """The frame's content."""
    error = {"details": refusal.details, "message": str(refusal), "reason": refusal.reason}
    return _write({"error": error, "version": VERSION})


def parse_answer(content: bytes) -> Document:
    """The result. Raises the refusal that the answer carries, or EncodingInvalid."""
    document = _read(content)
    match document:
        case {"result": dict(result), **rest} if not rest:
            return result
        case {"error": dict(error), **rest} if not rest:
            raise _refusal(error)
        case _:
            raise EncodingInvalid("an answer has a result or an error")


def _refusal(error: Mapping[str, object]) -> Refusal:
    match error:
        case {"details": dict(details), "message": str(message), "reason": str(reason), **rest} if not rest:
            kind = refusals_by_reason().get(reason)
            if kind is None:
                return InternalError(f"the key agent refuses with {reason}: {message}")
            known = {name: value for name, value in details.items() if name.isidentifier() and name not in _RESERVED}
            return kind(message, **known)
        case _:
            raise EncodingInvalid("an error has a reason, a message and details")


def _write(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def _read(content: bytes) -> Document:
    try:
        document = json.loads(content)
        spelled = isinstance(document, dict) and _write(document) == content
    except (ValueError, RecursionError) as cause:
        raise EncodingInvalid("a frame holds one JSON object") from cause
    # An object whose names repeat would be spelled otherwise too.
    if not spelled:
        raise EncodingInvalid("a frame holds one JSON object in its one spelling")
    version = document.pop("version", None)
    if type(version) is not int or version != VERSION:
        raise EncodingInvalid(f"the version must be {VERSION}")
    return dict(document)


def send_frame(connection: socket.socket, content: bytes) -> None:
    """Write a frame. Raises RequestTooLarge before anything is sent, OSError."""
    if len(content) > MAX_FRAME:
        raise RequestTooLarge(f"a frame has {len(content)} bytes, of {MAX_FRAME} at most")
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive_frame(connection: socket.socket) -> bytes | None:
    """Read a frame; None where the peer has hung up before it began. Raises EncodingInvalid (after which nothing more can be read), OSError."""
    head = _exactly(connection, _LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise EncodingInvalid("a frame is cut off")
    (size,) = _LENGTH.unpack(head)
    if size > MAX_FRAME:
        raise EncodingInvalid(f"a frame has {size} bytes, of {MAX_FRAME} at most")
    content = _exactly(connection, size)
    if len(content) < size:
        raise EncodingInvalid("a frame is cut off")
    return content


def _exactly(connection: socket.socket, size: int) -> bytes:
    held = bytearray()
    while len(held) < size:
        part = connection.recv(min(size - len(held), 1 << 20))
        if not part:
            break
        held += part
    return bytes(held)


def peer_owner(connection: socket.socket) -> int:
    """The user id of the process at the other end (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, owner, _ = _CREDENTIALS.unpack(raw)
    return int(owner)
