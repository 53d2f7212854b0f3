"""`bentoml build` makes a Bento that serves from another folder, with everything it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import ROOT, run_server


@pytest.fixture(scope="module")
def bento(tmp_path_factory):
    """Build from the checkout into a BentoML home of its own; return the Bento's folder."""
    folder = tmp_path_factory.mktemp("build")
    environment = os.environ | {
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "true",
    }
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tag = done.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    name, _, version = tag.partition(":")
    return folder / "home" / "bentos" / name / version


def test_the_bento_holds_the_model_and_no_tests(bento):
    source = bento / "src"
    assert (source / "models" / "embedded" / "unet" / "model.onnx").is_file()
    assert (source / "service" / "bento.py").is_file()
    assert not (source / "tests").exists()
    assert not (source / ".git").exists()


def test_the_bento_serves_from_another_folder(bento, tmp_path):
    with run_server(tmp_path, code=bento / "src") as server:
        body = {"prompt": "a red apple", "num_inference_steps": 2}
        answer = httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        worker = Path(f"/proc/{server.worker_pid()}")
        assert (worker / "cwd").resolve() == (bento / "src").resolve()
