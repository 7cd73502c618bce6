"""Processes of an engine: secrets reach them through pipes, their end is told, and none stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crypto.errors import KeyInvalid
from node.chain.account import read_account, read_address
from node.chain.network import FeeRule, FinalityRule, HeaderRule, Network
from node.engine.description import EngineDescription, ValidatorList
from node.engine.founding import (
    HOMES,
    SECONDS_TO_MEET,
    TREASURY,
    Ports,
    bft_extra_data,
    founded,
    one_line,
    open_validators,
)
from node.engine.keys import KEY_FILES, KeyKind, secret_text
from node.engine.plans import Plan, count_processes, least_height, plan_process, plan_validators
from node.engine.running import Ended, RunningNetwork
from node.errors import ChainProgramFailed, ChainProgramUnavailable, ConfigurationInvalid
from scripts.processes import free_port
from tests.node.cli.desk import PASSPHRASE

PYTHON = Path(sys.executable)
WAIT_SECONDS = 30.0
SECRET = PASSPHRASE.decode()
NETWORK = Network(
    "test", 7, ("http://127.0.0.1:1",), FinalityRule.EVERY_BLOCK, FeeRule.ZERO, HeaderRule.NONE, poll_seconds=0.1
)
SLEEPER = "import signal; signal.pause()"
READER = "import sys; print([open(name).read() for name in sys.argv[1:]], flush=True); import signal; signal.pause()"
READER_OF_BYTES = """
import signal, sys
print(*[open(name, 'rb').read().hex() for name in sys.argv[1:4]], sys.argv[4], flush=True)
signal.pause()
"""
# A parent that is killed: it starts one process and says which.
PARENT = f"""
import signal, subprocess, sys
from node.engine.children import spawn
child = spawn([sys.executable, "-c", "{SLEEPER}"], output=subprocess.DEVNULL)
print(child.pid, flush=True)
signal.pause()
"""


def engine(folder: Path, *arguments: str, validators: int = 2) -> EngineDescription:
    """An engine that is a Python program, with a template of everything."""
    text = "${chain_id} ${peer_port} ${validator_accounts} ${peers}"
    (folder / "all.txt").write_text(text, encoding="ascii")
    (folder / "genesis.txt").write_text("${start_time}", encoding="ascii")
    return EngineDescription(folder, 7, PYTHON.name, arguments, validators, ("all.txt", "genesis.txt"))


def plans(
    description: EngineDescription, state: Path, count: int = 2, secret: str = SECRET, now: float = 1_000.0
) -> list[Plan]:
    """The validators of a state directory."""
    return plan_validators(
        description, PYTHON, state, count, secret, Ports(8_000, 9_000), random=os.urandom, clock=lambda: now
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """An empty state directory."""
    directory = tmp_path / "state"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


def test_every_validator_knows_all_accounts_in_order_and_the_others_as_peers(tmp_path: Path, state: Path) -> None:
    description = engine(tmp_path)
    plans(description, state, 3)
    validators = open_validators(description, state / HOMES, SECRET, Ports(8_000, 9_000))
    accounts = "".join(sorted(one.account[2:].lower() for one in validators))
    for one in validators:
        chain_id, port, found, *peers = (one.home / "all.txt").read_text(encoding="ascii").split()
        assert (chain_id, port, found) == ("7", str(8_999 + one.number), accounts)
        others = [other for other in validators if other.number != one.number]
        assert [peer.strip('[],"') for peer in peers] == [other.enode for other in others]
        assert one.secrets[KeyKind.PEER].hex() not in repr(one)
    assert len({one.enode for one in validators}) == 3


def test_a_validator_whose_node_key_seals_has_no_other_key_and_is_known_by_it(tmp_path: Path, state: Path) -> None:
    description = replace(engine(tmp_path), node_key_seals=True, keys=frozenset({KeyKind.PEER}))
    found = [plan.values["account"] for plan in plans(description, state)]
    homes = [state / HOMES / str(number) for number in (1, 2)]
    assert found == [read_account(home / KEY_FILES[KeyKind.PEER], SECRET).address for home in homes]
    assert not any((home / KEY_FILES[KeyKind.ACCOUNT]).exists() for home in homes)


def test_the_extra_data_of_a_bft_genesis_is_that_of_besu() -> None:
    """The example of Besu's documentation (QBFT, extra data), whose accounts stand in ascending order here."""
    accounts = [
        "0x06e23768a0f59cf365e18c2e0c89e151bcdedc70",
        "0x4592c8e45706cc08b8f44b11e43cba0cfc5892cb",
        "0xab5e7f4061c605820d3744227eed91ff8e2c8908",
        "0xc5327f96ee02d7bcbc1bf1236b8c15148971e1de",
    ]
    listed = "".join(f"94{account.removeprefix('0x')}" for account in accounts)
    assert bft_extra_data(accounts[::-1]) == f"f87aa0{'0' * 64}f854{listed}c080c0"


