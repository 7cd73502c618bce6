"""A mirror appends what leads to a head that the member signed, from exactly what it has; and nothing else, whatever it is handed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.errors import AuditError, EvidenceInvalid, EvidenceMalformed, LogForked, StoreDamaged, StoreExists
from audit.keeping.backup import CHECKPOINT, restore
from audit.keeping.check import Check, Expected
from audit.keeping.mirror import Mirror
from audit.log import AuditLog
from audit.verifier import EntryRange, Evidence, read_file
from crypto.engine import Engine
from crypto.errors import SignatureInvalid
from crypto.notes import NoteKey, parse_note
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import MEMBER, ORIGIN, SMALL_MAP
from tests.audit.forks import Forks
from tests.audit.keeping.keeping_process import (
    FDATASYNC,
    FSYNC,
    KILL,
    MKDIR,
    NAMES,
    NO_SPACE,
    RENAME,
    SYNCS,
    UNLINK,
    Kind,
    needs_strace,
    strikes,
)
from tests.audit.keeping.kept_log import note_of, range_of


@pytest.fixture
def log(tmp_path: Path, engine: Engine) -> Iterator[AuditLog]:
    """Another member's log."""
    with AuditLog.create(tmp_path / "theirs", ORIGIN, engine, map_bytes=SMALL_MAP) as opened:
        yield opened


@pytest.fixture
def keys(key: SM2PrivateKey) -> list[NoteKey]:
    return [NoteKey(MEMBER, key.public_key)]


@contextmanager
def _made(directory: Path, engine: Engine, keys: list[NoteKey]) -> Iterator[Mirror]:
    with Mirror.create(directory, ORIGIN, engine, keys, map_bytes=SMALL_MAP, epoch_leaves=300) as mirror:
        yield mirror


def _grow(log: AuditLog, count: int, seed: int = 1) -> None:
    drawn = random.Random(seed + log.size)
    log.append_many(Packed.of([drawn.randbytes(drawn.choice([1, 20, 300])) for _ in range(count)]))


def _contents(directory: Path) -> dict[str, bytes]:
    """What a mirror keeps, as bytes of the files that say something."""
    files = [file for file in directory.rglob("*") if file.is_file() and file.name not in {"lock", "lock.mdb"}]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def _holds(directory: Path, engine: Engine, keys: list[NoteKey]) -> int:
    """Check it as an operator would; gives its size."""
    check = Check(directory, engine, Expected(checkpoint=directory / CHECKPOINT, keys=keys), map_bytes=SMALL_MAP)
    assert list(check.findings()) == []
    return check.size


@settings(max_examples=15, deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 120)), min_size=1, max_size=12))
def test_a_mirror_that_takes_ranges_of_a_growing_log_ends_as_the_log(
    tmp_path_factory: pytest.TempPathFactory, engine: Engine, key: SM2PrivateKey, turns: list[tuple[int, int]]
) -> None:
    """Each range leads to a head of its own, and may end long before it."""
    home = tmp_path_factory.mktemp("mirror")
    keys = [NoteKey(MEMBER, key.public_key)]
    with AuditLog.create(home / "theirs", ORIGIN, engine, map_bytes=SMALL_MAP) as log:
        with _made(home / "mirror", engine, keys) as mirror:
            _grow(log, 1)
            for more, taken in turns:
                if more:
                    _grow(log, more)
                first = mirror.size
                if first < log.size:
                    head = mirror.take(range_of(engine, key, log, first, min(first + taken, log.size)))
                    assert head.size == log.size
                assert mirror.head is None or mirror.head.size <= mirror.size
            _grow(log, 1)
            mirror.follow(lambda first, _: range_of(engine, key, log, first, log.size))
            assert mirror.head is not None
            assert (mirror.size, mirror.head.size, mirror.head.root) == (log.size, log.size, log.tree.root())
        with Mirror.open(home / "mirror", engine, keys, map_bytes=SMALL_MAP) as mirror:
            assert mirror.head is not None
            assert (mirror.size, mirror.origin, mirror.head.size) == (log.size, ORIGIN, log.size)
        assert not any((home / "mirror" / "heads").iterdir())
        with AuditLog.open(home / "mirror", engine, map_bytes=SMALL_MAP) as mirrored:
            assert list(mirrored.entries(0, log.size)) == list(log.entries(0, log.size))
    _holds(home / "mirror", engine, keys)


