"""The image in a real pod: kubelet, containerd and runc under the chart's own manifest."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from deploy.verify.cluster_containers import copy_image
from deploy.verify.cluster_kubelet import NODE, run_node
from deploy.verify.cluster_manifests import CHART
from deploy.verify.cluster_metrics import read_gauge
from deploy.verify.cluster_processes import ClusterFault, run
from deploy.verify.cluster_report import wait_until
from deploy.verify.cluster_workload import NAME, workload
from deploy.verify.tools import find
from service.telemetry.metric_table import QUEUED_WORK_SECONDS

if TYPE_CHECKING:
    from deploy.verify.cluster_control_plane import ControlPlane
    from deploy.verify.cluster_report import Report
    from deploy.verify.cluster_workload import Workload

_PROBE = Path(__file__).with_name("image_probe.py")
_HTTP_PORT, _ADMIN_PORT = 3000, 3002
_OURS = "ai_generated_by_us"
_LAME_DUCK_S = 3
_START_LIMIT_S = 300.0
_CALL_LIMIT_S = 180.0
# The chart's, and what the probe of `make verify-image` must find with them.
_INSIDE = (
    ("uid", 1034, "it runs as user 1034"),
    ("capabilities", 0, "it has no capabilities and can get none"),
    ("no_new_privileges", True, "it cannot gain privileges"),
    ("seccomp", True, "system calls are filtered"),
    ("memory_limit_bytes", 2 << 30, "its memory is limited to 2048 MiB"),
    ("root_is_read_only", True, "its root is read-only"),
    ("writable", ["~", "/tmp"], "it can write to its state and to /tmp, and nowhere else"),  # noqa: S108
)


def check_pod(plane: ControlPlane, image: str, report: Report) -> None:
    """Prove that `image` starts, draws, is confined and drains as a pod. Raises ClusterFault."""
    report.section("a real pod")
    with run_node(plane) as containers:
        copy_image(containers, image, plane.folder)
        with workload(plane.api, "real", report) as place:
            _install(place, image, report)
            address = str(place.pods()[0]["status"]["podIP"])
            _check_picture(address, report)
            _check_metric(address, report)
            _check_inside(plane, place, report)
            _check_end(place, address, report)
    report.leave_out("the NetworkPolicy's effect: no network here enforces it")


def _install(place: Workload, image: str, report: Report) -> None:
    repository, _, tag = image.rpartition(":")
    sets = [f"image.repository={repository}", f"image.tag={tag}", "resources.requests.cpu=500m"]
    sets += [
        f"drain.lameDuckSeconds={_LAME_DUCK_S}",
        f"nodeSelector.kubernetes\\.io/hostname={NODE}",
    ]
    started_s = time.monotonic()
    place.install([CHART / "ci" / "cpu.yaml"], sets)
    wait_until(lambda: place.is_rolled_out(1), "the pod is ready", _START_LIMIT_S, place.seen)
    took_s = time.monotonic() - started_s
    restarts = place.pods()[0]["status"]["containerStatuses"][0]["restartCount"]
    report.prove(restarts == 0, f"its probes find it ready, after {took_s:.0f} s", restarts)


def _check_picture(address: str, report: Report) -> None:
    picture = _draw(address, steps=2)
    url = f"http://{address}:{_HTTP_PORT}/v1/images/verify"
    answer = httpx.post(
        url, files={"image": picture}, timeout=_CALL_LIMIT_S, trust_env=False
    ).json()
    sentence = "a picture that it draws is verified as its own"
    report.prove(answer.get("verdict") == _OURS, sentence, answer)


def _draw(address: str, *, steps: int) -> bytes:
    """Return a picture; raises ClusterFault if there is none."""
    answer = httpx.post(
        f"http://{address}:{_HTTP_PORT}/v1/images/generations",
        json={"prompt": "a red apple", "num_inference_steps": steps},
        timeout=_CALL_LIMIT_S,
        trust_env=False,
    )
    if answer.is_error:
        raise ClusterFault(f"no picture: {answer.status_code} {answer.text}")
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def _check_metric(address: str, report: Report) -> None:
    url = f"http://{address}:{_ADMIN_PORT}/metrics"
    told = httpx.get(url, timeout=_CALL_LIMIT_S, trust_env=False).text
    value = read_gauge(told, QUEUED_WORK_SECONDS.name)
    report.prove(value is not None, f"it exports {QUEUED_WORK_SECONDS.name}: {value}")


def _check_inside(plane: ControlPlane, place: Workload, report: Report) -> None:
    """Ask the pod itself, through API server and kubelet."""
    user = plane.configuration(plane.authority.issue("verifier-inside", "system:masters"))
    pod = str(place.pods()[0]["metadata"]["name"])
    command = [str(find("kubectl")), "--kubeconfig", str(user), "--namespace", place.namespace]
    told = run([*command, "exec", pod, "--", "python", "-c", _PROBE.read_text(encoding="utf-8")])
    seen = json.loads(told)
    for key, wanted, sentence in _INSIDE:
        report.prove(seen[key] == wanted, sentence, seen[key])


def _check_end(place: Workload, address: str, report: Report) -> None:
    """Take the pod away while it draws: the picture must still come, and the pod go early."""
    pictures: list[bytes] = []
    caller = threading.Thread(target=lambda: pictures.append(_draw(address, steps=20)))
    caller.start()
    time.sleep(_LAME_DUCK_S / 3)
    grace_s = int(place.pods()[0]["spec"]["terminationGracePeriodSeconds"])
    ended_s = time.monotonic()
    place.api.merge(place.deployment_path, {"spec": {"replicas": 0}})
    wait_until(lambda: not place.pods(), "the pod is gone", grace_s / 2, place.seen)
    took_s = time.monotonic() - ended_s
    caller.join(_CALL_LIMIT_S)
    report.prove(len(pictures) == 1, "the picture that was being drawn was still answered")
    sentence = f"it was gone after {took_s:.0f} s of its grace period of {grace_s} s"
    report.prove(took_s < grace_s, sentence)
    exists = place.api.has(f"/apis/apps/v1/namespaces/{place.namespace}/deployments/{NAME}")
    report.prove(exists, "and its Deployment is left, at nought")
