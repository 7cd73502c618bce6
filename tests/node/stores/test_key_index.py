"""The index of keys: digests in batches as one by one, in the order that LMDB keeps, and the newest record of a key."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crypto.engine import Engine
from crypto.packed import Packed
from crypto.sm3 import sm3
from node.stores.environment import Environment
from node.stores.key_index import DIGEST_SIZE, key_digest, key_digests, newest_below, sorted_entries

SECRET = bytes(range(32))
# Few digests, at both ends of what there is and beside one another, so that neighbours meet.
digests = st.sampled_from([bytes(16), b"\0" * 15 + b"\1", b"a" * 16, b"a" * 15 + b"b", b"\xff" * 16])


def defined(secret: bytes, key: bytes) -> bytes:
    """HMAC (RFC 2104) with SM3, written out."""
    block = secret.ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return sm3(outer + sm3(inner + key))[:16]


@given(st.binary(min_size=1, max_size=64), st.lists(st.binary(max_size=200), max_size=20))
@example(SECRET, [b"", b"", "键".encode()])
def test_keys_have_the_same_digests_in_a_batch_and_one_by_one(engine: Engine, secret: bytes, keys: list[bytes]) -> None:
    if keys:
        assert key_digests(engine, secret, Packed.of(keys)) == b"".join(key_digest(secret, key) for key in keys)
    for key in keys:
        assert key_digest(secret, key) == defined(secret, key)


def test_a_digest_needs_the_secret_and_tells_nothing_of_its_key() -> None:
    assert key_digest(SECRET, b"370702001001") != key_digest(SECRET[::-1], b"370702001001")
    assert key_digest(SECRET, b"370702001001") != sm3(b"370702001001")[:DIGEST_SIZE]
    assert "sm3" not in hashlib.algorithms_available or (
        key_digest(SECRET, b"k") == hmac.new(SECRET, b"k", "sm3").digest()[:DIGEST_SIZE]
    )


@given(st.lists(digests | st.binary(min_size=16, max_size=16), max_size=40), st.integers(0, (1 << 64) - 100))
def test_entries_are_all_there_in_the_order_of_their_bytes(given_digests: list[bytes], first: int) -> None:
    entries = [entry for entry, value in sorted_entries(b"".join(given_digests), first) if value == b""]
    expected = [digest + (first + place).to_bytes(8, "big") for place, digest in enumerate(given_digests)]
    assert entries == sorted(expected)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(digests, max_size=30), st.lists(st.tuples(digests, st.integers(0, 40)), min_size=1, max_size=20))
def test_the_newest_record_of_a_key_below_a_size_is_found_whatever_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, published: list[bytes], asked: list[tuple[bytes, int]]
) -> None:
    path: Path = tmp_path_factory.mktemp("index")
    environment = Environment.create(path, "index", 1 << 22)
    database = environment.database("keys")
    half = len(published) // 2
    for start, some in ((0, published[:half]), (half, published[half:])):
        with environment.writing() as txn, txn.cursor(db=database) as cursor:
            cursor.putmulti(sorted_entries(b"".join(some), start))
    with environment.reading() as txn, txn.cursor(db=database) as cursor:
        for digest, size in asked:
            places = [place for place, other in enumerate(published[:size]) if other == digest]
            assert newest_below(cursor, digest, size) == (places[-1] if places else None)
    environment.close()
