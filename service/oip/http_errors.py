"""Errors below `/v2` in the protocol's shape instead of OpenAI's (stop 10)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from service.rest.json_answer import encode_json

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ROOT = "/v2"
_LEAST_ERROR = 400


class OpenInferenceErrors:
    """Stands outside the error boundary and rewrites what it answers.

    So refusals of every kind, an unknown path's and a defect's too, have the one shape:
    `{"error": "…", "code": "…", "param": "…"}`. Status and headers stay as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == _ROOT or path.startswith(f"{_ROOT}/")):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def rewriting_send(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= _LEAST_ERROR:
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                rewritten = _rewritten(body)
                await send({**start, "headers": _with_length(start["headers"], len(rewritten))})
                await send({**message, "body": rewritten})

        await self._app(scope, receive, rewriting_send)


def _rewritten(body: bytes) -> bytes:
    error = json.loads(body)["error"]
    return encode_json({"error": error["message"], "code": error["code"], "param": error["param"]})


def _with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode("ascii"))]
