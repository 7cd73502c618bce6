"""Files that are either there, whole and durable, or not there; and the refusals that a failing disk becomes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from audit.errors import DiskFull, StoreDamaged

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700
PARTIAL_SUFFIX = ".partial"  # of a file that is not whole yet; whoever finds one may delete it

_ZEROS = bytes(1024 * 1024)
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Turn what the operating system says about a file into DiskFull or StoreDamaged."""
    try:
        yield
    except OSError as cause:
        if cause.errno in _NO_SPACE:
            raise DiskFull(f"the disk is full: {what}") from cause
        raise StoreDamaged(f"{what}: {os.strerror(cause.errno or errno.EIO)}") from cause


def make_directory(path: Path) -> None:
    """Make a directory for its owner alone, and those above it, durably. It may exist."""
    with disk_errors(path):
        if not path.is_dir():
            make_directory(path.parent)
            path.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
            sync_directory(path.parent)


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file under its name at once: after a crash it is as before or whole. Durable on return."""
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    with disk_errors(path):
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def read_whole(path: Path) -> bytes | None:
    """The content of a file, or None if there is none."""
    with disk_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def destroy_file(path: Path) -> int:
    """Overwrite a file with zeros to its end, durably, and delete it; gives its size. A symbolic link is deleted alone; what it leads to is another's.

    What overwriting cannot reach, docs/operator.md says. Raises StoreDamaged where the system refuses.
    """
    size = 0
    with disk_errors(path):
        if not path.is_symlink() and path.is_file():
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "wb") as file:  # over what is there: nothing is cut off first
                size = os.fstat(descriptor).st_size
                for at in range(0, size, len(_ZEROS)):
                    file.write(_ZEROS[: size - at])
                file.flush()
                os.fsync(descriptor)
        path.unlink()
        sync_directory(path.parent)
    return size


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or deleted in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
