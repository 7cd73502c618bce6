"""A member whose node reaches its chain through a proxy and is killed at known steps; and what the chain itself says of its anchors."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import tomli_w

from audit.checkpoint import Checkpoint, log_id, parse_checkpoint
from crypto.errors import Refusal
from crypto.notes import parse_note
from kiteline.exchange.v1 import department_pb2
from node.chain.deployment import load_deployment
from node.chain.endpoints import Endpoints
from node.chain.finality import final_head
from node.chain.interfaces import load_interfaces
from node.chain.json_rpc import hexadecimal, read_logs
from node.chain.network import Network, load_network
from node.exchange.context import audit_origin
from node.exchange.notes import note_digest
from node.rpc.certificates import TLSIdentity
from node.rpc.client import Client
from scripts.local_consortium import LocalConsortium, MemberPlan
from scripts.processes import Child, free_port
from tests.support.faulty_proxy import FaultyProxy, unwatched
from tests.support.keys import CLIENT, open_tls
from tests.support.peer_client import LogWatch, address, passphrase, shown, until

ON_DEMAND = 86_400  # seconds between anchors: only what a test asks for is anchored, and what a start finishes
STRACE = shutil.which("strace")
ATTACH_SECONDS = 20.0
DIE_SECONDS = 60.0


@dataclass(frozen=True)
class OnChain:
    """An anchor as the contract's event says it."""

    size: int
    root: bytes
    note_digest: bytes


class Victim:
    """A member's node behind a proxy. `network`: how a test reaches the same chain without it."""

    def __init__(self, consortium: LocalConsortium, plan: MemberPlan, proxy: FaultyProxy) -> None:
        self.plan = plan
        self.proxy = proxy
        self.home = consortium.home(plan)
        self.network: Network = load_network(consortium.directory / "network.toml")
        self._deployment = load_deployment(consortium.directory / "contracts.toml")
        self._consortium = consortium
        own = open_tls(self.home / "keys", CLIENT, passphrase(consortium))
        self._identity = TLSIdentity(own.certificate_pem, own.key_pem)
        self.node: Child | None = None

    def start(self) -> None:
        """Start the node, or start it again; returns when it serves."""
        self.node = self._consortium.start_node(self.plan)

    @property
    def process(self) -> Child:
        """The node's process."""
        if self.node is None:
            raise AssertionError("the node was never started")
        return self.node

    def client(self) -> Client:
        """Its department's own program. The caller closes it."""
        return Client(address(self._consortium, self.plan), shown(self._consortium, self.plan), self._identity)

    def anchor_now(self) -> None:
        """Have the node decide a head and anchor it. Raises what the node answers, NodeUnavailable if it dies."""
        with closing(self.client()) as client:
            client.department.AnchorNow(department_pb2.AnchorNowRequest())

    def decided(self) -> tuple[bytes, Checkpoint] | None:
        """The head that is on its way to the chain, as it lies on disk: digest and value."""
        path = self.home / "data" / "decided.head"
        if not path.exists():
            return None
        note = path.read_bytes()
        return note_digest(note), parse_checkpoint(parse_note(note).text)

    def logged(self) -> list[bytes]:
        """Digests of the heads that the log says were anchored, oldest first."""
        entries = LogWatch(self.home / "data").entries()
        found = [entry for entry in entries if entry.event == "CHECKPOINT_ANCHORED" and entry.refusal is None]
        return [note_digest(entry.note) for entry in found if entry.note is not None]

    def on_chain(self) -> list[OnChain]:
        """Every anchor of this member's log in final blocks, in the chain's order, asked of the chain and not of any index."""
        log, member = log_id(audit_origin(self.plan.member_id)), self.plan.member_id.encode()
        anchors = load_interfaces()["Anchors"]
        with closing(Endpoints(self.network, self._deployment)) as endpoints:
            head = final_head(self.network, endpoints)
            assert head is not None
            span = {"fromBlock": hex(self._deployment.block), "toBlock": hex(head.number)}
            asked = {"address": hexadecimal(self._deployment.address("Anchors")), **span}
            records = sorted(
                read_logs(endpoints.ask("eth_getLogs", asked)), key=lambda one: (one.block_number, one.log_index)
            )
        events = [event.values for record in records if (event := anchors.event(record)) is not None]
        return [OnChain(*values[2:5]) for values in events if values[0] == log and values[1].rstrip(b"\0") == member]

    def check(self) -> list[OnChain]:
        """Wait until what was decided is logged; then: sizes on the chain grow, none is there twice, and the log has the note of each once, in order."""
        decided = self.decided()
        until(lambda: decided is None or decided[0] in self.logged())
        anchors = self.on_chain()
        sizes = [anchor.size for anchor in anchors]
        assert sizes == sorted(set(sizes)), sizes
        assert [anchor.note_digest for anchor in anchors] == self.logged()
        if decided is not None:
            assert [anchor.note_digest for anchor in anchors if anchor.size == decided[1].size] == [decided[0]]
        return anchors

    def ends(self) -> int:
        """Wait until the process is gone; its return code."""
        deadline = time.monotonic() + DIE_SECONDS
        while self.process.running:
            assert time.monotonic() < deadline, "the node was to be killed and lives"
            time.sleep(0.01)
        return self.process.stop()


