"""The disruption budget: a second pod is not evicted while the first one's place is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.verify.cluster_api import Refused
from deploy.verify.cluster_workload import NAME, PRODUCTION, STEP_LIMIT_S, workload

if TYPE_CHECKING:
    from deploy.verify.cluster_api import Api
    from deploy.verify.cluster_nodes import PaperNodes
    from deploy.verify.cluster_report import Report
    from deploy.verify.cluster_workload import Workload

_NODE = "two-replicas"
_TOO_MANY = 429


def check_eviction(api: Api, nodes: PaperNodes, report: Report) -> None:
    """Prove that a node's maintenance takes one replica at a time. Raises ClusterFault."""
    report.section("eviction")
    nodes.add(_NODE, {"cpu": "16", "memory": "64Gi"})
    with workload(api, "evictions", report) as place:
        place.install(sets=[*PRODUCTION, "replicas=2"])
        place.wait_rolled_out(2)
        _wait_allowed(place, 1, "with two replicas the budget allows one eviction")
        first, second = (pod["metadata"]["name"] for pod in place.ready_pods())
        nodes.holds_back.set()
        report.prove(_evict(place, first) is None, "the first pod is evicted")
        refusal = _evict(place, second)
        report.prove(
            refusal is not None and refusal.code == _TOO_MANY and "budget" in refusal.message,
            f"the second is not: {refusal.message if refusal else 'it was'}",
            refusal,
        )
        nodes.holds_back.clear()
        _wait_allowed(place, 1, "once the first one's successor is ready, one may go again")
        report.prove(_evict(place, second) is None, "and the second pod is evicted")
        place.wait_rolled_out(2)
    nodes.remove(_NODE)


def _wait_allowed(place: Workload, count: int, sentence: str) -> None:
    path = f"/apis/policy/v1beta1/namespaces/{place.namespace}/poddisruptionbudgets/{NAME}"

    def status() -> object:
        return place.api.get(path).get("status", {})

    def is_so() -> bool:
        found = place.api.get(path).get("status", {})
        return len(place.ready_pods()) > count and found.get("disruptionsAllowed") == count

    place.report.prove_soon(is_so, sentence, STEP_LIMIT_S, status)


def _evict(place: Workload, pod: str) -> Refused | None:
    """Evict a pod as `kubectl drain` does; return the refusal, if it is one."""
    eviction = {
        "apiVersion": "policy/v1beta1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": place.namespace},
    }
    try:
        place.api.create(f"/api/v1/namespaces/{place.namespace}/pods/{pod}/eviction", eviction)
    except Refused as refusal:
        return refusal
    return None
