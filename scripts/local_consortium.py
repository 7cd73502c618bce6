"""A whole consortium on one machine: a chain, its contracts, and a node process a member.

The demo, the benchmarks and the integration tests run on it. It uses the `kiteline` command, as an operator would;
what it prepares stays in its directory and can be looked at afterwards.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from node.engine.description import load_engine
from node.engine.program import build_program, find_program
from scripts.processes import Child, ProcessFailed, accepts, free_port, free_ports

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ROOT / "network_configs"
NETWORK = NETWORKS / "embedded" / "network.toml"
READY_SECONDS = 60.0
CHAIN_SECONDS = 150.0  # several validators make keys and meet first
MAX_PROCESSES = 16  # of a chain: so many ports are kept for each of its two kinds
PACKAGES_SHOWN = 50  # of some hundreds, one line


@dataclass(frozen=True)
class MemberPlan:
    """A member to be admitted. `roles`: department, authority, auditor, comma-separated."""

    slug: str
    name: str
    member_id: str
    roles: str


# Codes of the form of GB 32100 for Weifang (370700), with right check characters; the organisation's part is made up.
CIVIL_AFFAIRS = MemberPlan(
    "civil-affairs", "Weifang Civil Affairs Bureau", "11370700004258746X", "department,authority"
)
HEALTH = MemberPlan("health", "Weifang Health Commission", "113707000042591160", "department")
AUDIT = MemberPlan("audit", "Weifang Audit Bureau", "113707000042596348", "auditor")


class CommandFailed(RuntimeError):
    """A `kiteline` command ended with another code than 0; carries the code and the printed document."""

    def __init__(self, command: Sequence[str], code: int, document: dict[str, Any], errors: str) -> None:
        super().__init__(f"kiteline {' '.join(command)} ended with {code}: {document or errors}")
        self.code = code
        self.document = document

    @property
    def reason(self) -> str:
        """The stable reason, or nothing."""
        return str(self.document.get("error", {}).get("reason", ""))


class LocalConsortium:
    """Chain and nodes in one directory; a context manager that leaves nothing running.

    Args:
        directory: where everything lies; made if absent.
        members: who is admitted; the first one founds the consortium.
        environment: what every process gets besides.
        say: told what is being done.
        network: the network file that the chain is started from.
    """

    def __init__(
        self,
        directory: Path,
        members: Sequence[MemberPlan],
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda _: None,
        network: Path = NETWORK,
    ) -> None:
        self.directory = directory
        self.network = network
        self.members = list(members)
        self._say = say
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        passphrase_file = directory / "passphrase"
        passphrase_file.touch(mode=0o600)
        passphrase_file.write_text(secrets.token_urlsafe(24), encoding="ascii")
        self.environment = {"KITELINE_PASSPHRASE_FILE": str(passphrase_file), **(environment or {})}
        self.chain_port = 0
        self.chain: Child | None = None
        self.chain_processes: list[dict[str, Any]] = []  # as `chain up` names them: name, pid, endpoint, log
        self.treasury: str | None = None  # keystore of the account with the chain's money, where there is any
        self.nodes: dict[str, Child] = {}
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring everything up from nothing: chain, keys, money, contracts, admissions, nodes."""
        self.start_chain()
        for member in self.members:
            self._say(f"keys and configuration of {member.name}")
            self._initialise(member)
        self.fund(*self.members)
        founder, *others = self.members
        self._say("contracts")
        self.kiteline(founder, "chain", "deploy", "--founder", str(self._admission(founder)))
        for member in others:
            self._say(f"admission of {member.name}")
            self.kiteline(founder, "chain", "admit", str(self._admission(member)))
        for member in self.members:
            self._say(f"node of {member.name}")
            self.start_node(member)

    def start_chain(self) -> None:
        """Start the chain, or start it again on the state that it left on disk."""
        self._build()
        self.chain_port = self.chain_port or free_ports(2 * MAX_PROCESSES)
        home = self.directory / "chain"
        home.mkdir(exist_ok=True)
        log = self.directory / "chain.log"
        written = log.stat().st_size if log.exists() else 0
        ports = ["--port", str(self.chain_port), "--peer-port", str(self.chain_port + MAX_PROCESSES)]
        command = self._command("chain", "up", "--network", str(self.network), "--state", str(home), *ports, "--json")
        self.chain = Child("chain", command, log, self.environment)
        self.chain.wait_until(lambda: _document(log, written) is not None, CHAIN_SECONDS)
        document = _document(log, written) or {}
        self.chain_processes = document["processes"]
        self.treasury = document["treasury"]
        network = self.directory / "network.toml"
        if not network.exists():
            network.write_bytes(Path(document["network_file"]).read_bytes())

    def start_node(self, member: MemberPlan) -> Child:
        """Start a member's node, or start it again."""
        node = Child(
            member.slug,
            self._command("serve", "--config", str(self.config(member))),
            self.directory / f"{member.slug}.log",
            self.environment,
        )
        self.nodes[member.slug] = node
        node.wait_until(lambda: accepts(self._ports[member.slug]), READY_SECONDS)
        return node

    def stop(self) -> None:
        """Stop every process: nodes first, then the chain."""
        for node in self.nodes.values():
            node.stop()
        if self.chain is not None:
            self.chain.stop()

    def home(self, member: MemberPlan) -> Path:
        """The directory of a member's node."""
        return self.directory / member.slug

    def config(self, member: MemberPlan) -> Path:
        """Its configuration file."""
        return self.home(member) / "kiteline.toml"

    def port(self, member: MemberPlan) -> int:
        """The port that its node listens on."""
        return self._ports[member.slug]

    def log(self, member: MemberPlan) -> Path:
        """What its node printed."""
        return self.directory / f"{member.slug}.log"

    def kiteline(self, member: MemberPlan | None, *arguments: str, show: bool = False, seconds: float = 1_800) -> Any:  # noqa: ANN401 - a JSON document
        """Run a `kiteline` command for a member with --json; gives the document. `show` lets its progress through."""
        extra = ["--config", str(self.config(member))] if member is not None else []
        command = self._command(*arguments, *extra, "--json")
        finished = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            env={**os.environ, **self.environment},
            timeout=seconds,
            check=False,
        )
        text = finished.stdout.decode()
        try:
            document = json.loads(text) if text.strip() else {}
        except json.JSONDecodeError as cause:
            raise ProcessFailed(f"kiteline {arguments[0]} printed no JSON document: {text[:200]}") from cause
        if finished.returncode != 0:
            raise CommandFailed(arguments, finished.returncode, document, (finished.stderr or b"").decode())
        return document

    def _build(self) -> None:
        """Build the chain's program where it is missing, as `chain up` would, but so that it can be seen for minutes."""
        engine = load_engine(self.network)
        if find_program(engine) is None:
            self._say(f"{engine.program} is not here: it is built once, which takes minutes")
            build_program(engine, compiled=self._compiled)

    def _compiled(self, count: int) -> None:
        if count % PACKAGES_SHOWN == 0:
            self._say(f"{count} packages compiled")

    def _initialise(self, member: MemberPlan) -> None:
        port = self._ports.setdefault(member.slug, free_port())
        self.kiteline(
            None,
            "init",
            str(self.home(member)),
            "--member-id",
            member.member_id,
            "--name",
            member.name,
            "--roles",
            member.roles,
            "--listen",
            f"127.0.0.1:{port}",
            "--network",
            str(self.directory / "network.toml"),
            "--contracts",
            str(self.directory / "contracts.toml"),
        )

    def fund(self, *members: MemberPlan) -> None:
        """Give members' accounts money, where transactions are paid for."""
        if self.treasury is None:
            return
        self._say("money for the members' accounts")
        files = [str(self._admission(member)) for member in members]
        source = ["--treasury", self.treasury, "--network", str(self.directory / "network.toml")]
        self.kiteline(None, "chain", "fund", *files, *source)

    def _admission(self, member: MemberPlan) -> Path:
        return self.home(member) / "admission.json"

    @staticmethod
    def _command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "node.cli.main", *arguments]


def _document(log: Path, start: int) -> dict[str, Any] | None:
    """What a command printed with --json into its log from this byte on; None while there is no whole line of it."""
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line for line in text.split("\n")[:-1] if line.startswith("{")]
    document: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return document if document and "processes" in document else None
