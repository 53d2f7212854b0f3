"""One installation of the chart in a namespace of its own, and what its pods are doing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.verify.cluster_apply import apply_all, create_namespace, delete_namespaces
from deploy.verify.cluster_manifests import installed, render
from deploy.verify.cluster_nodes import is_ready
from deploy.verify.cluster_report import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deploy.verify.cluster_api import Api, Manifest
    from deploy.verify.cluster_report import Report

NAME = "mintmark"
# Everything that production asks for, with a database; nothing here reads the secrets.
PRODUCTION = (
    "signing.existingSecret=signing",
    "access.existingSecret=keys",
    "ledger.existingSecret=database",
)
STEP_LIMIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Workload:
    """An installation of the chart named NAME."""

    api: Api
    namespace: str
    report: Report

    def install(self, files: Sequence[Path] = (), sets: Sequence[str] = ()) -> None:
        """Install or upgrade, as `helm install` and `helm upgrade` do. Raises ClusterFault."""
        rendered = installed(render(NAME, self.namespace, files, sets))
        apply_all(self.api, rendered, self.namespace, self.report)

    @property
    def deployment_path(self) -> str:
        """Where the Deployment is."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{NAME}"

    def deployment(self) -> Manifest:
        """Return the Deployment as it is now."""
        return self.api.get(self.deployment_path)

    def pods(self) -> list[Manifest]:
        """Return the server's pods, those that are going away too."""
        selector = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=server"
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        return self.api.list(path, labelSelector=selector)

    def ready_pods(self) -> list[Manifest]:
        """Return the pods that are ready and stay."""
        return [
            pod
            for pod in self.pods()
            if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]
        ]

    def is_rolled_out(self, replicas: int) -> bool:
        """Say whether the newest template, and nothing else, runs in `replicas` ready pods."""
        found = self.deployment()
        status = found.get("status", {})
        wanted = {"replicas", "updatedReplicas", "readyReplicas", "availableReplicas"}
        return (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and all(status.get(name) == replicas for name in wanted)
            and len(self.pods()) == replicas
        )

    def wait_rolled_out(self, replicas: int) -> None:
        """Wait for `is_rolled_out`. Raises ClusterFault."""
        wait_until(
            lambda: self.is_rolled_out(replicas),
            f"{replicas} replicas of {self.namespace} are rolled out",
            STEP_LIMIT_S,
            self.seen,
        )

    def seen(self) -> object:
        """Return what to say of the pods if something is not so."""
        return [
            (
                pod["metadata"]["name"],
                pod["status"]["phase"],
                [
                    f"{each['type']}={each['status']} {each.get('message', '')}".strip()
                    for each in pod["status"].get("conditions", [])
                ],
            )
            for pod in self.pods()
        ]


@contextmanager
def workload(api: Api, namespace: str, report: Report) -> Iterator[Workload]:
    """Yield a place for one installation; remove it with all that was installed."""
    create_namespace(api, namespace)
    yield Workload(api, namespace, report)
    delete_namespaces(api, [namespace])
