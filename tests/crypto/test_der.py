"""DER: whatever is read is exactly what would be written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.der import (
    INTEGER,
    NULL,
    OCTET_STRING,
    SEQUENCE,
    Ciphertext,
    Reader,
    decode_ciphertext,
    decode_signature,
    encode,
    encode_integer,
    encode_signature,
)
from crypto.errors import EncodingInvalid

numbers = st.integers(0, 1 << 300)
ciphertexts = st.builds(
    Ciphertext, numbers, numbers, st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=70_000)
)


@given(numbers, numbers)
def test_a_signature_reads_back(r: int, s: int) -> None:
    assert decode_signature(encode_signature(r, s)) == (r, s)


@given(ciphertexts)
def test_a_ciphertext_reads_back(parts: Ciphertext) -> None:
    assert decode_ciphertext(parts.encode()) == parts


@given(ciphertexts, st.data())
def test_a_changed_ciphertext_that_still_reads_is_spelled_as_the_writer_spells_it(
    parts: Ciphertext, data: st.DataObject
) -> None:
    raw = bytearray(parts.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, min(len(raw), 120) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_ciphertext(bytes(raw))
    except EncodingInvalid:
        return
    assert read.encode() == raw


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda content: encode(SEQUENCE, content)))
def test_any_bytes_that_read_as_a_signature_are_the_writers(raw: bytes) -> None:
    try:
        pair = decode_signature(raw)
    except EncodingInvalid:
        return
    assert encode_signature(*pair) == raw


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 24])
def test_every_length_has_its_one_form(size: int) -> None:
    element = encode(OCTET_STRING, bytes(size))
    reader = Reader(element)
    assert reader.peek() == OCTET_STRING
    assert reader.element(OCTET_STRING) == bytes(size)
    assert reader.at_end
    assert reader.peek() == -1
    reader.finish()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x04",
        b"\x04\x01",
        b"\x04\x80",
        b"\x04\x80\x00\x00",
        b"\x04\x81",
        b"\x04\x81\x00",
        b"\x04\x81\x7f" + bytes(127),
        b"\x04\x82\x00\x80" + bytes(128),
        b"\x04\x82\x01\x00" + bytes(255),
        b"\x04\x85\x00\x00\x00\x00\x01\x00",
        b"\x04\xff" + bytes(200),
        b"\x24\x03\x04\x01\x00",
    ],
    ids=bytes.hex,
)
def test_another_form_of_length_is_refused(raw: bytes) -> None:
    with pytest.raises(EncodingInvalid):
        Reader(raw[:300]).element(OCTET_STRING)


@pytest.mark.parametrize("content", [b"", b"\x80", b"\xff", b"\0\0", b"\0\x7f"], ids=bytes.hex)
def test_another_form_of_integer_is_refused(content: bytes) -> None:
    with pytest.raises(EncodingInvalid):
        Reader(encode(INTEGER, content)).integer()


@pytest.mark.parametrize(("value", "spelled"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (1 << 255, None)])
def test_integers_take_the_fewest_bytes(value: int, spelled: str | None) -> None:
    element = encode_integer(value)
    assert spelled is None or element.hex() == spelled
    assert Reader(element).integer() == value


@pytest.mark.parametrize(("digest", "body"), [(31, 1), (33, 1), (0, 1), (32, 0)])
def test_a_ciphertext_has_a_digest_of_32_bytes_and_a_body(digest: int, body: int) -> None:
    with pytest.raises(EncodingInvalid):
        decode_ciphertext(Ciphertext(1, 1, bytes(digest), bytes(body)).encode())


def test_what_is_left_over_is_refused() -> None:
    reader = Reader(encode(NULL, b"") + b"\0")
    assert reader.element(NULL) == b""
    with pytest.raises(EncodingInvalid):
        reader.finish()
    with pytest.raises(EncodingInvalid):
        Reader(encode(NULL, b"")).sequence()
