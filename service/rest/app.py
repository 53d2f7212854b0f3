"""The HTTP app: routes, and what every request passes on its way to one (stops 1 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.routing import Route, Router

from service.access.caller import Scope as AccessScope
from service.oip.http import infer_limit_bytes
from service.oip.http import routes as open_inference_routes
from service.oip.http_errors import OpenInferenceErrors
from service.rest.admission import ANY_SCOPE, Admission
from service.rest.answers import AnswerStore
from service.rest.error_response import ErrorBoundary
from service.rest.header_guard import HeaderGuard
from service.rest.health import HealthEndpoint
from service.rest.idempotency import Idempotency, IdempotentRequests
from service.rest.observation import Observation
from service.rest.openai_images import ImagesEndpoint
from service.rest.openai_models import ModelsEndpoint
from service.rest.openai_uploads import UploadBudget, edit_body_limit_bytes
from service.rest.openapi import OpenApiEndpoint
from service.rest.picture_files import PictureFilesEndpoint
from service.rest.recording import Recording
from service.rest.request_body import BodyGuard
from service.rest.request_identity import RequestIdentity
from service.rest.requests import RequestsEndpoint
from service.rest.verify import VerifyEndpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.access.control import AccessControl
    from service.rest.dependencies import RestEnvironment
    from service.rest.shared_answers import SharedRequests

_UPLOAD_PATH = "/v1/images/verify"
_EDIT_PATH = "/v1/images/edits"
_VARIATION_PATH = "/v1/images/variations"
_MULTIPART_BYTES = 16 * 1024  # boundaries and part headers around an uploaded picture


def build_app(
    environment: RestEnvironment, access: AccessControl, *, has_admin_port: bool = False
) -> ASGIApp:
    """Return the ASGI app that answers every HTTP path, unknown ones included.

    It may be built and served before the model has loaded. `access`: who may call.
    `has_admin_port`: whether `build_admin_app` serves what is for administrators, and this not.
    """
    routes = build_routes(environment, access, has_admin_port=has_admin_port)
    return _behind_guards(environment, routes)


def build_routes(
    environment: RestEnvironment, access: AccessControl, *, has_admin_port: bool
) -> list[Route]:
    """Return every route with who may call it; one without `middleware` is public."""
    gate = _Gate(environment, access)
    health = HealthEndpoint(environment, has_admin_port=has_admin_port)
    routes = [*_probes(health), *_routes(environment, gate)]
    if not has_admin_port:
        administrating = gate.needs([AccessScope.ADMIN])
        routes.append(Route("/metrics", health.metrics, middleware=administrating))
    return routes


def build_admin_app(environment: RestEnvironment) -> ASGIApp:
    """Return the ASGI app of the administrators' port, which asks for no key."""
    health = HealthEndpoint(environment)
    routes = [Route("/livez", health.live), Route("/metrics", health.metrics)]
    return _behind_guards(environment, routes)


def _behind_guards(environment: RestEnvironment, routes: Sequence[Route]) -> ASGIApp:
    """Return the app with what every request passes.

    Outermost first: identity, then recording and observation, so that every answer has an id and
    is traced and counted, then the error boundary, then the limits.
    """

    def limit_bytes(path: str) -> int:
        if path == _UPLOAD_PATH:
            return environment.limits.max_upload_bytes + _MULTIPART_BYTES
        limits = environment.limits
        if path in (_EDIT_PATH, _VARIATION_PATH):
            return edit_body_limit_bytes(limits)
        return infer_limit_bytes(path, limits) or limits.max_body_bytes

    guarded = BodyGuard(_Routes(routes), limit_bytes, environment.request_timeout_s)
    bounded = OpenInferenceErrors(ErrorBoundary(HeaderGuard(guarded)))
    observed = Observation(bounded, environment.metrics, environment.clock)
    return RequestIdentity(Recording(observed, environment.tracer, environment.clock))


class _Routes:
    """A router that raises HTTPException for 404 and 405, for the boundary to shape.

    Starlette's own application class would turn errors into responses of its own shape first.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope. Starlette raises, instead of answering, if the scope names an app."""
        scope["app"] = self
        await self._router(scope, receive, send)


class _Gate:
    """Makes what stands before a route: who may call it, and whether a retry is carried out."""

    def __init__(self, environment: RestEnvironment, access: AccessControl) -> None:
        self._access = access
        self._metrics = environment.metrics
        options = access.options
        store = AnswerStore(
            options.idempotency_ttl_s, options.idempotency_max_bytes, environment.clock
        )

        def shared() -> SharedRequests | None:
            loaded = environment.loaded()
            return None if loaded is None else loaded.shared

        longest = environment.limits.max_body_bytes
        self._requests = IdempotentRequests(access, store, shared, max_json_bytes=longest)

    def needs(
        self, scopes: Collection[AccessScope], *, is_counted: bool = False
    ) -> list[Middleware]:
        """Ask for a key that has one of `scopes`; take the call from its rate if it is counted."""
        return [Middleware(Admission, self._access, self._metrics, scopes, is_counted)]

    def generates(self) -> list[Middleware]:
        """Ask for a key that may generate, and carry out a repeated request only once."""
        return [
            *self.needs([AccessScope.GENERATE], is_counted=True),
            Middleware(Idempotency, self._requests),
        ]


def _probes(health: HealthEndpoint) -> list[Route]:
    """Return what needs no key."""
    return [
        Route("/", health.index),
        Route("/livez", health.live),
        Route("/healthz", health.live),
        Route("/readyz", health.ready),
        Route("/openapi.json", OpenApiEndpoint().retrieve),
    ]


def _routes(environment: RestEnvironment, gate: _Gate) -> list[Route]:
    """Return what callers call."""
    # One for all: what callers upload lies in the same memory, whatever the door.
    budget = UploadBudget(environment.options.max_held_upload_bytes)
    images = ImagesEndpoint(environment, budget)
    models = ModelsEndpoint(environment)
    verify = VerifyEndpoint(environment)
    requests = RequestsEndpoint(environment)
    files = PictureFilesEndpoint(environment)
    generating, known = gate.generates(), gate.needs(ANY_SCOPE)
    verifying = gate.needs([AccessScope.VERIFY], is_counted=True)
    own = gate.needs([AccessScope.GENERATE, AccessScope.ADMIN])
    return [
        Route("/v1/provenance/trust-anchors", verify.trust_anchors),
        Route("/v1/images/generations", images.create, methods=["POST"], middleware=generating),
        Route(_EDIT_PATH, images.edit, methods=["POST"], middleware=generating),
        Route(_VARIATION_PATH, images.vary, methods=["POST"], middleware=generating),
        Route("/v1/images/files/{name}", files.retrieve),
        Route(_UPLOAD_PATH, verify.verify, methods=["POST"], middleware=verifying),
        Route("/v1/models", models.list, middleware=known),
        Route("/v1/models/{model_id:path}", models.retrieve, middleware=known),
        Route("/v1/requests/{request_id}", requests.retrieve, middleware=own),
        Route(
            "/v1/requests/{request_id}/cancel", requests.cancel, methods=["POST"], middleware=own
        ),
        *open_inference_routes(environment, budget, known=known, generating=generating),
    ]
