"""A mirror: another member's log, followed from range files, kept as a store with its signed head beside it.

    DIR/epochs/…        the log
    DIR/checkpoint      the newest signed head whose every entry is here
    DIR/heads/<size>    signed heads that go further; each is compared when its entries are here
    DIR/forks/<id>/     what proves that the member's log was forked: our head, the other one, the range that led to it

Nothing is appended that does not lead to a head signed by the member, from exactly what is here. The order of each step: the head is made durable, then
the entries are appended, then the head is compared once more and becomes the newest. A crash between any two leaves a mirror that opens and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from audit.checkpoint import Checkpoint, open_checkpoint
from audit.errors import EvidenceInvalid, EvidenceMalformed, LogForked, StoreDamaged
from audit.files import disk_errors, make_directory, read_whole, write_whole
from audit.guard import HeadFile
from audit.keeping.backup import CHECKPOINT
from audit.log import MAX_ENTRY_BYTES, AuditLog
from audit.store import EPOCH_LEAVES, MAP_BYTES
from audit.verifier import EntryRange, Malformed, read_file, root_from_range
from crypto.engine import Engine
from crypto.merkle import HASH_SIZE, Frontier, entry_leaves
from crypto.notes import NoteKey
from crypto.packed import Packed
from crypto.sm3 import sm3

_HEADS, _FORKS = "heads", "forks"
Fetch = Callable[[int, int], bytes]  # (first entry, how many at most; 0: as many as one file holds) → a range file


@dataclass(frozen=True)
class _Kept:
    """A signed head that is kept until its entries are here."""

    head: Checkpoint
    note: bytes
    file: Path


class Mirror:
    """A mirror of one log. One writer; made by `create` or `open`.

    Attributes:
        head: the newest signed head whose every entry is here, or None.
    """

    def __init__(self, directory: Path, log: AuditLog, engine: Engine, keys: Sequence[NoteKey]) -> None:
        self._directory = directory
        self._log = log
        self._engine = engine
        self._keys = keys
        self._head_file = HeadFile(directory / CHECKPOINT)
        self._waiting = self._read_waiting()
        self.head: Checkpoint | None = None
        note = self._head_file.read()
        if note is not None:
            self.head = self._signed(note)
            self._compare(self.head)
        self._settle()

    @classmethod
    def create(  # noqa: PLR0913 - as the log is created
        cls,
        directory: Path,
        origin: str,
        engine: Engine,
        keys: Sequence[NoteKey],
        *,
        map_bytes: int = MAP_BYTES,
        epoch_leaves: int = EPOCH_LEAVES,
    ) -> Self:
        """A new mirror, of nothing yet. `keys`: of the member whose log it is. Raises as TreeStore.create."""
        log = AuditLog.create(directory, origin, engine, map_bytes=map_bytes, epoch_leaves=epoch_leaves)
        return cls._over(directory, log, engine, keys)

    @classmethod
    def open(cls, directory: Path, engine: Engine, keys: Sequence[NoteKey], *, map_bytes: int = MAP_BYTES) -> Self:
        """A mirror that exists. Raises as TreeStore.open, and LogForked if it does not lead to its own signed head."""
        return cls._over(directory, AuditLog.open(directory, engine, map_bytes=map_bytes), engine, keys)

    @classmethod
    def _over(cls, directory: Path, log: AuditLog, engine: Engine, keys: Sequence[NoteKey]) -> Self:
        try:
            return cls(directory, log, engine, keys)
        except BaseException:
            log.close()
            raise

    @property
    def size(self) -> int:
        """Entries so far."""
        return self._log.size

    @property
    def origin(self) -> str:
        """Whose log it is."""
        return self._log.origin

    def take(self, raw: bytes) -> Checkpoint:
        """Append the entries of a range file; gives the head that they lead to.

        Raises:
            EvidenceMalformed: it is no range file.
            SignatureInvalid, EntryInvalid: the member did not sign its checkpoint.
            EvidenceInvalid: it is of another log, does not begin where this ends, or does not lead to its own checkpoint.
            LogForked: its checkpoint is signed and is not of the log that is here; `kept` says where both are.
            DiskFull: nothing was appended; the same range may be taken again.
        """
        content, head = self._signed_range(raw)
        if content.first != self.size:
            raise EvidenceInvalid(f"the range begins with entry {content.first}, and the mirror has {self.size}")
        if max(map(len, content.entries)) > MAX_ENTRY_BYTES:
            raise EvidenceInvalid("an entry of the range is larger than any may be")
        entries = Packed.of(content.entries)
        hashes = entry_leaves(self._engine, entries)
        _check_complete(content, head, hashes)
        # From here on the range is what the member signed.
        self._compare_with_what_is_here(raw, content, head, hashes)
        file = self._directory / _HEADS / str(head.size)
        make_directory(file.parent)
        write_whole(file, [content.proof.checkpoint])
        self._waiting = sorted(
            [*self._waiting, _Kept(head, content.proof.checkpoint, file)], key=lambda kept: kept.head.size
        )
        # A crash here leaves a signed head that is compared when its entries come.
        self._log.append_many(entries)
        # A crash here leaves it to the next opening to make the head the newest.
        self._settle()
        return head

    def compare(self, raw: bytes) -> Checkpoint:
        """Compare the head of a range file with what is here, and append nothing: what is left to do with a log that has fewer entries
        than its mirror. Gives the head. Raises as `take`.
        """
        content, head = self._signed_range(raw)
        _check_complete(content, head, entry_leaves(self._engine, Packed.of(content.entries)))
        if head.size <= self.size and self._log.tree.root_at(head.size) != head.root:
            self._forked(raw, self._ours(), f"the head at {head.size} entries is not of the {self.size} that are here")
        return head

    def follow(self, fetch: Fetch, on_progress: Callable[[int, int], None] = lambda _done, _total: None) -> int:
        """Take ranges until everything is here that the last of them leads to; gives the number of entries. Raises as `take`, and
        what `fetch` raises.
        """
        while True:
            head = self.take(fetch(self.size, 0))
            on_progress(self.size, head.size)
            if self.size >= head.size:
                return self.size

    def close(self) -> None:
        """Close the store."""
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signed_range(self, raw: bytes) -> tuple[EntryRange, Checkpoint]:
        try:
            content = read_file(raw)
        except Malformed as why:
            raise EvidenceMalformed(str(why)) from why
        if not isinstance(content, EntryRange):
            raise EvidenceMalformed("this is evidence of one entry and no range")
        head = self._signed(content.proof.checkpoint)
        if head.origin != self.origin:
            raise EvidenceInvalid(f"the range is of {head.origin}, the mirror of {self.origin}")
        return content, head

    def _signed(self, note: bytes) -> Checkpoint:
        return open_checkpoint(self._engine, note, self._keys)

    def _read_waiting(self) -> list[_Kept]:
        """Signed heads that go further than what was here, smallest first."""
        directory = self._directory / _HEADS
        with disk_errors(directory):
            files = [file for file in directory.iterdir() if file.name.isdigit()] if directory.is_dir() else []
        notes = [(file, read_whole(file) or b"") for file in files]
        return sorted((_Kept(self._signed(note), note, file) for file, note in notes), key=lambda kept: kept.head.size)

    def _compare_with_what_is_here(self, raw: bytes, content: EntryRange, head: Checkpoint, hashes: bytes) -> None:
        """Refuse a range that the member signed and that is not of the log that is here. Raises LogForked."""
        frontier = Frontier(content.first, self._log.tree.subtrees(0, content.first))
        if list(content.left) != frontier.nodes:
            says = f"the head at {head.size} entries is not of the {content.first} that are here"
            self._forked(raw, self._ours(), says)
        for kept in self._waiting:
            if kept.head.size == head.size and kept.head.root != head.root:
                self._forked(raw, kept.note, f"two signed heads at {head.size} entries contradict each other")
            if kept.head.size <= content.first + len(content.entries):
                step = slice(frontier.size - content.first, kept.head.size - content.first)
                frontier.extend(self._engine, hashes[step.start * HASH_SIZE : step.stop * HASH_SIZE])
                if frontier.root() != kept.head.root:
                    says = f"the signed heads at {kept.head.size} and at {head.size} entries contradict each other"
                    self._forked(raw, kept.note, says)

    def _settle(self) -> None:
        """Compare the heads whose entries are here, keep the newest of them, and let the others go."""
        reached = [kept for kept in self._waiting if kept.head.size <= self.size]
        for kept in reached:
            self._compare(kept.head)
        if reached and (self.head is None or reached[-1].head.size > self.head.size):
            self._head_file.keep(reached[-1].note, reached[-1].head.size)
            self.head = reached[-1].head
        for kept in reached:
            with disk_errors(kept.file):
                kept.file.unlink(missing_ok=True)
        self._waiting = self._waiting[len(reached) :]

    def _compare(self, head: Checkpoint) -> None:
        """Compare a head that was taken here with what is here. Raises StoreDamaged: what was taken led to it."""
        tree = self._log.tree
        if head.origin != self.origin or head.size > tree.size or tree.root_at(head.size) != head.root:
            raise StoreDamaged(
                f"the mirror is not what its own head at {head.size} entries is of", path=self._directory
            )

    def _ours(self) -> bytes:
        """The signed head that what is here leads to."""
        return self._waiting[0].note if self._waiting else self._head_file.read() or b""

    def _forked(self, raw: bytes, ours: bytes, says: str) -> NoReturn:
        theirs = self._signed_range(raw)[0].proof.checkpoint
        place = self._directory / _FORKS / sm3(theirs)[:8].hex()
        make_directory(place)
        for name, content in (("ours", ours), ("theirs", theirs), ("range", raw)):
            write_whole(place / name, [content])
        raise LogForked(f"{self.origin}: {says}; both are kept in {place}", kept=place)


def _check_complete(content: EntryRange, head: Checkpoint, hashes: bytes) -> None:
    """Whether entries lead to a head, with the subtrees beside them. Raises EvidenceInvalid."""
    leaves = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    if root_from_range(content.first, leaves, head.size, content.left, content.right) != head.root:
        says = "the range does not lead to its own checkpoint: entries are missing, or others than the log's"
        raise EvidenceInvalid(says)
