"""`bentoml build` makes a Bento that serves from another folder, with everything it needs."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import ROOT, free_ports, run_server


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


@pytest.fixture(scope="module")
def server(bento, tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("server"), code=bento / "src") as server:
        yield server


def test_the_bento_holds_the_model_and_no_tests(bento):
    source = bento / "src"
    assert (source / "models" / "embedded" / "unet" / "model.onnx").is_file()
    assert (source / "service" / "bento.py").is_file()
    assert not (source / "tests").exists()
    assert not (source / ".git").exists()


def test_the_bento_holds_every_module_of_the_service(bento):
    # Migrations are found by their folder, not by an import: nothing else would miss them at once.
    packed = {path.relative_to(bento / "src") for path in (bento / "src").rglob("*.py")}
    ours = {path.relative_to(ROOT) for path in (ROOT / "service").rglob("*.py")}
    assert Path("service/database/migrations/versions/r0001_outputs.py") in ours
    assert ours - packed == set()


def test_the_bento_holds_the_lock_with_its_digests(bento):
    packed = (bento / "src" / "deploy" / "locks" / "runtime.txt").read_text(encoding="utf-8")
    assert packed == (ROOT / "deploy" / "locks" / "runtime.txt").read_text(encoding="utf-8")
    names = set(re.findall(r"^([a-z0-9-]+)==", packed, flags=re.MULTILINE))
    assert {"bentoml", "boto3", "psycopg", "psycopg-binary"} <= names


def _instructions(bento):
    """Return the instructions of the generated Dockerfile, each in one line, by stage."""
    text = (bento / "env" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    _, *stages = re.split(r"^FROM ", joined, flags=re.MULTILINE)
    return [[" ".join(line.split()) for line in stage.splitlines()] for stage in stages]


def test_the_image_runs_as_a_numbered_user_with_a_health_check(bento):
    *_, service = _instructions(bento)
    said = dict(line.split(" ", 1) for line in service[1:])
    assert said["USER"] == "1034:1034"
    assert said["VOLUME"] == '["/var/lib/mintmark"]'
    assert said["ENTRYPOINT"] == '["python", "-m", "service.cli"]'
    (program,) = re.findall(r"python (\S+\.py) ", said["HEALTHCHECK"])
    assert (bento / "src" / program).is_file()


def test_the_image_carries_the_labels_of_the_open_container_initiative(bento):
    *_, service = _instructions(bento)
    (labels,) = [line for line in service if line.startswith("LABEL ")]
    names = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert names == {"title", "description", "version", "revision", "licenses", "base.name"}


def test_only_the_first_stage_of_the_image_installs_and_it_checks_every_digest(bento):
    packages, service = _instructions(bento)
    (install,) = [line for line in packages if " install " in line]
    assert "--require-hashes" in install
    assert [line for line in service if re.search(r"\b(pip|uv|apt-get)\b", line)] == []


def test_the_health_check_tells_a_live_server_from_none(bento, server):
    program = [sys.executable, bento / "src" / "deploy" / "image" / "healthcheck.py"]
    (unused_port,) = free_ports(1)
    assert subprocess.call([*program, str(server.http_port)], timeout=30) == 0
    assert subprocess.call([*program, str(unused_port)], timeout=30) == 1


def test_the_image_tells_the_version_that_pyproject_has(bento, tmp_path):
    program = bento / "src" / "deploy" / "image" / "record_version.py"
    record = runpy.run_path(str(program))["record"]
    record(bento / "src" / "pyproject.toml", tmp_path)
    (found,) = distributions(name="mintmark", path=[str(tmp_path)])
    assert (
        found.version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )


def test_the_bento_serves_from_another_folder(bento, server):
    body = {"prompt": "a red apple", "num_inference_steps": 2}
    answer = httpx.post(f"{server.url}/v1/images/generations", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    worker = Path(f"/proc/{server.worker_pid()}")
    assert (worker / "cwd").resolve() == (bento / "src").resolve()
