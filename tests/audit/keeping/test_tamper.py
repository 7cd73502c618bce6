"""The tamper matrix: one flipped bit in each class of stored byte is found by the default check, with its place.

Positions are drawn with a seed. Values are changed through LMDB, as whoever owns the disk can do; and bytes in the file itself, as a failing
disk does.
"""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import assert_never

import pytest

from audit.environment import LIB_VERSION
from audit.keeping.check import Check, Expected
from audit.keeping.findings import Finding, Part
from audit.keeping.pages import Damage, PageFile
from crypto.engine import Engine
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import SMALL_MAP
from tests.audit.keeping.kept_log import (
    KeptLog,
    build,
    edit,
    flipped,
    flipped_in,
    mixed_batches,
    opened_for_tampering,
    put_back,
    rows_of,
)

ENTRIES = 70_000  # two levels of full tiles, and a third that is begun
EPOCH_LEAVES = 30_000
LEVELS_OF_A_TILE = 8
POSITIONS = 12  # of each class
RAW_POSITIONS = 150
_KEY = struct.Struct(">Q")
_HEAD = struct.Struct(">HQQQ")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, engine: Engine, key: SM2PrivateKey) -> KeptLog:
    """A log of three epochs. Each test puts back what it changes."""
    return build(
        tmp_path_factory.mktemp("tamper"),
        engine,
        key,
        batches=mixed_batches(20_261_124, ENTRIES),
        epoch_leaves=EPOCH_LEAVES,
        anchored=(1, 700, 29_999, 30_000, 65_536, 69_000),
    )


@pytest.fixture
def drawn(request: pytest.FixtureRequest) -> random.Random:
    """Positions are the same in each run, and others in each test."""
    return random.Random(request.node.name)


def _one(findings: list[Finding], part: Part) -> Finding:
    """The one finding, of this class."""
    assert [finding.part for finding in findings] == [part], findings
    return findings[0]


def test_a_log_that_nobody_tampered_with_has_no_finding(kept: KeptLog, engine: Engine) -> None:
    assert len(kept.files) == 3
    assert kept.findings(engine, index=True) == []


@pytest.mark.parametrize("part", Part)
def test_each_class_of_stored_byte_is_tampered_with_and_found(
    kept: KeptLog, engine: Engine, drawn: random.Random, part: Part
) -> None:
    """All classes that a check has, so that none comes to be without a tampering that it finds; each is looked at closely below."""
    with _tampered(kept, part, drawn) as expected:
        findings = list(Check(kept.path, engine, expected, map_bytes=SMALL_MAP).findings())
    assert {finding.part for finding in findings} == {part}, findings


@contextmanager
def _tampered(kept: KeptLog, part: Part, drawn: random.Random) -> Iterator[Expected]:
    """One bit of this class changed, for as long as the block lasts; gives what the log is then compared with."""
    expected = kept.expected(index=True)
    file = kept.index / "data.mdb" if part is Part.INDEX else drawn.choice(kept.files)
    with put_back(file, kept.head):
        match part:
            case Part.SEGMENT:
                _flip_in_last_byte(file, b"segments")
            case Part.TILE:
                _flip_in_last_byte(file, b"tiles-0")
            case Part.HEAD:
                _flip_in_last_byte(file, b"head", b"origin")
            case Part.CHECKPOINT:
                note = kept.head.read_bytes()
                kept.head.write_bytes(flipped(note, drawn.randrange(len(note)), 0))
            case Part.ANCHOR:
                (size, root), *others = kept.anchors
                expected = replace(expected, anchors=[(size, flipped(root, drawn.randrange(32), 0)), *others])
            case Part.INDEX:
                _flip_in_last_byte(file, b"minutes")
            case other:
                assert_never(other)
        yield expected


def _flip_in_last_byte(file: Path, database: bytes, key: bytes | None = None) -> None:
    """Of the value of a row, or of the first one: the entry's, the tile's or the number's own bytes, whatever stands before them."""
    edit(file, database, key or rows_of(file, database)[0][0], lambda held: flipped(held, len(held) - 1, 0))


