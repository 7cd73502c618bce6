"""An LMDB environment of the node says what it is, is open once, and is refused where it is not whole."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import lmdb
import pytest

from audit.errors import DiskFull, StoreAbsent, StoreDamaged, StoreExists, StoreLocked, StoreVersion
from node.stores.environment import Environment
from tests.node.stores.durable_steps import Step, watch

KIND, MAP_BYTES = "letters 1", 1 << 22


def created(path: Path) -> Environment:
    return Environment.create(path, KIND, MAP_BYTES)


def opened(path: Path) -> Environment:
    return Environment.open(path, KIND, MAP_BYTES)


def content(environment: Environment) -> dict[bytes, bytes]:
    database = environment.database("letters")
    with environment.reading() as txn, txn.cursor(db=database) as cursor:
        return dict(cursor)


def test_what_is_written_in_one_block_is_there_after_a_restart(tmp_path: Path) -> None:
    environment = created(tmp_path / "a" / "store")
    database = environment.database("letters")
    with environment.writing() as txn:
        txn.put(b"a", b"1", db=database)
        txn.put(b"b", b"2", db=database)
    environment.close()
    environment = opened(tmp_path / "a" / "store")
    assert content(environment) == {b"a": b"1", b"b": b"2"}
    environment.close()
    files = [path for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if stat.S_IMODE(path.stat().st_mode) != 0o600] == []


def test_an_error_within_a_block_undoes_all_of_it(tmp_path: Path) -> None:
    environment = created(tmp_path)
    database = environment.database("letters")

    def interrupted() -> None:
        with environment.writing() as txn:
            txn.put(b"a", b"1", db=database)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert content(environment) == {}
    environment.close()


def test_a_reader_sees_one_moment(tmp_path: Path) -> None:
    environment = created(tmp_path)
    database = environment.database("letters")
    with environment.reading() as before:
        with environment.writing() as txn:
            txn.put(b"a", b"1", db=database)
        assert before.get(b"a", db=database) is None
    assert content(environment) == {b"a": b"1"}
    environment.close()


def test_create_is_not_open_and_open_is_not_create(tmp_path: Path) -> None:
    with pytest.raises(StoreAbsent):
        opened(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    created(tmp_path / "store").close()
    with pytest.raises(StoreExists):
        created(tmp_path / "store")
    opened(tmp_path / "store").close()


def test_it_is_open_once_and_again_when_it_was_closed(tmp_path: Path) -> None:
    environment = created(tmp_path)
    with pytest.raises(StoreLocked):
        opened(tmp_path)
    environment.close()
    environment.close()
    opened(tmp_path).close()


def test_another_kind_or_version_is_refused_and_can_be_opened_as_what_it_is(tmp_path: Path) -> None:
    created(tmp_path).close()
    for kind in ("letters 2", "ledger 1", "letters"):
        with pytest.raises(StoreVersion, match="letters 1"):
            Environment.open(tmp_path, kind, MAP_BYTES)
    opened(tmp_path).close()


def test_one_that_does_not_say_what_it_is_is_damaged(tmp_path: Path) -> None:
    """As after an end between making the environment and its first commit. The lock is let go of."""

    def killed(step: Step) -> None:
        if step.kind == "commit":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, killed)
        with pytest.raises(KeyboardInterrupt):
            created(tmp_path)
    with pytest.raises(StoreDamaged, match="does not say what it is"):
        opened(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 4_095, 4_096, 8_192, 40_960])
def test_one_that_was_cut_off_is_refused_rather_than_ending_the_process(tmp_path: Path, size: int) -> None:
    environment = created(tmp_path)
    database = environment.database("letters")
    with environment.writing() as txn:
        for number in range(2_000):
            txn.put(b"%08d" % number, bytes(100), db=database)
    environment.close()
    data = tmp_path / "data.mdb"
    assert data.stat().st_size > 100_000
    os.truncate(data, size)
    with pytest.raises(StoreDamaged):
        opened(tmp_path)


def test_a_file_that_is_no_environment_is_damaged(tmp_path: Path) -> None:
    created(tmp_path).close()
    (tmp_path / "data.mdb").write_bytes(b"nonsense" * 4_096)
    with pytest.raises(StoreDamaged):
        opened(tmp_path)


def test_used_up_address_space_is_a_full_disk_and_changes_nothing(tmp_path: Path) -> None:
    environment = Environment.create(tmp_path, KIND, 1 << 16)
    database = environment.database("letters")

    def too_much() -> None:
        with environment.writing() as txn:
            txn.put(b"a", bytes(1 << 17), db=database)

    with pytest.raises(DiskFull):
        too_much()
    with environment.writing() as txn:
        txn.put(b"a", b"1", db=database)
    assert content(environment) == {b"a": b"1"}
    environment.close()


def test_a_full_disk_at_its_creation_is_one_refusal(tmp_path: Path) -> None:
    refused = []
    for fails in range(1, 20):
        steps = 0

        def failing(step: Step, fails: int = fails) -> None:
            nonlocal steps
            steps += 1
            if steps == fails:
                cause = os.strerror(errno.ENOSPC)
                raise lmdb.DiskError(cause) if step.kind == "commit" else OSError(errno.ENOSPC, cause)

        try:
            with pytest.MonkeyPatch.context() as patch:
                watch(patch, failing)
                created(tmp_path / str(fails)).close()
        except DiskFull:
            refused.append(steps)
        if steps < fails:
            break
    # The directory, its sync, the lock's file, that of the readers and the commit.
    assert refused == [1, 2, 3, 4, 5]


def test_an_error_of_the_store_is_never_one_of_lmdb(tmp_path: Path) -> None:
    environment = created(tmp_path)
    for number in range(15):
        environment.database(f"database {number}")
    with pytest.raises(StoreDamaged):
        for number in range(15, 20):
            environment.database(f"database {number}")

    def misread() -> None:
        with environment.reading() as txn:
            txn.put(b"a", b"written by a reader")

    with pytest.raises(StoreDamaged):
        misread()
    environment.close()
