"""The steps by which a store becomes durable, made visible where they leave the program, so that a fault can strike at each.

A step is something that the disk sees: a file or directory made, bytes written, a sync, a rename, a deletion, a commit of LMDB.
`watch` calls back before and after each. A fault is what `before` raises, or the end of the process.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from audit import environment as audit_environment
from audit import store as audit_store
from node.stores import environment as node_environment


@dataclass(frozen=True)
class Step:
    """One step. `kind`: create, write, sync, rename, delete, mkdir or commit; `path`: of what, before a rename."""

    kind: str
    path: Path

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"


Callback = Callable[[Step], None]
Around = Callable[[Step, Callable[[], Any]], Any]


def watch(patch: pytest.MonkeyPatch, before: Callback, after: Callback = lambda _step: None) -> None:
    """Call back around every step, until `patch` is undone. What a callback does itself is not watched."""
    is_inside = False

    def told(callback: Callback, step: Step) -> None:
        nonlocal is_inside
        if not is_inside:
            is_inside = True
            try:
                callback(step)
            finally:
                is_inside = False

    def around(step: Step, act: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever the step gives
        told(before, step)
        given = act()
        told(after, step)
        return given

    _watch_files(patch, around)
    _watch_names(patch, around)
    for module in (audit_store, node_environment):
        patch.setattr(module, "writing", _watched_writing(partial(told, before), partial(told, after)))


def _watch_files(patch: pytest.MonkeyPatch, around: Around) -> None:
    """Files made, written and synced."""
    real_sync, real_open = os.fsync, os.open

    def opened(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if not flags & os.O_CREAT or os.path.exists(path):  # noqa: PTH110  # what os.open was given
            return real_open(path, flags, mode)
        descriptor: int = around(Step("create", Path(path)), lambda: real_open(path, flags, mode))
        return descriptor

    def file_of(descriptor: int, mode: str) -> io.BufferedWriter:
        return io.BufferedWriter(_WatchedFile(descriptor, mode, around))

    def synced(descriptor: int) -> None:
        around(Step("sync", _path_of(descriptor)), lambda: real_sync(descriptor))

    patch.setattr(os, "open", opened)
    patch.setattr(os, "fdopen", file_of)
    patch.setattr(os, "fsync", synced)


def _watch_names(patch: pytest.MonkeyPatch, around: Around) -> None:
    """Names given, taken away and changed."""
    real_replace, real_unlink, real_mkdir = Path.replace, Path.unlink, Path.mkdir

    def replaced(path: Path, target: Path) -> Path:
        given: Path = around(Step("rename", path), lambda: real_replace(path, target))
        return given

    def unlinked(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002  # as pathlib has it
        if os.path.lexists(path):
            around(Step("delete", path), lambda: real_unlink(path))
        elif not missing_ok:
            real_unlink(path)

    def made(path: Path, *given: Any, **named: Any) -> None:  # noqa: ANN401  # as pathlib has it
        if not path.exists():
            around(Step("mkdir", path), lambda: real_mkdir(path, *given, **named))

    patch.setattr(Path, "replace", replaced)
    patch.setattr(Path, "unlink", unlinked)
    patch.setattr(Path, "mkdir", made)


class _WatchedFile(io.FileIO):
    """A file whose every write to the system is a step."""

    def __init__(self, descriptor: int, mode: str, around: Callable[[Step, Callable[[], Any]], Any]) -> None:
        super().__init__(descriptor, mode.replace("b", ""))
        self._around = around
        self._step = Step("write", _path_of(descriptor))

    def write(self, data: Any) -> int:  # noqa: ANN401  # any buffer
        written: int = self._around(self._step, lambda: super(_WatchedFile, self).write(data))
        return written


def _watched_writing(before: Callback, after: Callback) -> Callable[[lmdb.Environment], Any]:
    real = audit_environment.writing

    @contextmanager
    def writing(environment: lmdb.Environment) -> Iterator[lmdb.Transaction]:
        step = Step("commit", Path(environment.path()))
        with real(environment) as transaction:
            yield transaction
            before(step)
        after(step)

    return writing


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


class _Held:
    """A file as the disk holds it: what was synced of it last."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content


class SyncedDisk:
    """What a directory would hold after a power cut that takes everything which was not synced: of a file the bytes of its last
    sync, of a directory the names of its last sync. Give its `after` to `watch`.

    This is less than most file systems keep: they write names in the order in which they were given. So what holds here
    holds on all of them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._live: dict[int, _Held] = {}  # by inode
        self._names: dict[Path, dict[str, _Held | None]] = {}  # None: a directory
        for path in [root, *sorted(root.rglob("*"))]:
            if path.is_file():
                self._live[path.stat().st_ino] = _Held(path.read_bytes())
        for path in [root, *sorted(root.rglob("*"))]:
            if path.is_dir():
                self._sync_names(path)

    def after(self, step: Step) -> None:
        """Take over what a step made durable."""
        if step.kind == "create":
            self._live[step.path.stat().st_ino] = _Held()  # The number may have been that of a file which is gone.
        elif step.kind == "commit":
            self._sync_content(step.path / "data.mdb")
        elif step.kind == "sync" and step.path.is_dir():
            self._sync_names(step.path)
        elif step.kind == "sync":
            self._sync_content(step.path)

    def write_to(self, target: Path) -> None:
        """Make a directory of what a power cut would leave now."""
        self._write(self._root, target)

    def _sync_content(self, path: Path) -> None:
        self._live.setdefault(path.stat().st_ino, _Held()).content = path.read_bytes()

    def _sync_names(self, path: Path) -> None:
        self._names[path] = {
            child.name: None if child.is_dir() else self._live.setdefault(child.stat().st_ino, _Held())
            for child in path.iterdir()
        }

    def _write(self, source: Path, target: Path) -> None:
        target.mkdir()
        for name, held in self._names.get(source, {}).items():
            if held is None:
                self._write(source / name, target / name)
            else:
                (target / name).write_bytes(held.content)
