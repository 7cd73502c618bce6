"""What a requester received can be opened with its new key alone, once it is re-wrapped; and what the provider signed holds against it still."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import DiskFull, StoreDamaged
from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from crypto.wrap import unwrap_secrets, wrap_secrets
from node.exchange.context import wrap_context
from node.stores.kept_keys import KeptKeys
from node.stores.vault import DiskVaults
from node.stores.vault_rewrapping import KeyChange
from tests.node.stores.durable_steps import Step, SyncedDisk, watch

OLD, NEW = SM2PrivateKey.generate(os.urandom), SM2PrivateKey.generate(os.urandom)
GRANTS = [b"g" * 32, b"h" * 32]
SECRETS = {(grant, sequence): os.urandom(64) for grant in GRANTS for sequence in (1, 2, 3)}


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def opened_by(engine: Engine, *keys: SM2PrivateKey, context: bytes, blob: bytes) -> bytes:
    """Open with whichever key it is."""
    for key in keys[:-1]:
        try:
            return unwrap_secrets(engine, HeldKey(engine, key), context, blob)
        except DecryptionFailed:
            continue
    return unwrap_secrets(engine, HeldKey(engine, keys[-1]), context, blob)


def change_to(engine: Engine, key: SM2PrivateKey) -> KeyChange:
    return KeyChange(
        key.public_key.digest(),
        lambda context, blob: opened_by(engine, NEW, OLD, context=context, blob=blob),
        partial(wrap_secrets, engine, os.urandom, key.public_key),
        wrap_context,
    )


def under(vaults: DiskVaults, engine: Engine, key: SM2PrivateKey) -> int:
    return vaults.under(partial(unwrap_secrets, engine, HeldKey(engine, key)), wrap_context)


@pytest.fixture
def released(engine: Engine) -> dict[tuple[bytes, int], bytes]:
    """Keys as the provider released them, to the old key."""
    return {
        (grant, sequence): wrap_secrets(engine, os.urandom, OLD.public_key, wrap_context(grant, sequence), secrets)
        for (grant, sequence), secrets in SECRETS.items()
    }


@pytest.fixture
def vaults(tmp_path: Path, released: dict[tuple[bytes, int], bytes]) -> DiskVaults:
    made = DiskVaults(tmp_path / "vaults")
    for (grant, sequence), wrapped in released.items():
        made(grant).store_segments(sequence, [b"segment"])
        made(grant).store_keys(sequence, wrapped)
    return made


def check(vaults: DiskVaults, engine: Engine, released: dict[tuple[bytes, int], bytes], *keys: SM2PrivateKey) -> None:
    """Everything opens to what it was, and is what was released."""
    for (grant, sequence), secrets in SECRETS.items():
        wrapped = vaults(grant).keys(sequence)
        assert wrapped is not None
        assert opened_by(engine, *keys, context=wrap_context(grant, sequence), blob=wrapped) == secrets
        assert vaults(grant).released_digest(sequence) == sm3(released[grant, sequence])


def test_after_it_the_old_key_opens_nothing_and_the_new_one_everything(
    vaults: DiskVaults, engine: Engine, released: dict[tuple[bytes, int], bytes]
) -> None:
    assert (under(vaults, engine, OLD), under(vaults, engine, NEW)) == (6, 0)
    told: list[tuple[int, int]] = []
    report = vaults.rewrap(change_to(engine, NEW), lambda done, total: told.append((done, total)))
    assert (report.files, report.rewrapped, report.unopened_count) == (6, 6, 0)
    assert told == [(done, 6) for done in range(1, 7)]
    assert (under(vaults, engine, OLD), under(vaults, engine, NEW)) == (0, 6)
    check(vaults, engine, released, NEW)
    assert vaults.rewrap(change_to(engine, NEW), quiet).rewrapped == 0
    # Undone, it is as before but for the nonces.
    assert vaults.rewrap(change_to(engine, OLD), quiet).rewrapped == 6
    check(vaults, engine, released, OLD)


def test_a_rehearsal_writes_nothing(vaults: DiskVaults, engine: Engine, tmp_path: Path) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*.keys")}

    before = content()
    report = vaults.rehearse_rewrap(change_to(engine, NEW), quiet)
    assert (report.files, report.rewrapped) == (6, 6)
    assert content() == before
    assert len(before) == 6


def test_the_same_keys_again_change_nothing_and_others_take_their_place(
    vaults: DiskVaults, engine: Engine, released: dict[tuple[bytes, int], bytes]
) -> None:
    vaults.rewrap(change_to(engine, NEW), quiet)
    place = (GRANTS[0], 1)
    vault = vaults(GRANTS[0])
    held = vault.keys(1)
    vault.store_keys(1, released[place])
    assert vault.keys(1) == held
    again = wrap_secrets(engine, os.urandom, NEW.public_key, wrap_context(*place), SECRETS[place])
    vault.store_keys(1, again)
    assert vault.keys(1) == again
    assert vault.released_digest(1) == sm3(again)


def test_what_is_stored_meanwhile_is_not_overwritten(
    vaults: DiskVaults, engine: Engine, released: dict[tuple[bytes, int], bytes]
) -> None:
    place = (GRANTS[0], 2)
    again = wrap_secrets(engine, os.urandom, NEW.public_key, wrap_context(*place), SECRETS[place])
    change = change_to(engine, NEW)

    def seal(context: bytes, secrets: bytes) -> bytes:
        if context == wrap_context(*place):
            vaults(place[0]).store_keys(place[1], again)
        return change.seal(context, secrets)

    report = vaults.rewrap(KeyChange(change.recipient, change.open, seal, wrap_context), quiet)
    assert report.rewrapped == 5
    assert vaults(place[0]).keys(place[1]) == again
    assert under(vaults, engine, OLD) == 0


def test_what_opens_under_no_key_stays_as_it_came_and_is_named(
    vaults: DiskVaults, engine: Engine, tmp_path: Path
) -> None:
    """It is evidence against the provider, or damage; either way it is not for this call to change."""
    vaults(GRANTS[0]).store_keys(9, b"\x01 no keys at all")
    damaged = next(tmp_path.rglob(f"{GRANTS[1].hex()}/deliveries/000002.keys"))
    damaged.write_bytes(b"\x07")
    report = vaults.rewrap(change_to(engine, NEW), quiet)
    assert (report.files, report.rewrapped, report.unopened_count) == (7, 5, 2)
    assert [(grant, sequence) for grant, sequence, _ in report.unopened] == [(GRANTS[0], 9), (GRANTS[1], 2)]
    assert vaults(GRANTS[0]).keys(9) == b"\x01 no keys at all"
    assert damaged.read_bytes() == b"\x07"
    with pytest.raises(StoreDamaged):
        under(vaults, engine, OLD)


def test_damage_after_it_is_this_nodes_and_not_the_providers(
    vaults: DiskVaults, engine: Engine, tmp_path: Path
) -> None:
    vaults.rewrap(change_to(engine, NEW), quiet)
    path = next(tmp_path.rglob(f"{GRANTS[0].hex()}/deliveries/000001.keys"))
    content = path.read_bytes()
    for at in (0, 97, 120, len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        # A version that is flipped may be another that is known, whose keys are not those of the note.
        try:
            assert vaults(GRANTS[0]).released_digest(1) != KeptKeys.from_bytes(content).released_digest
        except StoreDamaged:
            continue
    path.write_bytes(content[:-1])
    with pytest.raises(StoreDamaged):
        vaults(GRANTS[0]).keys(1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_stopped_at_any_step_it_is_finished_by_the_same_call(
    vaults: DiskVaults, engine: Engine, tmp_path: Path, released: dict[tuple[bytes, int], bytes], when: str
) -> None:
    for last in range(1, 100):
        path = tmp_path / f"{when}-{last}"
        shutil.copytree(tmp_path / "vaults", path)
        steps = 0

        def stop(_step: Step, last: int = last) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                raise KeyboardInterrupt

        def go_on(_step: Step) -> None:
            """The other side of the step."""

        stopped = True
        with pytest.MonkeyPatch.context() as patch:
            watch(patch, *((stop, go_on) if when == "before" else (go_on, stop)))
            try:
                DiskVaults(path).rewrap(change_to(engine, NEW), quiet)
                stopped = False
            except KeyboardInterrupt:
                pass
        after = DiskVaults(path)
        assert under(after, engine, OLD) + under(after, engine, NEW) == 6
        check(after, engine, released, NEW, OLD)
        after.rewrap(change_to(engine, NEW), quiet)
        check(after, engine, released, NEW)
        if not stopped:
            break
    assert 6 * 4 <= last < 99


def test_a_power_cut_at_any_step_leaves_each_under_one_key(
    vaults: DiskVaults, engine: Engine, tmp_path: Path, released: dict[tuple[bytes, int], bytes]
) -> None:
    disk = SyncedDisk(tmp_path / "vaults")
    left: list[Path] = []

    def cut(step: Step) -> None:
        disk.after(step)
        left.append(tmp_path / f"cut-{len(left)}")
        disk.write_to(left[-1])

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, cut)
        vaults.rewrap(change_to(engine, NEW), quiet)
    counts = []
    for path in left:
        check(DiskVaults(path), engine, released, NEW, OLD)
        counts.append(under(DiskVaults(path), engine, NEW))
    assert counts == sorted(counts)
    assert counts[-1] == 6


def test_a_full_disk_stops_it(
    vaults: DiskVaults, engine: Engine, released: dict[tuple[bytes, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskFull):
            vaults.rewrap(change_to(engine, NEW), quiet)
    check(vaults, engine, released, OLD)


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32) | st.none(), st.binary(max_size=100))
def test_kept_keys_are_read_as_they_are_written(wrapped: bytes, recipient: bytes | None, anew: bytes) -> None:
    kept = KeptKeys.as_released(wrapped)
    if recipient is not None:
        kept = kept.wrapped_anew(anew, recipient)
    assert KeptKeys.from_bytes(kept.to_bytes()) == kept
    assert kept.released_digest == sm3(wrapped)


@given(st.binary(max_size=140))
def test_what_is_accepted_is_what_would_be_written(content: bytes) -> None:
    try:
        kept = KeptKeys.from_bytes(content)
    except EncodingInvalid:
        return
    assert kept.to_bytes() == content


def test_the_file_reads_as_documented() -> None:
    assert KeptKeys.as_released(b"keys").to_bytes() == b"\x01keys"
    kept = KeptKeys.as_released(b"keys").wrapped_anew(b"KEYS", b"r" * 32)
    assert kept.to_bytes() == b"\x02" + sm3(b"keys") + b"r" * 32 + sm3(b"KEYS") + b"KEYS"
