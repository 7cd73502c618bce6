"""What the file of an epoch says, read by `pages` alone: head, segments and tiles in order, and what is wrong among them.

Nothing here is shared with `store`, which wrote it: a defect there is not also one of the check. The layout is that of `store`, and a segment's that of
`log`. An epoch whose segments are archived has a row `archived` beside its head, and no segments.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audit.errors import StoreAbsent, StoreDamaged
from audit.keeping.findings import Finding, Part, Place
from audit.keeping.pages import Damage, PageFile, Row, Snapshot
from audit.tiles import TILE_BYTES
from crypto.merkle import TILE_HEIGHT
from crypto.packed import Packed
from crypto.scatter import prefix_each

DATA_FILE = "data.mdb"
FORMAT = 1
TILE_LEVELS = 5
_MAX_ORIGIN = 256  # bytes
_RECORD = struct.Struct(">HQQQ")  # format, epoch leaves, first leaf of this epoch, size
_KEY = struct.Struct(">Q")
_SEGMENT = struct.Struct(">IBI")  # leaves as the store counts them; version and count of the segment itself
_OFFSETS_OF_ONE = struct.Struct(">II")
_SEGMENT_VERSION = 1
_BATCH_BYTES = 8 << 20  # read at once
_LAST = b"\xff" * 8

Keys = tuple[int, int]  # the first and the last


@dataclass(frozen=True)
class StoredHead:
    """The head of an epoch, and what else the same commit holds.

    Attributes:
        form, epoch_leaves, first, size, origin: as the record states them; `form` is the format's version.
        rows: bottom rows of the unfinished tiles, by tile level.
        archived: where the segments were put, or None.
        segments: the first leaf of the segments, and the end of the last one; None if there are none.
        tiles: by level, the first and the last tile; None if there are none.
    """

    form: int
    epoch_leaves: int
    first: int
    size: int
    origin: str
    rows: dict[int, bytes]
    archived: str | None
    segments: Keys | None
    tiles: dict[int, Keys | None]


@dataclass(frozen=True)
class Segment:
    """Entries as they lie in a row. `stated`: how many, as the store says."""

    stated: int
    offsets: NDArray[np.int64]
    data: memoryview

    def __len__(self) -> int:
        return len(self.offsets) - 1


class EpochFile:
    """The file of an epoch, open. `shared`: a writer may be at work on it. Raises StoreAbsent, StoreDamaged. For several threads."""

    def __init__(self, number: int, path: Path, *, shared: bool, map_bytes: int) -> None:
        self.number = number
        self.path = path
        self._shared = shared
        self._pages = PageFile(path, shared=shared, map_bytes=map_bytes)

    def close(self) -> None:
        """Close it."""
        self._pages.close()

    def place(self, **known: object) -> Place:
        """A place in this file."""
        return Place(epoch=self.number, file=self.path, **known)  # type: ignore[arg-type]  # fields of Place

    def head(self, found: list[Finding]) -> StoredHead | None:
        """The head, or None if it cannot be read; what is wrong with it is added to `found`. Raises StoreDamaged."""
        values: dict[bytes, bytes] = {}
        with self._pages.snapshot() as snapshot:
            for row in self._scan(snapshot, b"head", Part.HEAD, found):
                values[row.key] = self._value(snapshot, row, Part.HEAD, found) or b""
            archived = values.pop(b"archived", None)
            segments = None if archived is not None else self._extent(snapshot)
            edges = [[self._edge(snapshot, b"tiles-%d" % n, at) for at in (b"", _LAST)] for n in range(TILE_LEVELS)]
        record, origin = values.pop(b"head", b""), values.pop(b"origin", b"")
        rows = {level: values.pop(b"row-%d" % level, b"") for level in range(TILE_LEVELS)}
        if values:
            found.append(self._finding(Part.HEAD, f"the head has a row {min(values)!r}, which none may have"))
        if len(record) != _RECORD.size or not 0 < len(origin) <= _MAX_ORIGIN:
            found.append(self._finding(Part.HEAD, "there is no head record of the length that it must have"))
            return None
        form, epoch_leaves, first, size = _RECORD.unpack(record)
        if form != FORMAT:
            found.append(self._finding(Part.HEAD, f"the head record is of format {form}"))
        tiles = {level: None if one is None or last is None else (one, last) for level, (one, last) in enumerate(edges)}
        texts = [raw.decode("utf-8", errors="replace") for raw in (origin, archived or b"")]
        return StoredHead(
            form, epoch_leaves, first, size, texts[0], rows, None if archived is None else texts[1], segments, tiles
        )

    def segments(self, start: int) -> Iterator[tuple[int, bytes | None] | Finding]:
        """(key, value) of the segments from the one that holds leaf `start`; None for a value that cannot be read."""
        yield from self._rows(b"segments", Part.SEGMENT, start, None)

    def tiles(self, level: int, first: int, stop: int) -> Iterator[tuple[int, bytes | None] | Finding]:
        """Exactly the tiles from `first` to `stop`, in order; None for one that is not there."""
        expected = first
        for item in self._rows(b"tiles-%d" % level, Part.TILE, first, level) if first < stop else ():
            if isinstance(item, Finding):
                yield item
                continue
            index, tile = item
            if not expected <= index < stop:
                continue  # the page says that its keys are not in order, and the tile is missed in its place
            yield from self._missing(level, expected, index)
            if tile is not None and len(tile) != TILE_BYTES:
                says = f"tile {level}/{index} does not have 510 nodes"
                yield self._finding(Part.TILE, says, tile=(level, index), leaves=_leaves(level, index, index + 1))
                tile = None
            yield index, tile
            expected = index + 1
            if expected == stop:
                return
        yield from self._missing(level, expected, stop)

    def tile(self, level: int, index: int) -> bytes | None:
        """A tile by itself, or None."""
        with self._pages.snapshot() as snapshot:
            for row in self._scan(snapshot, b"tiles-%d" % level, Part.TILE, [], _KEY.pack(index)):
                if row.key != _KEY.pack(index):
                    return None
                tile = self._value(snapshot, row, Part.TILE, [], level)
                return tile if tile is not None and len(tile) == TILE_BYTES else None
        return None

    def segment_of(self, leaf: int) -> int | None:
        """The key of the segment that holds a leaf."""
        with self._pages.snapshot() as snapshot:
            return self._edge(snapshot, b"segments", _KEY.pack(leaf))

    def _rows(
        self, name: bytes, part: Part, start: int, level: int | None
    ) -> Iterator[tuple[int, bytes | None] | Finding]:
        """Rows of a database from the one at `start` or before it. Beside a writer each batch has a snapshot of its own: a reader that
        stays would keep pages from being used again.
        """
        said: set[Finding] = set()
        resume: int | None = None
        more = True
        while more:
            more = False
            batch: list[tuple[int, bytes | None]] = []
            found: list[Finding] = []
            held, passing = 0, resume
            with self._pages.snapshot() as snapshot:
                for row in self._scan(snapshot, name, part, found, _KEY.pack(start if resume is None else resume)):
                    if len(row.key) != _KEY.size:
                        found.append(self._finding(part, "a key is not 8 bytes long", page=row.page))
                        continue
                    (key,) = _KEY.unpack(row.key)
                    if passing is not None and key <= passing:
                        continue
                    passing = None
                    batch.append((key, self._value(snapshot, row, part, found, level)))
                    held += row.size
                    if held >= _BATCH_BYTES:
                        if self._shared:
                            more, resume = True, key
                            break
                        yield from self._new(said, found)
                        yield from batch
                        batch, found, held = [], [], 0
            yield from self._new(said, found)
            yield from batch

    @staticmethod
    def _new(said: set[Finding], found: Sequence[Finding]) -> Iterator[Finding]:
        for finding in found:
            if finding not in said:
                said.add(finding)
                yield finding

    def _value(
        self, snapshot: Snapshot, row: Row, part: Part, found: list[Finding], level: int | None = None
    ) -> bytes | None:
        try:
            return snapshot.value(row)
        except StoreDamaged as why:
            place: dict[str, object] = {"page": int(why.details["page"])}
            if part is not Part.HEAD:
                (key,) = _KEY.unpack(row.key)
                place |= {"key": key} if part is Part.SEGMENT else {"tile": (level, key)}
            found.append(self._finding(part, str(why), **place))
            return None

    def _scan(
        self, snapshot: Snapshot, name: bytes, part: Part, found: list[Finding], start: bytes = b""
    ) -> Iterator[Row]:
        databases, damages = snapshot.databases()
        found += [self._finding(Part.HEAD, damage.says, page=damage.page) for damage in damages]
        if name not in databases:
            found.append(self._finding(part, f"the file has no database {name.decode()}"))
            return
        for row in snapshot.scan(databases[name], start):
            if isinstance(row, Damage):
                found.append(self._finding(part, f"{row.says} (database {name.decode()})", page=row.page))
            else:
                yield row

    def _extent(self, snapshot: Snapshot) -> Keys | None:
        """The first leaf of the segments and the end of the last one. What is wrong with them is told when it is their turn."""
        first = self._edge(snapshot, b"segments", b"")
        for row in self._scan(snapshot, b"segments", Part.SEGMENT, [], _LAST):
            if first is None or len(row.key) != _KEY.size:
                return None
            value = self._value(snapshot, row, Part.SEGMENT, [])
            if value is None or len(value) < _SEGMENT.size:
                return None
            return first, _KEY.unpack(row.key)[0] + _SEGMENT.unpack_from(value)[0]
        return None

    def _edge(self, snapshot: Snapshot, name: bytes, start: bytes) -> int | None:
        """The key at `start`, or the last before it, or the first."""
        for row in self._scan(snapshot, name, Part.HEAD, [], start):
            return _KEY.unpack(row.key)[0] if len(row.key) == _KEY.size else None
        return None

    def _missing(self, level: int, first: int, stop: int) -> Iterator[tuple[int, None] | Finding]:
        if first < stop:
            tiles = (
                f"tile {level}/{first} is" if stop == first + 1 else f"tiles {level}/{first} to {level}/{stop - 1} are"
            )
            yield self._finding(
                Part.TILE, f"{tiles} not there", tile=(level, first), leaves=_leaves(level, first, stop)
            )
        yield from ((index, None) for index in range(first, stop))

    def _finding(self, part: Part, says: str, **place: object) -> Finding:
        return Finding(part, says, self.place(**place))


def _leaves(level: int, first: int, stop: int) -> tuple[int, int]:
    """The leaves under some tiles."""
    return first << TILE_HEIGHT * (level + 1), stop << TILE_HEIGHT * (level + 1)


def read_segment(value: bytes) -> Segment:
    """The entries of a segment. Raises StoreDamaged."""
    try:
        stated, version, count = _SEGMENT.unpack_from(value)
        begin = _SEGMENT.size + 4 * (count + 1)
        if version != _SEGMENT_VERSION or not count or begin > len(value):
            raise StoreDamaged("the segment is not in the format of version 1")
        data = memoryview(value)[begin:]
        if count == 1:
            offsets = np.array(_OFFSETS_OF_ONE.unpack_from(value, _SEGMENT.size), dtype=np.int64)
        else:
            offsets = np.frombuffer(value, dtype=">u4", count=count + 1, offset=_SEGMENT.size).astype(np.int64)
    except struct.error as cause:
        raise StoreDamaged("the segment is cut short") from cause
    if offsets[0] != 0 or offsets[-1] != len(data) or (count > 1 and bool((offsets[1:] < offsets[:-1]).any())):
        raise StoreDamaged("the offsets of the segment do not fit its entries")
    return Segment(stated, offsets, data)


def leaf_messages(segments: Sequence[Segment]) -> Packed:
    """0x00 ‖ entry for each entry of several segments: what a leaf's hash is over (RFC 9162, section 2.1.1)."""
    lengths = np.concatenate([np.diff(segment.offsets) for segment in segments])
    offsets = np.zeros(len(lengths) + 1, dtype=np.uint64)
    np.cumsum(lengths, out=offsets[1:], dtype=np.uint64)
    entries = Packed(b"".join(segment.data for segment in segments), offsets)
    return prefix_each(np.zeros((len(entries), 1), dtype=np.uint8), entries)


def epoch_files(path: Path) -> list[Path]:
    """The data files of a store's epochs, in order. Raises StoreAbsent."""
    found = sorted((path / "epochs").glob("[0-9]*")) if path.is_dir() else []
    if not found:
        raise StoreAbsent(f"there is no store in {path}", path=path)
    return [epoch / DATA_FILE for epoch in found]
