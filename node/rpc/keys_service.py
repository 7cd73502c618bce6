"""KeysService: what the department's security team calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from kiteline.keys.v1 import keys_pb2 as pb
from node.errors import StatementInvalid
from node.model.keys import Kind, Mode
from node.rpc.faces import CompromisedView, CompromisingFace, KeysView, RotatedView, RotatingFace, Tell

KINDS = {
    pb.KEY_KIND_SIGNING: Kind.SIGNING,
    pb.KEY_KIND_ENCRYPTION: Kind.ENCRYPTION,
    pb.KEY_KIND_ACCOUNT: Kind.ACCOUNT,
    pb.KEY_KIND_TLS: Kind.TLS,
    pb.KEY_KIND_AT_REST: Kind.AT_REST,
}
_NUMBERS = {kind: number for number, kind in KINDS.items()}
MODES = {
    pb.ROTATION_MODE_THROUGH: Mode.THROUGH,
    pb.ROTATION_MODE_HOLD: Mode.HOLD,
    pb.ROTATION_MODE_DRILL: Mode.DRILL,
}
_MODE_NUMBERS = {mode: number for number, mode in MODES.items()}

T = TypeVar("T")


@dataclass(frozen=True)
class KeysService:
    """One method an RPC; see the proto for what it changes and refuses."""

    rotating: RotatingFace
    compromising: CompromisingFace
    keys: Callable[[], KeysView]
    _running: set[asyncio.Task[object]] = field(default_factory=set)

    async def list_keys(self, _request: pb.ListKeysRequest, _: None) -> pb.ListKeysResponse:
        """ListKeys."""
        view = self.keys()
        response = pb.ListKeysResponse(
            member_id=view.member_id,
            keys=[
                pb.Key(
                    kind=_NUMBERS[one.kind],
                    number=one.number,
                    state=one.state,
                    digest=one.digest,
                    since_ms=one.since_ms,
                )
                for one in view.keys
            ],
        )
        rotation = view.rotation
        if rotation is not None:
            response.rotation.CopyFrom(
                pb.Rotation(
                    kind=_NUMBERS[rotation.kind],
                    number=rotation.number,
                    step=rotation.step,
                    mode=_MODE_NUMBERS[Mode(rotation.mode)],
                    begun_ms=rotation.begun_ms,
                )
            )
        return response

    async def rotate_key(self, request: pb.RotateKeyRequest, _: None) -> AsyncGenerator[pb.RotateKeyResponse, None]:
        """RotateKey."""
        kind, mode = _kind(request.kind), MODES.get(request.mode)
        if mode is None:
            raise StatementInvalid("a rotation is of a mode")
        async for told in self._told(lambda tell: self.rotating.rotate(kind, mode, tell)):
            if isinstance(told, pb.Progress):
                yield pb.RotateKeyResponse(progress=told)
            else:
                yield pb.RotateKeyResponse(outcome=_outcome(told))

    async def commit_rotation(
        self, _request: pb.CommitRotationRequest, _: None
    ) -> AsyncGenerator[pb.CommitRotationResponse, None]:
        """CommitRotation."""
        async for told in self._told(self.rotating.commit):
            if isinstance(told, pb.Progress):
                yield pb.CommitRotationResponse(progress=told)
            else:
                yield pb.CommitRotationResponse(outcome=_outcome(told))

    async def undo_rotation(self, _request: pb.UndoRotationRequest, _: None) -> pb.UndoRotationResponse:
        """UndoRotation."""
        return pb.UndoRotationResponse(outcome=_outcome(await self.rotating.undo()))

    async def declare_compromise(
        self, request: pb.DeclareCompromiseRequest, _: None
    ) -> AsyncGenerator[pb.DeclareCompromiseResponse, None]:
        """DeclareCompromise."""
        kind, since = _kind(request.kind), request.since_seconds
        if since <= 0:
            raise StatementInvalid("a compromise has a time")

        def act(tell: Tell) -> Awaitable[CompromisedView]:
            if request.number:
                return self.compromising.declare(kind, request.number, since, tell)
            return self.compromising.compromise(kind, since, tell)

        async for told in self._told(act):
            if isinstance(told, pb.Progress):
                yield pb.DeclareCompromiseResponse(progress=told)
                continue
            yield pb.DeclareCompromiseResponse(
                declaration=pb.Declaration(
                    kind=_NUMBERS[told.kind],
                    old_number=told.old,
                    new_number=told.new,
                    epochs=told.epochs,
                    transaction_hashes=told.transactions,
                )
            )
            for one in told.affected:
                yield pb.DeclareCompromiseResponse(
                    entry=pb.AffectedEntry(
                        index=one.index,
                        time_ms=one.time_ms,
                        event=one.event,
                        subject=one.subject,
                        note_digest=one.note_digest,
                    )
                )

    async def _told(self, act: Callable[[Tell], Awaitable[T]]) -> AsyncGenerator[pb.Progress | T, None]:
        """What is told while it is done, then its result. It goes on if nobody listens any more."""
        told: asyncio.Queue[pb.Progress | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(what: str, done: int, total: int) -> None:
            loop.call_soon_threadsafe(told.put_nowait, pb.Progress(what=what, done=done, total=total))

        async def doing() -> T:
            try:
                return await act(tell)
            finally:
                loop.call_soon(told.put_nowait, None)  # after everything that was told before

        task = asyncio.create_task(doing())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A caller who goes away takes nobody with it who could hear of a failure; the log has that.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        while (one := await told.get()) is not None:
            yield one
        yield await asyncio.shield(task)


def _kind(number: int) -> Kind:
    kind: Kind | None = KINDS.get(number)  # type: ignore[call-overload]  # protobuf's enumerations are no integers to mypy
    if kind is None:
        raise StatementInvalid("a key is of a kind")
    return kind


def _outcome(rotated: RotatedView) -> pb.Outcome:
    return pb.Outcome(kind=_NUMBERS[rotated.kind], number=rotated.number, step=rotated.step, report=rotated.report)
