"""The two threads of the log: who is refused and who is not, in which order, and what stops them."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

import audit.environment
import audit.intake
import audit.store
from audit.errors import DiskFull, LogClosed, StoreDamaged
from audit.intake import GroupCommit
from audit.log import AuditLog
from audit.store import Prepared, TreeStore
from crypto.engine import Engine
from crypto.errors import EngineUnavailable, Refusal
from crypto.merkle import SM3_TREE, merkle_levels
from crypto.packed import Packed
from tests.audit.conftest import ORIGIN, SMALL_MAP

SECONDS = 60  # after which something that must come does not


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def _create(path: Path, engine: Engine, **settings: object) -> AuditLog:
    return AuditLog.create(path, ORIGIN, engine, map_bytes=SMALL_MAP, **settings)  # type: ignore[arg-type]  # on_commit


def _check(log: AuditLog, engine: Engine, acknowledged: dict[int, bytes], *, exactly: bool = True) -> None:
    """The log has what was acknowledged, each at its index, nothing else, and the root over it."""
    entries = list(log.entries(0, log.size))
    assert {index: entries[index] for index in acknowledged} == acknowledged
    assert not exactly or len(entries) == len(acknowledged)
    assert log.tree.root() == merkle_levels(engine, b"".join(map(SM3_TREE.leaf, entries)))[-1]


class Disk:
    """Stands before every commit of the store. `refusals`: what the commits of those numbers, from 0, get instead of the disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusals: dict[int, Refusal] = {}
        self.arrived = 0
        self.before: Callable[[int], None] = lambda _: None
        real = audit.environment.writing

        @contextmanager
        def writing(environment: lmdb.Environment) -> Iterator[lmdb.Transaction]:
            number, self.arrived = self.arrived, self.arrived + 1
            self.before(number)
            with real(environment) as transaction:
                yield transaction
                # As where a disk is full: all was written to the transaction, and its commit is refused.
                if number in self.refusals:
                    raise self.refusals[number]

        monkeypatch.setattr(audit.store, "writing", writing)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def _batch(name: str, count: int = 4) -> Packed:
    return Packed.of([f"{name} {number}".encode() for number in range(count)])


