"""A small file system of its own, where this system lets us mount one: so that a disk can be full."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

_PAGE_BYTES = 4_096
_CLONE_NEWNS = 0x00020000  # of Linux's unshare(2)


def mount(directory: Path, size_bytes: int) -> bool:
    """Mount a file system in memory on a directory; False where that is not permitted.

    It is seen by this thread and by what it starts from now on, and is gone with the last of them, however that ends.
    """
    program = shutil.which("mount")
    if program is None or not _has_own_mounts(program):
        return False
    options = ["-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "kiteline-test"]
    return subprocess.run([program, *options, str(directory)], capture_output=True, check=False).returncode == 0


def unmount(directory: Path) -> None:
    """Take it away, with all that is in it."""
    program = shutil.which("umount") or "umount"
    subprocess.run([program, "--lazy", str(directory)], capture_output=True, check=True)


def fill(directory: Path, left_bytes: int) -> None:
    """Fill the file system of a directory with a file `ballast`, to the last page, and then leave `left_bytes` of it free."""
    with (directory / "ballast").open("wb", buffering=0) as file:
        for chunk in (bytes(1 << 20), bytes(_PAGE_BYTES)):
            # Others write to it as well, so what is left is not computed but found out.
            with suppress(OSError):
                while file.write(chunk) == len(chunk):
                    pass
        file.truncate(max(0, file.tell() - left_bytes))


@cache
def _has_own_mounts(program: str) -> bool:
    """Have this thread's mounts be its own from now on; False where that is not permitted."""
    if ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        return False
    return subprocess.run([program, "--make-rprivate", "/"], capture_output=True, check=False).returncode == 0
