"""Checkpoints: the signed heads of logs, in the form of C2SP tlog-checkpoint.

    kiteline/11370700004258746X/audit/SM3
    1234
    <base64 root>
    time 1795395723004

The fourth line is an extension line: Unix time in milliseconds. A checkpoint of a dataset's log is its version note.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from audit.errors import EntryInvalid
from crypto.engine import Engine
from crypto.notes import NoteKey, OpenedNote, open_note, sign_note
from crypto.signer import Signer
from crypto.sm3 import DIGEST_SIZE, sm3

MAX_SIZE = 2**63 - 1
_ORIGIN = re.compile(r"kiteline/[0-9A-Z]{18}/(audit|dataset/[0-9a-f]{64})/SM3")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_LINES = 4


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log. `root`: 32 bytes; `time_ms`: Unix time in milliseconds."""

    origin: str
    size: int
    root: bytes
    time_ms: int

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise EntryInvalid("the checkpoint's origin does not name a member, a log and SM3")
        if not 0 <= self.size <= MAX_SIZE or not 0 <= self.time_ms <= MAX_SIZE or len(self.root) != DIGEST_SIZE:
            raise EntryInvalid("the checkpoint's size, root or time is out of range")

    @property
    def member_id(self) -> str:
        """Whose log it is."""
        return self.origin.split("/")[1]

    def to_text(self) -> str:
        """The one spelling, which `parse_checkpoint` reads back."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\ntime {self.time_ms}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a checkpoint's text. Raises EntryInvalid."""
    lines = text.split("\n")
    if len(lines) != _LINES + 1 or lines[-1]:
        raise EntryInvalid("a checkpoint has four lines")
    origin, size, root, time = lines[:_LINES]
    if not _NUMBER.fullmatch(size) or not time.startswith("time ") or not _NUMBER.fullmatch(time[5:]):
        raise EntryInvalid("a number of the checkpoint is not in its one spelling")
    try:
        digest = base64.b64decode(root, validate=True)
    except ValueError as cause:  # not base64, or not even ASCII
        raise EntryInvalid("the checkpoint's root is not base64") from cause
    checkpoint = Checkpoint(origin, int(size), digest, int(time[5:]))
    if checkpoint.to_text() != text:
        raise EntryInvalid("the checkpoint is not in its one spelling")
    return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The checkpoint as a note, signed by the member whose log it is."""
    return sign_note(checkpoint.to_text(), checkpoint.member_id, signer)


def open_checkpoint(engine: Engine, raw: bytes, verifiers: Sequence[NoteKey]) -> Checkpoint:
    """Verify and read a checkpoint note.

    Raises:
        SignatureInvalid: the log's own member did not sign it with one of these keys.
        EntryInvalid: the text is no checkpoint.
    """
    opened: OpenedNote = open_note(engine, raw, verifiers)
    return parse_checkpoint(opened.text)


def log_id(origin: str) -> bytes:
    """The id under which the chain anchors a log: SM3 of its origin."""
    return sm3(origin.encode())
