"""Destroying a purged dataset's directory, so that none of its files holds a record, a secret or a key any more.

    purged = "kiteline/purged/v1" ‖ 0x0A      written first, and all that is left in the end

Every file is overwritten with zeros to its end, synced, and deleted: what LMDB keeps in free pages goes with the rest. The files
that hold wrapped secrets come first; when they are gone, so are the records, wherever else a sealed segment may lie.

Where a node is killed:

- before the marker is durable: nothing happened;
- after it: the directory is no dataset any more, whatever is left in it, and the next call goes on;
- between a file's overwriting and the end of its name: the file, if it comes back, holds zeros.

What overwriting cannot reach is said in docs/operator.md: blocks that a copy-on-write file system, a snapshot or a solid-state disk
keeps aside, and copies in backups.
"""

from __future__ import annotations

from pathlib import Path

from audit.errors import StoreDamaged
from audit.files import destroy_file, disk_errors, make_directory, read_whole, sync_directory, write_whole

MARKER = "purged"

_CONTENT = b"kiteline/purged/v1\n"
_TREE = "tree"  # sealed segments and leaf hashes, and no secret


def is_shredded(directory: Path) -> bool:
    """Whether a dataset's directory is shredded, or was begun to be. Raises StoreDamaged for a marker that says something else."""
    marker = directory / MARKER
    content = read_whole(marker)
    if content not in (None, _CONTENT):
        raise StoreDamaged(f"{marker} is not as it was written")
    return content is not None


def shred_directory(directory: Path) -> int:
    """Destroy a dataset's directory but for the marker, and give the bytes destroyed. Nobody may have it open.

    A directory that is not there is made, so that no dataset can be created in its place.

    Raises:
        DiskFull: there is no room for the marker; nothing was destroyed.
        StoreDamaged: the system refuses to write or delete; what was destroyed before stays so.
    """
    make_directory(directory)
    if not is_shredded(directory):
        write_whole(directory / MARKER, [_CONTENT])
    destroyed = sum(destroy_file(path) for path in _files(directory))
    with disk_errors(directory):
        for path in sorted(directory.rglob("*"), reverse=True):  # what lies within comes before it
            if path.is_dir():
                path.rmdir()
        sync_directory(directory)
    return destroyed


def _files(directory: Path) -> list[Path]:
    """Everything but the marker and directories; what holds secrets first."""
    with disk_errors(directory):
        found = [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(
        set(found) - {directory / MARKER}, key=lambda path: (path.relative_to(directory).parts[0] == _TREE, path)
    )
