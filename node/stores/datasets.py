"""This provider's datasets (`node.ports.Datasets`), one directory each:

    <dataset id>/tree/                  the Merkle log of sealed segments (audit.store)
    <dataset id>/index/                 LMDB: for each segment its wrapped secret and digest; the index of keys
    <dataset id>/publication.partial    the next version while it is staged
    <dataset id>/publication.ready      the next version once it is decided, until it is in tree and index
    <dataset id>/purged                 alone, once the dataset is purged (`node.stores.shredding`)

Nothing on the disk is plaintext: records are sealed, secrets wrapped, keys digested.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from audit.errors import StoreAbsent, StoreDamaged, StoreExists, StoreLocked, StoreVersion
from audit.files import PARTIAL_SUFFIX, disk_errors, make_directory, sync_directory
from audit.store import TreeStore
from node.errors import DatasetPurged, DatasetUnknown
from node.stores.dataset_index import DatasetIndex
from node.stores.dataset_keys import INDEX_SECRET_SIZE, DatasetKeys
from node.stores.rewrapping import RewrapReport, count_under, rewrap_dataset, unopened
from node.stores.sealed_dataset import DatasetMeans, SealedDataset
from node.stores.shredding import is_shredded, shred_directory

DATASET_ID_SIZE = 32  # bytes


class DatasetDirectory:
    """All datasets of this node. An opened dataset stays open, and the same, until `close`.

    Args:
        directory: where they lie; made if need be.
        member_id: this provider, for the origin of each tree.
        means: what datasets are made with.
    """

    def __init__(self, directory: Path, member_id: str, means: DatasetMeans) -> None:
        make_directory(directory)
        self._directory = directory
        self._member_id = member_id
        self._means = means
        self._opened: dict[bytes, SealedDataset] = {}
        self._lock = threading.Lock()
        self._rewrapping = threading.Lock()

    def create(self, dataset_id: bytes) -> SealedDataset:
        """A new, empty dataset. Raises StoreExists, DatasetPurged, DiskFull."""
        path = self._path(dataset_id)
        with self._lock:
            _check_not_shredded(path, dataset_id)
            if path.exists():
                raise StoreExists(f"there is a dataset at {path}")
            partial = path.with_name(path.name + PARTIAL_SUFFIX)
            origin = f"kiteline/{self._member_id}/dataset/{dataset_id.hex()}/SM3"
            with disk_errors(partial):
                shutil.rmtree(partial, ignore_errors=True)
                make_directory(partial)
                means = self._means
                TreeStore.create(partial / "tree", origin, means.engine, map_bytes=means.map_bytes).close()
                keys = DatasetKeys(means.engine, means.random, means.at_rest, dataset_id)
                DatasetIndex.create(
                    partial / "index", means.map_bytes, keys.wrap_index_secret(means.random(INDEX_SECRET_SIZE))
                )
                # A crash up to here leaves a directory that the next `create` deletes.
                partial.replace(path)
                sync_directory(self._directory)
        return self.open(dataset_id)

    def open(self, dataset_id: bytes) -> SealedDataset:
        """A dataset. Raises DatasetUnknown, DatasetPurged, StoreLocked, StoreVersion, StoreDamaged."""
        with self._lock:
            found = self._opened.get(dataset_id)
            if found is None:
                path = self._path(dataset_id)
                if not path.is_dir():
                    raise DatasetUnknown("this node has no such dataset", dataset=dataset_id.hex())
                # A shred that a crash cut short may have left a store that opens.
                _check_not_shredded(path, dataset_id)
                found = self._opened[dataset_id] = SealedDataset(path, dataset_id, self._means)
            return found

    def shred(self, dataset_id: bytes) -> int:
        """Destroy what a dataset has on disk, and give how many bytes that were; 0 where nothing is left. It need not open: a damaged
        store is destroyed as well. Once begun, it is gone on with after any crash by the same call.

        Raises:
            StoreLocked: a publication to it is under way; nothing was destroyed.
            DiskFull, StoreDamaged: the system refuses; what is left is not used any more, and the next call goes on.
        """
        path = self._path(dataset_id)
        with self._lock:
            opened = self._opened.get(dataset_id)
            if opened is not None:
                opened.retire()
                del self._opened[dataset_id]
            return shred_directory(path)

    def rewrap(self, to: int, progress: Callable[[int, int], None]) -> RewrapReport:
        """Bring everything that is wrapped at rest, in all datasets, under the key with this number, durably. Datasets are read and published
        to meanwhile. It may be repeated after any crash, and undone by the same call with the key from before.

        Values of publications under way may stay under another key (`RewrapReport.waiting`): a key is destroyed when `under` gives 0 for it,
        after another was made active, and not before.

        Args:
            to: number of a key that is there.
            progress: called with the values gone through and those there are, after each batch.

        Raises:
            StoreDamaged: the key is absent, and nothing was changed; or, after all the rest was done, values do not open: `dataset` and
                `place` in the details say where the first is, `damaged` how many there are.
            StoreLocked: a re-wrap is under way.
            DiskFull: what was written before stays.
        """
        return self._rewrap(to, progress, write=True)

    def rehearse_rewrap(self, to: int, progress: Callable[[int, int], None]) -> RewrapReport:
        """Everything that `rewrap` does but writing: each value is opened, wrapped anew and opened again. Raises as `rewrap`."""
        return self._rewrap(to, progress, write=False)

    def under(self, number: int) -> int:
        """How many wrapped values are under a key, by looking at every one. What a publication under way has wrapped counts.

        Raises:
            StoreDamaged: a dataset cannot be opened, or a value does not say which key it is under.
        """
        count = 0
        for dataset_id in self._settled_ids():
            with suppress(DatasetPurged):
                count += count_under(self.open(dataset_id), number)
        return count

    def _rewrap(self, to: int, progress: Callable[[int, int], None], *, write: bool) -> RewrapReport:
        self._means.at_rest().key(to)
        if not self._rewrapping.acquire(blocking=False):
            raise StoreLocked("a re-wrap is under way")
        try:
            report = self._rewrap_each(to, progress, write=write)
        finally:
            self._rewrapping.release()
        report.check()
        return report

    def _rewrap_each(self, to: int, progress: Callable[[int, int], None], *, write: bool) -> RewrapReport:
        report = RewrapReport()
        opened: list[SealedDataset] = []
        total = done = 0
        for dataset_id in self._settled_ids():
            try:
                dataset = self.open(dataset_id)
                with dataset.index_in_use() as index:
                    total += 1 + index.count()
            except DatasetPurged:
                continue
            except (StoreAbsent, StoreDamaged, StoreVersion) as why:
                report += unopened(dataset_id, why)
                continue
            opened.append(dataset)

        def advanced(values: int) -> None:
            nonlocal done
            done += values
            progress(done, max(done, total))

        for dataset in opened:
            # Purged meanwhile: its secrets are gone, under whatever key.
            with suppress(DatasetPurged):
                try:
                    report += rewrap_dataset(dataset, to, advanced, write=write)
                except StoreDamaged as why:
                    report += unopened(dataset.dataset_id, why)
        return report

    def _settled_ids(self) -> Sequence[bytes]:
        """All ids, and none is being created: a dataset that began under an earlier active key is among them."""
        with self._lock:
            return self.ids()

    def ids(self) -> Sequence[bytes]:
        """Ids of all datasets here, sorted, the purged ones among them."""
        with disk_errors(self._directory):
            names = sorted(entry.name for entry in self._directory.iterdir() if entry.is_dir())
        return [bytes.fromhex(name) for name in names if len(name) == 2 * DATASET_ID_SIZE]

    def close(self) -> None:
        """Close all datasets."""
        with self._lock:
            for dataset in self._opened.values():
                dataset.close()
            self._opened.clear()

    def _path(self, dataset_id: bytes) -> Path:
        if len(dataset_id) != DATASET_ID_SIZE:
            raise DatasetUnknown(f"a dataset's id has {DATASET_ID_SIZE} bytes")
        return self._directory / dataset_id.hex()


def _check_not_shredded(path: Path, dataset_id: bytes) -> None:
    if is_shredded(path):
        raise DatasetPurged("the dataset is purged", dataset=dataset_id.hex())
