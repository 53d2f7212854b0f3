"""Every error as OpenAI's error body: one function for all, and the boundary that calls it."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.errors import (
    Cancelled,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    Unauthenticated,
)
from service.rest.json_answer import JsonAnswer
from service.rest.request_identity import offered_request_id, request_id_of
from service.telemetry.request_record import note_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.domain.identity import RequestId

logger = logging.getLogger(__name__)

_DEFAULT_RETRY_AFTER_S = 1.0
_INTERNAL = 500
# What OpenAI's client repeats unless it is told not to: these, 429, and every 5xx.
_REPEATED_BY_CLIENTS = frozenset({408, 409})


def error_response(error: ServiceError, request_id: RequestId) -> JsonAnswer:
    """Return `error` as `{"error": {message, type, param, code}}` with its status and headers.

    A 500 carries a fixed message and the request id, whatever the error says. Retryable errors
    carry Retry-After; others that OpenAI's client would repeat ask it not to.
    """
    message = error.message
    if error.http_status == _INTERNAL:
        message = f"The server failed to answer this request. Its id is {request_id}."
    body = {
        "message": message,
        "type": error.error_type,
        "param": error.param,
        "code": error.code,
    }
    return JsonAnswer({"error": body}, status_code=error.http_status, headers=_headers(error))


def _headers(error: ServiceError) -> dict[str, str]:
    headers = {}
    if error.retryable:
        wait_s = error.retry_after_s if error.retry_after_s is not None else _DEFAULT_RETRY_AFTER_S
        headers["retry-after"] = str(max(1, math.ceil(wait_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(wait_s * 1000)))
    elif error.http_status >= _INTERNAL or error.http_status in _REPEATED_BY_CLIENTS:
        headers["x-should-retry"] = "false"
    if isinstance(error, PayloadTooLarge):
        headers["connection"] = "close"  # the rest of the body is not read
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = 'Bearer realm="mintmark"'
    return headers


class ErrorBoundary:
    """The outermost adapter: whatever is raised below leaves as an error response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request; errors become responses unless one has already begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def watched_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            offered_request_id(scope)  # refused here, where a refusal has a shape
            await self._app(scope, receive, watched_send)
        except Exception as exc:  # the one place: see the class
            if has_started:  # the status is out; breaking the connection is all that is left
                raise
            error = to_service_error(exc)
            note_error(error.code)
            response = error_response(error, request_id_of(scope))
            if isinstance(exc, HTTPException) and exc.headers:
                response.headers.update(exc.headers)  # Allow, of a 405
            await response(scope, receive, send)


def to_service_error(exc: Exception) -> ServiceError:
    """Map what Starlette raises, and log what nobody foresaw."""
    if isinstance(exc, ServiceError):
        if exc.http_status == _INTERNAL:
            logger.error("request failed: %s", exc.message, exc_info=exc)
        return exc
    if isinstance(exc, ClientDisconnect):
        return Cancelled("The client left before its request was complete.")
    if isinstance(exc, HTTPException):
        by_status: dict[int, ServiceError] = {
            NotFound.http_status: NotFound("No such route. See GET / for what there is."),
            MethodNotAllowed.http_status: MethodNotAllowed("The route has no such method."),
        }
        return by_status.get(exc.status_code, InvalidRequest(exc.detail))
    logger.error("request failed", exc_info=exc)
    return InternalError("unforeseen")
