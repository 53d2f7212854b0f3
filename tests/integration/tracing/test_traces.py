"""Requests as traces: real use case, real transports, a collector that listens in this process."""

from __future__ import annotations

import asyncio
import itertools
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from models.families.toy import ToyModel
from service.errors import Unauthenticated
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.telemetry.span_table import ERROR_TYPE, SPANS
from tests.fakes import BlindWatermarker
from tests.otlp_kit import (
    BODY,
    CANARY,
    COLLECTORS,
    PARENT,
    STAGES,
    STOPS,
    TRACE,
    TRACEPARENT,
    traced_server,
)
from tests.rest_kit import IMAGES
from tests.rpc_kit import wait_until


def check_tree(collector, root, trace_id, parent_id):
    """Every span is of one trace and hangs below `root`, nothing is longer than what it is in."""
    assert (root.trace_id, root.parent_id) == (trace_id, parent_id)
    assert {each.trace_id for each in collector.spans} == {trace_id}
    assert collector.names_below(root) == STOPS
    (mark,) = [each for each in collector.spans if each.name == "mark"]
    assert collector.names_below(mark) == STAGES
    assert len(collector.spans) == 1 + len(STOPS) + len(STAGES)
    by_id = {each.span_id: each for each in collector.spans}
    for each in collector.spans:
        assert each.span.start_time_unix_nano <= each.span.end_time_unix_nano
        if each is not root:
            above = by_id[each.parent_id].span
            assert above.start_time_unix_nano <= each.span.start_time_unix_nano
            assert each.span.end_time_unix_nano <= above.end_time_unix_nano
    for before, after in itertools.pairwise(collector.children(root)):
        assert before.span.end_time_unix_nano <= after.span.start_time_unix_nano


@pytest.mark.parametrize("protocol", COLLECTORS)
async def test_one_http_generation_is_one_trace_below_its_caller(protocol):
    headers = {"traceparent": TRACEPARENT, "tracestate": "a=1,b=2", "x-request-id": "mine"}
    with COLLECTORS[protocol]() as collector:
        before_ns = time.time_ns()
        async with traced_server(**collector.options) as server, server.client() as client:
            answer = await client.post(IMAGES, json=BODY, headers=headers)
        after_ns = time.time_ns()
    assert answer.status_code == 200, answer.text
    assert not {name for name in answer.headers if name.startswith("trace")}
    (root,) = collector.roots()
    check_tree(collector, root, TRACE, PARENT)
    assert root.name == f"POST {IMAGES}"
    assert {each.span.trace_state for each in collector.spans} == {"a=1,b=2"}
    assert before_ns <= root.span.start_time_unix_nano <= root.span.end_time_unix_nano <= after_ns
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": IMAGES,
        "http.response.status_code": 200,
        "http.response.body.size": len(answer.content),
        "url.scheme": "http",
        "url.path": IMAGES,
        "network.protocol.version": "1.1",
        "mintmark.request_id": "mine",
        "mintmark.outcome": "done",
        "mintmark.model": "toy",
        "mintmark.images": 1,
        "mintmark.size": "64x64",
        "mintmark.is_edit": False,
    }
    assert root.error is None
    assert collector.one("denoise").attributes == {
        "mintmark.image.index": 0,
        "mintmark.steps": 4,
        "mintmark.steps.wanted": 4,
        "mintmark.rows.min": 2,
        "mintmark.rows.mean": 2.0,
        "mintmark.rows.max": 2,
        "mintmark.shape": "4x16x16",
        "mintmark.is_guided": True,
        "mintmark.scheduler": "ddim",
    }
    resource = root.resource
    assert resource.pop("service.instance.id")
    assert resource == {"service.name": "mintmark", "service.version": "1.2.3"}
    assert server.rest.metric('mintmark_trace_spans_total{outcome="sent"}') == len(collector.spans)


async def test_one_grpc_generation_is_one_trace_below_its_caller(collector):
    metadata = (("traceparent", TRACEPARENT), ("x-request-id", "mine"))
    async with traced_server(**collector.options) as server, server.rpc.stub() as stub:
        request = pb.GenerateRequest(prompt=CANARY, num_inference_steps=4)
        async for _ in stub.Generate(request, metadata=metadata):
            pass
    (root,) = collector.roots()
    check_tree(collector, root, TRACE, PARENT)
    assert root.name == "mintmark.v1.ImageGeneration/Generate"
    assert root.attributes["rpc.system.name"] == "grpc"
    assert root.attributes["rpc.method"] == "mintmark.v1.ImageGeneration/Generate"
    assert root.attributes["rpc.response.status_code"] == "OK"
    assert root.attributes["mintmark.request_id"] == "mine"
    assert root.attributes["mintmark.outcome"] == "done"


