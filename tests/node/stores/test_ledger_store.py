"""The ledger's tables: written together with their mark, or not at all."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import DiskFull, StoreLocked
from node.errors import InternalError
from node.stores.ledger_store import DiskLedger, open_ledger

MAP_BYTES = 1 << 26

keys = st.binary(max_size=3)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["a", "ab"]), keys, st.binary(max_size=3)),
        st.tuples(st.just("delete"), st.sampled_from(["a", "ab"]), keys, st.just(b"")),
        st.tuples(st.sampled_from(["advance", "flush", "reopen"]), st.just("a"), st.just(b""), st.just(b"")),
    ),
    max_size=25,
)


def opened(path: Path, flush_entries: int = 100, layout: int = 1) -> DiskLedger:
    ledger, notice = open_ledger(path, layout, map_bytes=MAP_BYTES, flush_entries=flush_entries)
    assert notice is None
    return ledger


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(steps)
def test_tables_behave_as_ordered_maps_whatever_is_flushed_or_reopened(
    tmp_path: Path, given_steps: list[tuple[str, str, bytes, bytes]]
) -> None:
    path = tmp_path / "ledger"
    shutil.rmtree(path, ignore_errors=True)
    ledger = opened(path, flush_entries=3)
    model: dict[str, dict[bytes, bytes]] = {"a": {}, "ab": {}}
    applied = 0
    for what, table, key, value in given_steps:
        if what == "put":
            ledger.table(table).put(key, value)
            model[table][key] = value
        elif what == "delete":
            ledger.table(table).delete(key)
            model[table].pop(key, None)
        elif what == "advance":
            applied += 1
            ledger.advance(applied)
        elif what == "flush":
            ledger.flush()
        else:
            ledger.close()
            ledger = opened(path, flush_entries=3)
        assert ledger.applied == applied
        for name, expected in model.items():
            assert list(ledger.table(name).scan(b"")) == sorted(expected.items())
            assert ledger.table(name).get(key) == expected.get(key)
            prefix = key[:1]
            matching = sorted(item for item in expected.items() if item[0].startswith(prefix))
            assert list(ledger.table(name).scan(prefix)) == matching
    ledger.close()


def test_what_was_not_flushed_is_lost_together_with_its_mark(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger", flush_entries=10)
    table = ledger.table("orders")
    for entry in range(25):
        table.put(b"%02d" % entry, b"x")
        ledger.advance(entry + 1)
    # What a kill leaves is what is on disk now.
    shutil.copytree(tmp_path / "ledger", tmp_path / "after")
    after = opened(tmp_path / "after")
    assert after.applied == 20
    assert [key for key, _ in after.table("orders").scan(b"")] == [b"%02d" % entry for entry in range(20)]
    after.close()
    ledger.close()
    again = opened(tmp_path / "ledger")
    assert again.applied == 25
    again.close()


def test_a_long_scan_goes_on_while_the_table_changes(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    table = ledger.table("t")
    for number in range(2_000):
        table.put(number.to_bytes(4, "big"), b"x")
    ledger.flush()
    seen = []
    for key, _ in table.scan(b""):
        seen.append(int.from_bytes(key, "big"))
        if len(seen) == 100:
            table.delete((1_500).to_bytes(4, "big"))
            table.put((5_000).to_bytes(4, "big"), b"new")
            ledger.flush()
    assert seen == [number for number in range(2_000) if number != 1_500] + [5_000]
    ledger.close()


def test_a_store_of_another_layout_is_begun_again_with_a_notice(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    ledger.table("t").put(b"k", b"v")
    ledger.advance(7)
    ledger.close()
    ledger, notice = open_ledger(tmp_path / "ledger", 2, map_bytes=MAP_BYTES)
    assert notice is not None
    assert "1.1" in notice
    assert ledger.applied == 0
    assert ledger.table("t").get(b"k") is None
    ledger.close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "headless"])
def test_a_damaged_store_is_begun_again_with_a_notice(tmp_path: Path, damage: str) -> None:
    ledger = opened(tmp_path / "ledger")
    for number in range(5_000):
        ledger.table("t").put(b"%d" % number, b"v" * 100)
    ledger.advance(7)
    ledger.close()
    data = tmp_path / "ledger" / "data.mdb"
    if damage == "garbage":
        data.write_bytes(b"\xa5" * 16_384)
    elif damage == "truncated":
        data.write_bytes(data.read_bytes()[:16_384])
    else:
        data.write_bytes(b"")
    ledger, notice = open_ledger(tmp_path / "ledger", 1, map_bytes=MAP_BYTES)
    assert notice
    assert ledger.applied == 0
    ledger.close()


def test_a_store_that_is_open_is_not_opened_again_nor_thrown_away(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    with pytest.raises(StoreLocked):
        open_ledger(tmp_path / "ledger", 2, map_bytes=MAP_BYTES)
    ledger.table("t").put(b"k", b"v")
    ledger.close()
    ledger = opened(tmp_path / "ledger")
    assert ledger.table("t").get(b"k") == b"v"
    ledger.close()


def test_clearing_empties_all_tables_durably(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    ledger.table("t").put(b"k", b"v")
    ledger.advance(3)
    ledger.flush()
    ledger.table("t").put(b"l", b"v")
    ledger.clear()
    assert ledger.applied == 0
    assert list(ledger.table("t").scan(b"")) == []
    ledger.close()
    ledger = opened(tmp_path / "ledger")
    assert ledger.applied == 0
    assert list(ledger.table("t").scan(b"")) == []
    ledger.close()


def test_a_full_disk_keeps_changes_in_memory_and_the_log_going(tmp_path: Path) -> None:
    ledger, _ = open_ledger(tmp_path / "ledger", 1, map_bytes=1 << 16, flush_entries=1)
    table = ledger.table("t")
    table.put(b"k", bytes(1 << 20))
    ledger.advance(1)
    assert isinstance(ledger.failure, DiskFull)
    assert table.get(b"k") == bytes(1 << 20)
    table.put(b"k", b"small")
    ledger.advance(2)
    assert ledger.failure is None
    ledger.close()
    again, _ = open_ledger(tmp_path / "ledger", 1, map_bytes=1 << 16)
    assert again.applied == 2
    assert again.table("t").get(b"k") == b"small"
    again.close()


def test_several_threads_write_and_scan_at_once(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger", flush_entries=5)
    lock, applied = threading.Lock(), 0
    failures: list[BaseException] = []

    def work(name: str) -> None:
        nonlocal applied
        table = ledger.table(name)
        try:
            for number in range(200):
                table.put(b"%03d" % number, b"v")
                with lock:
                    applied += 1
                    ledger.advance(applied)
                if number % 20 == 0:
                    assert len(list(table.scan(b""))) == number + 1
        except BaseException as failure:  # noqa: BLE001  # reported by the test
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert ledger.applied == 800
    ledger.close()


def test_the_mark_never_goes_back_and_names_and_keys_have_limits(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "ledger")
    ledger.advance(5)
    with pytest.raises(InternalError):
        ledger.advance(4)
    for name in ("", "a\0b", "x" * 101):
        with pytest.raises(InternalError):
            ledger.table(name)
    ledger.table("x" * 100).put(b"k" * 299, b"v")
    with pytest.raises(InternalError):
        ledger.table("x" * 100).put(b"k" * 300, b"v")
    ledger.close()
