"""A running network is known by its lock, answers on its socket, and is asked to end by its own process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.engine.control import LOCK, SOCKET, Answer, Control, ask, changing, end_network, running_in
from node.errors import ConfigurationInvalid, NetworkHeld, NetworkNotRunning, ValidatorUnknown

WAIT_SECONDS = 10.0
HOLDER = """
import signal, sys
from pathlib import Path
from node.engine.control import running_in
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with running_in(Path(sys.argv[1])):
    print("held", flush=True)
    signal.sigwait([signal.SIGTERM])
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the directory as `chain up` does."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def answers(request: str, number: int) -> Answer:
    """What the owner of this test's networks answers."""
    if number == 9:
        raise ValidatorUnknown("there is no validator 9")
    if number == 8:
        raise ZeroDivisionError
    return {"asked": request, "number": number}


def test_what_is_asked_is_answered_and_a_refusal_comes_back_as_it_was_raised(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)  # longer than the address of a socket may be
    deep.mkdir()
    with running_in(deep), Control(deep, lambda work: work(), answers):
        assert (deep / SOCKET).stat().st_mode & 0o077 == 0
        assert ask(deep, "restart", 2) == {"asked": "restart", "number": 2}
        with pytest.raises(ValidatorUnknown, match="there is no validator 9"):
            ask(deep, "end", 9)
        with pytest.raises(Exception, match="ZeroDivisionError") as caught:
            ask(deep, "end", 8)
        assert getattr(caught.value, "reason", "") == "INTERNAL"
        assert ask(deep, "describe") == {"asked": "describe", "number": 0}
    assert not (deep / SOCKET).exists()


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"ask": "stop"}\n',
        b'{"ask": "end", "number": true}\n',
        b'{"ask": ["end"]}\n',
        b"\xff\n",
        b"x" * 5_000 + b"\n",
    ],
    ids=["empty", "no ask", "list", "unknown", "truth", "list asked", "no text", "long"],
)
def test_what_is_not_understood_is_refused_and_ends_nothing(tmp_path: Path, line: bytes) -> None:
    refused: list[str] = []
    control = Control(tmp_path, lambda work: work(), answers, lambda refusal: refused.append(refusal.reason))
    with running_in(tmp_path), control:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_SECONDS)
            connection.connect(os.path.relpath(tmp_path / SOCKET))
            connection.sendall(line)
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline())
        assert [answer["error"]["reason"]] == refused == [ConfigurationInvalid.reason]
        assert ask(tmp_path, "describe")["asked"] == "describe"


def test_what_a_killed_command_left_behind_says_nothing(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).read_text(encoding="ascii") == f"{holder.pid}\n"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.path.relpath(tmp_path / SOCKET))
    for act in (lambda: ask(tmp_path, "describe"), lambda: end_network(tmp_path)):
        with pytest.raises(NetworkNotRunning, match="no `kiteline chain up` runs the network of"):
            act()
    with running_in(tmp_path), Control(tmp_path, lambda work: work(), answers):
        assert ask(tmp_path, "describe")["asked"] == "describe"


def test_a_directory_is_held_by_one_and_not_ready_is_not_running(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    assert holder.poll() is None
    with pytest.raises(NetworkHeld, match="another `kiteline chain up`"), running_in(tmp_path):
        pass
    with pytest.raises(NetworkNotRunning, match="is starting or ending"):
        ask(tmp_path, "describe")
    with (
        changing(tmp_path),
        pytest.raises(NetworkHeld, match="another command is changing the validators"),
        changing(tmp_path),
    ):
        pass


def test_the_network_that_runs_is_ended_and_waited_for(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    assert end_network(tmp_path) == holder.pid
    assert holder.wait() == 0
    with pytest.raises(NetworkNotRunning):
        end_network(tmp_path)
    for directory in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(NetworkNotRunning), changing(directory):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
