"""A log as a node leaves it on its disk, to be checked, copied and tampered with: epochs, signed head, anchors, secondary index."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import lmdb

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.environment import LIB_VERSION
from audit.index import Index
from audit.keeping.check import Check, Expected
from audit.keeping.findings import Finding
from audit.keeping.stored import epoch_files
from audit.log import AuditLog
from audit.verifier import EntryRange, KeyStatement, Proof
from crypto.engine import Engine
from crypto.notes import NoteKey
from crypto.packed import Packed
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import MEMBER, ORIGIN, SMALL_MAP

START_MS = 1_764_000_000_000
MINUTE_MS = 60_000
SEALED = 0o400


@dataclass(frozen=True)
class KeptLog:
    """A log in a directory: `log`, `index` and `audit.head`."""

    home: Path
    key: SM2PrivateKey
    epoch_leaves: int
    anchors: tuple[tuple[int, bytes], ...] = ()

    @property
    def path(self) -> Path:
        return self.home / "log"

    @property
    def head(self) -> Path:
        return self.home / "audit.head"

    @property
    def index(self) -> Path:
        return self.home / "index"

    @property
    def files(self) -> list[Path]:
        """The data files of the epochs."""
        return epoch_files(self.path)

    @property
    def keys(self) -> list[NoteKey]:
        return [NoteKey(MEMBER, self.key.public_key)]

    def expected(self, *, index: bool = False) -> Expected:
        """Everything that is known of it."""
        return Expected(
            origin=ORIGIN,
            epoch_leaves=self.epoch_leaves,
            checkpoint=self.head,
            keys=self.keys,
            anchors=self.anchors,
            index=self.index if index else None,
        )

    def findings(self, engine: Engine, *, index: bool = False) -> list[Finding]:
        """What the default check finds."""
        return list(Check(self.path, engine, self.expected(index=index), map_bytes=SMALL_MAP).findings())

    def sign(self, engine: Engine) -> bytes:
        """Sign the head of the log as it is, and keep it in the head file, as a node does before it shows it to anyone."""
        with AuditLog.open(self.path, engine, map_bytes=SMALL_MAP) as log:
            note = note_of(engine, self.key, log)
        self.head.write_bytes(note)
        return note


def note_of(engine: Engine, key: SM2PrivateKey, log: AuditLog, size: int | None = None) -> bytes:
    """The signed head of an open log."""
    size = log.size if size is None else size
    return sign_checkpoint(Checkpoint(log.origin, size, log.tree.root_at(size), START_MS + size), HeldKey(engine, key))


def range_of(
    engine: Engine, key: SM2PrivateKey, log: AuditLog, first: int, stop: int, size: int | None = None
) -> bytes:
    """The range file of the entries from `first` to `stop` under the head at `size`, as `node.exchange.auditing` makes it."""
    size = log.size if size is None else size
    public = KeyStatement(log.origin.split("/")[1], 1, key.public_key.to_bytes(), 0, None)
    return EntryRange(
        first=first,
        entries=tuple(log.entries(first, stop)),
        left=tuple(log.tree.subtrees(0, first)),
        right=tuple(log.tree.subtrees(stop, size)),
        proof=Proof(note_of(engine, key, log, size), (), (public,)),
    ).to_bytes()


def text_entry(number: int, time_ms: int | None = None) -> bytes:
    """An entry of the kind that nodes write."""
    note = (
        f"kiteline/order/v1\norder {number % 7:032x}\ngrant {number % 5:064x}\ndataset {3:064x}\n\n— x AAAA\n".encode()
    )
    time_ms = START_MS + number * 20_000 if time_ms is None else time_ms
    subject = f"grant:{number % 5:064x}"
    return Entry(time_ms, "ORDER_RECEIVED", MEMBER, subject, note=note if number % 3 else None).to_bytes()


def build(
    home: Path,
    engine: Engine,
    key: SM2PrivateKey,
    *,
    batches: Sequence[Sequence[bytes]],
    epoch_leaves: int,
    anchored: Sequence[int] = (),
) -> KeptLog:
    """Write a log of these batches, its index and its signed head."""
    kept = KeptLog(home, key, epoch_leaves)
    with AuditLog.create(kept.path, ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=epoch_leaves) as log:
        for batch in batches:
            log.append_many(Packed.of(batch))
        index = Index.open(kept.index, ORIGIN, map_bytes=SMALL_MAP)
        index.catch_up(log)
        index.close()
        anchors = tuple((size, log.tree.root_at(size)) for size in (*anchored, log.size))
    kept.sign(engine)
    return KeptLog(home, key, epoch_leaves, anchors)


def mixed_batches(seed: int, count: int, largest: int = 4_000) -> list[list[bytes]]:
    """Batches of many sizes, of entries of many lengths, some of them such as nodes write."""
    drawn = random.Random(seed)
    batches: list[list[bytes]] = []
    made = 0
    while made < count:
        size = min(drawn.choice([1, 1, 2, 3, 40, 256, largest // 4, largest]), count - made)
        batches.append(
            [
                text_entry(number) if number % 50 == 0 else drawn.randbytes(drawn.choice([1, 16, 20, 33]))
                for number in range(made, made + size)
            ]
        )
        made += size
    return batches


def copy_of(kept: KeptLog, home: Path) -> KeptLog:
    """The same log somewhere else, with the modes of its files."""
    shutil.copytree(kept.home, home)
    return KeptLog(home, kept.key, kept.epoch_leaves, kept.anchors)


@contextmanager
def opened_for_tampering(file: Path) -> Iterator[lmdb.Environment]:
    """An environment, whatever its mode says, as whoever owns the disk can open it."""
    mode = file.stat().st_mode & 0o777
    file.chmod(0o600)
    environment = lmdb.open(str(file.parent), max_dbs=16, map_size=SMALL_MAP, lib_version=LIB_VERSION)
    try:
        yield environment
    finally:
        environment.close()
        file.chmod(mode)


def edit(file: Path, database: bytes, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change a value in an environment."""
    with opened_for_tampering(file) as environment:
        opened = environment.open_db(database, create=False)
        with environment.begin(write=True) as transaction:
            held = transaction.get(key, db=opened)
            assert held is not None
            transaction.put(key, change(bytes(held)), db=opened)


def rows_of(file: Path, database: bytes) -> list[tuple[bytes, bytes]]:
    """Every row of a database."""
    with opened_for_tampering(file) as environment:
        opened = environment.open_db(database, create=False)
        with environment.begin() as transaction, transaction.cursor(db=opened) as cursor:
            return [(bytes(key), bytes(value)) for key, value in cursor]


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """The same with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


@contextmanager
def flipped_in(file: Path, at: int, bit: int) -> Iterator[None]:
    """One bit of a file changed, for as long as the block lasts."""
    mode = file.stat().st_mode & 0o777
    file.chmod(0o600)
    with file.open("r+b") as opened:
        opened.seek(at)
        held = opened.read(1)
        opened.seek(at)
        opened.write(flipped(held, 0, bit))
        opened.flush()
        try:
            file.chmod(mode)
            yield
        finally:
            opened.seek(at)
            opened.write(held)


@contextmanager
def put_back(*files: Path) -> Iterator[None]:
    """Files that may be changed, and are as before afterwards."""
    held = [(file, file.read_bytes(), file.stat().st_mode & 0o777) for file in files]
    try:
        yield
    finally:
        for file, content, mode in held:
            file.chmod(0o600)
            file.write_bytes(content)
            file.chmod(mode)