def test_following_asks_on_until_the_head_of_the_last_answer_is_reached(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 1_000)
    asked: list[int] = []

    def fetch(first: int, count: int) -> bytes:
        assert count == 0
        asked.append(first)
        if len(asked) < 4:
            _grow(log, 50)  # asking is itself an entry there
        return range_of(engine, key, log, first, min(first + 300, log.size))

    told: list[tuple[int, int]] = []
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        assert mirror.follow(fetch, lambda *at: told.append(at)) == 1_150
    assert asked == [0, 300, 600, 900]
    assert told == [(300, 1_050), (600, 1_100), (900, 1_150), (1_150, 1_150)]
    assert _holds(tmp_path / "mirror", engine, keys) == 1_150


def test_a_mirror_can_be_restored_from(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 700)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 700))
    restored = restore(tmp_path / "mirror", tmp_path / "restored", engine, Expected(keys=keys))
    assert restored.size == 700
    with AuditLog.open(tmp_path / "restored", engine, map_bytes=SMALL_MAP) as opened:
        assert opened.tree.root() == log.tree.root()


def test_making_a_mirror_is_not_opening_one(tmp_path: Path, engine: Engine, keys: list[NoteKey]) -> None:
    with _made(tmp_path / "mirror", engine, keys):
        pass
    with pytest.raises(StoreExists):
        Mirror.create(tmp_path / "mirror", ORIGIN, engine, keys, map_bytes=SMALL_MAP)


Change = Callable[[EntryRange], EntryRange]


def _without(content: EntryRange, at: int) -> EntryRange:
    return replace(content, entries=content.entries[:at] + content.entries[at + 1 :])


def _swapped(content: EntryRange) -> EntryRange:
    return replace(content, entries=(content.entries[1], content.entries[0], *content.entries[2:]))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("an entry left out", lambda content: _without(content, 3)),
        ("the last entry left out", lambda content: _without(content, len(content.entries) - 1)),
        ("an entry changed", lambda content: replace(content, entries=(b"another", *content.entries[1:]))),
        ("two entries swapped", _swapped),
        ("an entry added", lambda content: replace(content, entries=(*content.entries, b"one more"))),
        ("the left side left out", lambda content: replace(content, left=())),
        ("another left side", lambda content: replace(content, left=(bytes(32), *content.left[1:]))),
        ("another right side", lambda content: replace(content, right=(bytes(32), *content.right[1:]))),
        ("from one entry later", lambda content: replace(content, first=content.first + 1)),
        ("from the beginning", lambda content: replace(content, first=0)),
    ],
)
def test_a_range_that_was_changed_on_its_way_is_refused_and_nothing_is_kept(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey], name: str, change: Change
) -> None:
    _grow(log, 500)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 200))
        before = _contents(tmp_path / "mirror")
        content = read_file(range_of(engine, key, log, 200, 300))
        assert isinstance(content, EntryRange)
        with pytest.raises(EvidenceInvalid):
            mirror.take(change(content).to_bytes())
        assert mirror.size == 200
        assert _contents(tmp_path / "mirror") == before
        mirror.take(range_of(engine, key, log, 200, 300))
        assert mirror.size == 300


def test_a_head_that_another_key_signed_leads_nowhere(
    log: AuditLog, tmp_path: Path, engine: Engine, keys: list[NoteKey]
) -> None:
    _grow(log, 50)
    stranger = SM2PrivateKey.generate(os.urandom)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        before = _contents(tmp_path / "mirror")
        with pytest.raises(SignatureInvalid):
            mirror.take(range_of(engine, stranger, log, 0, 50))
        assert (mirror.size, _contents(tmp_path / "mirror")) == (0, before)


