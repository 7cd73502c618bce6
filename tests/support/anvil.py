"""A real chain for tests: an anvil process on a free port, without fees, its state kept on disk.

The binary is the one that `npm ci` lays into `node_modules`, or one on PATH, or what KITELINE_ANVIL names; a test that
finds none is skipped and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGED = ROOT / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
CHAIN_ID = 31_337
DEADLINE_SECONDS = 20


def anvil_binary() -> Path:
    """Where anvil is; skips the asking test if it is nowhere."""
    for candidate in (os.environ.get("KITELINE_ANVIL"), str(PACKAGED), shutil.which("anvil")):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    pytest.skip("no anvil: run `npm ci`, or name one in KITELINE_ANVIL")


class Anvil:
    """A chain of one process. A context manager: started on entry, killed on exit.

    Attributes:
        url: JSON-RPC address; stays the same over restarts.
    """

    def __init__(
        self, directory: Path, *, chain_id: int = CHAIN_ID, base_fee: int = 0, arguments: tuple[str, ...] = ()
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.chain_id = chain_id
        self._state = directory / "anvil-state.json"
        self._base_fee = base_fee  # wei
        self._arguments = arguments
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._binary = anvil_binary()

    @property
    def url(self) -> str:
        """JSON-RPC address."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, on the port of the first start; returns when it listens."""
        command = [
            str(self._binary),
            *("--port", str(self._port), "--chain-id", str(self.chain_id), "--hardfork", "london"),
            *("--gas-price", str(self._base_fee), "--block-base-fee-per-gas", str(self._base_fee)),
            "--disable-min-priority-fee",
            *("--accounts", "1", "--threads", "1", "--state", str(self._state)),
            *("--preserve-historical-states", *self._arguments),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        watchdog = threading.Timer(DEADLINE_SECONDS, process.kill)
        watchdog.start()
        output = process.stdout
        if output is None:
            raise AssertionError("anvil was started without its output")
        said = ""
        for line in output:
            said += line
            if line.startswith("Listening on "):
                self._port = int(line.rsplit(":", 1)[1])
                break
        watchdog.cancel()
        if not said or "Listening on " not in said:
            process.wait()
            output.close()
            raise AssertionError(f"anvil did not start: {said}")
        threading.Thread(target=_drain, args=(process,), daemon=True).start()
        self._process = process

    def stop(self) -> None:
        """End it gently, so that its state is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, if it runs."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start again with the same state under the same address."""
        self.stop()
        self.start()

    def rpc(self, method: str, *parameters: object) -> Any:  # noqa: ANN401 (what JSON-RPC answers, as it is)
        """Ask directly. Raises AssertionError with the chain's own words if it refuses."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 (our own http address)
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 (likewise)
            document = json.load(answer)
        if "error" in document:
            raise AssertionError(f"{method}: {document['error']}")
        return document["result"]

    def mine(self, blocks: int = 1) -> None:
        """Add empty blocks."""
        self.rpc("anvil_mine", hex(blocks))

    def height(self) -> int:
        """Number of the newest block."""
        return int(self.rpc("eth_blockNumber"), 16)

    def _end(self, kind: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(kind)
        try:
            process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _drain(process: subprocess.Popen[str]) -> None:
    """Read what anvil prints until it ends, so that its pipe never fills."""
    with contextlib.suppress(ValueError):
        for _ in process.stdout or ():
            pass
    if process.stdout is not None:
        process.stdout.close()
