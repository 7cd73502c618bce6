"""What a department's own program says wrongly when it publishes: one reason each, and nothing of it is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from crypto.errors import Refusal
from kiteline.exchange.v1 import department_pb2
from node.errors import DatasetUnknown, RecordInvalid, StatementInvalid
from scripts.local_consortium import CIVIL_AFFAIRS, CommandFailed, LocalConsortium
from tests.integration.conftest import ROWS
from tests.support.bench import Bench
from tests.support.peer_client import Side

pytestmark = pytest.mark.process


def _publish(civil: Side, *requests: department_pb2.PublishRequest) -> list[department_pb2.PublishResponse]:
    return list(civil.client.department.Publish(iter(requests)))


RECORD = b'["K1","Somebody",1]'
BAD_PUBLICATIONS: list[tuple[str, list[department_pb2.PublishRequest], type[Refusal]]] = [
    ("no last message", [department_pb2.PublishRequest(records=RECORD, lengths=[len(RECORD)])], StatementInvalid),
    (
        "another count",
        [
            department_pb2.PublishRequest(records=RECORD, lengths=[len(RECORD)]),
            department_pb2.PublishRequest(total_count=2),
        ],
        StatementInvalid,
    ),
    ("no record", [department_pb2.PublishRequest(total_count=0)], RecordInvalid),
    (
        "lengths that do not add up",
        [department_pb2.PublishRequest(records=RECORD, lengths=[7]), department_pb2.PublishRequest(total_count=1)],
        RecordInvalid,
    ),
    (
        "half a record",
        [department_pb2.PublishRequest(records=RECORD[:9], lengths=[9]), department_pb2.PublishRequest(total_count=1)],
        RecordInvalid,
    ),
    (
        "another version of a record",
        [
            department_pb2.PublishRequest(records=b"\x02" + RECORD[1:], lengths=[len(RECORD)]),
            department_pb2.PublishRequest(total_count=1),
        ],
        RecordInvalid,
    ),
    (
        "a space in a record",
        [
            department_pb2.PublishRequest(records=b'["K1", "S",1]', lengths=[13]),
            department_pb2.PublishRequest(total_count=1),
        ],
        RecordInvalid,
    ),
    (
        "too few values",
        [department_pb2.PublishRequest(records=b'["K1"]', lengths=[6]), department_pb2.PublishRequest(total_count=1)],
        RecordInvalid,
    ),
]


@pytest.mark.parametrize(
    ("requests", "kind"), [case[1:] for case in BAD_PUBLICATIONS], ids=[case[0] for case in BAD_PUBLICATIONS]
)
def test_a_bad_publication_is_refused_and_nothing_of_it_is_published(
    consortium: LocalConsortium,
    bench: Bench,
    civil: Side,
    requests: list[department_pb2.PublishRequest],
    kind: type[Refusal],
) -> None:
    dataset_id = bench.agreement.dataset_id
    directory = consortium.home(CIVIL_AFFAIRS) / "data" / "datasets" / dataset_id.hex()
    files = sorted(path.name for path in directory.iterdir())
    bench.log.mark()
    with pytest.raises(kind):
        _publish(civil, department_pb2.PublishRequest(dataset_id=dataset_id), *requests)
    assert bench.log.steps() == []
    assert sorted(path.name for path in directory.iterdir()) == files
    [entry] = civil.client.department.ListCatalogue(department_pb2.ListCatalogueRequest(contains="people")).entries
    assert entry.dataset.record_count == ROWS
    bench.check_good_call()


def test_a_publication_to_an_unknown_dataset_is_refused(bench: Bench, civil: Side) -> None:
    bench.log.mark()
    with pytest.raises(DatasetUnknown):
        _publish(
            civil, department_pb2.PublishRequest(dataset_id=bytes(32)), department_pb2.PublishRequest(total_count=0)
        )
    assert bench.log.steps() == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.csv", b"no,name,age\nK1,Some", "RECORD_INVALID"),
        ("cut.parquet", b"PAR1\x15\x04\x15", "FILE_UNUSABLE"),
        ("latin.csv", b"no,name,age\nK1,M\xfcller,1\n", "FILE_UNUSABLE"),
        ("empty.jsonl", b"", "FILE_UNUSABLE"),
        ("people.xml", b"<people/>", "FILE_UNUSABLE"),
    ],
)
def test_a_file_that_cannot_be_published_is_refused_by_the_command(
    consortium: LocalConsortium, bench: Bench, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(CommandFailed) as failed:
        consortium.kiteline(CIVIL_AFFAIRS, "publish", str(file), "--dataset", "people", "--key", "no")
    assert (failed.value.reason, failed.value.code) == (reason, 1)
    bench.check_good_call()
