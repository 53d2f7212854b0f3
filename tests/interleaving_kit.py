"""The use case and HTTP routes over it, moved on turn by turn, and requests that come to them.

The engine is turned by hand and marking runs one picture per turn, so that a request can end at
every point of its way: while it is read, queued, drawn, marked, or answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.middleware import Middleware
from starlette.routing import Route, Router

from models.families.toy import ToyModel
from service.access.caller import Scope, current_caller
from service.access.generation import GuardedGeneration
from service.domain.identity import Deadline, RequestId, new_output_id
from service.domain.result import SignedImage
from service.engine.admission import AdmissionQueue
from service.engine.client import EngineClient
from service.engine.loop import EngineLoop
from service.engine.options import EngineOptions
from service.errors import ServiceError, SigningFailed
from service.generation import GenerateImages
from service.intake import LimitsOptions
from service.oip.http import OpenInferenceEndpoint
from service.rest.admission import Admission
from service.rest.answers import AnswerStore
from service.rest.dependencies import RestDependencies, RestEnvironment
from service.rest.error_response import ErrorBoundary
from service.rest.idempotency import Idempotency, IdempotentRequests
from service.rest.openai_images import ImagesEndpoint
from service.rest.openai_uploads import UploadBudget
from service.rest.request_identity import RequestIdentity
from service.telemetry.generation import CountedGeneration
from service.telemetry.metrics import Metrics
from tests.access_kit import APP_KEY, OTHER_KEY, bearer, keyed_access, make_entry
from tests.factories import FakeClock, RecordingObserver, make_request
from tests.fakes import FakeReadiness, FakeVerifier
from tests.oip_kit import INFER, tensor
from tests.rest_kit import IMAGES

CALLERS = (APP_KEY, OTHER_KEY)
AT_ONCE = 3  # generations that one caller may have under way
UNMARKABLE = 5  # seeds that it divides cannot be signed


class OnePerTurn(Executor):
    """Runs one piece of work whenever it is told to, in the thread of whoever tells it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn, /, *args, **kwargs):
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run_one(self) -> None:
        while self._waiting:
            future, work = self._waiting.pop(0)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except ServiceError as error:
                future.set_exception(error)
            return


class SeedMarker:
    """Marks every picture but those of some seeds."""

    def mark(self, image, request):
        if image.seed % UNMARKABLE == 0:
            raise SigningFailed("no")
        return SignedImage(
            output_id=new_output_id(),
            content=b"signed",
            format=request.output.format,
            width_px=64,
            height_px=64,
            seed=image.seed,
            pixels_sha256=image.pixels_sha256,
            content_sha256="0" * 64,
            watermark_id=1,
            watermark_profile="sst64",
            manifest_id=f"urn:c2pa:{request.request_id}",
            created_at=datetime.now(UTC),
        )


@dataclass(frozen=True)
class Call:
    """One request. `leaves_after`, `cancelled_after`: turns after it came; None means never."""

    door: str
    at_turn: int
    caller: int
    request_id: str
    seed: int
    steps: int
    pictures: int
    leaves_after: int | None
    cancelled_after: int | None
    timeout_turns: int


