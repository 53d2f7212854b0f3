"""Runs every call, of whatever kind, inside something: identity, observation, error shaping."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from service.errors import InvalidRequest, ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    Context = grpc.aio.ServicerContext[Any, Any]
    # Takes the full name of the method, as in "/mintmark.v1.ImageGeneration/Generate".
    Surround = Callable[[str, Context], AbstractAsyncContextManager[None]]
    Handler = grpc.RpcMethodHandler[Any, Any]

# By whether the request and whether the response is a stream.
_FACTORIES = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}

# Probes and tools: never logged as calls, and no reason to put off a shutdown.
INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")


class SurroundingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Enters each `surround(method, context)`, outermost first, before a call's handler.

    A ServiceError that an interceptor further in raises becomes a handler that raises it, so that
    it leaves through what surrounds every call.
    """

    def __init__(self, surrounds: Sequence[Surround]) -> None:
        self._surrounds = surrounds
        # By method: the handler that was looked up, and the same inside its surroundings.
        self._surrounded: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        # The stubs do not say that it is None for a method which nobody serves.
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Return the handler of one call, surrounded; None, as it came, for an unknown method."""
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except ServiceError as error:
            return _surrounded(_refusal(error), method, self._surrounds)
        if handler is None:
            return None  # type: ignore[return-value]
        known, surrounded = self._surrounded.get(method, (None, None))
        if surrounded is None or known is not handler:
            surrounded = _surrounded(handler, method, self._surrounds)
            self._surrounded[method] = handler, surrounded
        return surrounded


def _surrounded(handler: Handler, method: str, surrounds: Sequence[Surround]) -> Handler:
    serve: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    unreadable = object()
    deserialize: Any = handler.request_deserializer

    def read(content: bytes) -> Any:
        # gRPC answers a reader that raises with what it raised, as UNKNOWN.
        try:
            return deserialize(content)
        except DecodeError:
            return unreadable

    def inner(request: Any, context: Context) -> Any:
        if request is unreadable:
            raise InvalidRequest("The request is not a message of this method.")
        return serve(request, context)

    async def answer(request: Any, context: Context) -> Any:
        return await inner(request, context)

    async def answer_in_pieces(request: Any, context: Context) -> None:
        pieces = inner(request, context)
        if not hasattr(pieces, "__aiter__"):  # it writes by itself, as health watches do
            await pieces
            return
        # Closed at once, not when it is collected: closing is what stops the work.
        async with aclosing(pieces):
            async for piece in pieces:
                await context.write(piece)

    call: Any = answer_in_pieces if handler.response_streaming else answer
    for surround in reversed(surrounds):
        call = _inside(surround, method, call)
    factory: Any = _FACTORIES[handler.request_streaming, handler.response_streaming]
    return factory(  # type: ignore[no-any-return]
        call,
        request_deserializer=None if deserialize is None else read,
        response_serializer=handler.response_serializer,
    )


def _inside(surround: Surround, method: str, call: Any) -> Any:
    async def surrounded(request: Any, context: Context) -> Any:
        async with surround(method, context):
            return await call(request, context)

    return surrounded


def _refusal(error: ServiceError) -> Handler:
    """Return a handler for any kind of call that only raises `error`; it reads no request."""

    async def refuse(requests: Any, context: Context) -> None:  # noqa: ARG001
        raise error

    return grpc.stream_stream_rpc_method_handler(refuse)
