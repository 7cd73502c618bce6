"""The audit log as the exchange writes it: a step is taken when its entry is durable, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from audit.entry import Entry
from audit.errors import ClockWentBack
from crypto.errors import Refusal
from node.model.events import NOBODY, Event
from node.ports import Log

_MAX_DETAIL = 1_000  # characters


@dataclass(frozen=True)
class Step:
    """One entry to write. `refusal`: the reason if the step was refused; `note`: the statement that belongs to it."""

    event: Event
    actor: str
    subject: str
    note: bytes | None = None
    refusal: str | None = None
    detail: str | None = None


class Journal:
    """Writes steps. Each waits for its entry to be durable and reflected by the ledger."""

    def __init__(self, log: Log, clock: Callable[[], int], max_step_back_ms: int) -> None:
        self._log = log
        self._clock = clock
        self._max_step_back_ms = max_step_back_ms
        self._latest_ms = 0

    def submit(self, step: Step) -> asyncio.Future[int]:
        """Queue a step; entries are appended in the order of submission. The future gives the entry's index.

        Raises:
            ClockWentBack: the clock is far behind the entries before. A little behind, and the entry has their time.
        """
        entry = Entry(
            time_ms=self._now(),
            event=step.event,
            refusal=step.refusal,
            actor=step.actor,
            subject=step.subject,
            detail=_one_line(step.detail),
            note=step.note,
        )
        return asyncio.wrap_future(self._log.submit(entry.to_bytes()))

    def _now(self) -> int:
        """The time of an entry: never before the entry above it."""
        now = self._clock()
        behind = self._latest_ms - now
        if behind > self._max_step_back_ms:
            raise ClockWentBack(f"the clock is {behind // 1_000} s behind the newest entry", seconds=behind // 1_000)
        self._latest_ms = max(now, self._latest_ms)
        return self._latest_ms

    async def record(self, step: Step) -> int:
        """Write a step and wait until it is durable."""
        return await self.submit(step)

    async def record_refusal(
        self, event: Event, actor: str, subject: str, refusal: Refusal, note: bytes | None = None
    ) -> None:
        """Write that a step was refused. A note is kept only where its signature was verified."""
        # The remote side can cause these at will. What bounds them is the RPC layer's limit on calls of one peer.
        await self.record(Step(event, actor or NOBODY, subject, note, refusal.reason))


def _one_line(detail: str | None) -> str | None:
    """A detail as an entry may hold it. It may quote a peer, so nothing in it may break the line or the limit."""
    if detail is None:
        return None
    printable = "".join(character if character.isprintable() else "?" for character in detail)
    return printable[:_MAX_DETAIL].strip(" ") or None
