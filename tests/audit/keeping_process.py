"""A process that backs up, restores, mirrors or archives, to be killed or refused by the disk; and the one that strikes it.

    python -m tests.audit.keeping_process WHAT ARGUMENT…

It prints `done`, or the reason of the refusal and ends with 1. strace (a Debian package) strikes the n-th call of some kinds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit.archive import Archive
from audit.backup import back_up, restore
from audit.check import Expected
from audit.mirror import Mirror
from crypto.engine import load_engine
from crypto.errors import Refusal
from crypto.notes import NoteKey
from crypto.sm2 import SM2PublicKey
from tests.audit.conftest import MEMBER, SMALL_MAP
from tests.conftest import ROOT

STRACE = shutil.which("strace")
KILL = "signal=KILL"
NO_SPACE = "error=ENOSPC"
SECONDS = 120
STEPS_AT_MOST = 200

needs_strace = pytest.mark.skipif(STRACE is None, reason="no strace on the PATH to inject faults with")

# Kinds of calls. A kind has more than one name where processors or C libraries differ, and none of which a process makes two: strace
# counts each name by itself.
Kind = tuple[str, ...]
RENAME: Kind = ("rename", "renameat", "renameat2")
# After a kill the disk holds what was called before, so what a kill can leave changes with the names and modes of files.
NAMES: tuple[Kind, ...] = (RENAME, ("mkdir", "mkdirat"), ("unlink",), ("unlinkat",), ("chmod", "fchmodat", "fchmodat2"))
SYNCS: tuple[Kind, ...] = (("fsync",), ("fdatasync",))
WRITES: tuple[Kind, ...] = (("pwrite64",), ("writev",), ("sendfile", "copy_file_range"), ("ftruncate",), ("fallocate",))


def run(what: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return _run(_command(what, arguments))


@dataclass
class Strike:
    """One fault, in the n-th call of a kind. `hit`: whether there was such a call."""

    kind: Kind
    fault: str
    step: int
    hit: bool = False

    def run(self, what: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run the process with the fault."""
        names = ",".join(f"?{name}" for name in self.kind)
        inject = f"inject={names}:{self.fault}:when={self.step}"
        with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as trace:
            # strace would be faster with --seccomp-bpf, but then (6.1) it delivers no signal.
            tracing = [str(STRACE), "-f", "-qq", "-o", trace.name, "-e", f"trace={names}", "-e", inject]
            ended = _run([*tracing, *_command(what, arguments)])
            self.hit = ended.returncode == -signal.SIGKILL or "(INJECTED)" in trace.read()
        return ended


def strikes(kinds: Sequence[Kind], fault: str) -> Iterator[Strike]:
    """A fault in each call of each kind, one after the other, until the process makes no more of them."""
    for kind in kinds:
        for step in range(1, STEPS_AT_MOST):
            strike = Strike(kind, fault, step)
            yield strike
            if not strike.hit:
                break
        else:
            raise AssertionError("the process has more steps than it can have")


def _command(what: str, arguments: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "tests.audit.keeping_process", what, *map(str, arguments)]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # Without it the interpreter writes files of its own, which a fault would strike.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def main(arguments: list[str]) -> int:
    """See the module."""
    what, *rest = arguments
    engine = load_engine("openssl")
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
