"""One real node: a kubelet over containerd and runc, which leaves the machine as it was.

Needs root. A kubelet changes settings of the kernel, and its containers leave mounts and network
namespaces behind if they are cut off; all of it is put back.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.verify.cluster_containers import start_containerd
from deploy.verify.cluster_nodes import is_ready
from deploy.verify.cluster_processes import ClusterFault, free_ports, run
from deploy.verify.cluster_report import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.verify.cluster_containers import Containers
    from deploy.verify.cluster_control_plane import ControlPlane

# The API server finds the kubelet by the node's name, and it listens on loopback only.
NODE = "localhost"
_START_LIMIT_S = 120.0
# The kubelet's, and the network plugin's.
_KERNEL_SETTINGS = (
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward",
)  # fmt: skip
_KERNEL = Path("/proc/sys")
_MOUNTS = Path("/proc/self/mounts")
_NETWORKS = Path("/run/netns")
# The kubelet knows no other place for them.
_LOGS = (Path("/var/log/pods"), Path("/var/log/containers"))


@contextmanager
def run_node(plane: ControlPlane) -> Iterator[Containers]:
    """Yield the containers of a node named NODE, which is ready; take all of it away afterwards."""
    folder = plane.folder / "node"
    with _restored_machine(folder):
        containers = start_containerd(plane.processes, plane.programs, folder)
        try:
            plane.processes.start(_kubelet(plane, folder, containers.socket))
            _wait_ready(plane)
            yield containers
            plane.api.delete(f"/api/v1/nodes/{NODE}")
        finally:
            with suppress(KeyError):
                plane.processes.end("kubelet")
            # If containerd itself has ended, its log is what is to be told.
            with suppress(ClusterFault):
                containers.remove_all()
            plane.processes.end("containerd")


def _wait_ready(plane: ControlPlane) -> None:
    path = f"/api/v1/nodes/{NODE}"

    def look() -> bool:
        plane.processes.require_alive()
        return plane.api.has(path) and is_ready(plane.api.get(path))

    wait_until(look, "the kubelet's node is ready", _START_LIMIT_S)


def _kubelet(plane: ControlPlane, folder: Path, socket: Path) -> list[str | Path]:
    serving = plane.authority.issue(NODE, names=[NODE])
    identity = plane.authority.issue(f"system:node:{NODE}", "system:nodes")
    (port,) = free_ports(1)
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(plane.authority.certificate)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        # Whatever else this machine does, its disk and its groups are left to it.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "evictionHard": {"nodefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "volumePluginDir": str(folder / "volume-plugins"),
    }
    path = folder / "kubelet.json"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return [
        plane.programs / "kubelet", f"--config={path}",
        f"--kubeconfig={plane.configuration(identity)}", f"--hostname-override={NODE}",
        "--container-runtime=remote", f"--container-runtime-endpoint=unix://{socket}",
        f"--root-dir={folder / 'kubelet'}", f"--cert-dir={folder / 'kubelet' / 'pki'}",
    ]  # fmt: skip


@contextmanager
def _restored_machine(folder: Path) -> Iterator[None]:
    settings = {
        name: (_KERNEL / name).read_text(encoding="utf-8")
        for name in _KERNEL_SETTINGS
        if (_KERNEL / name).is_file()
    }
    networks = _entries(_NETWORKS)
    logs = {path: _entries(path) if path.is_dir() else None for path in _LOGS}
    try:
        yield
    finally:
        for name, value in settings.items():
            (_KERNEL / name).write_text(value, encoding="utf-8")
        # Those inside of others first.
        for mount in sorted(_mounts_below(folder), reverse=True):
            run(["umount", mount])
        for name in _entries(_NETWORKS) - networks:
            run(["ip", "netns", "delete", name])
        for name in _entries(_LOGS[0]) - (logs[_LOGS[0]] or set()):
            # With whatever a container said last.
            shutil.copytree(_LOGS[0] / name, folder.parent / "logs" / name, dirs_exist_ok=True)
        for path, before in logs.items():
            _remove_new(path, before)


def _remove_new(folder: Path, before: set[str] | None) -> None:
    """Remove what a folder has gained; the folder too, if it was not there (None)."""
    for name in _entries(folder) - (before or set()):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if before is None and folder.is_dir():
        folder.rmdir()


def _entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _mounts_below(folder: Path) -> list[str]:
    lines = _MOUNTS.read_text(encoding="utf-8").splitlines()
    return [
        place for place in (line.split()[1] for line in lines) if Path(place).is_relative_to(folder)
    ]
