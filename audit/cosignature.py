"""Cosignatures: what a witness puts under a checkpoint, in the manner of C2SP tlog-witness.

    — 113707000042596348 <base64(key id, 4 ‖ time, u64be ‖ signature, DER)>

What is signed is `kiteline/cosignature/v1`, a line with the time (Unix seconds), and the checkpoint's text. The key id is derived with a
label of its own. So a cosignature never passes for the signature of the log's own member, nor the reverse.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from audit.verifier import COSIGNATURE_LABEL, cosigned_message, key_id
from crypto.engine import Engine
from crypto.errors import EncodingInvalid, SignatureInvalid
from crypto.notes import Note, NoteKey, NoteSignature, parse_note
from crypto.signer import Signer

_TIME = struct.Struct(">Q")


def cosign(text: str, name: str, signer: Signer, time: int) -> NoteSignature:
    """The line of a witness under a checkpoint's text. `time`: Unix seconds."""
    (signature,) = signer.sign_many([cosigned_message(time, text)])
    return NoteSignature(name, _key_id(NoteKey(name, signer.public_key)), _TIME.pack(time) + signature)


def parse_line(line: str) -> NoteSignature:
    """A signature line as it came over the wire, its line feed included. Raises EncodingInvalid."""
    if not line.endswith("\n") or line.count("\n") != 1:
        raise EncodingInvalid("a signature line is one line")
    # A lone surrogate, which has no UTF-8, is the reader's to refuse like anything else.
    (signature,) = parse_note(f"\n\n{line}".encode("utf-8", "surrogatepass")).signatures
    return signature


def check_cosignature(engine: Engine, text: str, line: NoteSignature, keys: Sequence[NoteKey]) -> int:
    """The time at which one of these keys cosigned a checkpoint's text, Unix seconds. Raises SignatureInvalid."""
    for key in keys:
        if (line.name, line.key_id) == (key.name, _key_id(key)) and len(line.signature) > _TIME.size:
            (time,) = _TIME.unpack_from(line.signature)
            message = cosigned_message(time, text)
            engine.sm2_verify_many([key.public_key], [message], [line.signature[_TIME.size :]])
            return int(time)
    raise SignatureInvalid("the cosignature is by none of these keys", name=line.name)


def with_lines(raw: bytes, lines: Sequence[NoteSignature]) -> bytes:
    """A checkpoint's note with cosignatures below its signature. Raises EncodingInvalid if one is there already."""
    note = parse_note(raw)
    return Note(note.text, (*note.signatures, *lines)).to_bytes()


def _key_id(key: NoteKey) -> bytes:
    return key_id(key.name, key.public_key.to_bytes(), COSIGNATURE_LABEL)
