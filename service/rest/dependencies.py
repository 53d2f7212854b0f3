"""What the HTTP transport needs from the rest of the service."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.errors import ModelNotFound
from service.rest.options import RestOptions
from service.telemetry.tracing import NoTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from models.spec import ModelSpec
    from service.errors import ServiceError
    from service.intake import LimitsOptions
    from service.provenance.report import VerificationReport
    from service.rest.shared_answers import SharedRequests
    from service.storage.interface import Storage
    from service.telemetry.generation import Generation
    from service.telemetry.metrics import Metrics
    from service.telemetry.tracing import Tracer


class Verifier(Protocol):
    """Says what a picture's credentials and marks prove. Blocking, thread-safe."""

    def verify(self, content: bytes) -> VerificationReport:
        """Return the evidence found in `content`, an encoded picture, and the verdict on it.

        Raises InvalidRequest or PayloadTooLarge for what is no picture that can be read.
        """


class Readiness(Protocol):
    """The worker's own view of itself, for the probes."""

    def is_live(self) -> bool:
        """Tell whether the process can still serve, or could once it has loaded."""

    def is_ready(self) -> bool:
        """Tell whether new work is welcome."""

    def refusal(self) -> ServiceError:
        """Return the error that says why it is not live or not ready."""


@dataclass(frozen=True, slots=True)
class RestDependencies:
    """What exists once the model has loaded.

    `models`: every served model by its id. `verify_pool`: threads for decoding and verifying
    uploads, which never happens on the event loop. `trust_anchors_pem`: the roots that our
    signatures chain to. `storage`: where pictures are kept that are answered by link, if at all.
    `shared`: where replicas meet that must not carry out the same request twice, if they do.
    """

    generate: Generation
    models: Mapping[str, ModelSpec]
    default_model_id: str
    verifier: Verifier
    verify_pool: Executor
    trust_anchors_pem: bytes
    storage: Storage | None = None
    shared: SharedRequests | None = None


@dataclass(frozen=True, slots=True)
class RestEnvironment:
    """What the HTTP app has from its first moment on, while the model still loads.

    `loaded`: returns None until the model has loaded. `max_pending_verifications`: uploads held
    in memory at once, waiting or being examined. `clock`: monotonic seconds.
    """

    version: str
    limits: LimitsOptions
    request_timeout_s: float
    metrics: Metrics
    readiness: Readiness
    loaded: Callable[[], RestDependencies | None]
    max_pending_verifications: int = 8
    options: RestOptions = RestOptions()  # noqa: RUF009 - frozen
    tracer: Tracer = NoTracer()  # noqa: RUF009 - has no state
    clock: Callable[[], float] = time.monotonic

    def require_loaded(self) -> RestDependencies:
        """Return the dependencies, or raise the readiness' refusal while there are none."""
        dependencies = self.loaded()
        if dependencies is None:
            raise self.readiness.refusal()
        return dependencies


def find_model(dependencies: RestDependencies, model_id: str | None) -> ModelSpec:
    """Return the named model, or the default one for None and an empty name.

    Raises ModelNotFound.
    """
    spec = dependencies.models.get(model_id or dependencies.default_model_id)
    if spec is None:
        raise ModelNotFound(
            f"The model {(model_id or '')[:100]!r} is not served here. See GET /v1/models.",
            param="model",
        )
    return spec
