"""Notes: one spelling, and every known line verified."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import EncodingInvalid, KeyInvalid, SignatureInvalid
from crypto.notes import (
    MAX_NOTE,
    Note,
    NoteKey,
    NoteSignature,
    cosign_note,
    open_note,
    open_notes,
    parse_note,
    sign_note,
    sign_notes,
)
from crypto.signer import HeldKey
from crypto.sm2 import SM2PrivateKey
from crypto.sm3 import sm3
from tests.crypto.engines_at_hand import ENGINE_NAMES, engine_named, fastest_engine

NAME = "11370700MB2345678X"
TEXT = "kiteline/receipt/v1\ngrant 5e0c\n"
KEY = SM2PrivateKey.generate(os.urandom)
OTHER = SM2PrivateKey.generate(os.urandom)
SIGNER = NoteKey(NAME, KEY.public_key)
COSIGNER = NoteKey("witness.example", OTHER.public_key)

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[chr(code) for code in range(32)])
    | st.sampled_from("\n— +"),
    max_size=60,
).map(lambda text: text + "\n")


def line(name: str = NAME, blob: bytes = b"1234signature") -> str:
    return f"— {name} {base64.b64encode(blob).decode()}\n"


@pytest.mark.parametrize("verifier", ENGINE_NAMES)
@pytest.mark.parametrize("signer", ENGINE_NAMES)
def test_what_one_engine_signs_every_engine_opens(signer: str, verifier: str) -> None:
    raw = sign_note(TEXT, NAME, HeldKey(engine_named(signer), KEY))
    opened = open_note(engine_named(verifier), raw, [SIGNER])
    assert (opened.text, opened.signers, opened.unknown) == (TEXT, (SIGNER,), ())


def test_the_key_id_is_computed_as_the_format_says() -> None:
    expected = sm3(NAME.encode() + b"\n\xffSM2-SM3-v1" + KEY.public_key.to_bytes())[:4]
    assert SIGNER.key_id == expected
    (signature,) = parse_note(sign_note(TEXT, NAME, HeldKey(fastest_engine(), KEY))).signatures
    assert signature.key_id == expected


@given(texts)
@settings(max_examples=60)
def test_any_legal_text_is_signed_and_opened_unchanged(text: str) -> None:
    engine = fastest_engine()
    raw = sign_note(text, NAME, HeldKey(engine, KEY))
    assert open_note(engine, raw, [SIGNER]).text == text
    assert parse_note(raw).to_bytes() == raw


names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="+"), min_size=1, max_size=20
)
lines = st.builds(NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))


@given(texts, st.lists(lines, min_size=1, max_size=5, unique_by=lambda held: (held.name, held.key_id)))
def test_parser_and_writer_round_trip(text: str, signatures: list[NoteSignature]) -> None:
    note = Note(text, tuple(signatures))
    assert parse_note(note.to_bytes()) == note


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_bytes_that_parse_at_all_are_spelled_as_the_writer_spells_them(before: bytes, after: bytes) -> None:
    for raw in (before, TEXT.encode() + b"\n" + line().encode() + after, before + b"\n\n" + line().encode()):
        try:
            note = parse_note(raw)
        except EncodingInvalid:
            continue
        assert note.to_bytes() == raw


def test_every_changed_byte_of_a_note_is_refused() -> None:
    """A change leaves the note malformed, unsigned by a known key, or wrongly signed; it never opens."""
    engine = fastest_engine()
    raw = sign_note(TEXT, NAME, HeldKey(engine, KEY))
    for at in range(len(raw)):
        for mask in (0x01, 0x20, 0x80):
            changed = raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]
            with pytest.raises((EncodingInvalid, SignatureInvalid)):
                open_note(engine, changed, [SIGNER])


# Signers.


def test_a_cosigned_note_opens_for_either_key_and_names_both_in_the_order_of_their_lines() -> None:
    engine = fastest_engine()
    signed = sign_note(TEXT, NAME, HeldKey(engine, KEY))
    raw = cosign_note(signed, COSIGNER.name, HeldKey(engine, OTHER))
    assert raw.startswith(signed)
    assert open_note(engine, raw, [COSIGNER, SIGNER]).signers == (SIGNER, COSIGNER)
    alone = open_note(engine, raw, [COSIGNER])
    assert alone.signers == (COSIGNER,)
    assert [held.name for held in alone.unknown] == [NAME]


def test_a_key_cannot_sign_a_note_twice() -> None:
    engine = fastest_engine()
    raw = sign_note(TEXT, NAME, HeldKey(engine, KEY))
    with pytest.raises(EncodingInvalid):
        cosign_note(raw, NAME, HeldKey(engine, KEY))


def test_a_note_that_no_known_key_has_signed_is_refused() -> None:
    engine = fastest_engine()
    raw = sign_note(TEXT, NAME, HeldKey(engine, KEY))
    for verifiers in ([], [COSIGNER], [NoteKey(NAME, OTHER.public_key)], [NoteKey("another", KEY.public_key)]):
        with pytest.raises(SignatureInvalid):
            open_note(engine, raw, verifiers)


def test_one_wrong_line_of_a_known_key_spoils_a_note_that_another_has_signed_well() -> None:
    engine = fastest_engine()
    good = sign_note(TEXT, NAME, HeldKey(engine, KEY))
    (stray,) = engine.sm2_sign_many(OTHER, [b"another text\n"])
    forged = good + line(COSIGNER.name, COSIGNER.key_id + stray).encode()
    assert open_note(engine, forged, [SIGNER]).unknown[0].name == COSIGNER.name
    with pytest.raises(SignatureInvalid) as caught:
        open_note(engine, forged, [SIGNER, COSIGNER])
    assert caught.value.details == {"note": "0", "name": COSIGNER.name}


@pytest.mark.parametrize("signature", [b"\x00", b"\x30\x00", b"\x30\x06\x02\x01\x00\x02\x01\x01", b"x" * 70])
def test_a_known_key_with_a_malformed_signature_is_a_wrong_signature(signature: bytes) -> None:
    engine = fastest_engine()
    raw = f"{TEXT}\n{line(NAME, SIGNER.key_id + signature)}".encode()
    with pytest.raises(SignatureInvalid):
        open_note(engine, raw, [SIGNER])


def test_the_same_verifier_twice_does_no_harm() -> None:
    engine = fastest_engine()
    raw = sign_note(TEXT, NAME, HeldKey(engine, KEY))
    assert open_note(engine, raw, [SIGNER, NoteKey(NAME, KEY.public_key)]).signers == (SIGNER,)


def test_two_keys_that_share_name_and_id_are_refused_as_ambiguous() -> None:
    impostor = NoteKey(NAME, OTHER.public_key)
    vars(impostor)["key_id"] = SIGNER.key_id  # a collision of 32 bits, which a patient member can find
    raw = sign_note(TEXT, NAME, HeldKey(fastest_engine(), KEY))
    with pytest.raises(KeyInvalid):
        open_note(fastest_engine(), raw, [SIGNER, impostor])


def test_many_notes_are_signed_and_opened_at_once_and_the_wrong_one_is_named() -> None:
    engine = fastest_engine()
    raws = sign_notes([f"note {i}\n" for i in range(11)], NAME, HeldKey(engine, KEY))
    assert [opened.text for opened in open_notes(engine, raws, [SIGNER])] == [f"note {i}\n" for i in range(11)]
    raws[6] = raws[6].replace(b"note 6", b"note 5")
    with pytest.raises(SignatureInvalid) as caught:
        open_notes(engine, raws, [SIGNER])
    assert caught.value.details["note"] == "6"
    assert open_notes(engine, [], [SIGNER]) == []
    assert sign_notes([], NAME, HeldKey(engine, KEY)) == []


# Spelling.


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "\n",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n" + line(),
        "\n" + line(),
        "text\n\n" + line()[:-1],
        "text\n\n" + line() + "\n",
        "text\n\n" + line() + line(),
        "text\n\n" + line() + line(blob=b"1234other"),
        "text\n\n" + line() + "more\n",
        "text\r\n\n" + line(),
        "te\txt\n\n" + line(),
        "te\x00xt\n\n" + line(),
        "te\x1fxt\n\n" + line(),
        "text\n\n" + line().replace("—", "–"),
        "text\n\n" + line().replace("— ", "—"),
        "text\n\n" + line().replace("— ", "—  "),
        "text\n\n " + line(),
        "text\n\n" + line("a+b"),
        "text\n\n" + line("a b"),
        "text\n\n" + line("a\u00a0b"),
        "text\n\n" + line("a\u2028b"),
        "text\n\n" + line("a\u0085b"),
        "text\n\n" + line("a\tb"),
        "text\n\n" + line("a\x01b"),
        "text\n\n" + line(""),
        "text\n\n" + line(blob=b""),
        "text\n\n" + line(blob=b"1234"),
        "text\n\n" + line(blob=b"12345").replace("=", ""),
        "text\n\n" + line(blob=b"12345").replace("U=", "V="),
        "text\n\n" + line(blob=b"\xff\xff\xff\xff\xff").replace("/", "_"),
        "text\n\n" + line()[:-1] + " \n",
        "text\n\n" + line()[:-1] + "\r\n",
        "text\n\n" + line()[:-1] + "é\n",
        "text\n\n" + "".join(line(f"n{i}") for i in range(101)),
    ],
)
def test_a_note_in_any_other_spelling_is_refused(raw: str) -> None:
    with pytest.raises(EncodingInvalid) as caught:
        parse_note(raw.encode())
    assert caught.value.reason == "ENCODING_INVALID"


@pytest.mark.parametrize("text", [b"\xff\n", b"\xc0\xaf\n", b"\xed\xa0\x80\n", b"\xf4\x90\x80\x80\n"])
def test_bytes_that_are_not_utf8_are_refused(text: bytes) -> None:
    with pytest.raises(EncodingInvalid):
        parse_note(text + b"\n" + line().encode())


def test_an_empty_line_in_the_text_belongs_to_the_text() -> None:
    assert parse_note(f"one\n\n— not a signature\n\n{line()}".encode()).text == "one\n\n— not a signature\n"


def test_a_note_of_the_largest_size_is_read_and_one_byte_more_is_not() -> None:
    rest = len(("\n\n" + line()).encode())
    assert len(parse_note(("x" * (MAX_NOTE - rest) + "\n\n" + line()).encode()).text) == MAX_NOTE - rest + 1
    with pytest.raises(EncodingInvalid):
        parse_note(("x" * (MAX_NOTE - rest + 1) + "\n\n" + line()).encode())


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\r\n", "lone \ud800\n", "x" * MAX_NOTE + "\n"])
def test_a_text_that_no_reader_would_take_is_not_signed(text: str) -> None:
    with pytest.raises(EncodingInvalid):
        sign_note(text, NAME, HeldKey(fastest_engine(), KEY))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u3000b", "a\x02b", "\ud800"])
def test_a_name_that_no_reader_would_take_makes_no_key(name: str) -> None:
    with pytest.raises(EncodingInvalid):
        NoteKey(name, KEY.public_key)


def test_the_hundredth_signature_is_the_last() -> None:
    engine = fastest_engine()
    raw = (TEXT + "\n" + "".join(line(f"n{i}") for i in range(99))).encode()
    full = cosign_note(raw, NAME, HeldKey(engine, KEY))
    assert len(parse_note(full).signatures) == 100
    with pytest.raises(EncodingInvalid):
        cosign_note(full, COSIGNER.name, HeldKey(engine, OTHER))