def test_a_batch_that_the_disk_refuses_fails_alone_and_what_was_hashed_on_top_of_it_lands(
    path: Path, engine: Engine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed_on_top = threading.Event()
    prepare = TreeStore.prepare
    bases: list[Prepared | None] = []

    def prepared(store: TreeStore, appends: list[tuple[bytes, bytes]], after: Prepared | None = None) -> Prepared:
        ready = prepare(store, appends, after)
        bases.append(after)
        if len(bases) == 3:
            hashed_on_top.set()
        return ready

    monkeypatch.setattr(TreeStore, "prepare", prepared)
    disk.refusals[1] = DiskFull("no room")
    disk.before = lambda number: None if number != 1 else _must(hashed_on_top.wait(SECONDS))
    with _create(path, engine, limits=GroupCommit(max_entries=4)) as log:
        first, second, third = (log.submit_many(_batch(name)) for name in ("first", "second", "third"))
        assert first.result(SECONDS) == 0
        with pytest.raises(DiskFull):
            second.result(SECONDS)
        assert third.result(SECONDS) == 4
        # The third was hashed on top of the second, and then again on top of the first.
        assert bases[2] is not None
        assert bases[3] is None
        fourth = log.submit_many(_batch("fourth"))
        assert fourth.result(SECONDS) == 8
        expected = [*_batch("first"), *_batch("third"), *_batch("fourth")]
        _check(log, engine, dict(enumerate(expected)))


def _must(happened: bool) -> None:  # noqa: FBT001 - what an event's wait gives
    assert happened


@pytest.mark.parametrize("seed", range(4))
def test_refusals_in_a_stream_of_many_callers_reach_their_own_callers_only(
    path: Path, engine: Engine, disk: Disk, seed: int
) -> None:
    drawn = random.Random(seed)
    disk.refusals = {number: DiskFull("no room") for number in range(2_000) if drawn.random() < 0.3}
    futures: list[tuple[Future[int], Packed]] = []
    with _create(path, engine, epoch_leaves=1_000) as log:
        gate = threading.Barrier(8)

        def call(caller: int) -> None:
            gate.wait()
            for turn in range(60):
                entries = _batch(f"{caller} {turn}", 1 + (caller * turn) % 5)
                future = log.submit_many(entries)
                futures.append((future, entries))
                if turn % 7 == caller % 7:
                    wait([future], SECONDS)

        _in_threads(call, 8)
        refused, acknowledged = 0, dict[int, bytes]()
        for future, entries in futures:
            error = future.exception(SECONDS)
            if error is None:
                acknowledged |= dict(enumerate(entries, future.result()))
            else:
                assert isinstance(error, DiskFull)
                refused += 1
        assert 0 < refused < len(futures)
        _check(log, engine, acknowledged)
    with AuditLog.open(path, engine, map_bytes=SMALL_MAP) as log:
        _check(log, engine, acknowledged)


def _in_threads(work: Callable[[int], object], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_disk_that_fails_stops_the_log_and_what_was_acknowledged_is_there(
    path: Path, engine: Engine, disk: Disk
) -> None:
    disk.refusals[1] = StoreDamaged("an input or output error")
    with _create(path, engine) as log:
        assert log.submit(b"before").result(SECONDS) == 0
        with pytest.raises(StoreDamaged):
            log.submit(b"struck").result(SECONDS)
        with pytest.raises(LogClosed):
            log.submit(b"after").result(SECONDS)
        _check(log, engine, {0: b"before"})
    with AuditLog.open(path, engine, map_bytes=SMALL_MAP) as log:
        assert log.submit(b"again").result(SECONDS) == 1


def test_whoever_waits_when_the_log_stops_is_told(path: Path, engine: Engine, disk: Disk) -> None:
    all_waiting = threading.Event()
    disk.refusals[0] = StoreDamaged("an input or output error")
    disk.before = lambda _: _must(all_waiting.wait(SECONDS))
    with _create(path, engine, limits=GroupCommit(max_entries=50)) as log:
        futures = [log.submit(b"%d" % number) for number in range(500)]
        all_waiting.set()
        errors = {type(future.exception(SECONDS)) for future in futures}
        assert errors == {StoreDamaged, LogClosed}
        assert log.size == 0


def test_a_defect_of_hashing_stops_the_log_and_writes_nothing(
    path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _create(path, engine) as log:
        log.submit(b"before").result(SECONDS)

        def defective(_: Packed) -> bytes:
            raise EngineUnavailable("the library could not compute SM3")

        monkeypatch.setattr(type(engine), "sm3_many", lambda _, messages: defective(messages))
        with pytest.raises(EngineUnavailable):
            log.submit(b"struck").result(SECONDS)
        monkeypatch.undo()
        with pytest.raises(LogClosed):
            log.submit(b"after")
        _check(log, engine, {0: b"before"})


@pytest.mark.parametrize("defect", [RuntimeError("a defect"), DiskFull("the index has no room")])
def test_a_projection_that_fails_under_load_stops_the_log_at_its_batch(
    path: Path, engine: Engine, defect: Exception
) -> None:
    """The struck batch is on disk, so its callers are not told that nothing was changed, whatever the projection said."""
    seen: list[bytes] = []

    def projected(first: int, entries: Packed) -> None:
        if first >= 100:
            raise defect
        seen.extend(entries)

    with _create(path, engine, on_commit=projected, limits=GroupCommit(max_entries=20)) as log:
        futures = [log.submit_many(_batch(str(number), 10)) for number in range(60)]
        outcomes = [future.exception(SECONDS) for future in futures]
        told = sum(outcome is None for outcome in outcomes)
        assert outcomes[told:] == [outcome for outcome in outcomes if isinstance(outcome, LogClosed)]
        assert len(seen) == 10 * told < 600
        with pytest.raises(LogClosed):
            log.submit(b"after")
        assert log.size > len(seen)
        assert list(log.entries(0, len(seen))) == seen


def test_callers_are_told_in_the_order_of_the_log_and_after_the_projection(path: Path, engine: Engine) -> None:
    seen: list[bytes] = []
    told: list[int] = []

    def tell(future: Future[int]) -> None:
        assert future.result() < len(seen)
        told.append(future.result())

    with _create(path, engine, on_commit=lambda _, entries: seen.extend(entries)) as log:

        def call(_: int) -> None:
            for number in range(300):
                log.submit(b"%d" % number).add_done_callback(tell)

        _in_threads(call, 8)
    assert len(told) == 2_400
    # A callback that is added late runs at once in its own thread, so a caller may be told late, but none early.
    assert sorted(told) == list(range(2_400))


def test_acknowledgements_follow_each_other_as_the_entries_do(path: Path, engine: Engine, disk: Disk) -> None:
    all_waiting = threading.Event()
    disk.before = lambda _: _must(all_waiting.wait(SECONDS))
    told: list[int] = []
    with _create(path, engine) as log:
        for number in range(3_000):
            log.submit(b"%d" % number).add_done_callback(lambda future: told.append(future.result()))
        all_waiting.set()
    assert told == list(range(3_000))


def test_closing_while_many_write_answers_every_one_of_them(path: Path, engine: Engine) -> None:
    accepted: list[tuple[Future[int], bytes]] = []
    log = _create(path, engine)
    enough = threading.Event()

    def call(caller: int) -> None:
        turn = 0
        while True:
            entry = b"%d-%d" % (caller, turn)
            try:
                accepted.append((log.submit(entry), entry))
            except LogClosed:
                return
            turn += 1
            if len(accepted) > 500:
                enough.set()

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(SECONDS)
    log.close()
    for thread in threads:
        thread.join()
    log.close()  # once more changes nothing
    assert all(future.done() for future, _ in accepted)
    with AuditLog.open(path, engine, map_bytes=SMALL_MAP) as log:
        _check(log, engine, {future.result(): entry for future, entry in accepted})


@pytest.mark.parametrize("way", ["a future of the loop", "a future of a thread"])
def test_thousands_of_tasks_share_commits_and_each_gets_its_own_index(path: Path, engine: Engine, way: str) -> None:
    async def call(log: AuditLog, number: int) -> dict[int, bytes]:
        acknowledged = {}
        for turn in range(3):
            entry = b"%d-%d" % (number, turn)
            of_the_loop = way == "a future of the loop"
            future = log.submit_async(entry) if of_the_loop else asyncio.wrap_future(log.submit(entry))
            acknowledged[await future] = entry
        return acknowledged

    async def all_of_them(log: AuditLog) -> list[dict[int, bytes]]:
        return await asyncio.gather(*(call(log, number) for number in range(4_000)))

    with _create(path, engine) as log:
        parts = asyncio.run(all_of_them(log))
        acknowledged = {index: entry for part in parts for index, entry in part.items()}
        assert len(acknowledged) == 12_000
        _check(log, engine, acknowledged)
        assert log.commits < 1_200


def test_a_task_is_told_what_the_log_refuses(path: Path, engine: Engine, disk: Disk) -> None:
    disk.refusals[0] = DiskFull("no room")

    async def call(log: AuditLog) -> list[int | BaseException]:
        first = await asyncio.gather(log.submit_async(b"first"), return_exceptions=True)
        return [*first, await log.submit_async(b"second")]

    with _create(path, engine) as log:
        refused, second = asyncio.run(call(log))
        assert isinstance(refused, DiskFull)
        assert second == 0
        _check(log, engine, {0: b"second"})


def test_a_task_or_a_loop_that_has_gone_harms_nobody(path: Path, engine: Engine, disk: Disk) -> None:
    gone = threading.Event()
    disk.before = lambda _: _must(gone.wait(SECONDS))

    async def leave(log: AuditLog) -> None:
        log.submit_async(b"of a loop that ends").cancel()
        log.submit_async(b"likewise")

    async def stay(log: AuditLog) -> tuple[int, bool]:
        cancelled = log.submit_async(b"cancelled")
        cancelled.cancel()
        gone.set()
        return await log.submit_async(b"stays"), cancelled.cancelled()

    with _create(path, engine) as log:
        asyncio.run(leave(log))
        assert asyncio.run(stay(log)) == (3, True)
        entries = [b"of a loop that ends", b"likewise", b"cancelled", b"stays"]
        _check(log, engine, dict(enumerate(entries)))


def test_an_entry_whose_caller_has_gone_is_written_and_harms_nobody(path: Path, engine: Engine, disk: Disk) -> None:
    cancelled = threading.Event()
    disk.before = lambda _: _must(cancelled.wait(SECONDS))
    with _create(path, engine) as log:
        gone, stays = log.submit(b"gone"), log.submit(b"stays")
        gone.cancel()
        cancelled.set()
        assert stays.result(SECONDS) == 1
        _check(log, engine, {0: b"gone", 1: b"stays"})


def test_callers_who_wait_for_room_are_told_when_the_log_closes(
    path: Path, engine: Engine, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.intake, "WAITING_ENTRIES", 1)
    closing = threading.Event()
    disk.before = lambda _: _must(closing.wait(SECONDS))
    log = _create(path, engine)
    accepted: list[Future[int]] = []

    def call(_: int) -> None:
        try:
            while True:
                accepted.append(log.submit(b"x"))
        except LogClosed:
            return

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    log._intake.close()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    closing.set()
    log.close()
    assert sorted(future.result(SECONDS) for future in accepted) == list(range(len(accepted)))
