"""Sealed segments: round trips, refusals, random access, and answers computed by other means."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import numpy as np
import pytest
from gmssl.sm4 import SM4_ENCRYPT, CryptSM4
from hypothesis import given
from hypothesis import strategies as st

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from crypto.seal import (
    MAX_PLAINTEXT,
    MAX_RECORDS,
    Segment,
    open_record,
    open_segments,
    seal_segments,
    segment_header,
)
from tests.crypto.engines_at_hand import ENGINE_NAMES, engine_named, fastest_engine

DATASET = bytes(range(32))
# Computed once with `oracle_seal` below.
PINNED_BLOB = (
    "010000000000000000000000017e47af158e9db54fc5e49029d5704489dd839c658316648968c34782dc908f794b0aa769214abf417ae09574"
)
PINNED_LEAF = "ff0dbd6d6622dc2cf6ea3d9095717661adaf5085dd1232cb59fa65161d1a6095"


def secrets_for(count: int) -> bytes:
    return b"".join(hashlib.sha256(b"secret %d" % i).digest() for i in range(count))


def nonces_for(count: int) -> bytes:
    return b"".join(hashlib.sha256(b"nonce %d" % i).digest()[:12] for i in range(count))


def sealed(engine: Engine, *segments: tuple[int, list[bytes]]) -> tuple[list[bytes], bytes]:
    batch: list[Segment] = [(first, Packed.of(records)) for first, records in segments]
    return seal_segments(engine, DATASET, secrets_for(len(batch)), nonces_for(len(batch)), batch)


# An oracle that shares nothing with the engines or with the module but the standard's text.


def oracle_block(key: bytes, block: bytes) -> bytes:
    cipher = CryptSM4()
    cipher.set_key(key, SM4_ENCRYPT)
    return bytes(cipher.crypt_ecb(block))[:16]


def oracle_multiply(x: int, y: int) -> int:
    """Multiplication in GF(2^128) as SP 800-38D, section 6.3."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def oracle_gcm(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """SP 800-38D, section 7.1, over gmssl's SM4."""
    hash_key = int.from_bytes(oracle_block(key, bytes(16)), "big")
    ciphertext = b""
    for number, start in enumerate(range(0, len(plaintext), 16)):
        stream = oracle_block(key, nonce + struct.pack(">I", number + 2))
        ciphertext += bytes(a ^ b for a, b in zip(plaintext[start : start + 16], stream, strict=False))
    padded = b"".join(part + bytes(-len(part) % 16) for part in (aad, ciphertext))
    padded += struct.pack(">QQ", 8 * len(aad), 8 * len(ciphertext))
    state = 0
    for start in range(0, len(padded), 16):
        state = oracle_multiply(state ^ int.from_bytes(padded[start : start + 16], "big"), hash_key)
    mask = oracle_block(key, nonce + struct.pack(">I", 1))
    return ciphertext + bytes(a ^ b for a, b in zip(state.to_bytes(16, "big"), mask, strict=True))


def oracle_seal(secret: bytes, nonce: bytes, first: int, records: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    bounds = [sum(map(len, records[:i])) for i in range(len(records) + 1)]
    plaintext = struct.pack(f"<{len(bounds)}I", *bounds) + b"".join(records)
    header = b"\x01" + struct.pack(">QI", first, len(records)) + nonce
    leaves = []
    for index, record in enumerate(records, start=first):
        salt = oracle_block(secret[16:], index.to_bytes(16, "big"))
        leaves.append(hashlib.new("sm3", b"\x00" + salt + record).digest())
    return header + oracle_gcm(secret[:16], nonce, header + DATASET, plaintext), leaves


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_a_small_batch_is_byte_for_byte_what_the_oracle_computes(name: str) -> None:
    engine = engine_named(name)
    batch = [(7, [b"alpha", b"", b"a record of some length"]), (2**64 - 2, [b"x", b"yz"])]
    blobs, leaves = sealed(engine, *batch)
    expected_leaves = b""
    for position, (first, records) in enumerate(batch):
        secret, nonce = secrets_for(2)[32 * position :][:32], nonces_for(2)[12 * position :][:12]
        blob, expected = oracle_seal(secret, nonce, first, records)
        assert blobs[position] == blob
        expected_leaves += b"".join(expected)
    assert leaves == expected_leaves


def test_format_1_is_pinned() -> None:
    """The blob and the leaf of a first record, as a second implementation would have to give them."""
    blobs, leaves = sealed(fastest_engine(), (0, [b"kiteline"]))
    assert blobs[0].hex() == PINNED_BLOB
    assert leaves.hex() == PINNED_LEAF


# Round trips.


@given(
    st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=12), min_size=1, max_size=5), st.integers(0, 2**63)
)
def test_what_is_sealed_opens_to_the_same_records_and_leaves(batch: list[list[bytes]], first: int) -> None:
    engine = fastest_engine()
    blobs, leaves = sealed(engine, *((first + 100 * i, records) for i, records in enumerate(batch)))
    opened, again = open_segments(engine, DATASET, secrets_for(len(batch)), blobs)
    assert [list(records) for records in opened] == batch
    assert again == leaves
    assert len(leaves) == 32 * sum(map(len, batch))
    for i, (blob, records) in enumerate(zip(blobs, batch, strict=True)):
        header = segment_header(blob)
        assert (header.first_index, header.count) == (first + 100 * i, len(records))
        assert header.nonce == nonces_for(len(batch))[12 * i : 12 * i + 12]


