"""What a program does that has pyca/cryptography and no engine: a loop with a Python object for each message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SM3, Hash

from crypto.packed import Packed
from crypto.seal import NONCE_SIZE, SECRET_SIZE, Segment

KEY_SIZE = 16
TAG_SIZE = 16


def sm3(message: bytes) -> bytes:
    """One digest."""
    state = Hash(SM3())
    state.update(message)
    return state.finalize()


def sm3_many(messages: Sequence[bytes]) -> bytes:
    """Digests, end to end."""
    return b"".join(map(sm3, messages))


def gcm_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    """Ciphertext and tag of one message."""
    encryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(aad)
    return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag


def gcm_open(key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes:
    """The plaintext of one message."""
    decryptor = Cipher(algorithms.SM4(key), modes.GCM(nonce, sealed[-TAG_SIZE:])).decryptor()
    decryptor.authenticate_additional_data(aad)
    return decryptor.update(sealed[:-TAG_SIZE]) + decryptor.finalize()


def leaves(secret: bytes, first_index: int, records: Packed) -> list[bytes]:
    """The leaf hashes of a segment (docs/formats.md, "Record, leaf, segment")."""
    blocks = b"".join(index.to_bytes(KEY_SIZE, "big") for index in range(first_index, first_index + len(records)))
    salts = Cipher(algorithms.SM4(secret[KEY_SIZE:]), modes.ECB()).encryptor().update(blocks)  # noqa: S305 - as formats.md says
    return [sm3(b"\x00" + salts[KEY_SIZE * at : KEY_SIZE * (at + 1)] + record) for at, record in enumerate(records)]


def seal(dataset_id: bytes, secrets: bytes, nonces: bytes, segments: Sequence[Segment]) -> tuple[list[bytes], bytes]:
    """Seal segments by loops; gives the blobs and the root over all records."""
    blobs: list[bytes] = []
    level: list[bytes] = []
    for at, (first_index, records) in enumerate(segments):
        secret = secrets[SECRET_SIZE * at : SECRET_SIZE * (at + 1)]
        nonce = nonces[NONCE_SIZE * at : NONCE_SIZE * (at + 1)]
        header = b"\x01" + first_index.to_bytes(8, "big") + len(records).to_bytes(4, "big") + nonce
        plaintext = records.offsets.astype("<u4").tobytes() + records.data
        blobs.append(header + gcm_seal(secret[:KEY_SIZE], nonce, header + dataset_id, plaintext))
        level += leaves(secret, first_index, records)
    return blobs, _root(level)


def open_sealed(dataset_id: bytes, secrets: bytes, blobs: Sequence[bytes]) -> bytes:
    """Open segments by loops; gives the root over all records."""
    level: list[bytes] = []
    for at, blob in enumerate(blobs):
        secret = secrets[SECRET_SIZE * at : SECRET_SIZE * (at + 1)]
        header = blob[:25]
        first_index, count = int.from_bytes(header[1:9], "big"), int.from_bytes(header[9:13], "big")
        plaintext = gcm_open(secret[:KEY_SIZE], header[13:], header + dataset_id, blob[25:])
        offsets = np.frombuffer(plaintext, "<u4", count + 1).astype(np.uint64)
        level += leaves(secret, first_index, Packed(plaintext[4 * (count + 1) :], offsets))
    return _root(level)


def _root(level: list[bytes]) -> bytes:
    while len(level) > 1:
        above = [sm3(b"\x01" + left + right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = above + level[len(level) // 2 * 2 :]
    return level[0]
