"""LMDB's data file read without LMDB: every offset is checked, so damage is named and never followed.

LMDB trusts its pages. One flipped bit in a pointer, and it reads outside the file, which ends the process; a tool that looks for damage must
not die of it. So what is checked is read here, page by page, with `pread`: a bad sector is an error and no signal. (`lmdb.verify` walks a file at
rest, keeps the number of every page, and cannot say which leaves are hit.)

The format is that of LMDB 0.9 (`mdb.c`, "Page header" to "MDB_meta"), little-endian, 64 bits. Two meta pages take turns; the newer names
the roots of two trees: of the free pages, and of the named databases. A tree is read from the left: each page must say its own
number and kind, keep its nodes inside itself and its keys in order and between those of its parent. What LMDB keeps of free pages is not
looked at: no byte of it is ever part of a log.

While a writer may be at work, a snapshot is pinned by one of LMDB's own readers, which reads nothing but the meta pages.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from audit.environment import open_environment
from audit.errors import StoreAbsent, StoreDamaged

MAP_BYTES = 64 << 30  # address space; as much as a writer reserves at most
_META, _DB, _HEADER, _NODE, _POINTER = (struct.Struct(form) for form in ("<IIQQ", "<IHHQQQQQ", "<QHHHH", "<HHHH", "<Q"))
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE, _DIRTY, _LEAF2, _SUB = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40
_BIG, _TREE, _DUPLICATES = 0x01, 0x02, 0x04  # of a node: its value lies elsewhere, is a tree, is several
_NOWHERE = (1 << 64) - 1
_PAGE_SIZES = {1 << bits for bits in range(9, 17)}
_META_BYTES = _HEADER.size + _META.size + 2 * _DB.size + 16
_MAX_DEPTH = 32  # CURSOR_STACK
_TRIES = 1_000  # of a snapshot, each lost only if the writer commits twice meanwhile


@dataclass(frozen=True)
class Damage:
    """A page that is not as LMDB writes it; it begins at byte `page` × page size of the file."""

    page: int
    says: str


@dataclass(frozen=True)
class Tree:
    """A database: its root page, and how many levels of pages and how many rows it says to have."""

    root: int
    depth: int
    rows: int


@dataclass(frozen=True)
class Row:
    """A row as it lies in a leaf. `page`: where; `raw`: the value, or what stands in its place."""

    key: bytes
    page: int
    flags: int
    size: int
    raw: bytes


class _Bad(Exception):
    def __init__(self, page: int, says: str) -> None:
        super().__init__(says)
        self.damage = Damage(page, says)


@dataclass(frozen=True)
class _Meta:
    page_size: int
    main: Tree
    last_page: int
    transaction: int


class Snapshot:
    """A data file as it was at one commit. For use while it is pinned."""

    def __init__(self, descriptor: int, meta: _Meta) -> None:
        self._descriptor = descriptor
        self._size = meta.page_size
        self._meta = meta

    def databases(self) -> tuple[dict[bytes, Tree], list[Damage]]:
        """The named databases, and what is wrong with the pages that list them."""
        found: dict[bytes, Tree] = {}
        damages = []
        for row in self.scan(self._meta.main):
            if isinstance(row, Damage):
                damages.append(row)
            elif row.flags != _TREE or len(row.raw) != _DB.size:
                damages.append(Damage(row.page, f"the row of database {row.key!r} names no tree"))
            else:
                found[row.key] = _tree(row.raw)
        return found, damages

    def scan(self, tree: Tree, start: bytes = b"") -> Iterator[Row | Damage]:
        """The rows of a tree in order, from the one at `start`, or the last one before it. Pages that cannot be read are skipped."""
        if tree.root != _NOWHERE:
            yield from self._under(tree.root, tree.depth, start, (b"", None))

    def value(self, row: Row) -> bytes:
        """The value of a row. Raises StoreDamaged with `page`."""
        if row.flags == 0:
            return row.raw
        if row.flags != _BIG or len(row.raw) != _POINTER.size:
            raise StoreDamaged("the value is of another kind than it must be", page=row.page)
        (number,) = _POINTER.unpack(row.raw)
        pages = -(-(_HEADER.size + row.size) // self._size)
        try:
            # What the first page says is compared before a size that may be wrong is read.
            self._check_value(number, self._read(number, _HEADER.size), pages)
            return self._read(number, row.size, _HEADER.size)
        except _Bad as why:
            raise StoreDamaged(str(why), page=number) from why

    def values(self, row: Row, width: int) -> Iterator[bytes | Damage]:
        """The values of a key that may have several, each `width` bytes, in order."""
        if row.flags == 0:
            yield row.raw
        elif row.flags == _DUPLICATES:
            try:
                yield from self._packed(row.raw, row.page, _LEAF | _LEAF2 | _SUB, width)
            except _Bad as why:
                yield why.damage
        elif row.flags == _DUPLICATES | _TREE and len(row.raw) == _DB.size:
            tree = _tree(row.raw)
            yield from self._packed_under(tree.root, tree.depth, width)
        else:
            yield Damage(row.page, "the values of a key are of another kind than they must be")

    def _under(
        self, number: int, depth: int, start: bytes, bounds: tuple[bytes, bytes | None]
    ) -> Iterator[Row | Damage]:
        try:
            self._check_depth(number, depth)
            nodes = self._nodes(number, is_leaf=depth == 1)
        except _Bad as why:
            yield why.damage
            return
        low, high = bounds
        keys = [key for key, *_ in nodes]
        if depth > 1:
            keys[0] = low  # the first key of a branch is not used
        in_order = all(one < other for one, other in pairwise(keys))
        if not in_order or not keys or keys[0] < low or (high is not None and keys[-1] >= high):
            yield Damage(number, "the keys are not in order, or not between those of the page above")
        at = max((place for place, key in enumerate(keys) if key <= start), default=0)
        for place in range(at, len(nodes)):
            key, flags, size, raw = nodes[place]
            if depth == 1:
                yield Row(key, number, flags, size, raw)
                continue
            child = size | flags << 32
            next_key = keys[place + 1] if place + 1 < len(keys) else high
            yield from self._under(child, depth - 1, start if place == at else b"", (keys[place], next_key))

    def _packed_under(self, number: int, depth: int, width: int) -> Iterator[bytes | Damage]:
        try:
            self._check_depth(number, depth)
            if depth <= 1:
                yield from self._packed(self._read(number, self._size), number, _LEAF | _LEAF2, width)
                return
            nodes = self._nodes(number, is_leaf=False)
        except _Bad as why:
            yield why.damage
            return
        for _, flags, size, _ in nodes:
            yield from self._packed_under(size | flags << 32, depth - 1, width)

    def _packed(self, raw: bytes, number: int, kind: int, width: int) -> Iterator[bytes]:
        """The values in a page that holds nothing else, or in the like inside a node."""
        if len(raw) < _HEADER.size:
            raise _Bad(number, "the values of a key are cut short")
        own, wide, flags, lower, _ = _HEADER.unpack_from(raw)
        count = (lower - _HEADER.size) // 2
        if kind & _SUB:
            own, flags = (
                number,
                flags & ~_DIRTY,
            )  # LMDB copies it into its node as it is in memory, with no number and marked
        if own != number or (flags, wide) != (kind, width) or not 0 < count <= (len(raw) - _HEADER.size) // width:
            raise _Bad(number, "the values of a key are not where they must be")
        for at in range(_HEADER.size, _HEADER.size + count * width, width):
            yield raw[at : at + width]

    def _nodes(self, number: int, *, is_leaf: bool) -> list[tuple[bytes, int, int, bytes]]:
        """(key, flags, size, raw value) of each node of a page; of a branch, size and flags make up the page below."""
        raw = self._read(number, self._size)
        own, _, flags, lower, upper = _HEADER.unpack_from(raw)
        if own != number or flags != (_LEAF if is_leaf else _BRANCH):
            raise _Bad(
                number, f"the page does not say that it is {'a leaf' if is_leaf else 'a branch'} with this number"
            )
        if not _HEADER.size < lower <= upper <= self._size or lower % 2:
            raise _Bad(number, "the page's bounds lie outside it")
        nodes = []
        for (at,) in struct.iter_unpack("<H", raw[_HEADER.size : lower]):
            if not upper <= at <= self._size - _NODE.size:
                raise _Bad(number, "a node lies outside its page")
            low, high, flags, key_size = _NODE.unpack_from(raw, at)
            size, key_end = low | high << 16, at + _NODE.size + key_size
            held = 0 if not is_leaf else _POINTER.size if flags & _BIG else size
            if key_end + held > self._size:
                raise _Bad(number, "a node reaches outside its page")
            nodes.append((raw[at + _NODE.size : key_end], flags, size, raw[key_end : key_end + held]))
        return nodes

    @staticmethod
    def _check_depth(number: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _Bad(number, f"no tree is {depth} pages deep")

    @staticmethod
    def _check_value(number: int, header: bytes, pages: int) -> None:
        own, _, flags, low, high = _HEADER.unpack(header)
        # Just as many pages as it needs: LMDB leaves it more only where a key is written twice in one commit, which no log does.
        if (own, flags, low | high << 16) != (number, _OVERFLOW, pages):
            raise _Bad(number, "the page of a value does not say that it is one of that size")

    def _read(self, number: int, size: int, skipped: int = 0) -> bytes:
        """So many bytes from a page on, after some that are skipped."""
        if not 1 < number <= self._meta.last_page:
            raise _Bad(number, "a page is named that is not among those in use")
        try:
            raw = os.pread(self._descriptor, size, number * self._size + skipped)
        except OSError as cause:
            raise _Bad(number, f"the page cannot be read: {cause.strerror}") from cause
        if len(raw) != size:
            raise _Bad(number, "the file ends inside this page")
        return raw


class PageFile:
    """A data file. `shared`: a writer may be at work on it. Not for a process that has the environment open already."""

    def __init__(self, path: Path, *, shared: bool, map_bytes: int = MAP_BYTES) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as cause:
            raise StoreAbsent(f"there is no {path}", path=path) from cause
        except OSError as cause:
            raise StoreDamaged(f"{path} cannot be read: {cause.strerror}", path=path) from cause
        try:
            # LMDB is let near the file only after its meta pages, which are all that it reads for this, were found sound.
            _tried(self._descriptor, path)
            room = max(map_bytes, 2 * path.stat().st_size)
            self._environment = open_environment(path.parent, 0, room, read_only=True) if shared else None
        except BaseException:
            os.close(self._descriptor)
            raise

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The newest commit, unchanged for as long as the block lasts. Raises StoreDamaged."""
        with nullcontext() if self._environment is None else self._environment.begin() as reader:
            yield Snapshot(self._descriptor, _tried(self._descriptor, self.path, reader.id() if reader else None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._environment is not None:
            self._environment.close()
        os.close(self._descriptor)


def _tried(descriptor: int, path: Path, transaction: int | None = None) -> _Meta:
    """The meta page of a transaction, or the newest; read again while a writer is just changing them."""
    for turn in range(_TRIES):
        try:
            metas = _metas(descriptor)
        except _Bad as why:
            if turn + 1 == _TRIES:
                raise StoreDamaged(f"{path}: {why}", path=path, page=why.damage.page) from why
            continue
        for meta in metas:
            if transaction in {None, meta.transaction}:
                return meta
    raise StoreDamaged(f"{path}: no meta page is of the transaction that was begun", path=path, page=0)


def _metas(descriptor: int) -> list[_Meta]:
    """Both meta pages, the newer first."""
    first = _meta(os.pread(descriptor, _META_BYTES, 0), 0)
    second = _meta(os.pread(descriptor, _META_BYTES, first.page_size), 1)
    newer, older = sorted((first, second), key=lambda meta: meta.transaction, reverse=True)
    # Transactions take turns: those with an even number write the first page, those with an odd one the second.
    in_turn = first.transaction % 2 == 0 and (second.transaction % 2 == 1 or newer.transaction == 0)
    if not in_turn or newer.transaction - older.transaction > 1 or first.page_size != second.page_size:
        raise _Bad(0, "the meta pages do not follow one another")
    return [newer, older]


def _meta(raw: bytes, number: int) -> _Meta:
    if len(raw) < _META_BYTES:
        raise _Bad(number, "the file ends before this page")
    own, _, flags, _, _ = _HEADER.unpack_from(raw)
    magic, version, _, _ = _META.unpack_from(raw, _HEADER.size)
    at = _HEADER.size + _META.size
    (page_size, *_), main = _DB.unpack_from(raw, at), _tree(raw[at + _DB.size : at + 2 * _DB.size])
    last_page, transaction = struct.unpack_from("<QQ", raw, at + 2 * _DB.size)
    if (own, flags, magic, version) != (number, _META_PAGE, _MAGIC, _VERSION) or page_size not in _PAGE_SIZES:
        raise _Bad(number, "the page does not say that it is a meta page of this format")
    return _Meta(page_size, main, last_page, transaction)


def _tree(raw: bytes) -> Tree:
    _, _, depth, _, _, _, rows, root = _DB.unpack(raw)
    return Tree(root, depth, rows)
