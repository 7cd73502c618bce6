"""An officer's desk: `kiteline` as a process of its own, on a terminal or not, against a node whose use cases are kept in memory."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crypto.engine import load_engine
from node.app.settings import FILE_NAME, dump
from node.rpc.certificates import TLSIdentity
from tests.node.app.settings_reference import complete
from tests.node.rpc.world import PROVIDER, World, member
from tests.support.keys import CLIENT, create_keys, open_tls

PASSPHRASE = b"for this test alone"
PROGRAM = [sys.executable, "-m", "node.cli.main"]
COMMAND_SECONDS = 60
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it printed. On a terminal that is one stream, with its escapes."""

    code: int
    out: str
    errors: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output; anything more or less fails."""
        document: dict[str, Any] = json.loads(self.out)
        assert self.out.count("\n") == 1
        return document

    @property
    def text(self) -> str:
        """What a person reads, colours left out."""
        return _ESCAPES.sub("", self.out)


def kiteline(*arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Finished:
    """Run the command with pipes, as a script does."""
    finished = subprocess.run(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        env=_environment(environment),
        cwd=cwd,
        check=False,
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def kiteline_on_a_terminal(
    *arguments: str,
    columns: int = 110,
    environment: Mapping[str, str] | None = None,
    json_to_a_pipe: bool = False,
    typed: str = "",
) -> Finished:
    """Run the command on a pseudo-terminal. `json_to_a_pipe`: standard output alone is caught apart, as with `> file`; `typed`: what
    waits in the keyboard's buffer for a question.
    """
    master, slave = pty.openpty()
    os.write(master, typed.encode())
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=slave,
        stdout=subprocess.PIPE if json_to_a_pipe else slave,
        stderr=slave,
        env=_environment({"TERM": "xterm-256color"} | dict(environment or {})),
    )
    os.close(slave)
    shown = bytearray()
    reader = threading.Thread(target=_read, args=(master, shown))
    reader.start()
    try:
        out, _ = process.communicate(timeout=COMMAND_SECONDS)
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(master)
    text = shown.decode().replace("\r\n", "\n")
    return Finished(process.returncode, out.decode(), text) if json_to_a_pipe else Finished(process.returncode, text)


@dataclass(frozen=True)
class Desk:
    """The node's world, and the configuration that leads to it."""

    world: World
    config: Path

    async def run(self, *arguments: str) -> Finished:
        """Run a command for this department, as a script does."""
        return await asyncio.to_thread(kiteline, *arguments, environment=self._environment)

    async def run_on_a_terminal(
        self, *arguments: str, columns: int = 110, json_to_a_pipe: bool = False, typed: str = ""
    ) -> Finished:
        """Run a command for this department, as a person does."""
        return await asyncio.to_thread(
            kiteline_on_a_terminal,
            *arguments,
            columns=columns,
            json_to_a_pipe=json_to_a_pipe,
            typed=typed,
            environment=self._environment,
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {"KITELINE_CONFIG": str(self.config), "KITELINE_PASSPHRASE": PASSPHRASE.decode()}


def furnish(home: Path) -> None:
    """Make the keys of a department, and nothing that serves."""
    create_keys(home / "keys", PROVIDER, PASSPHRASE, os.urandom, load_engine(), lambda: time.time_ns() // 1_000_000)
    configure(home, "127.0.0.1:1")


def configure(home: Path, listen: str) -> Path:
    """Write the configuration of the department whose node serves there."""
    file = home / FILE_NAME
    file.write_text(dump(replace(complete(home), listen=listen), home), encoding="utf-8")
    return file


@asynccontextmanager
async def desk(home: Path) -> AsyncIterator[Desk]:
    """A node that serves under the keys of a furnished directory."""
    world = World()
    world.provider_tls, world.client_tls = _tls(home, "tls"), _tls(home, CLIENT)
    world.admit(member(PROVIDER, world.provider_tls))
    async with world.serving() as address:
        yield Desk(world, configure(home, address))


def _tls(home: Path, name: str) -> TLSIdentity:
    files = open_tls(home / "keys", name, PASSPHRASE)
    return TLSIdentity(files.certificate_pem, files.key_pem)


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    # What the machine's own user set must not colour what is tested.
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("KITELINE_", "NO_COLOR", "COLUMNS"))
    }
    return kept | dict(more or {})


def _read(master: int, shown: bytearray) -> None:
    """Read a terminal until its last writer is gone, which Linux tells as an error."""
    try:
        while data := os.read(master, 65_536):
            shown += data
    except OSError:
        return
