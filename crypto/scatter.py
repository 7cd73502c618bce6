"""Put a short prefix before every item of a packed batch, without a Python object per item.

This is what stands between packed records and a batch hash: a leaf is SM3(prefix ‖ record), and building 65,536 such
messages one by one in Python costs as much as hashing them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crypto.errors import EncodingInvalid
from crypto.packed import Packed


def prefix_each(prefixes: NDArray[np.uint8], items: Packed) -> Packed:
    """The batch whose item i is `prefixes[i] ‖ items[i]`; `prefixes` is (n, width), width ≥ 1."""
    count, width = prefixes.shape
    if count != len(items):
        raise EncodingInvalid(f"{count} prefixes do not fit {len(items)} items")
    source = np.frombuffer(items.data, dtype=np.uint8)
    starts = items.offsets.astype(np.intp)
    lengths = np.diff(starts)
    targets = starts + np.arange(count + 1) * width
    if count and bool((lengths == lengths[0]).all()):
        message = np.empty((count, width + int(lengths[0])), dtype=np.uint8)
        message[:, :width] = prefixes
        message[:, width:] = source.reshape(count, -1) if len(source) else 0
        return Packed(message.tobytes(), targets.astype(np.uint64))
    out = np.empty(int(targets[-1]), dtype=np.uint8)
    if count:
        _windows(out, width)[targets[:-1]] = _windows(np.ascontiguousarray(prefixes).reshape(-1), width)[::width]
    # An item of 2^k to 2^(k+1) - 1 bytes is two windows of 2^k bytes, one from its start and one up to its end, which
    # overlap. So each power of two that occurs costs two vectorised copies, whatever the number of items.
    bit_lengths = np.frexp(lengths)[1]
    for bits in np.flatnonzero(np.bincount(bit_lengths)[1:]).tolist():
        size = 1 << bits
        chosen = np.flatnonzero(bit_lengths == bits + 1)
        reading, writing = _windows(source, size), _windows(out, size)
        writing[targets[chosen] + width] = reading[starts[chosen]]
        writing[targets[chosen + 1] - size] = reading[starts[chosen + 1] - size]
    return Packed(out.tobytes(), targets.astype(np.uint64))


def _windows(buffer: NDArray[np.uint8], size: int) -> NDArray[np.void]:
    """Every stretch of `size` bytes of the buffer as one opaque element: element i starts at byte i."""
    return np.ndarray((len(buffer) - size + 1,), dtype=np.dtype(f"V{size}"), buffer=buffer, strides=(1,))
