"""The key agent does with its keys what a store does with its own, refuses with the store's refusals, and gives no key away."""

from __future__ import annotations

import os
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from eth_keys.datatypes import PublicKey, Signature
from hypothesis import given
from hypothesis import strategies as st

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid, KeyInvalid
from node.errors import (
    InternalError,
    KeyAgentUnavailable,
    KeyStateInvalid,
    KeyStoreInvalid,
    PortTaken,
    RequestTooLarge,
    RotationUnderWay,
)
from node.keys import agent_client
from node.keys.agent import AGENT_KINDS, KeyAgent
from node.keys.agent_client import AgentKeeper
from node.keys.agent_protocol import (
    MAX_FRAME,
    Request,
    parse_answer,
    parse_request,
    receive_frame,
    send_frame,
    write_refusal,
    write_request,
    write_result,
)
from node.keys.keeper import Keeper
from node.keys.manifest import State
from node.keys.material import Means
from node.keys.store import KeyStore
from node.model.keys import Kind, Mode, Step

MEMBER = "11370700004258746X"
PASSPHRASE = b"the agent's own"
NOW_MS = 1_795_482_123_004
Refused = list[tuple[str, str]]


@pytest.fixture
def means(engine: Engine) -> Means:
    """What the agent's store is opened with."""
    return Means(engine, PASSPHRASE, os.urandom, lambda: NOW_MS)


@pytest.fixture
def store(tmp_path: Path, means: Means) -> Iterator[KeyStore]:
    """The agent's store."""
    with KeyStore.create(tmp_path / "keys", MEMBER, means, AGENT_KINDS) as made:
        yield made


@pytest.fixture
def refused() -> Refused:
    """What the agent said of refusals: operation and reason."""
    return []


@pytest.fixture
def path(tmp_path: Path, store: KeyStore, refused: Refused) -> Iterator[Path]:
    """The socket of an agent that runs."""
    path = tmp_path / "agent.sock"
    with _agent(store, path, refused):
        yield path


@pytest.fixture
def keeper(path: Path) -> Iterator[AgentKeeper]:
    """The node's side."""
    keeper = AgentKeeper(path)
    yield keeper
    keeper.close()


def _agent(store: KeyStore, path: Path, refused: Refused, owner: int | None = None) -> KeyAgent:
    return KeyAgent(store, path, lambda operation, refusal: refused.append((operation, refusal.reason)), owner)


def _raw(path: Path, frame: bytes) -> bytes | None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(frame)
        connection.shutdown(socket.SHUT_WR)
        return receive_frame(connection)


def test_a_batch_of_signatures_verifies_and_a_text_that_was_encrypted_is_opened(
    keeper: AgentKeeper, store: KeyStore, engine: Engine
) -> None:
    signer = keeper.signer(1)
    assert signer.public_key == store.signer(1).public_key
    messages = [b"", b"one", bytes(range(256))]
    for user in (b"1234567812345678", b"another"):
        signatures = signer.sign_many(messages, user)
        engine.sm2_verify_many([signer.public_key] * 3, messages, signatures, user)
    assert signer.sign_many([]) == []
    decrypter = keeper.decrypter(1)
    assert decrypter.decrypt(engine.sm2_encrypt(store.decrypter(1).public_key, b"secret")) == b"secret"
    digest = bytes(range(32))
    account = keeper.account(1)
    assert account.public_bytes() == store.account(1).public_bytes()
    r, s, v = account.sign_hash(digest)
    PublicKey(account.public_bytes()[1:]).verify_msg_hash(digest, Signature(vrs=(v, r, s)))
    assert keeper.manifest == store.manifest


