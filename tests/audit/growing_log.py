"""A process that appends to a log while it is checked or copied; whoever started it says when.

    python -m tests.audit.growing_log HOME KEY.pem EPOCH_LEAVES

For each line on its standard input it appends forty batches, signs the head into HOME/audit.head as a node does, and prints the size.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.guard import HeadFile
from audit.log import AuditLog
from crypto.engine import load_engine
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from tests.audit.conftest import ORIGIN, SMALL_MAP
from tests.audit.keeping.kept_log import KeptLog, note_of
from tests.conftest import ROOT

BATCHES = 40


class GrowingLog:
    """The process, and the log that it writes. `begin` lets it write on; `wait` says how far it came."""

    def __init__(self, home: Path, key: SM2PrivateKey, epoch_leaves: int) -> None:
        home.mkdir()
        (home / "key.pem").write_bytes(key.to_pem())
        self.kept = KeptLog(home, key, epoch_leaves)
        command = [sys.executable, "-m", "tests.audit.growing_log", str(home), str(home / "key.pem"), str(epoch_leaves)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        try:
            self.wait()
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()
        assert kind is not None or self._process.returncode == 0

    def begin(self) -> None:
        """Append more; it goes on meanwhile."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def wait(self) -> int:
        """Entries, when it has done what it was told."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def main(arguments: list[str]) -> int:
    """See the module."""
    home, key_file, epoch_leaves = arguments
    engine, key = load_engine("openssl"), SM2PrivateKey.from_pem(Path(key_file).read_bytes())
    head, drawn = HeadFile(Path(home) / "audit.head"), random.Random(1)
    path = Path(home) / "log"
    with AuditLog.create(path, ORIGIN, engine, map_bytes=SMALL_MAP, epoch_leaves=int(epoch_leaves)) as log:
        log.append_many(Packed.of([b"first"] * 700))
        head.keep(note_of(engine, key, log), log.size)
        sys.stdout.write(f"{log.size}\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            for _ in range(BATCHES):
                log.append_many(Packed.of([drawn.randbytes(20) for _ in range(drawn.choice([1, 2, 300]))]))
                head.keep(note_of(engine, key, log), log.size)
            sys.stdout.write(f"{log.size}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
