"""The secondary index finds what a reading of all entries finds, through restarts, and is begun again whenever it cannot be trusted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import index as module
from audit.entry import Entry, parse_entry
from audit.environment import LIB_VERSION
from audit.index import Index, terms_of
from tests.audit.conftest import MEMBER, ORIGIN, SMALL_MAP

GRANTS = ["aa" * 32, "bb" * 32, "cc" * 32]
START_MS = 1_795_482_000_000


class Entries:
    """A log in memory."""

    def __init__(self, entries: list[bytes]) -> None:
        self.held = entries

    @property
    def size(self) -> int:
        return len(self.held)

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        return iter(self.held[start:stop])


def _entry(number: int, grant: int, minutes: int) -> bytes:
    order = f"{number % 4:032x}"
    note = f"kiteline/delivery/v1\ngrant {GRANTS[grant]}\norder {order}\nrequester {MEMBER}\n\nline\n".encode()
    return Entry(START_MS + 60_000 * minutes, "DELIVERY_SENT", MEMBER, f"grant:{GRANTS[grant]}", note=note).to_bytes()


def _reading(entries: list[bytes], term: str) -> list[int]:
    return [at for at, raw in enumerate(entries) if term in terms_of(parse_entry(raw))]


def _check(index: Index, entries: list[bytes]) -> None:
    assert index.applied == len(entries)
    terms = [f"grant:{grant}" for grant in GRANTS] + [f"member:{MEMBER}", f"transfer:{1:032x}", "dataset:none"]
    for term in terms:
        expected = _reading(entries, term)
        assert index.about(term) == expected
        assert index.about(term, start=3, limit=2) == [at for at in expected if at >= 3][:2]
    times = [parse_entry(raw).time_ms for raw in entries]
    for minute in range(12):
        moment = START_MS + 60_000 * minute
        later = [at for at, time in enumerate(times) if time // 60_000 >= moment // 60_000]
        assert index.first_at(moment) == (later[0] if later else len(entries))


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30), cut=st.integers(0, 30))
def test_the_index_finds_what_reading_everything_finds_also_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("index")
    minutes = 0
    entries = []
    for number, (grant, passed) in enumerate(steps):
        minutes += passed
        entries.append(_entry(number, grant, min(minutes, 10)))
    index = Index.open(path, ORIGIN, map_bytes=SMALL_MAP)
    index.apply(0, entries[:cut])
    _check(index, entries[:cut])
    index.close()
    index = Index.open(path, ORIGIN, map_bytes=SMALL_MAP)
    index.catch_up(Entries(entries))
    _check(index, entries)
    index.apply(0, entries)
    _check(index, entries)
    index.close()


def test_rows_are_flushed_every_so_many_entries_and_a_crash_loses_none_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FLUSH_ENTRIES", 5)
    entries = [_entry(number, number % 3, number // 3) for number in range(13)]
    index = Index.open(tmp_path / "index", ORIGIN, map_bytes=SMALL_MAP)
    for number, raw in enumerate(entries):
        index.apply(number, [raw])
    # As a killed process leaves it: what was not flushed is not there.
    index._environment.close()
    index = Index.open(tmp_path / "index", ORIGIN, map_bytes=SMALL_MAP)
    assert index.applied == 10
    index.catch_up(Entries(entries))
    _check(index, entries)
    index.close()


def test_an_index_that_is_ahead_of_its_log_is_begun_again(tmp_path: Path) -> None:
    entries = [_entry(number, number % 3, 0) for number in range(8)]
    index = Index.open(tmp_path / "index", ORIGIN, map_bytes=SMALL_MAP)
    index.apply(0, entries)
    index.catch_up(Entries(entries[:4]))
    _check(index, entries[:4])
    index.close()


def test_an_index_of_another_log_or_format_or_none_at_all_is_begun_again(tmp_path: Path) -> None:
    entries = [_entry(number, number % 3, 0) for number in range(6)]
    path = tmp_path / "index"
    for spoil in (_forget, _other_format, _nonsense):
        index = Index.open(path, ORIGIN, map_bytes=SMALL_MAP)
        index.catch_up(Entries(entries))
        index.close()
        spoil(path)
        index = Index.open(path, ORIGIN, map_bytes=SMALL_MAP)
        assert index.applied == 0
        index.catch_up(Entries(entries))
        _check(index, entries)
        index.close()
    other = Index.open(path, ORIGIN.replace("audit", "dataset/" + "0" * 64), map_bytes=SMALL_MAP)
    assert other.applied == 0
    other.close()


def _forget(path: Path) -> None:
    shutil.rmtree(path)


def _other_format(path: Path) -> None:
    environment = lmdb.open(str(path), max_dbs=4, map_size=SMALL_MAP, lib_version=LIB_VERSION)
    marks = environment.open_db(b"marks")
    with environment.begin(write=True) as transaction:
        transaction.put(b"format", b"0", db=marks)
    environment.close()


def _nonsense(path: Path) -> None:
    (path / "data.mdb").write_bytes(b"nonsense" * 4_096)


def test_an_index_that_nothing_was_added_to_is_closed_as_it_was_opened(tmp_path: Path) -> None:
    """A node whose start is refused changes nothing."""
    log = Entries([_entry(number, number % 3, number) for number in range(5)])
    index = Index.open(tmp_path, ORIGIN, map_bytes=SMALL_MAP)
    index.catch_up(log)
    index.close()
    before = (tmp_path / "data.mdb").read_bytes()
    Index.open(tmp_path, ORIGIN, map_bytes=SMALL_MAP).close()
    assert (tmp_path / "data.mdb").read_bytes() == before
