"""Verify evidence of a Kiteline log offline. This one file is the whole verifier: it needs Python 3.11 or newer and nothing else.

    python verifier.py FILE [--trust TRUST.json] [--json]

It opens the files that are named, no socket and no store, and needs no record. It trusts neither side: a FILE holds what
one member's log says, with the proof; TRUST.json holds what the auditor knows from elsewhere (`kiteline chain trust`, written by a
member that the auditor chooses, or typed by hand). Each link of the proof is judged by itself and says what it rests on:
arithmetic, the auditor's own knowledge, or the word of the file alone.

What is proved, link by link:

    entry         the bytes are a log entry in its one spelling
    statement     its author, whom the statement or the entry names, signed the statement in it (SM2 with SM3, GB/T 32918.2)
    inclusion     it stands at its index in the tree under the checkpoint (RFC 9162, section 2.1.3)
    complete      (ranges) the entries are all there are between two indices
    checkpoint    the member signed that head of its audit log (C2SP tlog-checkpoint)
    cosignatures  witnesses saw it, and saw nothing that contradicts it (C2SP tlog-witness)
    anchor        a contract stated exactly that head, or one consistent with it, in a transaction's receipt (EIP-2718)
    seals         validators that the auditor knows sealed the block, and most of them blocks on top of it (EIP-225)
    finality      departments that the auditor chooses stated that the block is final, each from an endpoint of its own
    block         that receipt is under the header of a block (Yellow Paper, appendix D), and the block is known, or stated so
    keys          every key that signed had come into force and was not declared compromised when a block first had what it signed

The order of the file: hashes and signatures, notes and entries, trees, RLP, the two formats, the judgement, the command.
Everything strict: what has two spellings is refused. `Malformed` is the one exception that leaves this module.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

SignatureCheck = Callable[[bytes, bytes, bytes], bool]  # (public key, 65 bytes; message; signature, DER) → holds


class Malformed(ValueError):
    """Bytes that are not in their one spelling. Nothing is proved or disproved by them."""


class _DoesNotHold(Exception):
    """A link that was read and does not hold."""


# Hashes and signatures ---------------------------------------------------------------------------------------------

_MASK = 0xFFFFFFFF
_SM3_START = (0x7380166F, 0x4914B2B9, 0x172442D7, 0xDA8A0600, 0xA96F30BC, 0x163138AA, 0xE38DEE4D, 0xB0FB0E4E)


def _rotated(value: int, bits: int) -> int:
    bits %= 32
    return (value << bits | value >> (32 - bits)) & _MASK if bits else value


def sm3_in_python(message: bytes) -> bytes:
    """SM3 (GB/T 32905-2016), for a Python whose OpenSSL lacks it."""
    state = list(_SM3_START)
    padded = message + b"\x80" + bytes((55 - len(message)) % 64) + (8 * len(message)).to_bytes(8, "big")
    for start in range(0, len(padded), 64):
        words = [int.from_bytes(padded[at : at + 4], "big") for at in range(start, start + 64, 4)]
        for j in range(16, 68):
            x = words[j - 16] ^ words[j - 9] ^ _rotated(words[j - 3], 15)
            words.append(x ^ _rotated(x, 15) ^ _rotated(x, 23) ^ _rotated(words[j - 13], 7) ^ words[j - 6])
        a, b, c, d, e, f, g, h = state
        for j in range(64):
            early = j < 16
            ss1 = _rotated((_rotated(a, 12) + e + _rotated(0x79CC4519 if early else 0x7A879D8A, j)) & _MASK, 7)
            ff = a ^ b ^ c if early else (a & b) | (a & c) | (b & c)
            gg = e ^ f ^ g if early else (e & f) | (~e & g)
            tt1 = (ff + d + (ss1 ^ _rotated(a, 12)) + (words[j] ^ words[j + 4])) & _MASK
            tt2 = (gg + h + ss1 + words[j]) & _MASK
            a, b, c, d = tt1, a, _rotated(b, 9), c
            e, f, g, h = tt2 ^ _rotated(tt2, 9) ^ _rotated(tt2, 17), e, _rotated(f, 19), g
        state = [old ^ new for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)]
    return b"".join(word.to_bytes(4, "big") for word in state)


def _sm3_of_this_python() -> Callable[[bytes], bytes]:
    try:
        hashlib.new("sm3")
    except ValueError:
        return sm3_in_python
    return lambda message: hashlib.new("sm3", message).digest()


sm3 = _sm3_of_this_python()

# Round constants of Keccak-f[1600], and where its lanes go.
_ROUNDS = [
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000, 0x000000000000808B, 0x0000000080000001,
    0x8000000080008081, 0x8000000000008009, 0x000000000000008A, 0x0000000000000088, 0x0000000080008009, 0x000000008000000A,
    0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
    0x000000000000800A, 0x800000008000000A, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
]  # fmt: skip
_TURNS = [1, 3, 6, 10, 15, 21, 28, 36, 45, 55, 2, 14, 27, 41, 56, 8, 25, 43, 62, 18, 39, 61, 20, 44]
_LANES = [10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1]
_KECCAK_RATE = 136  # bytes


def keccak256(message: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it: the padding is that of the submission, not of SHA-3."""
    full = (1 << 64) - 1
    lanes = [0] * 25
    padded = bytearray(message + bytes(_KECCAK_RATE - len(message) % _KECCAK_RATE))
    padded[len(message)] ^= 0x01
    padded[-1] ^= 0x80
    for start in range(0, len(padded), _KECCAK_RATE):
        for lane in range(_KECCAK_RATE // 8):
            lanes[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        for constant in _ROUNDS:
            parity = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
            for x in range(5):
                turned = (parity[(x + 1) % 5] << 1 | parity[(x + 1) % 5] >> 63) & full
                for y in range(0, 25, 5):
                    lanes[x + y] ^= parity[(x + 4) % 5] ^ turned
            held = lanes[1]
            for lane, turn in zip(_LANES, _TURNS, strict=True):
                held, lanes[lane] = lanes[lane], (held << turn | held >> (64 - turn)) & full
            for y in range(0, 25, 5):
                row = lanes[y : y + 5]
                for x in range(5):
                    lanes[x + y] = row[x] ^ (~row[(x + 1) % 5] & full & row[(x + 2) % 5])
            lanes[0] ^= constant
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


# The curve of SM2 (GB/T 32918.5-2017): y² = x³ + ax + b over the field of P elements, with a base point of order N.
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_A = P - 3
_B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
_G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
_USER_ID = b"1234567812345678"
_Point = tuple[int, int, int]  # Jacobian; z = 0 is the point at infinity


def _doubled(point: _Point) -> _Point:
    x, y, z = point
    if not z or not y:
        return (1, 1, 0)
    squared = y * y % P
    s = 4 * x * squared % P
    z2 = z * z % P
    m = 3 * (x - z2) * (x + z2) % P  # since a = -3
    x3 = (m * m - 2 * s) % P
    return x3, (m * (s - x3) - 8 * squared * squared) % P, 2 * y * z % P


def _added(left: _Point, right: _Point) -> _Point:
    if not left[2]:
        return right
    if not right[2]:
        return left
    (x1, y1, z1), (x2, y2, z2) = left, right
    z1z1, z2z2 = z1 * z1 % P, z2 * z2 % P
    u1, u2 = x1 * z2z2 % P, x2 * z1z1 % P
    s1, s2 = y1 * z2 * z2z2 % P, y2 * z1 * z1z1 % P
    if u1 == u2:
        return _doubled(left) if s1 == s2 else (1, 1, 0)
    h, r = u2 - u1, s2 - s1
    h2 = h * h % P
    h3, v = h * h2 % P, u1 * h2 % P
    x3 = (r * r - h3 - 2 * v) % P
    return x3, (r * (v - x3) - s1 * h3) % P, z1 * z2 * h % P


def _public_point(key: bytes) -> tuple[int, int] | None:
    x, y = int.from_bytes(key[1:33], "big"), int.from_bytes(key[33:], "big")
    on_curve = len(key) == 65 and key[0] == 4 and x < P and y < P and (y * y - (x * x * x + _A * x + _B)) % P == 0
    return (x, y) if on_curve else None


def sm2_verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether an SM2 signature with SM3 holds (GB/T 32918.2-2016, clause 7.1), user id 1234567812345678, strict DER."""
    point, pair = _public_point(key), _der_pair(signature)
    if point is None or pair is None:
        return False
    r, s = pair
    t = (r + s) % N
    if not (1 <= r < N and 1 <= s < N) or t == 0:
        return False
    parameters = b"".join(value.to_bytes(32, "big") for value in (_A, _B, *_G))
    z = sm3((8 * len(_USER_ID)).to_bytes(2, "big") + _USER_ID + parameters + key[1:])
    e = int.from_bytes(sm3(z + message), "big")
    base, public = (*_G, 1), (*point, 1)
    steps = {(1, 0): base, (0, 1): public, (1, 1): _added(base, public)}
    total: _Point = (1, 1, 0)
    for bit in range(255, -1, -1):  # s·G + t·P, both at once
        total = _doubled(total)
        chosen = (s >> bit & 1, t >> bit & 1)
        if chosen != (0, 0):
            total = _added(total, steps[chosen])
    if not total[2]:
        return False
    x = total[0] * pow(total[2], -2, P) % P
    return (e + x) % N == r


def _der_pair(signature: bytes) -> tuple[int, int] | None:
    """(r, s) of SEQUENCE { INTEGER r, INTEGER s } in DER (GM/T 0009, clause 7.2), or None."""
    if not 8 <= len(signature) <= 72 or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        return None
    values, at = [], 2
    for _ in range(2):
        if at + 2 > len(signature) or signature[at] != 0x02:
            return None
        body = signature[at + 2 : at + 2 + signature[at + 1]]
        at += 2 + signature[at + 1]
        shortest = len(body) == 1 or (len(body) > 1 and (body[0] != 0 or body[1] >= 0x80))
        if not shortest or body[0] >= 0x80 or at > len(signature):
            return None
        values.append(int.from_bytes(body, "big"))
    return (values[0], values[1]) if at == len(signature) else None


# The curve secp256k1 (SEC 2, clause 2.4.1) of Ethereum's accounts: y² = x³ + 7, with a base point of order _K_N. In affine coordinates, since a file
# has few seals.
_K_P = 2**256 - 2**32 - 977
_K_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_K_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Affine = tuple[int, int] | None  # None is the point at infinity


def _k_added(left: _Affine, right: _Affine) -> _Affine:
    if left is None or right is None:
        return left or right
    (x1, y1), (x2, y2) = left, right
    if x1 == x2 and (y1 + y2) % _K_P == 0:
        return None
    slope = 3 * x1 * x1 * pow(2 * y1, -1, _K_P) if x1 == x2 else (y2 - y1) * pow(x2 - x1, -1, _K_P)
    x3 = (slope * slope - x1 - x2) % _K_P
    return x3, (slope * (x1 - x3) - y1) % _K_P


def _k_times(factor: int, point: _Affine) -> _Affine:
    total: _Affine = None
    for bit in range(factor.bit_length() - 1, -1, -1):
        total = _k_added(total, total)
        if factor >> bit & 1:
            total = _k_added(total, point)
    return total


def recovered_address(digest: bytes, signature: bytes) -> bytes | None:
    """The account (20 bytes) that made a signature of 65 bytes, r, s and the parity of the point, over a digest; None if none did.

    Public key recovery (SEC 1, clause 4.1.6); the address is the end of the key's Keccak-256 (Yellow Paper, appendix F).
    """
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if len(signature) != 65 or signature[64] > 1 or not 0 < r < _K_N or not 0 < s < _K_N:
        return None
    square = (r**3 + 7) % _K_P
    y = pow(square, (_K_P + 1) // 4, _K_P)
    if y * y % _K_P != square:
        return None
    point = (r, y if y & 1 == signature[64] else _K_P - y)
    inverse, e = pow(r, -1, _K_N), int.from_bytes(digest, "big")
    key = _k_added(_k_times(s * inverse % _K_N, point), _k_times(-e * inverse % _K_N, _K_G))
    return None if key is None else keccak256(b"".join(value.to_bytes(32, "big") for value in key))[-20:]


# Notes, checkpoints, entries ---------------------------------------------------------------------------------------

_MAX_NOTE = 1_048_576  # bytes
_MAX_SIGNATURES = 100
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_ORIGIN = re.compile(r"kiteline/([0-9A-Z]{18})/(audit|dataset/[0-9a-f]{64})/SM3")
_UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_TOKEN = re.compile(r"[!-~]{1,200}")
# Python 3.14 takes 24:00 for the next day's midnight, which would be a second spelling.
_TIME = re.compile(r"(?:19[7-9]|[2-9]\d\d)\d-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d\.\d{3}Z", re.ASCII)
# What nobody sees or what reorders a line: controls, invisible spaces, separators of lines, marks of direction, surrogates.
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNATURE_LABEL = b"\xffSM2-SM3-v1"
COSIGNATURE_LABEL = b"\xffSM2-SM3-cosignature-v1"
COSIGNATURE_HEAD = "kiteline/cosignature/v1"


@dataclass(frozen=True)
class SignatureLine:
    """A line under a note: who says to have signed, 4 bytes that name the key, and the signature."""

    name: str
    key_id: bytes
    blob: bytes


@dataclass(frozen=True)
class Note:
    """A note as it stands, with nothing verified."""

    text: str
    lines: tuple[SignatureLine, ...]


def read_note(raw: bytes) -> Note:
    """Read a C2SP signed note. Raises Malformed."""
    if len(raw) > _MAX_NOTE:
        raise Malformed("a note has at most 1 MiB")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise Malformed("the note is not UTF-8") from cause
    text, separator, rest = whole.rpartition("\n\n")
    if not separator or not rest.endswith("\n") or _CONTROL.search(whole):
        raise Malformed("the note is not a text, an empty line and signature lines")
    lines = tuple(_signature_line(line) for line in rest[:-1].split("\n"))
    if len(lines) > _MAX_SIGNATURES or len({(line.name, line.key_id) for line in lines}) < len(lines):
        raise Malformed("the note has too many signatures, or one key signed it twice")
    return Note(text + "\n", lines)


def _signature_line(line: str) -> SignatureLine:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "—" or not name or "+" in name or any(char.isspace() for char in name):
        raise Malformed("a signature line is not an em dash, a name and base64")
    blob = _unbase64(encoded)
    if len(blob) <= 4:
        raise Malformed("a signature line holds no signature")
    return SignatureLine(name, blob[:4], blob[4:])


def key_id(name: str, key: bytes, label: bytes = _SIGNATURE_LABEL) -> bytes:
    """The 4 bytes by which a signature line names a key."""
    return sm3(name.encode() + b"\n" + label + key)[:4]


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log. `time_ms`: Unix time in milliseconds, as its signer states it."""

    origin: str
    member: str
    size: int
    root: bytes
    time_ms: int


def read_checkpoint(text: str) -> Checkpoint:
    """Read the text of a C2SP tlog-checkpoint with our time line. Raises Malformed."""
    lines = text.split("\n")
    if len(lines) != 5 or lines[4]:
        raise Malformed("a checkpoint has four lines")
    origin, size, root, time = lines[:4]
    named = _ORIGIN.fullmatch(origin)
    digest = _unbase64(root)
    if named is None or len(digest) != 32 or not time.startswith("time "):
        raise Malformed("the checkpoint does not name a log, a root of 32 bytes and a time")
    return Checkpoint(origin, named[1], _number(size), digest, _number(time[5:]))


@dataclass(frozen=True)
class Entry:
    """A log entry. `refusal`: the reason, or None if the step was done."""

    time_ms: int
    event: str
    actor: str
    subject: str
    refusal: str | None
    detail: str | None
    note: bytes | None


def read_entry(raw: bytes) -> Entry:
    """Read a log entry (docs/formats.md, "Audit entry"). Raises Malformed."""
    head, separator, note = raw.partition(b"\n\n")
    try:
        text = (head + b"\n" if separator else head).decode("utf-8")
    except UnicodeDecodeError as cause:
        raise Malformed("the entry is not UTF-8") from cause
    lines = text.split("\n")
    if lines[-1] or len(lines) not in {7, 8} or lines[0] != "kiteline/entry/v1":
        raise Malformed("the entry does not begin as one of version 1")
    if separator and not 0 < len(note) <= _MAX_NOTE:
        raise Malformed("the entry's note has from 1 byte to 1 MiB")
    values = {}
    for name, line in zip(("time", "event", "outcome", "actor", "subject", "detail"), lines[1:-1], strict=False):
        if not line.startswith(name + " "):
            raise Malformed(f"the entry's line {name} is missing or out of place")
        values[name] = line[len(name) + 1 :]
    refusal = None if values["outcome"] == "ok" else values["outcome"].removeprefix("refused ")
    detail = values.get("detail")
    words_fit = _UPPER_SNAKE.fullmatch(values["event"]) and all(
        _TOKEN.fullmatch(values[n]) for n in ("actor", "subject")
    )
    detail_fits = detail is None or (
        0 < len(detail) <= 4096 and detail == detail.strip(" ") and not _HIDDEN.search(detail)
    )
    if not words_fit or not detail_fits or (refusal is not None and values["outcome"] != f"refused {refusal}"):
        raise Malformed("a line of the entry is not in its form")
    if refusal is not None and not _UPPER_SNAKE.fullmatch(refusal):
        raise Malformed("the entry's reason is not in its form")
    return Entry(
        read_time(values["time"]), values["event"], values["actor"], values["subject"], refusal, detail, note or None
    )


def read_time(text: str) -> int:
    """Unix milliseconds of `2026-11-24T01:02:03.004Z`. Raises Malformed."""
    if not _TIME.fullmatch(text):
        raise Malformed("a time is written as 2026-11-24T01:02:03.004Z")
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
    except ValueError as cause:
        raise Malformed("there is no such time") from cause


# Merkle trees (RFC 9162, section 2.1, with SM3) ---------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry."""
    return sm3(b"\x00" + entry)


def _node(left: bytes, right: bytes) -> bytes:
    return sm3(b"\x01" + left + right)


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion path leads to (section 2.1.3.2), or None if the path has another length than it must."""
    roots = _climbed(leaf, index, size, path) if 0 <= index < size else None
    return roots[1] if roots else None


def is_consistent(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the log of `new_size` begins with the one of `old_size` (section 2.1.4.2)."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not path and old_root == new_root
    # The path begins with the largest subtree that ends where the old log ends; it is left out if it is the whole old log.
    level = (old_size & -old_size).bit_length() - 1
    nodes = [old_root, *path] if old_size == 1 << level else list(path)
    last = (new_size - 1) >> level
    return bool(nodes) and _climbed(nodes[0], (old_size - 1) >> level, last + 1, nodes[1:]) == (old_root, new_root)


def _climbed(start: bytes, at: int, size: int, path: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """From the node at `at` of a level of `size` nodes up the siblings: the root over all that is not to the right of it, and the
    root over everything. Both sections climb like this.
    """
    last, old, new = size - 1, start, start
    for other in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            old, new = _node(other, old), _node(other, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = _node(new, other)
        at, last = at >> 1, last >> 1
    return (old, new) if last == 0 else None


def subtrees(start: int, stop: int) -> list[int]:
    """Levels of the fewest complete subtrees that cover the leaves [start, stop), from left to right."""
    levels = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        levels.append(level)
        start += 1 << level
    return levels


def root_from_range(
    first: int, leaves: Sequence[bytes], size: int, left: Sequence[bytes], right: Sequence[bytes]
) -> bytes | None:
    """The root over everything, from the leaves of an interval and the subtrees to both sides of it; None where the numbers
    of subtrees are others than the sizes ask for.
    """
    stop = first + len(leaves)
    if not 0 <= first < stop <= size:
        return None
    before, after = subtrees(0, first), subtrees(stop, size)
    if len(before) != len(left) or len(after) != len(right):
        return None
    pieces = [*zip(before, left, strict=True), *((0, leaf) for leaf in leaves), *zip(after, right, strict=True)]
    stack: list[tuple[int, bytes]] = []
    for level, computed in pieces:
        while stack and stack[-1][0] == level:
            level, computed = level + 1, _node(stack.pop()[1], computed)  # noqa: PLW2901 - carried upwards
        stack.append((level, computed))
    root = stack.pop()[1]
    while stack:
        root = _node(stack.pop()[1], root)
    return root


# RLP and the receipts' tree (Yellow Paper, appendices B to D) -------------------------------------------------------

RLP = bytes | list["RLP"]
_MAX_DEPTH = 16


def read_rlp(raw: bytes) -> RLP:
    """Decode RLP in its one spelling. Raises Malformed."""
    item, end = _rlp_item(raw, 0, 0)
    if end != len(raw):
        raise Malformed("RLP goes on after its item")
    return item


def _rlp_item(raw: bytes, at: int, depth: int) -> tuple[RLP, int]:
    if at >= len(raw) or depth > _MAX_DEPTH:
        raise Malformed("RLP is cut short, or nested too deeply")
    first = raw[at]
    if first < 0x80:
        return raw[at : at + 1], at + 1
    base = 0x80 if first < 0xC0 else 0xC0
    at += 1
    length = first - base
    if length > 55:
        width = length - 55
        length = int.from_bytes(raw[at : at + width], "big")
        if at + width > len(raw) or raw[at] == 0 or length <= 55:
            raise Malformed("an RLP length is not in its one spelling")
        at += width
    end = at + length
    if end > len(raw):
        raise Malformed("RLP is cut short")
    if base == 0x80:
        if length == 1 and raw[at] < 0x80:
            raise Malformed("an RLP byte is not in its one spelling")
        return raw[at:end], end
    items: list[RLP] = []
    while at < end:
        item, at = _rlp_item(raw, at, depth + 1)
        items.append(item)
    if at != end:
        raise Malformed("an RLP list is longer than it says")
    return items, end


@dataclass(frozen=True)
class Header:
    """What is read of a block's header. `time`: Unix time in seconds."""

    hash: bytes
    parent_hash: bytes
    receipts_root: bytes
    number: int
    time: int


def read_header(raw: bytes) -> Header:
    """Read a raw header; its first items are the same on every Ethereum-like chain. Raises Malformed."""
    fields = read_rlp(raw)
    if not isinstance(fields, list) or len(fields) < 15:
        raise Malformed("this is no block header")
    parent, root, number, time = fields[0], fields[5], fields[8], fields[11]
    if not isinstance(root, bytes) or len(root) != 32 or not isinstance(parent, bytes) or len(parent) != 32:
        raise Malformed("the block header has no parent or no receipts root")
    return Header(keccak256(raw), parent, root, _header_number(number), _header_number(time))


_EXTRA_DATA = 12  # place in a header's list
_SEAL = 65  # bytes at the end of the extra data


def sealed_by(raw: bytes) -> bytes | None:
    """The account that sealed a block of Clique (EIP-225), 20 bytes; None if its seal is none. Raises Malformed."""
    fields = read_rlp(raw)
    extra = fields[_EXTRA_DATA] if isinstance(fields, list) and len(fields) > _EXTRA_DATA else b""
    if not isinstance(fields, list) or not isinstance(extra, bytes) or len(extra) < _SEAL:
        raise Malformed("the block header has no seal")
    # The seal is over the header without it.
    unsealed = [*fields[:_EXTRA_DATA], extra[:-_SEAL], *fields[_EXTRA_DATA + 1 :]]
    return recovered_address(keccak256(_rlp(unsealed)), extra[-_SEAL:])


def _rlp(item: RLP) -> bytes:
    """Encode what `read_rlp` reads (Yellow Paper, appendix B)."""
    body = item if isinstance(item, bytes) else b"".join(map(_rlp, item))
    if isinstance(item, bytes) and len(body) == 1 and body < b"\x80":
        return body
    base = 0x80 if isinstance(item, bytes) else 0xC0
    if len(body) < 56:
        return bytes([base + len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(size)]) + size + body


def _header_number(value: RLP) -> int:
    if not isinstance(value, bytes) or len(value) > 8 or value[:1] == b"\0":
        raise Malformed("a number of the block header is not in its one spelling")
    return int.from_bytes(value, "big")


def receipt_under(root: bytes, index: int, path: Sequence[bytes]) -> bytes | None:
    """The receipt at `index` under a receipts root, or None unless the path is exactly what proves it. Raises Malformed."""
    key = [nibble for byte in _rlp_number(index) for nibble in divmod(byte, 16)]
    rest = list(path)
    node: RLP = root
    while True:
        if isinstance(node, bytes):  # a reference by hash; a node of less than 32 bytes stands inside its parent
            if not rest or keccak256(rest[0]) != node:
                return None
            node = read_rlp(rest.pop(0))
        if not isinstance(node, list) or len(node) not in {2, 17}:
            raise Malformed("a node of the receipt's path is malformed")
        if len(node) == 17:
            if not key:
                return _receipt(node[16], rest)
            node, key = node[key[0]], key[1:]
            continue
        part, is_leaf = _hex_prefix(node[0])
        if key[: len(part)] != part:
            return None
        key = key[len(part) :]
        if is_leaf:
            return _receipt(node[1], rest) if not key else None
        node = node[1]


def _receipt(value: RLP, rest: list[bytes]) -> bytes | None:
    return value if isinstance(value, bytes) and value and not rest else None


def _hex_prefix(packed: RLP) -> tuple[list[int], bool]:
    if not isinstance(packed, bytes) or not packed or packed[0] >> 4 > 3 or (not packed[0] & 0x10 and packed[0] & 0x0F):
        raise Malformed("a node of the receipt's path has a malformed key")
    nibbles = [nibble for byte in packed for nibble in divmod(byte, 16)]
    return nibbles[1:] if packed[0] & 0x10 else nibbles[2:], bool(packed[0] & 0x20)


def _rlp_number(value: int) -> bytes:
    if 0 < value < 0x80:
        return bytes([value])
    body = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([0x80 + len(body)]) + body


ANCHORED_TOPIC = keccak256(b"Anchored(bytes32,bytes32,uint64,bytes32,bytes32)")


@dataclass(frozen=True)
class AnchorEvent:
    """What the contract Anchors states: Anchored(log indexed, member indexed, size, root, noteDigest)."""

    contract: bytes
    log_id: bytes
    member: bytes
    size: int
    root: bytes
    note_digest: bytes


def anchor_events(receipt: bytes) -> list[AnchorEvent]:
    """The Anchored events of a receipt whose transaction succeeded. Raises Malformed."""
    fields = read_rlp(receipt[1:] if receipt[:1] < b"\x80" else receipt)  # a typed receipt begins with its type
    if not isinstance(fields, list) or len(fields) != 4 or not isinstance(fields[3], list):
        raise Malformed("this is no receipt")
    found = []
    for log in fields[3] if fields[0] == b"\x01" else []:
        match log:
            case [bytes() as contract, [topic, bytes() as log_id, bytes() as member], bytes() as data]:
                if topic == ANCHORED_TOPIC and len(data) == 96 and len(member) == 32:
                    size = int.from_bytes(data[:32], "big")
                    found.append(AnchorEvent(contract, log_id, member, size, data[32:64], data[64:]))
            case _:
                continue
    return found


# The two formats ----------------------------------------------------------------------------------------------------

EVIDENCE_HEAD = "kiteline/evidence/v1"
RANGE_HEAD = "kiteline/range/v1"
MAX_EVIDENCE = 4 << 20  # bytes
MAX_RANGE = 32 << 20  # bytes
MAX_ANCHORS = 8
MAX_LATER = 64  # headers on top of a block
_NETWORK = re.compile(r"[a-z0-9-]{1,32}")
_MEMBER = re.compile(r"[0-9A-Z]{18}")


@dataclass(frozen=True)
class ChainStatement:
    """Where on a chain a head is stated. `receipt_path`: nodes from the receipts root to the receipt; `later`: the headers of the blocks
    on top of that one, in order, where validators' seals prove something.
    """

    network: str
    chain_id: int
    contract: bytes
    block_number: int
    header: bytes
    receipt_index: int
    receipt_path: tuple[bytes, ...]
    later: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Anchored:
    """A head of the log that a network has. `checkpoint`: the note whose digest stands there; `consistency`: the path between
    it and the file's checkpoint, from the smaller to the larger; `finality`: the note of those who saw the block final, or None.
    """

    checkpoint: bytes
    consistency: tuple[bytes, ...]
    chain: ChainStatement
    finality: bytes | None = None


@dataclass(frozen=True)
class KeyStatement:
    """A member's signing key as the chain had it. Times in Unix seconds."""

    member: str
    epoch: int
    key: bytes
    since: int
    compromised_since: int | None


@dataclass(frozen=True)
class Proof:
    """What both formats end in."""

    checkpoint: bytes
    anchored: tuple[Anchored, ...]
    keys: tuple[KeyStatement, ...]

    def lines(self) -> Iterator[str]:
        """As it stands in a file."""
        yield f"checkpoint {_base64(self.checkpoint)}"
        for one in self.anchored:
            chain = one.chain
            yield f"anchored {_base64(one.checkpoint)}"
            yield from (f"consistency {_base64(node)}" for node in one.consistency)
            yield f"chain {chain.network} {chain.chain_id} {chain.contract.hex()} {chain.block_number}"
            yield f"header {_base64(chain.header)}"
            yield f"receipt-index {chain.receipt_index}"
            yield from (f"receipt-path {_base64(node)}" for node in chain.receipt_path)
            yield from (f"later-header {_base64(header)}" for header in chain.later)
            if one.finality is not None:
                yield f"finality {_base64(one.finality)}"
        for key in self.keys:
            compromised = "-" if key.compromised_since is None else str(key.compromised_since)
            yield f"key {key.member} {key.epoch} {key.key.hex()} {key.since} {compromised}"


@dataclass(frozen=True)
class Evidence:
    """One entry of a log, with its proof. `path`: siblings from the leaf upwards."""

    index: int
    entry: bytes
    path: tuple[bytes, ...]
    proof: Proof

    def to_bytes(self) -> bytes:
        """The one spelling, which `read_file` reads back."""
        paths = [f"path {_base64(node)}" for node in self.path]
        return _joined(
            [EVIDENCE_HEAD, f"index {self.index}", f"entry {_base64(self.entry)}", *paths, *self.proof.lines()]
        )


@dataclass(frozen=True)
class EntryRange:
    """Every entry from index `first` on, with the proof that none is left out. `left`, `right`: the complete subtrees before
    and after the interval, from left to right.
    """

    first: int
    entries: tuple[bytes, ...]
    left: tuple[bytes, ...]
    right: tuple[bytes, ...]
    proof: Proof

    def to_bytes(self) -> bytes:
        """The one spelling, which `read_file` reads back."""
        lines = [RANGE_HEAD, f"first {self.first}", f"count {len(self.entries)}"]
        lines += [f"left {_base64(node)}" for node in self.left]
        lines += [f"right {_base64(node)}" for node in self.right]
        lines += [f"entry {_base64(entry)}" for entry in self.entries]
        return _joined([*lines, *self.proof.lines()])


def read_file(raw: bytes) -> Evidence | EntryRange:
    """Read an evidence or a range file. Raises Malformed unless it is exactly what `to_bytes` writes."""
    is_range = raw.startswith(RANGE_HEAD.encode() + b"\n")
    if len(raw) > (MAX_RANGE if is_range else MAX_EVIDENCE):
        raise Malformed("the file is larger than its kind may be")
    try:
        lines = _Lines(raw.decode("ascii"))
    except UnicodeDecodeError as cause:
        raise Malformed("the file is not ASCII") from cause
    if lines.take() != (RANGE_HEAD if is_range else EVIDENCE_HEAD):
        raise Malformed("this is neither evidence nor a range of version 1")
    content = _read_range(lines) if is_range else _read_evidence(lines)
    if lines.take() is not None:
        raise Malformed("the file goes on after its last line")
    return content


def _read_evidence(lines: _Lines) -> Evidence:
    index, entry = _number(lines.one("index")), _unbase64(lines.one("entry"))
    return Evidence(index, entry, lines.hashes("path"), _read_proof(lines))


def _read_range(lines: _Lines) -> EntryRange:
    first, count = _number(lines.one("first")), _number(lines.one("count"))
    left, right = lines.hashes("left"), lines.hashes("right")
    entries = tuple(_unbase64(value) for value in lines.many("entry"))
    if len(entries) != count or not entries:
        raise Malformed("the range does not hold as many entries as it says")
    return EntryRange(first, entries, left, right, _read_proof(lines))


def _read_proof(lines: _Lines) -> Proof:
    checkpoint = _unbase64(lines.one("checkpoint"))
    anchored = []
    while lines.at("anchored"):
        note, consistency = _unbase64(lines.one("anchored")), lines.hashes("consistency")
        chain = _read_chain(lines)
        finality = _unbase64(lines.one("finality")) if lines.at("finality") else None
        anchored.append(Anchored(note, consistency, chain, finality))
    keys = tuple(_read_key(value) for value in lines.many("key"))
    networks = {one.chain.network for one in anchored}
    if len(anchored) > MAX_ANCHORS or len(networks) < len(anchored):
        raise Malformed("the file has too many anchors, or two of one network")
    if len({(key.member, key.epoch) for key in keys}) < len(keys):
        raise Malformed("the file states a key twice")
    return Proof(checkpoint, tuple(anchored), keys)


def _read_chain(lines: _Lines) -> ChainStatement:
    network, chain_id, contract, block = _words(lines.one("chain"), 4)
    if not _NETWORK.fullmatch(network):
        raise Malformed("a network's name is not in its form")
    header, index = _unbase64(lines.one("header")), _number(lines.one("receipt-index"))
    path = tuple(_unbase64(value) for value in lines.many("receipt-path"))
    if not path:
        raise Malformed("the line receipt-path is missing or out of place")
    later = tuple(_unbase64(value) for value in lines.many("later-header"))
    if len(later) > MAX_LATER:
        raise Malformed("the file has too many later headers")
    return ChainStatement(network, _number(chain_id), _hex(contract, 20), _number(block), header, index, path, later)


def _read_key(value: str) -> KeyStatement:
    member, epoch, key, since, compromised = _words(value, 5)
    compromised_since = None if compromised == "-" else _number(compromised)
    return KeyStatement(_member(member), _number(epoch), _hex(key, 65), _number(since), compromised_since)


class _Lines:
    """Takes lines in order, by name, and holds no more of them than it was asked for."""

    def __init__(self, text: str) -> None:
        if not text.endswith("\n"):
            raise Malformed("the file's last line is cut short")
        self._text = text
        self._at = 0

    def take(self) -> str | None:
        if self._at == len(self._text):
            return None
        start, end = self._at, self._text.index("\n", self._at)
        self._at = end + 1
        return self._text[start:end]

    def at(self, name: str) -> bool:
        return self._text.startswith(name + " ", self._at)

    def one(self, name: str) -> str:
        if not self.at(name):
            raise Malformed(f"the line {name} is missing or out of place")
        return (self.take() or "")[len(name) + 1 :]

    def many(self, name: str) -> Iterator[str]:
        while self.at(name):
            yield self.one(name)

    def hashes(self, name: str) -> tuple[bytes, ...]:
        found = tuple(_unbase64(value) for value in self.many(name))
        if any(len(node) != 32 for node in found):
            raise Malformed("a hash does not have 32 bytes")
        return found


def _joined(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("ascii")


def _words(value: str, count: int) -> list[str]:
    words = value.split(" ")
    if len(words) != count:
        raise Malformed("a line has too many or too few words")
    return words


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= 1 << 63:
        raise Malformed("a number is not in its one spelling")
    return int(text)


def _member(text: str) -> str:
    if not _MEMBER.fullmatch(text):
        raise Malformed("a key or a witness has a name that no member has")
    return text


def _hex(text: str, size: int) -> bytes:
    if len(text) != 2 * size or not set(text) <= set("0123456789abcdef"):
        raise Malformed("a value is not lower-case hexadecimal of its length")
    return bytes.fromhex(text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise Malformed("a value is not base64") from cause
    if not data or _base64(data) != text:
        raise Malformed("a value is not base64 in its one spelling")
    return data


# The judgement ------------------------------------------------------------------------------------------------------

ARITHMETIC = "arithmetic"
AUDITOR = "the auditor's own knowledge"
FILE = "the file's word"
_NEVER = 1 << 63  # later than any date of a compromise
_EVIDENCE_LINKS = ("checkpoint", "entry", "statement", "inclusion")
_RANGE_LINKS = ("checkpoint", "entries", "statements", "complete")
_BY_REQUESTER = {"kiteline/request/v1", "kiteline/order/v1", "kiteline/receipt/v1"}


@dataclass(frozen=True)
class KnownKey:
    """A signing key that the auditor knows, 65 bytes. Times in Unix seconds."""

    key: bytes
    since: int = 0
    compromised_since: int | None = None


@dataclass(frozen=True)
class ValidatorSet:
    """Who may seal the blocks of a chain from a number on: accounts of 20 bytes."""

    since: int
    accounts: frozenset[bytes]


@dataclass(frozen=True)
class Trust:
    """What the auditor knows from elsewhere. What is empty has to be taken from the file, and the report says so.

    Attributes:
        keys: signing keys by member.
        blocks: hashes of blocks known to be final.
        contracts: addresses (20 bytes) of the contracts Anchors.
        witnesses: members whose cosignatures count.
        cosignatures_needed: how many of them a checkpoint must have.
        finality_members: members whose word counts that a block is final.
        finality_needed: how many of them must have given it; a block of `blocks` needs none.
        validators: by chain id, who may seal its blocks, by ascending number.
    """

    keys: dict[str, tuple[KnownKey, ...]] = field(default_factory=dict)
    blocks: frozenset[bytes] = frozenset()
    contracts: frozenset[bytes] = frozenset()
    witnesses: frozenset[str] = frozenset()
    cosignatures_needed: int = 0
    finality_members: frozenset[str] = frozenset()
    finality_needed: int = 0
    validators: dict[int, tuple[ValidatorSet, ...]] = field(default_factory=dict)


def read_trust(text: str) -> Trust:
    """Read a trust file. Raises Malformed, also for a word that is unknown or comes twice: whoever wrote it meant to ask for more."""
    try:
        document = json.loads(text, object_pairs_hook=_once)
        witnesses = document.pop("witnesses", {"members": [], "needed": 0})
        finality = document.pop("finality", {"members": [], "needed": 0})
        validators = document.pop("validators", {})
        document.pop("grants", None)  # these are for the trail,
        document.pop("names", None)  # and these for people
        if document.keys() != {"version", "keys", "blocks", "contracts"} or any(
            one.keys() != {"members", "needed"} for one in (witnesses, finality)
        ):
            raise Malformed("it lacks a word, or has one that is unknown")
        trust = Trust(
            keys={_member(name): tuple(map(_known_key, known)) for name, known in document["keys"].items()},
            blocks=frozenset(_hex(value, 32) for value in document["blocks"]),
            contracts=frozenset(_hex(value, 20) for value in document["contracts"]),
            witnesses=frozenset(map(_member, witnesses["members"])),
            cosignatures_needed=_number(str(witnesses["needed"])),
            finality_members=frozenset(map(_member, finality["members"])),
            finality_needed=_number(str(finality["needed"])),
            validators={_number(chain): _validator_sets(sets) for chain, sets in validators.items()},
        )
        few = trust.cosignatures_needed > len(trust.witnesses) or trust.finality_needed > len(trust.finality_members)
        if document["version"] != 1 or few:
            raise Malformed("it is of another version, or needs more signatures than it names members")
    except (ValueError, TypeError, AttributeError, RecursionError) as cause:
        raise Malformed(f"this is no trust file: {cause}") from cause
    return trust


def _validator_sets(sets: list[dict[str, Any]]) -> tuple[ValidatorSet, ...]:
    found = []
    for one in sets:
        if one.keys() != {"since", "accounts"}:
            raise Malformed("a set of validators has the words since and accounts")
        accounts = frozenset(_hex(value, 20) for value in one["accounts"])
        found.append(ValidatorSet(_number(str(one["since"])), accounts))
        if not accounts or len(accounts) < len(one["accounts"]):
            raise Malformed("a set of validators is empty, or names one twice")
    if not found or [one.since for one in found] != sorted({one.since for one in found}):
        raise Malformed("sets of validators stand in the order of the blocks since which they hold")
    return tuple(found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise Malformed("a word comes twice")
    return dict(pairs)


def _known_key(document: dict[str, Any]) -> KnownKey:
    if document.keys() != {"key", "since", "compromised_since"}:
        raise Malformed("a key has the words key, since and compromised_since")
    since, compromised = document["since"], document["compromised_since"]
    return KnownKey(
        _hex(document["key"], 65), _number(str(since)), None if compromised is None else _number(str(compromised))
    )


@dataclass(frozen=True)
class Link:
    """One link: its name, whether it holds, what it says or why it does not hold, and what that rests on."""

    name: str
    holds: bool
    says: str
    rests_on: str


@dataclass(frozen=True)
class Proven:
    """An entry that the file holds; the links say whether it is proven. `signers`: who signed its statement; `fault`: why that
    does not hold; `compromised`: those of the signers whose key was declared compromised by then.
    """

    index: int
    entry: Entry
    signers: tuple[str, ...]
    fault: str | None
    compromised: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The verdict over one file. `entries`: those that could be read; `anchored_size`: of the log, under the newest anchor whose
    block holds as well; 0 if none does.
    """

    member: str
    first: int
    links: tuple[Link, ...]
    entries: tuple[Proven, ...]
    checkpoint: Checkpoint | None
    anchored_size: int

    @property
    def holds(self) -> bool:
        """Whether every link holds."""
        return bool(self.links) and all(link.holds for link in self.links)

    @property
    def proven(self) -> bool:
        """Whether every link holds, and none by the word of the file alone, which anybody can forge."""
        return self.holds and not self.unknown

    @property
    def unknown(self) -> list[str]:
        """The links that hold by the word of the file alone."""
        return [link.name for link in self.links if link.holds and link.rests_on == FILE]


def verify(raw: bytes, trust: Trust, verifies: SignatureCheck = sm2_verifies) -> Report:
    """Judge every link of a file. Raises Malformed if it is not in its one spelling, and nothing else."""
    return _Judge(read_file(raw), trust, verifies).report()


def _keys_that_count(stated: Sequence[KeyStatement], trust: Trust) -> dict[tuple[str, bytes], tuple[int, int]]:
    """By member and key: from when on it was in force, and from when on it counts as compromised.

    Of a member whom the auditor knows, the auditor's keys count and no others. The earliest date of a compromise counts, whoever
    states it.
    """
    counting: dict[tuple[str, bytes], tuple[int, int]] = {}
    claims: list[tuple[str, KnownKey | KeyStatement]] = [
        (name, one) for name, keys in trust.keys.items() for one in keys
    ]
    for member, one in [*claims, *((one.member, one) for one in stated)]:
        held = counting.get((member, one.key))
        if held is None and isinstance(one, KeyStatement) and member in trust.keys:
            continue
        since, compromised = held or (one.since, _NEVER)
        date = _NEVER if one.compromised_since is None else one.compromised_since
        counting[member, one.key] = since, min(compromised, date)
    return counting


class _Judge:
    """Judges link after link in the order of the report; later ones rest on earlier ones."""

    def __init__(self, content: Evidence | EntryRange, trust: Trust, verifies: SignatureCheck) -> None:
        self._content = content
        self._proof = content.proof
        self._trust = trust
        self._verifies = verifies
        self._first = content.index if isinstance(content, Evidence) else content.first
        self._raws = (content.entry,) if isinstance(content, Evidence) else content.entries
        self._keys = _keys_that_count(content.proof.keys, trust)
        # By label, name and key id. Two keys of one id are easily made; a line may be of either.
        self._ring: dict[tuple[bytes, str, bytes], list[bytes]] = {}
        for label in (_SIGNATURE_LABEL, COSIGNATURE_LABEL):
            for member, key in self._keys:
                self._ring.setdefault((label, member, key_id(member, key, label)), []).append(key)
        self._head: Checkpoint | None = None
        self._entries: list[Proven] = []
        self._signed_by: dict[int, dict[str, bytes]] = {}  # by place in the list: the keys
        # By member, key, and the note whose anchor dates the signature (None: any anchor, since all cover the entries): what it signed.
        self._used: dict[tuple[str, bytes, bytes | None], str] = {}
        self._anchored: dict[Anchored, int] = {}  # those whose link holds: the size of the head
        self._dated: dict[bytes, int] = {}  # by note: when a block that holds had it
        self._sealed: dict[Anchored, str] = {}  # those whose block validators vouch for: what they do
        self._final: set[Anchored] = set()  # those whose block is stated to be final
        self._is_unvouched = False  # whether the file's word alone is why a block counts
        self._is_placed = False
        self._anchored_size = 0

    def report(self) -> Report:
        names = _EVIDENCE_LINKS if isinstance(self._content, Evidence) else _RANGE_LINKS
        checks = (self._check_checkpoint, self._check_entries, self._check_statements, self._check_place)
        links = [self._judged(name, check) for name, check in zip(names, checks, strict=True)]
        if self._trust.witnesses or self._trust.cosignatures_needed:
            links.append(self._judged("cosignatures", self._check_cosignatures))
        for one in self._proof.anchored:
            links.append(self._judged(f"anchor {one.chain.network}", partial(self._check_anchor, one)))
            if one.chain.chain_id in self._trust.validators:
                links.append(self._judged(f"seals {one.chain.network}", partial(self._check_seals, one)))
            if self._trust.finality_needed:
                links.append(self._judged(f"finality {one.chain.network}", partial(self._check_finality, one)))
            links.append(self._judged(f"block {one.chain.network}", partial(self._check_block, one)))
        if not self._proof.anchored:
            links.append(Link("anchor", holds=False, says="no network is named that has a head", rests_on=ARITHMETIC))
        links.append(self._judged("keys", self._check_keys))
        for place, signers in self._signed_by.items():
            compromised = tuple(
                name for name, key in signers.items() if self._was_compromised(name, key, self._dated_at())
            )
            self._entries[place] = replace(self._entries[place], compromised=compromised)
        member = self._head.member if self._head else ""
        return Report(member, self._first, tuple(links), tuple(self._entries), self._head, self._anchored_size)

    @staticmethod
    def _judged(name: str, step: Callable[[], tuple[str, str]]) -> Link:
        try:
            says, rests_on = step()
        except (Malformed, _DoesNotHold) as why:
            return Link(name, holds=False, says=str(why), rests_on=ARITHMETIC)
        return Link(name, holds=True, says=says, rests_on=rests_on)

    def _signers(
        self,
        note: Note,
        what: str,
        dated_by: bytes | None,
        only: Container[str] | None,
        label: bytes = _SIGNATURE_LABEL,
    ) -> dict[str, bytes]:
        """Who of `only`, or of everyone, signed a note, and with which key. A line of a key that counts must hold. Raises _DoesNotHold."""
        found = {}
        for line in note.lines:
            keys = self._ring.get((label, line.name, line.key_id)) if only is None or line.name in only else None
            if keys is None:
                continue
            message, signature = note.text.encode(), line.blob
            if label == COSIGNATURE_LABEL:
                message, signature = cosigned_message(int.from_bytes(signature[:8], "big"), note.text), signature[8:]
            key = next((key for key in keys if self._verifies(key, message, signature)), None)
            if key is None:
                raise _DoesNotHold(f"the signature of {line.name} under {what} is wrong")
            self._used.setdefault((line.name, key, dated_by), what)
            found[line.name] = key
        return dict(sorted(found.items()))

    def _signed(self, note: Note, what: str, dated_by: bytes | None, author: str | None) -> dict[str, bytes]:
        """The same where the author must have signed, or anyone if it is not known who that is."""
        found = self._signers(note, what, dated_by, None if author is None else {author})
        if not found:
            whose = "the auditor knows" if author in self._trust.keys else "the file states"
            raise _DoesNotHold(f"no key that {whose}{f' of {author}' if author else ''} has signed {what}")
        return found

    def _signed_head(self, raw: bytes, what: str) -> Checkpoint:
        note = read_note(raw)
        head = read_checkpoint(note.text)
        self._signed(note, what, raw, head.member)
        return head

    def _rests(self, members: Iterable[str]) -> str:
        return AUDITOR if all(member in self._trust.keys for member in members) else FILE

    # The links.

    def _check_checkpoint(self) -> tuple[str, str]:
        head = self._signed_head(self._proof.checkpoint, "the checkpoint")
        if not head.origin.endswith("/audit/SM3"):
            raise _DoesNotHold(f"the checkpoint is not of an audit log but of {head.origin}")
        self._head = head
        return f"{head.member} signed the head of its log at {head.size} entries", self._rests([head.member])

    def _check_entries(self) -> tuple[str, str]:
        faults = []
        for index, raw in enumerate(self._raws, self._first):
            try:
                self._entries.append(Proven(index, read_entry(raw), (), None))
            except Malformed as why:
                faults.append(f"entry {index}: {why}")
        _raise_for(faults)
        if isinstance(self._content, EntryRange):
            return f"{len(self._raws)} entries", ARITHMETIC
        entry = self._entries[0].entry
        outcome = "done" if entry.refusal is None else f"refused, {entry.refusal}"
        return f"{entry.event} of {entry.actor} about {entry.subject}: {outcome}", ARITHMETIC

    def _check_statements(self) -> tuple[str, str]:
        names: set[str] = set()
        faults: list[str] = []
        kind = ""
        for place, one in enumerate(self._entries):
            if one.entry.note is None:
                continue
            try:
                note = read_note(one.entry.note)
                # Of what was refused no author is asked for: that may be why it was.
                author = author_of(note.text, one.entry.actor) if one.entry.refusal is None else None
                signers = self._signed(note, f"the statement in entry {one.index}", None, author)
            except (Malformed, _DoesNotHold) as why:
                faults.append(f"entry {one.index}: {why}")
                self._entries[place] = Proven(one.index, one.entry, (), str(why))
                continue
            kind = note.text.split("\n", 1)[0]
            names.update(signers)
            self._signed_by[place] = signers
            self._entries[place] = Proven(one.index, one.entry, tuple(signers), None)
        _raise_for(faults)
        if not self._entries:
            raise _DoesNotHold("there is no entry to check")
        if not names:
            return "no statement is in it, so none had to be signed", ARITHMETIC
        if isinstance(self._content, EntryRange) or not _TOKEN.fullmatch(kind):  # which anyone can have written
            kind = "every statement"
        return f"{kind} is signed; by {', '.join(sorted(names))}", self._rests(names)

    def _check_place(self) -> tuple[str, str]:
        head, content = self._needed(), self._content
        stop = self._first + len(self._raws)
        if stop > head.size:
            raise _DoesNotHold(f"that head has {head.size} entries, and none at {stop - 1}")
        leaves = [leaf_hash(raw) for raw in self._raws]
        if isinstance(content, Evidence):
            root = root_from_inclusion(leaves[0], content.index, head.size, content.path)
            says = f"the entry stands at index {content.index} under that head"
        else:
            root = root_from_range(content.first, leaves, head.size, content.left, content.right)
            says = f"these are all entries from {content.first} to {stop - 1}, and none is left out"
        if root != head.root:
            raise _DoesNotHold("the path does not lead to that head")
        self._is_placed = True
        return says, ARITHMETIC

    def _check_cosignatures(self) -> tuple[str, str]:
        head, raw, needed = self._needed(), self._proof.checkpoint, self._trust.cosignatures_needed
        witnesses = self._trust.witnesses - {head.member}  # nobody is a witness of its own log
        names = self._signers(read_note(raw), "the cosigned checkpoint", raw, witnesses, COSIGNATURE_LABEL)
        if len(names) < needed:
            raise _DoesNotHold(f"{len(names)} witnesses cosigned, {needed} are needed")
        return f"cosigned by {', '.join(names) or 'nobody'}; {needed} are needed", self._rests(names)

    def _check_anchor(self, one: Anchored) -> tuple[str, str]:
        head, chain, proof = self._needed(), one.chain, self._proof
        is_same = one.checkpoint == proof.checkpoint
        anchored = head if is_same else self._signed_head(one.checkpoint, f"the head that {chain.network} has")
        if anchored.origin != head.origin:
            raise _DoesNotHold("the head that is anchored is of another log")
        older, newer = sorted((head, anchored), key=lambda point: point.size)
        if older.size == newer.size and older.root != newer.root:
            raise _DoesNotHold(f"two signed heads at {older.size} entries have different roots: the log was forked")
        if not is_consistent(older.size, older.root, newer.size, newer.root, one.consistency):
            raise _DoesNotHold(
                f"the path does not lead from the head at {older.size} entries to the one at {newer.size}"
            )
        if self._first + len(self._raws) > anchored.size:
            raise _DoesNotHold(f"the anchored head has {anchored.size} entries and does not cover this")
        header = read_header(chain.header)
        receipt = receipt_under(header.receipts_root, chain.receipt_index, chain.receipt_path)
        if receipt is None:
            raise _DoesNotHold("the path does not lead from the header to a receipt")
        log_id, member = sm3(anchored.origin.encode()), anchored.member.encode().ljust(32, b"\0")
        stated = AnchorEvent(chain.contract, log_id, member, anchored.size, anchored.root, sm3(one.checkpoint))
        if stated not in anchor_events(receipt):
            raise _DoesNotHold("the receipt holds no event that anchors this head")
        if self._trust.contracts and chain.contract not in self._trust.contracts:
            raise _DoesNotHold(f"contract {chain.contract.hex()} is none of those that the auditor knows")
        self._anchored[one] = anchored.size
        # Nothing in a header or a receipt names the chain.
        says = f"contract {chain.contract.hex()} anchored the head at {anchored.size} entries; the file calls the chain {chain.chain_id}"
        return says, self._rests([anchored.member]) if self._trust.contracts else FILE

    def _check_block(self, one: Anchored) -> tuple[str, str]:
        header = read_header(one.chain.header)
        if header.number != one.chain.block_number:
            raise _DoesNotHold(f"the header is of block {header.number}, not {one.chain.block_number}")
        is_vouched = one in self._final or one in self._sealed
        if self._trust.blocks and header.hash not in self._trust.blocks and not is_vouched:
            raise _DoesNotHold(f"block {header.hash.hex()} is none of those that the auditor knows")
        if one in self._anchored:
            self._dated[one.checkpoint] = min(header.time, self._dated.get(one.checkpoint, header.time))
            self._anchored_size = max(self._anchored_size, self._anchored[one])
        if header.hash in self._trust.blocks:
            return f"block {header.number}, {header.hash.hex()}, is one that the auditor knows", AUDITOR
        if one in self._final:
            return f"block {header.number}, {header.hash.hex()}, is stated to be final", AUDITOR
        if one in self._sealed:
            return f"block {header.number}, {header.hash.hex()}, {self._sealed[one]}", AUDITOR
        self._is_unvouched = True
        return f"block {header.number} has the hash {header.hash.hex()}; compare it with the chain", FILE

    def _check_seals(self, one: Anchored) -> tuple[str, str]:
        """Validators that the auditor knows sealed the block and those on top of it, none twice, and more than half of them have.

        A validator may seal one in floor(n/2)+1 consecutive blocks (EIP-225), so as many blocks are the work of as many validators, and
        whoever would put others in their place needs the keys of as many.
        """
        sets = self._trust.validators[one.chain.chain_id]
        if read_header(one.chain.header).hash in self._trust.blocks and not one.chain.later:
            return "the auditor knows the block and needs no seal on it", AUDITOR
        newest: Header | None = None
        sealers: list[bytes] = []
        validators: frozenset[bytes] = frozenset()
        for raw in (one.chain.header, *one.chain.later):
            header, account = read_header(raw), sealed_by(raw)
            if newest is not None and (header.parent_hash, header.number) != (newest.hash, newest.number + 1):
                raise _DoesNotHold(f"block {header.number} is not on top of block {newest.number}")
            validators = next((known.accounts for known in reversed(sets) if known.since <= header.number), frozenset())
            if account is None or account not in validators:
                raise _DoesNotHold(f"block {header.number} is sealed by no validator that the auditor knows")
            if account in sealers[max(0, len(sealers) - len(validators) // 2) :]:
                raise _DoesNotHold(f"block {header.number} is sealed by a validator whose turn it cannot be")
            sealers.append(account)
            newest = header
        count, needed = len(set(sealers)), len(validators) // 2 + 1
        if count < needed:
            raise _DoesNotHold(f"{count} validators sealed it and what is on top of it, {needed} are needed")
        self._sealed[one] = f"is sealed by validators: {count} of {len(validators)} sealed it and what is on top of it"
        return f"{len(sealers)} blocks, sealed by {', '.join(account.hex() for account in sealers)}", AUDITOR

    def _check_finality(self, one: Anchored) -> tuple[str, str]:
        """Members' word, each from an endpoint of its own, which takes the place of a node of the auditor's. Not the log's owner's."""
        header, needed = read_header(one.chain.header), self._trust.finality_needed
        if header.hash in self._trust.blocks:
            return "the auditor knows the block and needs nobody's word for it", AUDITOR
        if one.finality is None:
            raise _DoesNotHold("nobody states that the block is final")
        note = read_note(one.finality)
        if note.text != finality_text(one.chain.chain_id, header.number, header.hash):
            raise _DoesNotHold("the statement of finality is of another block")
        members = self._trust.finality_members - {self._needed().member}
        names = self._signers(note, "the statement of finality", one.finality, members)
        if len(names) < needed:
            raise _DoesNotHold(f"{len(names)} departments state that the block is final, {needed} are needed")
        self._final.add(one)
        return f"{', '.join(names)} saw the block final; {needed} are needed", self._rests(names)

    def _check_keys(self) -> tuple[str, str]:
        """No key signed before it was in force, or after it was declared compromised.

        The time that counts is that of the earliest block that has what was signed: a thief can write any date into a statement, not
        into a block. A head that no block has is not dated by an older one.
        """
        if not self._used:
            raise _DoesNotHold("no key has signed anything here")
        undated = set()
        for (member, key, note), what in self._used.items():
            by = self._dated_at() if note is None else self._dated.get(note)
            if by is None:
                undated.add(what)
            if self._was_compromised(member, key, by):
                raise _DoesNotHold(f"a key of {member} that signed {what} was compromised by then")
            if by is not None and by < self._keys[member, key][0]:
                raise _DoesNotHold(f"a key of {member} that signed {what} was not in force yet")
        count = len({used[:2] for used in self._used})
        says = f"{count} keys signed; each had come into force, and none was declared compromised by then"
        says += f"; no block dates {', '.join(sorted(undated)[:5])}" if undated else ""
        return says, FILE if self._is_unvouched else self._rests([member for member, _, _ in self._used])

    def _dated_at(self) -> int | None:
        """When a block first had the entries, Unix seconds."""
        return min(self._dated.values(), default=None) if self._is_placed else None

    def _was_compromised(self, member: str, key: bytes, by: int | None) -> bool:
        compromised = self._keys[member, key][1]
        return compromised != _NEVER and (by is None or by >= compromised)

    def _needed(self) -> Checkpoint:
        if self._head is None:
            raise _DoesNotHold("there is no valid checkpoint to lead to")
        return self._head


def _raise_for(faults: Sequence[str]) -> None:
    if faults:
        raise _DoesNotHold("; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else ""))


def author_of(text: str, actor: str) -> str:
    """Whose statement a text is (docs/formats.md, "Statements"): of a checkpoint its log's member; of other statements the requester or
    the provider that a line names; and where none does, the member whose act the entry says it is.
    """
    head, *lines = text.split("\n")
    named = _ORIGIN.fullmatch(head)
    if named:
        return named[1]
    role = "requester " if head in _BY_REQUESTER else "provider "
    author = next((line.removeprefix(role) for line in lines if line.startswith(role)), actor)
    return author if _TOKEN.fullmatch(author) else "-"  # which nobody is called


def finality_text(chain_id: int, number: int, block_hash: bytes) -> str:
    """What departments sign that saw a block final: every one the same text, so that their signatures stand under one note."""
    return f"kiteline/finality/v1\nchain {chain_id}\nblock {number}\nhash {block_hash.hex()}\n"


def cosigned_message(time: int, text: str) -> bytes:
    """What a witness signs: its own head line, the time (Unix seconds), and the checkpoint's text."""
    return f"{COSIGNATURE_HEAD}\ntime {time}\n{text}".encode()


# The command --------------------------------------------------------------------------------------------------------


def report_document(name: str, report: Report) -> dict[str, object]:
    """A report for scripts."""
    links = [{"name": one.name, "holds": one.holds, "says": one.says, "rests_on": one.rests_on} for one in report.links]
    return {"file": name, "holds": report.holds, "proven": report.proven, "member": report.member, "links": links}


def report_lines(report: Report) -> Iterator[str]:
    """A report for people."""
    for link in report.links:
        yield f"{'holds' if link.holds else 'DOES NOT HOLD':13}  {link.name}: {link.says} [{link.rests_on}]"
    yield verdict(report)


def verdict(report: Report) -> str:
    """A report in one sentence."""
    if not report.holds:
        return f"{sum(not link.holds for link in report.links)} of {len(report.links)} links do not hold"
    if not report.proven:
        return f"nothing is proved: anybody can write such a file; say what you know (--trust) of: {', '.join(report.unknown)}"
    return "every link holds, by what you know"


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one file: 0 if it is proved, 4 if a link does not hold or rests on the file's word, 1 if the file is malformed."""
    parser = argparse.ArgumentParser(description="Verify evidence of a Kiteline log offline.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--trust", type=Path, help="what you know from elsewhere")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        trust = read_trust(chosen.trust.read_text(encoding="utf-8")) if chosen.trust else Trust()
        with chosen.file.open("rb") as stream:
            report = verify(stream.read(MAX_RANGE + 1), trust)
    except (Malformed, UnicodeDecodeError, OSError) as why:
        sys.stderr.write(f"EVIDENCE_MALFORMED {why}\n")
        return 1
    if chosen.json:
        sys.stdout.write(json.dumps(report_document(str(chosen.file), report)) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in report_lines(report)))
    return 0 if report.proven else 4


if __name__ == "__main__":
    sys.exit(main())
