"""What the gRPC transport needs from the rest of the service."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from service.errors import ModelNotFound
from service.rpc.uploads import UploadSlots
from service.telemetry.tracing import NoTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from models.spec import ModelSpec
    from service.errors import ServiceError
    from service.intake import LimitsOptions
    from service.provenance.report import VerificationReport
    from service.telemetry.generation import Generation
    from service.telemetry.metrics import Metrics
    from service.telemetry.tracing import Tracer

_MAX_PENDING_UPLOADS = 8


class Verifier(Protocol):
    """Says what a picture's credentials and marks prove. Blocking, thread-safe."""

    def verify(self, content: bytes) -> VerificationReport:
        """Return the evidence found in `content`, an encoded picture, and the verdict on it.

        Raises InvalidRequest or PayloadTooLarge for what is no picture that can be read.
        """


class RpcDependencies(Protocol):
    """What exists once the model has loaded; the application gives every transport the same.

    `models`: every served model by its id. `verify_pool`: threads for decoding and verifying
    uploads, which never happens on the event loop.
    """

    @property
    def generate(self) -> Generation:
        """The use case."""

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Every served model by its id."""

    @property
    def default_model_id(self) -> str:
        """The id of the model for requests that name none."""

    @property
    def verifier(self) -> Verifier:
        """Examines pictures."""

    @property
    def verify_pool(self) -> Executor:
        """Threads for uploads."""


@dataclass(frozen=True, slots=True)
class RpcEnvironment:
    """What the gRPC server has from its first moment on, while the model still loads.

    `loaded`: returns None until the model has loaded; `refusal`: says why. `request_timeout_s`: the
    longest a call may take, whatever deadline its client set. `uploads`: bounds the pictures that
    all services together decode and verify at once. `clock`: monotonic seconds.
    """

    limits: LimitsOptions
    request_timeout_s: float
    metrics: Metrics
    loaded: Callable[[], RpcDependencies | None]
    refusal: Callable[[], ServiceError]
    uploads: UploadSlots = field(default_factory=lambda: UploadSlots(_MAX_PENDING_UPLOADS))
    clock: Callable[[], float] = time.monotonic
    tracer: Tracer = NoTracer()  # noqa: RUF009 - has no state

    def require_loaded(self) -> RpcDependencies:
        """Return the dependencies, or raise the refusal while there are none."""
        dependencies = self.loaded()
        if dependencies is None:
            raise self.refusal()
        return dependencies


def find_model(dependencies: RpcDependencies, model_id: str) -> ModelSpec:
    """Return the named model, or the default one for an empty name. Raises ModelNotFound."""
    spec = dependencies.models.get(model_id or dependencies.default_model_id)
    if spec is None:
        raise ModelNotFound(
            f"The model {model_id[:100]!r} is not served here. See ListModels.", param="model"
        )
    return spec