async def test_a_stream_is_one_trace_with_its_previews(collector):
    body = {**BODY, "stream": True, "partial_images": 1, "n": 2}
    async with traced_server(**collector.options) as server, server.client() as client:
        answer = await client.post(IMAGES, json=body)
    assert answer.status_code == 200
    (root,) = collector.roots()
    assert {each.trace_id for each in collector.spans} == {root.trace_id}
    marks = [each.attributes for each in collector.spans if each.name == "mark"]
    shown = sorted((m["mintmark.image.index"], m["mintmark.image.is_preview"]) for m in marks)
    assert shown == [(0, False), (0, True), (1, False), (1, True)]
    assert root.attributes["mintmark.outcome"] == "done"


async def test_two_requests_in_one_batch_have_traces_of_their_own(collector):
    model = ToyModel(step_delay_s=0.01)
    body = {**BODY, "num_inference_steps": 20}
    async with traced_server(model, **collector.options) as server, server.client() as client:
        answers = await asyncio.gather(*(client.post(IMAGES, json=body) for _ in range(2)))
    assert [each.status_code for each in answers] == [200, 200]
    first, second = collector.roots()
    assert first.trace_id != second.trace_id
    for root in (first, second):
        assert collector.names_below(root) == STOPS
        assert {each.trace_id for each in collector.children(root)} == {root.trace_id}
    shared = [each.attributes for each in collector.spans if each.name == "denoise"]
    assert [each["mintmark.rows.max"] for each in shared] == [4, 4]  # they did meet
    ids = [each.span_id for each in collector.spans]
    assert len(ids) == len(set(ids))


async def test_a_request_whose_client_leaves_ends_in_the_stop_it_was_in(collector):
    model = ToyModel(step_delay_s=0.02)
    async with traced_server(model, **collector.options) as server, server.rpc.stub() as stub:
        call = stub.Generate(pb.GenerateRequest(prompt="x", num_inference_steps=150))
        steps = [event async for event in _until_steps(call)]
        call.cancel()
        while server.rpc.metric("mintmark_rpc_calls_in_flight"):
            await asyncio.sleep(0.01)
    assert steps
    (root,) = collector.roots()
    assert collector.names_below(root) == STOPS[: STOPS.index("denoise") + 1]
    denoise = collector.one("denoise")
    assert denoise.error == "cancelled"
    assert denoise.attributes[ERROR_TYPE] == "cancelled"
    assert 0 < denoise.attributes["mintmark.steps"] < denoise.attributes["mintmark.steps.wanted"]
    assert root.attributes["rpc.response.status_code"] == "CANCELLED"
    assert root.attributes["mintmark.outcome"] == root.attributes[ERROR_TYPE] == "cancelled"
    assert root.error is None  # the caller's doing, not the server's


async def _until_steps(call):
    async for event in call:
        if event.WhichOneof("event") == "progress":
            yield event
            return


async def test_a_failed_mark_is_an_error_of_its_span_and_of_the_request(collector):
    options = {**collector.options, "watermarker": BlindWatermarker()}
    async with traced_server(**options) as server, server.client() as client:
        answer = await client.post(IMAGES, json=BODY)
    assert answer.status_code == 500
    (root,) = collector.roots()
    assert root.error == collector.one("mark").error == "watermark_failed"
    assert root.attributes[ERROR_TYPE] == "watermark_failed"
    assert root.attributes["http.response.status_code"] == 500
    assert "answer" not in collector.names_below(root)


async def test_an_engine_failure_is_an_error_of_the_stop_it_happened_in(collector, log):
    def fail(latents, timesteps):
        raise RuntimeError("broken")

    model = ToyModel(on_denoise=fail)
    async with traced_server(model, **collector.options) as server, server.client() as client:
        answer = await client.post(IMAGES, json=BODY)
    assert answer.status_code == 500
    assert collector.one("denoise").error == "internal_error"
    (root,) = collector.roots()
    assert root.error == "internal_error"
    # The engine's thread knows whose failure it tells.
    (told,) = [line for line in log if line["logger"] == "service.engine.endings"]
    assert told["trace_id"] == root.trace_id
    assert told["request_id"] == root.attributes["mintmark.request_id"]