def test_the_keys_are_the_same_at_the_next_start_and_open_with_their_passphrase_alone(
    tmp_path: Path, state: Path
) -> None:
    description = engine(tmp_path)
    first = plans(description, state)
    again = plans(description, state, now=9_000.0)
    for name in ("1", "2"):
        genesis = (state / HOMES / name / "genesis.txt").read_text(encoding="ascii")
        assert genesis == str(1_000 + 2 * SECONDS_TO_MEET)
    assert [plan.values for plan in first] == [plan.values for plan in again]
    assert founded(state) == 2
    home = state / HOMES / "1"
    for path in (home / KEY_FILES[KeyKind.ACCOUNT], home / KEY_FILES[KeyKind.PEER]):
        assert path.stat().st_mode & 0o077 == 0
        assert read_account(path, SECRET).key.hex() not in path.read_text(encoding="ascii")
    with pytest.raises(KeyInvalid):
        plans(description, state, secret="another")


def test_a_directory_keeps_its_number_of_validators(tmp_path: Path, state: Path) -> None:
    description = engine(tmp_path, validators=3)
    assert count_processes(description, state, None) == 3
    assert count_processes(description, state, 2) == 2
    plans(description, state)
    assert count_processes(description, state, None) == 2
    with pytest.raises(ConfigurationInvalid, match="does not get ready with fewer than 2 validators"):
        count_processes(replace(description, fewest=2), tmp_path / "another", 1)
    with pytest.raises(ConfigurationInvalid, match="was made for 2 validators"):
        count_processes(description, state, 4)
    with pytest.raises(ConfigurationInvalid, match="is one process"):
        count_processes(engine(tmp_path, validators=0), state, 2)


def test_a_first_start_that_is_cut_short_leaves_no_validators(tmp_path: Path, state: Path) -> None:
    description = engine(tmp_path)
    drawn = iter([os.urandom(32), os.urandom(32), os.urandom(32)])

    def failing(size: int) -> bytes:
        found = next(drawn, None)
        if found is None:
            raise KeyboardInterrupt
        return found[:size]

    with pytest.raises(KeyboardInterrupt):
        plan_validators(description, PYTHON, state, 2, SECRET, Ports(1, 1), random=failing, clock=lambda: 1_000.0)
    assert founded(state) == 0
    plans(description, state)
    assert founded(state) == 2


def test_a_genesis_that_the_engine_refuses_is_told_with_what_it_printed(tmp_path: Path, state: Path) -> None:
    description = engine(tmp_path)
    refusing = replace(description, prepare=("-c", "raise SystemExit('no such genesis')"))
    with pytest.raises(ChainProgramFailed, match=r"(?s)code 1:.*no such genesis"):
        plans(refusing, state)
    assert founded(state) == 0
    plans(description, state)


