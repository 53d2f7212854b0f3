"""Keeps a record of every HTTP request while it is served, and has spans made from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import Cancelled, InternalError
from service.rest.observation import PROBE_PATHS
from service.rest.request_identity import request_id_of
from service.telemetry import span_table as table
from service.telemetry.request_record import RequestRecord, current_record
from service.telemetry.spans import ServerFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.telemetry.spans import AttributeValue
    from service.telemetry.tracing import Tracer

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What the semantic conventions call a method that is none.
_OTHER_METHOD = "_OTHER"
_LEAST_FAULT = 500


@dataclass(slots=True)
class _Answer:
    """What has been sent so far. `status`: None before it began."""

    status: int | None = None
    sent_bytes: int = 0


class Recording:
    """Stands inside the request's identity and outside everything that may take time or fail.

    Probes leave no record. `clock`: monotonic seconds, the engine's.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer, clock: Callable[[], float]) -> None:
        self._app = app
        self._tracer = tracer
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with its record in reach of everyone who notes something."""
        if scope["type"] != "http" or scope["path"] in PROBE_PATHS:
            await self._app(scope, receive, send)
            return
        trace = self._tracer.begin(lambda name: _values(scope, name))
        record = RequestRecord(self._clock, trace, request_id_of(scope))
        token = current_record.set(record)
        try:
            if trace is None:
                await self._app(scope, receive, send)
            else:
                await self._traced(record, scope, receive, send)
        finally:
            current_record.reset(token)

    async def _traced(
        self, record: RequestRecord, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = _Answer()

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
            answer.sent_bytes += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except asyncio.CancelledError:
            record.fail(Cancelled.code)
            raise
        except BaseException:
            record.fail(InternalError.code)
            raise
        finally:
            self._tracer.finish(record, _facts(scope, answer))


def _values(scope: Scope, name: str) -> list[str]:
    wanted = name.encode("ascii")
    return [value.decode("latin-1") for key, value in scope["headers"] if key == wanted]


def _facts(scope: Scope, answer: _Answer) -> ServerFacts:
    """Describe a request by its route; a raw path may hold anything, so only ours are told."""
    method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
    attributes: dict[str, AttributeValue] = {
        table.HTTP_METHOD: method,
        table.URL_SCHEME: scope.get("scheme", "http"),
        table.PROTOCOL_VERSION: scope.get("http_version", "1.1"),
        table.HTTP_SENT_BYTES: answer.sent_bytes,
    }
    name = "HTTP" if method == _OTHER_METHOD else method
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        name = f"{name} {route}"
        attributes[table.HTTP_ROUTE] = route
        if scope["path"] == route:
            attributes[table.URL_PATH] = route
    if answer.status is not None:
        attributes[table.HTTP_STATUS] = answer.status
    is_fault = answer.status is not None and answer.status >= _LEAST_FAULT
    return ServerFacts(name, attributes, is_fault)
