"""A process that backs up, restores, mirrors or archives, to be killed or refused by the disk; and the one that strikes it.

    python -m tests.audit.keeping.keeping_process WHAT ARGUMENT…

It prints `done`, or the reason of the refusal and ends with 1. Tests fork it (`forks`); strace (a Debian package) strikes the n-th call of some kinds.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from audit.keeping.archive import Archive
from audit.keeping.backup import back_up, restore
from audit.keeping.check import Expected
from audit.keeping.mirror import Mirror
from crypto.engine import Engine, load_engine
from crypto.errors import Refusal
from crypto.notes import NoteKey
from crypto.sm2 import SM2PublicKey
from tests.audit.conftest import MEMBER, SMALL_MAP
from tests.audit.forks import Forks

STRACE = shutil.which("strace")
KILL = "signal=KILL"
NO_SPACE = "error=ENOSPC"
STEPS_AT_MOST = 200

needs_strace = pytest.mark.skipif(STRACE is None, reason="no strace on the PATH to inject faults with")

# Kinds of calls. A kind has more than one name where processors or C libraries differ, and none of which a process makes two: strace
# counts each name by itself.
Kind = tuple[str, ...]
RENAME: Kind = ("rename", "renameat", "renameat2")
# After a kill the disk holds what was called before, so what a kill can leave changes with the names and modes of files.
MKDIR: Kind = ("mkdir", "mkdirat")
UNLINK: Kind = ("unlink",)
UNLINKAT: Kind = ("unlinkat",)
RMDIR: Kind = ("rmdir",)
CHMOD: Kind = ("chmod", "fchmodat", "fchmodat2")
NAMES: tuple[Kind, ...] = (RENAME, MKDIR, UNLINK, UNLINKAT, RMDIR, CHMOD)
FSYNC: Kind = ("fsync",)
FDATASYNC: Kind = ("fdatasync",)
SYNCS: tuple[Kind, ...] = (FSYNC, FDATASYNC)
WRITE: Kind = ("write",)
PWRITE: Kind = ("pwrite64",)
WRITEV: Kind = ("writev",)
SEND: Kind = ("sendfile", "copy_file_range")
WRITES: tuple[Kind, ...] = (PWRITE, WRITEV, SEND, ("ftruncate",), ("fallocate",))


def run(forks: Forks, what: str, *arguments: object) -> Ended:
    """Run it to its end."""
    return _run(forks, what, arguments, None)


@dataclass(frozen=True)
class Ended:
    """How a process ended: `code` is negative for a signal."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Strike:
    """One fault, in the n-th call of a kind. `hit`: whether there was such a call."""

    forks: Forks
    kind: Kind
    fault: str
    step: int
    hit: bool = False

    def run(self, what: str, *arguments: object) -> Ended:
        """Run the process with the fault."""
        names = ",".join(f"?{name}" for name in self.kind)
        inject = f"inject={names}:{self.fault}:when={self.step}"
        with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as trace:
            tracing = [str(STRACE), "-f", "-o", trace.name, "-e", f"trace={names}", "-e", inject]
            ended = _run(self.forks, what, arguments, tracing)
            self.hit = ended.code == -signal.SIGKILL or "(INJECTED)" in trace.read()
        assert ended.stderr == "", "what went wrong is told in a sentence and not as a traceback"
        return ended


def strikes(forks: Forks, kinds: Sequence[Kind], fault: str) -> Iterator[Strike]:
    """A fault in each call of each kind, one after the other, until the process makes no more of them."""
    for kind in kinds:
        for step in range(1, STEPS_AT_MOST):
            strike = Strike(forks, kind, fault, step)
            yield strike
            if not strike.hit:
                break
        else:
            raise AssertionError("the process has more steps than it can have")


def _run(forks: Forks, what: str, arguments: Sequence[object], tracing: Sequence[str] | None) -> Ended:
    with forks.start([what, *arguments]) as child:
        if tracing is not None:
            child.traced_by(tracing)
        child.begin()
        return Ended(*child.end())


@cache
def prepare() -> Engine:
    """The engine, which is loaded before anything is forked."""
    return load_engine("openssl")


def main(arguments: list[str]) -> int:
    """See the module."""
    what, *rest = arguments
    engine = prepare()
    keys = [NoteKey(MEMBER, SM2PublicKey.from_bytes(bytes.fromhex(rest.pop())))]
    try:
        match what, rest:
            case "backup", [log, to, head]:
                expected = Expected(checkpoint=Path(head), keys=keys)
                back_up(Path(log), Path(to), engine, expected, map_bytes=SMALL_MAP)
            case "restore", [origin, to]:
                restore(Path(origin), Path(to), engine, Expected(keys=keys))
            case "mirror", [directory, *ranges]:
                with Mirror.open(Path(directory), engine, keys, map_bytes=SMALL_MAP) as mirror:
                    for file in ranges:
                        mirror.take(Path(file).read_bytes())
            case "archive", [log, directory, head, epoch, now]:
                place = Archive(Path(log), Path(directory), engine, Expected(checkpoint=Path(head), keys=keys))
                place.put_away(int(epoch), retention_days=184, now_ms=int(now))
            case "unarchive", [log, directory, head, epoch]:
                place = Archive(Path(log), Path(directory), engine, Expected(checkpoint=Path(head), keys=keys))
                place.put_back(int(epoch))
            case _:
                raise ValueError(arguments)
    except Refusal as refusal:
        sys.stdout.write(f"{refusal.reason} {refusal}\n")
        return 1
    sys.stdout.write("done\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
