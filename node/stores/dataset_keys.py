"""What is wrapped at rest of one dataset: the secret of each segment, and the secret under which record keys are digested.

Both are random and are wrapped under a key-encryption key that HKDF-SM3 derives, for this dataset, from one of the node's numbered at-rest keys.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np

from crypto.engine import Engine
from crypto.numbered_wrap import OVERHEAD, NumberedKey, key_numbers, unwrap_numbered, wrap_numbered
from crypto.packed import Packed
from crypto.seal import SECRET_SIZE
from crypto.sm3 import hkdf_sm3
from crypto.wrap import KEK_SIZE
from node.ports import Random
from node.stores.at_rest import AtRest, AtRestKeys

WRAPPED_SIZE = SECRET_SIZE + OVERHEAD  # bytes of a wrapped secret, whether a segment's or the index's
INDEX_SECRET_SIZE = SECRET_SIZE  # bytes

_INDEX_SIZE = 8  # bytes of a record's index in a context


class DatasetKeys:
    """Wraps and opens the secrets of one dataset. Safe from any thread; the at-rest keys may be replaced meanwhile."""

    def __init__(self, engine: Engine, random: Random, at_rest: AtRest, dataset_id: bytes) -> None:
        self._engine = engine
        self._random = random
        self._at_rest = at_rest
        self._dataset_id = dataset_id
        self._lock = threading.Lock()
        self._derived: tuple[AtRestKeys, dict[int, bytes]] | None = None
        self._staged: Counter[int] = Counter()

    def wrap(self, firsts: Sequence[int], secrets: bytes, under: int | None = None) -> list[bytes]:
        """Wrap the secrets, 32 bytes each, of the segments that begin at `firsts`: under the active key, or the one named."""
        keys = self._at_rest()
        return self._wrap(keys, keys.active if under is None else under, self._of_segments(firsts), secrets)

    def wrap_staged(self, firsts: Sequence[int], secrets: bytes) -> list[bytes]:
        """As `wrap` under the active key, for a publication that is not yet where it could be looked up: `staged_under` counts them
        until `forget_staged`.
        """
        # Looked up and counted at once: whoever replaced the keys before it counts misses nothing that is wrapped under the old.
        with self._lock:
            keys = self._at_rest()
            self._staged[keys.active] += len(firsts)
        return self._wrap(keys, keys.active, self._of_segments(firsts), secrets)

    def staged_under(self, number: int) -> int:
        """Secrets that the publication under way has wrapped under a key."""
        with self._lock:
            return self._staged[number]

    def staged(self) -> int:
        """Secrets that the publication under way has wrapped."""
        with self._lock:
            return self._staged.total()

    def forget_staged(self) -> None:
        """The publication ended: what came of it is in the index, in the publication file, or nowhere."""
        with self._lock:
            self._staged.clear()

    def unwrap(self, firsts: Sequence[int], wrapped: Sequence[bytes]) -> bytes:
        """The secrets of those segments, 32 bytes each.

        Raises:
            StoreDamaged: a value is under a key that is absent; `number` in the details is its number.
            DecryptionFailed: another segment, dataset or node key; `index` in the details says the first.
            EncodingInvalid: a value is not as it is written.
        """
        return self._unwrap(self._of_segments(firsts), wrapped)

    def wrap_index_secret(self, secret: bytes, under: int | None = None) -> bytes:
        """Wrap the secret of the key index, 32 bytes: under the active key, or the one named."""
        keys = self._at_rest()
        (wrapped,) = self._wrap(keys, keys.active if under is None else under, self._of_index(), secret)
        return wrapped

    def unwrap_index_secret(self, wrapped: bytes) -> bytes:
        """The reverse. Raises as `unwrap`."""
        return self._unwrap(self._of_index(), [wrapped])

    def _wrap(self, keys: AtRestKeys, number: int, contexts: Packed, secrets: bytes) -> list[bytes]:
        key = NumberedKey(number, self._kek(keys, number))
        return list(wrap_numbered(self._engine, self._random, key, contexts, Packed.fixed(secrets, SECRET_SIZE)))

    def _unwrap(self, contexts: Packed, wrapped: Sequence[bytes]) -> bytes:
        packed = Packed.of(wrapped)
        numbers = key_numbers(packed)
        keys = self._at_rest()
        if not numbers:
            return b""
        by_number = {number: self._kek(keys, number) for number in set(numbers)}
        if len(by_number) == 1:
            keks = by_number[numbers[0]] * len(numbers)
        else:
            keks = b"".join(by_number[number] for number in numbers)
        return unwrap_numbered(self._engine, keks, contexts, packed).data

    def _kek(self, keys: AtRestKeys, number: int) -> bytes:
        """The key-encryption key of this dataset; kept until the node's keys are others."""
        derived = self._derived
        if derived is None or derived[0] is not keys:
            derived = self._derived = (keys, {})
        found = derived[1].get(number)
        if found is None:
            info = b"kiteline/dataset-secrets/v1\n" + self._dataset_id
            found = derived[1][number] = hkdf_sm3(keys.key(number), KEK_SIZE, info=info)
        return found

    def _of_segments(self, firsts: Sequence[int]) -> Packed:
        """The context of each segment: kiteline/segment-secret/v1 ‖ 0x0A ‖ dataset id ‖ first index, u64be."""
        start = np.frombuffer(b"kiteline/segment-secret/v1\n" + self._dataset_id, dtype=np.uint8)
        contexts = np.empty((len(firsts), len(start) + _INDEX_SIZE), dtype=np.uint8)
        contexts[:, : len(start)] = start
        contexts[:, len(start) :] = np.array(firsts, dtype=">u8").view(np.uint8).reshape(len(firsts), _INDEX_SIZE)
        return Packed.fixed(contexts.tobytes(), contexts.shape[1])

    def _of_index(self) -> Packed:
        return Packed.of([b"kiteline/index-secret/v1\n" + self._dataset_id])