@pytest.mark.parametrize("turn", range(POSITIONS))
def test_a_bit_of_an_entry_names_the_segment_and_the_entry(
    kept: KeptLog, engine: Engine, drawn: random.Random, turn: int
) -> None:
    number = drawn.randrange(3)
    file = kept.files[number]
    rows = rows_of(file, b"segments")
    # The last turn takes the newest segment, which no full tile covers.
    row, value = rows[-1] if turn == POSITIONS - 1 else drawn.choice(rows)
    count = int.from_bytes(value[5:9], "big")
    begin = 9 + 4 * (count + 1)
    offsets = struct.unpack_from(f">{count + 1}I", value, 9)
    at = drawn.randrange(begin, len(value))
    hit = max(index for index in range(count) if offsets[index] <= at - begin)
    leaf = _KEY.unpack(row)[0] + hit
    with put_back(file):
        edit(file, b"segments", row, lambda held: flipped(held, at, drawn.randrange(8)))
        finding = _one(kept.findings(engine), Part.SEGMENT)
    assert finding.place.epoch == number
    assert finding.place.key == _KEY.unpack(row)[0]
    assert finding.place.leaves == (leaf, leaf + 1)
    assert finding.place.file == file


@pytest.mark.parametrize("field", ["count of the store", "version", "count", "offset"])
@pytest.mark.parametrize("turn", range(3))
def test_a_bit_of_a_segments_frame_names_the_segment(
    kept: KeptLog, engine: Engine, drawn: random.Random, field: str, turn: int
) -> None:
    number = drawn.randrange(3)
    file = kept.files[number]
    row, value = drawn.choice([row for row in rows_of(file, b"segments") if int.from_bytes(row[1][:4], "big") > 2])
    count = int.from_bytes(value[:4], "big")
    at = {
        "count of the store": range(4),
        "version": range(4, 5),
        "count": range(5, 9),
        "offset": range(9, 13 + 4 * count),
    }
    place = drawn.choice(at[field])
    with put_back(file):
        edit(file, b"segments", row, lambda held: flipped(held, place, drawn.randrange(8)))
        findings = kept.findings(engine)
    assert {finding.part for finding in findings} == {Part.SEGMENT}, findings
    first = _KEY.unpack(row)[0]
    assert any(finding.place.epoch == number and finding.place.key == first for finding in findings), findings
    for finding in findings:
        assert finding.place.leaves is not None
        if finding.place.key == first:
            assert first <= finding.place.leaves[0] < finding.place.leaves[1] <= first + count


