"""Nodes of paper: they are ready, and say of their pods what a kubelet would say, running nothing.

Scheduler and controllers cannot tell them from real ones, which is enough to see what these decide.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from deploy.verify.cluster_api import Refused

if TYPE_CHECKING:
    from types import TracebackType

    from deploy.verify.cluster_api import Api, Manifest

_PERIOD_S = 0.3
# The controllers think a node lost that has said nothing for 40 s.
_HEARTBEAT_S = 8.0
_NOT_FOUND = 404
_CONFLICT = 409
_POD_ADDRESS = "10.99.0.{}"
_POD_ADDRESSES = 250


class PaperNodes:
    """A thread that plays the kubelet of every node that was added, until the `with` ends.

    `holds_back`: while it is set, new pods stay as they are when they are started: not ready.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._nodes: list[str] = []
        self._addresses = 0
        self._is_ending = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="paper-nodes", daemon=True)
        self.holds_back = threading.Event()

    def add(self, name: str, capacity: dict[str, str], taint: str = "") -> None:
        """Add a node with `capacity` beside its 110 pods; `taint`: a key that repels pods."""
        node: Manifest = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
        }
        if taint:
            node["spec"]["taints"] = [{"key": taint, "value": "present", "effect": "NoSchedule"}]
        self._api.create("/api/v1/nodes", node)
        capacity = {"pods": "110", **capacity}
        status = {"capacity": capacity, "allocatable": capacity, "conditions": [_ready(_now())]}
        self._api.merge(f"/api/v1/nodes/{name}/status", {"status": status})
        self._nodes.append(name)

    def remove(self, name: str) -> None:
        """Remove a node; its pods must be gone."""
        self._nodes.remove(name)
        self._api.delete(f"/api/v1/nodes/{name}")

    def require_alive(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._fault is not None:
            raise self._fault

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_ending.set()
        self._thread.join()

    def _run(self) -> None:
        last_heartbeat_s = 0.0
        try:
            while not self._is_ending.wait(_PERIOD_S):
                now_s = datetime.now(UTC).timestamp()
                if now_s - last_heartbeat_s > _HEARTBEAT_S:
                    last_heartbeat_s = now_s
                    for name in list(self._nodes):
                        self._beat(name)
                self._tend()
        except BaseException as fault:  # noqa: BLE001 - told to whoever waits, in their thread
            self._fault = fault

    def _beat(self, name: str) -> None:
        self._patch(f"/api/v1/nodes/{name}/status", {"conditions": [_ready(_now())]})

    def _tend(self) -> None:
        """Bring every pod of these nodes one step further."""
        for pod in self._api.list("/api/v1/pods"):
            if pod["spec"].get("nodeName") not in self._nodes:
                continue
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            if "deletionTimestamp" in metadata:
                self._api.delete(path, grace_period_s=0)
            elif pod["status"]["phase"] == "Pending":
                self._addresses = self._addresses % _POD_ADDRESSES + 1
                address = _POD_ADDRESS.format(self._addresses)
                self._patch(f"{path}/status", running(pod, address, _now(), is_ready=False))
            elif not self.holds_back.is_set() and not is_ready(pod):
                address = pod["status"]["podIP"]
                self._patch(f"{path}/status", running(pod, address, _now(), is_ready=True))

    def _patch(self, path: str, status: dict[str, Any]) -> None:
        try:
            self._api.merge(path, {"status": status})
        except Refused as refusal:
            # Gone, or changed by somebody else: the next round sees it.
            if refusal.code not in {_NOT_FOUND, _CONFLICT}:
                raise


def is_ready(pod: Manifest) -> bool:
    """Say whether a pod is ready, as its status has it."""
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def running(pod: Manifest, address: str, now: str, *, is_ready: bool) -> dict[str, Any]:
    """Return the status of a pod whose containers run; `now`: RFC 3339."""
    told = str(is_ready)
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
        {"type": "Initialized", "status": "True", "lastTransitionTime": now},
        {"type": "ContainersReady", "status": told, "lastTransitionTime": now},
        {"type": "Ready", "status": told, "lastTransitionTime": now},
    ]
    containers = [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": container["image"],
            "containerID": f"paper://{pod['metadata']['uid']}",
            "ready": is_ready,
            "started": is_ready,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        for container in pod["spec"]["containers"]
    ]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": pod["status"].get("startTime", now),
        "conditions": conditions,
        "containerStatuses": containers,
    }


def _ready(now: str) -> dict[str, str]:
    return {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "a node of paper",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
