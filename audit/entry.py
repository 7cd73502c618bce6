"""One entry of the audit log: a strict text that a person can read, with the step's note verbatim.

    kiteline/entry/v1
    time 2026-11-24T01:02:03.004Z
    event RECEIPT_RECEIVED
    outcome ok
    actor 11370700004258746X
    subject grant:9b02…
    detail one line, if there is one

    (the note, if one belongs to the step)

`outcome` is `ok` or `refused <REASON>`. `actor` is the member whose act it is, or `-`. The subject is `-` or kind and name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from audit.errors import EntryInvalid

HEAD = "kiteline/entry/v1"
NOBODY = "-"
MAX_DETAIL = 4_096  # characters
MAX_NOTE = 1_048_576  # bytes
_UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_TOKEN = re.compile(r"[!-~]{1,200}")  # printable ASCII without space
# Python 3.14 takes 24:00 for the next day's midnight, which would be a second spelling.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d\.\d{3}Z", re.ASCII)
# What nobody sees or what reorders a line. Spelled out, since what Unicode calls printable grows with its versions.
_HIDDEN = re.compile(
    r"[\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST_MS = 253_402_300_799_999  # the last millisecond of the year 9999
_HEAD_LINES = 6


@dataclass(frozen=True)
class Entry:
    """A log entry. `time_ms`: Unix time in milliseconds. `refusal`: the reason, or None if the step was done."""

    time_ms: int
    event: str
    actor: str
    subject: str
    refusal: str | None = None
    detail: str | None = None
    note: bytes | None = None

    def __post_init__(self) -> None:
        _check("event", self.event, _UPPER_SNAKE)
        _check("actor", self.actor, _TOKEN)
        _check("subject", self.subject, _TOKEN)
        if self.refusal is not None:
            _check("refusal", self.refusal, _UPPER_SNAKE)
        if self.detail is not None and not _is_line(self.detail):
            raise EntryInvalid("a detail is one line of visible characters, at most 4,096")
        if not 0 <= self.time_ms <= _LATEST_MS:
            raise EntryInvalid("the time is outside the years 1970 to 9999")
        if self.note is not None and not 0 < len(self.note) <= MAX_NOTE:
            raise EntryInvalid("a note has from 1 byte to 1 MiB")

    def to_bytes(self) -> bytes:
        """The one spelling, which `parse_entry` reads back."""
        outcome = "ok" if self.refusal is None else f"refused {self.refusal}"
        lines = [HEAD, f"time {format_time(self.time_ms)}", f"event {self.event}", f"outcome {outcome}"]
        lines += [f"actor {self.actor}", f"subject {self.subject}"]
        if self.detail is not None:
            lines.append(f"detail {self.detail}")
        text = ("\n".join(lines) + "\n").encode()
        return text if self.note is None else text + b"\n" + self.note


def parse_entry(raw: bytes) -> Entry:
    """Read an entry. Raises EntryInvalid unless it is exactly what `to_bytes` writes."""
    head, separator, note = raw.partition(b"\n\n")
    try:
        text = (head + b"\n" if separator else head).decode("utf-8")
    except UnicodeDecodeError as cause:
        raise EntryInvalid("the entry is not UTF-8") from cause
    if not text.endswith("\n"):
        raise EntryInvalid("the entry's last line is cut short")
    lines = text[:-1].split("\n")
    if len(lines) not in {_HEAD_LINES, _HEAD_LINES + 1} or lines[0] != HEAD:
        raise EntryInvalid("the entry does not begin as one of version 1")
    names = ("time", "event", "outcome", "actor", "subject", "detail")
    values: dict[str, str] = {}
    for name, line in zip(names, lines[1:], strict=False):
        found, space, value = line.partition(" ")
        if found != name or not space:
            raise EntryInvalid(f"the entry's line {name} is missing or out of place")
        values[name] = value
    outcome = values["outcome"]
    if outcome != "ok" and not outcome.startswith("refused "):
        raise EntryInvalid("the outcome is neither ok nor refused")
    return Entry(
        time_ms=parse_time(values["time"]),
        event=values["event"],
        actor=values["actor"],
        subject=values["subject"],
        refusal=None if outcome == "ok" else outcome.removeprefix("refused "),
        detail=values.get("detail"),
        note=note if separator else None,
    )


def format_time(time_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return (_EPOCH + time_ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> int:
    """The reverse, strict. Raises EntryInvalid."""
    try:
        if not _TIME.fullmatch(text):
            raise EntryInvalid("a time is written as 2026-11-24T01:02:03.004Z")
        return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except ValueError as cause:
        raise EntryInvalid("there is no such time") from cause


def _check(name: str, value: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(value):
        raise EntryInvalid(f"the {name} is not in its form", field=name)


def _is_line(text: str) -> bool:
    return 0 < len(text) <= MAX_DETAIL and text == text.strip(" ") and not _HIDDEN.search(text)
