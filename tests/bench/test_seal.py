"""Sealing and opening: SM4-GCM, the salted leaves and the whole tree, against the same by loops over pyca/cryptography."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from typing import TypeVar

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from crypto.engine import ENGINE_NAMES, Engine
from crypto.merkle import Frontier
from crypto.packed import Packed
from crypto.seal import NONCE_SIZE, SECRET_SIZE, Segment, open_segments, seal_segments
from node.model.batches import cut
from node.stores.staging import GROUP_SEGMENTS, SEGMENT_BYTES, SEGMENT_RECORDS
from tests.bench import raw_cryptography
from tests.bench.measure import Line, measure
from tests.bench.villages import village_records
from tests.crypto.engines_at_hand import engine_named

pytestmark = pytest.mark.bench

Item = TypeVar("Item")

RAW = "raw cryptography, in loops"
DATASET = bytes(range(32))
KILOBYTE, VILLAGES = "records of 1,024 bytes", "records of villages"


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, RAW])
@pytest.mark.parametrize("kind", [KILOBYTE, VILLAGES])
def test_seal(benchmark: BenchmarkFixture, contender: str, kind: str) -> None:
    segments = _segments(kind, contender)
    secrets, nonces = _keys(len(segments))
    if contender == RAW:
        work = partial(raw_cryptography.seal, DATASET, secrets, nonces, segments)
    else:
        work = partial(_seal, engine_named(contender), secrets, nonces, segments)
    line = Line("seal", f"seal, {kind}", _by(contender), contender == RAW)
    sealed = measure(benchmark, line, work, _units(segments), _rounds(contender))
    assert sealed == _seal(engine_named("openssl"), secrets, nonces, segments)


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, RAW])
@pytest.mark.parametrize("kind", [KILOBYTE, VILLAGES])
def test_open(benchmark: BenchmarkFixture, contender: str, kind: str) -> None:
    segments = _segments(kind, contender)
    secrets, nonces = _keys(len(segments))
    blobs, root = _seal(engine_named("openssl"), secrets, nonces, segments)
    if contender == RAW:
        work = partial(raw_cryptography.open_sealed, DATASET, secrets, blobs)
    else:
        work = partial(_open, engine_named(contender), secrets, blobs)
    line = Line("seal", f"open and check, {kind}", _by(contender), contender == RAW)
    assert measure(benchmark, line, work, _units(segments), _rounds(contender)) == root


def _seal(engine: Engine, secrets: bytes, nonces: bytes, segments: Sequence[Segment]) -> tuple[list[bytes], bytes]:
    """Blobs and root, a group of segments a call as a publication does it."""
    tree, blobs = Frontier(), []
    for at, group in _groups(segments):
        of_group = slice(at, at + len(group))
        sealed, leaves = seal_segments(engine, DATASET, *_part(secrets, nonces, of_group), group)
        tree.extend(engine, leaves)
        blobs += sealed
    return blobs, tree.root()


def _open(engine: Engine, secrets: bytes, blobs: Sequence[bytes]) -> bytes:
    tree = Frontier()
    for at, group in _groups(blobs):
        _, leaves = open_segments(engine, DATASET, _part(secrets, b"", slice(at, at + len(group)))[0], group)
        tree.extend(engine, leaves)
    return tree.root()


def _groups(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    for at in range(0, len(items), GROUP_SEGMENTS):
        yield at, items[at : at + GROUP_SEGMENTS]


def _part(secrets: bytes, nonces: bytes, which: slice) -> tuple[bytes, bytes]:
    return (
        secrets[SECRET_SIZE * which.start : SECRET_SIZE * which.stop],
        nonces[NONCE_SIZE * which.start : NONCE_SIZE * which.stop],
    )


def _keys(count: int) -> tuple[bytes, bytes]:
    source = np.random.default_rng(seed=2)
    return source.bytes(SECRET_SIZE * count), source.bytes(NONCE_SIZE * count)


@cache
def _records(kind: str) -> Packed:
    if kind == VILLAGES:
        records = village_records(GROUP_SEGMENTS * SEGMENT_RECORDS)
        return records.slice(0, GROUP_SEGMENTS * SEGMENT_RECORDS)
    return Packed.fixed(np.random.default_rng(seed=3).bytes(1_024 * 16_384), 1_024)


def _segments(kind: str, contender: str) -> list[Segment]:
    """All of them, or a few records for who is slow."""
    records = _records(kind)
    if contender == "gmssl":
        records = records.slice(0, 8)
    first, segments = 0, []
    for segment in cut(records, SEGMENT_RECORDS, SEGMENT_BYTES):
        segments.append((first, segment))
        first += len(segment)
    return segments


def _units(segments: Sequence[Segment]) -> dict[str, int]:
    return {
        "records": sum(len(records) for _, records in segments),
        "bytes": sum(len(records.data) for _, records in segments),
    }


def _by(contender: str) -> str:
    return f"engine {contender}" if contender in ENGINE_NAMES else contender


def _rounds(contender: str) -> int:
    return 15 if contender == "multibuffer" else 5
