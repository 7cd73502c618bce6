"""Reading published vector files, and the plain arithmetic that tells why a vector is refused."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crypto.der import BIT_STRING, SEQUENCE, Reader, decode_signature, encode
from crypto.sm2 import DEFAULT_USER_ID, GX, GY, A, B, N, P, SM2PublicKey, add, is_on_curve, multiply
from crypto.sm3 import sm3

_EXPLICIT_0 = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18


def botan_records(path: Path, last: str, *, carry: bool = False) -> list[dict[str, str]]:
    """Records of a Botan file: `Name = value` lines up to the field `last`. With `carry`, values stand until replaced."""
    records: list[dict[str, str]] = []
    held: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or line.startswith(("#", "[")):
            continue
        held[name] = value
        if name == last:
            records.append(dict(held))
            held = held if carry else {}
    return records


def evp_records(path: Path) -> list[dict[str, str]]:
    """Blocks of an OpenSSL evp_test file. A key's block has its PEM under `PEM`."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    records = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if line.strip()]
        if not lines or lines[0].startswith("Title"):
            continue
        pem = "\n".join(lines[1:]) if lines[0].startswith("PrivateKey") else ""
        fields = [line.partition("=") for line in (lines[:1] if pem else lines)]
        record = {name.strip(): value.strip() for name, _, value in fields}
        records.append(record | ({"PEM": pem} if pem else {}))
    return records


def evp_bytes(value: str) -> bytes:
    """A value of an evp_test file: text in quotes, or hexadecimal."""
    return value[1:-1].encode() if value.startswith('"') else bytes.fromhex(value)


def json_tests(path: Path) -> list[dict[str, Any]]:
    """The cases of a JSON file, those of all groups together, each with its group's fields."""
    document = json.loads(path.read_text(encoding="utf-8"))
    groups = document.get("testGroups", [document])
    return [{**group, **case} for group in groups for case in group["tests"]]


def pem_blocks(path: Path, label: str) -> list[bytes]:
    """The DER of every block of this label in a file."""
    pattern = rf"-----BEGIN {label}-----(.*?)-----END {label}-----"
    found = re.findall(pattern, path.read_text(encoding="utf-8"), re.DOTALL)
    return [base64.b64decode("".join(body.split()), validate=True) for body in found]


@dataclass(frozen=True)
class Signed:
    """A certificate or a request for one: what was signed, the signature's algorithm, and the key that it is about."""

    body: bytes
    algorithm: bytes
    signature: bytes
    key: SM2PublicKey
    last_day: datetime | None  # a request has none


def certificates(path: Path) -> list[Signed]:
    """The certificates of a PEM file (RFC 5280, section 4.1), read strictly."""
    return [_signed(der, request=False) for der in pem_blocks(path, "CERTIFICATE")]


def certificate_request(path: Path) -> Signed:
    """The one request of a PEM file (RFC 2986, section 4)."""
    (der,) = pem_blocks(path, "CERTIFICATE REQUEST")
    return _signed(der, request=True)


def _signed(der: bytes, *, request: bool) -> Signed:
    outer = Reader(der)
    whole = outer.sequence()
    outer.finish()
    body, algorithm, bits = whole.element(SEQUENCE), whole.element(SEQUENCE), whole.element(BIT_STRING)
    whole.finish()
    assert bits[0] == 0
    fields, last_day = Reader(body), None
    if request:
        fields.integer()
        fields.sequence()
    else:
        fields.element(_EXPLICIT_0)
        fields.integer()
        assert fields.element(SEQUENCE) == algorithm  # RFC 5280, section 4.1.1.2
        fields.sequence()
        validity = fields.sequence()
        _time(validity)
        last_day = _time(validity)
        fields.sequence()
    key = SM2PublicKey.from_der(encode(SEQUENCE, fields.element(SEQUENCE)))
    return Signed(encode(SEQUENCE, body), algorithm, bits[1:], key, last_day)


def _time(validity: Reader) -> datetime:
    if validity.peek() == _UTC_TIME:
        return datetime.strptime(validity.element(_UTC_TIME).decode(), "%y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return datetime.strptime(validity.element(_GENERALIZED_TIME).decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def point_of(encoded: bytes) -> tuple[int, int]:
    """A point as 04 ‖ x ‖ y, or compressed as 02 or 03 ‖ x, which only test vectors use."""
    x, rest = int.from_bytes(encoded[1:33], "big"), encoded[33:]
    y = int.from_bytes(rest, "big") if rest else pow(x**3 + A * x + B, (P + 1) // 4, P)
    if not rest and y % 2 != encoded[0] % 2:
        y = P - y
    assert is_on_curve(x, y)
    return x, y


def identity_digest(key: SM2PublicKey, user_id: bytes = DEFAULT_USER_ID) -> bytes:
    """Z_A, from the text of GB/T 32918.2-2016, clause 5.5."""
    domain = b"".join(value.to_bytes(32, "big") for value in (A, B, GX, GY))
    return sm3((8 * len(user_id)).to_bytes(2, "big") + user_id + domain + key.to_bytes()[1:])


def holds_over(digest: bytes, key: SM2PublicKey, signature: bytes) -> bool:
    """Whether a signature holds over e = `digest` as it stands, which an engine must not take for one over a message."""
    r, s = decode_signature(signature)
    point = add(multiply(s, (GX, GY)), multiply((r + s) % N, point_of(key.to_bytes())))
    return point is not None and (int.from_bytes(digest, "big") + point[0]) % N == r
