"""What py-lmdb does alone with the very bytes that a log had it write: no hashing, no format, one durable commit each."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import lmdb

from audit.environment import LIB_VERSION
from audit.epoch import TILE_LEVELS
from audit.store import MAP_BYTES
from audit.tiles import leaves_of_tile

Put = tuple[bytes, bytes, bytes]  # database, key, value
DATABASES = [b"segments", *(b"tiles-%d" % level for level in range(TILE_LEVELS))]


@contextmanager
def raw_environment(path: Path) -> Iterator[tuple[lmdb.Environment, dict[bytes, Any]]]:
    """A new environment with py-lmdb's default, a sync for each commit; and its databases."""
    with closing(lmdb.open(str(path), map_size=MAP_BYTES, max_dbs=len(DATABASES), lib_version=LIB_VERSION)) as opened:
        yield opened, {name: opened.open_db(name) for name in DATABASES}


def commits_of(epoch: Path) -> list[list[Put]]:
    """What each commit of a log wrote besides the head: its segment, and the tiles that became full with it."""
    found: list[tuple[int, Put]] = []  # (leaves there are after it, put)
    with closing(lmdb.open(str(epoch), max_dbs=16, readonly=True, lib_version=LIB_VERSION)) as store:
        for name in DATABASES:
            database = store.open_db(name, create=False)
            with store.begin() as transaction, transaction.cursor(db=database) as cursor:
                for key, value in cursor:
                    found.append((_leaves_after(name, key, value), (name, bytes(key), bytes(value))))
    ends = sorted(after for after, (name, _, _) in found if name == b"segments")
    commits: dict[int, list[Put]] = {end: [] for end in ends}
    for after, put in found:
        commits[next(end for end in ends if end >= after)].append(put)
    return list(commits.values())


def write_commits(path: Path, commits: Sequence[Sequence[Put]]) -> int:
    """Write them, a transaction each; gives the bytes."""
    size = 0
    with raw_environment(path) as (environment, databases):
        for puts in commits:
            with environment.begin(write=True) as transaction:
                for name, key, value in puts:
                    transaction.put(key, value, db=databases[name], append=True)
                    size += len(value)
    return size


def _leaves_after(name: bytes, key: bytes, value: bytes) -> int:
    (number,) = struct.unpack(">Q", key)
    if name == b"segments":
        return int(number) + int.from_bytes(value[:4], "big")
    return leaves_of_tile(int(name.removeprefix(b"tiles-")), int(number))
