"""The event index in LMDB: the state that the chain's events lead to, and how to take back the newest blocks.

Invariants:
- Each block's events are applied once: rows, undo record and the block's own reference become durable together.
- `head` is the newest block reference; state is exactly what the events up to and including it lead to.
- The newest KEPT_BLOCKS references can be taken back one by one (`undo_above`). A reorganisation that reaches deeper
  empties the index, and following begins again at the deployment.
The index holds nothing that the chain does not: it may be thrown away at any time (`discard`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from audit.environment import mapped
from audit.errors import DiskFull
from node.errors import ChainStoreUnusable
from node.model.chain import Block

LIB_VERSION = 0  # LMDB 0.9: py-lmdb bundles two incompatible formats, so the choice is pinned
MAP_BYTES = 16 * 2**30  # address space; the file grows as it fills
MAX_READERS = 1_024
KEPT_BLOCKS = 8_192
FORMAT = b"kiteline/chain-index/v3"
DATA_FILE = "data.mdb"
HASH_BYTES = 32
NUMBER_BYTES = 8


def open_environment(path: Path, databases: int, map_bytes: int) -> lmdb.Environment:
    """An LMDB environment with full durability. Both stores of this package open theirs here."""
    try:
        environment = lmdb.open(
            str(path),
            map_size=map_bytes,
            max_dbs=databases,
            max_readers=MAX_READERS,
            mode=0o600,
            lib_version=LIB_VERSION,
        )
    except lmdb.Error as cause:
        raise ChainStoreUnusable(f"{path} cannot be opened: {cause}", path=path) from cause
    environment.reader_check()
    return environment


@contextmanager
def writing(environment: lmdb.Environment) -> Iterator[lmdb.Transaction[bytes]]:
    """A write transaction: committed and synced on leaving, undone by any exception. Raises DiskFull, ChainStoreUnusable."""
    try:
        with environment.begin(write=True) as transaction:
            yield transaction
    except lmdb.MapFullError as cause:
        raise ChainStoreUnusable(f"{environment.path()} has used up its address space") from cause
    except lmdb.Error as cause:
        full = mapped(cause, Path(environment.path()))
        if isinstance(full, DiskFull):
            raise full from cause
        raise ChainStoreUnusable(f"{environment.path()} cannot be written: {cause}") from cause


class IndexStore:
    """Rows by key, block references and undo records. One writer at a time, any number of readers.

    Made by `create`, `open` or `open_or_create`.
    """

    def __init__(self, environment: lmdb.Environment, identity: bytes) -> None:
        self._environment = environment
        self._meta = environment.open_db(b"meta")
        self._rows = environment.open_db(b"rows")
        self._blocks = environment.open_db(b"blocks")
        self._undo = environment.open_db(b"undo")
        with environment.begin() as transaction:
            found = transaction.get(b"format", db=self._meta), transaction.get(b"identity", db=self._meta)
        if found != (FORMAT, identity):
            path = environment.path()
            environment.close()
            raise ChainStoreUnusable(f"{path} is of another format or of another deployment", path=path)

    @classmethod
    def create(cls, path: Path, identity: bytes) -> IndexStore:
        """A new, empty index of the deployment with this identity. Raises ChainStoreUnusable if there is one."""
        if (path / DATA_FILE).exists():
            raise ChainStoreUnusable(f"{path} holds an index already", path=path)
        path.mkdir(parents=True, exist_ok=True)
        environment = open_environment(path, 4, MAP_BYTES)
        meta = environment.open_db(b"meta")
        with writing(environment) as transaction:
            transaction.put(b"format", FORMAT, db=meta)
            transaction.put(b"identity", identity, db=meta)
        return cls(environment, identity)

    @classmethod
    def open(cls, path: Path, identity: bytes) -> IndexStore:
        """An index that exists. Raises ChainStoreUnusable: absent, damaged, of another format or deployment."""
        if not (path / DATA_FILE).exists():
            raise ChainStoreUnusable(f"there is no index in {path}", path=path)
        return cls(open_environment(path, 4, MAP_BYTES), identity)

    @classmethod
    def open_or_create(cls, path: Path, identity: bytes) -> IndexStore:
        """The index of this deployment; one that is absent, damaged or of another format or deployment is made anew."""
        if (path / DATA_FILE).exists():
            try:
                return cls.open(path, identity)
            except ChainStoreUnusable:
                cls.discard(path)
        return cls.create(path, identity)

    @staticmethod
    def discard(path: Path) -> None:
        """Throw an index away. It must not be open."""
        shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()

    def head(self) -> Block | None:
        """The newest block indexed; None before the first."""
        return next(self.references(), None)

    def references(self) -> Iterator[Block]:
        """Blocks that the index has seen and still knows, newest first. Not every block has a reference."""
        with self._environment.begin() as transaction, transaction.cursor(self._blocks) as cursor:
            found = cursor.last()
            while found:
                yield _read_block(cursor.key(), cursor.value())
                found = cursor.prev()

    def reference(self, number: int) -> Block | None:
        """The block of this number, if it has a reference."""
        key = _number(number)
        with self._environment.begin() as transaction:
            value = transaction.get(key, db=self._blocks)
        return None if value is None else _read_block(key, value)

    def get(self, key: bytes) -> bytes | None:
        """A row."""
        with self._environment.begin() as transaction:
            return transaction.get(key, db=self._rows)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with `prefix`, in order of the key."""
        with self._environment.begin() as transaction, transaction.cursor(self._rows) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                yield cursor.item()
                found = cursor.next()

    def last(self, prefix: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key that begins with `prefix`, which may not end in 0xff."""
        with self._environment.begin() as transaction, transaction.cursor(self._rows) as cursor:
            beyond = prefix + b"\xff" * (NUMBER_BYTES + 1)
            found = cursor.prev() if cursor.set_range(beyond) else cursor.last()
            return cursor.item() if found and cursor.key().startswith(prefix) else None

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Apply blocks: all of them become durable on leaving, or none by an exception."""
        with writing(self._environment) as transaction:
            batch = Batch(transaction, self._rows, self._blocks, self._undo)
            yield batch
            batch.prune(KEPT_BLOCKS)

    def undo_above(self, ancestor: Block | None) -> dict[bytes, bytes | None]:
        """Take back every block above `ancestor`; None, or one without reference, takes back everything.

        Returns the rows that changed, as they are now; None for one that is gone.
        """
        changed: dict[bytes, bytes | None] = {}
        with writing(self._environment) as transaction:
            if ancestor is None or transaction.get(_number(ancestor.number), db=self._blocks) is None:
                with transaction.cursor(self._rows) as cursor:
                    changed.update((key, None) for key, _ in cursor)
                for database in (self._rows, self._blocks, self._undo):
                    transaction.drop(database, delete=False)
                return changed
            with transaction.cursor(self._blocks) as cursor:
                found = cursor.last()
                above = []
                while found and int.from_bytes(cursor.key(), "big") > ancestor.number:
                    above.append(cursor.key())
                    found = cursor.prev()
            for key in above:
                record = transaction.pop(key, db=self._undo)
                transaction.delete(key, db=self._blocks)
                for row, value in [] if record is None else _read_undo(record):
                    changed[row] = value
                    if value is None:
                        transaction.delete(row, db=self._rows)
                    else:
                        transaction.put(row, value, db=self._rows)
        return changed


class Batch:
    """Blocks being applied, in one transaction. `changed`: rows written so far, as they are now."""

    def __init__(
        self,
        transaction: lmdb.Transaction[bytes],
        rows: lmdb._Database,
        blocks: lmdb._Database,
        undo: lmdb._Database,
    ) -> None:
        self._transaction = transaction
        self._rows = rows
        self._blocks = blocks
        self._undo = undo
        self._before: dict[bytes, bytes | None] = {}
        self.changed: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """A row, as it is with what was written so far."""
        return self._transaction.get(key, db=self._rows)

    def put(self, key: bytes, value: bytes) -> None:
        """Write a row as an effect of the block that `finish_block` will name."""
        self._before.setdefault(key, self.get(key))
        self._transaction.put(key, value, db=self._rows)
        self.changed[key] = value

    def finish_block(self, block: Block) -> None:
        """Refer to a block, with what it takes to undo the rows written since the last one."""
        key = _number(block.number)
        with self._transaction.cursor(self._blocks) as cursor:
            if cursor.last() and cursor.key() >= key:
                raise ChainStoreUnusable(f"block {block.number} is not above the indexed head", block=block.number)
        if self._before:
            self._transaction.put(key, _write_undo(self._before), db=self._undo)
            self._before = {}
        self._transaction.put(key, block.hash + block.time.to_bytes(NUMBER_BYTES, "big"), db=self._blocks)

    def prune(self, kept: int) -> None:
        """Forget the oldest references, and with them how to undo their blocks, until `kept` remain."""
        surplus = self._transaction.stat(self._blocks)["entries"] - kept
        with self._transaction.cursor(self._blocks) as cursor:
            for _ in range(surplus):
                cursor.first()
                self._transaction.delete(cursor.key(), db=self._undo)
                cursor.delete()


def _number(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big")


def _read_block(key: bytes, value: bytes) -> Block:
    return Block(int.from_bytes(key, "big"), value[:HASH_BYTES], int.from_bytes(value[HASH_BYTES:], "big"))


def _write_undo(before: dict[bytes, bytes | None]) -> bytes:
    return json.dumps([[key.hex(), None if value is None else value.hex()] for key, value in before.items()]).encode()


def _read_undo(record: bytes) -> list[tuple[bytes, bytes | None]]:
    return [(bytes.fromhex(key), None if value is None else bytes.fromhex(value)) for key, value in json.loads(record)]
