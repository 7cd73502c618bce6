"""Sealed segments, format 1: records that are encrypted once, committed to by salted leaves, and read at random.

The secret of a segment is 32 random bytes: a data key (16) and a salt key (16). Record i, counted over the whole
dataset, has the salt SM4_saltkey(i as 16 bytes, big-endian) and the leaf SM3(0x00 ‖ salt ‖ record), so that a leaf
tells nothing about a guessable record, and whoever has the secret can recompute every salt.

    plaintext = (n + 1) offsets, u32 little-endian, the first 0 and the last the length of the records ‖ the records
    blob      = 0x01 ‖ index of the first record, u64 ‖ n, u32 ‖ nonce, 12 ‖ SM4-GCM ciphertext ‖ tag, 16
    AAD       = the 25 bytes of the blob before the ciphertext ‖ dataset id, 32

Integers of the header are big-endian. A secret seals one segment only; the nonce is therefore unique for its key
(NIST SP 800-38D, section 8), even if it were drawn badly. Whole batches go through the engine at once.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from crypto.engine import Engine
from crypto.errors import DecryptionFailed, EncodingInvalid
from crypto.packed import Packed
from crypto.scatter import prefix_each

SEGMENT_VERSION = 1
SECRET_SIZE = 32  # bytes: data key ‖ salt key
NONCE_SIZE = 12  # bytes
DATASET_ID_SIZE = 32  # bytes
MAX_RECORDS = 65_536  # records in a segment
MAX_PLAINTEXT = 16 * 1024 * 1024  # bytes of a segment, offsets included
MAX_INDEX = 2**64  # global indices are below

_HEADER = struct.Struct(">BQI12s")
_TAG_SIZE = 16  # bytes
_BLOCK = 16  # bytes of an SM4 block, and of a salt
_KEY_SIZE = 16  # bytes
_OFFSET_SIZE = 4  # bytes
_LEAF_PREFIX = 0x00
# GCM encrypts the first block of the plaintext with counter 2 (SP 800-38D, section 7.1, for nonces of 12 bytes).
_FIRST_COUNTER = 2

Segment = tuple[int, Packed]  # the global index of the first record, and the records


@dataclass(frozen=True)
class SegmentHeader:
    """The part of a blob that is readable without a key; authentic only once the segment has been opened."""

    first_index: int
    count: int
    nonce: bytes


def segment_header(blob: bytes) -> SegmentHeader:
    """Read and check the header of a blob, and that the blob has room for what it announces.

    Raises:
        EncodingInvalid: unknown version, truncated, or a number out of its limits.
    """
    if len(blob) < _HEADER.size:
        raise EncodingInvalid(f"a segment of {len(blob)} bytes is truncated")
    version, first_index, count, nonce = _HEADER.unpack_from(blob)
    if version != SEGMENT_VERSION:
        raise EncodingInvalid(f"segment version {version} is unknown")
    if not 1 <= count <= MAX_RECORDS or first_index + count > MAX_INDEX:
        raise EncodingInvalid(f"a segment cannot hold {count} records from {first_index} on")
    size = len(blob) - _HEADER.size - _TAG_SIZE
    if not _OFFSET_SIZE * (count + 1) <= size <= MAX_PLAINTEXT:
        raise EncodingInvalid(f"a segment of {count} records cannot have {size} bytes of ciphertext")
    return SegmentHeader(first_index, count, nonce)


def seal_segments(
    engine: Engine, dataset_id: bytes, secrets: bytes, nonces: bytes, segments: Sequence[Segment]
) -> tuple[list[bytes], bytes]:
    """Seal a batch of segments of one dataset.

    Args:
        engine: what computes.
        dataset_id: 32 bytes.
        secrets: n × 32 random bytes, fresh for each segment.
        nonces: n × 12 random bytes.
        segments: for each the global index of its first record and its records, 1 to 65,536.

    Returns:
        One blob for each segment, and the leaf hashes of all records in order, 32 bytes each.

    Raises:
        EncodingInvalid: an argument is out of its limits; `segment` in the details is the position of the bad one.
    """
    _check_sizes(dataset_id, secrets, len(segments))
    if len(nonces) != NONCE_SIZE * len(segments):
        raise EncodingInvalid(f"{len(segments)} segments need as many nonces of {NONCE_SIZE} bytes")
    if not segments:
        return [], b""
    headers = []
    parts: list[tuple[bytes, bytes]] = []
    for position, (first_index, records) in enumerate(segments):
        nonce = nonces[NONCE_SIZE * position : NONCE_SIZE * (position + 1)]
        headers.append(_write_header(position, first_index, records, nonce))
        parts.append((records.offsets.astype("<u4").tobytes(), records.data))
    sealed = engine.sm4_gcm_seal_many(
        _keys(secrets), nonces, Packed.of(header + dataset_id for header in headers), _packed_of_parts(parts)
    )
    blobs = [b"".join(pair) for pair in zip(headers, _views(sealed), strict=True)]
    return blobs, _leaves(engine, secrets, segments)


def open_segments(
    engine: Engine, dataset_id: bytes, secrets: bytes, blobs: Sequence[bytes]
) -> tuple[list[Packed], bytes]:
    """Open a batch of segments of one dataset: the inverse of `seal_segments`, which does not check any tree.

    Returns:
        The records of each segment, and the leaf hashes of all records in order, 32 bytes each.

    Raises:
        DecryptionFailed: a segment is not authentic under its secret and dataset; `segment` in the details says which.
        EncodingInvalid: a segment is not as the one writer writes it; `segment` in the details says which.
    """
    _check_sizes(dataset_id, secrets, len(blobs))
    if not blobs:
        return [], b""
    headers = []
    for position, blob in enumerate(blobs):
        try:
            headers.append(segment_header(blob))
        except EncodingInvalid as cause:
            raise EncodingInvalid(f"segment {position}: {cause}", segment=position) from cause
    try:
        opened = engine.sm4_gcm_open_many(
            _keys(secrets),
            b"".join(header.nonce for header in headers),
            Packed.of(blob[: _HEADER.size] + dataset_id for blob in blobs),
            _packed_of_parts([(memoryview(blob)[_HEADER.size :],) for blob in blobs]),
        )
    except DecryptionFailed as cause:
        wrong = cause.details["index"]
        raise DecryptionFailed(f"segment {wrong} does not open under its secret", segment=wrong) from cause
    segments = [
        (header.first_index, _read_plaintext(position, header.count, plaintext))
        for position, (header, plaintext) in enumerate(zip(headers, _views(opened), strict=True))
    ]
    return [records for _, records in segments], _leaves(engine, secrets, segments)


def open_record(engine: Engine, secret: bytes, blob: bytes, index: int) -> tuple[bytes, bytes, bytes]:
    """Decrypt the one record with the global `index`, touching nothing else of the segment.

    This does not authenticate: SM4-GCM's tag covers the whole segment, and here only a slice is decrypted. The caller
    MUST compare the leaf hash with the dataset's tree, and must not use the record before.

    Returns:
        The record, its salt (16 bytes) and its leaf hash (32 bytes).

    Raises:
        EncodingInvalid: the header is malformed, or the segment does not hold `index`.
        DecryptionFailed: the offsets make no sense, so that the secret or the ciphertext is wrong.
    """
    header = segment_header(blob)
    if len(secret) != SECRET_SIZE:
        raise EncodingInvalid(f"the secret of a segment has {SECRET_SIZE} bytes, not {len(secret)}")
    position = index - header.first_index
    if not 0 <= position < header.count:
        raise EncodingInvalid(f"record {index} is not in the segment of {header.count} from {header.first_index} on")
    table = _OFFSET_SIZE * (header.count + 1)
    size = len(blob) - _HEADER.size - _TAG_SIZE
    at = _OFFSET_SIZE * position
    start, stop = struct.unpack("<II", _decrypt_slice(engine, secret, header, blob, (at, at + 2 * _OFFSET_SIZE)))
    if not start <= stop <= size - table:
        raise DecryptionFailed("the segment does not open under this secret")
    record = _decrypt_slice(engine, secret, header, blob, (table + start, table + stop))
    salt = engine.sm4_encrypt_blocks(secret[_KEY_SIZE:], index.to_bytes(_BLOCK, "big"))
    leaf = engine.sm3_many(Packed.of([bytes([_LEAF_PREFIX]) + salt + record]))
    return record, salt, leaf


def _check_sizes(dataset_id: bytes, secrets: bytes, count: int) -> None:
    if len(dataset_id) != DATASET_ID_SIZE:
        raise EncodingInvalid(f"a dataset id has {DATASET_ID_SIZE} bytes, not {len(dataset_id)}")
    if len(secrets) != SECRET_SIZE * count:
        raise EncodingInvalid(f"{count} segments need as many secrets of {SECRET_SIZE} bytes")


def _keys(secrets: bytes) -> bytes:
    """The data keys of all secrets, end to end."""
    return np.frombuffer(secrets, dtype=np.uint8).reshape(-1, SECRET_SIZE)[:, :_KEY_SIZE].tobytes()


def _write_header(position: int, first_index: int, records: Packed, nonce: bytes) -> bytes:
    count = len(records)
    if not 1 <= count <= MAX_RECORDS:
        raise EncodingInvalid(f"segment {position}: 1 to {MAX_RECORDS} records, not {count}", segment=position)
    if not 0 <= first_index <= MAX_INDEX - count:
        raise EncodingInvalid(f"segment {position}: {first_index} is not an index", segment=position)
    size = _OFFSET_SIZE * (count + 1) + len(records.data)
    if size > MAX_PLAINTEXT:
        raise EncodingInvalid(f"segment {position}: {size} bytes, {MAX_PLAINTEXT} at most", segment=position)
    return _HEADER.pack(SEGMENT_VERSION, first_index, count, nonce)


def _read_plaintext(position: int, count: int, plaintext: memoryview) -> Packed:
    """The records of a plaintext; the header's check has made sure that the table of offsets fits."""
    table = _OFFSET_SIZE * (count + 1)
    offsets = np.frombuffer(plaintext, dtype="<u4", count=count + 1).astype(np.uint64)
    try:
        return Packed(bytes(plaintext[table:]), offsets)
    except EncodingInvalid as cause:
        raise EncodingInvalid(f"segment {position}: {cause}", segment=position) from cause


