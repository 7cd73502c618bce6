"""Bringing everything that a dataset has wrapped at rest under one key, in batches, while the dataset is read and published to.

A batch is read, opened, wrapped anew, and opened again; only then is it written, by one commit, over the values that are still what was read.
So a value is at any moment under the one key or the other, and the same call again finishes what a kill cut short: it passes over what is under
the key already. A value that does not open stays as it is, and is told of in the end; nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from audit.errors import StoreDamaged
from crypto.errors import DecryptionFailed, EncodingInvalid, Refusal
from crypto.numbered_wrap import NUMBERED_VERSION
from node.errors import InternalError
from node.stores.dataset_index import HASH_SIZE, ROW_SIZE, DatasetIndex, Replacement, Row
from node.stores.dataset_keys import DatasetKeys

BATCH_ROWS = 4_096  # in one transaction: some 400 kB, and a sync
DAMAGED_SHOWN = 16

_NAME_SIZE = 5  # bytes with which a wrapped value names its key


class Rewrapped(Protocol):
    """What a dataset gives to be re-wrapped (`node.stores.sealed_dataset.SealedDataset`)."""

    @property
    def dataset_id(self) -> bytes:
        """Its id, 32 bytes."""

    @property
    def keys(self) -> DatasetKeys:
        """What wraps its secrets."""

    def index_in_use(self) -> AbstractContextManager[DatasetIndex]:
        """The index, which is not closed meanwhile. Raises DatasetPurged."""

    def note_read(self, size: int) -> None:
        """Say that so many bytes of it were looked at."""

    def waiting_secrets(self) -> Iterator[bytes]:
        """Wrapped secrets of a publication that is decided and not applied."""

    def complete_waiting(self) -> None:
        """Apply such a publication, if there is room and nobody publishes."""


@dataclass(frozen=True)
class DamagedValue:
    """A wrapped value that does not open.

    Attributes:
        dataset: id, 32 bytes.
        place: "segment at record N", "index secret", or "store" where the dataset cannot be opened.
        why: what was wrong, in a sentence.
    """

    dataset: bytes
    place: str
    why: str

    def __str__(self) -> str:
        return f"dataset {self.dataset.hex()}, {self.place}: {self.why}"


@dataclass(frozen=True)
class RewrapReport:
    """What a re-wrap did, or a rehearsal would do.

    Attributes:
        datasets: how many were gone through.
        values: wrapped values seen.
        rewrapped: those of them that were under another key.
        waiting: values of publications under way, or decided and not applied, that are under another key: the next call meets them.
        damaged_count: values that do not open and stay as they are.
        damaged: the first sixteen of them.
    """

    datasets: int = 0
    values: int = 0
    rewrapped: int = 0
    waiting: int = 0
    damaged_count: int = 0
    damaged: tuple[DamagedValue, ...] = ()

    def __add__(self, other: RewrapReport) -> RewrapReport:
        return RewrapReport(
            self.datasets + other.datasets,
            self.values + other.values,
            self.rewrapped + other.rewrapped,
            self.waiting + other.waiting,
            self.damaged_count + other.damaged_count,
            (*self.damaged, *other.damaged)[:DAMAGED_SHOWN],
        )

    def check(self) -> None:
        """Raise StoreDamaged, naming dataset and place, if a value did not open."""
        if self.damaged_count:
            first = self.damaged[0]
            raise StoreDamaged(
                f"{self.damaged_count} wrapped values do not open; the first: {first}",
                dataset=first.dataset.hex(),
                place=first.place,
                damaged=self.damaged_count,
                rewrapped=self.rewrapped,
            )


def rewrap_dataset(dataset: Rewrapped, to: int, advanced: Callable[[int], None], *, write: bool) -> RewrapReport:
    """Bring a dataset's values under key `to`; without `write`, do everything but that.

    Args:
        dataset: may be read and published to meanwhile.
        to: number of the key, which is there.
        advanced: called after each batch with how many values were gone through.
        write: false for a rehearsal.

    Raises:
        DiskFull: what was written before stays.
        StoreDamaged: the index cannot be read.
        DatasetPurged: it was purged meanwhile.
    """
    if write:
        dataset.complete_waiting()
    report = RewrapReport(datasets=1) + _rewrap_index_secret(dataset, to, write=write)
    advanced(1)
    walked = _Walk(dataset, to, advanced, write=write)
    report += walked.on()
    # What is published meanwhile is under the active key, unless it began under another. Such a publication is counted here, or is in the index
    # by now and walked through. It is not followed any further: whoever publishes without end would be followed without end.
    staged = dataset.keys.staged() - dataset.keys.staged_under(to)
    waiting = sum(not _is_under(to, wrapped) for wrapped in dataset.waiting_secrets())
    return report + walked.on() + RewrapReport(waiting=staged + waiting)


class _Walk:
    """Goes through the rows of a dataset, from the first on."""

    def __init__(self, dataset: Rewrapped, to: int, advanced: Callable[[int], None], *, write: bool) -> None:
        self._dataset = dataset
        self._to = to
        self._advanced = advanced
        self._write = write
        self._at = 0

    def on(self) -> RewrapReport:
        """Go on to the row that is the last one now."""
        dataset, report = self._dataset, RewrapReport()
        with dataset.index_in_use() as index:
            last = index.last()
        while last is not None and self._at <= last:
            with dataset.index_in_use() as index:
                rows = index.rows_from(self._at, BATCH_ROWS)
            replacements, damaged = _rewrap_rows(dataset, rows, self._to)
            if self._write and replacements:
                with dataset.index_in_use() as index:
                    index.replace(replacements)
            report += RewrapReport(
                values=len(rows),
                rewrapped=len(replacements),
                damaged_count=len(damaged),
                damaged=tuple(damaged[:DAMAGED_SHOWN]),
            )
            dataset.note_read(2 * ROW_SIZE * len(rows))
            self._at = rows[-1][0] + 1
            self._advanced(len(rows))
        return report


def count_under(dataset: Rewrapped, number: int) -> int:
    """How many values of a dataset are under a key, by looking at each: those of a publication under way among them.

    Whoever has made another key active before counts misses none: a value goes from the publication under way to the file of the decided one
    and on into the index, and they are looked at in this order.

    Raises:
        StoreDamaged: a value does not say which key it is under; `dataset` and `place` in the details.
        DatasetPurged: it was purged meanwhile.
    """
    count = dataset.keys.staged_under(number)
    count += sum(_is_under(number, wrapped) for wrapped in dataset.waiting_secrets())
    with dataset.index_in_use() as index:
        count += _is_under(number, index.index_secret())
    at = 0
    while True:
        with dataset.index_in_use() as index:
            rows = index.rows_from(at, BATCH_ROWS)
        if not rows:
            return count
        for first, value in rows:
            if len(value) != ROW_SIZE or value[HASH_SIZE] != NUMBERED_VERSION:
                place = f"segment at record {first}"
                raise StoreDamaged(
                    f"dataset {dataset.dataset_id.hex()}, {place}, is not as it was written",
                    dataset=dataset.dataset_id.hex(),
                    place=place,
                )
            count += _is_under(number, value[HASH_SIZE:])
        dataset.note_read(ROW_SIZE * len(rows))
        at = rows[-1][0] + 1


def _rewrap_index_secret(dataset: Rewrapped, to: int, *, write: bool) -> RewrapReport:
    keys = dataset.keys
    with dataset.index_in_use() as index:
        try:
            before = index.index_secret()
            if _is_under(to, before):
                return RewrapReport(values=1)
            secret = keys.unwrap_index_secret(before)
        except (DecryptionFailed, EncodingInvalid, StoreDamaged) as why:
            damaged = DamagedValue(dataset.dataset_id, "index secret", str(why))
            return RewrapReport(values=1, damaged_count=1, damaged=(damaged,))
        after = keys.wrap_index_secret(secret, to)
        _check_same(keys.unwrap_index_secret(after), secret)
        if write:
            index.replace_index_secret(before, after)
    return RewrapReport(values=1, rewrapped=1)


def _rewrap_rows(dataset: Rewrapped, rows: Sequence[Row], to: int) -> tuple[list[Replacement], list[DamagedValue]]:
    """What is to be written in the place of the rows that are not under `to`, and the rows that do not open."""
    due = [(first, value[HASH_SIZE:]) for first, value in rows if not _is_under(to, value[HASH_SIZE:])]
    if not due:
        return [], []
    keys = dataset.keys
    damaged: list[DamagedValue] = []
    try:
        secrets = keys.unwrap([first for first, _ in due], [wrapped for _, wrapped in due])
    except (DecryptionFailed, EncodingInvalid, StoreDamaged):
        # One of them is wrong, which must not keep the others: each by itself.
        opened: list[tuple[int, bytes, bytes]] = []
        for first, wrapped in due:
            try:
                opened.append((first, wrapped, keys.unwrap([first], [wrapped])))
            except (DecryptionFailed, EncodingInvalid, StoreDamaged) as why:
                damaged.append(DamagedValue(dataset.dataset_id, f"segment at record {first}", str(why)))
        due = [(first, wrapped) for first, wrapped, _ in opened]
        secrets = b"".join(secret for _, _, secret in opened)
    firsts = [first for first, _ in due]
    wrapped_anew = keys.wrap(firsts, secrets, to)
    # What is written over cannot be had again, so the new value is opened first.
    _check_same(keys.unwrap(firsts, wrapped_anew), secrets)
    return [(first, before, after) for (first, before), after in zip(due, wrapped_anew, strict=True)], damaged


def _check_same(opened: bytes, secrets: bytes) -> None:
    if opened != secrets:
        raise InternalError("the engine does not open what it wrapped; nothing of this batch was written")


def _is_under(number: int, wrapped: bytes) -> bool:
    """Whether a value names a key, by its first five bytes."""
    return wrapped[:_NAME_SIZE] == bytes([NUMBERED_VERSION]) + number.to_bytes(4, "big")


def unopened(dataset_id: bytes, why: Refusal) -> RewrapReport:
    """The report of a dataset that cannot be opened."""
    return RewrapReport(datasets=1, damaged_count=1, damaged=(DamagedValue(dataset_id, "store", str(why)),))
