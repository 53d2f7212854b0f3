"""The HTTP app over fakes, and ways to call it without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx

from models.families.toy import toy_spec
from models.spec import ModelSpec
from service.access.control import AccessControl, open_access
from service.access.generation import GuardedGeneration
from service.intake import LimitsOptions
from service.rest.admin import AdminListener
from service.rest.app import build_app
from service.rest.dependencies import RestDependencies, RestEnvironment
from service.rest.options import RestOptions
from service.rest.shared_answers import SharedRequests
from service.storage.interface import Storage
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import NoTracer, Tracer
from tests.fakes import FakeGeneration, FakeReadiness, FakeVerifier

ANCHORS_PEM = b"-----BEGIN CERTIFICATE-----\nfake\n-----END CERTIFICATE-----\n"
IMAGES = "/v1/images/generations"
EDITS = "/v1/images/edits"
VERIFY = "/v1/images/verify"


@dataclass
class RestBench:
    """Everything a test of the HTTP app may want to steer; `client()` calls the app."""

    generate: FakeGeneration = field(default_factory=FakeGeneration)
    verifier: FakeVerifier = field(default_factory=FakeVerifier)
    readiness: FakeReadiness = field(default_factory=FakeReadiness)
    metrics: Metrics = field(default_factory=lambda: Metrics("test"))
    limits: LimitsOptions = field(default_factory=LimitsOptions)
    models: dict[str, ModelSpec] = field(default_factory=lambda: {"toy": toy_spec()})
    access: AccessControl = field(default_factory=open_access)
    estimate_s: float = 0.0
    has_admin_port: bool = False
    storage: Storage | None = None
    shared: SharedRequests | None = None
    options: RestOptions = field(default_factory=RestOptions)
    tracer: Tracer = field(default_factory=NoTracer)
    is_loaded: bool = True
    request_timeout_s: float = 30.0
    max_pending_verifications: int = 2
    url: str = ""  # of a real socket, where a test serves the app on one
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(2, thread_name_prefix="verify")
    )

    def app(self):
        environment = self.environment()
        return build_app(environment, self.access, has_admin_port=self.has_admin_port)

    def environment(self) -> RestEnvironment:
        dependencies = RestDependencies(
            generate=GuardedGeneration(self.generate, self.access, lambda _: self.estimate_s),
            models=self.models,
            default_model_id="toy",
            verifier=self.verifier,
            verify_pool=self.pool,
            trust_anchors_pem=ANCHORS_PEM,
            storage=self.storage,
            shared=self.shared,
        )
        return RestEnvironment(
            version="1.2.3",
            limits=self.limits,
            request_timeout_s=self.request_timeout_s,
            metrics=self.metrics,
            readiness=self.readiness,
            loaded=lambda: dependencies if self.is_loaded else None,
            max_pending_verifications=self.max_pending_verifications,
            options=self.options,
            tracer=self.tracer,
        )

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app(), raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://mintmark.test")

    def metric(self, line_start: str) -> float:
        """Return the value of the one exposed series that starts with `line_start`."""
        lines = self.metrics.exposition().decode().splitlines()
        found = [line for line in lines if line.startswith(line_start)]
        assert len(found) == 1, found
        return float(found[0].rpartition(" ")[2])


@contextmanager
def rest_bench() -> Iterator[RestBench]:
    bench = RestBench()
    try:
        yield bench
    finally:
        bench.verifier.may_finish.set()
        bench.pool.shutdown()


@asynccontextmanager
async def served(app) -> AsyncIterator[str]:
    """Serve `app` on a real socket, in this event loop; yield its address."""
    listener = AdminListener(app, "127.0.0.1", 0)
    await listener.start()
    try:
        yield f"http://127.0.0.1:{listener.port}"
    finally:
        await listener.stop()
