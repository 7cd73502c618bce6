"""The index beside a dataset's tree: an LMDB environment with, for each segment, its digest and wrapped secret, and the index of keys.

segments    first index, u64be        → SM3 of the sealed segment, 32 ‖ wrapped secret, 65
keys        an entry of `key_index`   → nothing
own         "index secret"            → the secret under which keys are digested, wrapped, 65
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from audit.errors import StoreDamaged
from node.stores.dataset_keys import WRAPPED_SIZE
from node.stores.environment import Environment
from node.stores.key_index import newest_below, sorted_entries

INDEX_KIND = "dataset index 2"
HASH_SIZE = 32  # bytes
ROW_SIZE = HASH_SIZE + WRAPPED_SIZE  # bytes

_FIRST = struct.Struct(">Q")
_LAST = (1 << 64) - 1  # record index
_INDEX_SECRET = b"index secret"

Row = tuple[int, bytes]  # first record index of a segment, digest ‖ wrapped secret
Replacement = tuple[int, bytes, bytes]  # first record index, wrapped secret before, wrapped secret after


class DatasetIndex:
    """An open index. It checks the shape of what it reads, and knows no key."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        """Open it. Raises StoreAbsent, StoreLocked, StoreVersion, StoreDamaged."""
        self.path = path
        self._environment = Environment.open(path, INDEX_KIND, map_bytes)
        try:
            self._segments = self._environment.database("segments")
            self._keys = self._environment.database("keys")
            self._own = self._environment.database("own")
        except BaseException:
            self._environment.close()
            raise

    @classmethod
    def create(cls, path: Path, map_bytes: int, wrapped_index_secret: bytes) -> None:
        """Make an empty index. Raises StoreExists, DiskFull."""
        created = Environment.create(path, INDEX_KIND, map_bytes)
        try:
            own = created.database("own")
            # A crash before this commit leaves an index without its secret, in a directory that is not the dataset's yet.
            with created.writing() as txn:
                txn.put(_INDEX_SECRET, wrapped_index_secret, db=own)
        finally:
            created.close()

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()

    def rows(self, start: int, stop: int) -> list[Row]:
        """Rows of the segments that cover records start to stop. Raises StoreDamaged where there is none or one is no row."""
        found: list[Row] = []
        with self._environment.reading() as txn, txn.cursor(db=self._segments) as cursor:
            there = cursor.set_range(_FIRST.pack(start))
            if not there or cursor.key() != _FIRST.pack(start):
                there = cursor.prev() if there else cursor.last()
            while there and _FIRST.unpack(cursor.key())[0] < stop:
                found.append((_FIRST.unpack(cursor.key())[0], cursor.value()))
                there = cursor.next()
        if not found or any(len(value) != ROW_SIZE for _, value in found):
            raise StoreDamaged(f"the index of {self.path.parent} does not cover records {start} to {stop}")
        return found

    def rows_from(self, start: int, count: int) -> list[Row]:
        """At most so many rows as they lie there, also such as are no rows, from the first that begins at record `start` or after."""
        with self._environment.reading() as txn, txn.cursor(db=self._segments) as cursor:
            if start > _LAST or not cursor.set_range(_FIRST.pack(start)):
                return []
            return [(_FIRST.unpack(key)[0], value) for key, value in islice(iter(cursor), count)]

    def last(self) -> int | None:
        """Where the last segment begins; None if there is none."""
        with self._environment.reading() as txn, txn.cursor(db=self._segments) as cursor:
            return _FIRST.unpack(cursor.key())[0] if cursor.last() else None

    def count(self) -> int:
        """How many rows there are."""
        with self._environment.reading() as txn:
            return int(txn.stat(db=self._segments)["entries"])

    def index_secret(self) -> bytes:
        """The wrapped secret of the key index. Raises StoreDamaged where there is none."""
        with self._environment.reading() as txn:
            found = txn.get(_INDEX_SECRET, db=self._own)
        if found is None or len(found) != WRAPPED_SIZE:
            raise StoreDamaged(f"the index of {self.path.parent} has no secret")
        return found

    def newest(self, digest: bytes, size: int) -> int | None:
        """Index of the newest record below `size` whose key has this digest."""
        with self._environment.reading() as txn, txn.cursor(db=self._keys) as cursor:
            return newest_below(cursor, digest, size)

    def write(self, rows: Sequence[Row], keys: bytes, first_index: int) -> None:
        """Add rows, and the digests of the keys of the records from `first_index` on, durably and together. Raises DiskFull."""
        with self._environment.writing() as txn:
            with txn.cursor(db=self._segments) as cursor:
                cursor.putmulti([(_FIRST.pack(first), value) for first, value in rows])
            if keys:
                with txn.cursor(db=self._keys) as cursor:
                    cursor.putmulti(sorted_entries(keys, first_index))

    def replace(self, replacements: Sequence[Replacement]) -> int:
        """Put other wrapped secrets in the place of those that are still as they were read, durably and together; gives how many.
        Raises DiskFull; then none is replaced.
        """
        done = 0
        with self._environment.writing() as txn:
            for first, before, after in replacements:
                key = _FIRST.pack(first)
                value = bytes(txn.get(key, b"", db=self._segments))
                if value[HASH_SIZE:] == before:
                    txn.put(key, value[:HASH_SIZE] + after, db=self._segments)
                    done += 1
        return done

    def replace_index_secret(self, before: bytes, after: bytes) -> bool:
        """As `replace`, for the secret of the key index."""
        with self._environment.writing() as txn:
            return txn.get(_INDEX_SECRET, db=self._own) == before and txn.put(_INDEX_SECRET, after, db=self._own)
