"""The reader of LMDB's pages gives what LMDB gives, also while a writer is at work, and names damage instead of following it."""

from __future__ import annotations

import subprocess
import sys
from bisect import bisect_right
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.environment import LIB_VERSION
from audit.errors import StoreAbsent, StoreDamaged
from audit.keeping.pages import Damage, PageFile, Row, Snapshot, Tree
from tests.conftest import ROOT

MAP = 64 << 20
_keys = st.binary(min_size=8, max_size=8)
_sizes = st.sampled_from([0, 1, 100, 1_000, 2_030, 2_031, 4_080, 4_081, 20_000])
_COMMITS = 400


def _open(directory: Path) -> lmdb.Environment:
    return lmdb.open(str(directory), max_dbs=8, map_size=MAP, lib_version=LIB_VERSION)


def _sound(snapshot: Snapshot, tree: Tree, start: bytes = b"") -> list[Row]:
    rows = []
    for row in snapshot.scan(tree, start):
        assert isinstance(row, Row), row
        rows.append(row)
    return rows


def _databases(snapshot: Snapshot) -> dict[bytes, Tree]:
    databases, damages = snapshot.databases()
    assert not damages
    return databases


@settings(max_examples=40, deadline=None)
@given(
    commits=st.lists(st.lists(st.tuples(_keys, _sizes), max_size=60), max_size=8),
    use=st.sampled_from(["shared", "at rest"]),
    start=_keys,
)
def test_every_row_is_read_as_lmdb_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[bytes, int]]], use: str, start: bytes
) -> None:
    directory = tmp_path_factory.mktemp("pages")
    expected: dict[bytes, bytes] = {}
    with _open(directory) as environment:
        database = environment.open_db(b"rows")
        for rows in commits:
            with environment.begin(write=True) as transaction:
                # As in a log: nothing is written twice in one commit.
                for key, size in dict(rows).items():
                    value = (key * (size // 8 + 1))[:size]
                    transaction.put(key, value, db=database)
                    expected[key] = value
    with PageFile(directory / "data.mdb", shared=use == "shared") as pages, pages.snapshot() as snapshot:
        tree = _databases(snapshot)[b"rows"]
        assert tree.rows == len(expected)
        assert {row.key: snapshot.value(row) for row in _sound(snapshot, tree)} == expected
        keys = sorted(expected)
        reached = [row.key for row in _sound(snapshot, tree, start)]
        assert reached == keys[max(bisect_right(keys, start) - 1, 0) :]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1 << 40)), max_size=4_000))
def test_several_values_of_a_key_are_read_wherever_lmdb_keeps_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]
) -> None:
    """One in the node; some in a page inside it; many in a tree of their own."""
    directory = tmp_path_factory.mktemp("pages")
    rows += [(3, number) for number in range(3_000)]
    with _open(directory) as environment:
        database = environment.open_db(b"terms", dupsort=True, dupfixed=True)
        with environment.begin(write=True) as transaction:
            for term, value in rows:
                transaction.put(b"term %d" % term, value.to_bytes(8, "big"), db=database)
    with PageFile(directory / "data.mdb", shared=False) as pages, pages.snapshot() as snapshot:
        tree = _databases(snapshot)[b"terms"]
        for row in _sound(snapshot, tree):
            expected = sorted({value for term, value in rows if b"term %d" % term == row.key})
            read = list(snapshot.values(row, 8))
            assert [int.from_bytes(value, "big") for value in read if not isinstance(value, Damage)] == expected


def test_a_snapshot_stays_as_it_was_while_a_writer_commits(tmp_path: Path) -> None:
    _open(tmp_path).close()
    program = (
        "import lmdb, sys\n"
        f"e = lmdb.open(sys.argv[1], max_dbs=8, map_size={MAP}, lib_version={LIB_VERSION})\n"
        "d = e.open_db(b'rows')\n"
        f"for n in range({_COMMITS}):\n"
        "    with e.begin(write=True) as t:\n"
        "        for k in range(20):\n"
        "            t.put(b'%08d' % k, b'%08d' % n * 300, db=d)\n"
        "    if n == 0: print('begun', flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"begun\n"
            turns = 0
            with PageFile(tmp_path / "data.mdb", shared=True) as pages:
                while writer.poll() is None or turns < 5:
                    with pages.snapshot() as snapshot:
                        tree = _databases(snapshot)[b"rows"]
                        values = {snapshot.value(row) for row in _sound(snapshot, tree)}
                        # Twenty rows of one commit, and of no other.
                        assert len(values) == 1
                        assert {snapshot.value(row) for row in _sound(snapshot, tree)} == values
                    turns += 1
                with pages.snapshot() as snapshot:
                    tree = _databases(snapshot)[b"rows"]
                    assert {snapshot.value(row) for row in _sound(snapshot, tree)} == {b"%08d" % (_COMMITS - 1) * 300}
            assert writer.wait(60) == 0
        finally:
            writer.kill()


def test_what_is_not_there_or_is_no_data_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreAbsent):
        PageFile(tmp_path / "data.mdb", shared=False)
    for content in (b"", b"nonsense" * 4_096, bytes(8_192)):
        (tmp_path / "data.mdb").write_bytes(content)
        with pytest.raises(StoreDamaged):
            PageFile(tmp_path / "data.mdb", shared=True)


def test_a_file_that_is_cut_short_has_damage_where_it_ends_and_not_before(tmp_path: Path) -> None:
    with _open(tmp_path) as environment:
        database = environment.open_db(b"rows")
        for first in range(0, 400, 100):
            with environment.begin(write=True) as transaction:
                for number in range(first, first + 100):
                    transaction.put(number.to_bytes(8, "big"), b"x" * 5_000, db=database, append=True)
    file = tmp_path / "data.mdb"
    whole = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(whole // 2)
    with PageFile(file, shared=False) as pages, pages.snapshot() as snapshot:
        databases, damages = snapshot.databases()
        pages_of_damage = [damage.page for damage in damages]
        read = 0
        for row in snapshot.scan(databases[b"rows"]) if databases else ():
            if isinstance(row, Damage):
                pages_of_damage.append(row.page)
                continue
            try:
                read += len(snapshot.value(row)) == 5_000
            except StoreDamaged as why:
                pages_of_damage.append(int(why.details["page"]))
        assert pages_of_damage
        # A value of two pages may begin before the end of what is left.
        assert min(pages_of_damage) * 4_096 > whole // 2 - 2 * 4_096
        assert read < 400