@contextmanager
def victim(consortium: LocalConsortium, plan: MemberPlan, founder: MemberPlan, **settings: object) -> Iterator[Victim]:
    """Admit a member whose node has the chain behind a proxy; at the end its node is gone.

    `settings`: of the section `chain` of its configuration; `poll_milliseconds` goes into its network file.
    """
    from tests.integration.conftest import initialise  # noqa: PLC0415 - that package imports this one

    consortium._ports.setdefault(plan.slug, free_port())
    initialise(consortium, plan, advertise=f"127.0.0.1:{consortium.port(plan)}")
    home = consortium.home(plan)
    consortium.kiteline(founder, "chain", "admit", str(home / "admission.json"))
    consortium.fund(plan)
    file = tomllib.loads((consortium.directory / "network.toml").read_text(encoding="utf-8"))
    with FaultyProxy(file["endpoints"][0], Random(plan.slug)) as proxy:
        file["endpoints"] = [proxy.url]
        file["poll"] |= {"interval_milliseconds": settings.pop("poll_milliseconds", 3_600_000)}
        file["poll"] |= {"timeout_milliseconds": settings.pop("timeout_milliseconds", 10_000)}
        (home / "network.toml").write_text(tomli_w.dumps(file), encoding="utf-8")
        configuration = tomllib.loads(consortium.config(plan).read_text(encoding="utf-8"))
        own = {"network_file": str(home / "network.toml"), "anchor_interval_seconds": ON_DEMAND}
        configuration["chain"] |= {**own, **settings}
        consortium.config(plan).write_text(tomli_w.dumps(configuration), encoding="utf-8")
        made = Victim(consortium, plan, proxy)
        try:
            yield made
        finally:
            consortium.nodes.pop(plan.slug, None)
            if made.node is not None:
                made.node.kill()  # a gentle stop would wait for one more anchor


@dataclass(frozen=True)
class WireStep:
    """The n-th request of a method after the decision was asked for, before it is forwarded or after it is answered. `telling`: what an answer must contain
    to be counted.
    """

    method: str
    number: int
    is_answered: bool
    telling: bytes = b""

    def __str__(self) -> str:
        return f"{'after' if self.is_answered else 'before'} {self.method} {self.number}"

    def is_met_by(self, method: str, answer: bytes | None) -> bool:
        """Whether a request at a moment is one that this step counts."""
        return (method, answer is not None) == (self.method, self.is_answered) and self.telling in (answer or b"")


@dataclass(frozen=True)
class DiskStep:
    """The n-th call of a kind that one thread makes on a file below the member's directory."""

    call: str
    path: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} {self.path} {self.number}"


Step = WireStep | DiskStep

