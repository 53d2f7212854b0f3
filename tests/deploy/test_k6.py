"""k6's script for HTTP passes, and it can fail; the one for gRPC is read without a complaint."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.verify.tools import find
from tests.integration.loadtests.fake_server import draw, fake_server

ROOT = Path(__file__).parents[2]


def k6(*arguments: str) -> int:
    command = [str(find("k6")), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, check=False, timeout=100
    ).returncode


def play(url: str) -> int:
    options = ["-e", f"BASE_URL={url}", "-e", "RATE=2", "-e", "DURATION=3s", "-e", "VERIFY_SHARE=1"]
    return k6("run", "--quiet", "--no-usage-report", *options, "loadtests/k6/http.js")


def test_it_passes_where_every_picture_is_proven():
    with fake_server(draw) as server:
        assert play(server.url) == 0
        assert server.bodies


def test_it_fails_where_a_picture_is_not():
    with fake_server(draw) as server:
        server.verdict = ("invalid_credentials", "proof")
        assert play(server.url) != 0
        assert server.bodies


def test_the_script_for_grpc_finds_its_protos():
    assert k6("inspect", "loadtests/k6/grpc.js") == 0
