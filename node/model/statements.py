"""The statements of an exchange: what the notes say. One frozen class a type, one strict text form each.

A statement's text is its type line, `kiteline/<type>/v1`, then `name value` lines in fixed order, each ended by a line
feed. `parse_statement` accepts exactly what `to_text` writes. A note is this text with signatures under it
(`crypto.notes`); a note's digest, wherever one is named, is SM3 over the note's exact bytes, signatures included.

    kiteline/receipt/v1
    grant 9f…                 the grant, 32 bytes
    order 51…                 the order, 16 bytes
    sequence 3                of the delivery, counted for each grant from 1 without gaps
    delivery 7c…              digest of the delivery note
    segments-digest e0…       as the delivery states it
    previous 18…              digest of the receipt note before, zeros for the first
    requester 11370700MB2848723P
    time 2026-11-24T01:02:03.004Z
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import Enum
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

from node.errors import StatementInvalid
from node.model.chain import SharingType
from node.model.lines import (
    COUNT,
    DIGEST,
    FIELD_NAME,
    FIELD_NAMES,
    FIELDS,
    LEVEL,
    LOCAL_NAME,
    MEMBER,
    ORDER_ID,
    QUOTA,
    RANGE,
    SECONDS,
    SEQUENCE,
    TEXT,
    TIME,
    U64,
    ZERO_DIGEST,
    FieldDescription,
    Line,
    Range,
    optional,
    words,
)

MAX_STATEMENT_CHARACTERS = 256 * 1024


class OrderKind(Enum):
    """What an order asks for: everything as it lies on disk, or one record by its key."""

    BULK = "bulk"
    QUERY = "query"


class Outcome(Enum):
    """What an officer decided about a request."""

    APPROVED = "approved"
    DENIED = "denied"


@dataclass(frozen=True)
class Statement:
    """Base of all statements. Values are checked when the text is written or read, contradictions on construction."""

    TYPE: ClassVar[str]

    def to_text(self) -> str:
        """The one text of this statement. Raises StatementInvalid where a value cannot be written."""
        lines = [f"kiteline/{self.TYPE}/v1\n"]
        for attribute, line in _LINES[self.TYPE]:
            try:
                lines.append(f"{line.name} {line.codec.write(getattr(self, attribute))}\n")
            except StatementInvalid as cause:
                raise StatementInvalid(f"{self.TYPE}, {line.name}: {cause}", line=line.name) from cause
        return "".join(lines)


@dataclass(frozen=True)
class Description(Statement):
    """What a provider says of a dataset. `key_field` is what a query looks up; None: no queries."""

    TYPE: ClassVar[str] = "description"
    dataset_id: Annotated[bytes, Line("dataset", DIGEST)]
    name: Annotated[str, Line("name", LOCAL_NAME)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    title: Annotated[str, Line("title", TEXT)]
    level: Annotated[int, Line("level", LEVEL)]
    sharing_type: Annotated[SharingType, Line("sharing", words(SharingType))]
    key_field: Annotated[str | None, Line("key-field", optional(FIELD_NAME))]
    fields: Annotated[tuple[FieldDescription, ...], Line("fields", FIELDS)]
    time_ms: Annotated[int, Line("time", TIME)]

    def __post_init__(self) -> None:
        if self.key_field is not None and self.key_field not in self.field_names:
            raise StatementInvalid(f"the key field {self.key_field!r} is not one of the fields")

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields in record order."""
        return tuple(field.name for field in self.fields)