@pytest.mark.parametrize("name", ENGINE_NAMES)
def test_one_record_read_at_random_equals_the_whole_opening(name: str) -> None:
    engine = engine_named(name)
    count = 5 if engine.name == "gmssl" else 41
    records = [bytes([i]) * (i * 7 % 50) for i in range(count)]
    (blob,), leaves = sealed(engine, (1000, records))
    for i, record in enumerate(records):
        got, salt, leaf = open_record(engine, secrets_for(1), blob, 1000 + i)
        assert got == record
        assert leaf == leaves[32 * i : 32 * i + 32]
        assert leaf == hashlib.new("sm3", b"\x00" + salt + record).digest()


def spread(size: int, count: int) -> Packed:
    """`count` records of nearly equal length, `size` bytes together."""
    return Packed(bytes(size), np.linspace(0, size, count + 1).astype(np.uint64))


def test_the_largest_segment_is_sealed_opened_and_read_at_its_end() -> None:
    engine = fastest_engine()
    records = spread(MAX_PLAINTEXT - 4 * (MAX_RECORDS + 1), MAX_RECORDS)
    (blob,), leaves = seal_segments(engine, DATASET, secrets_for(1), nonces_for(1), [(0, records)])
    (opened,), again = open_segments(engine, DATASET, secrets_for(1), [blob])
    assert opened.data == records.data
    assert (opened.offsets == records.offsets).all()
    assert again == leaves
    record, _, leaf = open_record(engine, secrets_for(1), blob, MAX_RECORDS - 1)
    assert record == records[MAX_RECORDS - 1]
    assert leaf == leaves[-32:]


def test_an_empty_batch_is_an_empty_answer() -> None:
    engine = fastest_engine()
    assert seal_segments(engine, DATASET, b"", b"", []) == ([], b"")
    assert open_segments(engine, DATASET, b"", []) == ([], b"")


# Refusals.


@pytest.mark.parametrize("position", [0, 2])
@pytest.mark.parametrize(
    ("first", "records"),
    [
        (0, Packed.of([])),
        (0, spread(0, MAX_RECORDS + 1)),
        (0, spread(MAX_PLAINTEXT - 7, 1)),
        (-1, Packed.of([b"a"])),
        (2**64 - 1, Packed.of([b"a", b"b"])),
    ],
    ids=["none", "too many", "too large", "negative", "past the last index"],
)
def test_a_segment_out_of_its_limits_is_refused_by_its_position(position: int, first: int, records: Packed) -> None:
    batch: list[Segment] = [(i, Packed.of([b"good"])) for i in range(3)]
    batch[position] = (first, records)
    with pytest.raises(EncodingInvalid) as caught:
        seal_segments(fastest_engine(), DATASET, secrets_for(3), nonces_for(3), batch)
    assert caught.value.details["segment"] == str(position)


def test_every_changed_byte_of_a_blob_is_refused() -> None:
    engine = fastest_engine()
    (blob,), _ = sealed(engine, (3, [b"one", b"", b"three"]))
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1 << at % 8]) + blob[at + 1 :]
        with pytest.raises((DecryptionFailed, EncodingInvalid)):
            open_segments(engine, DATASET, secrets_for(1), [changed])


def test_every_truncation_and_extension_of_a_blob_is_refused() -> None:
    engine = fastest_engine()
    (blob,), _ = sealed(engine, (3, [b"one", b"", b"three"]))
    for changed in (*(blob[:size] for size in range(len(blob))), blob + b"\x00"):
        with pytest.raises((DecryptionFailed, EncodingInvalid)):
            open_segments(engine, DATASET, secrets_for(1), [changed])


@pytest.mark.parametrize("position", [0, 1, 3])
def test_the_one_forged_segment_of_a_batch_is_named(position: int) -> None:
    engine = fastest_engine()
    blobs, _ = sealed(engine, *((i, [b"record"]) for i in range(4)))
    blobs[position] = blobs[position][:-1] + bytes([blobs[position][-1] ^ 1])
    with pytest.raises(DecryptionFailed) as caught:
        open_segments(engine, DATASET, secrets_for(4), blobs)
    assert caught.value.details["segment"] == str(position)


