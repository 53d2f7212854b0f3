"""The HTTP app: routes, and what every request passes on its way to one (stops 1 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route, Router

from service.rest.error_response import ErrorBoundary
from service.rest.health import HealthEndpoint
from service.rest.observation import Observation
from service.rest.openai_images import ImagesEndpoint
from service.rest.openai_models import ModelsEndpoint
from service.rest.request_body import BodyGuard
from service.rest.request_identity import RequestIdentity
from service.rest.requests import RequestsEndpoint
from service.rest.verify import VerifyEndpoint

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.rest.dependencies import RestEnvironment

_UPLOAD_PATH = "/v1/images/verify"
_MULTIPART_BYTES = 16 * 1024  # boundaries and part headers around an uploaded picture


def build_app(environment: RestEnvironment) -> ASGIApp:
    """Return the ASGI app that answers every HTTP path, unknown ones included.

    It may be built and served before the model has loaded. Outermost first: identity, then
    observation, so that every answer has an id and is counted, then the error boundary.
    """

    def limit_bytes(path: str) -> int:
        if path == _UPLOAD_PATH:
            return environment.limits.max_upload_bytes + _MULTIPART_BYTES
        return environment.limits.max_body_bytes

    guarded = BodyGuard(_Routes(environment), limit_bytes, environment.request_timeout_s)
    return RequestIdentity(
        Observation(ErrorBoundary(guarded), environment.metrics, environment.clock)
    )


class _Routes:
    """A router that raises HTTPException for 404 and 405, for the boundary to shape.

    Starlette's own application class would turn errors into responses of its own shape first.
    """

    def __init__(self, environment: RestEnvironment) -> None:
        self._router = Router(_routes(environment), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope. Starlette raises, instead of answering, if the scope names an app."""
        scope["app"] = self
        await self._router(scope, receive, send)


def _routes(environment: RestEnvironment) -> list[Route]:
    images = ImagesEndpoint(environment)
    models = ModelsEndpoint(environment)
    verify = VerifyEndpoint(environment)
    requests = RequestsEndpoint(environment)
    health = HealthEndpoint(environment)
    return [
        Route("/", health.index),
        Route("/livez", health.live),
        Route("/healthz", health.live),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
        Route("/v1/images/generations", images.create, methods=["POST"]),
        Route(_UPLOAD_PATH, verify.verify, methods=["POST"]),
        Route("/v1/models", models.list),
        Route("/v1/models/{model_id:path}", models.retrieve),
        Route("/v1/provenance/trust-anchors", verify.trust_anchors),
        Route("/v1/requests/{request_id}", requests.retrieve),
        Route("/v1/requests/{request_id}/cancel", requests.cancel, methods=["POST"]),
    ]