@pytest.mark.parametrize(
    ("path", "status", "name", "code"),
    [
        (IMAGES, 400, f"POST {IMAGES}", "invalid_request"),
        ("/nowhere", 404, "POST", "not_found"),
    ],
)
async def test_a_refusal_is_told_but_is_no_fault_of_the_server(collector, path, status, name, code):
    async with traced_server(**collector.options) as server, server.client() as client:
        answer = await client.post(path, json={"prompt": ""})
    assert answer.status_code == status
    (root,) = collector.roots()
    assert root.name == name
    assert collector.names_below(root) == ["intake"]
    assert root.error is None
    assert root.attributes[ERROR_TYPE] == root.attributes["mintmark.outcome"] == code


class NobodyEnters(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    async def intercept_service(self, continuation, details):
        raise Unauthenticated("no key")


async def test_a_call_turned_away_at_the_door_does_not_name_its_span(collector):
    options = {**collector.options, "interceptors": (NobodyEnters(),)}
    async with traced_server(**options) as server, server.rpc.channel() as channel:
        call = channel.unary_unary(f"/{CANARY}/{CANARY}", None, None)
        with pytest.raises(grpc.aio.AioRpcError, match="no key"):
            await call(b"", metadata=(("traceparent", TRACEPARENT),))
        count = 'mintmark_rpc_calls_total{code="UNAUTHENTICATED",method="unmatched"}'
        await wait_until(lambda: server.rpc.metric(count) == 1)
    (root,) = collector.roots()
    assert root.name == root.attributes["rpc.method"] == "_OTHER"
    assert root.attributes[ERROR_TYPE] == "unauthenticated"
    assert root.trace_id == TRACE
    assert CANARY not in str(root.span)


async def test_probes_and_health_checks_make_no_spans(collector):
    async with traced_server(**collector.options) as server, server.client() as client:
        for path in ("/livez", "/readyz", "/metrics"):
            await client.get(path)
        await client.get("/v1/models")
        async with server.rpc.channel() as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert [each.name for each in collector.spans] == ["GET /v1/models"]


async def test_a_collector_that_cannot_be_reached_costs_spans_and_no_request(unused_tcp_port):
    endpoint = f"http://127.0.0.1:{unused_tcp_port}"
    async with traced_server(otlp_endpoint=endpoint) as server, server.client() as client:
        answer = await client.post(IMAGES, json=BODY)
        assert answer.status_code == 200
        began_s = time.monotonic()
        await server.flush()
        assert time.monotonic() - began_s < 3
        dropped = server.rest.metric('mintmark_trace_spans_total{outcome="dropped"}')
        assert dropped == 1 + len(STOPS) + len(STAGES)


async def test_every_span_and_attribute_is_in_the_table(collector):
    async with traced_server(**collector.options) as server, server.client() as client:
        await client.post(IMAGES, json=BODY)
        async with server.rpc.stub() as stub:
            await stub.ListModels(pb.ListModelsRequest())
    known = {each.name: {*each.attributes, ERROR_TYPE} for each in SPANS}
    for each in collector.spans:
        name = each.name
        if "http.request.method" in each.attributes:
            name = "<method> <route>"
        elif "rpc.method" in each.attributes:
            name = "<service>/<method>"
        assert set(each.attributes) <= known[name], each.name


async def test_headers_reach_the_collector(collector):
    options = {**collector.options, "otlp_headers": "Authorization=Bearer abc,x-tenant=7"}
    async with traced_server(**options) as server, server.client() as client:
        await client.get("/v1/models")
    (headers,) = collector.headers
    assert (headers["authorization"], headers["x-tenant"]) == ("Bearer abc", "7")


async def test_variables_of_other_programs_change_nothing(collector, monkeypatch):
    for name, value in {
        "OTEL_SDK_DISABLED": "true",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SERVICE_NAME": "other",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-other=1",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "soon",
        "OTEL_PROPAGATORS": "b3",
        "http_proxy": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    async with traced_server(**collector.options) as server, server.client() as client:
        await client.get("/v1/models", headers={"traceparent": TRACEPARENT})
    (root,) = collector.roots()
    assert (root.trace_id, root.resource["service.name"]) == (TRACE, "mintmark")
    assert "x-other" not in collector.headers[0]
