"""The id of an HTTP request: the caller's own if it sends a good one, else fresh (stop 3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from service.domain.identity import RequestId, new_request_id
from service.errors import InvalidRequest
from service.telemetry.logging import current_request_id

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADER = b"x-request-id"
_VALID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def offered_request_id(scope: Scope) -> RequestId | None:
    """Return the id that the caller sent as X-Request-Id, or None if it sent none.

    Raises InvalidRequest for anything but one header of 1-64 characters of `A-Za-z0-9._-`.
    """
    offered = [value for name, value in scope["headers"] if name == _HEADER]
    if not offered:
        return None
    if len(offered) > 1 or not _VALID.fullmatch(offered[0]):
        raise InvalidRequest(
            "X-Request-Id must be one value of 1 to 64 letters, digits, '.', '_' or '-'.",
            param="x-request-id",
        )
    return RequestId(offered[0].decode("ascii"))


def request_id_of(scope: Scope) -> RequestId:
    """Return the id that `RequestIdentity` gave to this request."""
    return cast("RequestId", scope["state"]["request_id"])


class RequestIdentity:
    """Gives every HTTP request an id, puts it on the answer, and shows it to the logs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under its id. A bad offered id gets a fresh one, for the refusal."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            request_id = offered_request_id(scope) or new_request_id()
        except InvalidRequest:
            request_id = new_request_id()
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}

        async def stamped_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                stamp = (_HEADER, request_id.encode("ascii"))
                message = {**message, "headers": [*message.get("headers", ()), stamp]}
            await send(message)

        token = current_request_id.set(request_id)
        try:
            await self._app(scope, receive, stamped_send)
        finally:
            current_request_id.reset(token)
