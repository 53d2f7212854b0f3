"""The locustfile, where locust is installed: it passes, and it can fail. k6: tests/deploy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.loadtests.fake_server import draw, fake_server

ROOT = Path(__file__).parents[3]
LOCUST = shutil.which("locust") or ""
pytestmark = pytest.mark.skipif(not LOCUST, reason="needs locust")


def run(url: str) -> int:
    command = [LOCUST, "-f", "loadtests/locustfile.py", "--host", url, "--headless"]
    # Whoever is still waiting for a first answer when the time is over may have it.
    options = ["-u", "2", "-r", "2", "-t", "5s", "--stop-timeout", "60", "--verify-share", "1"]
    return subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, check=False, timeout=100
    ).returncode


def test_it_passes_where_every_picture_is_proven():
    with fake_server(draw) as server:
        assert run(server.url) == 0
        assert server.bodies


def test_it_fails_where_a_picture_is_not():
    with fake_server(draw) as server:
        server.verdict = ("invalid_credentials", "proof")
        assert run(server.url) != 0
        assert server.bodies
