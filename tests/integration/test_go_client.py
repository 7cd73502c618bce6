"""A client that shares no code with Kiteline: in Go, from the proto files and docs/formats.md, with a Go library's SM2, SM3 and SM4.

It signs orders and receipts that a real node takes, and opens and verifies what that node sends. So that its checks are known to check,
it also meets a provider that lies: a relay that holds the provider's keys and signs for everything that it alters.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import pytest
from eth_hash.auto import keccak

from audit.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from crypto.engine import Engine, load_engine
from crypto.notes import parse_note, sign_note
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from crypto.wrap import unwrap_secrets, wrap_secrets
from kiteline.exchange.v1 import peer_pb2 as pb
from kiteline.exchange.v1.peer_pb2_grpc import PeerServiceServicer, PeerServiceStub, add_PeerServiceServicer_to_server
from node.model.lines import Range
from node.model.statements import Delivery, Order, parse_as
from node.rpc.certificates import TLSIdentity, to_der
from node.rpc.channels import credentials, options
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, CommandFailed, LocalConsortium
from tests.support.keys import NodeKeys, create_keys, open_keys

# The first build on a machine compiles gRPC: minutes, where later ones take seconds.
pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "clients" / "go"
BUILT = ROOT / ".kiteline" / "go"
BUILD_SECONDS = 600
KEY = "K0000001"


@dataclass(frozen=True)
class Outcome:
    """How a run of the client ended, and the document that it printed."""

    code: int
    document: dict[str, Any]


@dataclass(frozen=True)
class GoClient:
    """The built client, as the requester's program: `provider` is the admission file that it trusts."""

    program: Path
    consortium: LocalConsortium
    dataset: str

    def run(self, grant: str, *keys: str, provider: Path | None = None, root: str | None = None) -> Outcome:
        home = self.consortium.home(HEALTH)
        trusted = provider or self.consortium.home(CIVIL_AFFAIRS) / "admission.json"
        files = ["-own", str(home / "admission.json"), "-keys", str(home / "keys"), "-provider", str(trusted)]
        chained = root or _root_on_chain(self.consortium, self.dataset)
        asked = ["-dataset", "people", "-key-column", "0", "-grant", grant, "-root", chained, *keys]
        finished = subprocess.run(
            [str(self.program), *files, *asked],
            env={**os.environ, **self.consortium.environment},
            capture_output=True,
            timeout=90,
            check=False,
        )
        assert finished.stdout, finished.stderr.decode()
        return Outcome(finished.returncode, json.loads(finished.stdout))


