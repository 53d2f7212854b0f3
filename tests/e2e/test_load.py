"""Five seconds of open-loop load against the real service, over each transport."""

from __future__ import annotations

import asyncio

import pytest

from loadtests.conduct import Conducted
from loadtests.harness.request import Kind
from loadtests.own_server import Endpoints
from loadtests.run import run_against
from loadtests.scenario import load_scenario
from tests.e2e.server import Server, run_server

SCENARIO = """
name = "t"
duration_s = 5.0
warmup_s = 0.5
drain_s = 90.0
max_lag_s = 60.0 # what is tested is the service's marks, not this machine's idleness
[arrivals]
kind = "poisson"
rate_per_s = 2.5
[[mix]]
name = "answer"
num_inference_steps = 2
guidance_scale = 1.0
[[mix]]
name = "stream"
num_inference_steps = 3
is_streamed = true
partial_images = 1
n = 2
[clients]
leave_share = 0.2
leave_within_s = 0.2
slow_share = 0.2
slow_bytes_per_s = 40000
[verify]
share = 1.0
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("load")) as running:
        yield running


def play(server: Server, path, transport: str) -> Conducted:
    path.write_text(SCENARIO)
    endpoints = Endpoints(server.url, f"127.0.0.1:{server.grpc_port}")
    loaded = load_scenario(path, {"transport": transport})
    return asyncio.run(run_against(endpoints, loaded, None))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_every_picture_under_load_is_signed_and_proven(server, tmp_path, transport):
    conducted = play(server, tmp_path / "t.toml", transport)
    result, samples = conducted.result, conducted.recording.samples
    assert {each.kind for each in samples} == {Kind.DONE, Kind.LEFT}
    assert result.outcome == "passed", result.budgets
    assert result.verification.pictures >= 5
    assert result.verification.verdicts == {
        "ai_generated_by_us/proof": result.verification.pictures
    }
    assert result.server is not None
    assert result.server.pictures >= 5
    assert result.server.cpu_s_per_picture
    assert result.server.queue_mean_s is not None
    # Who leaves may find the picture done before: on idle cores it is.
    assert set(result.server.endings) <= {"done", "cancelled"}
    assert result.profiles["stream"].first_event is not None
