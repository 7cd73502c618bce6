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
from collections.abc import Sequence
from pathlib import Path

from audit.errors import StoreExists
from audit.files import PARTIAL_SUFFIX, disk_errors, make_directory, sync_directory
from audit.store import TreeStore
from node.errors import DatasetPurged, DatasetUnknown
from node.stores.environment import Environment
from node.stores.sealed_dataset import INDEX_KIND, DatasetMeans, SealedDataset
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
                Environment.create(partial / "index", INDEX_KIND, means.map_bytes).close()
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
