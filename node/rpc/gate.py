"""The gate that every call passes: who is it, may it use this face, how did it end.

A service is bound method by method from its descriptor to an object whose methods have the RPCs' names in snake case
and take (request, caller). So no method can be served without the check, and none can raise anything but a status
with a reason: a refusal goes out as it is, and a defect as INTERNAL with a number under which the log has its trace.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from crypto.errors import Refusal
from node.errors import InternalError
from node.ports import Random
from node.rpc.errors import message_of, status_code, trailers
from node.rpc.identity import shown_certificate

Caller = TypeVar("Caller")
# Called when a call has ended: full method name, status code's name, seconds.
CallEnded = Callable[[str, str, float], None]

_INCIDENT_SIZE = 8  # bytes


class Logger(Protocol):
    """A structured logger (structlog's bound loggers are)."""

    def info(self, event: str, *args: Any, **fields: Any) -> Any:  # noqa: ANN401  # as structlog declares it
        """Something that was foreseen."""

    def exception(self, event: str, *args: Any, **fields: Any) -> Any:  # noqa: ANN401  # likewise
        """Something that was not, with the trace of the exception being handled."""


def _ignore(_method: str, _code: str, _seconds: float) -> None:
    """Count nothing."""


@dataclass(frozen=True)
class Gate:
    """What all faces of a node share."""

    logger: Logger
    random: Random
    call_ended: CallEnded = _ignore
    stopwatch: Callable[[], float] = time.perf_counter  # seconds

    def bind(
        self, service: ServiceDescriptor, implementation: object, identify: Callable[[bytes], Caller]
    ) -> grpc.GenericRpcHandler:
        """The handlers of a service.

        Args:
            service: its descriptor.
            implementation: for each RPC a method of its name in snake case. It takes the request, or an asynchronous
                iterator of requests, and the caller; it is a coroutine, or an asynchronous generator where the RPC
                streams its responses.
            identify: gives the caller by its certificate (DER) or raises the refusal of whom this face does not serve.
        """
        handlers = {
            method.name: self._handler(
                method, getattr(implementation, re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()), identify
            )
            for method in service.methods
        }
        return grpc.method_handlers_generic_handler(service.full_name, handlers)

    def _handler(
        self,
        method: MethodDescriptor,
        implementation: Callable[[Any, Caller], Any],
        identify: Callable[[bytes], Caller],
    ) -> grpc.RpcMethodHandler:
        name = f"/{method.containing_service.full_name}/{method.name}"
        serve: Callable[..., Awaitable[Message | None]]
        if method.server_streaming:
            serve = self._stream(name, implementation, identify)
            make = (
                grpc.stream_stream_rpc_method_handler
                if method.client_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            serve, make = self._unary(name, implementation, identify), grpc.unary_unary_rpc_method_handler
        return make(
            serve,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    def _unary(
        self, name: str, method: Callable[[Any, Caller], Awaitable[Message]], identify: Callable[[bytes], Caller]
    ) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Message | None]]:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message | None:  # noqa: ANN401
            async with self._watched(name, context):
                return await method(request, identify(shown_certificate(context)))
            return None

        return serve

    def _stream(
        self,
        name: str,
        method: Callable[[Any, Caller], AsyncGenerator[Message, None]],
        identify: Callable[[bytes], Caller],
    ) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[None]]:
        async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:  # noqa: ANN401
            async with self._watched(name, context):
                caller = identify(shown_certificate(context))
                # Written rather than yielded, so that a cancelled call closes the use case's generator here and now.
                async with aclosing(method(request, caller)) as responses:
                    async for response in responses:
                        await context.write(response)

        return serve

    @asynccontextmanager
    async def _watched(self, name: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
        began, code = self.stopwatch(), grpc.StatusCode.OK
        refusal: Refusal | None = None
        try:
            yield
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except Refusal as raised:
            refusal = raised
            self.logger.info(
                "call_refused", method=name, reason=refusal.reason, message=message_of(refusal), details=refusal.details
            )
        except Exception:  # nothing else may leave the node
            incident = self.random(_INCIDENT_SIZE).hex()
            self.logger.exception("call_failed", method=name, incident=incident)
            refusal = InternalError("a defect of this node ended the call", incident=incident)
        finally:
            if refusal is not None:
                code = status_code(refusal.reason)
            self.call_ended(name, code.name, self.stopwatch() - began)
        if refusal is not None:
            await context.abort(code, message_of(refusal), trailers(refusal))
