"""The values that a statement's lines carry, each with its one accepted spelling.

A codec writes a value and reads it back. Reading is strict: what it accepts it would write again byte for byte, so that
two nodes never hold two texts of one statement. Errors are StatementInvalid and name the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from crypto.credit_code import check_credit_code
from crypto.errors import CreditCodeInvalid
from node.errors import StatementInvalid

DIGEST_SIZE = 32  # bytes
ZERO_DIGEST = bytes(DIGEST_SIZE)  # stands where a digest does not apply

MAX_TEXT_CHARACTERS = 1_000
MAX_NAME_CHARACTERS = 100
MAX_FIELDS = 1_000

_ABSENT = "-"
_ALL = "*"
# Control characters, line and paragraph separators, a byte order mark, lone surrogates, and the marks that reorder what
# a person reads (U+202A to U+202E, U+2066 to U+2069): none may stand in a text that an officer signs by its looks.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_LOCAL_NAME = re.compile(r"[a-z0-9-]{1,64}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_HEX = re.compile(r"[0-9a-f]*")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z
_ESCAPED = re.compile(r"[%;=,]")
_ESCAPE = re.compile(r"%(25|3B|3D|2C)")


@dataclass(frozen=True)
class Range:
    """Records `start` to `stop` (exclusive) of a dataset; never empty."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop < 1 << 64:
            raise StatementInvalid(f"records {self.start} to {self.stop} are not a range")

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class FieldDescription:
    """A field of a dataset: its `name` as in the source's header, and a `title` for people, which may be empty."""

    name: str
    title: str = ""


@dataclass(frozen=True)
class Codec:
    """How one kind of value is spelled. Both functions raise StatementInvalid."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


@dataclass(frozen=True)
class Line:
    """A line of a statement: its name there, and the codec of its value."""

    name: str
    codec: Codec


def write_time(milliseconds: int) -> str:
    """Unix milliseconds as RFC 3339 UTC with milliseconds: `2026-11-24T01:02:03.004Z`."""
    if not 0 <= milliseconds <= LAST_TIME_MS:
        raise StatementInvalid(f"{milliseconds} ms is not a time between 1970 and 9999")
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def read_time(text: str) -> int:
    """The reverse of `write_time`."""
    if not _TIME.fullmatch(text):
        raise StatementInvalid(f"{text!r} is not a time like 2026-11-24T01:02:03.004Z")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as cause:
        raise StatementInvalid(f"{text!r} is not a time of the calendar") from cause
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def check_text(text: str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Free text for people: 1 to `limit` characters on one line, no space at either end."""
    if not 1 <= len(text) <= limit:
        raise StatementInvalid(f"a text has 1 to {limit} characters, not {len(text)}")
    if _FORBIDDEN.search(text):
        raise StatementInvalid("a text holds a control, line-breaking or reordering character")
    if text[0].isspace() or text[-1].isspace():
        raise StatementInvalid("a text begins or ends with a space")
    return text


def check_field_name(name: str) -> str:
    """A field's name: a short text that is neither `*` nor `-`, which mean all fields and none."""
    check_text(name, MAX_NAME_CHARACTERS)
    if name in {_ALL, _ABSENT}:
        raise StatementInvalid(f"a field cannot be named {name!r}")
    return name


def _checked(value: Any, expected: type | tuple[type, ...]) -> None:  # noqa: ANN401  # any value is what it judges
    if not isinstance(value, expected) or isinstance(value, bool):
        raise StatementInvalid(f"a value is of the wrong kind: {type(value).__name__}")


def hexadecimal(size: int) -> Codec:
    """Exactly `size` bytes as lower-case hexadecimal digits."""

    def write(value: bytes) -> str:
        _checked(value, bytes)
        if len(value) != size:
            raise StatementInvalid(f"a value has {size} bytes, not {len(value)}")
        return value.hex()

    def read(text: str) -> bytes:
        if len(text) != 2 * size or not _HEX.fullmatch(text):
            raise StatementInvalid(f"{text[:80]!r} is not {2 * size} lower-case hexadecimal digits")
        return bytes.fromhex(text)

    return Codec(write, read)


def decimal(least: int, greatest: int) -> Codec:
    """An integer between two bounds, in decimal without leading zeros."""

    def check(value: int) -> int:
        if not least <= value <= greatest:
            raise StatementInvalid(f"{value} is not between {least} and {greatest}")
        return value

    def write(value: int) -> str:
        _checked(value, int)
        return str(check(value))

    def read(text: str) -> int:
        if not _DECIMAL.fullmatch(text):
            raise StatementInvalid(f"{text[:80]!r} is not a decimal number without leading zeros")
        return check(int(text))

    return Codec(write, read)


