"""The Open Inference Protocol of the real process, called with NVIDIA's own client."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from io import BytesIO

import httpx
import pytest
from PIL import Image

from tests.e2e.server import ROOT, run_server
from tests.oip_kit import tensor

INFER_SECONDS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("oip")) as running:
        yield running


@pytest.fixture(scope="module")
def model(server):
    return httpx.get(f"{server.url}/v2/models").json()["models"][0]


@pytest.fixture(scope="module")
def results(server, model, tmp_path_factory):
    body = {"inputs": [tensor("PROMPT", "BYTES", ["a red apple"]), tensor("STEPS", "INT32", [2])]}
    url = f"{server.url}/v2/models/{model}/infer"
    outputs = httpx.post(url, json=body, timeout=INFER_SECONDS).json()["outputs"]
    picture = tmp_path_factory.mktemp("pictures") / "apple.png"
    picture.write_bytes(base64.b64decode(outputs[0]["data"][0]))
    ports = (server.http_port, server.grpc_port)
    command = [sys.executable, "-m", "tests.triton_job", *map(str, (*ports, model, picture))]
    job = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return json.loads(job.stdout)


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("form", ["binary", "json", "edited"])
def test_every_picture_is_whole_and_proves_where_it_comes_from(server, results, transport, form):
    answer = results[transport][form]
    for encoded, provenance in zip(answer["images"], answer["provenance"], strict=True):
        content = base64.b64decode(encoded)
        picture = Image.open(BytesIO(content))
        picture.load()
        assert picture.size == (provenance["width_px"], provenance["height_px"])
        files = {"image": ("picture", content, provenance["mime_type"])}
        report = httpx.post(f"{server.url}/v1/images/verify", files=files, timeout=INFER_SECONDS)
        assert report.json()["verdict"].startswith("ai_generated_by_us"), report.text
        assert report.json()["c2pa"]["manifest_id"] == provenance["manifest_id"]


def test_the_same_seed_gives_the_same_pixels_over_every_transport(server, model, results):
    digests = {
        tuple(each["pixels_sha256"] for each in results[transport][form]["provenance"])
        for transport in ("http", "grpc")
        for form in ("binary", "json")
    }
    (together,) = digests
    body = {"model": model, "prompt": "a red apple", "seed": 5, "num_inference_steps": 3}
    url = f"{server.url}/v1/images/generations"
    alone = httpx.post(url, json=body, timeout=INFER_SECONDS).json()["data"][0]
    assert alone["pixels_sha256"] == together[0]


def test_a_client_that_leaves_frees_the_engine(server, model):
    series = 'mintmark_engine_requests_total{outcome="cancelled"}'
    before = metric(server, series)
    body = {
        "inputs": [
            tensor("PROMPT", "BYTES", ["a red apple"] * 4),
            tensor("STEPS", "INT32", [150]),
        ]
    }
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v2/models/{model}/infer", json=body, timeout=1.0)
    ends_at_s = time.monotonic() + 10
    while metric(server, series) < before + 4:
        assert time.monotonic() < ends_at_s
        time.sleep(0.05)
    assert metric(server, "mintmark_queue_depth") == 0


def metric(server, series: str) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")]
    return found[0] if found else 0.0
