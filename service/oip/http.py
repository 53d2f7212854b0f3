"""`/v2`: the Open Inference Protocol over HTTP (stops 1 and 10)."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING

from starlette.routing import Route

from service.domain.identity import Deadline
from service.errors import (
    MethodNotAllowed,
    ServiceError,
    UnsupportedMediaType,
)
from service.oip.http_answer import TensorsAnswer
from service.oip.http_message import InferTarget, json_too_large, read_infer
from service.oip.inference import draw, find_version, prepare
from service.oip.metadata import EXTENSIONS, SERVER_NAME, model_metadata
from service.oip.pictures import timeout_s
from service.oip.tensors import TensorLimits
from service.rest.disconnect import run_while_connected
from service.rest.json_answer import JsonAnswer
from service.rest.request_identity import request_id_of
from service.telemetry.metric_table import ADMISSION_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import Response

    from models.spec import ModelSpec
    from service.intake import LimitsOptions
    from service.oip.http_message import AnswerForm
    from service.oip.inference import Inference
    from service.rest.dependencies import RestDependencies, RestEnvironment
    from service.rest.openai_uploads import UploadBudget

_JSON_BYTES_HEADER = "inference-header-content-length"
# KServe's client sends JSON without a type, Triton's binary data as well.
_MEDIA_TYPES = frozenset({"", "application/json", "application/octet-stream"})
_LENGTH = re.compile(r"[0-9]{1,20}")


class OpenInferenceEndpoint:
    """Answers every route of the protocol. Errors are raised; `OpenInferenceErrors` shapes them."""

    def __init__(self, environment: RestEnvironment, budget: UploadBudget) -> None:
        """`budget`: bounds the uploads of every route together."""
        self._environment = environment
        self._budget = budget

    async def server(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """Answer with the server's metadata."""
        version = self._environment.version
        return JsonAnswer({"name": SERVER_NAME, "version": version, "extensions": EXTENSIONS})

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200, or 503 if only a restart can help."""
        if not self._environment.readiness.is_live():
            raise self._environment.readiness.refusal()
        return JsonAnswer({"live": True})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """Answer 200, or 503 while no new work is welcome: loading, failed, draining."""
        self._require_ready()
        return JsonAnswer({"ready": True})

    async def models(self, request: Request) -> Response:  # noqa: ARG002
        """Answer with the names of the served models, the default one first; KServe's extension."""
        dependencies = self._environment.require_loaded()
        default = dependencies.default_model_id
        names = sorted(dependencies.models, key=lambda name: (name != default, name))
        return JsonAnswer({"models": names})

    async def model(self, request: Request) -> Response:
        """Answer with a model's metadata; raises ModelNotFound."""
        spec = _find(self._environment.require_loaded(), request)
        return JsonAnswer(asdict(model_metadata(spec)))

    async def model_ready(self, request: Request) -> Response:
        """Answer 200, or 503 while no new work is welcome; raises ModelNotFound."""
        spec = _find(self._environment.require_loaded(), request)
        self._require_ready()
        return JsonAnswer({"name": spec.model_id, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Answer with every picture, or raise a ServiceError; never with fewer or unsigned ones."""
        environment = self._environment
        arrived_s = environment.clock()
        _check_media_type(request)
        dependencies = self._admit()
        with self._held(request):
            inference, form = await self._read(request, dependencies)
            within_s = timeout_s(inference.infer) or environment.request_timeout_s
            deadline = Deadline.after(min(within_s, environment.request_timeout_s), arrived_s)
            work = draw(inference, dependencies.generate, request_id_of(request.scope), deadline)
            return TensorsAnswer(await run_while_connected(work, request.receive), form)

    async def repository(self, request: Request) -> Response:  # noqa: ARG002
        """Refuse to load, unload or list a repository: what is served is set at the start."""
        raise MethodNotAllowed(
            "This server has no model repository: its models are set when it is started. "
            "See GET /v2/models."
        )

    async def _read(
        self, request: Request, dependencies: RestDependencies
    ) -> tuple[Inference, AnswerForm]:
        limits = self._environment.limits
        json_bytes = request.headers.get(_JSON_BYTES_HEADER)
        declared = _declared_bytes(request)
        if json_bytes is None and declared is not None and declared > limits.max_body_bytes:
            raise json_too_large(limits.max_body_bytes)  # before it is received
        infer, form = read_infer(
            await request.body(),
            json_bytes,
            _target(request),
            TensorLimits(limits.max_images_per_request, limits.max_body_bytes),
        )
        return await prepare(infer, dependencies, limits), form

    def _held(self, request: Request) -> AbstractContextManager[None]:
        """Bound what large bodies take in memory together, until their pictures are drawn."""
        limits = self._environment.limits
        largest, declared = _largest_body_bytes(limits), _declared_bytes(request)
        size_bytes = largest if declared is None else min(declared, largest)
        is_large = size_bytes > limits.max_body_bytes
        return self._budget.hold(size_bytes) if is_large else nullcontext()

    def _admit(self) -> RestDependencies:
        try:
            return self._environment.require_loaded()
        except ServiceError as error:
            self._environment.metrics.count(ADMISSION_REFUSALS, error.code)
            raise

    def _require_ready(self) -> None:
        if not self._environment.readiness.is_ready():
            raise self._environment.readiness.refusal()


def routes(
    environment: RestEnvironment,
    budget: UploadBudget,
    *,
    known: Sequence[Middleware],
    generating: Sequence[Middleware],
) -> list[Route]:
    """Return the routes of `/v2`. Probes and the server's metadata are public.

    `known`: what stands before routes for every caller with a key; `generating`: before those
    that draw. Model names may contain slashes, so the shorter paths come last.
    """
    endpoint = OpenInferenceEndpoint(environment, budget)
    model = "/v2/models/{model_name:path}"
    version = f"{model}/versions/{{model_version}}"
    in_repository = "/v2/repository/models/{model_name:path}"
    refused = ["/v2/repository/index", f"{in_repository}/load", f"{in_repository}/unload"]
    return [
        Route("/v2", endpoint.server),
        Route("/v2/health/live", endpoint.live),
        Route("/v2/health/ready", endpoint.ready),
        *(Route(path, endpoint.repository, methods=["POST"], middleware=known) for path in refused),
        Route("/v2/models", endpoint.models, middleware=known),
        *(
            Route(f"{base}/infer", endpoint.infer, methods=["POST"], middleware=generating)
            for base in (version, model)
        ),
        *(
            Route(f"{base}/ready", endpoint.model_ready, middleware=known)
            for base in (version, model)
        ),
        *(Route(base, endpoint.model, middleware=known) for base in (version, model)),
    ]


def infer_limit_bytes(path: str, limits: LimitsOptions) -> int | None:
    """Return how large the body of an infer request may be; None if `path` is none of its."""
    is_infer = path.startswith("/v2/models/") and path.endswith("/infer")
    return _largest_body_bytes(limits) if is_infer else None


def _largest_body_bytes(limits: LimitsOptions) -> int:
    """Return what a request over gRPC may take as well: a picture, its mask, and the text."""
    return limits.max_upload_bytes + limits.max_body_bytes


def _declared_bytes(request: Request) -> int | None:
    declared = request.headers.get("content-length", "")
    return int(declared) if _LENGTH.fullmatch(declared) else None


def _find(dependencies: RestDependencies, request: Request) -> ModelSpec:
    target = _target(request)
    return find_version(dependencies.models, target.model_name, target.model_version)


def _target(request: Request) -> InferTarget:
    parameters = request.path_params
    return InferTarget(parameters["model_name"], parameters.get("model_version", ""))


def _check_media_type(request: Request) -> None:
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in _MEDIA_TYPES:
        raise UnsupportedMediaType(
            "The Content-Type must be application/json or application/octet-stream."
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The request body must not be compressed.")
