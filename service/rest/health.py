"""Probes, metrics and the index page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from service.rest.json_answer import JsonAnswer

if TYPE_CHECKING:
    from starlette.requests import Request

    from service.rest.dependencies import RestEnvironment

_LINKS = {
    "generate": "/v1/images/generations",
    "edit": "/v1/images/edits",
    "vary": "/v1/images/variations",
    "verify": "/v1/images/verify",
    "models": "/v1/models",
    "trust_anchors": "/v1/provenance/trust-anchors",
    "live": "/livez",
    "ready": "/readyz",
    "openapi": "/openapi.json",
    "metrics": "/metrics",
}


class HealthEndpoint:
    """What orchestrators and monitors ask; answered from memory, never waiting for the engine."""

    def __init__(self, environment: RestEnvironment, *, has_admin_port: bool = False) -> None:
        """`has_admin_port`: whether the metrics are served on another port."""
        self._environment = environment
        self._links = {
            name: path for name, path in _LINKS.items() if name != "metrics" or not has_admin_port
        }

    async def index(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """Answer with name, version and links; a page that loads nothing from anywhere."""
        return JsonAnswer(
            {"name": "mintmark", "version": self._environment.version, "links": self._links}
        )

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200, or 503 if only a restart can help."""
        if not self._environment.readiness.is_live():
            raise self._environment.readiness.refusal()
        return JsonAnswer({"status": "live"})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200, or 503 while no new work is welcome: loading, failed, draining."""
        if not self._environment.readiness.is_ready():
            raise self._environment.readiness.refusal()
        return JsonAnswer({"status": "ready"})

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """Answer with every metric in Prometheus' text format."""
        metrics = self._environment.metrics
        return Response(metrics.exposition(), headers={"content-type": metrics.content_type})
