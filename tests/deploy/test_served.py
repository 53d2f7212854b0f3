"""A server with a pod's environment passes the chart's probes, its own `helm test`, and a drain."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.deploy.kit import ALONE, ROOT, Manifest, container, only, plain_environment, render
from tests.deploy.mounts import mount_secrets
from tests.e2e.server import Server, free_ports, run_server

# What differs on this machine: where files are, and which ports are free.
_PORTS = ("MINTMARK_SERVER__HTTP_PORT", "MINTMARK_SERVER__GRPC_PORT")


def environment_here(one: Manifest, folder: Path, admin_port: int) -> dict[str, str]:
    """Return a pod's variables with its folders moved below `folder`."""
    moved = {"/run/mintmark": str(folder / "run"), "/var/lib/mintmark": str(folder / "state")}
    environment = {}
    for name, value in plain_environment(one, requested_cpus="1").items():
        environment[name] = value
        for path, place in moved.items():
            environment[name] = environment[name].replace(path, place)
    for name in _PORTS:  # run_server picks free ones
        del environment[name]
    return environment | {"MINTMARK_SERVER__ADMIN_PORT": str(admin_port)}


def run_helm_test(found: list[Manifest], server: Server, key: str, folder: Path) -> str:
    """Run the test pod's command here; return what it printed, or fail with it."""
    (one,) = only(found, "Pod")["spec"]["containers"]
    *shell, script = one["command"]
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": tools, "HOME": str(folder), "URL": server.url, "MM_API_KEY": key}
    for variable in one["env"]:
        if variable["name"] in ("PROMPT", "STEPS"):
            environment[variable["name"]] = variable["value"]
    command = [*shell, script.replace("/tmp/", f"{folder}/")]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_a_pod_of_production_serves_passes_its_test_and_leaves_in_order(tmp_path):
    found = render(*ALONE, "test.apiKeySecret=test-key", "drain.lameDuckSeconds=1")
    one = container(found)
    key = mount_secrets(tmp_path / "run")
    (admin_port,) = free_ports(1)
    with run_server(tmp_path, environment_here(one, tmp_path, admin_port)) as server:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert server.probe(one[probe]["httpGet"]["path"]) == 200
        assert "ai_generated_by_us" in run_helm_test(found, server, key, tmp_path)
        with pytest.raises(AssertionError, match="API key"):
            run_helm_test(found, server, "not-a-key", tmp_path / "run")
        metrics = httpx.get(f"http://127.0.0.1:{admin_port}/metrics", timeout=30).text
        assert "\nmintmark_queued_work_seconds " in metrics
        server.terminate()
        assert server.wait_stopped() == 0
