"""The gRPC side of the real process: the same engine, the same pictures, the same end."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.client import (
    Accepted,
    Cancelled,
    DeadlineExceeded,
    Done,
    EditOptions,
    FinishedImage,
    GenerateOptions,
    InvalidArgument,
    MintmarkClient,
    Preview,
    Progress,
    Tls,
    Unavailable,
)
from tests.e2e.server import ROOT, Server, run_server
from tests.tls_kit import make_pair, mount

FAST = GenerateOptions(num_inference_steps=3, seed=7)
LONG = GenerateOptions(num_inference_steps=150, n=4)
PROMPT = "a red apple"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("grpc")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with MintmarkClient(f"127.0.0.1:{server.grpc_port}") as made:
        yield made


def metric(server: Server, series: str) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")]
    return found[0] if found else 0.0


def wait_for(condition, timeout_s: float = 20.0) -> None:
    ends_at_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at_s
        time.sleep(0.05)


def test_the_same_request_gives_the_same_pixels_as_over_http(server, client):
    body = {"prompt": PROMPT, "num_inference_steps": 3, "seed": 7, "n": 2}
    answer = httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
    over_http = [(item["seed"], item["pixels_sha256"]) for item in answer.json()["data"]]
    generated = client.generate(
        PROMPT, GenerateOptions(num_inference_steps=3, seed=7, n=2), deadline_s=60
    )
    over_grpc = [(picture.seed, picture.pixels_sha256) for picture in generated.pictures]
    assert over_grpc == over_http
    assert generated.model == answer.json()["model"]
    for picture in generated.pictures:
        assert hashlib.sha256(picture.content).hexdigest() == picture.content_sha256


def test_a_stream_tells_acceptance_steps_previews_and_the_image(client):
    options = GenerateOptions(num_inference_steps=8, seed=1, partial_images=2)
    events = list(client.stream(PROMPT, options, deadline_s=60))
    assert isinstance(events[0], Accepted)
    assert isinstance(events[-1], Done)
    steps = [event.steps_done for event in events if isinstance(event, Progress)]
    assert steps == sorted(steps)
    previews = [event for event in events if isinstance(event, Preview)]
    assert [preview.partial_index for preview in previews] == [0, 1]
    (finished,) = (event for event in events if isinstance(event, FinishedImage))
    digests = {preview.picture.pixels_sha256 for preview in previews}
    assert finished.picture.pixels_sha256 not in digests
    # Previews are marked and signed like every picture that leaves.
    report = client.verify(previews[0].picture.content, deadline_s=60)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")


def test_what_was_generated_is_recognised(client):
    (picture,) = client.generate(PROMPT, FAST, deadline_s=60).pictures
    report = client.verify(picture.content, deadline_s=60)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")
    assert report.message.c2pa.output_id == picture.output_id
    assert report.message.watermark.id == picture.watermark_id
    spoiled = bytearray(picture.content)
    spoiled[-1] ^= 1
    assert client.verify(bytes(spoiled), deadline_s=60).verdict != "ai_generated_by_us"


def test_an_edit_starts_from_a_picture(client):
    (picture,) = client.generate(PROMPT, FAST, deadline_s=60).pictures
    options = EditOptions(num_inference_steps=6, seed=3, strength=0.5)
    edited = client.edit("a green apple", picture.content, options, deadline_s=60)
    assert edited.pictures[0].pixels_sha256 != picture.pixels_sha256
    report = client.verify(edited.pictures[0].content, deadline_s=60)
    assert report.verdict == "ai_generated_by_us"
    assert [part.manifest_id for part in report.message.c2pa.ingredients] == [picture.manifest_id]


def test_the_models_are_those_of_http(server, client):
    listed = httpx.get(f"{server.url}/v1/models").json()["data"]
    models = client.list_models(deadline_s=10)
    assert [(model.id, model.revision) for model in models] == [
        (model["id"], model["revision"]) for model in listed
    ]
    assert models[0].is_default


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_a_request_is_cancelled_over_either_transport(server, client, transport):
    request_id = f"stop-{transport}"
    errors: list[Cancelled] = []

    def call() -> None:
        with pytest.raises(Cancelled) as stopped:
            client.generate(PROMPT, LONG, request_id=request_id, deadline_s=60)
        errors.append(stopped.value)

    running = threading.Thread(target=call)
    running.start()
    url = f"{server.url}/v1/requests/{request_id}"
    wait_for(lambda: httpx.get(url).is_success and httpx.get(url).json()["steps_done"] > 0)
    if transport == "grpc":
        assert client.cancel(request_id, deadline_s=10)
    else:
        assert httpx.post(f"{url}/cancel").json()["cancelled"]
    running.join(20)
    assert errors[0].request_id == request_id
    assert httpx.get(url).json()["phase"] == "cancelled"


def test_a_reader_who_leaves_frees_the_engine_within_a_step(server, client):
    ended = 'mintmark_engine_requests_total{outcome="cancelled"}'
    before = metric(server, ended)
    for event in client.stream(PROMPT, LONG, request_id="leaver"):
        if isinstance(event, Progress):
            break
    wait_for(lambda: metric(server, ended) == before + 1, timeout_s=5)
    progress = httpx.get(f"{server.url}/v1/requests/leaver").json()
    assert progress["phase"] == "cancelled"
    assert progress["steps_done"] < progress["steps_total"]
    assert metric(server, "mintmark_queue_depth") == 0


def test_a_deadline_stops_the_work(server, client):
    with pytest.raises(DeadlineExceeded):
        client.generate(PROMPT, LONG, request_id="late", deadline_s=0.7)
    url = f"{server.url}/v1/requests/late"
    wait_for(lambda: httpx.get(url).json()["phase"] in {"cancelled", "expired"}, timeout_s=5)
    method = "/mintmark.v1.ImageGeneration/Generate"
    count = f'mintmark_rpc_calls_total{{code="DEADLINE_EXCEEDED",method="{method}"}}'
    wait_for(lambda: metric(server, count) == 1, timeout_s=5)


def test_a_refusal_names_the_field_and_the_log_has_the_id_but_no_prompt(server, client):
    with pytest.raises(InvalidArgument) as refused:
        client.generate("zebra-stripes-42", GenerateOptions(n=0), request_id="refused-one")
    assert (refused.value.param, refused.value.code) == ("n", "invalid_request")
    wait_for(lambda: "refused-one" in server.log(), timeout_s=5)
    assert "zebra" not in server.log()


def test_the_same_id_twice_at_once_is_refused(client):
    events = client.stream(PROMPT, LONG, request_id="twin")
    next(events)
    with pytest.raises(InvalidArgument) as refused:
        client.generate(PROMPT, FAST, request_id="twin")
    events.close()
    assert refused.value.param == "x-request-id"


def test_reflection_lists_the_service(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([question]))
    names = {service.name for service in answer.list_services_response.service}
    assert "mintmark.v1.ImageGeneration" in names


def test_the_example_draws_previews_and_a_picture(server, tmp_path):
    import subprocess
    import sys

    script = ROOT / "examples" / "grpc_generate.py"
    done = subprocess.run(
        [sys.executable, str(script), f"127.0.0.1:{server.grpc_port}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ai_generated_by_us (proof)" in done.stdout
    assert list(tmp_path.glob("rocket-*.png"))


def test_none_of_this_was_a_defect(server):
    """The last test of the module's server: refusals and cancellations are no errors of ours."""
    assert "Traceback" not in server.log()
    assert '"level": "error"' not in server.log()


