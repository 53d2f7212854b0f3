"""`make verify-cluster`: brings up a small Kubernetes on this machine and holds the chart to it.

`python -m deploy.verify.cluster` builds Kubernetes 1.20.2 first, once, into a cache folder.
docs/cluster.md says what is proven, what the old version cannot show, and what it takes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from deploy.verify import tools
from deploy.verify.cluster_apply import check_apply
from deploy.verify.cluster_build import VERSION, programs
from deploy.verify.cluster_containers import require_image
from deploy.verify.cluster_control_plane import run_control_plane
from deploy.verify.cluster_eviction import check_eviction
from deploy.verify.cluster_manifests import RENDERED_FOR, ROOT
from deploy.verify.cluster_nodes import PaperNodes
from deploy.verify.cluster_pod import check_pod
from deploy.verify.cluster_processes import ClusterFault
from deploy.verify.cluster_report import Report
from deploy.verify.cluster_rollout import check_rollout
from deploy.verify.cluster_scaling import check_scaling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Build, start, check and end; write the report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.verify.cluster")
    cache = Path.home() / ".cache" / "mintmark"
    parser.add_argument("--cache", type=Path, default=cache, help="where Kubernetes is kept")
    parser.add_argument(
        "--image", default="localhost/mintmark:verify", help="podman's, for the pod"
    )
    parser.add_argument(
        "--no-pod", action="store_true", help="leave the real pod out: no root, no image"
    )
    parser.add_argument(
        "--work", type=Path, default=ROOT / "var" / "cluster", help="report and logs"
    )
    options = parser.parse_args(arguments)
    report = Report()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        require(has_pod=not options.no_pod, image=options.image)
        ready = programs(options.cache.absolute(), report.section)
        with _folder(options.work.absolute()) as folder:
            check(ready, folder, None if options.no_pod else options.image, report)
    except (ClusterFault, tools.ToolMissing) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; everything that was started has been ended\n")
        return _INTERRUPTED
    summary = summarize(report)
    (options.work / "report.txt").write_text(summary, encoding="utf-8")
    sys.stdout.write(f"{report.elapsed_s():6.0f} s  done: {len(report.proven)} proven\n")
    return 0


def require(*, has_pod: bool, image: str) -> None:
    """Raise ClusterFault or ToolMissing if something is missing that cannot be made here."""
    tools.find("helm")
    if shutil.which("setpriv") is None:
        raise ClusterFault("setpriv is not installed; it is in Debian's package util-linux.")
    if has_pod:
        tools.find("kubectl")
        if os.geteuid() != 0:
            raise ClusterFault("A kubelet needs root; --no-pod leaves the real pod out.")
        require_image(image)


def check(programs: Path, folder: Path, image: str | None, report: Report) -> None:
    """Run a control plane and every check on it. Raises ClusterFault at a fault."""
    report.section(f"starting Kubernetes {VERSION}")
    report.leave_out(f"Kubernetes {RENDERED_FOR} and later: the server is {VERSION}")
    with run_control_plane(programs, folder) as plane:
        check_apply(plane.api, report)
        with PaperNodes(plane.api) as nodes:
            check_rollout(plane.api, nodes, report)
            check_eviction(plane.api, nodes, report)
            check_scaling(plane, nodes, report)
        if image is None:
            report.leave_out("a real pod, by --no-pod")
        else:
            check_pod(plane, image, report)


def summarize(report: Report) -> str:
    """Return the report for people."""
    lines = ["proven", *(f"  {sentence}" for sentence in report.proven)]
    lines += ["not shown", *(f"  {sentence}" for sentence in report.not_shown)]
    return "\n".join(lines) + "\n"


@contextmanager
def _folder(work: Path) -> Iterator[Path]:
    """Yield a folder for everything that runs; keep its logs, and nothing else of it, in `work`."""
    # Not below the repository: names of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="mintmark-") as name:
        try:
            yield Path(name)
        finally:
            shutil.rmtree(work / "logs", ignore_errors=True)
            if (Path(name) / "logs").is_dir():
                shutil.copytree(Path(name) / "logs", work / "logs")


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
