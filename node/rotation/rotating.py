"""Rotations of a running node's keys: one at a time, each step durable before the next, reversible up to its commit point.

    begun        the manifest says so. Nothing else has changed
    prepared     the next key is made, read back, tried, and the change rehearsed against the chain and the disk. `undo` destroys it
    committing   from here on it is carried out, whatever happens: the chains are told, or (a key of the disk) the manifest alone
    (over)       the next key is active, the one before it retiring; what lay under that one is wrapped anew; after a while it is retired

A drill goes through the first two steps and back. Where the node is killed, `resume` goes on from the step in the manifest; what a contract refuses at
the commit (somebody else rotated first) undoes the rotation. Between the final block and the first use of the new key the slowest member is waited for
(`settle_seconds`); the old one is taken from others for longer than that (`exchange.notes.ROTATION_GRACE_SECONDS`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from crypto.errors import Refusal
from node.errors import (
    AccountUnfunded,
    ChainUnavailable,
    NoRotation,
    RotationCommitted,
    RotationSuperseded,
    RotationUnderWay,
    TransactionRefused,
)
from node.exchange.context import Context
from node.exchange.journal import Step as Entry
from node.keys.keeper import Keeper
from node.keys.manifest import RotationRecord, State
from node.model.events import Event, member_subject
from node.model.keys import CHAIN_KINDS, Kind, Mode, Step
from node.rotation.kinds import (
    Places,
    bring_along,
    check_in_force,
    is_done_with,
    put_in_force,
    try_key,
)
from node.rpc.faces import RotatedView, Tell

Sleep = Callable[[float], Awaitable[None]]
_AGAIN_MS = 60_000  # after which a key that could not retire is looked at again; each look goes through everything
_LOOK_SECONDS = 1.0  # how often it is looked whether a key may be retired, or the chain is back


def quiet(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


class Rotating:
    """Rotates. `settle_seconds`, `retire_seconds`: see node.app.settings; `sleep`: waits."""

    def __init__(
        self, places: Places, settle_seconds: float, retire_seconds: float, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._places = places
        self._settle_seconds = settle_seconds
        self._retire_ms = int(1_000 * retire_seconds)
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._later: dict[tuple[Kind, int], int] = {}  # by key that could not retire: when it is tried again, Unix ms

    async def rotate(self, kind: Kind, mode: Mode, tell: Tell = quiet, *, at_once: bool = False) -> RotatedView:
        """Rotate a key, as far as `mode` says. `at_once`: without waiting for the slowest member, because the old key is in others' hands.

        Raises:
            RotationUnderWay: another is.
            KeysNotInForce: the chain has other keys than the store.
            ChainUnavailable: before the commit nothing changed; after it, the node goes on by itself.
            RotationSuperseded: another machine was faster; this rotation is undone.
        """
        places = self._places
        async with self._refusals_logged(Event.ROTATION_BEGUN):
            if self._turn.locked():
                raise RotationUnderWay("a rotation is being worked on")
            async with self._turn:
                self._check_none()
                if kind in CHAIN_KINDS:
                    await asyncio.to_thread(places.chains[0].view.refresh)
                    await asyncio.to_thread(check_in_force, places.ring, places.in_force(places.chains[0]))
                keeper = places.ring.keeper(kind)
                begun = (await asyncio.to_thread(keeper.begin, kind, mode)).rotation
                await self._log(Event.ROTATION_BEGUN, f"{kind} {begun.number} {mode}" if begun else None)
                return await self._go_on(keeper, tell, at_once=at_once)

    async def commit(self, tell: Tell = quiet) -> RotatedView:
        """Carry out the rotation that was prepared. Raises NoRotation, and as `rotate` does."""
        async with self._refusals_logged(Event.ROTATION_COMMITTED), self._turn:
            keeper, _ = self._under_way()
            return await self._commit(keeper, tell, ())

    async def undo(self) -> RotatedView:
        """Take back the rotation that is under way, and destroy its key. Raises NoRotation, RotationCommitted."""
        async with self._refusals_logged(Event.ROTATION_UNDONE), self._turn:
            keeper, rotation = self._under_way()
            if rotation.step is Step.COMMITTING:
                raise RotationCommitted(
                    f"the rotation of the key {rotation.kind} is past its commit point", kind=rotation.kind
                )
            return await self._undo(keeper, rotation, ())

    async def resume(self) -> None:
        """Go on with what was under way when the node last stopped. What fails is due again."""
        async with self._turn:
            for keeper in self._places.ring.keepers:
                rotation = keeper.manifest.rotation
                if rotation is not None and (rotation.step, rotation.mode) != (Step.PREPARED, Mode.HOLD):
                    with suppress(Refusal):
                        await self._go_on(keeper, quiet)

    async def serve(self) -> None:
        """Go on with what was under way, then resume what waits for the chain, and retire keys whose time has come, until cancelled."""
        with suppress(Refusal):  # an agent that does not answer yet, say
            await self.resume()
        while True:
            with suppress(Refusal):
                if any(
                    (rotation := keeper.manifest.rotation) is not None and rotation.step is Step.COMMITTING
                    for keeper in self._places.ring.keepers
                ):
                    await self.resume()
                await self.retire_due()
            await self._sleep(_LOOK_SECONDS)

    async def retire_due(self) -> None:
        """Retire the keys that were replaced long enough ago, once nothing is left under them."""
        places = self._places
        now = places.context.clock()
        due = [
            (keeper, one)
            for keeper in places.ring.keepers
            for one in keeper.manifest.keys
            if one.state is State.RETIRING
            and now >= self._later.get((one.kind, one.number), one.since_ms + self._retire_ms)
        ]
        for keeper, one in due:
            self._later[one.kind, one.number] = now + _AGAIN_MS
            async with self._turn:
                await asyncio.to_thread(bring_along, places, one.kind, lambda _done, _total: None)
                if not await asyncio.to_thread(is_done_with, places, one.kind, one.number):
                    continue
                await asyncio.to_thread(keeper.retire, one.kind, one.number)
                await asyncio.to_thread(places.ring.renew)
                await self._log(Event.KEY_RETIRED, f"{one.kind} {one.number}")

    async def _go_on(self, keeper: Keeper, tell: Tell, *, at_once: bool = False) -> RotatedView:
        """From the step that the manifest has, as far as the mode says."""
        rotation = _of(keeper)
        report: tuple[str, ...] = ()
        if rotation.step is Step.BEGUN:
            report = await self._prepare(keeper, rotation, tell)
            rotation = _of(keeper)
        if rotation.step is Step.PREPARED:
            if rotation.mode is Mode.DRILL:
                return await self._undo(keeper, rotation, report)
            if rotation.mode is Mode.HOLD:
                return RotatedView(rotation.kind, rotation.number, "prepared", report)
        return await self._commit(keeper, tell, report, at_once=at_once)

    async def _prepare(self, keeper: Keeper, rotation: RotationRecord, tell: Tell) -> tuple[str, ...]:
        """Make the next key and try it; what does not work undoes the rotation."""
        places, kind, number = self._places, rotation.kind, rotation.number
        try:
            tell("making the key", 0, 0)
            await asyncio.to_thread(keeper.prepare)
            await asyncio.to_thread(places.ring.renew)
            tell("rehearsing", 0, 0)
            said = await asyncio.to_thread(
                try_key, places, kind, number, lambda done, total: tell("rehearsing", done, total)
            )
        except Refusal:
            await self._undo(keeper, rotation, ())
            raise
        await self._log(Event.ROTATION_PREPARED, f"{kind} {number}: {said}")
        return (f"{kind} {number} is made: {said}",)

    async def _commit(
        self, keeper: Keeper, tell: Tell, report: tuple[str, ...], *, at_once: bool = False
    ) -> RotatedView:
        places, rotation = self._places, _of(keeper)
        kind, number = rotation.kind, rotation.number
        if rotation.step is Step.PREPARED:
            await asyncio.to_thread(keeper.commit)
        if kind in CHAIN_KINDS:
            tell("telling the chain", 0, 0)
            try:
                await asyncio.to_thread(put_in_force, places, kind, number)
            except TransactionRefused as refused:
                # A contract took nothing, so the old key is as good as before, and nothing may be left half-way.
                await self._undo(keeper, rotation, ())
                if isinstance(refused, AccountUnfunded):
                    raise
                raise RotationSuperseded(f"the chain refuses the rotation: {refused}", kind=kind) from refused
            report = (*report, f"the chain has {kind} {number} in force")
            if not at_once:
                tell("waiting for the slowest member", 0, 0)
                await self._sleep(self._settle_seconds)
        await asyncio.to_thread(keeper.activate)
        await asyncio.to_thread(places.ring.renew)
        await self._log(Event.ROTATION_COMMITTED, f"{kind} {number}")
        said = await asyncio.to_thread(
            bring_along, places, kind, lambda done, total: tell("wrapping anew", done, total)
        )
        return RotatedView(kind, number, "active", (*report, f"{kind} {number} is active", *([said] if said else [])))

    async def _undo(self, keeper: Keeper, rotation: RotationRecord, report: tuple[str, ...]) -> RotatedView:
        await asyncio.to_thread(keeper.undo)
        await asyncio.to_thread(self._places.ring.renew)
        await self._log(Event.ROTATION_UNDONE, f"{rotation.kind} {rotation.number}")
        return RotatedView(
            rotation.kind, rotation.number, "undone", (*report, "the new key is destroyed; nothing has changed")
        )

    def _check_none(self) -> None:
        for keeper in self._places.ring.keepers:
            rotation = keeper.manifest.rotation
            if rotation is not None:
                raise RotationUnderWay(
                    f"the rotation of the key {rotation.kind} is under way, at the step {rotation.step}",
                    kind=rotation.kind,
                )

    def _under_way(self) -> tuple[Keeper, RotationRecord]:
        for keeper in self._places.ring.keepers:
            if keeper.manifest.rotation is not None:
                return keeper, keeper.manifest.rotation
        raise NoRotation("no rotation is under way")

    async def _log(self, event: Event, detail: str | None) -> None:
        context = self._places.context
        subject = member_subject(context.member_id)
        await context.journal.record(Entry(event, context.member_id, subject, detail=detail))

    @asynccontextmanager
    async def _refusals_logged(self, event: Event) -> AsyncIterator[None]:
        """The chain's being away is no refusal by this node, and the rotation goes on."""
        async with refusals_logged(self._places.context, event, but=ChainUnavailable):
            yield


@asynccontextmanager
async def refusals_logged(
    context: Context, event: Event, *, but: type[Refusal] | tuple[()] = ()
) -> AsyncIterator[None]:
    """Log every refusal that comes out of this, and pass it on. `but`: what is passed on alone."""
    try:
        yield
    except Refusal as refusal:
        if not isinstance(refusal, but):
            await context.journal.record_refusal(event, context.member_id, member_subject(context.member_id), refusal)
        raise


def _of(keeper: Keeper) -> RotationRecord:
    rotation = keeper.manifest.rotation
    if rotation is None:
        raise NoRotation("no rotation is under way")
    return rotation
