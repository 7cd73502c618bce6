"""A walk of random moves, each judged by the chronicle and compared with what the contracts answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, note, settings

from tests.contracts.chronicle import Chronicle
from tests.contracts.world import Member, Refused, World

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Move:
    """What is drawn for one step: the kind of it, the number of the caller, and numbers that the kind makes use of.

    `who` None is whoever may make the call as things stand; so both what is allowed and what is not comes about often.
    """

    kind: str
    who: int | None
    which: int
    what: int
    how: int


class Walk:
    """One walk from the founding on, taken back at its end. A subclass has a method for each kind of move.

    `callers`: first the founders, then whoever else has an account.
    """

    def __init__(self, world: World, founders: Sequence[Member], others: Sequence[Member], met: Counter[str]) -> None:
        self.world = world
        self.callers = [*founders, *others]
        self.chronicle = Chronicle(founders, int(world.view("Members.threshold")), met)

    def begin(self) -> None:
        """What goes before the first move."""

    def go(self, moves: Sequence[Move]) -> None:
        """Make the moves, compare everything at the end, and leave the chain as it was."""
        mark = self.world.mark()
        try:
            self.begin()
            for move in moves:
                getattr(self, move.kind)(move)
            self.chronicle.agrees(self.world)
        finally:
            self.world.go_back(mark)

    def step(self, call: str, who: int | None, whose: bytes | None, *arguments: object) -> None:
        """Have a caller send a transaction: the one of this number, or else whoever acts for this member."""
        caller = self._acting_for(whose) if who is None else self.callers[who % len(self.callers)]
        try:
            events = self.world.send(call, caller, *arguments)
        except Refused as refusal:
            note(f"{call} by {caller.name}: refused, {refusal.error}")
            self.chronicle.refused(caller, refusal.error)
            return
        note(f"{call} by {caller.name}: {events}")
        self.chronicle.tell(caller, events, self.world.now)
        self.chronicle.agrees(self.world, [value for event in events for value in event if isinstance(value, bytes)])

    def authority(self, number: int, without: Sequence[bytes] = ()) -> bytes:
        """One of the active authorities, preferably not one of these."""
        found = [key for key in self.chronicle.members if self.chronicle.is_authority(key)]
        return among([key for key in found if key not in without] or found, number)

    def _acting_for(self, member: bytes | None) -> Member:
        """The caller with a member's account in force, active or not; the last one if there is no such member."""
        standing = self.chronicle.members.get(member or b"")
        account = standing.account if standing else ""
        return next((caller for caller in self.callers if caller.address == account), self.callers[-1])


def among(choices: Sequence[Choice], number: int) -> Choice:
    """A choice by any number."""
    return choices[number % len(choices)]


def walk(
    make: type[Walk], kinds: Sequence[str], world: World, *, walks: int, moves: int, **cast: Sequence[Member]
) -> Counter[str]:
    """So many walks of so many moves, and what was met on them. They are the same in every run.

    A walk that breaks a promise is told move by move, and not shortened: that would take minutes on a real chain.
    """
    met: Counter[str] = Counter()
    numbers = st.integers(0, 11)
    move = st.builds(
        Move,
        kind=st.sampled_from(kinds),
        who=st.one_of(st.none(), st.none(), numbers),
        which=numbers,
        what=numbers,
        how=numbers,
    )

    @settings(
        max_examples=walks,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.lists(move, min_size=moves, max_size=moves))
    def one(drawn: list[Move]) -> None:
        make(world, cast["founders"], cast["others"], met).go(drawn)

    one()
    return met
