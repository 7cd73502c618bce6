"""A log that went back is noticed by what it has said before, and a clock that went back by what it signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import ClockWentBack, LogForked, StoreBehind, StoreDamaged
from audit.guard import HeadFile, check_clock, check_not_behind
from audit.store import TreeStore
from crypto.engine import Engine
from crypto.notes import NoteKey
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from tests.audit.conftest import MEMBER, ORIGIN, SMALL_MAP


def _head(engine: Engine, key: SM2PrivateKey, size: int, root: bytes, time_ms: int = 1_000) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, root, time_ms), HeldKey(engine, key))


def test_the_newest_head_is_kept_and_an_older_one_changes_nothing(
    tmp_path: Path, engine: Engine, key: SM2PrivateKey
) -> None:
    heads = HeadFile(tmp_path / "keys" / "audit.head")
    keys = [NoteKey(MEMBER, key.public_key)]
    assert heads.open(engine, keys) is None
    for size in (5, 9, 7):
        heads.keep(_head(engine, key, size, sm3(b"%d" % size)), size)
    head = HeadFile(tmp_path / "keys" / "audit.head").open(engine, keys)
    assert head is not None
    assert (head.size, head.root) == (9, sm3(b"9"))


def test_a_head_file_that_the_member_did_not_sign_is_damage(tmp_path: Path, engine: Engine, key: SM2PrivateKey) -> None:
    heads = HeadFile(tmp_path / "audit.head")
    heads.keep(_head(engine, key, 3, sm3(b"")), 3)
    raw = bytearray((tmp_path / "audit.head").read_bytes())
    raw[-8] ^= 1
    (tmp_path / "audit.head").write_bytes(bytes(raw))
    with pytest.raises(StoreDamaged):
        heads.open(engine, [NoteKey(MEMBER, key.public_key)])


def test_a_store_that_is_behind_or_another_is_told_apart_from_one_that_went_on(tmp_path: Path, engine: Engine) -> None:
    store = TreeStore.create(tmp_path / "log", ORIGIN, engine, map_bytes=SMALL_MAP)
    store.append(b"".join(sm3(b"%d" % index) for index in range(6)), b"six")
    check_not_behind(store, 4, store.root_at(4), "the chain")
    check_not_behind(store, 6, store.root(), "the chain")
    with pytest.raises(StoreBehind) as behind:
        check_not_behind(store, 7, sm3(b""), "the chain")
    assert behind.value.details["size"] == "7"
    with pytest.raises(LogForked):
        check_not_behind(store, 4, store.root_at(3), "the chain")
    store.close()


def test_a_clock_behind_the_newest_head_by_more_than_the_skew_is_refused() -> None:
    head = Checkpoint(ORIGIN, 1, bytes(32), 1_000_000)
    check_clock(1_000_000 - 300_000, head, 300)
    with pytest.raises(ClockWentBack):
        check_clock(1_000_000 - 300_001, head, 300)