# Where the node writes while it anchors. Ledger and index of the log are projections of it and not synced with every entry.
DATA = [f"data/{store}/data.mdb" for store in ("chain-journal", "chain-index", "log/epochs/0000")]
HEADS = ["audit.head", "data/decided.head"]
WRITTEN = [*DATA, *HEADS, *(f"{path}.partial" for path in HEADS), ".", "data"]
PAGES = "?pwrite64,?writev,?pwritev,?write"  # how many there are, and which of these, goes by the pages that changed; so the first is struck
SYNCS = ("fdatasync", "fsync", "rename", "renameat", "renameat2")


def every_step(node: Victim) -> list[Step]:
    """Every request and every write of one anchor, from the decision to the end, on a node that just started: recorded while nothing is struck."""
    wire: list[WireStep] = []

    def record(method: str, answer: bytes | None) -> None:
        number = sum(step.is_met_by(method, answer) for step in wire) + 1
        wire.append(WireStep(method, number, answer is not None))

    trace = node.home / "trace"
    node.proxy.watch = record
    try:
        with traced(node, trace, WRITTEN, "trace=" + ",".join([PAGES, *(f"?{call}" for call in SYNCS)])):
            node.anchor_now()
    finally:
        node.proxy.watch = unwatched
    return [*wire, *_written(node, trace.read_text(encoding="utf-8", errors="replace"))]


def _written(node: Victim, trace: str) -> list[DiskStep]:
    counts: Counter[tuple[str, str, str]] = Counter()
    steps = []
    for thread, call, rest in re.findall(r"^(\d+) +(\w+)\((.*)$", trace, re.MULTILINE):
        path = next(path for path in re.findall(r"""<(/[^>]*)>|"(/[^"]*)\"""", rest) if any(path))
        name = str(Path("".join(path)).relative_to(node.home))
        kind = call if call in SYNCS else PAGES
        counts[thread, kind, name] += 1
        if kind is not PAGES or counts[thread, kind, name] == 1:
            steps.append(DiskStep(kind, name, counts[thread, kind, name]))
    return steps


def strike(node: Victim, step: Step) -> None:
    """Ask for an anchor and kill the node at a step of it. Fails if the step does not come."""
    if isinstance(step, WireStep):
        with _killing_on_the_wire(node, step) as struck:
            _dies_anchoring(node)
        assert struck, f"never came: {step}"
    else:
        with traced(node, node.home / "trace", [step.path], f"inject={step.call}:signal=KILL:when={step.number}"):
            _dies_anchoring(node)


def _dies_anchoring(node: Victim) -> None:
    with suppress(Refusal):
        node.anchor_now()
        raise AssertionError("the anchor came to its end, and the node was to be killed in it")
    assert node.ends() == -signal.SIGKILL, node.process.log_end()


@contextmanager
def _killing_on_the_wire(node: Victim, step: WireStep) -> Iterator[list[str]]:
    struck: list[str] = []
    seen = [0]
    pid = node.process.pid

    def kill(method: str, answer: bytes | None) -> None:
        seen[0] += step.is_met_by(method, answer)
        if seen[0] == step.number and not struck:
            struck.append(method)
            os.kill(pid, signal.SIGKILL)

    node.proxy.watch = kill
    try:
        yield struck
    finally:
        node.proxy.watch = unwatched


@contextmanager
def traced(node: Victim, trace: Path, paths: list[str], *expressions: str) -> Iterator[None]:
    """Trace, by strace, the running node's calls on some of its files, from here to the end of the block."""
    on = [argument for path in paths for argument in ("-P", str(node.home / path))]
    more = [argument for expression in expressions for argument in ("-e", expression)]
    command = [str(STRACE), "-f", "-y", "-o", str(trace), *on, *more, "-p", str(node.process.pid)]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = tracer.stderr
        assert said is not None
        attached = said.readline()
        assert "attached" in attached, attached
        yield
    finally:
        # It ends with the last thread of the node; told to detach in the midst of that, it waits for ever.
        if node.process.running:
            tracer.terminate()
        try:
            tracer.communicate(timeout=ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.communicate()
            raise
