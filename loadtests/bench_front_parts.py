"""The service's own front doors over an engine that draws at once and a marker that marks nothing.

What is left is what the front door costs: transport, admission, conversion, and the way through
the use case. For measuring only: nothing that a stub marker lets out is a picture of the service.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from models.families.toy import ToyModel
from service.access.control import open_access
from service.access.generation import GuardedGeneration
from service.access.rpc import AccessInterceptor
from service.domain.events import Admitted, Finished, Queued, StepDone
from service.domain.identity import new_output_id
from service.domain.result import SignedImage
from service.engine.admission import AdmissionQueue
from service.engine.client import EngineClient
from service.engine.loop import EngineLoop
from service.engine.options import EngineOptions
from service.errors import ModelNotReady
from service.generation import GenerateImages
from service.intake import LimitsOptions
from service.oip.servicer import open_inference_service
from service.rest.app import build_app
from service.rest.dependencies import RestDependencies, RestEnvironment
from service.rpc.dependencies import RpcEnvironment
from service.rpc.options import RpcOptions
from service.rpc.server import RpcServer, rpc_address
from service.telemetry.generation import CountedGeneration
from service.telemetry.metrics import Metrics
from service.telemetry.observer import MetricsObserver

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from service.domain.events import EngineEvent
    from service.domain.result import DecodedImage
    from service.errors import ServiceError
    from service.provenance.pipeline import MarkingRequest
    from service.provenance.report import VerificationReport

HOST = "127.0.0.1"
CONTENT_BYTES = 12_000  # about what a signed PNG of 64x64 px takes
MARKING_THREADS = 2  # the server's own default
_REQUEST_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Journal:
    """Implements Observer: counts what the service counts, and remembers when it happened.

    `events`: kind, monotonic seconds at which it was over, and its facts; kept if `is_kept`. The
    clock is the same in every process of the machine.
    """

    metrics: MetricsObserver
    is_kept: bool
    events: list[tuple[str, float, dict[str, Any]]] = field(default_factory=list)

    def on_event(self, event: EngineEvent) -> None:
        """Take note of one event."""
        self.metrics.on_event(event)
        if self.is_kept and isinstance(event, Queued | Admitted | StepDone | Finished):
            self.events.append((type(event).__name__, time.monotonic(), asdict(event)))


class StubMarker:
    """Implements Marker: hands out the same bytes for every picture, signed by nobody."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._digest = hashlib.sha256(content).hexdigest()

    def mark(self, image: DecodedImage, request: MarkingRequest) -> SignedImage:
        """Return the stub's bytes as the picture."""
        height_px, width_px, _ = image.pixels.shape
        return SignedImage(
            output_id=new_output_id(),
            content=self._content,
            format=request.output.format,
            width_px=width_px,
            height_px=height_px,
            seed=image.seed,
            pixels_sha256=image.pixels_sha256,
            content_sha256=self._digest,
            watermark_id=1,
            watermark_profile="sst64",
            manifest_id="urn:c2pa:none",
            created_at=datetime.now(UTC),
        )


class _AlwaysReady:
    def is_live(self) -> bool:
        return True

    def is_ready(self) -> bool:
        return True

    def refusal(self) -> ServiceError:
        return ModelNotReady("not reached")


class _NoVerifier:
    def verify(self, content: bytes) -> VerificationReport:
        raise NotImplementedError("nothing is verified in this benchmark")


class Parts:
    """An engine thread with everything above it; `close` stops it.

    step_delay_s: slept in every denoiser call; 0 measures the front door, more makes time to leave.
    is_kept: whether the engine's events are remembered.
    """

    def __init__(self, *, step_delay_s: float = 0.0, is_kept: bool = False) -> None:
        self.model = ToyModel(step_delay_s=step_delay_s)
        models = {self.model.spec.model_id: self.model}
        self.metrics = Metrics("benchmark")
        self.journal = Journal(MetricsObserver(self.metrics), is_kept)
        options = EngineOptions()
        queue = AdmissionQueue(options.max_queued_images)
        self.engine = EngineLoop(models, queue, options, self.journal, time.monotonic)
        self.client = EngineClient(models, queue, self.engine, self.journal, time.monotonic)
        self._marking_pool = ThreadPoolExecutor(MARKING_THREADS, thread_name_prefix="marking")
        self._verify_pool = ThreadPoolExecutor(1, thread_name_prefix="verify")
        marker = StubMarker(bytes(CONTENT_BYTES))
        self.use_case = GenerateImages(
            models, self.client, marker, self._marking_pool, time.monotonic
        )
        self._access = open_access()
        guarded = GuardedGeneration(
            self.use_case, self._access, lambda request: self.client.seconds_for(request.num_images)
        )
        self._loaded = RestDependencies(
            generate=CountedGeneration(guarded, self.metrics),
            models={self.model.spec.model_id: self.model.spec},
            default_model_id=self.model.spec.model_id,
            verifier=_NoVerifier(),
            verify_pool=self._verify_pool,
            trust_anchors_pem=b"",
        )
        self.engine.start()

    def http_app(self) -> ASGIApp:
        """Return the service's whole HTTP app."""
        environment = RestEnvironment(
            version="benchmark",
            limits=LimitsOptions(),
            request_timeout_s=_REQUEST_TIMEOUT_S,
            metrics=self.metrics,
            readiness=_AlwaysReady(),
            loaded=lambda: self._loaded,
        )
        return build_app(environment, self._access)

    def rpc_server(self) -> RpcServer:
        """Return the service's gRPC server, both of its services included, on a free port."""
        readiness = _AlwaysReady()
        environment = RpcEnvironment(
            limits=LimitsOptions(),
            request_timeout_s=_REQUEST_TIMEOUT_S,
            metrics=self.metrics,
            loaded=lambda: self._loaded,
            refusal=readiness.refusal,
        )
        services = [open_inference_service(environment, readiness)]
        guards = [AccessInterceptor(self._access)]
        return RpcServer(rpc_address(HOST, 0), environment, RpcOptions(), guards, services)

    def close(self) -> None:
        """Stop the engine and the pools. Blocking."""
        self.engine.stop(10.0)
        self._marking_pool.shutdown()
        self._verify_pool.shutdown()