@dataclass(frozen=True)
class Request(Statement):
    """What a requester asks for. `fields` empty: all fields."""

    TYPE: ClassVar[str] = "request"
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    dataset_id: Annotated[bytes, Line("dataset", DIGEST)]
    requester_id: Annotated[str, Line("requester", MEMBER)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    fields: Annotated[tuple[str, ...], Line("fields", FIELD_NAMES)]
    purpose: Annotated[str, Line("purpose", TEXT)]
    expiry_seconds: Annotated[int, Line("expiry", SECONDS)]
    quota: Annotated[int, Line("quota", QUOTA)]
    time_ms: Annotated[int, Line("time", TIME)]


@dataclass(frozen=True)
class Decision(Statement):
    """What a provider decided. An approval states terms and may give a reason; a denial states its reason alone."""

    TYPE: ClassVar[str] = "decision"
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    request_digest: Annotated[bytes, Line("request", DIGEST)]
    outcome: Annotated[Outcome, Line("outcome", words(Outcome))]
    fields: Annotated[tuple[str, ...] | None, Line("fields", optional(FIELD_NAMES))]
    expiry_seconds: Annotated[int | None, Line("expiry", optional(SECONDS))]
    quota: Annotated[int | None, Line("quota", optional(QUOTA))]
    reason: Annotated[str | None, Line("reason", optional(TEXT))]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    time_ms: Annotated[int, Line("time", TIME)]

    def __post_init__(self) -> None:
        given = {term is not None for term in (self.fields, self.expiry_seconds, self.quota)}
        if given != {self.outcome is Outcome.APPROVED}:
            raise StatementInvalid("an approval states fields, expiry and quota, and a denial none of them")
        if self.outcome is Outcome.DENIED and self.reason is None:
            raise StatementInvalid("a denial gives its reason")


@dataclass(frozen=True)
class Revocation(Statement):
    """A provider takes a grant back."""

    TYPE: ClassVar[str] = "revocation"
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    reason: Annotated[str, Line("reason", TEXT)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    time_ms: Annotated[int, Line("time", TIME)]


@dataclass(frozen=True)
class Order(Statement):
    """What a requester orders under a grant. A bulk order names the range; a query commits to its salted key."""

    TYPE: ClassVar[str] = "order"
    order_id: Annotated[bytes, Line("order", ORDER_ID)]
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    dataset_id: Annotated[bytes, Line("dataset", DIGEST)]
    requester_id: Annotated[str, Line("requester", MEMBER)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    kind: Annotated[OrderKind, Line("kind", words(OrderKind))]
    range: Annotated[Range | None, Line("range", optional(RANGE))]
    key_digest: Annotated[bytes, Line("key-digest", DIGEST)]
    time_ms: Annotated[int, Line("time", TIME)]

    def __post_init__(self) -> None:
        bulk = self.kind is OrderKind.BULK
        if (self.range is not None) != bulk or (self.key_digest == ZERO_DIGEST) != bulk:
            raise StatementInvalid("a bulk order has a range and no key digest, a query a key digest and no range")

    @property
    def stop(self) -> int:
        """Where a bulk order's range ends; 0 for a query."""
        return self.range.stop if self.range else 0


@dataclass(frozen=True)
class Delivery(Statement):
    """What a provider delivers. Bulk: `segments` sealed segments under `segments_digest`, SM3 over their digests.
    Query: the sealed answer and its wrapped key under their digests; `range` is the one record answered.
    """

    TYPE: ClassVar[str] = "delivery"
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    order_id: Annotated[bytes, Line("order", ORDER_ID)]
    sequence: Annotated[int, Line("sequence", SEQUENCE)]
    kind: Annotated[OrderKind, Line("kind", words(OrderKind))]
    dataset_id: Annotated[bytes, Line("dataset", DIGEST)]
    version_digest: Annotated[bytes, Line("version", DIGEST)]
    range: Annotated[Range, Line("range", RANGE)]
    segments: Annotated[int, Line("segments", COUNT)]
    segments_digest: Annotated[bytes, Line("segments-digest", DIGEST)]
    answer_digest: Annotated[bytes, Line("answer-digest", DIGEST)]
    wrapped_digest: Annotated[bytes, Line("wrapped-digest", DIGEST)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    requester_id: Annotated[str, Line("requester", MEMBER)]
    time_ms: Annotated[int, Line("time", TIME)]

    def __post_init__(self) -> None:
        bulk = self.kind is OrderKind.BULK
        segments = {self.segments > 0, self.segments_digest != ZERO_DIGEST}
        answer = {self.answer_digest != ZERO_DIGEST, self.wrapped_digest != ZERO_DIGEST}
        if segments != {bulk} or answer != {not bulk}:
            raise StatementInvalid("a bulk delivery states segments alone, an answer its own digests alone")


@dataclass(frozen=True)
class Receipt(Statement):
    """A requester holds a delivery durably. `previous_digest`: of the receipt note before, zeros for the first."""

    TYPE: ClassVar[str] = "receipt"
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    order_id: Annotated[bytes, Line("order", ORDER_ID)]
    sequence: Annotated[int, Line("sequence", SEQUENCE)]
    delivery_digest: Annotated[bytes, Line("delivery", DIGEST)]
    segments_digest: Annotated[bytes, Line("segments-digest", DIGEST)]
    previous_digest: Annotated[bytes, Line("previous", DIGEST)]
    requester_id: Annotated[str, Line("requester", MEMBER)]
    time_ms: Annotated[int, Line("time", TIME)]

    def __post_init__(self) -> None:
        if (self.sequence == 1) != (self.previous_digest == ZERO_DIGEST):
            raise StatementInvalid("every receipt but the first names the one before it")


@dataclass(frozen=True)
class KeyRelease(Statement):
    """A provider releases a delivery's keys on the strength of its receipt."""

    TYPE: ClassVar[str] = "key-release"
    grant_id: Annotated[bytes, Line("grant", DIGEST)]
    order_id: Annotated[bytes, Line("order", ORDER_ID)]
    sequence: Annotated[int, Line("sequence", SEQUENCE)]
    receipt_digest: Annotated[bytes, Line("receipt", DIGEST)]
    wrapped_digest: Annotated[bytes, Line("wrapped-digest", DIGEST)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    time_ms: Annotated[int, Line("time", TIME)]


@dataclass(frozen=True)
class Purge(Statement):
    """A provider destroyed a dataset's records: the tombstone. `size` records under `root` are those of its newest version; a
    dataset that had none states 0 and the root of the empty tree.
    """

    TYPE: ClassVar[str] = "purge"
    dataset_id: Annotated[bytes, Line("dataset", DIGEST)]
    size: Annotated[int, Line("size", U64)]
    root: Annotated[bytes, Line("root", DIGEST)]
    reason: Annotated[str, Line("reason", TEXT)]
    provider_id: Annotated[str, Line("provider", MEMBER)]
    time_ms: Annotated[int, Line("time", TIME)]


STATEMENT_TYPES: tuple[type[Statement], ...] = (
    Description,
    Request,
    Decision,
    Revocation,
    Order,
    Delivery,
    Receipt,
    KeyRelease,
    Purge,
)
S = TypeVar("S", bound=Statement)

_BY_HEADER = {f"kiteline/{kind.TYPE}/v1": kind for kind in STATEMENT_TYPES}


# For each type: (attribute, line), in the order of its text.
_LINES: dict[str, tuple[tuple[str, Line], ...]] = {}
for _kind in STATEMENT_TYPES:
    _hints = get_type_hints(_kind, include_extras=True)
    _LINES[_kind.TYPE] = tuple((field.name, _hints[field.name].__metadata__[0]) for field in dataclass_fields(_kind))


def parse_statement(text: str) -> Statement:
    """Read any statement. Raises StatementInvalid unless `text` is exactly what `to_text` of the result gives."""
    if len(text) > MAX_STATEMENT_CHARACTERS:
        raise StatementInvalid(f"a statement has at most {MAX_STATEMENT_CHARACTERS} characters")
    if not text.endswith("\n"):
        raise StatementInvalid("a statement ends with a line feed")
    header, *rest = text[:-1].split("\n")
    kind = _BY_HEADER.get(header)
    if kind is None:
        raise StatementInvalid(f"{header[:80]!r} is not the first line of any statement")
    expected = _LINES[kind.TYPE]
    if len(rest) != len(expected):
        raise StatementInvalid(f"{kind.TYPE}: has {len(expected)} lines after the first, not {len(rest)}")
    values: dict[str, Any] = {}
    for (attribute, line), given in zip(expected, rest, strict=True):
        name, space, value = given.partition(" ")
        if name != line.name or not space:
            raise StatementInvalid(f"{kind.TYPE}: the line {line.name} is not where it belongs", line=line.name)
        try:
            values[attribute] = line.codec.read(value)
        except StatementInvalid as cause:
            raise StatementInvalid(f"{kind.TYPE}, {line.name}: {cause}", line=line.name) from cause
    statement = kind(**values)
    if statement.to_text() != text:
        raise StatementInvalid(f"{kind.TYPE}: the text is not in its one accepted spelling")
    return statement


def parse_as(kind: type[S], text: str) -> S:
    """Read a statement that must be of one type."""
    statement = parse_statement(text)
    if not isinstance(statement, kind):
        raise StatementInvalid(f"a {kind.TYPE} is wanted here, and this is a {statement.TYPE}")
    return statement