def test_the_log_of_another_member_or_of_a_dataset_is_refused(
    tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    dataset = ORIGIN.replace("audit", "dataset/" + "ab" * 32)
    with AuditLog.create(tmp_path / "other", dataset, engine, map_bytes=SMALL_MAP) as other:
        _grow(other, 20)
        with _made(tmp_path / "mirror", engine, keys) as mirror, pytest.raises(EvidenceInvalid, match="dataset"):
            mirror.take(range_of(engine, key, other, 0, 20))


def test_what_is_no_range_file_is_refused(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 20)
    raw = range_of(engine, key, log, 0, 20)
    content = read_file(raw)
    evidence = Evidence(0, log.entry(0), tuple(log.tree.inclusion(0, 20)), content.proof).to_bytes()
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        for wrong in (b"", b"nonsense", evidence, raw[:-1], raw + b"\n", raw.replace(b"count 20", b"count 020")):
            with pytest.raises(EvidenceMalformed):
                mirror.take(wrong)
        assert mirror.size == 0


# Forks.


def _other_history(path: Path, engine: Engine, log: AuditLog, common: int, count: int) -> AuditLog:
    """A log of the same member that begins with the same entries and goes on with others."""
    other = AuditLog.create(path, ORIGIN, engine, map_bytes=SMALL_MAP)
    if common:
        other.append_many(Packed.of(list(log.entries(0, common))))
    other.append_many(Packed.of([b"other %d" % number for number in range(count)]))
    return other


def _fork_kept(
    refused: pytest.ExceptionInfo[LogForked], engine: Engine, keys: list[NoteKey]
) -> tuple[Checkpoint, Checkpoint]:
    """Both heads, as they were kept; each is signed by the member."""
    place = Path(refused.value.details["kept"])
    ours, theirs = ((place / name).read_bytes() for name in ("ours", "theirs"))
    assert read_file((place / "range").read_bytes()).proof.checkpoint == theirs
    return open_checkpoint(engine, ours, keys), open_checkpoint(engine, theirs, keys)


def test_a_log_with_another_history_is_refused_and_both_heads_are_kept(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 300)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 300))
        with _other_history(tmp_path / "other", engine, log, 250, 200) as other, pytest.raises(LogForked) as refused:
            mirror.take(range_of(engine, key, other, 300, 400))
        ours, theirs = _fork_kept(refused, engine, keys)
        assert (ours.size, ours.root, theirs.size) == (300, log.tree.root(), 450)
        assert mirror.size == 300
        # The log that it has goes on.
        _grow(log, 10)
        mirror.take(range_of(engine, key, log, 300, 310))
    assert _holds(tmp_path / "mirror", engine, keys) == 310


def test_two_heads_that_agree_on_what_is_here_and_not_on_what_follows_are_a_fork(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    """The first head went further than its range; when the entries come under the other, the first is compared."""
    _grow(log, 400)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 100))
        with _other_history(tmp_path / "other", engine, log, 200, 300) as other:
            mirror.take(range_of(engine, key, other, 100, 180))
            with pytest.raises(LogForked, match="400 and at 500 entries") as refused:
                mirror.take(range_of(engine, key, other, 180, 450))
        ours, theirs = _fork_kept(refused, engine, keys)
        assert (ours.size, ours.root, theirs.size) == (400, log.tree.root(), 500)
        assert mirror.size == 180


def test_two_heads_of_one_size_are_a_fork_before_their_entries_are_here(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 400)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 100))
        with _other_history(tmp_path / "other", engine, log, 300, 100) as other, pytest.raises(LogForked) as refused:
            mirror.take(range_of(engine, key, other, 100, 150))
        ours, theirs = _fork_kept(refused, engine, keys)
        assert ours.size == theirs.size == 400
        assert ours.root != theirs.root


def test_a_log_that_went_back_is_compared_and_a_prefix_is_no_fork(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 300)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 300))
        assert mirror.compare(range_of(engine, key, log, 0, 1, size=200)).size == 200
        with _other_history(tmp_path / "other", engine, log, 100, 50) as other, pytest.raises(LogForked) as refused:
            mirror.compare(range_of(engine, key, other, 0, 1))
        ours, theirs = _fork_kept(refused, engine, keys)
        assert (ours.size, theirs.size) == (300, 150)
        assert mirror.size == 300


