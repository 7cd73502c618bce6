"""The check: silent about whole logs of every shape, beside a writer too; exact about what is wrong; and it changes nothing."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import StoreAbsent
from audit.index import Index
from audit.keeping.check import Check, Expected
from audit.keeping.findings import Finding, Part, Place
from audit.log import AuditLog
from crypto.engine import Engine
from crypto.notes import NoteKey
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import MEMBER, ORIGIN, SMALL_MAP
from tests.audit.growing_log import GrowingLog
from tests.audit.keeping.kept_log import (
    START_MS,
    KeptLog,
    build,
    edit,
    flipped,
    mixed_batches,
    put_back,
    rows_of,
    text_entry,
)

EPOCHS = 4
_SIZES = st.sampled_from([1, 2, 7, 255, 256, 257, 700, 3_000])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, engine: Engine, key: SM2PrivateKey) -> KeptLog:
    """A log of several epochs. Each test puts back what it changes."""
    return build(
        tmp_path_factory.mktemp("check"),
        engine,
        key,
        batches=mixed_batches(7, 9_000, 800),
        epoch_leaves=2_500,
        anchored=(256, 2_499, 5_000, 8_000),
    )


def _log(path: Path, engine: Engine, batches: list[list[bytes]], epoch_leaves: int) -> tuple[int, bytes]:
    with AuditLog.create(path, ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=epoch_leaves) as log:
        for batch in batches:
            log.append_many(Packed.of(batch))
        return log.size, log.tree.root()


@pytest.mark.parametrize("epoch_leaves", [256, 1_000, 1 << 26])
@settings(max_examples=12, deadline=None)
@given(counts=st.lists(_SIZES, min_size=1, max_size=8), data=st.data())
def test_a_whole_log_has_no_finding_and_its_own_root(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, epoch_leaves: int, counts: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("whole") / "log"
    drawn = random.Random(str(counts))
    batches = [[drawn.randbytes(drawn.choice([1, 30, 200])) for _ in range(count)] for count in counts]
    size, root = _log(path, engine, batches, epoch_leaves)
    for at_rest in (True, False):
        check = Check(path, engine, at_rest=at_rest, map_bytes=SMALL_MAP)
        assert list(check.findings()) == []
        assert (check.size, check.root, check.origin, check.start, check.stop) == (size, root, ORIGIN, 0, size)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    check = Check(path, engine, start=start, stop=stop, map_bytes=SMALL_MAP)
    assert list(check.findings()) == []
    assert check.start <= start <= stop <= check.stop
    assert (check.size, check.root) == (size, root)


def test_a_log_without_entries_holds(tmp_path: Path, engine: Engine) -> None:
    _log(tmp_path / "log", engine, [], 256)
    check = Check(tmp_path / "log", engine, map_bytes=SMALL_MAP)
    assert list(check.findings()) == []
    assert check.size == 0


def test_where_there_is_no_log_there_is_nothing_to_check(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(StoreAbsent):
        list(Check(tmp_path / "log", engine).findings())


def test_an_interval_is_read_alone_and_leads_to_the_root(kept: KeptLog, engine: Engine) -> None:
    file, first = kept.files[0], rows_of(kept.files[0], b"segments")[0]
    with put_back(file):
        edit(file, b"segments", first[0], lambda held: flipped(held, len(held) - 1, 0))
        hit = int.from_bytes(first[1][:4], "big") - 1
        elsewhere = Check(kept.path, engine, kept.expected(), start=hit + 600, stop=8_000, map_bytes=SMALL_MAP)
        assert list(elsewhere.findings()) == []
        assert elsewhere.start > hit
        there = Check(kept.path, engine, kept.expected(), start=hit, stop=hit + 1, map_bytes=SMALL_MAP)
        (finding,) = there.findings()
        assert (finding.part, finding.place.leaves) == (Part.SEGMENT, (hit, hit + 1))
        assert there.stop - there.start == 256


def test_the_check_changes_no_byte(kept: KeptLog, engine: Engine) -> None:
    files = [file for file in kept.home.rglob("*") if file.is_file() and file.name != "lock.mdb"]
    before = {file: (file.read_bytes(), file.stat().st_mode, file.stat().st_mtime_ns) for file in files}
    assert kept.findings(engine, index=True) == []
    assert {file: (file.read_bytes(), file.stat().st_mode, file.stat().st_mtime_ns) for file in files} == before


def test_progress_rises_to_the_end(kept: KeptLog, engine: Engine) -> None:
    told: list[tuple[int, int]] = []
    list(Check(kept.path, engine, progress=lambda *at: told.append(at), map_bytes=SMALL_MAP).findings())
    assert told == sorted(told)
    assert told[-1] == (9_000, 9_000)


def test_memory_does_not_grow_with_the_log(tmp_path: Path, engine: Engine) -> None:
    """Three times the entries, the same memory: far less than the entries themselves."""
    peaks = []
    for name, batches in (("small", 50), ("large", 150)):
        path = tmp_path / name
        _log(path, engine, [[bytes([at]) * 1_000] * 2_048 for at in range(batches)], 1 << 26)
        tracemalloc.start()
        assert list(Check(path, engine, at_rest=True).findings()) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.3
    assert peaks[1] < 150 * 2_048 * 1_000 // 2


def test_a_log_is_checked_as_it_stood_while_another_process_appends_to_it(
    tmp_path: Path, engine: Engine, key: SM2PrivateKey
) -> None:
    """With its signed head, which grows along."""
    with GrowingLog(tmp_path / "node", key, 3_000) as growing:
        kept, sizes = growing.kept, []
        for _ in range(5):
            growing.begin()
            check = Check(kept.path, engine, kept.expected(), map_bytes=SMALL_MAP)
            assert list(check.findings()) == []
            assert check.checkpoint is not None
            assert check.checkpoint.size <= check.size
            sizes.append(check.size)
            written = growing.wait()
            assert check.size <= written
        assert sizes == sorted(sizes)
        assert len(kept.files) > 2
    last = Check(kept.path, engine, kept.expected(), map_bytes=SMALL_MAP)
    assert list(last.findings()) == []
    assert last.size == written


def test_a_store_that_is_behind_its_signed_head_is_told_so(kept: KeptLog, engine: Engine, tmp_path: Path) -> None:
    newer = Checkpoint(ORIGIN, 9_100, bytes(32), START_MS)
    (tmp_path / "head").write_bytes(sign_checkpoint(newer, HeldKey(engine, kept.key)))
    expected = replace(kept.expected(), checkpoint=tmp_path / "head")
    (finding,) = Check(kept.path, engine, expected, map_bytes=SMALL_MAP).findings()
    assert finding.part is Part.CHECKPOINT
    assert "9100 entries of this log, the store 9000" in finding.says


def test_a_log_written_anew_is_bounded_by_its_anchors(kept: KeptLog, engine: Engine, tmp_path: Path) -> None:
    """Whoever owns the disk can make everything agree again; what has left the house it cannot change."""
    batches = mixed_batches(7, 9_000, 800)
    entries = [entry for batch in batches for entry in batch]
    entries[6_000] = b"another"
    _log(tmp_path / "log", engine, [entries[at : at + 300] for at in range(0, 9_000, 300)], 2_500)
    findings = list(Check(tmp_path / "log", engine, kept.expected(), map_bytes=SMALL_MAP).findings())
    assert [(finding.part, finding.place.leaves) for finding in findings] == [
        (Part.ANCHOR, (5_000, 8_000)),
        (Part.ANCHOR, (5_000, 9_000)),
        (Part.CHECKPOINT, (5_000, 9_000)),
    ]


def test_a_head_signed_by_somebody_else_is_none(kept: KeptLog, engine: Engine) -> None:
    stranger = NoteKey(MEMBER, SM2PrivateKey.generate(random.Random(1).randbytes).public_key)
    expected = replace(kept.expected(), keys=[stranger])
    (finding,) = Check(kept.path, engine, expected, map_bytes=SMALL_MAP).findings()
    assert (finding.part, finding.place.file) == (Part.CHECKPOINT, kept.head)


def test_the_head_of_another_log_is_none(kept: KeptLog, engine: Engine, tmp_path: Path) -> None:
    other = Checkpoint(ORIGIN.replace("audit", "dataset/" + "0" * 64), 9_000, kept.anchors[-1][1], START_MS)
    (tmp_path / "head").write_bytes(sign_checkpoint(other, HeldKey(engine, kept.key)))
    expected = replace(kept.expected(), checkpoint=tmp_path / "head")
    (finding,) = Check(kept.path, engine, expected, map_bytes=SMALL_MAP).findings()
    assert finding.part is Part.CHECKPOINT
    assert "dataset" in finding.says


def test_without_a_known_head_a_changed_newest_entry_is_told_as_a_contradiction(kept: KeptLog, engine: Engine) -> None:
    """No tile covers the newest entries: entry and row of the head disagree, and nobody says which is right."""
    file = kept.files[-1]
    row, _ = rows_of(file, b"segments")[-1]
    with put_back(file):
        edit(file, b"segments", row, lambda held: flipped(held, len(held) - 1, 3))
        (finding,) = Check(kept.path, engine, map_bytes=SMALL_MAP).findings()
    assert (finding.part, finding.place.leaves) == (Part.SEGMENT, (8_999, 9_000))
    assert "contradict each other" in finding.says


@pytest.mark.parametrize("number", range(EPOCHS))
def test_an_epoch_that_is_gone_is_named_and_the_others_are_checked(kept: KeptLog, engine: Engine, number: int) -> None:
    assert len(kept.files) == EPOCHS
    file, other = kept.files[number], kept.files[(number + 1) % EPOCHS]
    with put_back(file, other):
        file.unlink()
        row, value = rows_of(other, b"segments")[2]
        edit(other, b"segments", row, lambda held: flipped(held, len(held) - 1, 0))
        findings = kept.findings(engine)
        file.touch()
    assert any(one.part is Part.HEAD and one.place.epoch == number for one in findings), findings
    last = int.from_bytes(row, "big") + int.from_bytes(value[:4], "big")
    hit = (last - 1, last)
    assert any(one.part is Part.SEGMENT and one.place.leaves == hit for one in findings), findings


@pytest.mark.parametrize("part", [2, 3, 10, 1_000])
def test_a_file_cut_short_is_named_and_the_others_are_checked(kept: KeptLog, engine: Engine, part: int) -> None:
    file = kept.files[1]
    with put_back(file):
        content = file.read_bytes()
        file.chmod(0o600)
        file.write_bytes(content[: len(content) // part])
        file.chmod(0o400)
        findings = kept.findings(engine)
    assert findings
    assert 1 in {finding.place.epoch for finding in findings}
    assert not {0, 2, 3} & {finding.place.epoch for finding in findings if finding.part is not Part.ANCHOR}


def test_one_fault_is_told_once_and_each_of_two_by_itself(kept: KeptLog, engine: Engine) -> None:
    """An entry and a tile over another one, in one epoch."""
    file = kept.files[1]
    rows, tiles = rows_of(file, b"segments"), rows_of(file, b"tiles-0")
    with put_back(file):
        edit(file, b"segments", rows[0][0], lambda held: flipped(held, len(held) - 1, 0))
        edit(file, b"tiles-0", tiles[-1][0], lambda held: flipped(held, 16_000, 0))
        findings = kept.findings(engine)
    assert [finding.part for finding in findings] == [Part.SEGMENT, Part.TILE]


def test_an_entry_and_the_tile_above_it_are_both_told(kept: KeptLog, engine: Engine) -> None:
    file = kept.files[0]
    row, value = next(row for row in rows_of(file, b"segments") if int.from_bytes(row[1][:4], "big") > 600)
    # The tenth entry of a segment that fills the tile over it.
    leaf, offsets = int.from_bytes(row, "big") + 10, 9 + 4 * (int.from_bytes(value[:4], "big") + 1)
    at = offsets + int.from_bytes(value[9 + 4 * 10 : 13 + 4 * 10], "big")
    with put_back(file):
        edit(file, b"segments", row, lambda held: flipped(held, at, 0))
        edit(file, b"tiles-0", (leaf // 256).to_bytes(8, "big"), lambda held: flipped(held, 16_000, 0))
        findings = kept.findings(engine)
    assert {finding.part for finding in findings} == {Part.SEGMENT, Part.TILE}, findings
    assert any(finding.place.leaves == (leaf, leaf + 1) for finding in findings), findings


def test_an_index_that_is_behind_or_absent_is_no_finding(kept: KeptLog, engine: Engine, tmp_path: Path) -> None:
    """It trails the log, and may be thrown away; opening makes up for it."""
    index = Index.open(tmp_path / "index", ORIGIN, map_bytes=SMALL_MAP)
    index.apply(0, [text_entry(0) if at == 0 else b"x" for at in range(1)])
    index.close()
    for path in (tmp_path / "index", tmp_path / "none"):
        check = Check(kept.path, engine, replace(kept.expected(), index=path), map_bytes=SMALL_MAP)
        assert list(check.findings()) == []


def test_an_index_of_more_entries_than_the_log_has_is_named(kept: KeptLog, engine: Engine, tmp_path: Path) -> None:
    """What a log that went back leaves behind."""
    index = Index.open(tmp_path / "index", ORIGIN, map_bytes=SMALL_MAP)
    index.apply(0, [entry for batch in mixed_batches(7, 9_000, 800) for entry in batch])
    index.apply(9_000, [text_entry(9_000)])
    index.close()
    expected = replace(kept.expected(), index=tmp_path / "index")
    findings = list(Check(kept.path, engine, expected, map_bytes=SMALL_MAP).findings())
    assert findings
    assert {finding.part for finding in findings} == {Part.INDEX}
    assert "9001 entries, and the log has 9000" in findings[0].says


def test_an_index_that_is_no_data_file_is_named(kept: KeptLog, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"nonsense" * 2_000)
    expected = replace(kept.expected(), index=tmp_path)
    (finding,) = Check(kept.path, engine, expected, map_bytes=SMALL_MAP).findings()
    assert finding.part is Part.INDEX


def test_a_finding_is_told_to_people_and_to_scripts() -> None:
    place = Place(epoch=2, key=7, leaves=(8, 9), tile=(0, 3), file=Path("log/data.mdb"))
    finding = Finding(Part.SEGMENT, "entry 8 was changed", place)
    assert str(place) == "epoch 2, tile 0/3, segment 7, entry 8, file log/data.mdb"
    assert finding.document() == {
        "class": "segment",
        "says": "entry 8 was changed",
        "place": {"epoch": 2, "key": 7, "leaves": (8, 9), "tile": (0, 3), "file": "log/data.mdb"},
    }


def test_what_is_not_known_is_not_compared(kept: KeptLog, engine: Engine) -> None:
    check = Check(kept.path, engine, Expected(), map_bytes=SMALL_MAP)
    assert list(check.findings()) == []
    assert check.checkpoint is None
