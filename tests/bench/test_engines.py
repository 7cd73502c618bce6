"""The engines one by one, against raw pyca/cryptography (which has no SM2) and raw gmssl (which has no GCM).

Whoever is slow gets less to do: what is compared is work a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from crypto.engine import ENGINE_NAMES
from crypto.packed import Packed
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from tests.bench import raw_cryptography
from tests.bench.measure import Line, measure
from tests.bench.raw_gmssl import RawSM2, sm3_many, sm4_cbc
from tests.crypto.engines_at_hand import engine_named

pytestmark = pytest.mark.bench

CRYPTOGRAPHY, GMSSL = "raw cryptography", "raw gmssl"
SLOW = {"gmssl", GMSSL}
# The key of an example in GB/T 32918.2: everybody knows it.
KEY = SM2PrivateKey(0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8)
SESSION_KEY = b"sixteen byte key"
AAD = b"context"


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, CRYPTOGRAPHY, GMSSL])
@pytest.mark.parametrize(("size", "many"), [(64, 16_384), (1_024, 4_096)])
def test_sm3(benchmark: BenchmarkFixture, contender: str, size: int, many: int) -> None:
    count = 64 if contender in SLOW else many
    messages = Packed.fixed(_bytes(size * count), size)
    items = list(messages)
    work: Callable[[], bytes]
    if contender == CRYPTOGRAPHY:
        work = partial(raw_cryptography.sm3_many, items)
    elif contender == GMSSL:
        work = partial(sm3_many, items)
    else:
        work = partial(engine_named(contender).sm3_many, messages)
    line = _line(f"SM3, messages of {size:,} bytes", contender, CRYPTOGRAPHY)
    digests = measure(benchmark, line, work, {"operations": count, "bytes": size * count}, _rounds(contender))
    assert digests == b"".join(map(sm3, items))


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, CRYPTOGRAPHY])
@pytest.mark.parametrize("way", ["seal", "open"])
@pytest.mark.parametrize(("size", "many"), [(1_024, 2_048), (16_384, 256)])
def test_sm4_gcm(benchmark: BenchmarkFixture, contender: str, way: str, size: int, many: int) -> None:
    count = max(1, 4_096 // size) if contender in SLOW else many
    keys, nonces, aads = _bytes(16 * count), _bytes(12 * count), Packed.of([AAD] * count)
    plaintexts = Packed.fixed(_bytes(size * count), size)
    sealed = engine_named("openssl").sm4_gcm_seal_many(keys, nonces, aads, plaintexts)
    given, expected = (plaintexts, sealed) if way == "seal" else (sealed, plaintexts)
    line = _line(f"SM4-GCM {way}, messages of {size:,} bytes", contender, CRYPTOGRAPHY)
    units, rounds = {"operations": count, "bytes": size * count}, _rounds(contender)
    if contender == CRYPTOGRAPHY:
        call = raw_cryptography.gcm_seal if way == "seal" else raw_cryptography.gcm_open
        parts = list(zip(Packed.fixed(keys, 16), Packed.fixed(nonces, 12), aads, given, strict=True))
        result = measure(benchmark, line, partial(_each, call, parts), units, rounds)
    else:
        engine = engine_named(contender)
        many_at_once = engine.sm4_gcm_seal_many if way == "seal" else engine.sm4_gcm_open_many
        result = list(measure(benchmark, line, partial(many_at_once, keys, nonces, aads, given), units, rounds))
    assert result == list(expected)


def test_sm4_cbc_of_gmssl(benchmark: BenchmarkFixture) -> None:
    """Gmssl has no GCM; this stands beside it."""
    plaintext = _bytes(1_024)
    line = Line("engines", "SM4-GCM seal, messages of 1,024 bytes", "raw gmssl, SM4-CBC alone")
    work = partial(sm4_cbc, SESSION_KEY, plaintext)
    assert len(measure(benchmark, line, work, {"operations": 1, "bytes": len(plaintext)})) == len(plaintext) + 16


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, GMSSL])
@pytest.mark.parametrize("batch", [1, 1_024])
def test_sm2_sign(benchmark: BenchmarkFixture, contender: str, batch: int) -> None:
    messages = _messages(contender, batch)
    line, units = _line(_task("sign", batch), contender, GMSSL), {"operations": len(messages)}
    if contender == GMSSL:
        raw = RawSM2(KEY)
        work = partial(raw.sign_many, messages)
        raw.verify_many(messages, measure(benchmark, line, work, units, _rounds(contender)))
    else:
        engine = engine_named(contender)
        signatures = measure(benchmark, line, partial(engine.sm2_sign_many, KEY, messages), units, _rounds(contender))
        engine_named("openssl").sm2_verify_many([KEY.public_key] * len(messages), messages, signatures)


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, GMSSL])
@pytest.mark.parametrize("batch", [1, 1_024])
def test_sm2_verify(benchmark: BenchmarkFixture, contender: str, batch: int) -> None:
    """Either side raises where a signature does not hold."""
    messages = _messages(contender, batch)
    work: Callable[[], None]
    if contender == GMSSL:
        raw = RawSM2(KEY)
        work = partial(raw.verify_many, messages, raw.sign_many(messages))
    else:
        signatures = engine_named("openssl").sm2_sign_many(KEY, messages)
        keys = [KEY.public_key] * len(messages)
        work = partial(engine_named(contender).sm2_verify_many, keys, messages, signatures)
    line = _line(_task("verify", batch), contender, GMSSL)
    measure(benchmark, line, work, {"operations": len(messages)}, _rounds(contender))


@pytest.mark.parametrize("contender", [*ENGINE_NAMES, GMSSL])
@pytest.mark.parametrize("way", ["encrypt", "decrypt"])
def test_sm2_encryption_of_a_key(benchmark: BenchmarkFixture, contender: str, way: str) -> None:
    if contender == GMSSL:
        raw = RawSM2(KEY)
        encrypt, decrypt = partial(raw.encrypt, SESSION_KEY), raw.decrypt
    else:
        engine = engine_named(contender)
        encrypt, decrypt = partial(engine.sm2_encrypt, KEY.public_key, SESSION_KEY), partial(engine.sm2_decrypt, KEY)
    line = _line(f"SM2 {way}, a key of {len(SESSION_KEY)} bytes", contender, GMSSL)
    work = encrypt if way == "encrypt" else partial(decrypt, encrypt())
    result = measure(benchmark, line, work, {"operations": 1}, rounds=50)
    assert (decrypt(result) if way == "encrypt" else result) == SESSION_KEY


def _bytes(size: int) -> bytes:
    return np.random.default_rng(seed=1).bytes(size)


def _messages(contender: str, batch: int) -> list[bytes]:
    count = min(batch, 4) if contender in SLOW else batch
    return list(Packed.fixed(_bytes(256 * count), 256))


def _each(call: Callable[..., bytes], arguments: Sequence[tuple[bytes, ...]]) -> list[bytes]:
    return [call(*one) for one in arguments]


def _line(task: str, contender: str, baseline: str) -> Line:
    by = f"engine {contender}" if contender in ENGINE_NAMES else contender
    return Line("engines", task, by, contender == baseline)


def _task(way: str, batch: int) -> str:
    return f"SM2 {way}, one a call" if batch == 1 else f"SM2 {way}, in batches"


def _rounds(contender: str) -> int:
    return 5 if contender in SLOW else 15