def test_a_process_reads_its_secrets_once_and_they_are_in_no_command_line(tmp_path: Path, state: Path) -> None:
    description = engine(tmp_path, "-c", READER, "{password_file}", "{node_key_file}")
    (plan, _) = plans(description, state)
    (validator, _) = open_validators(description, state / HOMES, SECRET, Ports(8_000, 9_000))
    with RunningNetwork(PYTHON, [plan], NETWORK) as running:
        ((_, process),) = running.processes
        assert plan.log is not None
        wait_until(lambda: plan.log is not None and plan.log.read_bytes().endswith(b"\n"))
        assert plan.log.read_text(encoding="ascii") == f"['{SECRET}', '{validator.secrets[KeyKind.PEER].hex()}']\n"
        arguments = Path(f"/proc/{process}/cmdline").read_text(encoding="ascii")
        assert SECRET not in arguments
        assert validator.secrets[KeyKind.PEER].hex() not in arguments
    assert not Path(f"/proc/{process}").exists()


def test_a_validator_has_the_keys_that_its_engine_wants_and_lists_name_the_others(tmp_path: Path, state: Path) -> None:
    (tmp_path / "all.txt").write_text("${ids}|${treasury}", encoding="ascii")
    description = EngineDescription(
        tmp_path,
        7,
        PYTHON.name,
        ("-c", READER_OF_BYTES, "{certificate_key_file}", "{bls_key_file}", "{certificate_file}", "{others}"),
        2,
        ("all.txt",),
        keys=frozenset({KeyKind.CERTIFICATE, KeyKind.BLS}),
        lists={
            "ids": ValidatorList(others=False, each="${node_id}"),
            "others": ValidatorList(others=True, each="${node_id}"),
        },
        treasury=True,
    )
    (plan, _) = plans(description, state)
    first, second = open_validators(description, state / HOMES, SECRET, Ports(8_000, 9_000))
    assert first.account == ""
    assert (first.home / "all.txt").read_text(encoding="ascii") == (
        f"{first.public['node_id']},{second.public['node_id']}|{treasury_of(state)[2:].lower()}"
    )
    assert plan.values["others"] == second.public["node_id"]
    assert sorted(path.name for path in first.home.rglob("*key*.json")) == ["bls-key.json", "certificate-key.json"]
    with RunningNetwork(PYTHON, [plan], NETWORK):
        wait_until(lambda: plan.log is not None and plan.log.read_bytes().endswith(b"\n"))
    assert plan.log is not None
    handed = [secret_text(kind, first.secrets[kind]) for kind in (KeyKind.CERTIFICATE, KeyKind.BLS)]
    assert plan.log.read_text(encoding="ascii").split()[:2] == [content.hex() for content in handed]
    for kind, secret in first.secrets.items():
        assert secret.hex() not in repr(first)
        for path in first.home.rglob("*"):
            content = path.read_bytes() if path.is_file() and path != plan.log else b""
            assert secret not in content
            assert secret.hex().encode() not in content
            assert secret_text(kind, secret) not in content


def treasury_of(state: Path) -> str:
    """The address of the treasury, which opens with the passphrase too."""
    file = state / HOMES / TREASURY
    assert read_account(file, SECRET).address == read_address(file)
    return read_address(file)


class Health(BaseHTTPRequestHandler):
    """A process that serves the chain, and says apart from that whether it is ready."""

    ready = False

    def do_POST(self) -> None:
        """Answer any JSON-RPC with the number of the chain."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": "0x7"}).encode())

    def do_GET(self) -> None:
        """Say whether it is ready."""
        self._send(200 if self.ready else 503, self.path.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
        """Print nothing."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)


