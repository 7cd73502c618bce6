"""Reading and writing files of records."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import json
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.packed import Packed
from node.errors import FileExists, FileUnusable, RecordInvalid
from node.formats import Sink, open_sink, open_source
from node.formats.parquet_files import ParquetSink
from node.formats.source import BATCH_BYTES, BATCH_RECORDS
from node.model.records import MAX_INTEGER, RecordChecker, Value, decode_record, encode_record

ENDINGS = (".csv", ".jsonl", ".parquet")
FIELDS = ("code", "名称", "area")

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.text(st.sampled_from('",\n\r\\\x00\t镇'))
scalars = texts | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.booleans() | st.none()
tables = st.lists(st.tuples(scalars, scalars, scalars), max_size=12)
columns_of_one_kind = st.one_of(
    *(st.lists(st.tuples(*[kind | st.none()] * 3), max_size=12) for kind in (texts, st.integers(0, 9), st.booleans()))
)
one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def written(path: Path, rows: list[tuple[Value, ...]], batch: int = 5) -> None:
    with open_sink(path, FIELDS, force=True) as sink:
        for start in range(0, len(rows), batch):
            sink.write(Packed.of(encode_record(row) for row in rows[start : start + batch]))


def read(path: Path, conditions: dict[str, str] | None = None) -> list[tuple[Value, ...]]:
    source = open_source(path, conditions)
    checker = RecordChecker(len(source.fields))
    rows: list[tuple[Value, ...]] = []
    for batch in source.batches():
        checker.check(batch)
        assert 1 <= len(batch) <= BATCH_RECORDS
        assert len(batch) == 1 or len(batch.data) <= BATCH_BYTES
        rows += [tuple(decode_record(record)) for record in batch]
    return rows


def as_text(value: Value) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


@one_folder
@given(tables)
def test_json_lines_give_back_every_record_written(tmp_path: Path, rows: list[tuple[Value, ...]]) -> None:
    path = tmp_path / "t.jsonl"
    written(path, rows)
    if rows:
        assert read(path) == rows
        assert open_source(path).fields == FIELDS


@one_folder
@given(columns_of_one_kind)
def test_parquet_gives_back_columns_of_one_kind_typed(tmp_path: Path, rows: list[tuple[Value, ...]]) -> None:
    path = tmp_path / "t.parquet"
    written(path, rows)
    assert read(path) == rows
    assert open_source(path).record_estimate == len(rows)


@one_folder
@given(tables)
def test_parquet_gives_back_mixed_columns_as_text(tmp_path: Path, rows: list[tuple[Value, ...]]) -> None:
    path = tmp_path / "t.parquet"
    written(path, rows)
    assert [[as_text(v) for v in row] for row in read(path)] == [[as_text(v) for v in row] for row in rows]


@one_folder
@given(
    st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))] * 3), max_size=12)
)
def test_csv_gives_back_every_text_written(tmp_path: Path, rows: list[tuple[Value, ...]]) -> None:
    path = tmp_path / "t.csv"
    written(path, rows)
    assert read(path) == rows
    with path.open(encoding="utf-8", newline="") as file:
        assert [tuple(row) for row in csv.reader(file)] == [FIELDS, *rows]


def test_csv_spells_null_booleans_and_numbers_as_people_expect(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    written(path, [(None, True, -5), ("a,b", False, 0)])
    assert path.read_bytes() == 'code,名称,area\r\n,true,-5\r\n"a,b",false,0\r\n'.encode()


def test_json_lines_hold_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    written(path, [("37", "东关", 5), (None, True, "x")])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"code": "37", "名称": "东关", "area": 5},
        {"code": None, "名称": True, "area": "x"},
    ]


def test_parquet_columns_widen_when_a_later_row_group_contradicts(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    early = [(str(number), number, None) for number in range(70_000)]
    late: list[tuple[Value, ...]] = [("x", True, 7)]
    written(path, [*early, *late], batch=7_000)
    assert pq.read_schema(path).types == [pa.string(), pa.string(), pa.int64()]
    rows = read(path)
    assert rows[69_999] == ("69999", "69999", None)
    assert rows[70_000] == ("x", "true", 7)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]


def test_parquet_of_other_kinds_becomes_strings(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table(
        {
            "day": [dt.date(2026, 11, 24), None],
            "sum": [decimal.Decimal("1.50"), decimal.Decimal("2.00")],
            "share": [0.5, None],
            "word": pa.array(['a"b', "c"]).dictionary_encode(),
            "none": pa.nulls(2),
        }
    )
    pq.write_table(table, path)
    assert read(path) == [("2026-11-24", "1.50", "0.5", 'a"b', None), (None, "2.00", None, "c", None)]


@pytest.mark.parametrize("column", [[[1]], [b"\xff"], [{"a": 1}], [2**53]], ids=repr)
def test_parquet_that_no_record_can_hold_is_refused(tmp_path: Path, column: list[object]) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": column}), path)
    with pytest.raises(FileUnusable):
        read(path)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n", [("1", "2")]),
        (b"a,b\n,\n", [("", "")]),
        (b'a,b\n"x\ny","q""q"\n', [("x\ny", 'q"q')]),
        (b"a,b\n1,2", [("1", "2")]),
        (b"a,b\nNULL,NaN\n", [("NULL", "NaN")]),
        (b"a,b\n", []),
    ],
)
def test_csv_is_read_as_text_only(tmp_path: Path, content: bytes, rows: list[tuple[Value, ...]]) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    assert read(path) == rows


def test_a_csv_row_of_another_length_is_refused_by_its_number_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\nsecret\n")
    with pytest.raises(RecordInvalid, match="row 3 has 1 columns") as raised:
        read(path)
    assert "secret" not in repr(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,a\n1,2\n",
        b"a,\n1,2\n",
        "a,b\n汉,字\n".encode("gbk"),
        "汉,b\n".encode("gbk"),
        b'a,b\n"' + b"x" * 3_000_000,
    ],
    ids=["empty", "twice", "nameless", "gbk", "gbk header", "open quote"],
)
def test_what_is_not_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises((FileUnusable, RecordInvalid)):
        read(path)


def test_json_lines_fill_absent_fields_and_keep_the_spelling_of_fractions(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1,"b":1.50}\n\n{"b":"x"}\n{"b":2e3,"a":null}')
    assert read(path) == [(1, "1.50"), (None, "x"), (None, "2e3")]


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b'{"a":[1]}',
        b'{"a":1',
        b'{"c":1}',
        b'{"a":NaN}',
        b"\xff",
        b'{"a":9007199254740992}',
        b'{"a":"\\ud800"}',
        b"[" * 99_999,
    ],
)
def test_a_bad_json_line_is_refused_by_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"a":1}\n' + line + b"\n")
    with pytest.raises(RecordInvalid, match="line 2"):
        read(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_conditions_choose_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    written(path, [("1", "a", "x"), ("2", "b", "x"), ("3", "a", "y")])
    assert read(path, {"名称": "a"}) == [("1", "a", "x"), ("3", "a", "y")]
    assert read(path, {"名称": "a", "area": "x"}) == [("1", "a", "x")]
    assert read(path, {"code": "9"}) == []
    with pytest.raises(FileUnusable):
        open_source(path, {"nobody": "1"})


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_large_file_is_cut_into_batches(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    rows: list[tuple[Value, ...]] = [
        (str(number), "x" * (number % 50), "y" * (600_000 if number == 5 else 1)) for number in range(20_000)
    ]
    written(path, rows, batch=3_000)
    assert read(path) == rows
    estimate = open_source(path).record_estimate
    assert estimate is not None
    assert estimate > 0


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_exists_is_written_over_only_by_force(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    path.write_text("mine")
    with pytest.raises(FileExists):
        open_sink(path, FIELDS)
    assert path.read_text() == "mine"
    written(path, [("1", "2", "3")])
    assert read(path) == [("1", "2", "3")]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"

    def interrupted() -> None:
        with open_sink(path, FIELDS) as sink:
            sink.write(Packed.of([b'["1","2","3"]']))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"

    def overtaken() -> None:
        with open_sink(path, FIELDS) as sink:
            sink.write(Packed.of([b'["1","2","3"]']))
            path.write_text("mine")

    with pytest.raises(FileExists):
        overtaken()
    assert path.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_record_with_other_fields_is_not_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"

    def mistaken() -> None:
        with open_sink(path, FIELDS) as sink:
            sink.write(Packed.of([b'["1","2","3"]']))
            sink.write(Packed.of([b'["1","2"]']))

    with pytest.raises(RecordInvalid, match="record 2"):
        mistaken()
    assert not path.exists()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_that_is_missing_or_a_disk_that_is_full_is_one_clear_error(tmp_path: Path, ending: str) -> None:
    with pytest.raises(FileUnusable), open_sink(tmp_path / "absent" / f"t{ending}", FIELDS):
        pass
    with pytest.raises(FileUnusable):
        open_source(tmp_path / f"absent{ending}")
    path = tmp_path / f"full{ending}"

    def overflowing() -> None:
        with open_sink(path, FIELDS) as sink:
            _fill_the_disk(sink)
            sink.write(Packed.of([encode_record([os.urandom(4_000).hex()] * 3)] * 20))

    with pytest.raises(FileUnusable, match="No space left"):
        overflowing()
    assert not path.exists()


def _fill_the_disk(sink: Sink) -> None:
    """Make what the sink writes go to the device that is always full."""
    if isinstance(sink, ParquetSink):  # opens its file with the first row group
        sink._partial.unlink()
        sink._partial.symlink_to("/dev/full")
        return
    with Path("/dev/full").open("wb") as full:
        for link in Path("/proc/self/fd").iterdir():
            if link.resolve() == sink._partial:
                os.dup2(full.fileno(), int(link.name))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match=r"\.csv"):
        open_source(tmp_path / "t.xlsx")
    with pytest.raises(FileUnusable):
        open_sink(tmp_path / "t", FIELDS)


@pytest.mark.parametrize("ending", ENDINGS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"t{ending}"
    batch = Packed.of(encode_record([f"{number:012}", "某某社区居民委员会", "370700"]) for number in range(4_000))
    tracemalloc.start()
    with open_sink(path, FIELDS) as sink:
        for _ in range(20):
            sink.write(batch)
    assert sum(len(found) for found in open_source(path).batches()) == 80_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 * 1024 * 1024
