"""Notes: short texts with SM2 signatures under them, in the shape of C2SP signed-note.

    kiteline/receipt/v1
    grant 5e0c…

    — 91370700MB2345678X <base64 of key id, 4 ‖ signature, DER>

The text is UTF-8 without control characters other than the newline that ends each line. It is separated by one empty
line, the last of the note, from one or more signature lines: an em dash U+2014, a space, the name of the signer, a
space, and canonical base64. What is signed is the text with its final newline and nothing else, so that

    openssl dgst -sm3 -verify key.pem -sigopt distid:1234567812345678 -signature sig.der text

verifies it. A line whose key is not known is kept and not trusted; a line whose key is known must verify. The key id is
the first 4 bytes of SM3(name ‖ 0x0A ‖ 0xFF ‖ "SM2-SM3-v1" ‖ the 65 bytes of the public key): it finds a key, it proves
nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from crypto.engine import Engine
from crypto.errors import EncodingInvalid, KeyInvalid, SignatureInvalid
from crypto.signer import Signer
from crypto.sm2 import SM2PublicKey
from crypto.sm3 import sm3

MAX_NOTE = 1024 * 1024  # bytes
MAX_SIGNATURES = 100  # lines, as in the Go implementation
KEY_ID_SIZE = 4  # bytes

_SIGNATURE_TYPE = b"\xffSM2-SM3-v1"
_SIGNATURE_START = "— "
# C2SP: no control characters but the newline. DEL and the C1 controls are not among those that it forbids.
# A lone surrogate is a Python string that has no UTF-8.
_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who says to have signed, the id of the key, and the signature (DER, GM/T 0009)."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.key_id) != KEY_ID_SIZE or not self.signature:
            raise EncodingInvalid("a signature line holds a key id of 4 bytes and a signature")

    def __str__(self) -> str:
        return f"{_SIGNATURE_START}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A note as it was read: well formed, with nothing verified. One that is not cannot be built."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __post_init__(self) -> None:
        _check_text(self.text)
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise EncodingInvalid(f"a note has 1 to {MAX_SIGNATURES} signatures, not {len(self.signatures)}")
        if len({(line.name, line.key_id) for line in self.signatures}) < len(self.signatures):
            raise EncodingInvalid("a key has signed this note twice")

    def to_bytes(self) -> bytes:
        """The one spelling of this note; the inverse of `parse_note`."""
        return f"{self.text}\n{''.join(map(str, self.signatures))}".encode()


@dataclass(frozen=True)
class NoteKey:
    """A public key that may sign notes under `name`."""

    name: str
    public_key: SM2PublicKey

    def __post_init__(self) -> None:
        _check_name(self.name)

    @cached_property
    def key_id(self) -> bytes:
        """The 4 bytes by which a signature line names this key."""
        return sm3(self.name.encode() + b"\n" + _SIGNATURE_TYPE + self.public_key.to_bytes())[:KEY_ID_SIZE]


@dataclass(frozen=True)
class OpenedNote:
    """A note that at least one known key has signed. `unknown` lines are as they came: believe nothing of them."""

    text: str
    signers: tuple[NoteKey, ...]
    unknown: tuple[NoteSignature, ...]


def parse_note(raw: bytes) -> Note:
    """Read a note strictly; verifies nothing.

    Raises:
        EncodingInvalid: not the one spelling of a note.
    """
    if len(raw) > MAX_NOTE:
        raise EncodingInvalid(f"a note of {len(raw)} bytes is longer than {MAX_NOTE}")
    try:
        whole = raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise EncodingInvalid(f"the note is not UTF-8 at byte {cause.start}") from cause
    text, separator, lines = whole.rpartition("\n\n")
    if not separator:
        raise EncodingInvalid("the note has no empty line before its signatures")
    if not lines.endswith("\n"):
        raise EncodingInvalid("the note has no signature, or its last line does not end")
    if lines.count("\n") > MAX_SIGNATURES:
        raise EncodingInvalid(f"the note has more than {MAX_SIGNATURES} signatures")
    return Note(text + "\n", tuple(_parse_signature(line) for line in lines[:-1].split("\n")))


def sign_note(text: str, name: str, signer: Signer) -> bytes:
    """The note of `text`, which must end with a newline, signed under `name`."""
    return sign_notes([text], name, signer)[0]


def sign_notes(texts: Sequence[str], name: str, signer: Signer) -> list[bytes]:
    """A note for each text, all signatures in one call."""
    key = NoteKey(name, signer.public_key)
    for text in texts:
        _check_text(text)
    signatures = signer.sign_many([text.encode() for text in texts])
    notes = []
    for text, signature in zip(texts, signatures, strict=True):
        notes.append(_written(Note(text, (NoteSignature(name, key.key_id, signature),))))
    return notes


def cosign_note(raw: bytes, name: str, signer: Signer) -> bytes:
    """Add a signature line below those that are there. Raises EncodingInvalid if this key has already signed."""
    note = parse_note(raw)
    (signature,) = signer.sign_many([note.text.encode()])
    added = NoteSignature(name, NoteKey(name, signer.public_key).key_id, signature)
    return _written(Note(note.text, (*note.signatures, added)))


def open_note(engine: Engine, raw: bytes, verifiers: Sequence[NoteKey]) -> OpenedNote:
    """Read a note and verify every line of a known key.

    Raises:
        EncodingInvalid: not the one spelling of a note.
        SignatureInvalid: no line is of a known key, or a line of a known key does not verify.
        KeyInvalid: two different verifiers share a name and a key id.
    """
    return open_notes(engine, [raw], verifiers)[0]


def open_notes(engine: Engine, raws: Sequence[bytes], verifiers: Sequence[NoteKey]) -> list[OpenedNote]:
    """Open many notes against the same verifiers, all signatures in one call of the engine.

    Raises:
        EncodingInvalid, SignatureInvalid, KeyInvalid: as `open_note`, for the first note that is wrong; nothing is
            returned for the others. `note` in the details is its position if a signature was wrong.
    """
    known = _by_name_and_id(verifiers)
    opened = []
    claims: list[tuple[int, NoteKey, bytes, bytes]] = []  # position, key, message, signature
    for position, raw in enumerate(raws):
        note = parse_note(raw)
        message = note.text.encode()
        signers, unknown = [], []
        for line in note.signatures:
            signer = known.get((line.name, line.key_id))
            if signer is None:
                unknown.append(line)
            else:
                signers.append(signer)
                claims.append((position, signer, message, line.signature))
        if not signers:
            raise SignatureInvalid("no known key has signed this note", note=position)
        opened.append(OpenedNote(note.text, tuple(signers), tuple(unknown)))
    try:
        engine.sm2_verify_many(
            [signer.public_key for _, signer, _, _ in claims],
            [message for _, _, message, _ in claims],
            [signature for _, _, _, signature in claims],
        )
    except SignatureInvalid as cause:
        position, signer, _, _ = claims[int(cause.details["index"])]
        raise SignatureInvalid(
            f"the signature of {signer.name} under this note is wrong", note=position, name=signer.name
        ) from cause
    return opened


def _by_name_and_id(verifiers: Sequence[NoteKey]) -> dict[tuple[str, bytes], NoteKey]:
    known: dict[tuple[str, bytes], NoteKey] = {}
    for key in verifiers:
        other = known.setdefault((key.name, key.key_id), key)
        # Key ids are short enough for a member to search for two keys with one id; then a line names neither.
        if other.public_key.to_bytes() != key.public_key.to_bytes():
            raise KeyInvalid(f"two keys of {key.name} share the id {key.key_id.hex()}")
    return known


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise EncodingInvalid("the text of a note ends with a newline")
    if _FORBIDDEN.search(text):
        raise EncodingInvalid("the text of a note holds no control character but the newline")


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name) or _FORBIDDEN.search(name):
        raise EncodingInvalid(
            "the name of a note's key is not empty and holds no space, plus sign or control character"
        )


def _parse_signature(line: str) -> NoteSignature:
    # A name holds no space of any kind, so that the line has exactly one way to be cut.
    start, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if start + " " != _SIGNATURE_START:
        raise EncodingInvalid("a signature line does not begin with an em dash and a space")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise EncodingInvalid("a signature line is not base64") from cause
    # Base64 leaves unused bits before the padding; only the spelling that a writer gives is taken.
    if base64.b64encode(blob).decode() != encoded:
        raise EncodingInvalid("a signature line is not canonical base64")
    return NoteSignature(name, blob[:KEY_ID_SIZE], blob[KEY_ID_SIZE:])


def _written(note: Note) -> bytes:
    """The note's bytes, unless they are more than a reader takes."""
    raw = note.to_bytes()
    if len(raw) > MAX_NOTE:
        raise EncodingInvalid(f"a note of {len(raw)} bytes is longer than {MAX_NOTE}")
    return raw
