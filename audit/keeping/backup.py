"""Backups of a log: hot, incremental, and verified as they are written; and putting one back.

    DIR/epochs/0000/data.mdb   as in a store; those of full epochs are copied once
    DIR/checkpoint             the signed head that goes with them

A backup is a store with a signed head beside it, and so is a mirror: `check` and `restore` take either. A copy is LMDB's own of one commit, made while
the writer goes on. It is re-hashed against the signed head, which was read before, so that the log has at least what that head covers; only then
it takes its place, epoch by epoch, and the head last. A crash leaves what was there, or some epochs more of the same log with the older head: a verified
backup at every point. What lies in `.copying` is no part of one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from audit.checkpoint import Checkpoint
from audit.environment import WriterLock
from audit.epoch import SEALED
from audit.errors import CopyInvalid, StoreExists
from audit.files import disk_errors, make_directory, read_whole, sync_directory, write_whole
from audit.keeping.check import Check, Expected, KnownHead, Progress
from audit.keeping.copies import (
    OPEN,
    check_formats,
    emptied,
    head_of,
    hot_copy,
    is_same,
    is_sealed,
    plain_copy,
    put,
    verified,
)
from audit.keeping.pages import MAP_BYTES
from audit.keeping.stored import DATA_FILE, epoch_files
from audit.tiles import Rows
from crypto.engine import Engine

CHECKPOINT = "checkpoint"  # the file with the signed head beside the epochs of a backup or a mirror
_COPYING = ".copying"


@dataclass(frozen=True)
class Copied:
    """A copy that was verified. `new`: numbers of the epochs that were copied; `kept`: of those that lay there already."""

    size: int
    checkpoint: Checkpoint
    new: tuple[int, ...]
    kept: tuple[int, ...]


def back_up(  # noqa: PLR0913 - from where, to where, against what, and how
    path: Path,
    to: Path,
    engine: Engine,
    expected: Expected,
    *,
    full: bool = False,
    progress: Progress = lambda _done, _total: None,
    map_bytes: int = MAP_BYTES,
) -> Copied:
    """Copy a log, which may be being written, and verify the copy against the signed head that `expected` names.

    Args:
        path: directory of the log's store.
        to: directory of the backup; made if it is absent.
        engine: hashes.
        expected: what is known of the log; a checkpoint there must be.
        full: re-hash the epochs that lay there already, too.
        progress: is told how many entries of the copy are re-hashed.
        map_bytes: as the log is opened with.

    Raises:
        CopyInvalid: the copy does not verify, or does not go on from the backup that is there; that one is as it was.
        DiskFull: likewise.
        StoreAbsent, StoreVersion, StoreDamaged: the log, or the backup that is there, cannot be read.
        StoreLocked: another backup to this directory is under way.
    """
    # The signed head first: the writer may sign a newer one as soon as the log has been looked at.
    note = _note_of(expected)
    sources = epoch_files(path)
    check_formats(sources, growing=True, map_bytes=map_bytes)
    make_directory(to)
    with disk_errors(to):
        lock = WriterLock(to / "lock")
    try:
        expected = replace(expected, note=note, index=None, heads=(*expected.heads, *_earlier(to, engine)))
        with emptied(to / _COPYING) as copying:
            files = [_copied(source, to, copying, sources[-1], map_bytes) for source in sources]
            new = [number for number, file in enumerate(files) if file.is_relative_to(copying)]
            begin = 0 if full else head_of(files[new[0]]).first
            check = verified(Check(files, engine, expected, start=begin, at_rest=True, progress=progress))
            for number in new:
                put(files[number], to / "epochs" / files[number].parent.name)
            write_whole(to / CHECKPOINT, [note])
    finally:
        lock.release()
    return _result(check, new)


def restore(
    origin: Path,
    to: Path,
    engine: Engine,
    expected: Expected,
    *,
    progress: Progress = lambda _done, _total: None,
) -> Copied:
    """Put a backup, or what a mirror has, where a log is to be: into a directory that is absent or empty. It is there once it is verified.

    `expected`: what is known of the log besides the signed head that lies with the backup. Heads of more entries than the backup has are passed
    over: it is what it is, and the node that is started on it is told.

    Raises:
        StoreExists: the directory is not empty.
        StoreAbsent: there is no backup.
        StoreVersion, StoreDamaged: it is of another format, or cannot be read.
        CopyInvalid, DiskFull: nothing was put anywhere.
    """
    sources = epoch_files(origin)
    check_formats(sources)
    with disk_errors(to):
        if to.exists() and any(to.iterdir()):
            raise StoreExists(f"{to} is not empty", path=to)
    make_directory(to.parent)
    expected = replace(expected, checkpoint=origin / CHECKPOINT, note=None, index=None)
    note = _note_of(expected)
    with emptied(to.with_name(f".{to.name}{_COPYING}")) as copying:
        files = [
            plain_copy(source, copying / "epochs" / source.parent.name, OPEN if source is sources[-1] else SEALED)
            for source in sources
        ]
        size = head_of(files[-1]).size
        anchors = [anchor for anchor in expected.anchors if anchor[0] <= size]
        heads = [head for head in expected.heads if head.size <= size]
        expected = replace(expected, note=note, anchors=anchors, heads=heads)
        check = verified(Check(files, engine, expected, at_rest=True, progress=progress))
        with disk_errors(to):
            # An empty directory gives way; the name has its whole content at once.
            copying.rename(to)
            sync_directory(to.parent)
    return _result(check, range(len(sources)))


def _copied(source: Path, to: Path, copying: Path, newest: Path, map_bytes: int) -> Path:
    """The copy of an epoch: the one that lies in the backup, if it is of the same full epoch, or a new one."""
    name = source.parent.name
    there = to / "epochs" / name / DATA_FILE
    if source is not newest and is_sealed(there):
        head, other = head_of(source), head_of(there)
        # A copy that still has the segments, which were archived since, is the better one.
        if is_same(head, other) and (other.archived is None or head.archived is not None):
            return there
    return hot_copy(
        source,
        copying / "epochs" / name,
        shared=source is newest or not is_sealed(source),
        mode=OPEN if source is newest else SEALED,
        map_bytes=map_bytes,
    )


def _earlier(to: Path, engine: Engine) -> list[KnownHead]:
    """What the backup that is there has: a log that does not go on from it, one that went back above all, may not take its place."""
    if not (to / "epochs").exists():
        return []
    head = head_of(epoch_files(to)[-1])
    root = Rows.rebuild(engine, head.size, {level: row for level, row in head.rows.items() if row}).root()
    return [KnownHead(head.size, root, "the backup that is there")]


def _note_of(expected: Expected) -> bytes:
    note = None if expected.checkpoint is None else read_whole(expected.checkpoint)
    if note is None:
        raise CopyInvalid(f"there is no signed head to verify a copy against: {expected.checkpoint}")
    return note


def _result(check: Check, new: Collection[int]) -> Copied:
    if check.checkpoint is None:
        raise CopyInvalid("there is no signed head to verify the copy against")  # `verified` raised it before
    return Copied(check.size, check.checkpoint, tuple(new), tuple(n for n in range(check.epochs) if n not in new))
