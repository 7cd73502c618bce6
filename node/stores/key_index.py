"""From the value of the key field to records, without a key in plaintext on the disk.

A key stands in the index as the first 16 bytes of HMAC-SM3 under a secret of the dataset, so that whoever copies the disk can neither
read keys nor test guesses. The index of the record follows, so that older versions of a record stay findable:

    entry = HMAC-SM3(secret, key)[:16] ‖ index of the record, u64be      (a key of LMDB; no value)

Two of 10⁹ keys share 16 bytes with probability 10⁻²¹. Whoever opens the record sees its key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import lmdb
import numpy as np
from numpy.typing import NDArray

from crypto.engine import Engine
from crypto.packed import Packed
from crypto.scatter import prefix_each
from crypto.sm3 import BLOCK_SIZE, hmac_sm3

DIGEST_SIZE = 16  # bytes of a key's digest that are kept

_INDEX = struct.Struct(">Q")
_ENTRY_SIZE = DIGEST_SIZE + _INDEX.size
_INNER, _OUTER = np.uint8(0x36), np.uint8(0x5C)  # RFC 2104


def key_digest(secret: bytes, key: bytes) -> bytes:
    """Digest of one key."""
    return hmac_sm3(secret, key)[:DIGEST_SIZE]


def key_digests(engine: Engine, secret: bytes, keys: Packed) -> bytes:
    """Digests of a batch of keys, 16 bytes each, by two calls of the engine. `secret`: 1 to 64 bytes."""
    padded = np.frombuffer(secret.ljust(BLOCK_SIZE, b"\0"), dtype=np.uint8)
    count = len(keys)
    inner = engine.sm3_many(prefix_each(_repeated(padded ^ _INNER, count), keys))
    digests = engine.sm3_many(prefix_each(_repeated(padded ^ _OUTER, count), Packed.fixed(inner, len(inner) // count)))
    return np.frombuffer(digests, dtype=np.uint8).reshape(count, -1)[:, :DIGEST_SIZE].tobytes()


def sorted_entries(digests: bytes, first_index: int) -> Iterator[tuple[bytes, bytes]]:
    """Entries of the records from `first_index` on with these digests, in the order of LMDB's keys."""
    count = len(digests) // DIGEST_SIZE
    entries = np.empty((count, _ENTRY_SIZE), dtype=np.uint8)
    entries[:, :DIGEST_SIZE] = np.frombuffer(digests, dtype=np.uint8).reshape(count, DIGEST_SIZE)
    indexes = np.arange(first_index, first_index + count, dtype=np.uint64).astype(">u8")
    entries[:, DIGEST_SIZE:] = indexes.view(np.uint8).reshape(count, _INDEX.size)
    ordered = np.sort(entries.reshape(-1).view(f"S{_ENTRY_SIZE}")).tobytes()
    return ((ordered[at : at + _ENTRY_SIZE], b"") for at in range(0, len(ordered), _ENTRY_SIZE))


def newest_below(cursor: lmdb.Cursor[bytes], digest: bytes, size: int) -> int | None:
    """The greatest index below `size` that stands with this digest."""
    beyond = cursor.set_range(digest + _INDEX.pack(size))
    if not (cursor.prev() if beyond else cursor.last()):
        return None
    entry = cursor.key()
    return int(_INDEX.unpack_from(entry, DIGEST_SIZE)[0]) if entry.startswith(digest) else None


def _repeated(block: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    return np.broadcast_to(block, (count, len(block)))
