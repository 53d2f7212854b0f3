"""Collectors that listen in this process, and servers whose spans they receive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

from models.families.toy import ToyModel
from service.generation import GenerateImages
from service.provenance.pipeline import MarkingPipeline
from service.telemetry.metrics import Metrics
from service.telemetry.options import TelemetryOptions
from service.telemetry.recorded_generation import RecordedGeneration
from service.telemetry.request_record import noting_stages
from service.telemetry.tracing import build_tracer
from tests.factories import ThreadedEngine
from tests.fakes import FakeSigner, FakeWatermarker
from tests.rest_kit import RestBench, rest_bench
from tests.rpc_kit import RpcBench, rpc_bench

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
STOPS = ["intake", "admission", "queue", "encode_prompt", "denoise", "decode", "mark", "answer"]
STAGES = ["watermark", "encode", "sign", "ledger"]
CANARY = "zanzibar-canary-7319"
BODY = {"prompt": f"a {CANARY}", "num_inference_steps": 4, "guidance_scale": 3.0, "seed": 1}


@dataclass(frozen=True)
class Received:
    """One span as a collector got it."""

    span: trace_pb2.Span
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def attributes(self) -> dict[str, Any]:
        return _values(self.span.attributes)

    @property
    def error(self) -> str | None:
        """Return the message of an error status, or None for every other status."""
        is_error = self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
        return self.span.status.message if is_error else None


@dataclass
class Collector:
    """`port`: on 127.0.0.1. `answers`: statuses given before OK, one a message. `gate`: to hold."""

    protocol: str
    port: int = 0
    spans: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    rejected_spans: int = 0
    gate: Event = field(default_factory=Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        return {"otlp_endpoint": self.endpoint, "otlp_protocol": self.protocol}

    def take(self, request: pb.ExportTraceServiceRequest, headers: dict[str, str]) -> Any:
        """Return the status to answer with instead of OK, or None having kept the spans."""
        self.gate.wait(10)
        self.headers.append(headers)
        if self.answers:
            return self.answers.pop(0)
        for of_resource in request.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self.spans += [Received(span, resource) for span in of_scope.spans]
        return None

    def answer(self) -> pb.ExportTraceServiceResponse:
        answer = pb.ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = self.rejected_spans
        return answer

    def roots(self) -> list[Received]:
        return [each for each in self.spans if each.span.kind == trace_pb2.Span.SPAN_KIND_SERVER]

    def names_below(self, parent: Received) -> list[str]:
        return [each.name for each in self.children(parent)]

    def children(self, parent: Received) -> list[Received]:
        """Return what is directly below `parent`, in the order of their beginnings."""
        found = [each for each in self.spans if each.parent_id == parent.span_id]
        return sorted(found, key=lambda each: each.span.start_time_unix_nano)

    def one(self, name: str) -> Received:
        (found,) = [each for each in self.spans if each.name == name]
        return found


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    collector = Collector("grpc")
    collector.gate.set()

    class Servicer(pb_grpc.TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            code = collector.take(request, dict(context.invocation_metadata()))
            if code is not None:
                context.abort(code, "told to")
            return collector.answer()

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        pb_grpc.add_TraceServiceServicer_to_server(Servicer(), server)
        collector.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield collector
        finally:
            collector.gate.set()
            server.stop(0).wait(5)


@contextmanager
def http_collector() -> Iterator[Collector]:
    collector = Collector("http/protobuf")
    collector.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["content-length"]))
            request = pb.ExportTraceServiceRequest.FromString(content)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = collector.take(request, {":path": self.path, **headers})
            body = collector.answer().SerializeToString()
            self.send_response(status or 200)
            self.send_header("content-length", str(len(body)))
            with suppress(ConnectionError):  # a client that did not wait
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield collector
        finally:
            collector.gate.set()
            server.shutdown()
            thread.join(5)


COLLECTORS = {"grpc": grpc_collector, "http/protobuf": http_collector}


class NoLedger:
    """Keeps nothing."""

    def record(self, output: object) -> None:
        pass


@dataclass
class TracedServer:
    """A real use case over a toy model, behind both transports, traced."""

    rest: RestBench
    rpc: RpcBench
    engine: ThreadedEngine
    metrics: Metrics
    tracer: Any

    def client(self) -> httpx.AsyncClient:
        return self.rest.client()

    async def flush(self) -> None:
        """Send what there is; nothing is traced afterwards."""
        await asyncio.to_thread(self.tracer.close)


@asynccontextmanager
async def traced_server(
    model: ToyModel | None = None,
    *,
    watermarker: Any = None,
    interceptors: tuple[Any, ...] = (),
    **options: Any,
) -> AsyncIterator[TracedServer]:
    """Yield a server whose telemetry has `options`."""
    telemetry = TelemetryOptions(**options)
    metrics = Metrics("test")
    tracer = build_tracer(telemetry, "1.2.3", metrics)
    stages: list[str] = []
    marker = MarkingPipeline(
        watermarker or FakeWatermarker(),
        FakeSigner(),
        NoLedger(),
        noting_stages(lambda stage, seconds: stages.append(stage)),
    )
    engine = ThreadedEngine(model)
    with ThreadPoolExecutor(2) as pool, rest_bench() as rest:
        generate = GenerateImages(
            {"toy": engine.model}, engine.client, marker, pool, time.monotonic
        )
        recorded: Any = RecordedGeneration(generate, logs_prompts=telemetry.log_prompts)
        rest.generate, rest.tracer, rest.metrics = recorded, tracer, metrics
        rpc_parts: Any = {"tracer": tracer, "metrics": metrics, "interceptors": interceptors}
        async with engine, rpc_bench(generate=recorded, **rpc_parts) as rpc:
            try:
                yield TracedServer(rest, rpc, engine, metrics, tracer)
            finally:
                await asyncio.to_thread(tracer.close)
