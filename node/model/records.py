r"""Records: what a dataset consists of and what is sealed, and the one spelling that is accepted.

A record is a JSON array of the values in the order of the description's fields, UTF-8, without spaces. A value is a
string, an integer below 2^53 in magnitude, a boolean or null; decimals are strings, since no two languages agree on
their arithmetic. In a string `"` and `\` are escaped, control characters as `\b \f \n \r \t` or `\u00xx` in lower case,
and nothing else is.

Nothing is nested, so records are a regular language, and the grammar below is the definition: what it accepts is
exactly what `encode_record` writes. One record is matched by `re`; a batch by RE2 through Arrow, which takes time linear in
its bytes whatever they are, a few hundred nanoseconds a record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crypto.packed import Packed
from node.errors import RecordInvalid
from node.model.strings import from_strings, to_strings

MAX_RECORD_SIZE = 1024 * 1024 - 64  # bytes: with its offsets it fits a segment of 1 MiB
MAX_INTEGER = 2**53 - 1  # in magnitude

Value = str | int | bool | None

# Up to so many fields a batch is matched by a pattern that counts them; RE2's automaton for more is too large to be fast.
_MAX_COUNTED = 64


def _integer_pattern() -> str:
    """Canonical decimals up to MAX_INTEGER in magnitude: shorter ones, equal ones, and lower ones from each digit on."""
    limit = str(MAX_INTEGER)
    digits = len(limit)
    choices = [f"[1-9][0-9]{{0,{digits - 2}}}", limit]
    for place, digit in enumerate(limit):
        least = 1 if place == 0 else 0
        if int(digit) > least:
            choices.append(f"{limit[:place]}[{least}-{int(digit) - 1}][0-9]{{{digits - 1 - place}}}")
    return f"(?:0|-?(?:{'|'.join(choices)}))"


_PLAIN = r'[^"\\\x00-\x1f]*'
_STRING = rf'"{_PLAIN}(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f])){_PLAIN})*"'
_VALUE = f"(?:{_STRING}|true|false|null|{_integer_pattern()})"
_RECORD = rf"\[{_VALUE}(?:,{_VALUE})*\]"
_ONE_RECORD = re.compile(_RECORD)
# Where the grammar is known to hold, a value is simply a quoted string, or anything up to the next comma or bracket.
_KNOWN_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^",\[\]]+)'
_NOT_A_KEY = r"\A(?:null|true|false)\z"

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def encode_record(values: Sequence[Value]) -> bytes:
    """Write a record. Raises RecordInvalid for a value that a record cannot hold."""
    if not values:
        raise RecordInvalid("a record has at least one value")
    for position, value in enumerate(values, 1):
        if isinstance(value, int):
            if abs(value) > MAX_INTEGER:
                raise RecordInvalid(f"value {position} is an integer of 2^53 or more; write it as a string")
        elif value is not None and not isinstance(value, str):
            raise RecordInvalid(f"value {position} is a {type(value).__name__}; write it as a string")
    try:
        record = _dump([*values]).encode()
    except UnicodeEncodeError as cause:
        raise RecordInvalid("a string holds half of a surrogate pair") from cause
    if len(record) > MAX_RECORD_SIZE:
        raise RecordInvalid(f"a record has {len(record)} bytes, {MAX_RECORD_SIZE} at most")
    return record


def decode_record(record: bytes) -> list[Value]:
    """Read a record. Raises RecordInvalid unless `record` is exactly what `encode_record` writes."""
    if len(record) > MAX_RECORD_SIZE:
        raise RecordInvalid(f"a record has {len(record)} bytes, {MAX_RECORD_SIZE} at most")
    try:
        text = record.decode()
    except UnicodeDecodeError as cause:
        raise RecordInvalid("the record is not UTF-8") from cause
    if not _ONE_RECORD.fullmatch(text):
        raise RecordInvalid("the record is not a JSON array of plain values in its one accepted spelling")
    values: list[Value] = json.loads(text)
    return values


def project(record: bytes, indexes: Sequence[int]) -> bytes:
    """The record of the values at `indexes`, in that order; what a grant for some fields shows."""
    values = decode_record(record)
    if not all(0 <= index < len(values) for index in indexes):
        raise RecordInvalid(f"the record has {len(values)} values, and another is asked for")
    return encode_record([values[index] for index in indexes])


def decode_batch(records: Packed) -> list[list[Value]]:
    """Read a batch whose records have been checked, by one parse."""
    values: list[list[Value]] = json.loads(b"[" + b",".join(records) + b"]")
    return values


def spell_each(items: Sequence[list[Value]] | Sequence[dict[str, Value]]) -> list[str]:
    """The JSON text of each of many flat arrays, or of each of many flat objects, by one call where that is possible."""
    if not items:
        return []
    opening, closing = "[]" if isinstance(items[0], list) else "{}"
    between = f"{closing},{opening}"
    whole = _dump(items)
    # Between two items these characters stand always; if they stand inside a string too, there are more of them.
    if whole.count(between) != len(items) - 1:
        return [_dump(item) for item in items]
    return [f"{opening}{part}{closing}" for part in whole[2:-2].split(between)]


class RecordChecker:
    """Checks batches of records against a description, and takes out the values of its key field.

    Args:
        field_count: values that each record must have.
        key_index: position of the key field among them, or None where the dataset has no key field.
    """

    def __init__(self, field_count: int, key_index: int | None = None) -> None:
        if field_count < 1 or (key_index is not None and not 0 <= key_index < field_count):
            raise RecordInvalid(f"no record has {field_count} fields with the key at {key_index}")
        self._field_count = field_count
        self._counted = field_count <= _MAX_COUNTED
        grammar = rf"\[{','.join([_VALUE] * field_count)}\]" if self._counted else _RECORD
        self._grammar = rf"\A{grammar}\z"
        self._key: str | None = None
        if key_index is not None:
            before = f"(?:{_KNOWN_VALUE},){{{key_index}}}" if self._counted else f"{_KNOWN_VALUE}," * key_index
            self._key = rf"(?s)\A\[{before}(?P<key>{_KNOWN_VALUE})"

    def check(self, records: Packed, first_number: int = 1) -> Packed | None:
        """Check a batch.

        Args:
            records: the batch.
            first_number: number of its first record, for the error's sentence.

        Returns:
            The values of the key field as UTF-8, integers in decimal; None where there is no key field.

        Raises:
            RecordInvalid: a record is not canonical, has another number of values, is too long or has no key;
                `record` in the details is its number. Nothing of its content is shown.
        """
        strings = to_strings(records)
        try:
            strings.validate(full=True)
            held = pc.match_substring_regex(strings, self._grammar)
            sizes_hold = bool((np.diff(records.offsets) <= MAX_RECORD_SIZE).all())
            holds = sizes_hold and pc.all(held, min_count=0).as_py() and self._counts_hold(strings)
        except pa.ArrowInvalid:
            holds = False
        if not holds:
            self._check_one_by_one(records, first_number)
        return None if self._key is None else self._keys(strings, self._key, first_number)

    def _counts_hold(self, strings: pa.LargeStringArray) -> bool:
        if self._counted:
            return True
        counts = pc.count_substring_regex(strings, _KNOWN_VALUE)
        return bool(pc.all(pc.equal(counts, self._field_count), min_count=0).as_py())

    def _keys(self, strings: pa.LargeStringArray, pattern: str, first_number: int) -> Packed:
        spelled = pc.extract_regex(strings, pattern).field(0)
        lacking = pc.index(pc.match_substring_regex(spelled, _NOT_A_KEY), value=True).as_py()
        if lacking >= 0:
            number = first_number + lacking
            raise RecordInvalid(f"record {number} has neither a string nor an integer as its key", record=number)
        if pc.any(pc.match_substring(spelled, "\\"), min_count=0).as_py():
            return Packed.of(str(json.loads(key)).encode() for key in from_strings(spelled))
        # Without escapes the value is what stands between the quotes; an integer has none.
        return from_strings(pc.utf8_trim(spelled, '"'))

    def _check_one_by_one(self, records: Packed, first_number: int) -> None:
        """Say what is wrong with the first bad record; also the judge where RE2 ran out of its memory."""
        for number, record in enumerate(records, first_number):
            try:
                count = len(decode_record(record))
            except RecordInvalid as cause:
                raise RecordInvalid(f"record {number}: {cause}", record=number) from cause
            if count != self._field_count:
                raise RecordInvalid(
                    f"record {number} has {count} values, and the description {self._field_count} fields",
                    record=number,
                )
