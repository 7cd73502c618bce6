"""This provider's datasets (`node.ports.Datasets`), one directory each:

    <dataset id>/tree/                  the Merkle log of sealed segments (audit.store)
    <dataset id>/index/                 LMDB: for each segment its wrapped secret and digest; the index of keys
    <dataset id>/publication.partial    the next version while it is staged
    <dataset id>/publication.ready      the next version once it is decided, until it is in tree and index

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
from node.errors import DatasetUnknown
from node.stores.environment import Environment
from node.stores.sealed_dataset import INDEX_KIND, DatasetMeans, SealedDataset

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
        """A new, empty dataset. Raises StoreExists, DiskFull."""
        path = self._path(dataset_id)
        with self._lock:
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
        """A dataset. Raises DatasetUnknown, StoreLocked, StoreVersion, StoreDamaged."""
        with self._lock:
            found = self._opened.get(dataset_id)
            if found is None:
                path = self._path(dataset_id)
                if not path.is_dir():
                    raise DatasetUnknown("this node has no such dataset", dataset=dataset_id.hex())
                found = self._opened[dataset_id] = SealedDataset(path, dataset_id, self._means)
            return found

    def ids(self) -> Sequence[bytes]:
        """Ids of all datasets here, sorted."""
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
