"""A packed batch seen as an Arrow array of strings, and back, so that a batch is searched and joined by Arrow's vectorised
functions without a Python object per record.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crypto.packed import Packed


def to_strings(items: Packed) -> pa.LargeStringArray:
    """The items as an array that shares their memory. Whether they are UTF-8 is not looked at: see `validate`."""
    offsets = np.ascontiguousarray(items.offsets).view(np.int64)
    return pa.LargeStringArray.from_buffers(len(items), pa.py_buffer(offsets), pa.py_buffer(items.data))


def from_strings(strings: pa.StringArray | pa.LargeStringArray) -> Packed:
    """The bytes of an array of strings without nulls."""
    width = np.int64 if pa.types.is_large_string(strings.type) else np.int32
    _, offset_buffer, data = strings.buffers()
    if not len(strings):
        return Packed(b"", np.zeros(1, dtype=np.uint64))
    offsets = np.frombuffer(offset_buffer, dtype=width)[strings.offset : strings.offset + len(strings) + 1]
    low, high = int(offsets[0]), int(offsets[-1])
    held = memoryview(data)[low:high].tobytes() if data is not None else b""
    return Packed(held, (offsets - low).astype(np.uint64))