def _leaves(engine: Engine, secrets: bytes, segments: Sequence[Segment]) -> bytes:
    """The leaf hashes of all records of the batch, by one call for the salts of a segment and one for all leaves."""
    total = sum(len(records) for _, records in segments)
    prefixes: NDArray[np.uint8] = np.empty((total, 1 + _BLOCK), dtype=np.uint8)
    prefixes[:, 0] = _LEAF_PREFIX
    row = 0
    for position, (first_index, records) in enumerate(segments):
        salt_key = secrets[SECRET_SIZE * position + _KEY_SIZE : SECRET_SIZE * (position + 1)]
        indices = np.zeros((len(records), 2), dtype=">u8")
        indices[:, 1] = np.arange(len(records), dtype=np.uint64) + np.uint64(first_index)
        salts = engine.sm4_encrypt_blocks(salt_key, indices.tobytes())
        prefixes[row : row + len(records), 1:] = np.frombuffer(salts, dtype=np.uint8).reshape(-1, _BLOCK)
        row += len(records)
    return engine.sm3_many(prefix_each(prefixes, _joined([records for _, records in segments])))


def _joined(batches: Sequence[Packed]) -> Packed:
    """Several batches as one."""
    if len(batches) == 1:
        return batches[0]
    bases = np.cumsum([0, *(len(batch.data) for batch in batches)]).astype(np.uint64)
    offsets = [batch.offsets[:-1] + base for batch, base in zip(batches, bases[:-1], strict=True)]
    return Packed(b"".join(batch.data for batch in batches), np.concatenate([*offsets, bases[-1:]]))


def _packed_of_parts(items: Sequence[tuple[bytes | memoryview, ...]]) -> Packed:
    """Pack items that each come in parts, copying every byte once: segments are large."""
    offsets = np.cumsum([0, *(sum(map(len, parts)) for parts in items)]).astype(np.uint64)
    return Packed(b"".join(chain.from_iterable(items)), offsets)


def _views(items: Packed) -> list[memoryview]:
    """The items without copying them."""
    whole = memoryview(items.data)
    return [whole[start:stop] for start, stop in pairwise(items.offsets.tolist())]


def _decrypt_slice(engine: Engine, secret: bytes, header: SegmentHeader, blob: bytes, span: tuple[int, int]) -> bytes:
    """Bytes `span` of the plaintext, by counter mode over the blocks that they touch."""
    start, stop = span
    block = start // _BLOCK
    counter = header.nonce + (_FIRST_COUNTER + block).to_bytes(_BLOCK - NONCE_SIZE, "big")
    low = _HEADER.size + _BLOCK * block
    opened = engine.sm4_ctr(secret[:_KEY_SIZE], counter, blob[low : _HEADER.size + stop])
    return opened[start - _BLOCK * block :]