def test_a_mirror_whose_files_are_not_what_its_head_is_of_does_not_open(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 300)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 300))
    for size, root in ((300, bytes(32)), (301, log.tree.root())):
        note = sign_checkpoint(Checkpoint(ORIGIN, size, root, 1), HeldKey(engine, key))
        (tmp_path / "mirror" / CHECKPOINT).write_bytes(note)
        with pytest.raises(StoreDamaged):
            Mirror.open(tmp_path / "mirror", engine, keys, map_bytes=SMALL_MAP)
    (tmp_path / "mirror" / CHECKPOINT).write_bytes(note_of(engine, SM2PrivateKey.generate(os.urandom), log))
    with pytest.raises(SignatureInvalid):
        Mirror.open(tmp_path / "mirror", engine, keys, map_bytes=SMALL_MAP)
    # It lets go of the store each time.
    (tmp_path / "mirror" / CHECKPOINT).write_bytes(note_of(engine, key, log))
    Mirror.open(tmp_path / "mirror", engine, keys, map_bytes=SMALL_MAP).close()


def test_the_time_of_a_head_may_differ_and_the_newest_is_kept(
    log: AuditLog, tmp_path: Path, engine: Engine, key: SM2PrivateKey, keys: list[NoteKey]
) -> None:
    _grow(log, 30)
    with _made(tmp_path / "mirror", engine, keys) as mirror:
        mirror.take(range_of(engine, key, log, 0, 10))
        mirror.take(range_of(engine, key, log, 10, 20))
        mirror.take(range_of(engine, key, log, 20, 30))
    kept = (tmp_path / "mirror" / CHECKPOINT).read_bytes()
    assert parse_note(kept).text == parse_note(note_of(engine, key, log)).text


# The disk, and the end of the process.


@pytest.mark.process
@needs_strace
@pytest.mark.parametrize(
    ("kinds", "fault", "also"),
    [((*NAMES, FDATASYNC), KILL, {MKDIR, UNLINK}), ((RENAME, *SYNCS), NO_SPACE, {FSYNC})],
    ids=["killed", "disk full"],
)
def test_a_mirror_that_is_struck_at_any_step_goes_on_where_it_was(
    log: AuditLog,
    tmp_path: Path,
    engine: Engine,
    key: SM2PrivateKey,
    keys: list[NoteKey],
    kinds: tuple[Kind, ...],
    fault: str,
    also: set[Kind],
    keepers: Forks,
) -> None:
    _grow(log, 500)
    ranges = []
    # The second range reaches the head of the first, and its own.
    for first, stop, size in ((0, 200, 300), (200, 400, 400)):
        ranges.append(tmp_path / f"range-{first}")
        ranges[-1].write_bytes(range_of(engine, key, log, first, stop, size))
    public = key.public_key.to_bytes().hex()
    struck: set[Kind] = set()
    for turn, strike in enumerate(strikes(keepers, kinds, fault)):
        own = tmp_path / f"mirror-{turn}"
        Mirror.create(own, ORIGIN, engine, keys, map_bytes=SMALL_MAP).close()
        ended = strike.run("mirror", own, *ranges, public)
        with Mirror.open(own, engine, keys, map_bytes=SMALL_MAP) as mirror:
            # What is here is what a range held, and every head that is kept leads to it or goes on from it.
            assert mirror.size in {0, 200, 400}
            assert mirror.head is None or mirror.head.size <= mirror.size
            assert strike.hit or mirror.size == 400
            for file in ranges:
                content = read_file(file.read_bytes())
                assert isinstance(content, EntryRange)
                if content.first == mirror.size:
                    mirror.take(file.read_bytes())
            assert mirror.size == 400
            assert mirror.head is not None
            assert (mirror.head.size, mirror.head.root) == (400, log.tree.root_at(400))
        if fault == NO_SPACE:
            # Room that is there again by the next attempt is used.
            assert ended.stdout.startswith(("DISK_FULL", "done") if strike.hit else "done"), ended
        else:
            assert strike.hit or ended.stdout == "done\n"
        if strike.hit:
            struck.add(strike.kind)
    assert struck >= {RENAME, FDATASYNC, *also}, struck


def test_refusals_of_a_mirror_are_of_this_package(
    log: AuditLog, tmp_path: Path, engine: Engine, keys: list[NoteKey]
) -> None:
    with _made(tmp_path / "mirror", engine, keys) as mirror, pytest.raises(AuditError):
        mirror.take(b"nothing")
