"""Key sets and admissions that a contract must refuse, or may only just accept."""

from __future__ import annotations

from collections.abc import Mapping

from tests.contracts.world import ALL_ROLES, KeySet, Words

FIELDS = ("signing_key", "encryption_key", "account", "certificate", "endpoint")
POINT = b"\4" + b"\1" * 64
NO_ACCOUNT = "0x" + "00" * 20
MAX_CERTIFICATE, MAX_TEXT = 4096, 256  # bytes
FOUR_BYTES = "𬭎"  # one character, four bytes of UTF-8

INVALID_KEYS: Mapping[str, tuple[str, object]] = {
    "no signing key": ("signing_key", b""),
    "a signing key that is short": ("signing_key", POINT[:-1]),
    "a signing key that is long": ("signing_key", POINT + b"\0"),
    "a compressed signing key": ("signing_key", b"\2" + POINT[1:]),
    "no encryption key": ("encryption_key", b""),
    "an encryption key that is short": ("encryption_key", POINT[:-1]),
    "an encryption key that is long": ("encryption_key", POINT + b"\0"),
    "a compressed encryption key": ("encryption_key", b"\3" + POINT[1:]),
    "no account": ("account", NO_ACCOUNT),
    "no certificate": ("certificate", b""),
    "a certificate that is long": ("certificate", b"\x30" * (MAX_CERTIFICATE + 1)),
    "no endpoint": ("endpoint", ""),
    "an endpoint that is long": ("endpoint", "n" * (MAX_TEXT + 1)),
    "an endpoint of few characters and many bytes": ("endpoint", FOUR_BYTES * (MAX_TEXT // 4) + "n"),
}
LARGEST_KEYS: Mapping[str, tuple[str, object]] = {
    "the longest certificate": ("certificate", b"\x30" * MAX_CERTIFICATE),
    "the longest endpoint": ("endpoint", "n" * MAX_TEXT),
    "the longest endpoint in bytes": ("endpoint", FOUR_BYTES * (MAX_TEXT // 4)),
}
INVALID_IDS: Mapping[str, bytes] = {
    "no id": bytes(32),
    "an id that is short": b"1137070000425874X".ljust(32, b"\0"),
    "an id that is long": b"11370700004258746XY".ljust(32, b"\0"),
    "an id with something far behind it": b"11370700004258746X".ljust(31, b"\0") + b"\1",
    "an id in small letters": b"11370700004258746x".ljust(32, b"\0"),
    "an id that starts late": b"\0" + b"11370700004258746X".ljust(31, b"\0"),
    "an id with a character below the digits": b"1137070000425874/X".ljust(32, b"\0"),
    "an id with a character above the digits": b"1137070000425874:X".ljust(32, b"\0"),
    "an id with a character below the capitals": b"1137070000425874@X".ljust(32, b"\0"),
    "an id with a character above the capitals": b"1137070000425874[X".ljust(32, b"\0"),
}
INVALID_NAMES: Mapping[str, str] = {
    "no name": "",
    "a name that is long": "n" * (MAX_TEXT + 1),
    "a name of few characters and many bytes": FOUR_BYTES * (MAX_TEXT // 4) + "n",
}
INVALID_ROLES = (0, ALL_ROLES + 1, 2**8 - 1)


def with_field(keys: KeySet, field: str, value: object) -> KeySet:
    """Keys with one field changed."""
    changed = [value if name == field else found for name, found in zip(FIELDS, keys, strict=True)]
    return tuple(changed)  # type: ignore[return-value]  # a contract must refuse what is no key set


def with_keys(admission: Words, keys: KeySet) -> Words:
    """An admission with other keys."""
    return (*admission[:3], keys)
