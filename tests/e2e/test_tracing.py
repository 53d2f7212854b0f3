"""A real server and a collector: one trace for each request, the last of them sent on SIGTERM."""

from __future__ import annotations

import json

import grpc
import httpx

from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc
from tests.e2e.server import run_server
from tests.otlp_kit import grpc_collector

IMAGES = "/v1/images/generations"
CANARY = "zanzibar-canary-7319"
STOPS = {"intake", "admission", "queue", "encode_prompt", "denoise", "decode", "mark", "answer"}
STAGES = {"watermark", "encode", "sign", "ledger"}


def test_both_doors_are_traced_once_and_nothing_is_lost_at_the_end(tmp_path):
    with grpc_collector() as collector:
        settings = {
            "MINTMARK_TELEMETRY__OTLP_ENDPOINT": collector.endpoint,
            "MINTMARK_TELEMETRY__OTLP_HEADERS": "x-token=s3cret",
            "OTEL_SDK_DISABLED": "true",  # another program's
        }
        with run_server(tmp_path, settings) as server:
            body = {"prompt": CANARY, "num_inference_steps": 2}
            headers = {"x-request-id": "over-http"}
            answer = httpx.post(f"{server.url}{IMAGES}", json=body, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                request = pb.GenerateRequest(prompt=CANARY, num_inference_steps=2)
                metadata = (("x-request-id", "over-grpc"),)
                stub = pb_grpc.ImageGenerationStub(channel)
                assert list(stub.Generate(request, metadata=metadata, timeout=60))
            server.terminate()
            assert server.wait_stopped() == 0
            log = server.log()
    by_id = {root.attributes["mintmark.request_id"]: root for root in collector.roots()}
    assert set(by_id) == {"over-http", "over-grpc"}
    for root in by_id.values():
        below = [each for each in collector.spans if each.trace_id == root.trace_id]
        assert {each.name for each in below} == {root.name} | STOPS | STAGES
        assert len(below) == 1 + len(STOPS) + len(STAGES)
    assert len(collector.spans) == 2 * (1 + len(STOPS) + len(STAGES))
    assert collector.headers[0]["x-token"] == "s3cret"
    assert "s3cret" not in log
    assert CANARY not in log + str([each.span for each in collector.spans])
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    answered = {line["request_id"]: line for line in lines if line["message"] == "answered"}
    for request_id, root in by_id.items():
        assert answered[request_id]["trace_id"] == root.trace_id
        assert answered[request_id]["outcome"] == "done"
