"""Building, starting and ending the programs of a control plane, without one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy.verify.cluster import require
from deploy.verify.cluster_build import api_folders, with_source_packages
from deploy.verify.cluster_containers import pause_image
from deploy.verify.cluster_nodes import is_ready, running
from deploy.verify.cluster_processes import ClusterFault, Processes, free_ports, run
from deploy.verify.cluster_report import Report, wait_until
from tests.deploy.kit import ROOT, tool

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("Types: deb\nSuites: stable\n", "Types: deb deb-src\nSuites: stable\n"),
        ("Types: deb deb-src\n", "Types: deb deb-src\n"),
        ("deb host stable main\n", "deb host stable main\ndeb-src host stable main\n"),
        ("# deb host stable main\n", "# deb host stable main\n"),
    ],
)
def test_the_machines_own_sources_gain_source_packages(given, wanted):
    assert with_source_packages(given) == wanted


def test_types_of_the_api_are_found_where_the_build_looks_for_them(tmp_path):
    for name, text in {
        "staging/src/k8s.io/api/apps/v1/doc.go": "// +k8s:openapi-gen=true\n",
        "staging/src/k8s.io/sample-apiserver/v1/doc.go": "// +k8s:openapi-gen=true\n",
        "pkg/apis/abac/v0/types.go": "// +k8s:openapi-gen=true\n",
        "cmd/kubelet/main.go": "package main\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert api_folders(tmp_path) == ["pkg/apis/abac/v0", "vendor/k8s.io/api/apps/v1"]


def fail_among_programs(folder: Path) -> None:
    with Processes(folder) as processes:
        processes.start([*SLEEP, f"marked-{folder}"])
        wait_until(lambda: len(marked(folder)) == 1, "it was started", 20)
        processes.require_alive()
        raise RuntimeError


def test_programs_end_with_the_block_even_if_it_fails(tmp_path):
    with pytest.raises(RuntimeError):
        fail_among_programs(tmp_path)
    assert marked(tmp_path) == []


def watch(processes: Processes) -> None:
    def look() -> bool:
        processes.require_alive()
        return False

    wait_until(look, "it ends", 20)


def test_a_program_that_has_ended_is_told_with_its_last_words(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start([sys.executable, "-c", "raise SystemExit('no such flag')"])
        with pytest.raises(ClusterFault, match="no such flag"):
            watch(processes)


def test_programs_do_not_outlive_whoever_started_them(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from deploy.verify.cluster_processes import Processes\n"
        "processes = Processes(Path(sys.argv[1]))\n"
        f"processes.start([sys.executable, '-c', {SLEEP[2]!r}, 'marked-'+sys.argv[1]])\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        parent.stdout.readline()
        wait_until(lambda: len(marked(tmp_path)) == 1, "it was started", 20)
        parent.kill()
    wait_until(lambda: not marked(tmp_path), "it is gone", 20)


def marked(folder: Path) -> list[int]:
    """Return the processes that were started with a mark for this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"marked-{folder}".encode() in words:
            found.append(int(path.parent.name))
    return found


def test_a_command_that_fails_or_is_missing_is_told():
    with pytest.raises(ClusterFault, match="no-such-program is not installed"):
        run(["no-such-program"])
    with pytest.raises(ClusterFault, match=r"ended with 3:\nbecause"):
        run([sys.executable, "-c", "import sys; print('because'); sys.exit(3)"])


def test_ports_are_free_and_differ():
    ports = free_ports(5)
    assert len(set(ports)) == 5


def test_what_is_missing_is_said_before_anything_is_started(monkeypatch):
    tool("helm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ClusterFault, match="setpriv is not installed"):
        require(has_pod=False, image="localhost/none")


def test_what_is_not_so_ends_the_verification():
    said: list[str] = []
    report = Report(said.append)
    report.prove(True, "this is so")
    with pytest.raises(ClusterFault, match=r"not so: that is \(seen: 3\)"):
        report.prove(False, "that is", 3)
    with pytest.raises(ClusterFault, match=r"not within 0 s: it comes \(seen: nothing\)"):
        report.prove_soon(lambda: False, "it comes", 0, lambda: "nothing")
    report.leave_out("an old server")
    report.leave_out("an old server")
    assert report.proven == ["this is so"]
    assert said == ["  proven     this is so\n", "  not shown  an old server\n"]


def test_a_paper_pod_is_ready_only_when_it_is_said_to_be():
    pod = {
        "metadata": {"uid": "1"},
        "spec": {"containers": [{"name": "mintmark", "image": "mintmark:1"}]},
        "status": {"phase": "Pending", "startTime": "2026-01-01T00:00:00Z"},
    }
    now = "2026-01-01T00:00:09Z"
    assert not is_ready(pod)
    assert not is_ready({"status": running(pod, "10.0.0.1", now, is_ready=False)})
    status = running(pod, "10.0.0.1", now, is_ready=True)
    assert is_ready({"status": status})
    assert status["startTime"] == "2026-01-01T00:00:00Z"
    assert [each["ready"] for each in status["containerStatuses"]] == [True]


def test_the_sandboxes_image_names_its_layer_by_digest(tmp_path):
    program, archive = tmp_path / "pause", tmp_path / "pause.tar"
    program.write_bytes(b"program")
    pause_image(program, archive)
    with tarfile.open(archive) as files:
        (manifest,) = json.loads(content_of(files, "manifest.json"))
        configuration = json.loads(content_of(files, manifest["Config"]))
        layer = content_of(files, manifest["Layers"][0])
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    assert configuration["rootfs"]["diff_ids"] == [digest]
    assert manifest["RepoTags"] == ["localhost/pause:verify"]


def content_of(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()
