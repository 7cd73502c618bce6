"""The fast engine: Intel's Cryptography Primitives Library (multi-buffer), 8 SM2 operations or 16 SM3/SM4 streams a call.

The library runs on processors with AVX-512 IFMA only, and jumping into it elsewhere would end the process; so the processor's flags are read
before anything is loaded. It takes arrays of pointers; numpy builds them from the packed buffers' offsets, so a call costs no Python object
a message. Groups that are not full are padded by repeating their first member, whose results are then left out.

The caller of the library supplies the ephemeral number of each signature: drawn uniformly by rejection, used once, and wiped.
"""

from __future__ import annotations

import ctypes
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from ctypes import c_uint64, c_void_p
from hmac import compare_digest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crypto.der import decode_signature, encode_signature
from crypto.engines.openssl import (
    KEY_SIZE,
    NONCE_SIZE,
    TAG_SIZE,
    OpenSSLEngine,
    check_batch,
    check_signature_form,
    check_user_id,
)
from crypto.errors import DecryptionFailed, EngineUnavailable, SignatureInvalid
from crypto.packed import Packed
from crypto.sm2 import DEFAULT_USER_ID, SCALAR_SIZE, N, SM2PrivateKey, SM2PublicKey

SM2_LANES = 8
STREAM_LANES = 16
FLAGS = frozenset(
    {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512ifma", "avx512vbmi", "gfni", "vaes", "vpclmulqdq", "bmi2"}
)
# In the order in which they need each other; the library has no run path of its own.
_NEEDED = ("libimf.so", "libirng.so", "libintlc.so.5", "libsvml.so", "libcrypto.so.3")
_LIBRARY = "libcrypto_mb.so.13"
_CONTEXT_BYTES = 128 * 1024
_ALIGNMENT = 64
_SM3_BLOCK = 64  # bytes
_DIGEST_SIZE = 32
_LANE_BITS = 4  # of the status word, for each lane

_Pointers = NDArray[np.uint64]
_Lengths = NDArray[np.int32]


class MultibufferEngine:
    """See `crypto.engine.Engine`. Single operations that gain nothing from lanes go to OpenSSL."""

    name = "multibuffer"

    def __init__(self, random: Callable[[int], bytes]) -> None:
        _check_processor()
        self._library = _load()
        self._single = OpenSSLEngine()
        self.caution = self._single.caution  # single blocks, counter mode and decryption are its work
        self._random = random

    def sm3_many(self, messages: Packed) -> bytes:
        """See Engine."""
        count = len(messages)
        digests = np.empty((_padded(count, STREAM_LANES), _DIGEST_SIZE), dtype=np.uint8)
        pointers, lengths = _lanes(messages, STREAM_LANES)
        held = _with_room_behind(messages, pointers, lengths)  # noqa: F841 - as long as the addresses are used
        outputs = _rows(digests)
        # The arrays stay alive in this frame, so plain addresses do: an object for each costs more than the hashing of 16 short messages.
        message, length, output = pointers.ctypes.data, lengths.ctypes.data, outputs.ctypes.data
        groups = [
            range(first, first + count * size, STREAM_LANES * size)
            for first, size in ((message, pointers.itemsize), (length, lengths.itemsize), (output, outputs.itemsize))
        ]
        # A loop written out costs a tenth more. The first group that fails ends it.
        if any(map(self._library.mbx_sm3_msg_digest_mb16, *groups)):
            raise EngineUnavailable("the multi-buffer library could not compute SM3")
        return digests[:count].tobytes()

    def sm4_gcm_seal_many(self, keys: bytes, nonces: bytes, aads: Packed, plaintexts: Packed) -> Packed:
        """See Engine."""
        check_batch(keys, nonces, aads, plaintexts)
        lengths = np.diff(plaintexts.offsets.astype(np.int64))
        offsets = np.zeros(len(plaintexts) + 1, dtype=np.uint64)
        np.cumsum(lengths + TAG_SIZE, out=offsets[1:], dtype=np.uint64)
        out = np.empty(int(offsets[-1]), dtype=np.uint8)
        tags = self._gcm(keys, nonces, aads, plaintexts, (out, offsets), seal=True)
        # Tags go behind their ciphertexts.
        places = (offsets[1:].astype(np.int64) - TAG_SIZE)[:, None] + np.arange(TAG_SIZE)
        out[places] = tags
        return Packed(out.tobytes(), offsets)

    def sm4_gcm_open_many(self, keys: bytes, nonces: bytes, aads: Packed, ciphertexts: Packed) -> Packed:
        """See Engine."""
        check_batch(keys, nonces, aads, ciphertexts)
        bounds = ciphertexts.offsets.astype(np.int64)
        lengths = np.diff(bounds) - TAG_SIZE
        short = np.flatnonzero(lengths < 0)
        if len(short):
            # Whatever stands before the first that is too short may be wrong as well, and is then the first.
            first = int(short[0])
            before = aads.slice(0, first), ciphertexts.slice(0, first)
            self.sm4_gcm_open_many(keys[: first * KEY_SIZE], nonces[: first * NONCE_SIZE], *before)
            raise DecryptionFailed("a ciphertext is not authentic under its key", index=first)
        data = np.frombuffer(ciphertexts.data, dtype=np.uint8)
        held = (
            data[(bounds[1:] - TAG_SIZE)[:, None] + np.arange(TAG_SIZE)] if len(lengths) else data.reshape(0, TAG_SIZE)
        )
        offsets = np.zeros(len(ciphertexts) + 1, dtype=np.uint64)
        np.cumsum(lengths, out=offsets[1:], dtype=np.uint64)
        out = np.empty(int(offsets[-1]), dtype=np.uint8)
        tags = self._gcm(keys, nonces, aads, ciphertexts, (out, offsets), seal=False)
        for index in range(len(ciphertexts)):
            if not compare_digest(tags[index].tobytes(), held[index].tobytes()):
                out[:] = 0  # nothing of what did not verify leaves this function
                raise DecryptionFailed("a ciphertext is not authentic under its key", index=index)
        return Packed(out.tobytes(), offsets)

    def sm4_encrypt_blocks(self, key: bytes, blocks: bytes) -> bytes:
        """See Engine. One key and one stream: OpenSSL."""
        return self._single.sm4_encrypt_blocks(key, blocks)

    def sm4_ctr(self, key: bytes, counter: bytes, data: bytes) -> bytes:
        """See Engine."""
        return self._single.sm4_ctr(key, counter, data)

    def sm2_sign_many(
        self, key: SM2PrivateKey, messages: Sequence[bytes], user_id: bytes = DEFAULT_USER_ID
    ) -> list[bytes]:
        """See Engine."""
        check_user_id(user_id)
        signatures: dict[int, bytes] = {}
        for group in _alike(messages):
            signed = self._sign_group(key, [messages[index] for index in group], user_id)
            signatures.update(zip(group, signed, strict=True))
        return [signatures[index] for index in range(len(messages))]

    def sm2_verify_many(
        self,
        keys: Sequence[SM2PublicKey],
        messages: Sequence[bytes],
        signatures: Sequence[bytes],
        user_id: bytes = DEFAULT_USER_ID,
    ) -> None:
        """See Engine."""
        check_user_id(user_id)
        claims = list(zip(keys, messages, signatures, strict=True))
        malformed: SignatureInvalid | None = None
        for index, (_, _, signature) in enumerate(claims):
            try:
                check_signature_form(signature, index)
            except SignatureInvalid as refusal:
                malformed, claims = refusal, claims[:index]
                break
        # Whatever stands before the first malformed signature may be wrong as well, and is then the first.
        wrong: list[int] = []
        for group in _alike([message for _, message, _ in claims]):
            wrong += [group[lane] for lane in self._wrong_lanes([claims[index] for index in group], user_id)]
        if wrong:
            raise SignatureInvalid("the SM2 signature does not verify", index=min(wrong))
        if malformed is not None:
            raise malformed

    def sm2_encrypt(self, key: SM2PublicKey, plaintext: bytes) -> bytes:
        """See Engine."""
        return self._single.sm2_encrypt(key, plaintext)

    def sm2_decrypt(self, key: SM2PrivateKey, ciphertext: bytes) -> bytes:
        """See Engine."""
        return self._single.sm2_decrypt(key, ciphertext)

    def _sign_group(self, key: SM2PrivateKey, messages: Sequence[bytes], user_id: bytes) -> list[bytes]:
        count = len(messages)
        texts, text_lengths = _texts([*messages, *[messages[0]] * (SM2_LANES - count)])
        names, name_lengths = _texts([user_id] * SM2_LANES)
        r, s = np.zeros((2, SM2_LANES, SCALAR_SIZE), dtype=np.uint8)
        # Limbs are little-endian in the library, so scalars go in reversed.
        ephemeral = np.frombuffer(b"".join(self._ephemeral() for _ in range(SM2_LANES)), dtype=np.uint8).copy()
        secret = np.frombuffer(key.secret_bytes()[::-1] * SM2_LANES, dtype=np.uint8).copy()
        x, y = _coordinates([key.public_key] * SM2_LANES)
        try:
            status = self._library.mbx_sm2_ecdsa_sign_mb8(
                *(_address(_rows(part)) for part in (r, s)),
                *(names.addresses, _address(name_lengths), texts.addresses, _address(text_lengths)),
                *(_address(_rows(part.reshape(SM2_LANES, SCALAR_SIZE))) for part in (ephemeral, secret, x, y)),
                None,
                None,
            )
        finally:
            ephemeral[:] = 0
            secret[:] = 0
        if status:
            raise EngineUnavailable("the multi-buffer library could not sign with SM2")
        numbers = [
            (int.from_bytes(r[lane].tobytes(), "big"), int.from_bytes(s[lane].tobytes(), "big"))
            for lane in range(count)
        ]
        return [encode_signature(*pair) for pair in numbers]

    def _wrong_lanes(self, claims: Sequence[tuple[SM2PublicKey, bytes, bytes]], user_id: bytes) -> list[int]:
        """Which of up to 8 claims do not hold."""
        count = len(claims)
        lanes = [*claims, *[claims[0]] * (SM2_LANES - count)]
        texts, text_lengths = _texts([message for _, message, _ in lanes])
        names, name_lengths = _texts([user_id] * SM2_LANES)
        pairs = [decode_signature(signature) for _, _, signature in lanes]
        r, s = (
            np.frombuffer(b"".join(pair[part].to_bytes(SCALAR_SIZE, "big") for pair in pairs), dtype=np.uint8)
            .reshape(SM2_LANES, SCALAR_SIZE)
            .copy()
            for part in (0, 1)
        )
        x, y = _coordinates([key for key, _, _ in lanes])
        status = self._library.mbx_sm2_ecdsa_verify_mb8(
            *(_address(_rows(part)) for part in (r, s)),
            *(names.addresses, _address(name_lengths), texts.addresses, _address(text_lengths)),
            *(_address(_rows(part)) for part in (x, y)),
            None,
            None,
        )
        return [lane for lane in range(count) if status >> _LANE_BITS * lane & (1 << _LANE_BITS) - 1]

    def _ephemeral(self) -> bytes:
        """Uniform in [1, n - 1] by rejection, 32 bytes little-endian."""
        while True:
            drawn = self._random(SCALAR_SIZE)
            if 1 <= int.from_bytes(drawn, "little") < N:
                return drawn

    def _gcm(  # noqa: PLR0913 - the parts of a batch, and where it goes
        self,
        keys: bytes,
        nonces: bytes,
        aads: Packed,
        texts: Packed,
        output: tuple[NDArray[np.uint8], NDArray[np.uint64]],
        *,
        seal: bool,
    ) -> NDArray[np.uint8]:
        """Run every message; gives the tags, n × 16. `output`: bytes, and where each message begins there."""
        library, count = self._library, len(texts)
        work = library.mbx_sm4_gcm_encrypt_mb16 if seal else library.mbx_sm4_gcm_decrypt_mb16
        out, offsets = output
        in_pointers, in_lengths = _lanes(texts, STREAM_LANES)
        if not seal:
            in_lengths = np.maximum(in_lengths - TAG_SIZE, 0).astype(np.int32)
        aad_pointers, aad_lengths = _lanes(aads, STREAM_LANES)
        key_pointers, _ = _lanes(Packed.fixed(keys, KEY_SIZE), STREAM_LANES)
        nonce_pointers, nonce_lengths = _lanes(Packed.fixed(nonces, NONCE_SIZE), STREAM_LANES)
        # Padding lanes write into memory of their own, large enough for the longest.
        spare = np.empty(int(in_lengths.max(initial=0)) + TAG_SIZE, dtype=np.uint8)
        out_pointers = np.full(_padded(count, STREAM_LANES), spare.ctypes.data, dtype=np.uint64)
        out_pointers[:count] = offsets[:count] + np.uint64(out.ctypes.data if len(out) else spare.ctypes.data)
        tags = np.empty((_padded(count, STREAM_LANES), TAG_SIZE), dtype=np.uint8)
        tag_pointers, tag_lengths = _rows(tags), np.full(STREAM_LANES, TAG_SIZE, dtype=np.int32)
        held = np.zeros(_CONTEXT_BYTES + _ALIGNMENT, dtype=np.uint8)
        context = -(-held.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        for at in range(0, count, STREAM_LANES):
            lanes = slice(at, at + STREAM_LANES)
            status = library.mbx_sm4_gcm_init_mb16(
                _address(key_pointers[lanes]), _address(nonce_pointers[lanes]), _address(nonce_lengths[lanes]), context
            )
            status |= library.mbx_sm4_gcm_update_aad_mb16(
                _address(aad_pointers[lanes]), _address(aad_lengths[lanes]), context
            )
            status |= work(
                _address(out_pointers[lanes]), _address(in_pointers[lanes]), _address(in_lengths[lanes]), context
            )
            status |= library.mbx_sm4_gcm_get_tag_mb16(_address(tag_pointers[lanes]), _address(tag_lengths), context)
            if status:
                raise EngineUnavailable("the multi-buffer library could not compute SM4-GCM")
        held[:] = 0  # key schedules
        return tags[:count]


class _Texts:
    """Byte strings and the array of their addresses, kept alive together."""

    def __init__(self, items: Sequence[bytes]) -> None:
        self._held = [ctypes.create_string_buffer(item, max(len(item), 1)) for item in items]
        self._pointers = np.array([ctypes.addressof(item) for item in self._held], dtype=np.uint64)

    @property
    def addresses(self) -> c_void_p:
        return _address(self._pointers)


def _texts(items: Sequence[bytes]) -> tuple[_Texts, _Lengths]:
    return _Texts(items), np.array([len(item) for item in items], dtype=np.int32)


def _coordinates(keys: Sequence[SM2PublicKey]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """X and y of each key, little-endian limbs."""
    points = [key.to_bytes() for key in keys]
    x, y = (
        np.frombuffer(b"".join(point[low : low + SCALAR_SIZE][::-1] for point in points), dtype=np.uint8)
        .reshape(len(keys), SCALAR_SIZE)
        .copy()
        for low in (1, 1 + SCALAR_SIZE)
    )
    return x, y


def _alike(messages: Sequence[bytes]) -> list[list[int]]:
    """Indices of messages that may share a call of SM2: at most 8, each with the same number of blocks of SM3.

    The library (ipp-crypto 2026.2) reads through a null pointer where one lane is two blocks or more behind another.
    """
    by_blocks: defaultdict[int, list[int]] = defaultdict(list)
    for index, message in enumerate(messages):
        by_blocks[(_DIGEST_SIZE + len(message)) // _SM3_BLOCK].append(index)  # Z_A stands before the message
    groups = []
    for indices in by_blocks.values():
        groups += [indices[at : at + SM2_LANES] for at in range(0, len(indices), SM2_LANES)]
    return groups


def _padded(count: int, lanes: int) -> int:
    return -(-count // lanes) * lanes


def _lanes(items: Packed, lanes: int) -> tuple[_Pointers, _Lengths]:
    """Addresses and lengths of the items, with the last group filled up by its first member."""
    count = len(items)
    # The address stays good as long as the caller holds the packed buffer, which it does for the whole call.
    base = np.frombuffer(items.data or b"\0", dtype=np.uint8).ctypes.data
    pointers = np.empty(_padded(count, lanes), dtype=np.uint64)
    lengths = np.empty(_padded(count, lanes), dtype=np.int32)
    pointers[:count] = items.offsets[:-1] + np.uint64(base)
    lengths[:count] = np.diff(items.offsets)
    if len(pointers) > count:
        first = count - count % lanes
        pointers[count:], lengths[count:] = pointers[first], lengths[first]
    return pointers, lengths


def _with_room_behind(messages: Packed, pointers: _Pointers, lengths: _Lengths) -> NDArray[np.uint8]:
    """Move the messages that end with the buffer to where a block may be read beyond them; gives what holds them then.

    The library (ipp-crypto 2026.2) reads up to one block of SM3 beyond a message that is shorter than its neighbours. It makes no use of it,
    but behind the buffer there may be no memory at all.
    """
    count, size = len(messages), len(messages.data)
    if not count or bool((lengths == lengths[0]).all()):
        return np.empty(0, dtype=np.uint8)
    first = int(np.searchsorted(messages.offsets[1:], size - _SM3_BLOCK, side="right")) if size > _SM3_BLOCK else 0
    start = int(messages.offsets[first])
    moved = np.zeros(size - start + _SM3_BLOCK, dtype=np.uint8)
    moved[: size - start] = np.frombuffer(messages.data, dtype=np.uint8, offset=start)
    pointers[first:count] = messages.offsets[first:-1] - np.uint64(start) + np.uint64(moved.ctypes.data)
    pointers[count:] = pointers[(count - 1) // STREAM_LANES * STREAM_LANES]
    return moved


def _rows(array: NDArray[np.uint8]) -> _Pointers:
    """The address of each row."""
    return np.uint64(array.ctypes.data) + np.arange(len(array), dtype=np.uint64) * np.uint64(array.shape[1])


def _address(array: NDArray[np.generic]) -> c_void_p:
    pointer = c_void_p(array.ctypes.data)
    pointer.held = array  # type: ignore[attr-defined]  # keeps the array alive as long as its address
    return pointer


def _check_processor() -> None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError as cause:
        raise EngineUnavailable("this system does not tell what its processor can do") from cause
    missing = missing_flags(text)
    if missing:
        raise EngineUnavailable(f"the processor lacks {', '.join(missing)}")


def missing_flags(cpuinfo: str) -> list[str]:
    """Which of FLAGS the first processor of a `/proc/cpuinfo` lacks. GFNI is among them: SM4 without tables."""
    flags = next((set(line.split()) for line in cpuinfo.splitlines() if line.startswith("flags")), set())
    return sorted(FLAGS - flags)


def _load() -> ctypes.CDLL:
    """The library and what it needs, each from the environment first, then from the system."""
    directory = Path(sys.prefix) / "lib"
    try:
        for name in _NEEDED:
            beside = directory / name
            ctypes.CDLL(str(beside) if beside.exists() else name, mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(directory / _LIBRARY))
        for name, (result, arguments) in _functions().items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as cause:
        raise EngineUnavailable("ipp-crypto and intel-cmplr-lib-rt are not installed (extra `multibuffer`)") from cause
    return library


def _functions() -> dict[str, tuple[type[ctypes._SimpleCData[int]], list[object]]]:
    pointer = c_void_p
    return {
        "mbx_sm2_ecdsa_sign_mb8": (c_uint64, [pointer] * 12),
        "mbx_sm2_ecdsa_verify_mb8": (c_uint64, [pointer] * 10),
        "mbx_sm3_msg_digest_mb16": (c_uint64, [pointer] * 3),
        "mbx_sm4_gcm_init_mb16": (c_uint64, [pointer] * 4),
        "mbx_sm4_gcm_update_aad_mb16": (c_uint64, [pointer] * 3),
        "mbx_sm4_gcm_encrypt_mb16": (c_uint64, [pointer] * 4),
        "mbx_sm4_gcm_decrypt_mb16": (c_uint64, [pointer] * 4),
        "mbx_sm4_gcm_get_tag_mb16": (c_uint64, [pointer] * 3),
    }
