"""A node with a key agent does everything that another does, and its memory has none of the keys, old or new; the agent's has them."""

from __future__ import annotations

import os
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from crypto.engine import load_engine
from crypto.sm2 import SM2PrivateKey
from node.keys.material import AccountKey, Means, read
from node.keys.store import read_manifest
from node.model.keys import Kind
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium, MemberPlan
from scripts.processes import Child, free_port
from tests.support.peer_client import until

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

READY_SECONDS = 60
AGENT_KINDS = (Kind.SIGNING, Kind.ENCRYPTION, Kind.ACCOUNT)
PASSPHRASE = b"the agent's own"
CHUNK = 8 << 20  # bytes
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(.*)")


class AgentConsortium(LocalConsortium):
    """Whose second member's node has an agent."""

    agent: Child | None = None

    @property
    def agent_keys(self) -> Path:
        """The agent's store."""
        return self.directory / "agent" / "keys"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / "agent" / "s"

    def start_agent(self) -> Child:
        """Start it, or start it again."""
        command = self._command("keys", "agent", "serve", str(self.agent_keys), "--socket", str(self.socket))
        agent = Child("agent", command, self.directory / "agent.log", self._agent_environment())
        agent.wait_until(self.socket.exists, READY_SECONDS)
        self.agent = agent
        return agent

    def stop(self) -> None:
        """The node first, which has something to sign until its end."""
        super().stop()
        if self.agent is not None:
            self.agent.stop()

    def _agent_environment(self) -> dict[str, str]:
        return {"KITELINE_PASSPHRASE_FILE": str(self.directory / "agent" / "passphrase")}

    def _initialise(self, member: MemberPlan) -> None:
        if member is not HEALTH:
            super()._initialise(member)
            return
        (self.directory / "agent").mkdir(mode=0o700)
        secret = self.directory / "agent" / "passphrase"
        secret.touch(mode=0o600)
        secret.write_bytes(PASSPHRASE)
        create = self._command("keys", "agent", "create", str(self.agent_keys), "--member-id", member.member_id)
        subprocess.run(
            create,
            check=True,
            timeout=READY_SECONDS,
            stdout=subprocess.DEVNULL,
            env=os.environ | self._agent_environment(),
        )
        self.start_agent()
        port = self._ports.setdefault(member.slug, free_port())
        arguments = {
            "--member-id": member.member_id,
            "--name": member.name,
            "--roles": member.roles,
            "--listen": f"127.0.0.1:{port}",
            "--network": str(self.directory / "network.toml"),
            "--contracts": str(self.directory / "contracts.toml"),
            "--key-agent": str(self.socket),
        }
        self.kiteline(None, "init", str(self.home(member)), *[word for pair in arguments.items() for word in pair])


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentConsortium]:
    """A consortium of two, whose second has an agent and waits for nobody for long."""
    with AgentConsortium(tmp_path_factory.mktemp("agent"), [CIVIL_AFFAIRS, HEALTH]) as started:
        assert started.nodes[HEALTH.slug].stop() == 0
        configuration = tomllib.loads(started.config(HEALTH).read_text(encoding="utf-8"))
        configuration["keys"] |= {"settle_seconds": 1}
        started.config(HEALTH).write_text(tomli_w.dumps(configuration), encoding="utf-8")
        started.start_node(HEALTH)
        yield started


