"""Distinguished names (X.501; RFC 5280, section 4.1.2.4), read, written, and spelled as people write them (RFC 4514).

`CN=鸢链根证书,O=潍坊市大数据局,C=CN` has the most particular attribute first; the encoding has it last. Two names are the same
where their attributes and values are; in which of ASN.1's string types a value was written does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from crypto.certificates.forms import SET, dotted, undotted
from crypto.der import OBJECT, SEQUENCE, Reader, encode
from crypto.errors import EncodingInvalid

_UTF8, _PRINTABLE, _TELETEX, _IA5, _BMP = 0x0C, 0x13, 0x14, 0x16, 0x1E
_CODECS = {_UTF8: "utf-8", _PRINTABLE: "ascii", _TELETEX: "latin-1", _IA5: "ascii", _BMP: "utf-16-be"}
_PRINTABLE_TEXT = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]+")  # X.680, clause 41.4
# Short names of RFC 4514, section 3, and those that OpenSSL uses where it has none.
_NAMES = {
    "CN": "2.5.4.3",
    "serialNumber": "2.5.4.5",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "ST": "2.5.4.8",
    "STREET": "2.5.4.9",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "organizationIdentifier": "2.5.4.97",
    "DC": "0.9.2342.19200300.100.1.25",
    "emailAddress": "1.2.840.113549.1.9.1",
}
_SHORT = {identifier: short for short, identifier in _NAMES.items()}
_STRING_TYPES = {"C": _PRINTABLE, "serialNumber": _PRINTABLE, "DC": _IA5, "emailAddress": _IA5}  # else UTF-8
_ATTRIBUTE = re.compile(r"([A-Za-z0-9.]+)=((?:[^\\,+\"<>;\x00-\x1f\x7f]|\\.)+)", re.DOTALL)
_ESCAPE = re.compile(r"(?:\\[0-9A-Fa-f]{2})+|\\(.)", re.DOTALL)
_SPECIAL = frozenset(',+"\\<>;')
MAX_NAME_BYTES = 8_192  # bytes of the whole
MAX_VALUE_CHARACTERS = 256

Attribute = tuple[str, str]  # short name, or an object identifier in figures and dots; value


@dataclass(frozen=True)
class Name:
    """A distinguished name: its relative names in the order of the encoding, of one attribute each but for rare ones."""

    relative: tuple[tuple[Attribute, ...], ...]
    der: bytes = field(compare=False, repr=False)

    @classmethod
    def of(cls, *attributes: Attribute) -> Name:
        """From attributes, the most general first: `Name.of(("C", "CN"), ("CN", "鸢链根证书"))`. Raises EncodingInvalid."""
        return cls._made([(attribute,) for attribute in attributes])

    @classmethod
    def parse(cls, text: str) -> Name:
        """From its spelling in RFC 4514, the most particular attribute first. Raises EncodingInvalid."""
        relative: list[tuple[Attribute, ...]] = []
        several: list[Attribute] = []
        at = 0
        while at < len(text):
            found = _ATTRIBUTE.match(text, at)
            if found is None:
                break
            several.append((found[1], _unescaped(found[2])))
            at = found.end()
            if at == len(text) or text[at] == ",":
                relative.append(tuple(several))
                several = []
            elif text[at] != "+":
                break
            if at == len(text):
                made = cls._made(relative[::-1])
                if str(made) == text:
                    return made
                break
            at += 1
        raise EncodingInvalid(f"{text!r} is no distinguished name such as CN=名称,O=单位,C=CN")

    @classmethod
    def read(cls, content: bytes) -> Name:
        """From the content of its SEQUENCE. Raises EncodingInvalid."""
        if len(content) > MAX_NAME_BYTES:
            raise EncodingInvalid(f"a name has {len(content):,} bytes, more than {MAX_NAME_BYTES:,}")
        reader, relative = Reader(content), []
        while not reader.at_end:
            several = Reader(reader.element(SET))
            attributes = [_read_attribute(several.sequence())]
            while not several.at_end:
                attributes.append(_read_attribute(several.sequence()))
            relative.append(tuple(attributes))
        return cls(tuple(relative), encode(SEQUENCE, content))

    @classmethod
    def _made(cls, relative: Sequence[tuple[Attribute, ...]]) -> Name:
        # The elements of a SET OF stand in the order of their encodings (X.690, clause 11.6).
        sets = [sorted((_encode_attribute(*attribute), attribute) for attribute in several) for several in relative]
        content = b"".join(encode(SET, b"".join(der for der, _ in several)) for several in sets)
        if len(content) > MAX_NAME_BYTES:
            raise EncodingInvalid(f"a name has {len(content):,} bytes, more than {MAX_NAME_BYTES:,}")
        return cls(tuple(tuple(pair for _, pair in several) for several in sets), encode(SEQUENCE, content))

    def values(self, name: str) -> tuple[str, ...]:
        """The values of every attribute of this short name, in order."""
        return tuple(value for several in self.relative for short, value in several if short == name)

    @property
    def is_empty(self) -> bool:
        """Whether there is no attribute at all."""
        return not self.relative

    def __str__(self) -> str:
        several = ("+".join(f"{name}={_escaped(value)}" for name, value in one) for one in reversed(self.relative))
        return ",".join(several)


def _read_attribute(reader: Reader) -> Attribute:
    identifier = dotted(reader.element(OBJECT))
    tag = reader.peek()
    codec = _CODECS.get(tag)
    if codec is None:
        raise EncodingInvalid(f"the value of {_SHORT.get(identifier, identifier)} in a name is no text")
    content = reader.element(tag)
    reader.finish()
    try:
        value = content.decode(codec)
    except UnicodeDecodeError as cause:
        raise EncodingInvalid("a value in a name is not text of its type") from cause
    _check_length(value)
    return _SHORT.get(identifier, identifier), value


def _encode_attribute(name: str, value: str) -> bytes:
    _check_length(value)
    if name in _SHORT:
        raise EncodingInvalid(f"{name} is written {_SHORT[name]}")
    tag = _STRING_TYPES.get(name, _UTF8)
    if tag == _PRINTABLE and not _PRINTABLE_TEXT.fullmatch(value):
        raise EncodingInvalid(f"{name} takes plain letters, figures and few signs alone")
    try:
        content = value.encode(_CODECS[tag])
    except UnicodeEncodeError as cause:
        raise EncodingInvalid(f"{name} takes other characters than those of {value!r}") from cause
    return encode(SEQUENCE, encode(OBJECT, undotted(_NAMES.get(name, name))) + encode(tag, content))


def _check_length(value: str) -> None:
    if not 1 <= len(value) <= MAX_VALUE_CHARACTERS:
        raise EncodingInvalid(f"a value in a name has 1 to {MAX_VALUE_CHARACTERS} characters")


def _escaped(value: str) -> str:
    """RFC 4514, section 2.4, and whatever a terminal would act upon in hexadecimal."""
    shown = []
    for place, character in enumerate(value):
        is_edge_space = character == " " and place in {0, len(value) - 1}
        if character in _SPECIAL or is_edge_space or (character == "#" and place == 0):
            shown.append("\\" + character)
        elif not character.isprintable():
            shown.append("".join(f"\\{byte:02X}" for byte in character.encode()))
        else:
            shown.append(character)
    return "".join(shown)


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1] is not None:
            return found[1]
        try:
            return bytes.fromhex(found[0].replace("\\", "")).decode()
        except UnicodeDecodeError as cause:
            raise EncodingInvalid("the hexadecimal in a name is not UTF-8") from cause

    return _ESCAPE.sub(one, text)
