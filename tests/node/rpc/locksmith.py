"""Rotations in memory: what is asked of them is kept, and answered as a node's would be."""

from __future__ import annotations

from dataclasses import dataclass, field

from node.errors import NoRotation, RotationUnderWay
from node.keys.manifest import KeyRecord, RotationRecord, State
from node.model.keys import Kind, Mode, Step
from node.rpc.faces import AffectedView, CompromisedView, KeysView, RotatedView, Tell

AFFECTED = 300
DIGEST = bytes(range(32))


@dataclass
class Locksmith:
    """RotatingFace and CompromisingFace; one rotation at a time is held."""

    member_id: str
    held: RotationRecord | None = None
    asked: list[object] = field(default_factory=list)

    async def rotate(self, kind: Kind, mode: Mode, tell: Tell) -> RotatedView:
        """See RotatingFace."""
        if self.held is not None:
            raise RotationUnderWay("the rotation is held", kind=self.held.kind)
        self.asked.append((kind, mode))
        for done in range(3):
            tell("rehearsing", done, 2)
        if mode is Mode.HOLD:
            self.held = RotationRecord(kind, 2, Step.PREPARED, mode, 5)
        step = {Mode.THROUGH: "active", Mode.HOLD: "prepared", Mode.DRILL: "undone"}[mode]
        return RotatedView(kind, 2, step, ("it signs", "the contract would take it"))

    async def commit(self, tell: Tell) -> RotatedView:
        """See RotatingFace."""
        held = self._take()
        tell("telling the chain", 0, 0)
        return RotatedView(held.kind, held.number, "active", ())

    async def undo(self) -> RotatedView:
        """See RotatingFace."""
        held = self._take()
        return RotatedView(held.kind, held.number, "undone", ())

    async def compromise(self, kind: Kind, since_seconds: int, tell: Tell) -> CompromisedView:
        """See CompromisingFace."""
        return await self.declare(kind, 1, since_seconds, tell)

    async def declare(self, kind: Kind, number: int, since_seconds: int, tell: Tell) -> CompromisedView:
        """See CompromisingFace."""
        self.asked.append((kind, number, since_seconds))
        tell("declaring it on the chain", 0, 0)
        entries = tuple(AffectedView(n, n + 7, "ORDER_SENT", "grant:" + "0" * 64, DIGEST) for n in range(AFFECTED))
        return CompromisedView(kind, number, number + 1, (1, 2), (DIGEST,), entries)

    def keys(self) -> KeysView:
        """What is listed."""
        return KeysView(self.member_id, [KeyRecord(kind, 1, State.ACTIVE, DIGEST, 9) for kind in Kind], self.held)

    def _take(self) -> RotationRecord:
        held, self.held = self.held, None
        if held is None:
            raise NoRotation("no rotation is under way")
        return held
