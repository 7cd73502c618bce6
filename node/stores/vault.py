"""What this requester received under its grants (`node.ports.Vault`): plain files, since each is written once and read whole.

    <grant>/deliveries/000001.segments   sealed segments, or the sealed answer, of the delivery with sequence 1
    <grant>/deliveries/000001.keys       its wrapped keys, as released or wrapped anew (`node.stores.kept_keys`)
    <grant>/current                      the bulk order begun last, in hexadecimal
    <grant>/<order>/records.partial.jsonl    its plaintext as far as it is opened
    <grant>/<order>/records.jsonl        the plaintext, once the tree is verified: one record a line
    <grant>/finished                     the order verified last, with root and size

Deliveries are immutable: a file appears whole and durable, or not at all. They are what a receipt answers for. Plaintext can
always be opened from them again, so it is made durable only at the end: after a crash it is written from the start.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audit.errors import StoreDamaged
from audit.files import PRIVATE_FILE, disk_errors, make_directory, read_whole, sync_directory, write_whole
from crypto.errors import EncodingInvalid
from crypto.packed import Packed
from node.errors import DeliveryInvalid, FetchUnfinished, InternalError
from node.stores.kept_keys import KeptKeys
from node.stores.vault_rewrapping import (
    ContextOf,
    Convert,
    KeyChange,
    Place,
    Progress,
    VaultRewrapReport,
    count_opened,
    rewrap_vaults,
)

_VERSION = 1
_SEGMENTS_HEAD = struct.Struct(">BI")  # version, number of segments
_LENGTH = struct.Struct(">I")  # before each segment
_LEAF_SIZE = 32  # bytes
_GRANT_SIZE = 32  # bytes of a grant's id
_READ_SIZE = 1024 * 1024  # bytes of plaintext read at a time


@dataclass(frozen=True)
class Finished:
    """A verified transfer: the plaintext file, and the root and size of the tree that it was checked against."""

    path: Path
    root: bytes
    size: int


@dataclass
class _Plaintext:
    """How far an order's plaintext is written by this process."""

    order: Path
    sequence: int = 0
    records: int = 0
    size: int = 0  # bytes

    @property
    def partial(self) -> Path:
        return self.order / "records.partial.jsonl"

    @property
    def whole(self) -> Path:
        return self.order / "records.jsonl"