def test_a_segment_does_not_open_in_another_dataset_or_under_another_secret() -> None:
    engine = fastest_engine()
    (blob,), _ = sealed(engine, (0, [b"record"]))
    with pytest.raises(DecryptionFailed):
        open_segments(engine, bytes(32), secrets_for(1), [blob])
    with pytest.raises(DecryptionFailed):
        open_segments(engine, DATASET, secrets_for(2)[32:], [blob])


@pytest.mark.parametrize(
    ("count", "plaintext"),
    [
        (2, struct.pack("<3I", 1, 2, 3) + b"abc"),
        (2, struct.pack("<3I", 0, 4, 3) + b"abc"),
        (2, struct.pack("<3I", 0, 2, 2) + b"abc"),
        (2, struct.pack("<3I", 0, 2, 4) + b"abc"),
        (2, struct.pack("<3I", 0, 2**32 - 1, 3) + b"abc"),
    ],
    ids=["starts late", "falls", "ends early", "ends late", "leaps"],
)
def test_an_authentic_segment_with_offsets_that_no_writer_writes_is_refused(count: int, plaintext: bytes) -> None:
    engine = fastest_engine()
    good = sealed(engine, (0, [b"good"]))[0][0]
    secrets, nonces = secrets_for(2), nonces_for(2)
    header = b"\x01" + struct.pack(">QI", 5, count) + nonces[12:]
    body = engine.sm4_gcm_seal_many(
        secrets[32:48], nonces[12:], Packed.of([header + DATASET]), Packed.of([plaintext])
    ).data
    with pytest.raises(EncodingInvalid) as caught:
        open_segments(engine, DATASET, secrets, [good, header + body])
    assert caught.value.details["segment"] == "1"


@pytest.mark.parametrize(
    "header",
    [
        b"\x00" + struct.pack(">QI", 0, 1),
        b"\x02" + struct.pack(">QI", 0, 1),
        b"\x01" + struct.pack(">QI", 0, 0),
        b"\x01" + struct.pack(">QI", 0, 65_537),
        b"\x01" + struct.pack(">QI", 2**64 - 1, 2),
        b"\x01" + struct.pack(">QI", 0, 100),
    ],
    ids=["version 0", "version 2", "no records", "too many", "past the last index", "no room for the offsets"],
)
def test_a_header_out_of_its_limits_is_refused_before_any_decryption(header: bytes) -> None:
    blob = header + bytes(12) + bytes(400)
    if struct.unpack(">I", header[9:])[0] > 65_536:
        blob += bytes(4 * 65_538)
    with pytest.raises(EncodingInvalid):
        segment_header(blob)


def test_a_blob_larger_than_a_segment_may_be_is_refused() -> None:
    with pytest.raises(EncodingInvalid):
        segment_header(b"\x01" + struct.pack(">QI", 0, 1) + bytes(12) + bytes(MAX_PLAINTEXT + 17))


def test_a_forged_record_changes_its_leaf_or_is_refused() -> None:
    """Reading at random does not authenticate; the leaf, or the bounds of the offsets, catch every change."""
    engine = fastest_engine()
    records = [b"first", b"second", b"third"]
    (blob,), leaves = sealed(engine, (0, records))
    body = range(25, len(blob) - 16)
    for at in body:
        changed = blob[:at] + bytes([blob[at] ^ 0x41]) + blob[at + 1 :]
        for i, record in enumerate(records):
            try:
                got, _, leaf = open_record(engine, secrets_for(1), changed, i)
            except DecryptionFailed:
                continue
            assert (leaf == leaves[32 * i : 32 * i + 32]) == (got == record)


@pytest.mark.parametrize("index", [-1, 0, 9, 12, 2**64])
def test_a_record_outside_its_segment_is_refused(index: int) -> None:
    engine = fastest_engine()
    (blob,), _ = sealed(engine, (10, [b"a", b"b"]))
    with pytest.raises(EncodingInvalid):
        open_record(engine, secrets_for(1), blob, index)


def test_arguments_of_the_wrong_size_are_refused() -> None:
    engine = fastest_engine()
    one: list[Segment] = [(0, Packed.of([b"a"]))]
    (blob,), _ = sealed(engine, (0, [b"a"]))
    for dataset, secrets, nonces in [
        (bytes(31), bytes(32), bytes(12)),
        (DATASET, bytes(31), bytes(12)),
        (DATASET, bytes(64), bytes(12)),
        (DATASET, bytes(32), bytes(13)),
    ]:
        with pytest.raises(EncodingInvalid):
            seal_segments(engine, dataset, secrets, nonces, one)
    for dataset, secrets in [(bytes(33), bytes(32)), (DATASET, bytes(33))]:
        with pytest.raises(EncodingInvalid):
            open_segments(engine, dataset, secrets, [blob])
    with pytest.raises(EncodingInvalid):
        open_record(engine, bytes(16), blob, 0)
