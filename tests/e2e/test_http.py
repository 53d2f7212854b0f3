"""The HTTP side of the real process: BentoML outside, our app inside, signals and all."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import httpx
import pytest

from models.options import LoadOptions
from models.weights import write_digests
from tests.e2e.server import Server, run_server

IMAGES = "/v1/images/generations"
LONG = {"prompt": "a red apple", "num_inference_steps": 150, "n": 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("http")) as running:
        yield running


def metric(server: Server, series: str) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")]
    return found[0] if found else 0.0


def wait_for(condition, timeout_s: float = 20.0) -> None:
    ends_at_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at_s
        time.sleep(0.05)


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/healthz", "/metrics"])
def test_our_routes_come_before_the_shells(server, path):
    response = httpx.get(f"{server.url}{path}", headers={"x-request-id": "mine"})
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "mine"
    assert "<html" not in response.text


@pytest.mark.parametrize("path", ["/schema.json", "/docs.json", "/assets/x", "/nowhere"])
def test_the_shells_own_pages_are_not_served(server, path):
    response = httpx.get(f"{server.url}{path}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_a_picture_is_generated_verified_and_counted(server):
    model = httpx.get(f"{server.url}/v1/models").json()["data"][0]["id"]
    steps = f'mintmark_step_seconds_count{{model="{model}",size="64x64"}}'
    before = metric(server, steps)
    body = {"prompt": "a red apple", "num_inference_steps": 3, "n": 2, "size": "64x64"}
    answer = httpx.post(f"{server.url}{IMAGES}", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == model
    assert metric(server, f'mintmark_images_total{{format="png",model="{model}"}}') == 2
    assert metric(server, f'mintmark_requests_total{{model="{model}",outcome="done"}}') == 1
    assert metric(server, steps) > before
    assert metric(server, "mintmark_ready") == 1
    assert metric(server, "process_resident_memory_bytes") > 0


def test_metrics_live_in_memory_not_in_files(server):
    assert metric(server, "mintmark_ready") == 1
    shared = server.state_dir / "bentoml" / "prometheus_multiproc_dir"
    assert list(shared.glob("*.db")) == []


def test_a_client_that_leaves_frees_the_engine_within_a_step(server):
    ended = 'mintmark_engine_requests_total{outcome="cancelled"}'
    ended_before = metric(server, ended)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{server.url}{IMAGES}", json=LONG, headers={"x-request-id": "leaver"}, timeout=1.0
        )
    url = f"{server.url}/v1/requests/leaver"
    wait_for(lambda: httpx.get(url).json()["phase"] == "cancelled", timeout_s=5)
    progress = httpx.get(url).json()
    assert progress["steps_done"] < progress["steps_total"]
    # Within a step the engine holds nothing of it any more: the step in flight is the last one.
    wait_for(lambda: metric(server, ended) == ended_before + 1, timeout_s=5)
    assert metric(server, "mintmark_queue_depth") == 0


def test_a_request_can_be_cancelled_by_its_id(server):
    answers: list[httpx.Response] = []
    headers = {"x-request-id": "stopped"}
    call = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{server.url}{IMAGES}", json=LONG, headers=headers, timeout=60)
        )
    )
    call.start()
    url = f"{server.url}/v1/requests/stopped"
    wait_for(lambda: httpx.get(url).is_success and httpx.get(url).json()["steps_done"] > 0)
    assert httpx.post(f"{url}/cancel").json()["cancelled"] is True
    call.join(20)
    assert answers[0].status_code == 499


def test_an_oversized_upload_is_answered_not_reset(server):
    too_much = b"x" * (40 * 1024 * 1024)
    response = httpx.post(f"{server.url}/v1/images/verify", files={"image": too_much}, timeout=60)
    assert response.status_code == 413


def test_sigterm_answers_what_runs_and_refuses_what_is_new(tmp_path: Path):
    with run_server(tmp_path) as server:
        answers: list[httpx.Response] = []
        call = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{server.url}{IMAGES}", json={**LONG, "n": 1}, timeout=100)
            )
        )
        call.start()
        wait_for(lambda: metric(server, "mintmark_http_requests_in_flight") == 1)
        server.terminate()
        wait_for(lambda: server.probe() == 503, timeout_s=2)  # the lame duck says so
        wait_for(lambda: server.probe() is None, timeout_s=5)  # refused, not left hanging
        call.join(120)
        assert answers[0].status_code == 200
        assert server.wait_stopped() == 0
        assert "Traceback" not in server.log()


def test_grpc_health_follows_readiness(server):
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_server_that_cannot_load_ends_and_says_why(tmp_path: Path):
    settings = {"MINTMARK_MODEL__PATH": str(tmp_path / "missing")}
    with run_server(tmp_path, settings, wait_until_ready=False) as server:
        assert server.wait_stopped() == 1
        assert "missing" in server.log()
        assert "Traceback" not in server.log()


def test_a_port_in_use_is_one_clear_sentence(server, tmp_path: Path):
    settings = {"MINTMARK_SERVER__HTTP_PORT": str(server.http_port)}
    with run_server(tmp_path, settings, wait_until_ready=False) as second:
        assert second.wait_stopped() == 1
        assert "MINTMARK_SERVER__HTTP_PORT" in second.log()
        assert "Traceback" not in second.log()


def test_an_unknown_setting_stops_the_start_by_name(tmp_path: Path):
    settings = {"MINTMARK_ENGIN__MAX_BATCH_ROWS": "4"}
    with run_server(tmp_path, settings, wait_until_ready=False) as server:
        assert server.wait_stopped() == 1
        assert "MINTMARK_ENGIN__MAX_BATCH_ROWS is not a setting" in server.log()


def test_several_models_are_listed_and_drawn_with_by_their_ids(tmp_path: Path):
    second = tmp_path / "second"
    shutil.copytree(LoadOptions.embedded_folder(), second)
    facts = json.loads((second / "mintmark.json").read_text())
    facts["model_id"] = "second"
    (second / "mintmark.json").write_text(json.dumps(facts))
    write_digests(second)
    with run_server(
        tmp_path / "run", {"MINTMARK_MODEL__ALSO": json.dumps([str(second)])}
    ) as server:
        listed = httpx.get(f"{server.url}/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["mintmark-emoji-64", "second"]
        for model in listed:
            assert httpx.get(f"{server.url}/v1/models/{model['id']}").json() == model
            assert {"subjects", "license", "training_data", "limits"} <= model["card"].keys()
        assert listed[1]["card"] == facts["card"]
        for asked, answered in ((None, "mintmark-emoji-64"), ("second", "second")):
            body = {"prompt": "a zeppelin", "num_inference_steps": 2, "model": asked}
            answer = httpx.post(f"{server.url}{IMAGES}", json=body, timeout=60).json()
            assert answer["model"] == answered
            assert answer["warnings"] == ["not drawn: 'zeppelin'"]
        body = {"prompt": "x", "model": "third"}
        assert httpx.post(f"{server.url}{IMAGES}", json=body).status_code == 404
        assert metric(server, 'mintmark_model_load_seconds{model="second"}') > 0


def test_a_tampered_model_file_stops_the_start(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(LoadOptions.embedded_folder(), folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    spoiled = bytearray(weights.read_bytes())
    spoiled[-1] ^= 1
    weights.write_bytes(spoiled)
    settings = {"MINTMARK_MODEL__PATH": str(folder)}
    with run_server(tmp_path, settings, wait_until_ready=False) as server:
        assert server.wait_stopped() != 0
        assert "diffusion_pytorch_model.safetensors" in server.log()


def test_a_worker_that_dies_takes_the_server_with_it(tmp_path: Path):
    with run_server(tmp_path) as server:
        worker = Path(f"/proc/{server.worker_pid()}")
        assert "worker" in (worker / "cmdline").read_text()
        import os
        import signal

        os.kill(server.worker_pid(), signal.SIGKILL)
        assert server.wait_stopped() == 1


def test_a_parent_that_is_killed_leaves_no_worker_behind(tmp_path):
    import os
    import signal

    with run_server(tmp_path) as server:
        worker = Path(f"/proc/{server.worker_pid()}")
        os.kill(server.process.pid, signal.SIGKILL)
        ends_at_s = time.monotonic() + 20
        while worker.exists() and time.monotonic() < ends_at_s:
            time.sleep(0.1)
        assert not worker.exists()


def test_no_prompt_is_ever_logged(server):
    body = {"prompt": "zebra-stripes-42", "num_inference_steps": 1}
    assert httpx.post(f"{server.url}{IMAGES}", json=body, timeout=60).status_code == 200
    body["n"] = "zebra-stripes-42"
    assert httpx.post(f"{server.url}{IMAGES}", json=body, timeout=60).status_code == 400
    assert "zebra" not in server.log()


def test_a_stream_is_not_held_back_on_its_way(server):
    body = {**LONG, "n": 1, "stream": True, "partial_images": 3}
    started_s = time.monotonic()
    with httpx.stream("POST", f"{server.url}{IMAGES}", json=body, timeout=60) as response:
        assert response.headers["x-request-id"]
        assert response.headers["content-type"].startswith("text/event-stream")
        headers_s = time.monotonic() - started_s
        arrived_s = [
            (line.rpartition(".")[2], time.monotonic() - started_s)
            for line in response.iter_lines()
            if line.startswith("event:")
        ]
    # A preview that cannot carry its marks would be left out; not all of them will.
    (first, first_s), *_, (last, last_s) = arrived_s
    assert (first, last) == ("partial_image", "completed")
    # The first came while much was still to be drawn, not with the last.
    assert headers_s < first_s < 0.8 * last_s
