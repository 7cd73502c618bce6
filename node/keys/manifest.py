"""The manifest of a key store: every key with its state, and the rotation that is under way; one text, replaced whole.

    kiteline/key-store/v1
    member 11370700004258746X
    key signing 1 retired 6f…  2026-11-24T01:02:03.004Z
    key signing 2 active 9a…  2026-11-25T01:02:03.004Z
    key signing 3 next 51…  2026-11-26T01:02:03.004Z
    rotation signing 3 prepared hold 2026-11-26T01:02:03.004Z

What may be true of the keys together is checked here and nowhere else: of every kind that a store has, exactly one key is active, and a next one exists only
under the rotation that made it. Since the file changes in one step, so does what is true: there are never two active keys of a kind, and never none.

Pure: texts and values; the store (`node.keys.store`) reads and writes the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from crypto.credit_code import check_credit_code
from crypto.errors import CreditCodeInvalid
from node.errors import KeyStateInvalid, KeyStoreInvalid, StatementInvalid
from node.model.keys import Kind, Mode, Step
from node.model.lines import read_time, write_time

HEADER = "kiteline/key-store/v1"
MAX_KEYS = 10_000
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class State(StrEnum):
    """What a key is good for. Next: made, and used by nobody. Active: in use. Retiring: not used for anything new. Retired: not used at all."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    COMPROMISED = "compromised"


# From which state a key may go to which.
TRANSITIONS = {
    State.NEXT: frozenset({State.ACTIVE}),
    State.ACTIVE: frozenset({State.RETIRING}),  # with another in its place; a compromised key is rotated first
    State.RETIRING: frozenset({State.RETIRED, State.COMPROMISED}),
    State.RETIRED: frozenset({State.COMPROMISED}),
    State.COMPROMISED: frozenset[State](),
}


@dataclass(frozen=True, order=True)
class KeyRecord:
    """One key. `number` counts the keys of its kind from 1; `digest` names its public side (`node.keys.material`); `since_ms`: when it came into
    its state, Unix ms.
    """

    kind: Kind
    number: int
    state: State
    digest: bytes
    since_ms: int

    def line(self) -> str:
        """Its line."""
        return f"key {self.kind} {self.number} {self.state} {self.digest.hex()} {write_time(self.since_ms)}\n"


@dataclass(frozen=True)
class RotationRecord:
    """The rotation under way: to the key of this number. `begun_ms`: Unix ms."""

    kind: Kind
    number: int
    step: Step
    mode: Mode
    begun_ms: int

    def line(self) -> str:
        """Its line."""
        return f"rotation {self.kind} {self.number} {self.step} {self.mode} {write_time(self.begun_ms)}\n"