@pytest.mark.parametrize("field", ["segments", "tiles-0", "tiles-1"])
@pytest.mark.parametrize("turn", range(3))
def test_a_bit_of_a_key_names_what_is_missing_in_its_place(
    kept: KeptLog, engine: Engine, drawn: random.Random, field: str, turn: int
) -> None:
    number = 2 if field == "tiles-1" else drawn.randrange(3)
    file = kept.files[number]
    row, value = drawn.choice(rows_of(file, field.encode()))
    bit = drawn.randrange(64)
    with put_back(file):
        with opened_for_tampering(file) as environment:
            database = environment.open_db(field.encode(), create=False)
            with environment.begin(write=True) as transaction:
                transaction.delete(row, db=database)
                transaction.put(flipped(row, bit // 8, bit % 8), value, db=database)
        findings = kept.findings(engine)
    part = Part.SEGMENT if field == "segments" else Part.TILE
    assert {finding.part for finding in findings} == {part}, findings
    assert all(finding.place.epoch == number for finding in findings)
    (key,) = _KEY.unpack(row)
    if part is Part.TILE:
        assert any(finding.place.tile == (int(field[-1]), key) for finding in findings), findings
    else:
        reached = [finding.place.leaves for finding in findings if finding.place.leaves is not None]
        assert any(first <= key < stop for first, stop in reached), findings


@pytest.mark.parametrize("inner", range(LEVELS_OF_A_TILE))
@pytest.mark.parametrize("level", [0, 1])
def test_a_bit_of_a_tile_names_the_tile_and_the_node(
    kept: KeptLog, engine: Engine, drawn: random.Random, level: int, inner: int
) -> None:
    found = [(number, *row) for number, file in enumerate(kept.files) for row in rows_of(file, b"tiles-%d" % level)]
    number, row, _ = drawn.choice(found)
    width = 256 >> inner
    node = drawn.randrange(width)
    at = 32 * (512 - 2 * width + node) + drawn.randrange(32)
    file, (index,) = kept.files[number], _KEY.unpack(row)
    with put_back(file):
        edit(file, b"tiles-%d" % level, row, lambda held: flipped(held, at, drawn.randrange(8)))
        finding = _one(kept.findings(engine), Part.TILE)
    assert finding.place.epoch == number
    assert finding.place.tile == (level, index)
    assert finding.place.node == (8 * level + inner, index * width + node)
    assert finding.place.file == file


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(
    ("field", "places"),
    [
        ("format", range(2)),
        ("number of leaves of an epoch", range(2, 10)),
        ("first leaf", range(10, 18)),
        ("size", range(18, 26)),
    ],
)
def test_a_bit_of_a_head_record_names_the_epoch(
    kept: KeptLog, engine: Engine, drawn: random.Random, number: int, field: str, places: range
) -> None:
    file = kept.files[number]
    with put_back(file):
        edit(file, b"head", b"head", lambda held: flipped(held, drawn.choice(places), drawn.randrange(8)))
        findings = kept.findings(engine)
    assert {finding.part for finding in findings} == {Part.HEAD}, findings
    assert {finding.place.epoch for finding in findings} == {number}
    assert {finding.place.file for finding in findings} == {file}
    assert any(field in finding.says for finding in findings), findings


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("turn", range(2))
def test_a_bit_of_the_origin_names_the_epoch(
    kept: KeptLog, engine: Engine, drawn: random.Random, number: int, turn: int
) -> None:
    file = kept.files[number]
    with put_back(file):
        edit(file, b"head", b"origin", lambda held: flipped(held, drawn.randrange(len(held)), drawn.randrange(8)))
        finding = _one(kept.findings(engine), Part.HEAD)
    assert (finding.place.epoch, finding.place.file) == (number, file)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("turn", range(3))
def test_a_bit_of_a_bottom_row_names_the_epoch_and_the_leaves(
    kept: KeptLog, engine: Engine, drawn: random.Random, number: int, turn: int
) -> None:
    file = kept.files[number]
    rows = [(key, value) for key, value in rows_of(file, b"head") if key.startswith(b"row-") and value]
    row, value = rows[turn % len(rows)]
    at = drawn.randrange(len(value))
    with put_back(file):
        edit(file, b"head", row, lambda held: flipped(held, at, drawn.randrange(8)))
        finding = _one(kept.findings(engine), Part.HEAD)
    assert (finding.place.epoch, finding.place.file) == (number, file)
    (_, _, _, size) = _HEAD.unpack(dict(rows_of(file, b"head"))[b"head"])
    assert finding.place.leaves is not None
    assert finding.place.leaves[0] <= finding.place.leaves[1] == size


def test_every_bit_of_the_signed_head_is_covered_by_its_signature(
    kept: KeptLog, engine: Engine, drawn: random.Random
) -> None:
    """At every byte, one bit."""
    note = kept.head.read_bytes()
    expected = Expected(checkpoint=kept.head, keys=kept.keys)
    for at in range(len(note)):
        with flipped_in(kept.head, at, drawn.randrange(8)):
            # An interval of one tile: what the signed head says does not depend on how much of the log is re-hashed.
            check = Check(kept.path, engine, expected, stop=1, map_bytes=SMALL_MAP)
            finding = _one(list(check.findings()), Part.CHECKPOINT)
        assert finding.place.file == kept.head


@pytest.mark.parametrize("turn", range(POSITIONS))
def test_a_bit_of_an_anchor_is_found_and_bounded_by_the_one_before(
    kept: KeptLog, engine: Engine, drawn: random.Random, turn: int
) -> None:
    chosen = drawn.randrange(1, len(kept.anchors))
    size, root = kept.anchors[chosen]
    at, bit = drawn.randrange(40), drawn.randrange(8)
    said = flipped(_KEY.pack(size) + root, at, bit)
    wrong = (_KEY.unpack(said[:8])[0], said[8:])
    anchors = [*kept.anchors[:chosen], wrong, *kept.anchors[chosen + 1 :]]
    check = Check(
        kept.path, engine, Expected(origin=kept.expected().origin, anchors=anchors), stop=1, map_bytes=SMALL_MAP
    )
    finding = _one(list(check.findings()), Part.ANCHOR)
    right = max((one for one, _ in anchors if one < wrong[0] and (one, _) != wrong), default=0)
    assert finding.place.leaves == (right, wrong[0])


@pytest.mark.parametrize("turn", range(POSITIONS))
def test_a_bit_of_a_row_of_terms_names_the_term_and_the_entry(
    kept: KeptLog, engine: Engine, drawn: random.Random, turn: int
) -> None:
    file = kept.index / "data.mdb"
    term, value = drawn.choice(rows_of(file, b"terms"))
    in_key = turn % 2 == 0
    at, bit = drawn.randrange(len(term) if in_key else 8), drawn.randrange(8)
    with put_back(file):
        with opened_for_tampering(file) as environment:
            database = environment.open_db(b"terms", create=False)
            with environment.begin(write=True) as transaction:
                transaction.delete(term, value, db=database)
                changed = (flipped(term, at, bit), value) if in_key else (term, flipped(value, at, bit))
                transaction.put(*changed, db=database)
        findings = kept.findings(engine, index=True)
    assert {finding.part for finding in findings} == {Part.INDEX}, findings
    assert {finding.place.file for finding in findings} == {file}
    (entry,) = _KEY.unpack(value)
    missing = [finding for finding in findings if finding.place.leaves == (entry, entry + 1)]
    assert term.decode() in {finding.place.term for finding in missing}


@pytest.mark.parametrize("turn", range(4))
def test_a_bit_of_a_row_of_minutes_names_the_minute(
    kept: KeptLog, engine: Engine, drawn: random.Random, turn: int
) -> None:
    file = kept.index / "data.mdb"
    row, _ = drawn.choice(rows_of(file, b"minutes"))
    with put_back(file):
        edit(file, b"minutes", row, lambda held: flipped(held, drawn.randrange(8), drawn.randrange(8)))
        finding = _one(kept.findings(engine, index=True), Part.INDEX)
    assert finding.place.term == f"minute:{_KEY.unpack(row)[0]}"


@pytest.mark.parametrize("mark", [b"format", b"origin", b"applied"])
def test_a_bit_of_a_mark_of_the_index_is_found(
    kept: KeptLog, engine: Engine, drawn: random.Random, mark: bytes
) -> None:
    file = kept.index / "data.mdb"
    with put_back(file):
        edit(file, b"marks", mark, lambda held: flipped(held, drawn.randrange(len(held)), drawn.randrange(8)))
        findings = kept.findings(engine, index=True)
    assert findings
    assert {finding.part for finding in findings} == {Part.INDEX}
    assert {finding.place.file for finding in findings} == {file}


@pytest.mark.parametrize("what", ["segments", "tiles-0", "tiles-1"])
@pytest.mark.parametrize("turn", range(6))
def test_a_bit_in_a_page_of_the_file_is_found_with_its_epoch_and_file(
    kept: KeptLog, engine: Engine, drawn: random.Random, what: str, turn: int
) -> None:
    """A value's bytes are looked up in the file, whatever LMDB's format is, and changed there."""
    number = 2 if what == "tiles-1" else drawn.randrange(2)
    file = kept.files[number]
    raw = file.read_bytes()
    _, value = drawn.choice([row for row in rows_of(file, what.encode()) if len(row[1]) > 8_000])
    begin = raw.index(value)
    at = begin + drawn.randrange(len(value))
    with flipped_in(file, at, drawn.randrange(8)):
        findings = kept.findings(engine)
    part = Part.SEGMENT if what == "segments" else Part.TILE
    assert {finding.part for finding in findings} == {part}, findings
    assert {(finding.place.epoch, finding.place.file) for finding in findings} == {(number, file)}


@pytest.mark.parametrize("seed", range(3))
def test_a_bit_anywhere_in_a_file_is_found_or_is_one_that_is_never_read(
    kept: KeptLog, engine: Engine, seed: int
) -> None:
    """Most of a file is read for something. Where no finding comes, every row must be as it was: the bit lies between values, or in a
    page that LMDB has free.
    """
    drawn = random.Random(seed)
    before = {file: _rows(file) for file in kept.files}
    found = 0
    for turn in range(RAW_POSITIONS // 3):
        file = drawn.choice(kept.files)
        size = file.stat().st_size
        # Every fourth is among the first bytes of a page, where LMDB keeps what it steers by.
        at = drawn.randrange(size) if turn % 4 else drawn.randrange(size // 4_096) * 4_096 + drawn.randrange(32)
        with flipped_in(file, at, drawn.randrange(8)):
            findings = kept.findings(engine)
            if findings:
                found += 1
                assert file in {finding.place.file for finding in findings}, findings
            else:
                assert _rows(file) == before[file], f"byte {at} of {file.name} is read, and the change was not found"
    assert found > RAW_POSITIONS // 6


def test_a_bit_anywhere_in_the_meta_pages_never_ends_the_check(kept: KeptLog, engine: Engine) -> None:
    drawn = random.Random(4)
    for _ in range(40):
        file = drawn.choice(kept.files)
        at = drawn.randrange(2) * 4_096 + drawn.randrange(152)
        with flipped_in(file, at, drawn.randrange(8)):
            findings = list(Check(kept.path, engine, kept.expected(), stop=1, map_bytes=SMALL_MAP).findings())
            assert not findings or file in {finding.place.file for finding in findings}, findings


def test_what_the_check_names_ends_a_process_that_reads_it_with_lmdb(kept: KeptLog, engine: Engine) -> None:
    """Why `pages` exists. One bit of the size of a value makes it reach beyond the file."""
    file = kept.files[0]
    with PageFile(file, shared=False) as pages, pages.snapshot() as snapshot:
        databases, _ = snapshot.databases()
        row = next(row for row in snapshot.scan(databases[b"tiles-0"]) if not isinstance(row, Damage))
    # The upper half of the size stands before the node's flags, the size of its key, and the key.
    at = file.read_bytes().index(row.key + row.raw, row.page * 4_096) - 6
    program = (
        "import lmdb, sys\n"
        f"environment = lmdb.open(sys.argv[1], max_dbs=16, readonly=True, lock=False, map_size={SMALL_MAP}, lib_version={LIB_VERSION})\n"
        "tiles = environment.open_db(b'tiles-0', create=False)\n"
        "with environment.begin() as transaction:\n"
        "    transaction.get(bytes(8), db=tiles)\n"
    )
    with flipped_in(file, at, 6):
        reader = subprocess.run([sys.executable, "-c", program, str(file.parent)], check=False, timeout=60)
        findings = kept.findings(engine)
    assert reader.returncode in {-signal.SIGBUS, -signal.SIGSEGV}
    assert (findings[0].part, findings[0].place.tile, findings[0].place.epoch) == (Part.TILE, (0, 0), 0)


def _rows(file: Path) -> dict[bytes, list[object]]:
    """Every row as the check's own reader sees it, with values."""
    with PageFile(file, shared=False) as pages, pages.snapshot() as snapshot:
        databases, damages = snapshot.databases()
        assert not damages
        return {
            name: [row if isinstance(row, Damage) else (row.key, snapshot.value(row)) for row in snapshot.scan(tree)]
            for name, tree in databases.items()
        }