class DiskVaults:
    """The vaults of all grants, in one directory. Calling it gives a grant's vault, always the same one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._vaults: dict[bytes, DiskVault] = {}
        self._lock = threading.Lock()

    def __call__(self, grant_id: bytes) -> DiskVault:
        """The vault of a grant."""
        with self._lock:
            return self._vaults.setdefault(grant_id, DiskVault(self._directory / grant_id.hex()))

    def rewrap(self, change: KeyChange, progress: Progress) -> VaultRewrapReport:
        """Bring the kept keys of all deliveries under another key of this member, durably. Fetches go on meanwhile: what they store after
        this call met its delivery is as it was released. It may be repeated after any crash, and undone by changing to the key before.

        An old key is destroyed when `under` gives 0 for it, after providers wrap to the new one, and not before.

        Args:
            change: to which key, and how.
            progress: called with the files gone through and those there are, after each.

        Raises:
            DiskFull: what was written before stays.
        """
        return rewrap_vaults(list(self._places()), self, change, progress, write=True)

    def rehearse_rewrap(self, change: KeyChange, progress: Progress) -> VaultRewrapReport:
        """Everything that `rewrap` does but writing: each is opened, wrapped anew and opened again."""
        return rewrap_vaults(list(self._places()), self, change, progress, write=False)

    def under(self, opens: Convert, context_of: ContextOf) -> int:
        """How many deliveries' keys `opens` opens, by trying each: for a function that knows one key alone, how many are under it.

        Raises:
            StoreDamaged: a file is not as it was written.
        """
        return count_opened(self._places(), self, opens, context_of)

    def _places(self) -> Iterator[Place]:
        """Where keys are kept, in order."""
        with disk_errors(self._directory):
            found = sorted(self._directory.glob(f"{'[0-9a-f]' * 2 * _GRANT_SIZE}/deliveries/*.keys"))
        for path in found:
            if path.stem.isdecimal():
                yield bytes.fromhex(path.parent.parent.name), int(path.stem)


class DiskVault:
    """The vault of one grant. Deliveries may be stored and read from any thread; plaintext is written by one at a time."""

    def __init__(self, directory: Path) -> None:
        self._grant = directory
        self._deliveries = directory / "deliveries"
        self._plaintext: _Plaintext | None = None
        self._writing_keys = threading.Lock()

    def begin(self, order_id: bytes) -> None:
        """Take up a bulk order, whether new or interrupted. What earlier orders left stays."""
        order = self._grant / order_id.hex()
        if self._plaintext is None or self._plaintext.order != order:
            make_directory(order)
            self._plaintext = _Plaintext(order)
        write_whole(self._grant / "current", [order.name.encode()])

    def store_segments(self, sequence: int, blobs: Sequence[bytes]) -> None:
        """Keep a delivery's sealed segments, durable on return. The same again changes nothing; others are refused."""
        held = self.segments(sequence)
        if held is not None:
            if held != list(blobs):
                raise DeliveryInvalid(f"delivery {sequence} came with other segments than before", sequence=sequence)
            # A process that was killed may have left the file under its name and the name not durable yet.
            with disk_errors(self._deliveries):
                sync_directory(self._deliveries)
            return
        parts = [_SEGMENTS_HEAD.pack(_VERSION, len(blobs))]
        for blob in blobs:
            parts += [_LENGTH.pack(len(blob)), blob]
        make_directory(self._deliveries)
        write_whole(self._file(sequence, "segments"), parts)

    def segments(self, sequence: int) -> list[bytes] | None:
        """A delivery's sealed segments, or None if they are not here."""
        path = self._file(sequence, "segments")
        content = read_whole(path)
        if content is None:
            return None
        try:
            return _read_segments(content)
        except (struct.error, ValueError) as cause:
            raise StoreDamaged(f"{path} is not as it was written") from cause

    def store_keys(self, sequence: int, wrapped_secrets: bytes) -> None:
        """Keep a delivery's keys as they were released, durable on return. The same again changes nothing."""
        released = KeptKeys.as_released(wrapped_secrets)
        with self._writing_keys:
            held = self.kept_keys(sequence)
            # Those that were wrapped anew since are the same keys.
            if held is None or held.released_digest != released.released_digest:
                make_directory(self._deliveries)
                write_whole(self._file(sequence, "keys"), [released.to_bytes()])

    def keys(self, sequence: int) -> bytes | None:
        """A delivery's keys, as they were released or as they were wrapped anew since; or None."""
        kept = self.kept_keys(sequence)
        return None if kept is None else kept.wrapped

    def released_digest(self, sequence: int) -> bytes | None:
        """SM3 of a delivery's keys as they were released, or None."""
        kept = self.kept_keys(sequence)
        return None if kept is None else kept.released_digest

    def kept_keys(self, sequence: int) -> KeptKeys | None:
        """A delivery's keys with what is known of them, or None. Raises StoreDamaged."""
        path = self._file(sequence, "keys")
        content = read_whole(path)
        try:
            return None if content is None else KeptKeys.from_bytes(content)
        except EncodingInvalid as cause:
            raise StoreDamaged(f"{path} is not as it was written") from cause

    def replace_keys(self, sequence: int, before: KeptKeys, after: KeptKeys) -> bool:
        """Put other keys in the place of those that are still as they were read, durably. Raises DiskFull."""
        with self._writing_keys:
            if self.kept_keys(sequence) != before:
                return False
            write_whole(self._file(sequence, "keys"), [after.to_bytes()])
            return True

    def write_plaintext(self, sequence: int, records: Packed, leaf_hashes: bytes) -> None:
        """Append a delivery's opened records, whose leaf hashes the caller holds. Deliveries come in the order of their
        sequences, after a restart from the first on; one that is written already changes nothing.
        """
        if len(leaf_hashes) != _LEAF_SIZE * len(records):
            raise InternalError(f"{len(records)} records do not have {len(leaf_hashes)} bytes of leaf hashes")
        done = self._begun()
        if sequence <= done.sequence:
            return
        lines = b"".join(b"%b\n" % record for record in records)
        with disk_errors(done.partial):
            descriptor = os.open(done.partial, os.O_WRONLY | os.O_CREAT, PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as file:
                # A crash, or a write that failed, may have left more than what is counted.
                file.truncate(done.size)
                file.seek(done.size)
                file.write(lines)
        done.sequence, done.records, done.size = sequence, done.records + len(records), done.size + len(lines)

    def finish(self, root: bytes, size: int) -> str:
        """Mark the transfer verified, durably, and give the plaintext file's path. Repeating it changes nothing."""
        done = self._begun()
        if done.records != size:
            raise FetchUnfinished(f"{done.records} of {size} records are written")
        with disk_errors(done.whole):
            if done.partial.exists():
                with done.partial.open("rb") as file:
                    os.fsync(file.fileno())
                # A crash before the name is changed or noted: the fetch, resumed, writes and finishes again.
                done.partial.replace(done.whole)
                sync_directory(done.order)
        write_whole(self._grant / "finished", [f"{done.order.name} {root.hex()} {size}\n".encode()])
        return str(done.whole)

    def finished(self) -> Finished | None:
        """The transfer verified last under this grant, or None."""
        path = self._grant / "finished"
        content = read_whole(path)
        if content is None:
            return None
        try:
            order, root, size = content.decode().removesuffix("\n").split(" ")
            return Finished(self._grant / order / "records.jsonl", bytes.fromhex(root), int(size))
        except ValueError as cause:
            raise StoreDamaged(f"{path} is not as it was written") from cause

    def records(self) -> Iterator[Packed]:
        """Records of the transfer verified last, in batches of about 1 MiB. Raises FetchUnfinished if there is none."""
        finished = self.finished()
        if finished is None:
            raise FetchUnfinished("no transfer under this grant is verified")
        return _read_lines(finished.path)

    def _begun(self) -> _Plaintext:
        """The plaintext of the order begun last, also by an earlier process."""
        if self._plaintext is None:
            current = read_whole(self._grant / "current")
            if current is None:
                raise InternalError("no order was begun in this vault")
            self._plaintext = _Plaintext(self._grant / current.decode())
        return self._plaintext

    def _file(self, sequence: int, what: str) -> Path:
        return self._deliveries / f"{sequence:06}.{what}"


def _read_segments(content: bytes) -> list[bytes]:
    version, count = _SEGMENTS_HEAD.unpack_from(content)
    if version != _VERSION:
        raise ValueError(version)
    at = _SEGMENTS_HEAD.size
    blobs = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size + length
        blobs.append(content[at - length : at])
    if at != len(content):
        raise ValueError(at)
    return blobs


def _read_lines(path: Path) -> Iterator[Packed]:
    with disk_errors(path), path.open("rb") as file:
        rest = b""
        while block := file.read(_READ_SIZE):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                yield _split(whole + newline)
    if rest:
        raise StoreDamaged(f"{path} does not end with a whole record")


def _split(lines: bytes) -> Packed:
    """Records from lines that each end with a line feed, of which a record has none inside."""
    ends = np.flatnonzero(np.frombuffer(lines, dtype=np.uint8) == ord("\n"))
    offsets = np.zeros(len(ends) + 1, dtype=np.uint64)
    offsets[1:] = ends - np.arange(len(ends))
    return Packed(lines.replace(b"\n", b""), offsets)