def test_a_process_that_says_itself_when_it_is_ready_needs_no_block(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        description = replace(
            engine(tmp_path, "-c", SLEEPER, validators=0), rpc_path="/rpc", ready_path="/health", validators=0
        )
        plan = plan_process(description, tmp_path, server.server_port)
        assert plan.endpoint == f"http://127.0.0.1:{server.server_port}/rpc"
        with RunningNetwork(PYTHON, [plan], NETWORK) as running:
            with pytest.raises(ChainProgramFailed, match="was not ready within 1 s"):
                running.wait_until_ready(seconds=1)
            Health.ready = True
            running.wait_until_ready(seconds=WAIT_SECONDS)
        server.shutdown()


def test_blocks_tell_that_validators_are_ready_unless_they_say_so_themselves(tmp_path: Path) -> None:
    several = engine(tmp_path)
    assert least_height(several, 3) == 3
    assert least_height(replace(several, ready_path="/health"), 3) == 0
    assert least_height(engine(tmp_path, validators=0), 1) == 0


def test_the_end_of_one_is_told_and_the_end_of_the_last_is_a_failure(tmp_path: Path, state: Path) -> None:
    first, second = plans(engine(tmp_path, "-c", SLEEPER), state)
    told: list[Ended] = []
    with RunningNetwork(PYTHON, [first, second], NETWORK) as running:
        (_, one), (_, two) = running.processes
        os.kill(one, signal.SIGKILL)

        def end_the_other(ended: Ended) -> None:
            told.append(ended)
            os.kill(two, signal.SIGKILL)

        with pytest.raises(ChainProgramFailed, match="validator 2 ended with code -9"):
            running.wait(end_the_other)
    assert [(ended.plan.name, ended.code, ended.left) for ended in told] == [("validator 1", -signal.SIGKILL, 1)]


def test_a_process_that_ends_at_once_is_told_with_what_it_printed_and_the_others_are_stopped(
    tmp_path: Path, state: Path
) -> None:
    program = "import sys, signal; sys.exit('a port is taken') if sys.argv[1] == '8001' else signal.pause()"
    with (
        pytest.raises(ChainProgramFailed, match=r"(?s)validator 2 ended with code 1; .*a port is taken"),
        RunningNetwork(PYTHON, plans(engine(tmp_path, "-c", program, "{port}"), state), NETWORK) as running,
    ):
        ids = [process for _, process in running.processes]
        running.wait_until_ready()
    assert not any(Path(f"/proc/{process}").exists() for process in ids)


def test_each_validator_is_settled_beside_its_process(tmp_path: Path, state: Path) -> None:
    description = engine(tmp_path, "-c", SLEEPER)
    with RunningNetwork(PYTHON, plans(description, state), NETWORK) as running:
        running.settle(())
        running.settle(("-c", "import sys; open(sys.argv[1] + '/settled', 'x')", "{home}"))
        assert sorted(path.parent.name for path in state.glob("validators/*/settled")) == ["1", "2"]
        with pytest.raises(
            ChainProgramFailed, match=r"(?s)validator 1 could not be settled, code 1; .*nothing to attach to"
        ):
            running.settle(("-c", "raise SystemExit('nothing to attach to')"))


def test_a_network_that_serves_nothing_is_not_ready(tmp_path: Path) -> None:
    plan = plan_process(engine(tmp_path, "-c", SLEEPER, validators=0), tmp_path, free_port())
    with (
        pytest.raises(ChainProgramFailed, match="was not ready within 1 s"),
        RunningNetwork(PYTHON, [plan], NETWORK) as running,
    ):
        running.wait_until_ready(seconds=1)


def test_a_program_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engine").touch()
    plan = plan_process(engine(tmp_path, validators=0), tmp_path, 1)
    with (
        pytest.raises(ChainProgramUnavailable, match="cannot be run"),
        RunningNetwork(tmp_path / "engine", [plan], NETWORK),
    ):
        pass


def test_a_passphrase_of_several_lines_is_refused() -> None:
    assert one_line(b"a word") == "a word"
    for wrong in (b"two\nlines", b"two\r\nlines"):
        with pytest.raises(ConfigurationInvalid, match="several lines"):
            one_line(wrong)


def test_no_process_outlives_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([str(PYTHON), "-c", PARENT], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: _is_dead(child))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what is sure to come; fail if it does not."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_dead(process: int) -> bool:
    """Whether it only waits for whoever inherited it to take note (proc_pid_stat(5), state Z)."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