def test_what_exceeds_a_frame_is_asked_for_in_several_and_a_message_that_fits_in_none_is_refused(
    keeper: AgentKeeper, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_client, "_BATCH_ROOM", 1_000)
    messages = [bytes([number]) * 200 for number in range(20)]
    assert len(list(agent_client._batches(messages))) > 5
    signer = keeper.signer(1)
    engine.sm2_verify_many([signer.public_key] * 20, messages, signer.sign_many(messages))
    with pytest.raises(RequestTooLarge):
        signer.sign_many([bytes(MAX_FRAME // 2)])
    assert len(signer.sign_many([b"and it goes on"])) == 1


@pytest.mark.parametrize("kind", AGENT_KINDS, ids=str)
def test_a_key_is_rotated_through_the_interface_and_the_old_one_ends(
    keeper: Keeper, store: KeyStore, kind: Kind, engine: Engine
) -> None:
    before = store.manifest.active(kind).digest
    begun = keeper.begin(kind, Mode.HOLD).rotation
    assert begun is not None
    assert (begun.kind, begun.number, begun.step, begun.mode) == (kind, 2, Step.BEGUN, Mode.HOLD)
    with pytest.raises(RotationUnderWay) as refused:
        keeper.begin(kind, Mode.DRILL)
    assert refused.value.details == {"kind": kind.value}
    made = keeper.prepare()
    assert (made.kind, made.number, made.state) == (kind, 2, State.NEXT)
    assert made.digest != before
    assert keeper.undo().rotation is None
    keeper.begin(kind, Mode.THROUGH)
    again = keeper.prepare()
    assert again.digest != made.digest
    committing = keeper.commit().rotation
    assert committing is not None
    assert committing.step is Step.COMMITTING
    active = keeper.activate()
    assert active.active(kind) == store.manifest.record(kind, 2)
    assert active.active(kind).digest == again.digest
    assert _used(keeper, kind, 2, engine)
    assert _used(keeper, kind, 1, engine), "the old one is retiring, and still of use"
    assert keeper.retire(kind, 1).record(kind, 1).state is State.RETIRED
    if kind is not Kind.ENCRYPTION:
        with pytest.raises((KeyStateInvalid, KeyInvalid)):
            _used(keeper, kind, 1, engine)
    assert keeper.compromise(kind, 1).record(kind, 1).state is State.COMPROMISED


def _used(keeper: Keeper, kind: Kind, number: int, engine: Engine) -> bool:
    match kind:
        case Kind.SIGNING:
            signer = keeper.signer(number)
            engine.sm2_verify_many([signer.public_key], [b"x"], signer.sign_many([b"x"]))
        case Kind.ENCRYPTION:
            decrypter = keeper.decrypter(number)
            assert decrypter.decrypt(engine.sm2_encrypt(decrypter.public_key, b"x")) == b"x"
        case _:
            assert len(keeper.account(number).sign_hash(bytes(32))) == 3
    return True


def test_refusals_arrive_as_the_same_class_and_the_agent_says_each(keeper: AgentKeeper, refused: Refused) -> None:
    with pytest.raises(DecryptionFailed):
        keeper.decrypter(1).decrypt(b"no ciphertext")
    with pytest.raises(KeyStoreInvalid, match="no key signing 7"):
        keeper.signer(7)
    with pytest.raises(EncodingInvalid):
        keeper.signer(1).sign_many([b"x"], bytes(9_000))
    with pytest.raises(KeyStateInvalid) as wrong:
        keeper.compromise(Kind.SIGNING, 1)
    assert wrong.value.details == {"kind": "signing", "number": "1"}
    with pytest.raises(EncodingInvalid):
        keeper.begin(Kind.TLS, Mode.THROUGH)
    assert refused == [
        ("decrypt", "DECRYPTION_FAILED"),
        ("public", "KEY_STORE_INVALID"),
        ("sign", "ENCODING_INVALID"),
        ("compromise", "KEY_STATE_INVALID"),
        ("begin", "ENCODING_INVALID"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"operation":"manifest"}',
        b'{"operation":"manifest","version":2}',
        b'{"operation":"manifest","version":true}',
        b'{"operation":"manifest", "version":1}',
        b'{"operation":"undo","operation":"manifest","version":1}',
        b'{"operation":"export","version":1}',
        b'{"operation":1,"version":1}',
        b'{"operation":"manifest","more":1,"version":1}',
        b'{"operation":"sign","version":1}',
        b'{"digest":"00","number":1,"operation":"sign_hash","version":1}',
        b'{"kind":"signing","number":true,"operation":"public","version":1}',
        b'{"kind":"tls","number":1,"operation":"public","version":1}',
        b'{"ciphertext":"0A","number":1,"operation":"decrypt","version":1}',
        b'{"messages":"00","number":1,"operation":"sign","user_id":"","version":1}',
        b'{"kind":"signing","mode":"at once","operation":"begin","version":1}',
    ],
)
def test_a_request_in_another_form_is_refused_and_changes_nothing(
    path: Path, keeper: AgentKeeper, refused: Refused, content: bytes
) -> None:
    before = keeper.manifest
    answer = _raw(path, struct.pack(">I", len(content)) + content)
    assert answer is not None
    with pytest.raises(EncodingInvalid):
        parse_answer(answer)
    assert [reason for _, reason in refused] == ["ENCODING_INVALID"]
    assert keeper.manifest == before


@pytest.mark.parametrize("frame", [b"\0\0", struct.pack(">I", 5) + b"{", struct.pack(">I", MAX_FRAME + 1)])
def test_a_frame_that_is_cut_off_or_too_long_ends_its_connection_alone(
    path: Path, keeper: AgentKeeper, refused: Refused, frame: bytes
) -> None:
    answer = _raw(path, frame)
    assert answer is not None
    with pytest.raises(EncodingInvalid):
        parse_answer(answer)
    assert refused == [("read", "ENCODING_INVALID")]
    assert keeper.manifest.member_id == MEMBER


def test_an_agent_that_ended_is_unavailable_and_asked_again_once_it_is_back(
    store: KeyStore, tmp_path: Path, refused: Refused, engine: Engine
) -> None:
    path = tmp_path / "s"
    keeper = AgentKeeper(path)
    with pytest.raises(KeyAgentUnavailable):
        _ = keeper.manifest
    with _agent(store, path, refused):
        signer = keeper.signer(1)
    assert not path.exists()
    with pytest.raises(KeyAgentUnavailable):
        signer.sign_many([b"x"])
    with pytest.raises(KeyAgentUnavailable):
        keeper.begin(Kind.SIGNING, Mode.THROUGH)
    with _agent(store, path, refused):
        engine.sm2_verify_many([signer.public_key], [b"x"], signer.sign_many([b"x"]))
    # A connection that was kept is dead now, and nobody was asked in between.
    with _agent(store, path, refused):
        engine.sm2_verify_many([signer.public_key], [b"y"], signer.sign_many([b"y"]))
        assert keeper.begin(Kind.SIGNING, Mode.THROUGH).rotation is not None
    keeper.close()


def test_the_socket_is_its_owners_and_a_live_one_is_not_taken_and_a_stale_one_is_replaced(
    path: Path, store: KeyStore, tmp_path: Path, refused: Refused
) -> None:
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    with pytest.raises(PortTaken, match="answers"):
        _agent(store, path, refused)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(PortTaken, match="no socket"):
        _agent(store, file, refused)
    assert file.read_bytes() == b"x"
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(stale))
        left.listen()
    keeper = AgentKeeper(stale)
    with _agent(store, stale, refused):
        assert keeper.manifest.member_id == MEMBER
    keeper.close()


def test_a_process_of_another_user_is_served_nothing_and_asks_nothing(
    store: KeyStore, tmp_path: Path, refused: Refused
) -> None:
    path = tmp_path / "s"
    with _agent(store, path, refused, owner=os.geteuid() + 1), pytest.raises(KeyAgentUnavailable):
        _ = AgentKeeper(path).manifest
    assert refused == [("connect", "KEY_STATE_INVALID")]
    with _agent(store, path, refused), pytest.raises(KeyAgentUnavailable, match="listens there"):
        _ = AgentKeeper(path, owner=os.geteuid() + 1).manifest


def test_many_threads_get_each_their_own_answer(keeper: AgentKeeper, engine: Engine) -> None:
    signer, gate = keeper.signer(1), threading.Barrier(12)

    def sign(number: int) -> None:
        gate.wait(30)
        for turn in range(5):
            message = f"{number} {turn}".encode()
            engine.sm2_verify_many([signer.public_key], [message], signer.sign_many([message]))

    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(sign, range(12)))) == 12


