"""Counts and logs every HTTP request under its route template, never under its raw path."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from service.telemetry.logging import ACCESS_LOGGER
from service.telemetry.metric_table import HTTP_IN_FLIGHT, HTTP_REQUEST_SECONDS, HTTP_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from service.telemetry.metrics import Metrics

logger = logging.getLogger(ACCESS_LOGGER)

PROBE_PATHS = frozenset(
    {"/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"}
)
UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ANSWER = 499


class Observation:
    """Times each request to the last byte of its answer. `clock`: monotonic seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and take note of it, also when it fails or is abandoned."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, sent_bytes = _NO_ANSWER, 0

        async def counting_send(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
            sent_bytes += len(message.get("body", b""))
            await send(message)

        started_s = self._clock()
        in_flight = 0 if scope["path"] in PROBE_PATHS else 1
        self._metrics.add(HTTP_IN_FLIGHT, in_flight)
        try:
            await self._app(scope, receive, counting_send)
        finally:
            self._metrics.add(HTTP_IN_FLIGHT, -in_flight)
            self._note(scope, status, sent_bytes, self._clock() - started_s)

    def _note(self, scope: Scope, status: int, sent_bytes: int, duration_s: float) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.count(HTTP_REQUESTS, route, method, str(status))
        self._metrics.observe(HTTP_REQUEST_SECONDS, duration_s, route, method)
        if scope["path"] not in PROBE_PATHS:
            facts = {
                "method": method,
                "route": route,
                "status": status,
                "sent_bytes": sent_bytes,
                "duration_ms": round(duration_s * 1000, 1),
            }
            logger.info("answered", extra=facts)
