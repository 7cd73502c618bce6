"""When a batch closes: by count, by size, by time, and at once for a lone caller."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

import audit.intake
from audit.errors import EntryInvalid, LogClosed
from audit.intake import GroupCommit, Intake, Submission, joined
from audit.log import MAX_SUBMISSION_BYTES, MAX_SUBMISSION_ENTRIES, AuditLog
from crypto.engine import Engine
from crypto.packed import Packed
from tests.audit.conftest import ORIGIN, SMALL_MAP

SECONDS = 60  # after which something that must come does not
NEVER = 1e6  # seconds: a test that waits for so long is stopped, and fails


def _one(entries: Packed | bytes) -> Submission:
    return Submission(entries, Future())


def _intake(*sizes: int, **limits: float) -> Intake:
    """With submissions of one entry each."""
    intake = Intake(GroupCommit(**{"max_wait_seconds": NEVER, **limits}))  # type: ignore[arg-type]  # floats that are whole
    for size in sizes:
        intake.put(_one(b"x" * size))
    return intake


def test_the_limits_are_those_of_the_design() -> None:
    limits = GroupCommit()
    assert (limits.max_entries, limits.max_bytes, limits.max_wait_seconds) == (8_192, 4 << 20, 0.002)


def test_a_batch_closes_when_it_has_enough_entries() -> None:
    intake = _intake(*[1] * 10, max_entries=4)
    assert [len(intake.take(callers=100)) for _ in range(2)] == [4, 4]
    intake.close()
    assert len(intake.take(callers=100)) == 2
    assert intake.take(callers=100) == []


def test_a_batch_closes_when_it_has_enough_bytes() -> None:
    intake = _intake(400, 400, 400, 1_000, 100, max_bytes=1_000)
    assert [len(intake.take(callers=100)) for _ in range(2)] == [2, 1]


def test_entries_that_exceed_a_batch_by_themselves_are_a_batch_by_themselves() -> None:
    intake = Intake(GroupCommit(max_entries=4))
    many = Packed.of([b"x"] * 9)
    for entries in (b"before", many, b"after"):
        intake.put(_one(entries))
    assert [intake.take(callers=1)[0].entries for _ in range(3)] == [b"before", many, b"after"]


def test_a_batch_closes_when_its_time_is_over() -> None:
    intake = _intake(1, max_wait_seconds=0.002)
    assert len(intake.take(callers=100)) == 1


def test_a_batch_closes_when_as_many_callers_are_back_as_the_one_before_had() -> None:
    intake = _intake(1, 1)
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.append(len(intake.take(callers=4))))
    taker.start()
    for _ in range(2):
        intake.put(_one(b"x"))
    taker.join(SECONDS)
    assert taken == [4]


def test_a_lone_caller_is_not_kept_waiting(tmp_path: Path, engine: Engine) -> None:
    """If the log waited for others at all, this would not end."""
    limits = GroupCommit(max_wait_seconds=NEVER)
    with AuditLog.create(tmp_path / "log", ORIGIN, engine, limits=limits, map_bytes=SMALL_MAP) as log:
        assert [log.submit(b"x").result(SECONDS) for _ in range(20)] == list(range(20))
        assert log.commits == 20


def test_nothing_is_taken_in_after_closing_and_what_waits_is_given_out() -> None:
    intake = _intake(1)
    intake.close()
    with pytest.raises(LogClosed):
        intake.put(_one(b"x"))
    assert len(intake.take(callers=9)) == 1
    assert intake.take(callers=9) == []


def test_single_entries_and_batches_are_joined_in_their_order() -> None:
    parts: list[Packed | bytes] = [b"a", Packed.of([b"bb", b"ccc"]), b"dddd", Packed.of([b"e"])]
    assert list(joined([_one(part) for part in parts])) == [b"a", b"bb", b"ccc", b"dddd", b"e"]
    assert list(joined([_one(b"alone")])) == [b"alone"]
    assert list(joined([_one(parts[1])])) == [b"bb", b"ccc"]


@pytest.mark.parametrize(
    ("count", "size"), [(0, 0), (MAX_SUBMISSION_ENTRIES + 1, 1), (MAX_SUBMISSION_BYTES // 65_536 + 1, 65_536)]
)
def test_too_much_at_once_is_refused_before_it_can_stop_the_log(
    tmp_path: Path, engine: Engine, count: int, size: int
) -> None:
    with AuditLog.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP) as log:
        with pytest.raises(EntryInvalid):
            log.submit_many(Packed.fixed(b"x" * (count * size), size or 1))
        assert log.submit(b"another").result(SECONDS) == 0


@pytest.mark.parametrize(("bound", "size", "most"), [("WAITING_ENTRIES", 1, 10), ("WAITING_BYTES", 3, 4)])
def test_what_waits_is_bounded_and_whoever_comes_then_waits_for_room(
    monkeypatch: pytest.MonkeyPatch, bound: str, size: int, most: int
) -> None:
    monkeypatch.setattr(audit.intake, bound, 10)
    intake = Intake(GroupCommit())

    def call() -> None:
        for _ in range(100):
            intake.put(_one(b"x" * size))

    caller = threading.Thread(target=call)
    caller.start()
    caller.join(0.2)  # it cannot end; without the bound it would
    taken: list[int] = []
    while sum(taken) < 100:
        taken.append(len(intake.take(callers=1)))
    caller.join(SECONDS)
    assert max(taken) <= most
