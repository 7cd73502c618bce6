"""A disk that is full under a running node: one reason, nothing half-written, and once there is space it goes on by itself.

The member's directory is a file system of its own, and a file in it takes the space. Where none can be mounted, these tests
say so and are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from audit.environment import mapped
from audit.errors import DiskFull, StoreDamaged
from crypto.packed import Packed
from kiteline.exchange.v1 import department_pb2
from node.exchange.notes import read_as
from node.formats import open_source
from node.model.statements import Delivery
from scripts.local_consortium import CIVIL_AFFAIRS, HEALTH, LocalConsortium
from tests.integration.conftest import ARCHIVES, MUSEUM, ROWS, Archives
from tests.support.commands import run
from tests.support.mounts import fill, mount, unmount
from tests.support.peer_client import DOMAIN, LogWatch, Side, WireRefusal, agree, peer, until

pytestmark = pytest.mark.process

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def cramped(archives_serving: Archives, archive: Side) -> Archives:
    """A member whose directory can be filled, with its node running."""
    if not archives_serving.mounted:
        pytest.skip("no file system can be mounted here, so no disk can be full")
    return archives_serving


@pytest.fixture
def spare(cramped: Archives) -> Iterator[Path]:
    """Where the ballast lies; gone afterwards."""
    path = cramped.home / "ballast"
    yield path
    path.unlink(missing_ok=True)


def _describe(archive: Side, name: str) -> bytes:
    described = archive.client.department.DescribeDataset(
        department_pb2.DescribeDatasetRequest(
            name=name,
            title=name,
            fields=[department_pb2.Field(name=field) for field in ("no", "name", "age")],
            key_field="no",
            level=1,
            sharing_type=department_pb2.SHARING_TYPE_CONDITIONAL,
        )
    )
    return bytes(described.dataset_id)


def _count(archive: Side, name: str) -> int:
    asked = department_pb2.ListCatalogueRequest(contains=name)
    [entry] = archive.client.department.ListCatalogue(asked).entries
    return int(entry.dataset.record_count)


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "left_bytes", [0, MEGABYTE, 60 * MEGABYTE], ids=["nothing", "less than it takes", "too little to go on"]
)
def test_a_publication_on_a_full_disk_is_refused_and_repeated_once_there_is_space(
    consortium: LocalConsortium, cramped: Archives, archive: Side, source: Path, spare: Path, left_bytes: int
) -> None:
    name = f"people-{left_bytes}"
    dataset_id = _describe(archive, name)
    node = consortium.nodes[ARCHIVES.slug]
    directory = cramped.home / "data" / "datasets" / dataset_id.hex()
    files, log = _files(directory), LogWatch(cramped.home / "data")
    fill(cramped.home, left_bytes)
    for _ in range(2):
        with pytest.raises(DiskFull):
            list(archive.client.publish(dataset_id, open_source(source, {}).batches()))
        assert _files(directory) == files
    assert log.steps() == []
    assert _count(archive, name) == 0
    spare.unlink()
    *_, last = archive.client.publish(dataset_id, open_source(source, {}).batches())
    assert last.sealed_count == ROWS
    assert log.steps() == [("VERSION_PUBLISHED", None)]
    assert _count(archive, name) == ROWS
    assert node.running


@pytest.mark.parametrize("left_bytes", [0, MEGABYTE // 10, MEGABYTE], ids=["nothing", "no delivery", "a part of it"])
def test_a_fetch_on_a_full_disk_is_refused_and_goes_on_once_there_is_space(
    consortium: LocalConsortium,
    dataset: str,
    cramped: Archives,
    archive: Side,
    civil: Side,
    spare: Path,
    left_bytes: int,
) -> None:
    agreement = agree(civil, archive, bytes.fromhex(dataset), ROWS)
    vault = cramped.home / "data" / "received" / agreement.grant_id.hex()
    log, provider = LogWatch(cramped.home / "data"), LogWatch(consortium.home(CIVIL_AFFAIRS) / "data")
    fill(cramped.home, left_bytes)
    for _ in range(2):
        with pytest.raises(DiskFull):
            _fetch(archive, agreement.grant_id)
        assert [name for name in _files(vault) if name.endswith(".partial")] == []
        assert "finished" not in _files(vault)
    receipts = len(log.about(agreement.subject, "RECEIPT_SENT"))
    assert len(provider.about(agreement.subject, "KEYS_RELEASED")) <= receipts
    spare.unlink()
    assert _fetch(archive, agreement.grant_id)[-1].summary.record_count == ROWS
    assert len(provider.about(agreement.subject, "ORDER_RECEIVED")) == 1
    assert log.steps()[-1] == ("TRANSFER_VERIFIED", None)


def _fetch(requester: Side, grant_id: bytes) -> list[department_pb2.FetchResponse]:
    return list(requester.client.department.Fetch(department_pb2.FetchRequest(grant_id=grant_id)))


def test_a_chain_that_outgrows_the_disk_is_followed_again_once_there_is_space(
    consortium: LocalConsortium, dataset: str, cramped: Archives, archive: Side, civil: Side, health: Side, spare: Path
) -> None:
    """Every block must be written down; what cannot be is refused as a full disk, not as a chain that is out of reach."""
    agreement = agree(civil, archive, bytes.fromhex(dataset), ROWS)
    fill(cramped.home, 0)
    while _status(archive).chain_reachable:
        agree(civil, health, bytes.fromhex(dataset), ROWS)
    size = _status(archive).log_size
    with pytest.raises(DiskFull):
        _fetch(archive, agreement.grant_id)
    assert _status(archive).log_size == size
    spare.unlink()
    until(lambda: _status(archive).chain_reachable)
    assert _fetch(archive, agreement.grant_id)[-1].summary.record_count == ROWS


def test_an_error_of_the_disk_is_a_full_one_only_where_there_is_no_room(cramped: Archives, spare: Path) -> None:
    """LMDB has one word for a write that ended short for want of room, and for a disk that is broken."""
    said = lmdb.Error("mdb_txn_commit: Input/output error")
    assert isinstance(mapped(said, cramped.home), StoreDamaged)
    fill(cramped.home, 0)
    assert isinstance(mapped(said, cramped.home), DiskFull)


def test_an_order_that_a_full_disk_cannot_log_is_not_served_and_is_afterwards(
    consortium: LocalConsortium, cramped: Archives, archive: Side, health: Side, spare: Path
) -> None:
    """The provider answers nothing that is not in its log, and does not forget how to answer."""
    dataset_id = _describe(archive, "small")
    records = Packed.of([b'["K%d","Somebody",%d]' % (number, number) for number in range(9)])
    list(archive.client.publish(dataset_id, [records]))
    agreement = agree(archive, health, dataset_id, len(records))
    log = LogWatch(cramped.home / "data")
    with peer(consortium, HEALTH, ARCHIVES) as hand:
        fill(cramped.home, 0)
        answered = 0
        while True:
            try:
                hand.call("Query", hand.question(agreement, "K7"))
                answered += 1
            except WireRefusal as refusal:
                full = refusal
                break
        assert (full.reason, full.domain) == ("DISK_FULL", DOMAIN), (full, answered)
        assert len(log.about(agreement.subject, "DELIVERY_SENT")) == answered
        spare.unlink()
        delivery = read_as(Delivery, hand.call("Query", hand.question(agreement, "K7")).delivery_note)
    assert delivery.sequence == answered + 1
    sent = [read_as(Delivery, entry.note or b"") for entry in log.about(agreement.subject, "DELIVERY_SENT")]
    assert [one.sequence for one in sent] == list(range(1, answered + 2))


def test_a_directory_without_space_gets_no_half_made_node(consortium: LocalConsortium, tmp_path: Path) -> None:
    """Wherever the space ends, among the keys or in the log, nothing stays, and the same command succeeds with more."""
    home = tmp_path / "home"
    home.mkdir()
    if not mount(home, MEGABYTE):
        pytest.skip("no file system can be mounted here, so no disk can be full")
    names = ["--member-id", MUSEUM.member_id, "--name", MUSEUM.name, "--listen", "127.0.0.1:7001"]
    files = [f"--{name}={consortium.directory / name}.toml" for name in ("network", "contracts")]
    command = ["init", str(home / "node"), *names, *files]
    try:
        for left_bytes in (0, 60_000):
            fill(home, left_bytes)
            ended = run(consortium, *command)
            assert (ended.code, ended.reasons) == (1, ["DISK_FULL"]), ended.printed
            assert [path.name for path in home.iterdir()] == ["ballast"]
        (home / "ballast").unlink()
        assert run(consortium, *command).code == 0
        assert (home / "node" / "admission.json").exists()
    finally:
        unmount(home)


def _status(side: Side) -> department_pb2.GetStatusResponse:
    status: department_pb2.GetStatusResponse = side.client.department.GetStatus(department_pb2.GetStatusRequest())
    return status