def test_sigterm_finishes_calls_and_does_not_wait_for_a_watch(tmp_path: Path):
    with run_server(tmp_path, {"MINTMARK_SERVER__LAME_DUCK_S": "1.0"}) as server:
        target = f"127.0.0.1:{server.grpc_port}"
        results: list[object] = []
        with (
            MintmarkClient(target) as client,
            MintmarkClient(target) as newcomer,
            grpc.insecure_channel(target) as probes,
        ):
            options = GenerateOptions(num_inference_steps=150, seed=1)
            call = threading.Thread(
                target=lambda: results.append(client.generate(PROMPT, options, deadline_s=100))
            )
            watch = health_pb2_grpc.HealthStub(probes).Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            call.start()
            wait_for(lambda: metric(server, "mintmark_rpc_calls_in_flight") == 1)
            server.terminate()
            # At once for whoever watches; calls are still taken until the lame duck is over.
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert newcomer.list_models(deadline_s=5)

            def is_refused() -> bool:
                try:
                    newcomer.list_models(deadline_s=5)
                except Unavailable:
                    return True
                return False

            wait_for(is_refused, timeout_s=10)
            call.join(110)
            assert server.wait_stopped() == 0
        (generated,) = results
        assert generated.pictures[0].content  # type: ignore[attr-defined]
        assert "Traceback" not in server.log()


def test_tls_is_served_and_a_broken_file_stops_the_start(tmp_path: Path):
    pair = make_pair()
    options = mount(tmp_path, pair)
    settings = {
        "MINTMARK_RPC__CERTIFICATE_PATH": str(options.certificate_path),
        "MINTMARK_RPC__PRIVATE_KEY_PATH": str(options.private_key_path),
    }
    with run_server(tmp_path / "good", settings) as server:
        tls = Tls(pair.certificate, server_name="localhost")
        with MintmarkClient(f"127.0.0.1:{server.grpc_port}", tls=tls) as client:
            assert client.list_models(deadline_s=10)
    (tmp_path / "tls.key").write_bytes(make_pair().key)
    with run_server(tmp_path / "bad", settings, wait_until_ready=False) as server:
        assert server.wait_stopped() == 1
        assert "MINTMARK_RPC__PRIVATE_KEY_PATH" in server.log()
        assert "Traceback" not in server.log()
