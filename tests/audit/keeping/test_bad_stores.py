"""Bad input to whoever opens, checks, copies, restores, mirrors or archives a log: one clear error each, and no byte of the log changed.

Elsewhere: a file cut short at every length and a store that is held, at the level of the store (test_store_faults), a disk that is really full (test_full_disk, test_backup).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.checkpoint import open_checkpoint
from audit.errors import AuditError
from audit.guard import check_clock
from audit.keeping.archive import Archive
from audit.keeping.backup import back_up, restore
from audit.keeping.mirror import Mirror
from audit.keeping.stored import epoch_files
from audit.log import AuditLog
from crypto.engine import Engine
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from node.exchange.journal import Journal, Step
from node.model.events import Event
from tests.audit.conftest import SMALL_MAP
from tests.audit.forks import Forks
from tests.audit.keeping.keeping_process import FSYNC, NO_SPACE, Strike, needs_strace, run
from tests.audit.keeping.kept_log import START_MS, KeptLog, build, edit, opened_for_tampering, text_entry

EPOCH_LEAVES = 60
ENTRIES = 200
LATER = START_MS + 400 * 86_400_000


@pytest.fixture
def kept(tmp_path: Path, engine: Engine, key: SM2PrivateKey) -> KeptLog:
    batches = [[text_entry(number) for number in range(at, at + 20)] for at in range(0, ENTRIES, 20)]
    return build(tmp_path / "node", engine, key, batches=batches, epoch_leaves=EPOCH_LEAVES)


@dataclass(frozen=True)
class Opener:
    """Ways to use a log's files, by their names."""

    kept: KeptLog
    engine: Engine
    other: Path

    def open(self) -> None:
        AuditLog.open(self.kept.path, self.engine, map_bytes=SMALL_MAP).close()

    def backup(self) -> None:
        back_up(self.kept.path, self.other / "backup", self.engine, self.kept.expected(), map_bytes=SMALL_MAP)

    def restore(self) -> None:
        (self.kept.path / "checkpoint").write_bytes(self.kept.head.read_bytes())
        try:
            restore(self.kept.path, self.other / "restored", self.engine, self.kept.expected())
        finally:
            (self.kept.path / "checkpoint").unlink()

    def mirror(self) -> None:
        Mirror.open(self.kept.path, self.engine, self.kept.keys, map_bytes=SMALL_MAP).close()

    def archive(self) -> None:
        place = Archive(self.kept.path, self.other / "archive", self.engine, self.kept.expected())
        place.put_away(1, retention_days=184, now_ms=LATER)


WAYS: list[Callable[[Opener], None]] = [Opener.open, Opener.backup, Opener.restore, Opener.mirror, Opener.archive]
EACH_WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


@pytest.fixture
def opener(kept: KeptLog, engine: Engine, tmp_path: Path) -> Opener:
    return Opener(kept, engine, tmp_path / "other")


