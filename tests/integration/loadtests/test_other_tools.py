"""The scripts for locust and k6, where these are installed: they pass, and they can fail."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.loadtests.fake_server import draw, fake_server

ROOT = Path(__file__).parents[3]
LOCUST = shutil.which("locust")
K6 = shutil.which("k6")
COMMANDS = [
    pytest.param(
        lambda url: [
            *(LOCUST, "-f", "loadtests/locustfile.py", "--host", url, "--headless"),
            *("-u", "2", "-r", "2", "-t", "5s", "--verify-share", "1"),
        ],
        id="locust",
        marks=pytest.mark.skipif(LOCUST is None, reason="needs locust"),
    ),
    pytest.param(
        lambda url: [
            *(K6, "run", "--quiet", "--no-usage-report", "-e", f"BASE_URL={url}"),
            *("-e", "RATE=2", "-e", "DURATION=3s", "-e", "VERIFY_SHARE=1", "loadtests/k6/http.js"),
        ],
        id="k6",
        marks=pytest.mark.skipif(K6 is None, reason="needs k6"),
    ),
]


def run(command) -> int:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, check=False, timeout=100
    ).returncode


@pytest.mark.parametrize("command", COMMANDS)
def test_it_passes_where_every_picture_is_proven(command):
    with fake_server(draw) as server:
        assert run(command(server.url)) == 0
        assert server.bodies


@pytest.mark.parametrize("command", COMMANDS)
def test_it_fails_where_a_picture_is_not(command):
    with fake_server(draw) as server:
        server.verdict = ("invalid_credentials", "proof")
        assert run(command(server.url)) != 0
        assert server.bodies
