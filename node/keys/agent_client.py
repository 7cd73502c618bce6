"""`AgentKeeper`: the keys of another process, asked for over a Unix socket (`node.keys.agent`). A Keeper.

Connections are kept and shared by threads. What changes nothing is asked again over a new connection where a kept one turns out to be dead, as after a restart
of the agent; a step of a rotation goes over a new connection at once and is never sent twice: whether it was carried out, the manifest says.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from crypto.errors import EncodingInvalid
from crypto.sm2 import DEFAULT_USER_ID, SM2PublicKey
from node.errors import KeyAgentUnavailable
from node.keys.agent_protocol import (
    MAX_FRAME,
    Document,
    Request,
    from_hex,
    parse_answer,
    peer_owner,
    receive_frame,
    send_frame,
    write_request,
)
from node.keys.manifest import KeyRecord, Manifest, parse_manifest
from node.model.keys import Kind, Mode

TIMEOUT_SECONDS = 60.0
_KEPT_CONNECTIONS = 8
# A signature is written in 144 characters of hex at most, and three more; a frame's other text is far below 1 MiB.
_BATCH_ROOM = MAX_FRAME - (1 << 20)
_COST_OF_A_MESSAGE = 160


class AgentKeeper:
    """The keys of the agent at this socket. Safe for use by several threads; every call raises KeyAgentUnavailable where it does not answer.

    Args:
        path: of the socket.
        timeout_seconds: for each step of a connection.
        owner: the user id that the agent runs under.
    """

    def __init__(self, path: Path, timeout_seconds: float = TIMEOUT_SECONDS, owner: int | None = None) -> None:
        self._path = path
        self._timeout = timeout_seconds
        self._owner = os.geteuid() if owner is None else owner
        self._turn = threading.Lock()
        self._idle: list[socket.socket] = []

    def close(self) -> None:
        """Hang up."""
        with self._turn:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @property
    def manifest(self) -> Manifest:
        """See Keeper. Asked for each time: the agent's word is the truth."""
        return self._manifest_of(self.ask(Request("manifest", {})))

    def signer(self, number: int) -> AgentKey:
        """See Keeper."""
        return AgentKey(self, number, SM2PublicKey.from_bytes(self._public(Kind.SIGNING, number)))

    def decrypter(self, number: int) -> AgentKey:
        """See Keeper."""
        return AgentKey(self, number, SM2PublicKey.from_bytes(self._public(Kind.ENCRYPTION, number)))

    def account(self, number: int) -> AgentAccount:
        """See Keeper."""
        return AgentAccount(self, number, self._public(Kind.ACCOUNT, number))

    def begin(self, kind: Kind, mode: Mode) -> Manifest:
        """See Keeper."""
        return self._step("begin", kind=kind.value, mode=mode.value)

    def prepare(self) -> KeyRecord:
        """See Keeper."""
        answer = self.ask(Request("prepare", {}), once=True)
        kind, number = answer.get("kind"), answer.get("number")
        if not isinstance(kind, str) or kind not in list(Kind) or not isinstance(number, int):
            raise EncodingInvalid("the key agent's answer names no key")
        return self._manifest_of(answer).record(Kind(kind), number)

    def commit(self) -> Manifest:
        """See Keeper."""
        return self._step("commit")

    def activate(self) -> Manifest:
        """See Keeper."""
        return self._step("activate")

    def undo(self) -> Manifest:
        """See Keeper."""
        return self._step("undo")

    def retire(self, kind: Kind, number: int) -> Manifest:
        """See Keeper."""
        return self._step("retire", kind=kind.value, number=number)

    def compromise(self, kind: Kind, number: int) -> Manifest:
        """See Keeper."""
        return self._step("compromise", kind=kind.value, number=number)

    def ask(self, request: Request, *, once: bool = False) -> Document:
        """One operation. `once`: it changes something, and may not be sent again.

        Raises: what the agent refuses it with; KeyAgentUnavailable; RequestTooLarge.
        """
        content = write_request(request)
        kept = None if once else self._kept()
        if kept is not None:
            with suppress(OSError, _HungUp):
                return self._exchange(kept, content)
        try:
            return self._exchange(self._connect(), content)
        except (OSError, _HungUp) as cause:
            raise KeyAgentUnavailable(
                f"the key agent at {self._path} does not answer: {cause}", path=self._path
            ) from cause

    def _step(self, operation: str, **arguments: object) -> Manifest:
        return self._manifest_of(self.ask(Request(operation, arguments), once=True))

    def _public(self, kind: Kind, number: int) -> bytes:
        return from_hex(self.ask(Request("public", {"kind": kind.value, "number": number})).get("public"))

    @staticmethod
    def _manifest_of(answer: Document) -> Manifest:
        text = answer.get("manifest")
        if not isinstance(text, str):
            raise EncodingInvalid("the key agent's answer has no manifest")
        return parse_manifest(text)

    def _exchange(self, connection: socket.socket, content: bytes) -> Document:
        try:
            send_frame(connection, content)
            answer = _received(connection)
        except BaseException as broken:
            # What is left of an answer may not be read as that to the next question.
            connection.close()
            if isinstance(broken, EncodingInvalid):
                raise _HungUp(str(broken)) from broken
            raise
        self._keep(connection)
        return parse_answer(answer)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self._timeout)
            connection.connect(str(self._path))
            # Whoever put a socket of theirs at the path would be shown every plaintext and sign nothing.
            _check_owner(connection, self._owner)
        except BaseException:
            connection.close()
            raise
        return connection

    def _kept(self) -> socket.socket | None:
        with self._turn:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: socket.socket) -> None:
        with self._turn:
            if len(self._idle) < _KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()


