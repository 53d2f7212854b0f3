"""Bounds what a request may carry before its body (stop 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import HeadersTooLarge

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_TARGET_BYTES = 8 * 1024


class HeaderGuard:
    """Refuses requests with too many or too long headers, or too long a path and query.

    The HTTP server has parsed them by now: this bounds what we copy, log and compare. What is
    accepted while they arrive is `wire`'s to say.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises HeadersTooLarge."""
        if scope["type"] == "http":
            headers = scope["headers"]
            if len(headers) > MAX_HEADERS:
                raise HeadersTooLarge(f"The request has more than {MAX_HEADERS} headers.")
            if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
                raise HeadersTooLarge(f"The headers are over {MAX_HEADER_BYTES} bytes.")
            if len(scope["path"]) + len(scope.get("query_string", b"")) > MAX_TARGET_BYTES:
                raise HeadersTooLarge(f"Path and query are over {MAX_TARGET_BYTES} bytes.")
        await self._app(scope, receive, send)