@pytest.fixture(scope="session")
def program() -> Path:
    """The client, generated and built as its README says; that build also wants gofmt and go vet to be content."""
    if shutil.which("go") is None:
        pytest.skip("no `go` on the PATH to build the client with")
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs of the tests share the generated folder
        built = subprocess.run(
            [str(SOURCE / "build.sh"), str(BUILT)],
            env={**os.environ, "PROTOC": f"{sys.executable} -m grpc_tools.protoc"},
            capture_output=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    assert built.returncode == 0, (built.stdout + built.stderr).decode()
    return BUILT / "client"


@pytest.fixture(scope="session")
def client(program: Path, consortium: LocalConsortium, dataset: str) -> GoClient:
    return GoClient(program, consortium, dataset)


def _root_on_chain(consortium: LocalConsortium, dataset: str) -> str:
    """What the contract Catalogue says, asked of the chain and not of any node: the third word of `datasetOf`."""
    contracts = tomllib.loads((consortium.directory / "contracts.toml").read_text(encoding="utf-8"))
    call = {"to": contracts["catalogue"]["address"], "data": f"0x{keccak(b'datasetOf(bytes32)')[:4].hex()}{dataset}"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
    with closing(HTTPConnection("127.0.0.1", consortium.chain_port, timeout=30)) as chain:
        chain.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        words = bytes.fromhex(json.load(chain.getresponse())["result"][2:])
    return words[64:96].hex()


def _new_grant(consortium: LocalConsortium, dataset: str) -> str:
    grant = consortium.kiteline(HEALTH, "request", dataset, "--purpose", "a program of our own")["grant"]
    consortium.kiteline(CIVIL_AFFAIRS, "decide", grant, "--approve")
    return str(grant)


@pytest.fixture(scope="module")
def grant(consortium: LocalConsortium, dataset: str) -> str:
    """One grant for every run that is to fail."""
    return _new_grant(consortium, dataset)


def test_a_client_from_the_proto_files_alone_fetches_and_verifies_records(
    client: GoClient, consortium: LocalConsortium, dataset: str, source: Path
) -> None:
    """Also its signatures are taken: the provider has each receipt, chained to the one before, in its log."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = {row["no"]: row for row in csv.DictReader(file)}
    grant = _new_grant(consortium, dataset)
    keys = ["K0000001", "K0029999", "K0012345"]
    outcome = client.run(grant, *keys)
    assert outcome.code == 0, outcome.document
    found = outcome.document["records"]
    assert [one["record"] for one in found] == [list(rows[key].values()) for key in keys]
    assert [one["index"] for one in found] == [int(key[1:]) for key in keys]
    assert [one["sequence"] for one in found] == [1, 2, 3]
    assert {one["version_size"] for one in found} == {len(rows)}
    # What a program does with the node's keys and beside the node shows: one order, delivery and receipt a record.
    with pytest.raises(CommandFailed) as contradicted:
        consortium.kiteline(CIVIL_AFFAIRS, "trail", grant)
    trail = contradicted.value.document
    steps = [step for step in trail["steps"] if step["member"] == CIVIL_AFFAIRS.member_id]
    assert all(step["proven"] and step["outcome"] == "ok" for step in steps)
    assert [step["sequence"] for step in steps if step["event"] == "RECEIPT_RECEIVED"] == [1, 2, 3]
    assert len(trail["findings"]) == 3 * len(keys)
    assert all(finding["says"].startswith(CIVIL_AFFAIRS.member_id) for finding in trail["findings"])
    assert all("the other side has no" in finding["says"] for finding in trail["findings"])


@pytest.mark.parametrize(
    ("grant_id", "key", "reason"), [("00" * 32, KEY, "GRANT_UNKNOWN"), (None, "nobody", "RECORD_UNKNOWN")]
)
def test_a_refusal_reaches_the_client_by_its_reason(
    client: GoClient, grant: str, grant_id: str | None, key: str, reason: str
) -> None:
    outcome = client.run(grant_id or grant, key)
    assert (outcome.code, outcome.document["reason"]) == (1, reason)


@pytest.fixture(scope="module")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> NodeKeys:
    """Keys of somebody who took the provider's name."""
    directory = tmp_path_factory.mktemp("impostor") / "keys"
    return create_keys(
        directory, CIVIL_AFFAIRS.member_id, b"its own", os.urandom, load_engine(), lambda: time.time_ns() // 1_000_000
    )


def test_a_provider_with_another_signing_key_than_expected_is_found_out(
    client: GoClient, grant: str, tmp_path: Path, impostor: NodeKeys
) -> None:
    expected = impostor.signing_key.public_key.to_bytes().hex()
    outcome = client.run(grant, KEY, provider=_admission(client.consortium, tmp_path, signing_key=expected))
    assert (outcome.code, outcome.document["check"]) == (4, "delivery key")


def test_a_node_with_another_certificate_than_expected_is_told_nothing(
    client: GoClient, grant: str, tmp_path: Path, impostor: NodeKeys
) -> None:
    expected = to_der(impostor.tls_certificate_pem).hex()
    outcome = client.run(grant, KEY, provider=_admission(client.consortium, tmp_path, certificate=expected))
    assert outcome.code == 3
    assert "failed to verify certificate" in outcome.document["error"]


def test_a_root_that_the_chain_does_not_have_is_named(
    client: GoClient, consortium: LocalConsortium, dataset: str
) -> None:
    outcome = client.run(_new_grant(consortium, dataset), KEY, root="0" * 64)
    assert (outcome.code, outcome.document["check"]) == (4, "root")


def _admission(consortium: LocalConsortium, directory: Path, **changes: str) -> Path:
    """The provider's admission file with something changed."""
    document = json.loads((consortium.home(CIVIL_AFFAIRS) / "admission.json").read_text(encoding="utf-8"))
    path = directory / "changed.json"
    path.write_text(json.dumps(document | changes), encoding="utf-8")
    return path


@dataclass
class Told:
    """What a provider is about to answer, opened. A lie changes it; then everything is sealed and signed as if it were true."""

    answer: pb.Answer
    version: Checkpoint
    delivery: Delivery
    signer: SM2PrivateKey
    bound_to: bytes


def _another_record(told: Told) -> None:
    told.answer.record = b'["K0000001","Somebody Else",1]'


def _another_leaf(told: Told) -> None:
    _another_record(told)
    told.answer.leaf_hash = sm3(b"\0" + told.answer.salt + told.answer.record)


def _another_tree(told: Told) -> None:
    """A version of its own, of one record: it proves itself, and only the chain knows better."""
    _another_leaf(told)
    told.version = replace(told.version, size=1, root=told.answer.leaf_hash)
    del told.answer.proof.path[:]
    told.answer.proof.index, told.answer.proof.size = 0, 1
    told.delivery = replace(told.delivery, range=Range(0, 1))


def _another_path(told: Told) -> None:
    told.answer.proof.path[0] = sm3(b"elsewhere")


def _another_index(told: Told) -> None:
    told.delivery = replace(told.delivery, range=Range(7, 8))


def _another_dataset(told: Told) -> None:
    origin = told.version.origin.replace(told.delivery.dataset_id.hex(), "0" * 64)
    told.version = replace(told.version, origin=origin)


def _another_question(told: Told) -> None:
    """A genuine record under its own genuine proof, and not the one that was asked for (`_Liar.Query` asks for it)."""


def _another_number(told: Told) -> None:
    told.delivery = replace(told.delivery, sequence=2)


def _another_signer(told: Told) -> None:
    told.signer = SM2PrivateKey.generate(os.urandom)


def _another_order(told: Told) -> None:
    told.bound_to = sm3(b"an order of yesterday")


def _the_truth(told: Told) -> None:
    """Sealed and signed anew, and nothing else."""


@pytest.mark.parametrize(
    ("lie", "check"),
    [
        (_the_truth, None),
        (_another_record, "leaf"),
        (_another_leaf, "inclusion"),
        (_another_path, "inclusion"),
        (_another_index, "inclusion"),
        (_another_dataset, "version"),
        (_another_tree, "root"),
        (_another_question, "key"),
        (_another_number, "delivery"),
        (_another_signer, "delivery key"),
        (_another_order, "wrapped key"),
    ],
)
def test_a_provider_that_lies_under_its_own_signature_is_found_out(
    client: GoClient, grant: str, tmp_path: Path, lie: Callable[[Told], None], check: str | None
) -> None:
    with _liar(client.consortium, lie) as endpoint:
        liar = _admission(client.consortium, tmp_path, endpoint=endpoint)
        outcome = client.run(grant, KEY, provider=liar)
    assert (outcome.code, outcome.document.get("check")) == ((0, None) if check is None else (4, check)), (
        outcome.document
    )


class _Liar(PeerServiceServicer):
    """Answers queries with what the provider's node answered, altered, sealed anew and signed with the provider's key."""

    def __init__(self, node: PeerServiceStub, keys: Mapping[str, NodeKeys], lie: Callable[[Told], None]) -> None:
        self._node = node
        self._provider, self._requester = keys[CIVIL_AFFAIRS.slug], keys[HEALTH.slug]
        self._lie = lie
        self._engine: Engine = load_engine()

    def Query(self, request: pb.QueryRequest, context: object) -> pb.QueryResponse:  # noqa: N802 - as generated
        order = parse_as(Order, parse_note(request.order_note).text)
        asked = self._other_question(order, request) if self._lie is _another_question else request
        told = self._opened(self._node.Query(asked, timeout=60), sm3(asked.order_note))
        told.delivery, told.bound_to = replace(told.delivery, order_id=order.order_id), sm3(request.order_note)
        self._lie(told)
        return self._sealed(told)

    def SubmitReceipts(self, request: pb.SubmitReceiptsRequest, context: object) -> pb.SubmitReceiptsResponse:  # noqa: N802 - likewise
        """Takes them, and keeps from the node that it renumbered its delivery."""
        return pb.SubmitReceiptsResponse()

    def _other_question(self, order: Order, request: pb.QueryRequest) -> pb.QueryRequest:
        other = "K0000002"
        order = replace(order, order_id=os.urandom(16), key_digest=sm3(request.key_salt + other.encode()))
        note = sign_note(order.to_text(), order.requester_id, HeldKey(self._engine, self._requester.signing_key))
        return pb.QueryRequest(order_note=note, key=other, key_salt=request.key_salt)

    def _opened(self, response: pb.QueryResponse, bound_to: bytes) -> Told:
        key = unwrap_secrets(
            self._engine, HeldKey(self._engine, self._requester.encryption_key), bound_to, response.wrapped_secret
        )
        nonce, sealed = response.sealed_answer[1:13], response.sealed_answer[13:]
        plaintext = self._engine.sm4_gcm_open_many(key, nonce, Packed.of([bound_to]), Packed.of([sealed])).data
        version = parse_checkpoint(parse_note(response.version_note).text)
        delivery = parse_as(Delivery, parse_note(response.delivery_note).text)
        # The grant serves many runs, and each counts its deliveries from 1.
        delivery = replace(delivery, sequence=1)
        return Told(pb.Answer.FromString(plaintext), version, delivery, self._provider.signing_key, bound_to)

    def _sealed(self, told: Told) -> pb.QueryResponse:
        key, nonce = os.urandom(16), os.urandom(12)
        context, plaintext = Packed.of([told.bound_to]), Packed.of([told.answer.SerializeToString()])
        sealed_answer = b"\1" + nonce + self._engine.sm4_gcm_seal_many(key, nonce, context, plaintext).data
        recipient = self._requester.encryption_key.public_key
        wrapped = wrap_secrets(self._engine, os.urandom, recipient, told.bound_to, key)
        version_note = sign_checkpoint(told.version, HeldKey(self._engine, told.signer))
        delivery = replace(
            told.delivery,
            version_digest=sm3(version_note),
            answer_digest=sm3(sealed_answer),
            wrapped_digest=sm3(wrapped),
        )
        return pb.QueryResponse(
            delivery_note=sign_note(delivery.to_text(), delivery.provider_id, HeldKey(self._engine, told.signer)),
            sealed_answer=sealed_answer,
            wrapped_secret=wrapped,
            version_note=version_note,
        )


@contextmanager
def _liar(consortium: LocalConsortium, lie: Callable[[Told], None]) -> Iterator[str]:
    """Its address. It shows the provider's certificate to the client, and the requester's to the provider's node."""
    passphrase = (consortium.directory / "passphrase").read_bytes()
    keys = {
        member.slug: open_keys(consortium.home(member) / "keys", passphrase, load_engine())
        for member in (CIVIL_AFFAIRS, HEALTH)
    }
    provider, requester = keys[CIVIL_AFFAIRS.slug], keys[HEALTH.slug]
    certificate = provider.tls_certificate_pem
    own = TLSIdentity(requester.tls_certificate_pem, requester.tls_key_pem)
    with ExitStack() as opened:
        channel = grpc.secure_channel(
            f"127.0.0.1:{consortium.port(CIVIL_AFFAIRS)}",
            credentials(own, certificate),
            options=options(to_der(certificate)),
        )
        opened.callback(channel.close)
        server = grpc.server(opened.enter_context(ThreadPoolExecutor(2)))
        opened.callback(lambda: server.stop(0).wait())
        stub = PeerServiceStub(channel)
        add_PeerServiceServicer_to_server(_Liar(stub, keys, lie), server)
        shown = grpc.ssl_server_credentials([(provider.tls_key_pem, certificate)])
        port = server.add_secure_port("127.0.0.1:0", shown)
        server.start()
        yield f"127.0.0.1:{port}"