class _HungUp(Exception):
    """The connection gives no answer any more."""


def _received(connection: socket.socket) -> bytes:
    answer = receive_frame(connection)
    if answer is None:
        raise _HungUp("it hung up")
    return answer


def _check_owner(connection: socket.socket, expected: int) -> None:
    owner = peer_owner(connection)
    if owner != expected:
        raise _HungUp(f"a process of the user {owner} listens there")


class AgentKey:
    """An SM2 key of the agent; Signer and Decrypter. Its repr shows the public key's digest only."""

    __slots__ = ("_keeper", "_number", "_public_key")

    def __init__(self, keeper: AgentKeeper, number: int, public_key: SM2PublicKey) -> None:
        self._keeper = keeper
        self._number = number
        self._public_key = public_key

    @property
    def public_key(self) -> SM2PublicKey:
        """See Signer."""
        return self._public_key

    def sign_many(self, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID) -> list[bytes]:
        """See Signer. Raises KeyAgentUnavailable too, RequestTooLarge for a message that fits in no frame."""
        signatures: list[bytes] = []
        for batch in _batches(messages):
            asked = {
                "number": self._number,
                "messages": [message.hex() for message in batch],
                "user_id": user_id.hex(),
            }
            given = self._keeper.ask(Request("sign", asked)).get("signatures")
            if not isinstance(given, list) or len(given) != len(batch):
                raise EncodingInvalid("the key agent gives another number of signatures")
            signatures.extend(from_hex(one) for one in given)
        return signatures

    def decrypt(self, ciphertext: bytes) -> bytes:
        """See Decrypter. Raises KeyAgentUnavailable too."""
        asked = {"number": self._number, "ciphertext": ciphertext.hex()}
        return from_hex(self._keeper.ask(Request("decrypt", asked)).get("plaintext"))

    def __repr__(self) -> str:
        return f"AgentKey(of {self._public_key!r})"


class AgentAccount:
    """The key of an EVM account of the agent; HashSigner."""

    __slots__ = ("_keeper", "_number", "_public")

    def __init__(self, keeper: AgentKeeper, number: int, public: bytes) -> None:
        self._keeper = keeper
        self._number = number
        self._public = public

    def public_bytes(self) -> bytes:
        """See HashSigner."""
        return self._public

    def sign_hash(self, digest: bytes) -> tuple[int, int, int]:
        """See HashSigner. Raises KeyAgentUnavailable too."""
        given = self._keeper.ask(Request("sign_hash", {"number": self._number, "digest": digest.hex()}))
        v = given.get("v")
        if not isinstance(v, int):
            raise EncodingInvalid("the key agent's answer is no signature")
        return int.from_bytes(from_hex(given.get("r"))), int.from_bytes(from_hex(given.get("s"))), v


def _batches(messages: Sequence[bytes]) -> Iterator[list[bytes]]:
    """As many as go into a frame, and as their signatures need in the answer's."""
    batch: list[bytes] = []
    room = _BATCH_ROOM
    for message in messages:
        cost = 2 * len(message) + _COST_OF_A_MESSAGE
        if batch and cost > room:
            yield batch
            batch, room = [], _BATCH_ROOM
        batch.append(message)
        room -= cost
    if batch:
        yield batch
