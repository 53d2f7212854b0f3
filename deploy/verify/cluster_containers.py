"""containerd for one real node: its settings, its network, and the images that are put into it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.verify.cluster_processes import ClusterFault, Processes, run
from deploy.verify.cluster_report import wait_until

if TYPE_CHECKING:
    from pathlib import Path

_START_LIMIT_S = 60.0
_SANDBOX_IMAGE = "localhost/pause:verify"
_POD_NETWORK = "10.97.0.0/24"
_CONFIGURATION = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs}"
    conf_dir = "{folder}/network"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{programs}/runc"
"""


@dataclass(frozen=True, slots=True)
class Containers:
    """A running containerd. `socket`: where it listens."""

    programs: Path
    socket: Path

    def ctr(self, *arguments: str | Path) -> str:
        """Run containerd's client among the containers of Kubernetes. Raises ClusterFault."""
        command: list[str | Path] = [
            self.programs / "ctr",
            "--address",
            self.socket,
            "--namespace",
            "k8s.io",
        ]
        return run([*command, *arguments])

    def remove_all(self) -> None:
        """Kill and remove whatever still runs. Raises ClusterFault."""
        for task in self.ctr("tasks", "list", "--quiet").split():
            self.ctr("tasks", "delete", "--force", task)
        for container in self.ctr("containers", "list", "--quiet").split():
            self.ctr("containers", "delete", container)


def start_containerd(processes: Processes, programs: Path, folder: Path) -> Containers:
    """Start containerd with everything it keeps in `folder`. Raises ClusterFault."""
    network = folder / "network"
    network.mkdir(parents=True)
    containers = Containers(programs, folder / "containerd.sock")
    text = _CONFIGURATION.format(
        folder=folder, programs=programs, socket=containers.socket, sandbox=_SANDBOX_IMAGE
    )
    (folder / "containerd.toml").write_text(text, encoding="utf-8")
    # Pods reach this machine and nothing else: there is no route on, and no translation.
    plugin = {
        "type": "ptp",
        "ipam": {
            "type": "host-local",
            "dataDir": str(folder / "addresses"),
            "ranges": [[{"subnet": _POD_NETWORK}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    names = {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}
    (network / "pods.conflist").write_text(json.dumps(names), encoding="utf-8")
    processes.start(
        [programs / "containerd", "--config", folder / "containerd.toml"],
        # It looks for its shim there.
        environment={"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"},
    )

    def is_up() -> bool:
        processes.require_alive()
        try:
            containers.ctr("version")
        except ClusterFault:
            return False
        return True

    wait_until(is_up, "containerd is ready", _START_LIMIT_S)
    pause_image(programs / "pause", folder / "pause.tar")
    containers.ctr("images", "import", folder / "pause.tar")
    return containers


def copy_image(containers: Containers, image: str, folder: Path) -> None:
    """Copy an image from podman into containerd. Raises ClusterFault."""
    archive = folder / "image.tar"
    run(["podman", "save", "--format", "docker-archive", "--output", archive, image])
    containers.ctr("images", "import", archive)
    archive.unlink()


def require_image(image: str) -> None:
    """Raise ClusterFault, with the remedy, if podman has no such image."""
    if shutil.which("podman") is None:
        raise ClusterFault("podman is not installed, so there is no image to run; --no-pod.")
    try:
        run(["podman", "image", "exists", image])
    except ClusterFault as absent:
        raise ClusterFault(
            f"There is no image {image}: `make verify-image` builds it; --no-pod leaves it out."
        ) from absent


def pause_image(program: Path, archive: Path) -> None:
    """Write an image with one program, which holds a pod's namespaces open, to `archive`."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        _add(files, "pause", program.read_bytes(), mode=0o755)
    content = layer.getvalue()
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"],
            },
        }
    ).encode()
    name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [_SANDBOX_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, mode="w") as files:
        _add(files, "layer.tar", content)
        _add(files, name, configuration)
        _add(files, "manifest.json", json.dumps(manifest).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))