@dataclass(frozen=True)
class Manifest:
    """The keys of a store, by kind and number. Raises KeyStoreInvalid on construction where they contradict each other."""

    member_id: str
    keys: tuple[KeyRecord, ...]
    rotation: RotationRecord | None = None
    _by_name: dict[tuple[Kind, int], KeyRecord] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        order = list(Kind)
        names = [(order.index(one.kind), one.number) for one in self.keys]
        if names != sorted(set(names)) or len(names) > MAX_KEYS:
            raise KeyStoreInvalid("the keys stand by kind and number, each once")
        for kind in self.kinds:
            active = [one for one in self.keys if one.kind is kind and one.state is State.ACTIVE]
            if len(active) != 1:
                raise KeyStoreInvalid(f"{len(active)} keys of the kind {kind} are active, which must be one")
        nexts = [(one.kind, one.number) for one in self.keys if one.state is State.NEXT]
        under_way = self.rotation
        has_next = under_way is not None and under_way.step in {Step.PREPARED, Step.COMMITTING}
        wanted = [(under_way.kind, under_way.number)] if under_way is not None and has_next else []
        if nexts != wanted:
            raise KeyStoreInvalid("a next key is there under the rotation that made it, and under no other")
        if under_way is not None and (
            under_way.kind not in self.kinds or under_way.number != self._newest(under_way.kind) + (not has_next)
        ):
            raise KeyStoreInvalid("the rotation is to another key than the one after the newest")
        object.__setattr__(self, "_by_name", {(one.kind, one.number): one for one in self.keys})

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of keys that the store has."""
        return tuple(dict.fromkeys(one.kind for one in self.keys))

    def of(self, kind: Kind) -> list[KeyRecord]:
        """Every key of a kind, oldest first."""
        return [one for one in self.keys if one.kind is kind]

    def active(self, kind: Kind) -> KeyRecord:
        """The active key of a kind. Raises KeyStoreInvalid where the store has none of it."""
        for one in self.keys:
            if one.kind is kind and one.state is State.ACTIVE:
                return one
        raise KeyStoreInvalid(f"the store has no keys of the kind {kind}")

    def next(self) -> KeyRecord | None:
        """The key that the rotation under way has made."""
        return next((one for one in self.keys if one.state is State.NEXT), None)

    def record(self, kind: Kind, number: int) -> KeyRecord:
        """A key. Raises KeyStoreInvalid."""
        found = self._by_name.get((kind, number))
        if found is None:
            raise KeyStoreInvalid(f"the store has no key {kind} {number}")
        return found

    def begun(self, kind: Kind, mode: Mode, now_ms: int) -> Manifest:
        """With a rotation of this kind begun. Raises KeyStoreInvalid where one is under way (the caller looks first)."""
        if self.rotation is not None:
            raise KeyStoreInvalid("a rotation is under way")
        return replace(self, rotation=RotationRecord(kind, self._newest(kind) + 1, Step.BEGUN, mode, now_ms))

    def prepared(self, digest: bytes, now_ms: int) -> Manifest:
        """With the next key of the rotation under way."""
        rotation = self._at(Step.BEGUN)
        made = KeyRecord(rotation.kind, rotation.number, State.NEXT, digest, now_ms)
        order = list(Kind)
        keys = sorted([*self.keys, made], key=lambda one: (order.index(one.kind), one.number))
        return replace(self, keys=tuple(keys), rotation=replace(rotation, step=Step.PREPARED))

    def committing(self) -> Manifest:
        """With the rotation at its commit point, from which there is no way back by itself."""
        return replace(self, rotation=replace(self._at(Step.PREPARED), step=Step.COMMITTING))

    def activated(self, now_ms: int) -> Manifest:
        """With the next key active, the one before it retiring, and the rotation over."""
        rotation = self._at(Step.COMMITTING)
        old, new = self.active(rotation.kind), self.record(rotation.kind, rotation.number)
        states = {(old.kind, old.number): State.RETIRING, (new.kind, new.number): State.ACTIVE}
        return replace(self, keys=self._with(states, now_ms), rotation=None)

    def undone(self) -> Manifest:
        """Without the rotation and its next key."""
        if self.rotation is None:
            raise KeyStoreInvalid("no rotation is under way")
        return replace(self, keys=tuple(one for one in self.keys if one.state is not State.NEXT), rotation=None)

    def moved(self, kind: Kind, number: int, state: State, now_ms: int) -> Manifest:
        """With a key in another state. Raises KeyStateInvalid where no key goes from the one to the other."""
        held = self.record(kind, number)
        if state not in TRANSITIONS[held.state]:
            raise KeyStateInvalid(
                f"{kind} {number} is {held.state} and cannot become {state}", kind=kind, number=number
            )
        return replace(self, keys=self._with({(kind, number): state}, now_ms))

    def adopted(self, digests: Mapping[Kind, bytes], now_ms: int) -> Manifest:
        """With a key of each of these kinds active that was made elsewhere, and those before them retiring. No rotation may be under way."""
        if self.rotation is not None:
            raise KeyStoreInvalid("a rotation is under way")
        states = {(kind, self.active(kind).number): State.RETIRING for kind in digests}
        made = [
            KeyRecord(kind, self._newest(kind) + 1, State.ACTIVE, digest, now_ms) for kind, digest in digests.items()
        ]
        order = list(Kind)
        keys = sorted([*self._with(states, now_ms), *made], key=lambda one: (order.index(one.kind), one.number))
        return replace(self, keys=tuple(keys))

    def to_text(self) -> str:
        """The one text of it."""
        lines = [f"{HEADER}\nmember {self.member_id}\n", *(one.line() for one in self.keys)]
        return "".join([*lines, self.rotation.line() if self.rotation else ""])

    def _newest(self, kind: Kind) -> int:
        return max((one.number for one in self.keys if one.kind is kind), default=0)

    def _at(self, step: Step) -> RotationRecord:
        if self.rotation is None or self.rotation.step is not step:
            raise KeyStoreInvalid(f"no rotation is {step}")
        return self.rotation

    def _with(self, states: dict[tuple[Kind, int], State], now_ms: int) -> tuple[KeyRecord, ...]:
        return tuple(
            replace(one, state=states[one.kind, one.number], since_ms=now_ms)
            if (one.kind, one.number) in states
            else one
            for one in self.keys
        )


def founded(member_id: str, digests: Iterable[tuple[Kind, bytes]], now_ms: int) -> Manifest:
    """A new store's: the first key of each kind, active."""
    given = dict(digests)
    keys = [KeyRecord(kind, 1, State.ACTIVE, given[kind], now_ms) for kind in Kind if kind in given]
    return Manifest(member_id, tuple(keys))


def parse_manifest(text: str) -> Manifest:
    """Read a manifest. Raises KeyStoreInvalid unless it is exactly what `to_text` writes."""
    lines = text.split("\n")
    if len(lines) < len(("header", "member", "key", "")) or lines[0] != HEADER or lines[-1]:
        raise KeyStoreInvalid(f"the manifest does not begin with {HEADER}, or is cut off")
    try:
        word, member_id = lines[1].split(" ")
        if word != "member":
            raise KeyStoreInvalid("the member is not named")
        check_credit_code(member_id)
        body = lines[2:-1]
        rotation = _rotation(body.pop()) if body and body[-1].startswith("rotation ") else None
        manifest = Manifest(member_id, tuple(map(_key, body)), rotation)
        spelled = manifest.to_text()  # a time before 1970 can be read and not written
    except (ValueError, StatementInvalid, CreditCodeInvalid) as cause:
        raise KeyStoreInvalid(f"the manifest has a line in another form: {cause}") from cause
    if spelled != text:
        raise KeyStoreInvalid("the manifest is not in its one spelling")
    return manifest


def _key(line: str) -> KeyRecord:
    word, kind, number, state, digest, since = line.split(" ")
    if word != "key" or not _NUMBER.fullmatch(number) or not _DIGEST.fullmatch(digest):
        raise ValueError("a key has a kind, a number, a state, a digest and a time")
    return KeyRecord(Kind(kind), int(number), State(state), bytes.fromhex(digest), read_time(since))


def _rotation(line: str) -> RotationRecord:
    _, kind, number, step, mode, begun = line.split(" ")
    if not _NUMBER.fullmatch(number):
        raise ValueError("a rotation has a kind, a number, a step, a mode and a time")
    return RotationRecord(Kind(kind), int(number), Step(step), Mode(mode), read_time(begun))
