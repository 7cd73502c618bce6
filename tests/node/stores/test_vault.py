"""The vault: deliveries whole or absent, plaintext under its name only when verified."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import DiskFull, StoreDamaged
from crypto.packed import Packed
from node.errors import DeliveryInvalid, FetchUnfinished, InternalError
from node.stores.vault import DiskVault, DiskVaults
from tests.node.stores.durable_steps import Step, SyncedDisk, watch

ORDER, OTHER = b"o" * 16, b"p" * 16
ROOT = b"r" * 32


def batch(*records: str) -> tuple[Packed, bytes]:
    return Packed.of(record.encode() for record in records), bytes(32 * len(records))


@pytest.fixture
def vault(tmp_path: Path) -> DiskVault:
    return DiskVaults(tmp_path)(b"g" * 32)


def reopened(vault: DiskVault) -> DiskVault:
    return DiskVault(vault._grant)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=80), st.integers(1, 1 << 40))
def test_deliveries_come_back_as_they_were_stored(
    tmp_path: Path, blobs: list[bytes], keys: bytes, sequence: int
) -> None:
    vault = DiskVault(tmp_path / os.urandom(8).hex())
    assert vault.segments(sequence) is None
    assert vault.keys(sequence) is None
    for _ in range(2):
        vault.store_segments(sequence, blobs)
        vault.store_keys(sequence, keys)
    assert reopened(vault).segments(sequence) == blobs
    assert reopened(vault).keys(sequence) == keys


def test_a_delivery_is_never_replaced_by_another(vault: DiskVault) -> None:
    vault.store_segments(1, [b"one", b"two"])
    with pytest.raises(DeliveryInvalid):
        vault.store_segments(1, [b"one", b"2"])
    assert vault.segments(1) == [b"one", b"two"]
    vault.store_keys(1, b"released")
    vault.store_keys(1, b"released again after the first was lost")
    assert vault.keys(1) == b"released again after the first was lost"


def test_an_answer_to_a_query_is_stored_without_a_bulk_order(vault: DiskVault) -> None:
    vault.store_segments(4, [b"sealed answer"])
    vault.store_keys(4, b"wrapped")
    assert vault.segments(4) == [b"sealed answer"]
    with pytest.raises(InternalError):
        vault.write_plaintext(4, *batch("[1]"))


def test_plaintext_gets_its_name_when_it_is_verified_and_is_read_back(vault: DiskVault) -> None:
    vault.begin(ORDER)
    vault.write_plaintext(1, *batch('["a"]', '["镇\\n"]'))
    vault.write_plaintext(2, *batch())
    vault.write_plaintext(5, *batch('["b"]'))
    vault.write_plaintext(2, *batch("[9]"))
    with pytest.raises(FetchUnfinished):
        vault.records()
    with pytest.raises(FetchUnfinished, match="3 of 4"):
        vault.finish(ROOT, 4)
    assert not list(vault._grant.rglob("records.jsonl"))
    path = Path(vault.finish(ROOT, 3))
    assert path.read_text(encoding="utf-8") == '["a"]\n["镇\\n"]\n["b"]\n'
    assert vault.finish(ROOT, 3) == str(path)
    for held in (vault, reopened(vault)):
        assert [record for found in held.records() for record in found] == [b'["a"]', '["镇\\n"]'.encode(), b'["b"]']
        finished = held.finished()
        assert finished is not None
        assert (finished.path, finished.root, finished.size) == (path, ROOT, 3)
    assert not list(vault._grant.rglob("*.partial*"))


def test_after_a_crash_plaintext_is_written_from_the_start(vault: DiskVault) -> None:
    vault.begin(ORDER)
    vault.write_plaintext(1, *batch("[1]", "[2]"))
    vault.write_plaintext(2, *batch("[3]"))
    resumed = reopened(vault)
    resumed.write_plaintext(1, *batch("[1]", "[2]"))
    # The write of delivery 2 was torn.
    with resumed._begun().partial.open("ab") as file:
        file.write(b"[3")
    resumed.write_plaintext(2, *batch("[3]"))
    assert Path(resumed.finish(ROOT, 3)).read_bytes() == b"[1]\n[2]\n[3]\n"


@pytest.mark.parametrize("lost", ["name", "note"])
def test_a_crash_while_finishing_is_made_good_by_finishing_again(vault: DiskVault, lost: str) -> None:
    vault.begin(ORDER)
    vault.write_plaintext(1, *batch("[1]"))
    path = Path(vault.finish(ROOT, 1))
    (vault._grant / "finished").unlink()
    if lost == "name":
        path.rename(path.with_name("records.partial.jsonl"))
    resumed = reopened(vault)
    with pytest.raises(FetchUnfinished):
        resumed.records()
    resumed.begin(ORDER)
    resumed.write_plaintext(1, *batch("[1]"))
    assert resumed.finish(ROOT, 1) == str(path)
    assert [record for found in resumed.records() for record in found] == [b"[1]"]


def test_a_new_order_leaves_the_verified_plaintext_until_its_own_is_verified(vault: DiskVault) -> None:
    vault.begin(ORDER)
    vault.write_plaintext(1, *batch("[1]"))
    first = Path(vault.finish(ROOT, 1))
    vault.begin(OTHER)
    vault.write_plaintext(2, *batch("[1]"))
    assert [record for found in vault.records() for record in found] == [b"[1]"]
    vault.write_plaintext(3, *batch("[2]"))
    second = Path(vault.finish(ROOT, 2))
    assert second != first
    assert first.exists()
    assert [record for found in reopened(vault).records() for record in found] == [b"[1]", b"[2]"]


def test_large_plaintext_is_read_in_batches(vault: DiskVault) -> None:
    records = [b'["%d"]' % number for number in range(200_000)] + [b'["' + b"x" * 1_000_000 + b'"]', b"[0]"]
    vault.begin(ORDER)
    vault.write_plaintext(1, Packed.of(records), bytes(32 * len(records)))
    vault.finish(ROOT, len(records))
    batches = list(vault.records())
    assert len(batches) >= 3
    assert [record for found in batches for record in found] == records


def test_everything_is_for_its_owner_alone(vault: DiskVault) -> None:
    vault.begin(ORDER)
    vault.store_segments(1, [b"x"])
    vault.store_keys(1, b"y")
    vault.write_plaintext(1, *batch("[1]"))
    vault.finish(ROOT, 1)
    for path in vault._grant.parent.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_full_disk_is_one_refusal_and_leaves_nothing_half_visible(
    vault: DiskVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.begin(ORDER)
    vault.write_plaintext(1, *batch("[1]"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskFull):
            vault.store_segments(1, [b"segment"])
        with pytest.raises(DiskFull):
            vault.store_keys(1, b"keys")
        with pytest.raises(DiskFull):
            vault.finish(ROOT, 1)
    partial = vault._begun().partial
    content = partial.read_bytes()
    partial.unlink()
    partial.symlink_to("/dev/full")
    with pytest.raises((DiskFull, StoreDamaged)):
        vault.write_plaintext(2, Packed.of([b"x" * 100_000]), bytes(32))
    partial.unlink()
    partial.write_bytes(content)
    assert [path.name for path in (vault._grant / "deliveries").iterdir()] == []
    assert vault.segments(1) is None
    assert vault.finished() is None
    vault.store_segments(1, [b"segment"])
    vault.write_plaintext(2, *batch("[2]"))
    assert Path(vault.finish(ROOT, 2)).read_bytes() == b"[1]\n[2]\n"


def test_a_delivery_that_is_taken_for_stored_survives_a_power_cut(tmp_path: Path, vault: DiskVault) -> None:
    """Also one that a process stored which was killed before its name was durable: a receipt answers for it now."""
    vault.begin(ORDER)
    vault.store_segments(1, [b"one"])
    disk = SyncedDisk(vault._grant)

    def killed(step: Step) -> None:
        if step.kind == "sync" and step.path.name == "deliveries":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        watch(patch, killed, disk.after)
        with pytest.raises(KeyboardInterrupt):
            vault.store_segments(2, [b"two"])
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, lambda _step: None, disk.after)
        reopened(vault).store_segments(2, [b"two"])
    disk.write_to(tmp_path / "after")
    assert DiskVault(tmp_path / "after").segments(2) == [b"two"]


@pytest.mark.parametrize(
    "content", [b"", b"\x02\0\0\0\0", b"\x01\0\0\0\1", b"\x01\0\0\0\0extra", b"\x01\0\0\0\1\0\0\0\5abc"]
)
def test_a_damaged_delivery_is_refused(vault: DiskVault, content: bytes) -> None:
    vault.store_segments(1, [b"x"])
    vault.store_keys(1, b"y")
    (vault._grant / "deliveries" / "000001.segments").write_bytes(content)
    (vault._grant / "deliveries" / "000001.keys").write_bytes(b"\x02y")
    with pytest.raises(StoreDamaged):
        vault.segments(1)
    with pytest.raises(StoreDamaged):
        vault.keys(1)


def test_plaintext_that_was_cut_off_afterwards_is_noticed(vault: DiskVault) -> None:
    vault.begin(ORDER)
    vault.write_plaintext(1, *batch("[1]", "[2]"))
    path = Path(vault.finish(ROOT, 2))
    os.truncate(path, 6)
    with pytest.raises(StoreDamaged):
        list(vault.records())
    (vault._grant / "finished").write_bytes(b"nonsense")
    with pytest.raises(StoreDamaged):
        vault.finished()


def test_records_without_their_leaves_are_not_written(vault: DiskVault) -> None:
    vault.begin(ORDER)
    with pytest.raises(InternalError):
        vault.write_plaintext(1, Packed.of([b"[1]"]), b"")


def test_a_grant_has_one_vault(tmp_path: Path) -> None:
    vaults = DiskVaults(tmp_path)
    assert vaults(b"g" * 32) is vaults(b"g" * 32)
    assert vaults(b"g" * 32) is not vaults(b"h" * 32)
