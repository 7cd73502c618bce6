"""Re-hash a log, whole or an interval, and compare everything that is stored: entries, tiles, heads, signed heads, anchors, index.

    check = Check(path, engine, Expected(checkpoint=head_file, keys=keys, anchors=anchors))
    for finding in check.findings(): ...

Nothing is written, and a writer may go on meanwhile: what it had committed when the check began is checked. Entries move in packed batches from a
thread that reads to the one that hashes, so memory does not depend on the log's size. Not for a process that has the log open itself.

An interval is widened to whole tiles. Its tiles lead to the root over the tiles above, so it is as certain as the root is that
its entries are those of the log; what lies outside is not read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from audit.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from audit.epoch import SEALED
from audit.errors import EntryInvalid, StoreAbsent, StoreDamaged
from audit.files import read_whole
from audit.keeping.ahead import Ahead
from audit.keeping.findings import Finding, Part, Place
from audit.keeping.index_check import IndexCheck
from audit.keeping.pages import MAP_BYTES
from audit.keeping.rehash import Rehash, RootOf
from audit.keeping.stored import TILE_LEVELS, EpochFile, StoredHead, epoch_files
from audit.keeping.stored_log import StoredLog
from audit.tiles import TILE_WIDTH
from crypto.engine import Engine
from crypto.errors import CryptoError
from crypto.merkle import HASH_SIZE, TILE_HEIGHT
from crypto.notes import NoteKey, parse_note

_BATCHES_AHEAD = 2
_ROOTS_TRIED = 8
_REMEMBERED = 10_000  # findings; where there are more, some may be told twice

Value = TypeVar("Value")
Progress = Callable[[int, int], None]  # leaves done, and of how many


@dataclass(frozen=True)
class KnownHead:
    """A head that is known from elsewhere, unsigned. `source`: where from, for people."""

    size: int
    root: bytes
    source: str


@dataclass(frozen=True)
class Expected:
    """What is known of a log from elsewhere. What is left out is not compared.

    Attributes:
        origin: as the log's checkpoints state it.
        epoch_leaves: for how many leaves an epoch is begun.
        checkpoint: the file with the newest signed head; it need not exist.
        note: its content, if it was read already.
        keys: keys of the log's member. Without any, the signature of the checkpoint is not verified.
        anchors: (size, root) of heads that the chain has.
        heads: others that are known.
        index: the directory of the secondary index.
    """

    origin: str | None = None
    epoch_leaves: int | None = None
    checkpoint: Path | None = None
    note: bytes | None = None
    keys: Sequence[NoteKey] = ()
    anchors: Sequence[tuple[int, bytes]] = ()
    heads: Sequence[KnownHead] = ()
    index: Path | None = None


@dataclass(frozen=True)
class _Known:
    """A root of the log that is known from elsewhere."""

    part: Part
    size: int
    root: bytes
    source: str
    place: Place


class Check:
    """One check. The attributes are set when `findings` has ended.

    Attributes:
        size, root, origin: of the log as it was checked; the root is None where the tree cannot be made up.
        start, stop: the interval that was re-hashed.
        checkpoint: the signed head that the log was compared with, or None.
        archived: (first leaf, end, where) of each epoch without its entries; of those the tiles were checked alone.
    """

    def __init__(  # noqa: PLR0913 - what is checked, how far, and how
        self,
        files: Path | Sequence[Path],
        engine: Engine,
        expected: Expected = Expected(),
        *,
        start: int = 0,
        stop: int | None = None,
        at_rest: bool = False,
        progress: Progress = lambda _done, _total: None,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        """`files`: the directory of a store, or the data files of its epochs in order. `at_rest`: nobody writes to them."""
        self._source = files
        self._engine = engine
        self._expected = expected
        self._interval = start, stop
        self._at_rest = at_rest
        self._progress = progress
        self._map_bytes = map_bytes
        self._files: list[Path] = []
        self._epochs: list[EpochFile | None] = []
        self._heads: list[StoredHead | None] = []
        self._bounds: list[int] = []
        self.size = self.start = self.stop = 0
        self.root: bytes | None = None
        self.origin = ""
        self.checkpoint: Checkpoint | None = None
        self.archived: list[tuple[int, int, str]] = []

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return len(self._files)

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong, as it is met, each thing once. Nothing, if nothing is."""
        said: set[Finding] = set()
        for finding in self._findings():
            if finding not in said:
                if len(said) < _REMEMBERED:
                    said.add(finding)
                yield finding

    def _findings(self) -> Iterator[Finding]:
        note = yield from self._read_note()
        self._files = epoch_files(self._source) if isinstance(self._source, Path) else list(self._source)
        with ExitStack() as opened:
            yield from self._open(opened)
            if not any(self._heads):
                return
            yield from self._compare_heads()
            if any(one > other for one, other in pairwise(self._bounds)):
                yield Finding(Part.HEAD, "the heads of the epochs do not follow one another", Place())
                return
            known = yield from self._known(note)
            rehash = yield from self._rehash(known)
            yield from self._compare_sealed_rows(rehash)
            yield from self._compare_known(rehash, known)
            self.root = rehash.root(self.size)
            yield from self._compare_index()

    # The heads.

    def _open(self, opened: ExitStack) -> Iterator[Finding]:
        for number, path in enumerate(self._files):
            epoch: EpochFile | None = None
            head: StoredHead | None = None
            found: list[Finding] = []
            try:
                shared = not self._at_rest and (path is self._files[-1] or path.stat().st_mode & 0o777 != SEALED)
                epoch = EpochFile(number, path, shared=shared, map_bytes=self._map_bytes)
                opened.callback(epoch.close)
                head = epoch.head(found)
            except (OSError, StoreAbsent, StoreDamaged) as why:
                page = int(why.details["page"]) if isinstance(why, StoreDamaged) and "page" in why.details else None
                yield Finding(Part.HEAD, f"the epoch cannot be read: {why}", Place(epoch=number, file=path, page=page))
            yield from found
            self._epochs.append(epoch)
            self._heads.append(head)

    def _compare_heads(self) -> Iterator[Finding]:
        """Compare the heads with one another and with where segments begin and end; most of what says where an epoch begins is right."""
        heads = [head for head in self._heads if head is not None]
        self.origin = self._expected.origin or _most([head.origin for head in heads])
        epoch_leaves = self._expected.epoch_leaves or _most([head.epoch_leaves for head in heads])
        self._bounds = [0]
        for before, after in pairwise(self._heads):
            self._bounds.append(_most([*_ends(before), *_begins(after)] or self._bounds[-1:]))
        last = self._heads[-1]
        self._bounds.append(self._bounds[-1] if last is None else _size_of(last, self._bounds[-1]))
        self.size = self._bounds[-1]
        self.archived = [
            (first, stop, head.archived)
            for (first, stop), head in zip(pairwise(self._bounds), self._heads, strict=True)
            if head is not None and head.archived is not None
        ]
        for number, head in enumerate(self._heads):
            if head is not None:
                yield from self._compare_head(number, head, epoch_leaves)

    def _compare_head(self, number: int, head: StoredHead, epoch_leaves: int) -> Iterator[Finding]:
        first, stop = self._bounds[number : number + 2]
        place = Place(epoch=number, file=self._files[number])
        pairs = [("first leaf", head.first, first), ("size", head.size, stop), ("origin", head.origin, self.origin)]
        for name, said, right in [*pairs, ("number of leaves of an epoch", head.epoch_leaves, epoch_leaves)]:
            if said != right:
                yield Finding(Part.HEAD, f"the head states the {name} {said}, and it is {right}", place)
        if head.segments is not None and head.segments[1] > stop:
            says = f"segments go on to {head.segments[1]}, and the epoch ends at {stop}"
            yield Finding(Part.SEGMENT, says, Place(epoch=number, leaves=(stop, head.segments[1]), file=place.file))
        if head.archived is not None and number == len(self._heads) - 1:
            yield Finding(Part.HEAD, "the open epoch says that it is archived", place)
        for level, keys in head.tiles.items():
            shift = TILE_HEIGHT * (level + 1)
            if keys is not None and not first >> shift <= keys[0] <= keys[1] < stop >> shift:
                says = f"there are tiles from {level}/{keys[0]} to {level}/{keys[1]}, and some of them cannot be in this epoch"
                yield Finding(Part.TILE, says, Place(epoch=number, tile=(level, keys[1]), file=place.file))

    def _compare_sealed_rows(self, rehash: Rehash) -> Iterator[Finding]:
        """The bottom rows in the heads of full epochs, which nothing reads any more, must be what the tree had there."""
        for number, head in enumerate(self._heads[:-1]):
            bound = self._bounds[number + 1]
            if head is None or not self.start <= bound <= self.stop:
                continue
            for level, row in head.rows.items():
                shift = TILE_HEIGHT * level
                index, count = divmod(bound >> shift, TILE_WIDTH)
                right = rehash.bottom(level, index, count)
                if right is not None and right != row:
                    says = f"row {level} of the head of a full epoch is not that of the tree at {bound} leaves"
                    leaves = index * TILE_WIDTH << shift, bound
                    yield Finding(Part.HEAD, says, Place(epoch=number, leaves=leaves, file=self._files[number]))

    # The tree.

    def _rehash(self, known: Sequence[_Known]) -> Generator[Finding, None, Rehash]:
        start, stop = self._interval
        stop = self.size if stop is None else min(max(start, stop), self.size)
        self.start = min(start, stop) - min(start, stop) % TILE_WIDTH
        self.stop = min(stop + -stop % TILE_WIDTH, self.size)
        newest = next(head for head in reversed(self._heads) if head is not None)
        log = self._log()
        rehash = Rehash(self._engine, log, self.size, newest.rows, self.start)
        with closing(log), Ahead(log.leaves(self.start, self.stop), _BATCHES_AHEAD) as batches:
            log.begin(self.start, self.stop)
            done = 0
            for item in batches:
                if isinstance(item, Finding):
                    yield item
                    continue
                if item.messages is None:
                    yield from rehash.pass_over(item.count)
                else:
                    yield from rehash.feed(self._engine.sm3_many(item.messages))
                done += item.count
                self._progress(done, self.stop - self.start)
            yield from rehash.finish(lambda root_of, beyond: _judged(known, root_of, beyond, self.size))
        return rehash

    # What is known from elsewhere.

    def _read_note(self) -> Generator[Finding, None, bytes | None]:
        """The note of the signed head. It comes first: a writer may sign a newer one as soon as the log has been looked at."""
        expected = self._expected
        try:
            return read_whole(expected.checkpoint) if expected.checkpoint and expected.note is None else expected.note
        except StoreDamaged as why:
            yield Finding(Part.CHECKPOINT, str(why), Place(file=expected.checkpoint))
            return None

    def _known(self, note: bytes | None) -> Generator[Finding, None, list[_Known]]:
        known = [_Known(Part.ANCHOR, size, root, "the anchor", Place()) for size, root in self._expected.anchors]
        known += [_Known(Part.CHECKPOINT, one.size, one.root, one.source, Place()) for one in self._expected.heads]
        place = Place(file=self._expected.checkpoint)
        try:
            self.checkpoint = None if note is None else self._opened(note)
        except (CryptoError, EntryInvalid) as why:
            yield Finding(Part.CHECKPOINT, f"this is no head that the log's member signed: {why}", place)
        head = self.checkpoint
        if head is not None and head.origin != self.origin:
            yield Finding(Part.CHECKPOINT, f"the signed head is of the log {head.origin}", place)
        elif head is not None:
            known.append(_Known(Part.CHECKPOINT, head.size, head.root, "the signed head", place))
        return sorted(known, key=lambda one: one.size)

    def _opened(self, note: bytes) -> Checkpoint:
        if self._expected.keys:
            return open_checkpoint(self._engine, note, self._expected.keys)
        return parse_checkpoint(parse_note(note).text)

    def _compare_known(self, rehash: Rehash, known: Sequence[_Known]) -> Iterator[Finding]:
        """Compare roots, smallest size first: the first that is not the log's bounds where it was changed."""
        right = 0
        for one in known:
            root = rehash.root(one.size) if one.size <= self.size else None
            place = replace(one.place, leaves=(min(right, one.size), one.size))
            if one.size > self.size:
                yield Finding(
                    one.part, f"{one.source} has {one.size} entries of this log, the store {self.size}", place
                )
            elif root is None:
                yield Finding(
                    one.part, f"{one.source} at {one.size} entries cannot be compared: tiles are missing", place
                )
            elif root != one.root:
                yield Finding(one.part, f"the first {one.size} entries are not those of {one.source}", place)
            else:
                right = one.size

    def _compare_index(self) -> Iterator[Finding]:
        path = self._expected.index
        if path is None:
            return
        first = max((stop for _, stop, _ in self.archived), default=0)
        index = IndexCheck(path, self.origin, first, self._log().entries, shared=not self._at_rest)
        yield from index.findings(self._size_now)

    def _size_now(self) -> int:
        """Entries of the log by now, as far as the newest epoch that the check began with tells."""
        newest = self._epochs[-1]
        head = None if self._at_rest or newest is None else newest.head([])
        return self.size if head is None else head.size

    def _log(self) -> StoredLog:
        archived = [head is not None and head.archived is not None for head in self._heads]
        return StoredLog(self._epochs, archived, self._bounds)