def words(kinds: type[Enum]) -> Codec:
    """A member of an enumeration, spelled as its name in lower case with hyphens."""
    spelled = {kind.name.lower().replace("_", "-"): kind for kind in kinds}
    names = {kind: word for word, kind in spelled.items()}

    def write(value: Enum) -> str:
        _checked(value, kinds)
        return names[value]

    def read(text: str) -> Enum:
        if text not in spelled:
            raise StatementInvalid(f"{text[:80]!r} is none of {', '.join(spelled)}")
        return spelled[text]

    return Codec(write, read)


def optional(codec: Codec) -> Codec:
    """A value that may be absent: None is spelled `-`."""

    def write(value: Any) -> str:  # noqa: ANN401  # of the kind that `codec` writes
        if value is None:
            return _ABSENT
        text = codec.write(value)
        if text == _ABSENT:
            raise StatementInvalid("a value cannot be '-', which means that there is none")
        return text

    return Codec(write, lambda text: None if text == _ABSENT else codec.read(text))


def escape(text: str) -> str:
    """Percent-encode the characters that separate: `%`, `;`, `=` and `,`."""
    return _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", text)


def unescape(text: str) -> str:
    """The reverse of `escape`; anything else that is escaped is refused."""
    plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    if escape(plain) != text:
        raise StatementInvalid(f"{text[:80]!r} is not percent-encoded in the one accepted way")
    return plain


def _check_member(text: str) -> str:
    _checked(text, str)
    try:
        return check_credit_code(text)
    except CreditCodeInvalid as cause:
        raise StatementInvalid(f"{text[:40]!r} is not a member id: {cause}") from cause


def _check_local_name(text: str) -> str:
    _checked(text, str)
    if not _LOCAL_NAME.fullmatch(text):
        raise StatementInvalid("a dataset's name is 1 to 64 lower-case letters, digits and hyphens")
    return text


def _check_names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(names) <= MAX_FIELDS or len(set(names)) != len(names):
        raise StatementInvalid(f"a list of fields has 1 to {MAX_FIELDS} names, none twice")
    for name in names:
        check_field_name(name)
    return names


def _write_names(names: tuple[str, ...]) -> str:
    _checked(names, tuple)
    if not names:
        return _ALL
    return ",".join(escape(name) for name in _check_names(names))


def _read_names(text: str) -> tuple[str, ...]:
    if text == _ALL:
        return ()
    return _check_names(tuple(unescape(part) for part in text.split(",")))


def _write_fields(fields: tuple[FieldDescription, ...]) -> str:
    _checked(fields, tuple)
    _check_names(tuple(field.name for field in fields))
    return ";".join(
        f"{escape(field.name)}={escape(check_text(field.title))}" if field.title else escape(field.name)
        for field in fields
    )


def _read_fields(text: str) -> tuple[FieldDescription, ...]:
    fields = []
    for part in text.split(";"):
        name, equals, title = part.partition("=")
        if equals and not title:
            raise StatementInvalid("a field has an equals sign and no title")
        fields.append(FieldDescription(unescape(name), check_text(unescape(title)) if title else ""))
    _check_names(tuple(field.name for field in fields))
    return tuple(fields)


def _write_seconds(seconds: int) -> str:
    _checked(seconds, int)
    return write_time(seconds * 1000)


def _read_seconds(text: str) -> int:
    milliseconds = read_time(text)
    if milliseconds % 1000:
        raise StatementInvalid("an expiry is a whole second, as the chain keeps it")
    return milliseconds // 1000


def _write_time(milliseconds: int) -> str:
    _checked(milliseconds, int)
    return write_time(milliseconds)


def _write_range(value: Range) -> str:
    _checked(value, Range)
    return f"{value.start}-{value.stop}"


def _read_range(text: str) -> Range:
    start, _, stop = text.partition("-")
    return Range(U64.read(start), U64.read(stop))


def _write_text(text: str) -> str:
    _checked(text, str)
    return check_text(text)


DIGEST = hexadecimal(DIGEST_SIZE)
ORDER_ID = hexadecimal(16)
U64 = decimal(0, (1 << 64) - 1)
SEQUENCE = decimal(1, (1 << 64) - 1)
QUOTA = decimal(1, (1 << 32) - 1)
COUNT = decimal(0, (1 << 32) - 1)
LEVEL = decimal(1, 4)
TIME = Codec(_write_time, read_time)
SECONDS = Codec(_write_seconds, _read_seconds)
MEMBER = Codec(_check_member, _check_member)
LOCAL_NAME = Codec(_check_local_name, _check_local_name)
FIELD_NAME = Codec(lambda name: escape(check_field_name(name)), lambda text: check_field_name(unescape(text)))
FIELD_NAMES = Codec(_write_names, _read_names)
FIELDS = Codec(_write_fields, _read_fields)
TEXT = Codec(_write_text, check_text)
RANGE = Codec(_write_range, _read_range)