class Bench:
    """The real use case behind its gate, and HTTP routes over it; `turn` moves everything on."""

    def __init__(self, request_timeout_s: float) -> None:
        self.clock = FakeClock()
        model, observer, options = ToyModel(), RecordingObserver(), EngineOptions(max_batch_rows=4)
        models = {"toy": model}
        self.queue = AdmissionQueue(max_images=5)
        self.engine = EngineLoop(models, self.queue, options, observer, self.clock)
        client = EngineClient(models, self.queue, self.engine, observer, self.clock)
        self.pool = OnePerTurn()
        self.use_case = GenerateImages(models, client, SeedMarker(), self.pool, self.clock)
        entries = [
            make_entry(key, f"caller-{index}", concurrent_requests=AT_ONCE)
            for index, key in enumerate(CALLERS)
        ]
        self.access = keyed_access(*entries)
        self.metrics = Metrics("test")
        self.generate = CountedGeneration(
            GuardedGeneration(self.use_case, self.access, lambda _: 1.0), self.metrics
        )
        store = AnswerStore(ttl_s=1e9, max_bytes=1_000_000, clock=self.clock)
        self.idempotent = IdempotentRequests(self.access, store)
        self.app = self._app(model, request_timeout_s)

    def _app(self, model, request_timeout_s):
        dependencies = RestDependencies(
            generate=self.generate,
            models={"toy": model.spec},
            default_model_id="toy",
            verifier=FakeVerifier(),
            verify_pool=self.pool,
            trust_anchors_pem=b"",
        )
        environment = RestEnvironment(
            version="test",
            limits=LimitsOptions(),
            request_timeout_s=request_timeout_s,
            metrics=self.metrics,
            readiness=FakeReadiness(),
            loaded=lambda: dependencies,
            clock=self.clock,
        )
        generating = [
            Middleware(Admission, self.access, self.metrics, [Scope.GENERATE], True),
            Middleware(Idempotency, self.idempotent),
        ]
        budget = UploadBudget(environment.options.max_held_upload_bytes)
        images = ImagesEndpoint(environment, budget)
        infer = OpenInferenceEndpoint(environment, budget)
        inference = "/v2/models/{model_name:path}/infer"
        routes = [
            Route(IMAGES, images.create, methods=["POST"], middleware=generating),
            Route(inference, infer.infer, methods=["POST"], middleware=generating),
        ]
        return RequestIdentity(ErrorBoundary(Router(routes)))

    async def turn(self) -> None:
        self.clock.now_s += 1.0
        self.engine.tick()
        self.pool.run_one()
        for _ in range(4):
            await asyncio.sleep(0)

    def caller(self, index: int):
        return self.access.authenticate(f"Bearer {CALLERS[index]}")


class HttpVisit:
    """One HTTP request on its way. `sent`: what the app answered."""

    def __init__(self, bench: Bench, call: Call) -> None:
        self.sent: list[dict[str, Any]] = []
        self._has_left = asyncio.Event()
        self._body: list[bytes] = [json.dumps(_body(call)).encode()]
        path = INFER if call.door == "infer" else IMAGES
        headers = {
            "content-type": "application/json",
            "x-request-id": call.request_id,
            **bearer(CALLERS[call.caller]),
        }
        if call.door == "once":
            headers["idempotency-key"] = f"key-{call.seed % 2}"
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.create_task(bench.app(scope, self._receive, self._send))

    def leave(self) -> None:
        self._has_left.set()

    def check(self) -> None:
        assert self.task.exception() is None
        starts = [message for message in self.sent if message["type"] == "http.response.start"]
        assert len(starts) == 1
        assert self.sent[0] is starts[0]

    async def _receive(self):
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message) -> None:
        self.sent.append(message)


class DirectVisit:
    """A reader of the use case's stream, as gRPC has one; leaving cancels its task."""

    def __init__(self, bench: Bench, call: Call) -> None:
        self.task = asyncio.create_task(self._read(bench, call))

    def leave(self) -> None:
        self.task.cancel()

    def check(self) -> None:
        if not self.task.cancelled():
            assert self.task.exception() is None

    async def _read(self, bench: Bench, call: Call) -> None:
        current_caller.set(bench.caller(call.caller))
        request = make_request(
            seed=call.seed, steps=call.steps, num_images=call.pictures, num_previews=1
        )
        deadline = Deadline.after(float(call.timeout_turns), bench.clock())
        request_id = RequestId(call.request_id)
        events = bench.generate.stream(request, request_id=request_id, deadline=deadline)
        try:
            async for _ in events:
                pass
        except ServiceError:
            return
        finally:
            await events.aclose()


def _body(call: Call) -> dict[str, Any]:
    if call.door == "infer":
        return {
            "inputs": [
                tensor("PROMPT", "BYTES", ["a red apple"] * call.pictures),
                tensor("SEED", "INT64", [call.seed]),
                tensor("STEPS", "INT32", [call.steps]),
            ],
            "parameters": {"timeout": call.timeout_turns * 1_000_000},
        }
    body: dict[str, Any] = {
        "prompt": "a red apple",
        "seed": call.seed,
        "num_inference_steps": call.steps,
        "n": call.pictures,
    }
    return {**body, "stream": True, "partial_images": 1} if call.door == "sse" else body