def _state(path: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file but those that say who is there."""
    files = [one for one in path.rglob("*") if one.is_file() and one.name not in {"lock", "lock.mdb", "archive.lock"}]
    return {str(file): (file.stat().st_mode, file.read_bytes()) for file in files}


@contextmanager
def _refused(kept: KeptLog, *reasons: str) -> Iterator[None]:
    """What is done is refused with one of these reasons, in a sentence, and the log is byte for byte as before."""
    before = _state(kept.home)
    with pytest.raises(AuditError) as refused:
        yield
    assert refused.value.reason in reasons, refused.value
    assert str(refused.value)
    assert refused.value.remedy
    assert _state(kept.home) == before


def _nothing_made(other: Path) -> bool:
    """Whether no copy was left: neither one that was begun nor one that is wrong."""
    return not [file for file in other.rglob("*") if file.is_file() and file.name != "lock"]


def _of_another_format(file: Path) -> None:
    edit(file, b"head", b"head", lambda held: (2).to_bytes(2, "big") + held[2:])


@EACH_WAY
def test_a_store_of_another_version(kept: KeptLog, opener: Opener, way: Callable[[Opener], None]) -> None:
    for file in kept.files:
        _of_another_format(file)
    with _refused(kept, "STORE_VERSION"):
        way(opener)
    assert _nothing_made(opener.other)


@pytest.mark.parametrize("way", [Opener.backup, Opener.restore, Opener.archive], ids=lambda way: way.__name__)
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_store_with_one_epoch_of_another_version(
    kept: KeptLog, opener: Opener, way: Callable[[Opener], None], number: int
) -> None:
    """Whichever it is: the epoch that is archived, another, or the one that grows."""
    _of_another_format(kept.files[number])
    with _refused(kept, "STORE_VERSION"):
        way(opener)
    assert _nothing_made(opener.other)


def test_a_backup_that_is_of_another_version_is_not_written_over(kept: KeptLog, opener: Opener) -> None:
    opener.backup()
    backup = opener.other / "backup"
    for file in epoch_files(backup):
        _of_another_format(file)
    before = _state(backup)
    with _refused(kept, "STORE_VERSION"):
        opener.backup()
    assert _state(backup) == before


@EACH_WAY
def test_a_store_with_a_file_that_is_cut_short(kept: KeptLog, opener: Opener, way: Callable[[Opener], None]) -> None:
    file = kept.files[1]
    file.chmod(0o600)
    os.truncate(file, file.stat().st_size // 2)
    file.chmod(0o400)
    with _refused(kept, "STORE_DAMAGED", "COPY_INVALID"):
        way(opener)
    assert _nothing_made(opener.other)


@EACH_WAY
def test_a_store_whose_file_is_empty(kept: KeptLog, opener: Opener, way: Callable[[Opener], None]) -> None:
    file = kept.files[-1]
    os.truncate(file, 0)
    with _refused(kept, "STORE_DAMAGED", "COPY_INVALID"):
        way(opener)
    assert _nothing_made(opener.other)


def test_a_store_whose_file_is_gone(kept: KeptLog, opener: Opener) -> None:
    """A disk that is not mounted looks like this; LMDB would begin a new file in its place."""
    kept.files[-1].unlink()
    with _refused(kept, "STORE_ABSENT"):
        opener.open()


def test_a_store_whose_origin_is_no_text(kept: KeptLog, opener: Opener) -> None:
    edit(kept.files[-1], b"head", b"origin", lambda held: b"\xff" + held[1:])
    with _refused(kept, "STORE_DAMAGED"):
        opener.open()


def test_a_store_that_another_holds_is_read_and_never_written(
    kept: KeptLog, opener: Opener, engine: Engine, keepers: Forks
) -> None:
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP):
        for way in (Opener.open, Opener.mirror):
            with _refused(kept, "STORE_LOCKED"):
                way(opener)
        before = _state(kept.home)
        public = kept.key.public_key.to_bytes().hex()
        assert run(keepers, "backup", kept.path, opener.other / "backup", kept.head, public).stdout == "done\n"
        assert _state(kept.home) == before
    with AuditLog.open(opener.other / "backup", engine, map_bytes=SMALL_MAP) as log:
        assert log.size == ENTRIES


@pytest.mark.process
@needs_strace
@pytest.mark.parametrize("what", ["backup", "archive"])
def test_a_disk_without_room(kept: KeptLog, keepers: Forks, tmp_path: Path, what: str) -> None:
    public = kept.key.public_key.to_bytes().hex()
    before = _state(kept.home)
    rest = [1, LATER] if what == "archive" else []
    ended = Strike(keepers, FSYNC, NO_SPACE, 2).run(what, kept.path, tmp_path / "other", kept.head, *rest, public)
    assert ended.stdout.startswith("DISK_FULL ")
    assert (ended.code, _state(kept.home)) == (1, before)
    assert _nothing_made(tmp_path / "other")


def test_a_clock_that_went_back_keeps_a_log_as_it_is(kept: KeptLog, engine: Engine) -> None:
    """At the start by the newest head, while it runs by the newest entry."""
    head = open_checkpoint(engine, kept.head.read_bytes(), kept.keys)
    with _refused(kept, "CLOCK_WENT_BACK"):
        check_clock(head.time_ms - 300_001, head, 300)
    times = iter((START_MS + 10_000_000, START_MS))
    step = Step(Event.NODE_STARTED, kept.keys[0].name, "node")

    async def two_steps() -> None:
        with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
            journal = Journal(log, lambda: next(times), 300_000)
            assert await journal.record(step) == ENTRIES
            with _refused(kept, "CLOCK_WENT_BACK"):
                await journal.record(step)

    asyncio.run(two_steps())
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log:
        assert log.size == ENTRIES + 1


def test_a_store_without_its_head_record(kept: KeptLog, opener: Opener) -> None:
    with opened_for_tampering(kept.files[-1]) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b"head", db=environment.open_db(b"head", txn=transaction, create=False))
    with _refused(kept, "STORE_DAMAGED"):
        opener.open()


def test_a_batch_that_is_no_batch(kept: KeptLog, engine: Engine) -> None:
    with AuditLog.open(kept.path, engine, map_bytes=SMALL_MAP) as log, _refused(kept, "ENTRY_INVALID"):
        log.append_many(Packed.of([b""]))
