"""Starts etcd, the API server, the controllers and the scheduler, all on the loopback address."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.verify.cluster_api import Api
from deploy.verify.cluster_certificates import Authority, Identity
from deploy.verify.cluster_processes import Processes, free_ports
from deploy.verify.cluster_report import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_START_LIMIT_S = 180.0
_LOOPBACK = "127.0.0.1"
# The proxied parts of the API, such as metrics, know the API server by this name.
_FRONT = "front-proxy"
_SERVICE_ADDRESSES = "10.98.0.0/24"
# How often the controller of HorizontalPodAutoscalers looks; Kubernetes' own default is 15 s.
_SCALING_PERIOD = "2s"


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane. `programs` and `folder`: where its programs and its files are."""

    api: Api
    url: str
    authority: Authority
    processes: Processes
    programs: Path
    folder: Path

    def configuration(self, identity: Identity) -> Path:
        """Write how one program reaches the API server as `identity`; return the file."""
        return _kubeconfig(self.folder, self.url, self.authority, identity)


@contextmanager
def run_control_plane(programs: Path, folder: Path) -> Iterator[ControlPlane]:
    """Yield a control plane that is ready; end it afterwards. Raises ClusterFault."""
    authority = Authority(folder / "certificates")
    etcd_port, peer_port, port = free_ports(3)
    url = f"https://{_LOOPBACK}:{port}"
    with Processes(folder / "logs") as processes:
        processes.start(_etcd(programs, folder, etcd_port, peer_port))
        processes.start(_api_server(programs, authority, port, etcd_port))
        context = authority.client_context(authority.issue("verifier", "system:masters"))
        with Api(url, context) as api:
            plane = ControlPlane(api, url, authority, processes, programs, folder)
            _wait_ready(plane, api.is_up, "the API server is ready")
            processes.start(_controllers(plane))
            processes.start(_scheduler(plane))
            service_account = "/api/v1/namespaces/default/serviceaccounts/default"
            _wait_ready(plane, lambda: api.has(service_account), "the controllers work")
            yield plane


def _wait_ready(plane: ControlPlane, is_ready: Callable[[], bool], sentence: str) -> None:
    def look() -> bool:
        plane.processes.require_alive()
        return is_ready()

    wait_until(look, sentence, _START_LIMIT_S)


def _etcd(programs: Path, folder: Path, port: int, peer_port: int) -> list[str | Path]:
    client, peer = f"http://{_LOOPBACK}:{port}", f"http://{_LOOPBACK}:{peer_port}"
    return [
        programs / "etcd", "--data-dir", folder / "etcd", "--logger", "zap", "--log-level", "warn",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", f"default={peer}",
    ]  # fmt: skip


def _api_server(
    programs: Path, authority: Authority, port: int, etcd_port: int
) -> list[str | Path]:
    serving = authority.issue("kube-apiserver", names=[_LOOPBACK, "localhost"])
    accounts = authority.issue("service-accounts")
    front = authority.issue(_FRONT)
    kubelet = authority.issue("kube-apiserver-kubelet-client", "system:masters")
    return [
        programs / "kube-apiserver",
        f"--etcd-servers=http://{_LOOPBACK}:{etcd_port}",
        f"--bind-address={_LOOPBACK}", f"--advertise-address={_LOOPBACK}",
        f"--secure-port={port}", "--endpoint-reconciler-type=none",
        f"--tls-cert-file={serving.certificate}", f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority.certificate}", "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={_SERVICE_ADDRESSES}",
        f"--service-account-issuer=https://{_LOOPBACK}",
        f"--service-account-key-file={accounts.certificate}",
        f"--service-account-signing-key-file={accounts.key}",
        f"--requestheader-client-ca-file={authority.certificate}",
        f"--requestheader-allowed-names={_FRONT}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={front.certificate}", f"--proxy-client-key-file={front.key}",
        f"--kubelet-client-certificate={kubelet.certificate}",
        f"--kubelet-client-key={kubelet.key}",
    ]  # fmt: skip


def _controllers(plane: ControlPlane) -> list[str | Path]:
    identity = plane.authority.issue("system:kube-controller-manager")
    configuration = plane.configuration(identity)
    (port,) = free_ports(1)
    key = plane.folder / "certificates" / "service-accounts.key"
    return [
        plane.programs / "kube-controller-manager", f"--kubeconfig={configuration}",
        f"--authentication-kubeconfig={configuration}",
        f"--authorization-kubeconfig={configuration}",
        f"--bind-address={_LOOPBACK}", f"--secure-port={port}", "--port=0",
        f"--service-account-private-key-file={key}",
        f"--root-ca-file={plane.authority.certificate}",
        "--use-service-account-credentials=true", "--leader-elect=false",
        f"--horizontal-pod-autoscaler-sync-period={_SCALING_PERIOD}",
    ]  # fmt: skip


def _scheduler(plane: ControlPlane) -> list[str | Path]:
    configuration = plane.configuration(plane.authority.issue("system:kube-scheduler"))
    (port,) = free_ports(1)
    return [
        plane.programs / "kube-scheduler", f"--kubeconfig={configuration}",
        f"--authentication-kubeconfig={configuration}",
        f"--authorization-kubeconfig={configuration}",
        f"--bind-address={_LOOPBACK}", f"--secure-port={port}", "--port=0",
        "--leader-elect=false",
    ]  # fmt: skip


def _kubeconfig(folder: Path, url: str, authority: Authority, identity: Identity) -> Path:
    # JSON is YAML.
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "here",
                "cluster": {"server": url, "certificate-authority": str(authority.certificate)},
            }
        ],
        "users": [
            {
                "name": "me",
                "user": {
                    "client-certificate": str(identity.certificate),
                    "client-key": str(identity.key),
                },
            }
        ],
        "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "it",
    }
    path = folder / f"{identity.certificate.stem}.kubeconfig"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
