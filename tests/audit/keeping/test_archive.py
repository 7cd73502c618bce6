"""Archiving: roots and proofs go on, entries say where they are, nothing young or open goes, and all of it can be undone."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from audit.errors import ArchiveRefused, CopyInvalid, EntryArchived, StoreAbsent, StoreDamaged
from audit.index import Index
from audit.keeping import MIN_RETENTION_DAYS
from audit.keeping.archive import Archive
from audit.keeping.check import Check
from audit.log import AuditLog
from audit.store import TreeStore
from crypto.engine import Engine
from crypto.merkle import SM3_TREE, verify_consistency, verify_inclusion
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import ORIGIN, SMALL_MAP
from tests.audit.forks import Forks
from tests.audit.keeping.keeping_process import (
    CHMOD,
    KILL,
    MKDIR,
    NAMES,
    NO_SPACE,
    PWRITE,
    RENAME,
    RMDIR,
    SYNCS,
    UNLINKAT,
    WRITES,
    WRITEV,
    Kind,
    needs_strace,
    run,
    strikes,
)
from tests.audit.keeping.kept_log import (
    START_MS,
    KeptLog,
    build,
    edit,
    flipped,
    opened_for_tampering,
    rows_of,
    text_entry,
)

DAY_MS = 86_400_000
ENTRIES = 1_400
EPOCH_LEAVES = 400  # so that epochs end within tiles
LATER = START_MS + ENTRIES * 20_000 + 400 * DAY_MS


@pytest.fixture
def kept(tmp_path: Path, engine: Engine, key: SM2PrivateKey) -> KeptLog:
    """A log of four epochs, of entries as nodes write them."""
    entries = [text_entry(number) for number in range(ENTRIES)]
    batches = [entries[at : at + 100] for at in range(0, ENTRIES, 100)]
    return build(tmp_path / "node", engine, key, batches=batches, epoch_leaves=EPOCH_LEAVES, anchored=(300, 900))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def _archive(kept: KeptLog, place: Path, engine: Engine) -> Archive:
    return Archive(kept.path, place, engine, kept.expected())


def _put_away(kept: KeptLog, place: Path, engine: Engine, number: int) -> Path:
    return _archive(kept, place, engine).put_away(number, retention_days=MIN_RETENTION_DAYS, now_ms=LATER).file


def _check_whole(kept: KeptLog, engine: Engine, archived: set[int]) -> None:
    """Every root and proof is as it was; every entry is itself, or says that it is archived."""
    leaves = [SM3_TREE.leaf(text_entry(number)) for number in range(ENTRIES)]
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        assert log.size == ENTRIES
        for size, root in kept.anchors:
            assert log.tree.root_at(size) == root
        root = log.tree.root()
        for index in range(0, ENTRIES, 37):
            verify_inclusion(SM3_TREE, leaves[index], index, ENTRIES, log.tree.inclusion(index, ENTRIES), root)
            old = log.tree.root_at(index + 1)
            verify_consistency(SM3_TREE, index + 1, old, ENTRIES, root, log.tree.consistency(index + 1, ENTRIES))
            if index // EPOCH_LEAVES in archived:
                with pytest.raises(EntryArchived) as refused:
                    log.entry(index)
                assert refused.value.reason == "ENTRY_ARCHIVED"
                assert "data.mdb" in refused.value.details["archive"]
            else:
                assert log.entry(index) == text_entry(index)


def test_an_archived_epoch_leaves_roots_and_proofs_and_says_where_its_entries_are(
    kept: KeptLog, place: Path, engine: Engine
) -> None:
    before = kept.files[1].stat().st_size
    file = _put_away(kept, place, engine, 1)
    assert file == place / "epochs" / "0001" / "data.mdb"
    assert kept.files[1].stat().st_size < before / 2
    _check_whole(kept, engine, {1})
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log, pytest.raises(EntryArchived) as refused:
        log.entry(500)
    assert str(file) in str(refused.value)
    assert "--restore" in refused.value.remedy
    assert [child.name for child in (kept.path / "epochs").iterdir() if not child.name.isdigit()] == []


def test_reading_over_an_archived_epoch_gives_what_is_before_it_and_then_the_reason(
    kept: KeptLog, place: Path, engine: Engine
) -> None:
    _put_away(kept, place, engine, 1)
    store = TreeStore.open(kept.path, engine, map_bytes=SMALL_MAP, read_only=True)
    reader = AuditLog.reader(store)
    assert [next(reader) for _ in range(400)] == [text_entry(number) for number in range(400)]
    with pytest.raises(EntryArchived):
        next(reader)
    assert len(list(AuditLog.reader(store, 800))) == ENTRIES - 800
    store.close()


def test_a_log_with_archived_epochs_goes_on_and_is_checked(kept: KeptLog, place: Path, engine: Engine) -> None:
    for number in (0, 1):
        _put_away(kept, place, engine, number)
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        log.append_many(Packed.of([text_entry(number) for number in range(ENTRIES, ENTRIES + 500)]))
    kept.sign(engine)
    check = Check(kept.path, engine, kept.expected(index=True), map_bytes=SMALL_MAP)
    assert list(check.findings()) == []
    assert [(first, stop) for first, stop, _ in check.archived] == [(0, 400), (400, 800)]
    assert check.size == ENTRIES + 500


def test_what_is_left_of_an_archived_epoch_is_checked_all_the_same(kept: KeptLog, place: Path, engine: Engine) -> None:
    _put_away(kept, place, engine, 1)
    tile, _ = rows_of(kept.files[1], b"tiles-0")[0]
    edit(kept.files[1], b"tiles-0", tile, lambda held: flipped(held, 9_000, 1))
    (finding,) = kept.findings(engine)
    assert (finding.part, finding.place.epoch, finding.place.tile) == ("tile", 1, (0, int.from_bytes(tile, "big")))


def test_an_epoch_that_lost_its_segments_is_not_taken_for_an_archived_one(kept: KeptLog, engine: Engine) -> None:
    with opened_for_tampering(kept.files[1]) as environment, environment.begin(write=True) as transaction:
        transaction.drop(environment.open_db(b"segments", txn=transaction, create=False))
    with pytest.raises(StoreDamaged):
        AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP)
    assert any(one.part == "segment" and one.place.epoch == 1 for one in kept.findings(engine))


def test_an_open_epoch_that_says_that_it_is_archived_is_damaged(kept: KeptLog, engine: Engine) -> None:
    with opened_for_tampering(kept.files[3]) as environment:
        head = environment.open_db(b"head", create=False)
        with environment.begin(write=True) as transaction:
            transaction.put(b"archived", b"nowhere", db=head)
    with pytest.raises(StoreDamaged):
        AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP)
    assert any(one.part == "head" and one.place.epoch == 3 for one in kept.findings(engine))


def test_an_epoch_is_put_back_as_it_was(kept: KeptLog, place: Path, engine: Engine) -> None:
    before = kept.files[1].read_bytes()
    _put_away(kept, place, engine, 1)
    archived = _archive(kept, place, engine).put_back(1)
    assert (archived.first, archived.stop) == (400, 800)
    assert rows_of(kept.files[1], b"segments") == _rows(before, kept.home / "before")
    _check_whole(kept, engine, set())
    assert kept.findings(engine, index=True) == []
    # The archive keeps its copy, so that the epoch can go again.
    _put_away(kept, place, engine, 1)
    _check_whole(kept, engine, {1})


def _rows(content: bytes, directory: Path) -> list[tuple[bytes, bytes]]:
    directory.mkdir()
    (directory / "data.mdb").write_bytes(content)
    return rows_of(directory / "data.mdb", b"segments")


def test_the_index_that_is_there_goes_on_and_cannot_be_made_anew(kept: KeptLog, place: Path, engine: Engine) -> None:
    _put_away(kept, place, engine, 0)
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        index = Index.open(kept.index, ORIGIN, map_bytes=SMALL_MAP)
        index.catch_up(log)
        assert index.about(f"grant:{2:064x}", limit=3) == [2, 7, 12]
        index.close()
        shutil.rmtree(kept.index)
        index = Index.open(kept.index, ORIGIN, map_bytes=SMALL_MAP)
        with pytest.raises(EntryArchived):
            index.catch_up(log)
        index.close()


# Refusals.


def test_the_open_epoch_and_one_that_is_not_there_are_refused(kept: KeptLog, place: Path, engine: Engine) -> None:
    for number, why in ((3, "is not full"), (4, "there is no epoch 4"), (99, "there is no epoch")):
        with pytest.raises(ArchiveRefused, match=why):
            _put_away(kept, place, engine, number)
    assert not place.exists()


def test_an_epoch_is_archived_when_its_newest_entry_is_older_than_the_retention_and_not_a_millisecond_sooner(
    kept: KeptLog, place: Path, engine: Engine
) -> None:
    newest = START_MS + (EPOCH_LEAVES - 1) * 20_000
    archive, due = _archive(kept, place, engine), newest + 200 * DAY_MS
    with pytest.raises(ArchiveRefused, match="newest entry of epoch 0 is of 2025-"):
        archive.put_away(0, retention_days=200, now_ms=due)
    assert not place.exists()
    assert archive.old_enough(retention_days=200, now_ms=due) == []
    assert archive.old_enough(retention_days=200, now_ms=due + 1) == [0]
    assert archive.put_away(0, retention_days=200, now_ms=due + 1).stop == EPOCH_LEAVES


def test_less_than_half_a_year_is_no_retention(kept: KeptLog, place: Path, engine: Engine) -> None:
    with pytest.raises(ArchiveRefused, match="184 days at least"):
        _archive(kept, place, engine).put_away(0, retention_days=183, now_ms=LATER)


def test_an_epoch_without_a_time_at_its_end_is_not_archived(
    tmp_path: Path, place: Path, engine: Engine, key: SM2PrivateKey
) -> None:
    kept = build(tmp_path / "other", engine, key, batches=[[b"no entry"] * 300] * 2, epoch_leaves=300)
    with pytest.raises(ArchiveRefused, match="no entry at the end of epoch 0 says when"):
        _put_away(kept, place, engine, 0)


def test_an_archived_epoch_is_not_archived_twice_and_another_is_not_put_back(
    kept: KeptLog, place: Path, engine: Engine
) -> None:
    _put_away(kept, place, engine, 0)
    with pytest.raises(ArchiveRefused, match="is archived already, in"):
        _put_away(kept, place, engine, 0)
    with pytest.raises(ArchiveRefused, match="is not archived"):
        _archive(kept, place, engine).put_back(1)


def test_all_epochs_that_are_old_enough_are_named(kept: KeptLog, place: Path, engine: Engine) -> None:
    archive = _archive(kept, place, engine)
    assert archive.old_enough(retention_days=184, now_ms=LATER) == [0, 1, 2]
    _put_away(kept, place, engine, 1)
    assert archive.old_enough(retention_days=184, now_ms=LATER) == [0, 2]
    assert archive.old_enough(retention_days=184, now_ms=START_MS) == []


def test_a_damaged_epoch_is_not_archived_and_stays(kept: KeptLog, place: Path, engine: Engine) -> None:
    row, _ = rows_of(kept.files[1], b"segments")[0]
    edit(kept.files[1], b"segments", row, lambda held: flipped(held, len(held) - 1, 0))
    before = kept.files[1].read_bytes()
    with pytest.raises(CopyInvalid, match="segment"):
        _put_away(kept, place, engine, 1)
    assert kept.files[1].read_bytes() == before
    assert not list(place.rglob("data.mdb"))


def test_an_epoch_that_no_signed_head_covers_is_not_archived(kept: KeptLog, place: Path, engine: Engine) -> None:
    kept.head.unlink()
    with pytest.raises(CopyInvalid, match="no signed head"):
        _put_away(kept, place, engine, 0)
    _check_whole(kept, engine, set())


def test_a_signed_head_from_before_the_epochs_end_is_not_enough(
    kept: KeptLog, place: Path, engine: Engine, tmp_path: Path, key: SM2PrivateKey
) -> None:
    older = build(
        tmp_path / "older", engine, key, batches=[[text_entry(number) for number in range(500)]], epoch_leaves=400
    )
    kept.head.write_bytes(older.head.read_bytes())
    with pytest.raises(CopyInvalid, match="covers 500 entries, and the epoch ends at 800"):
        _put_away(kept, place, engine, 1)
    _check_whole(kept, engine, set())


def test_what_was_damaged_in_the_archive_is_not_put_back(kept: KeptLog, place: Path, engine: Engine) -> None:
    file = _put_away(kept, place, engine, 1)
    row, _ = rows_of(file, b"segments")[0]
    edit(file, b"segments", row, lambda held: flipped(held, len(held) - 1, 0))
    with pytest.raises(CopyInvalid, match="segment"):
        _archive(kept, place, engine).put_back(1)
    _check_whole(kept, engine, {1})


def test_another_epoch_or_another_logs_is_not_put_back(
    kept: KeptLog, place: Path, engine: Engine, tmp_path: Path, key: SM2PrivateKey
) -> None:
    file = _put_away(kept, place, engine, 1)
    other = build(
        tmp_path / "other", engine, key, batches=[[os.urandom(9)] * 400 for _ in range(3)], epoch_leaves=EPOCH_LEAVES
    )
    file.unlink()
    shutil.copy2(other.files[1], file)
    with pytest.raises(ArchiveRefused, match="is not epoch 1 of this log"):
        _archive(kept, place, engine).put_back(1)
    shutil.rmtree(place)
    with pytest.raises(StoreAbsent):
        _archive(kept, place, engine).put_back(1)
    _check_whole(kept, engine, {1})


def test_a_reader_that_is_under_way_goes_on_with_what_it_has_open(
    kept: KeptLog, place: Path, engine: Engine, keepers: Forks
) -> None:
    """A node runs while its epochs are archived by another process."""
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        key = kept.key.public_key.to_bytes().hex()
        assert run(keepers, "archive", kept.path, place, kept.head, 1, LATER, key).stdout == "done\n"
        assert log.entry(500) == text_entry(500)
        log.append_many(Packed.of([b"more"]))
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log, pytest.raises(EntryArchived):
        log.entry(500)


# The disk, and the end of the process.


@pytest.mark.process
@needs_strace
@pytest.mark.parametrize("what", ["archive", "unarchive"])
def test_a_kill_at_any_step_leaves_the_epoch_or_its_stub_and_a_whole_copy(
    kept: KeptLog, place: Path, engine: Engine, tmp_path: Path, what: str, keepers: Forks
) -> None:
    if what == "unarchive":
        _put_away(kept, place, engine, 1)
    public = kept.key.public_key.to_bytes().hex()
    struck: set[Kind] = set()
    for turn, strike in enumerate(strikes(keepers, NAMES, KILL)):
        own = replace(kept, home=tmp_path / f"node-{turn}")
        shutil.copytree(kept.home, own.home)
        at = tmp_path / f"archive-{turn}"
        if place.exists():
            shutil.copytree(place, at)
        rest = [1, LATER] if what == "archive" else [1]
        ended = strike.run(what, own.path, at, own.head, *rest, public)
        assert strike.hit or ended.stdout == "done\n"
        is_archived = _is_archived(own, engine)
        assert strike.hit or is_archived == (what == "archive")
        _check_whole(own, engine, {1} if is_archived else set())
        if is_archived:
            _archive(own, at, engine).put_back(1)
            _check_whole(own, engine, set())
        _put_away(own, at, engine, 1)
        _check_whole(own, engine, {1})
        assert [child.name for child in (own.path / "epochs").iterdir() if not child.name.isdigit()] == []
        if strike.hit:
            struck.add(strike.kind)
    assert struck >= {RENAME, MKDIR, CHMOD, UNLINKAT if what == "archive" else RMDIR}, struck


@pytest.mark.process
@needs_strace
@pytest.mark.parametrize(
    ("kinds", "expected"),
    [((RENAME,), {RENAME}), (SYNCS, set(SYNCS)), (WRITES, {PWRITE, WRITEV})],
    ids=["rename", "sync", "write"],
)
def test_a_disk_that_refuses_leaves_the_epoch_as_it_was_or_archived(
    kept: KeptLog,
    place: Path,
    engine: Engine,
    tmp_path: Path,
    kinds: tuple[Kind, ...],
    expected: set[Kind],
    keepers: Forks,
) -> None:
    public = kept.key.public_key.to_bytes().hex()
    struck: set[Kind] = set()
    for turn, strike in enumerate(strikes(keepers, kinds, NO_SPACE)):
        own = replace(kept, home=tmp_path / f"node-{turn}")
        shutil.copytree(kept.home, own.home)
        ended = strike.run("archive", own.path, tmp_path / f"archive-{turn}", own.head, 1, LATER, public)
        _check_whole(own, engine, {1} if _is_archived(own, engine) else set())
        assert [child.name for child in (own.path / "epochs").iterdir() if not child.name.isdigit()] == []
        assert ended.stdout.startswith("DISK_FULL" if strike.hit else "done"), ended
        if strike.hit:
            struck.add(strike.kind)
    assert struck >= expected, struck


def _is_archived(kept: KeptLog, engine: Engine) -> bool:
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        try:
            log.entry(500)
        except EntryArchived:
            return True
    return False
