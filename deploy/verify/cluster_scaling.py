"""The HorizontalPodAutoscaler on the service's own metric: twice the work, twice the replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.verify import cluster_metrics
from deploy.verify.cluster_manifests import CHART
from deploy.verify.cluster_report import holds_for, wait_until
from deploy.verify.cluster_workload import NAME, workload
from service.telemetry.metric_table import QUEUED_WORK_SECONDS
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from deploy.verify.cluster_api import Manifest
    from deploy.verify.cluster_control_plane import ControlPlane
    from deploy.verify.cluster_nodes import PaperNodes
    from deploy.verify.cluster_report import Report
    from deploy.verify.cluster_workload import Workload

_NODE = "replicas"
# Seconds of work of the whole Deployment: as much as two replicas should have, and four.
_TARGET_S = 15.0
_AT_REST_S, _BUSY_S = 2 * _TARGET_S, 4 * _TARGET_S
_FEWEST, _MOST = 2, 6
_SETS = (f"autoscaling.minReplicas={_FEWEST}", f"autoscaling.maxReplicas={_MOST}")
# The first look comes after the controllers have found the new part of the API.
_SCALE_LIMIT_S = 180.0
_STAYS_FOR_S = 8.0


class QueuedWork:
    """Work that a Deployment's pods share equally; each exports its part as the service does."""

    def __init__(self, total_s: float) -> None:
        self.total_s = total_s
        self.pods = 1

    def exposition(self) -> str:
        """Return what one pod exports."""
        metrics = Metrics("verification")
        metrics.set(QUEUED_WORK_SECONDS, self.total_s / self.pods)
        return metrics.exposition().decode()


def check_scaling(plane: ControlPlane, nodes: PaperNodes, report: Report) -> None:
    """Prove that replicas follow the queued work, from two to four. Raises ClusterFault."""
    report.section("scaling by queued work")
    nodes.add(_NODE, {"cpu": "64", "memory": "256Gi"})
    work = QueuedWork(_AT_REST_S)

    def find(namespace: str, selector: str) -> list[str]:
        pods = plane.api.list(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
        work.pods = max(1, len(pods))
        return [pod["metadata"]["name"] for pod in pods]

    adapter = cluster_metrics.Adapter(
        QUEUED_WORK_SECONDS.name, find, lambda _pod: work.exposition()
    )
    with (
        cluster_metrics.serve(plane, adapter),
        workload(plane.api, "scaling", report) as place,
    ):
        place.install([CHART / "ci" / "hpa.yaml"], _SETS)
        _check(place, work, report)
    nodes.remove(_NODE)


def _check(place: Workload, work: QueuedWork, report: Report) -> None:
    wait_until(
        lambda: _reads_metric(place) and place.is_rolled_out(_FEWEST),
        "the autoscaler reads the metric",
        _SCALE_LIMIT_S,
        lambda: _autoscaler(place).get("status"),
    )
    is_steady = holds_for(lambda: place.is_rolled_out(_FEWEST), _STAYS_FOR_S)
    report.prove(is_steady, f"with {_TARGET_S:.0f} s of work for each, two replicas stay two")
    work.total_s = _BUSY_S
    report.prove_soon(
        lambda: place.is_rolled_out(2 * _FEWEST),
        f"with {_BUSY_S / 2:.0f} s of {QUEUED_WORK_SECONDS.name} for each, they become four",
        _SCALE_LIMIT_S,
        lambda: _autoscaler(place).get("status"),
    )
    is_steady = holds_for(lambda: place.is_rolled_out(2 * _FEWEST), _STAYS_FOR_S)
    report.prove(is_steady, "and four, who share the same work, stay four", place.seen())
    report.prove(
        _conditions(place).get("ScalingActive") == "True",
        "the autoscaler reports no fault",
        _autoscaler(place).get("status"),
    )


def _autoscaler(place: Workload) -> Manifest:
    path = f"/apis/autoscaling/v2beta2/namespaces/{place.namespace}/horizontalpodautoscalers/{NAME}"
    return place.api.get(path)


def _conditions(place: Workload) -> dict[str, str]:
    status = _autoscaler(place).get("status", {})
    return {each["type"]: each["status"] for each in status.get("conditions", [])}


def _reads_metric(place: Workload) -> bool:
    status = _autoscaler(place).get("status", {})
    return bool(status.get("currentMetrics")) and _conditions(place).get("ScalingActive") == "True"