def _scalars(keys: Path) -> dict[str, int]:
    """Every private value that an agent's store has, by the key's name."""
    means = Means(load_engine(), PASSPHRASE, os.urandom, lambda: time.time_ns() // 1_000_000)
    found = {}
    for one in read_manifest(keys).keys:
        held = read(keys, one.kind, one.number, means)
        assert isinstance(held, SM2PrivateKey | AccountKey)
        found[f"{one.kind} {one.number}"] = (
            held._scalar if isinstance(held, SM2PrivateKey) else int.from_bytes(held.secret)
        )
    return found


def _forms(scalar: int) -> list[bytes]:
    """How it could lie in memory: big-endian, little-endian (OpenSSL's), hex, and the 30-bit digits of an integer of CPython."""
    digits = b"".join(((scalar >> shift) & 0x3FFF_FFFF).to_bytes(4, "little") for shift in range(0, 240, 30))
    text = f"{scalar:064x}".encode()
    return [scalar.to_bytes(32, "big"), scalar.to_bytes(32, "little"), text, text.upper(), digits]


def _in_memory(pid: int, scalars: dict[str, int]) -> tuple[set[str], int]:
    """Which of the private values are in a process's memory, and how many bytes were read."""
    needles = [(name, form) for name, scalar in scalars.items() for form in _forms(scalar)]
    found: set[str] = set()
    scanned = 0
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except PermissionError:
        pytest.skip("this machine does not permit one to read the memory of another process")
    try:
        for mapping in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            parts = _MAPPING.fullmatch(mapping)
            if parts is None or parts[3] in {"[vvar]", "[vsyscall]", "[vvar_vclock]"}:
                continue
            at, end, tail = int(parts[1], 16), int(parts[2], 16), b""
            while at < end:
                try:
                    chunk = os.pread(memory, min(CHUNK, end - at), at)
                except OSError:
                    # Unmapped meanwhile, or beyond the end of a file that is mapped with room to grow.
                    break
                if not chunk:
                    break
                window = tail + chunk
                found |= {name for name, form in needles if form in window}
                scanned, at, tail = scanned + len(chunk), at + len(chunk), chunk[-64:]
    finally:
        os.close(memory)
    return found, scanned


def test_a_node_with_an_agent_exchanges_and_rotates_and_its_memory_has_no_key(
    consortium: AgentConsortium, tmp_path: Path
) -> None:
    source = tmp_path / "villages.csv"
    source.write_text("code,name\nV1,Village 1\nV2,Village 2\n", encoding="utf-8")
    published = consortium.kiteline(CIVIL_AFFAIRS, "publish", str(source), "--dataset", "villages", "--key", "code")
    asked = consortium.kiteline(HEALTH, "request", published["dataset"], "--purpose", "to test", "--quota", "1000")
    grant = str(asked["grant"])
    until(lambda: any(one["grant"] == grant for one in consortium.kiteline(CIVIL_AFFAIRS, "grants")["grants"]))
    consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
    assert "Village 1" in str(consortium.kiteline(HEALTH, "query", grant, "V1"))
    assert consortium.agent is not None
    for kind in AGENT_KINDS:
        assert consortium.kiteline(HEALTH, "keys", "rotate", kind.value)["step"] == "active"
        assert "Village 2" in str(consortium.kiteline(HEALTH, "query", grant, "V2"))
    assert {one.kind for one in read_manifest(consortium.home(HEALTH) / "keys").keys} == {Kind.TLS, Kind.AT_REST}
    listed = consortium.kiteline(HEALTH, "keys", "list")["keys"]
    active = {(one["kind"], one["number"]) for one in listed if one["state"] == "active"}
    assert active == {(kind.value, 2 if kind in AGENT_KINDS else 1) for kind in Kind}
    scalars = _scalars(consortium.agent_keys)
    assert set(scalars) == {f"{kind} {number}" for kind in AGENT_KINDS for number in (1, 2)}
    in_agent, _ = _in_memory(consortium.agent.pid, scalars)
    assert in_agent == set(scalars), "the scan finds keys where they are"
    in_node, scanned = _in_memory(consortium.nodes[HEALTH.slug].pid, scalars)
    assert scanned > 50 << 20, "the node's memory was not read"
    assert in_node == set()


def test_a_node_goes_on_when_its_agent_is_back_after_a_kill(consortium: AgentConsortium) -> None:
    agent = consortium.agent
    assert agent is not None
    agent.kill()
    with pytest.raises(CommandFailed) as refused:
        consortium.kiteline(HEALTH, "keys", "rotate", "signing", "--drill")
    assert refused.value.reason == "KEY_AGENT_UNAVAILABLE"
    consortium.socket.unlink()  # whose being there again says that the next one listens
    consortium.start_agent()
    assert consortium.kiteline(HEALTH, "keys", "rotate", "signing", "--drill")["step"] == "undone"
