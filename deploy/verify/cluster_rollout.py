"""A rollout where every GPU is taken: what the chart derives gets through, a surge does not."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.verify.cluster_manifests import CHART
from deploy.verify.cluster_report import holds_for, wait_until
from deploy.verify.cluster_workload import PRODUCTION, STEP_LIMIT_S, workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.verify.cluster_api import Api, Manifest
    from deploy.verify.cluster_nodes import PaperNodes
    from deploy.verify.cluster_report import Report
    from deploy.verify.cluster_workload import Workload

_GPU = "nvidia.com/gpu"
_NODE = "one-gpu"
_HANGS_FOR_S = 10.0
_GPU_SETS = (
    *PRODUCTION,
    "gpu.enabled=true",
    f"tolerations[0].key={_GPU}",
    "tolerations[0].operator=Exists",
)
_SURGE = (
    "rollout.strategy.type=RollingUpdate",
    "rollout.strategy.rollingUpdate.maxSurge=1",
    "rollout.strategy.rollingUpdate.maxUnavailable=0",
)


def check_rollout(api: Api, nodes: PaperNodes, report: Report) -> None:
    """Prove how the chart rolls out on the only GPU of a cluster. Raises ClusterFault."""
    report.section("rollout on one GPU")
    nodes.add(_NODE, {"cpu": "16", "memory": "64Gi", _GPU: "1"}, taint=_GPU)
    with workload(api, "one-gpu", report) as place:
        _check_derived(place, report)
        _check_surge(place, report)
    with _volumes(api, "one-gpu-alone"), workload(api, "one-gpu-alone", report) as place:
        _check_recreate(place, report)
    nodes.remove(_NODE)


def _check_derived(place: Workload, report: Report) -> None:
    place.install(sets=_GPU_SETS)
    place.wait_rolled_out(1)
    report.prove(
        _node_of(place.pods()[0]) == _NODE,
        f"the pod tolerates the taint of the GPU's node and gets its {_GPU}",
    )
    place.install(sets=[*_GPU_SETS, "image.tag=next"])
    report.prove_soon(
        lambda: place.is_rolled_out(1) and _tags(place) == {"next"},
        "the derived strategy, no surge, brings the new pod onto the GPU of the old one",
        STEP_LIMIT_S,
        place.seen,
    )


def _check_surge(place: Workload, report: Report) -> None:
    sets = [*_GPU_SETS, *_SURGE, "image.tag=surge"]
    place.install(sets=sets)
    report.prove_soon(
        lambda: any(f"Insufficient {_GPU}" in _why_pending(pod) for pod in place.pods()),
        f'with maxSurge 1 instead, the new pod waits: "Insufficient {_GPU}"',
        STEP_LIMIT_S,
        place.seen,
    )
    is_stuck = holds_for(lambda: _ready_tags(place) == {"next"}, _HANGS_FOR_S)
    report.prove(
        is_stuck,
        f"and the rollout hangs: after {_HANGS_FOR_S:.0f} s the old pod is still the only one",
        place.seen(),
    )
    place.install(sets=[*_GPU_SETS, "image.tag=surge"])
    report.prove_soon(
        lambda: place.is_rolled_out(1) and _tags(place) == {"surge"},
        "going back to the derived strategy releases it",
        STEP_LIMIT_S,
        place.seen,
    )


def _check_recreate(place: Workload, report: Report) -> None:
    """values-gpu.yaml as it is: its ledger is a file on a volume that one pod may write."""
    files = [CHART / "values-gpu.yaml"]
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}}
    meta = {"name": "models"}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
    place.api.apply(claim, place.namespace)
    place.install(files)
    place.wait_rolled_out(1)
    (old,) = (pod["metadata"]["uid"] for pod in place.pods())
    place.install(files, ["image.tag=next"])
    together = []

    def is_done() -> bool:
        pods = place.pods()
        if len(pods) > 1:
            together.append([pod["metadata"]["name"] for pod in pods])
        return place.is_rolled_out(1) and [pod["metadata"]["uid"] for pod in pods] != [old]

    wait_until(is_done, "values-gpu.yaml is rolled out again", STEP_LIMIT_S, place.seen)
    sentence = "values-gpu.yaml rolls out too, and never has two pods on the ledger's volume"
    report.prove(not together, sentence, together)


@contextmanager
def _volumes(api: Api, namespace: str) -> Iterator[None]:
    """Have a volume for each of the two claims of values-gpu.yaml."""
    names = [f"{namespace}-{number}" for number in range(2)]
    for name in names:
        spec = {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nonexistent"},
        }
        api.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name},
                "spec": spec,
            }
        )
    yield
    for name in names:
        api.delete(f"/api/v1/persistentvolumes/{name}")


def _node_of(pod: Manifest) -> str | None:
    node: str | None = pod["spec"].get("nodeName")
    return node


def _tags(place: Workload) -> set[str]:
    return {_tag(pod) for pod in place.pods()}


def _ready_tags(place: Workload) -> set[str]:
    return {_tag(pod) for pod in place.ready_pods()}


def _tag(pod: Manifest) -> str:
    image: str = pod["spec"]["containers"][0]["image"]
    return image.rpartition(":")[2]


def _why_pending(pod: Manifest) -> str:
    conditions = pod["status"].get("conditions", [])
    reasons = (each for each in conditions if each.get("reason") == "Unschedulable")
    return " ".join(each.get("message", "") for each in reasons)
