"""The key agent: a process that has a store of the signing key, the encryption key and the account, and does with them what the node asks for on a Unix
socket; the node's process never has them (`node.keys.agent_protocol`).

Whoever may connect may sign: the socket has mode 0600, and a connection of another user is dropped. A thread serves each connection; what a thread of the
node has begun is finished before the agent stops.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from crypto.errors import EncodingInvalid, Refusal
from node.errors import InternalError, KeyStateInvalid, PortTaken
from node.keys.agent_protocol import (
    Document,
    Request,
    parse_request,
    peer_owner,
    receive_frame,
    send_frame,
    write_refusal,
    write_result,
)
from node.keys.manifest import State
from node.keys.store import KeyStore
from node.model.keys import Kind, Mode

AGENT_KINDS = (Kind.SIGNING, Kind.ENCRYPTION, Kind.ACCOUNT)
MAX_CONNECTIONS = 64
_DIGEST_SIZE = 32  # bytes
_SOCKET_MODE = 0o600
# A key that was replaced for good signs nothing more; the store may have its file still.
_SIGNING_STATES = frozenset({State.NEXT, State.ACTIVE, State.RETIRING})

Say = Callable[[str, Refusal], None]


class KeyAgent:
    """Serves a store until it is closed.

    Args:
        store: opened to be changed.
        path: of the socket. A file of an agent that ended is replaced.
        say: is told of each refusal, with the operation.
        owner: the user id whose connections are served.

    Raises:
        PortTaken: an agent answers at the path, or it cannot be listened on.
    """

    def __init__(self, store: KeyStore, path: Path, say: Say, owner: int | None = None) -> None:
        self._store = store
        self._path = path
        self._say = say
        self._owner = os.geteuid() if owner is None else owner
        self._turn = threading.Lock()
        self._serving: dict[threading.Thread, socket.socket] = {}
        self._closing = False
        self._listener = _listening(path)
        self._inode = path.lstat().st_ino
        self._accepting = threading.Thread(target=self._accept, name="key-agent", daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more requests, finish those that were taken, and remove the socket's file."""
        with self._turn:
            self._closing = True
            serving = dict(self._serving)
        # Wakes the thread that accepts (listen(2): shutdown of a listening socket ends accept with EINVAL).
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for connection in serving.values():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for thread in serving:
            thread.join()
        with suppress(FileNotFoundError):
            if self._path.lstat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Closed, or out of descriptors: connections that end give some back.
                if self._closing:
                    return
                threading.Event().wait(0.1)
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._turn:
                taken = not self._closing and len(self._serving) < MAX_CONNECTIONS
                if taken:
                    self._serving[thread] = connection
                    thread.start()
            if not taken:
                self._say("connect", KeyStateInvalid(f"more than {MAX_CONNECTIONS} connections"))
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            owner = peer_owner(connection)
            if owner != self._owner:
                self._say("connect", KeyStateInvalid(f"a process of the user {owner} is not served"))
                return
            with suppress(OSError):
                while self._answer_one(connection):
                    pass
        finally:
            with self._turn:
                del self._serving[threading.current_thread()]
            connection.close()

    def _answer_one(self, connection: socket.socket) -> bool:
        """Whether another request may follow."""
        operation = "read"
        try:
            content = receive_frame(connection)
        except EncodingInvalid as refusal:
            self._say(operation, refusal)
            send_frame(connection, write_refusal(refusal))
            return False
        if content is None:
            return False
        try:
            request = parse_request(content)
            operation = request.operation
            answer = write_result(_carry_out(self._store, request))
        except Refusal as refusal:
            self._say(operation if operation in _OPERATIONS else "unknown", refusal)
            answer = write_refusal(refusal)
        except Exception as defect:  # noqa: BLE001 - one bad request may not end the agent; the message might show what it worked on
            internal = InternalError(f"the key agent failed with {type(defect).__name__}")
            self._say(operation, internal)
            answer = write_refusal(internal)
        send_frame(connection, answer)
        return True


def _carry_out(store: KeyStore, request: Request) -> Document:
    operation = _OPERATIONS.get(request.operation)
    if operation is None:
        raise EncodingInvalid("there is no operation of that name")
    names, act = operation
    request.expect(*names)
    return act(store, request)