_names = st.text("abcdef_", min_size=1, max_size=8).filter(lambda name: name not in {"self", "message"})


@given(_names, st.dictionaries(_names, st.integers(0, 9) | st.text() | st.lists(st.text(), max_size=3)))
def test_requests_and_results_read_back(operation: str, arguments: dict[str, object]) -> None:
    request = Request(operation, arguments)
    assert parse_request(write_request(request)) == request
    assert parse_answer(write_result(arguments)) == arguments


@given(st.text(), st.dictionaries(_names, st.text()))
def test_refusals_read_back_and_an_unknown_reason_is_said(message: str, details: dict[str, str]) -> None:
    with pytest.raises(KeyStateInvalid) as read:
        parse_answer(write_refusal(KeyStateInvalid(message, **details)))
    assert (str(read.value), read.value.details) == (message, details)
    content = write_refusal(KeyStateInvalid(message)).replace(b'"KEY_STATE_INVALID"}', b'"OF_A_LATER_VERSION"}')
    with pytest.raises(InternalError, match="OF_A_LATER_VERSION"):
        parse_answer(content)


@given(st.binary(max_size=200))
def test_bytes_from_anybody_are_read_or_refused(content: bytes) -> None:
    for parse in (parse_request, parse_answer):
        # Anything else that is raised fails the test.
        with suppress(EncodingInvalid):
            parse(content)


def test_frames_read_back() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for content in (b"", b"x", bytes(70_000)):
            send_frame(ours, content)
            assert receive_frame(theirs) == content
        with pytest.raises(RequestTooLarge):
            send_frame(ours, bytes(MAX_FRAME + 1))
        ours.close()
        assert receive_frame(theirs) is None