def _judged(known: Sequence[_Known], root_of: RootOf, beyond: int, size: int) -> bool | None:
    """Whether a tree has a root that is known of it beyond some leaf. One is enough: no other tree has it."""
    roots = [one for one in reversed(known) if beyond < one.size <= size]
    return any(root_of(one.size) == one.root for one in roots[:_ROOTS_TRIED]) if roots else None


def _ends(head: StoredHead | None) -> list[int]:
    """Where an epoch ends: by its head, by its segments, and by its tiles with the lowest row."""
    if head is None:
        return []
    tiles = head.tiles[0]
    ends = [head.size, *(() if head.segments is None else head.segments[1:])]
    return ends if tiles is None else [*ends, (tiles[1] + 1) * TILE_WIDTH + len(head.rows[0]) // HASH_SIZE]


def _begins(head: StoredHead | None) -> list[int]:
    """Where an epoch begins: by its head, and by its segments."""
    return [] if head is None else [head.first, *(() if head.segments is None else head.segments[:1])]


def _most(values: Sequence[Value]) -> Value:
    """The value that most agree on; of several, the first."""
    return Counter(values).most_common(1)[0][0]


def _size_of(head: StoredHead, first: int) -> int:
    """The size of a log, by its newest head: what it states, unless its rows, its segments and its tiles speak for another."""
    ends = _ends(head) if head.segments is not None or head.archived is not None else [*_ends(head), first]
    return max(ends, key=lambda size: (_fits(head, size), ends.count(size), size == head.size))


def _fits(head: StoredHead, size: int) -> int:
    """How many of the bottom rows have the length of a tree of this size."""
    if size >> TILE_HEIGHT * TILE_LEVELS:
        return -1  # more than a store can hold
    lengths = {level: (size >> TILE_HEIGHT * level) % TILE_WIDTH * HASH_SIZE for level in range(TILE_LEVELS)}
    return sum(len(head.rows[level]) == length for level, length in lengths.items())
