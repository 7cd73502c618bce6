"""The multi-buffer engine reads nothing beyond a batch: behind it there may be no memory, and the process would end.

Each batch is laid so that it ends where a page without access begins, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.crypto.engines_at_hand import engine_named

GUARDED = """
import ctypes, mmap, random
import numpy as np
from crypto.engine import load_engine
from crypto.packed import Packed
from crypto.sm3 import sm3

engine, drawn, size = load_engine("multibuffer"), random.Random(5), 64 * mmap.PAGESIZE
memory = mmap.mmap(-1, size + mmap.PAGESIZE)
guard = ctypes.addressof((ctypes.c_char * len(memory)).from_buffer(memory)) + size
protect = ctypes.CDLL(None).mprotect
protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
assert protect(guard, mmap.PAGESIZE, 0) == 0

def at_the_end(items):
    data = b"".join(items)
    memory[size - len(data) : size] = data
    return Packed(memoryview(memory)[size - len(data) : size], Packed.of(items).offsets)

LENGTHS = [0, 1, 15, 16, 55, 56, 63, 64, 65, 127, 128, 250, 257, 1000]
for _ in range(400):
    count = drawn.randint(1, 40)
    items, others = ([drawn.randbytes(drawn.choice(LENGTHS)) for _ in range(count)] for _ in range(2))
    assert engine.sm3_many(at_the_end(items)) == b"".join(map(sm3, items))
    keys, nonces = drawn.randbytes(16 * count), drawn.randbytes(12 * count)
    sealed = engine.sm4_gcm_seal_many(keys, nonces, Packed.of(others), at_the_end(items))
    assert list(engine.sm4_gcm_open_many(keys, nonces, at_the_end(others), sealed)) == items
    assert list(engine.sm4_gcm_open_many(keys, nonces, Packed.of(others), at_the_end(list(sealed)))) == items
"""


def test_a_batch_may_end_where_memory_ends() -> None:
    engine_named("multibuffer")  # or the test is skipped
    command = [sys.executable, "-c", GUARDED]
    ended = subprocess.run(command, cwd=ROOT, timeout=120, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