def _manifest(store: KeyStore, _: Request) -> Document:
    return {"manifest": store.manifest.to_text()}


def _public(store: KeyStore, request: Request) -> Document:
    number = request.number()
    match _kind(request):
        case Kind.SIGNING:
            key = store.signer(number).public_key.to_bytes()
        case Kind.ENCRYPTION:
            key = store.decrypter(number).public_key.to_bytes()
        case _:
            key = store.account(number).public_bytes()
    return {"public": key.hex()}


def _sign(store: KeyStore, request: Request) -> Document:
    number = request.number()
    _check_signs(store, Kind.SIGNING, number)
    signatures = store.signer(number).sign_many(request.many("messages"), request.octets("user_id"))
    return {"signatures": [signature.hex() for signature in signatures]}


def _decrypt(store: KeyStore, request: Request) -> Document:
    return {"plaintext": store.decrypter(request.number()).decrypt(request.octets("ciphertext")).hex()}


def _sign_hash(store: KeyStore, request: Request) -> Document:
    number, digest = request.number(), request.octets("digest")
    if len(digest) != _DIGEST_SIZE:
        raise EncodingInvalid(f"a digest has {_DIGEST_SIZE} bytes")
    _check_signs(store, Kind.ACCOUNT, number)
    r, s, v = store.account(number).sign_hash(digest)
    return {"r": f"{r:064x}", "s": f"{s:064x}", "v": v}


def _begin(store: KeyStore, request: Request) -> Document:
    mode = request.text("mode")
    if mode not in list(Mode):
        raise EncodingInvalid("there is no mode of that name")
    return {"manifest": store.begin(_kind(request), Mode(mode)).to_text()}


def _prepare(store: KeyStore, _: Request) -> Document:
    record = store.prepare()
    return {"kind": record.kind.value, "manifest": store.manifest.to_text(), "number": record.number}


def _commit(store: KeyStore, _: Request) -> Document:
    return {"manifest": store.commit().to_text()}


def _activate(store: KeyStore, _: Request) -> Document:
    return {"manifest": store.activate().to_text()}


def _undo(store: KeyStore, _: Request) -> Document:
    return {"manifest": store.undo().to_text()}


def _retire(store: KeyStore, request: Request) -> Document:
    return {"manifest": store.retire(_kind(request), request.number()).to_text()}


def _compromise(store: KeyStore, request: Request) -> Document:
    return {"manifest": store.compromise(_kind(request), request.number()).to_text()}


def _kind(request: Request) -> Kind:
    name = request.text("kind")
    if name not in AGENT_KINDS:
        raise EncodingInvalid("an agent has keys of the kinds signing, encryption and account")
    return Kind(name)


def _check_signs(store: KeyStore, kind: Kind, number: int) -> None:
    state = store.manifest.record(kind, number).state
    if state not in _SIGNING_STATES:
        raise KeyStateInvalid(f"{kind} {number} is {state} and signs nothing more", kind=kind, number=number)


_OPERATIONS: dict[str, tuple[tuple[str, ...], Callable[[KeyStore, Request], Document]]] = {
    "manifest": ((), _manifest),
    "public": (("kind", "number"), _public),
    "sign": (("number", "messages", "user_id"), _sign),
    "decrypt": (("number", "ciphertext"), _decrypt),
    "sign_hash": (("number", "digest"), _sign_hash),
    "begin": (("kind", "mode"), _begin),
    "prepare": ((), _prepare),
    "commit": ((), _commit),
    "activate": ((), _activate),
    "undo": ((), _undo),
    "retire": (("kind", "number"), _retire),
    "compromise": (("kind", "number"), _compromise),
}


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # The mode is there before anybody can connect: whoever connects between bind and a chmod would have to own the umask's mode.
        before = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(MAX_CONNECTIONS)
    except OSError as cause:
        listener.close()
        raise PortTaken(f"{path} cannot be listened on: {cause.strerror or cause}", path=path) from cause
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of an agent that ended without doing so. Raises PortTaken where one answers, or it is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise PortTaken(f"{path} is there, and is no socket", path=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise PortTaken(f"a key agent answers at {path}", path=path)
