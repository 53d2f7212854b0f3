"""Makes the programs of a small Kubernetes out of Debian's packages, once, in a cache folder.

Nothing is installed: packages are unpacked, and Kubernetes 1.20.2, the last that Debian's stable
release has as a source package, is compiled with the Go of the same release. Where the packages
come from is what the machine's own apt is configured for.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.verify.cluster_processes import ClusterFault, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VERSION = "1.20.2"
_APT_SOURCES = Path("/etc/apt")
_SOURCE_PACKAGE = "kubernetes"
# Kubernetes' own copy of reflect2 is older than this Go, and ends the API server after a minute.
_REFLECT = "github.com/modern-go/reflect2"
_REFLECT_PACKAGE = "golang-github-modern-go-reflect2-dev"
# Where the programs that are taken as they are lie in Debian's packages.
_READY = {
    "etcd-server": ("usr/bin/etcd",),
    "containerd": ("usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr"),
    "runc": ("usr/sbin/runc",),
    "containernetworking-plugins": tuple(
        f"usr/lib/cni/{name}" for name in ("ptp", "host-local", "loopback")
    ),
}
_GO_PACKAGES = ("golang-1.19-go", "golang-1.19-src")
_GO_ROOT = "usr/lib/go-1.19"
_COMPILED = {
    name: f"k8s.io/kubernetes/cmd/{name}"
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
}
# What holds a pod's namespaces open; Kubernetes' own is C, and there may be no C compiler.
_PAUSE = """\
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	<-told
}
"""
_READY_NAMES = tuple(Path(path).name for paths in _READY.values() for path in paths)
PROGRAMS = (*_COMPILED, "pause", *_READY_NAMES)
_OPENAPI = "pkg/generated/openapi"
_OPENAPI_TAG = "+k8s:openapi-gen="
# Folder with sources -> the import path below Kubernetes' own by which they are found.
_API_ROOTS = {"staging/src/k8s.io": "vendor/k8s.io", "pkg": "pkg", "cmd": "cmd"}
_NO_API = ("code-generator", "sample-apiserver")
# The clouds' libraries are a third of what is to be compiled, and Docker is not used.
_TAGS = "providerless,dockerless"
_VERSION_VARIABLES = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": "20"}


def programs(cache: Path, say: Callable[[str], object]) -> Path:
    """Return the folder with every one of PROGRAMS, made first if it is not there.

    Making it takes some minutes, 5 GB of disk and 4 GB of memory; 350 MB stay. What was begun is
    gone on with. Raises ClusterFault.
    """
    folder = cache / f"kubernetes-{VERSION}"
    ready = folder / "bin"
    if all((ready / name).is_file() for name in PROGRAMS):
        return ready
    if shutil.which("apt-get") is None:
        raise ClusterFault(f"There is no apt-get to fetch {_SOURCE_PACKAGE}'s source with.")
    ready.mkdir(parents=True, exist_ok=True)
    work = folder / "build"
    say("fetching Debian's packages")
    root = fetch(work)
    for name in (path for paths in _READY.values() for path in paths):
        shutil.copy2(root / name, ready / Path(name).name)
    source = prepare(work, root)
    pause = work / "go" / "src" / "pause"
    pause.mkdir(exist_ok=True)
    (pause / "main.go").write_text(_PAUSE, encoding="utf-8")
    for name, package in {"pause": "pause", **_COMPILED}.items():
        if not (ready / name).is_file():
            say(f"compiling {name}")
            compile_program(work, source, package, ready / name)
    shutil.rmtree(work)
    return ready


def fetch(work: Path) -> Path:
    """Download the packages and unpack them; return the folder that they are unpacked in."""
    downloads, root = work / "downloads", work / "root"
    if root.is_dir():
        return root
    downloads.mkdir(parents=True, exist_ok=True)
    apt = _apt(work)
    packages = [*_READY, *_GO_PACKAGES, _REFLECT_PACKAGE]
    run([*apt, "update"])
    run([*apt, "source", "--download-only", _SOURCE_PACKAGE], folder=downloads)
    if not list(downloads.glob(f"{_SOURCE_PACKAGE}_*{VERSION}*.dsc")):
        raise ClusterFault(
            f"apt's source package of Kubernetes is not {VERSION}; see docs/cluster.md."
        )
    run([*apt, "download", *packages], folder=downloads)
    partial = root.with_suffix(".partial")
    for package in downloads.glob("*.deb"):
        run(["dpkg-deb", "-x", package, partial])
    return partial.rename(root)


def _apt(work: Path) -> list[str]:
    """Return apt-get with lists of its own, made from the machine's sources: root is not needed."""
    sources, lists, cache = work / "sources", work / "lists", work / "apt"
    for folder in (sources, lists / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    found = [_APT_SOURCES / "sources.list"]
    found += sorted((_APT_SOURCES / "sources.list.d").glob("*"))
    for path in found:
        if path.suffix in {".list", ".sources"} and path.is_file():
            text = with_source_packages(path.read_text(encoding="utf-8"))
            (sources / path.name).write_text(text, encoding="utf-8")
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": sources,
        "Dir::State::Lists": lists,
        "Dir::Cache": cache,
        # Root may download into a folder that apt's own user cannot see.
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def with_source_packages(text: str) -> str:
    """Return apt sources, of either format, that have source packages beside the binary ones."""
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Types:"] and "deb" in words and "deb-src" not in words:
            lines.append(f"{line} deb-src")
        else:
            lines.append(line)
        if words[:1] == ["deb"]:
            lines.append(line.replace("deb", "deb-src", 1))
    return "\n".join(lines) + "\n"


def prepare(work: Path, root: Path) -> Path:
    """Unpack Kubernetes' source and generate what it lacks; return its folder."""
    source = work / "go" / "src" / "k8s.io" / "kubernetes"
    if (source / _OPENAPI / "zz_generated.openapi.go").is_file():
        return source
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    (archive,) = (work / "downloads").glob(f"{_SOURCE_PACKAGE}_*.orig.tar.gz")
    run(["tar", "-xzf", archive, "-C", source, "--strip-components=1"])
    reflect = source / "vendor" / _REFLECT
    shutil.rmtree(reflect)
    shutil.copytree(root / "usr" / "share" / "gocode" / "src" / _REFLECT, reflect)
    generate_openapi(work, source)
    return source


def generate_openapi(work: Path, source: Path) -> None:
    """Generate the schemas that server-side apply is held to; the source package has none."""
    generator = work / "openapi-gen"
    _go(work, source, "build", "-o", str(generator), "./vendor/k8s.io/kube-openapi/cmd/openapi-gen")
    # A name of its own until it is whole: what is there is not made again.
    name = "zz_generated.openapi"
    _in_go(
        work,
        source,
        [
            str(generator), "--logtostderr",
            "-i", ",".join(f"k8s.io/kubernetes/{each}" for each in api_folders(source)),
            "-p", f"k8s.io/kubernetes/{_OPENAPI}", "-O", f"{name}.partial",
            "-h", "vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
            "-r", str(work / "violations"), "--output-base", str(work / "go" / "src"),
        ],
    )  # fmt: skip
    partial = source / _OPENAPI / f"{name}.partial.go"
    text = partial.read_text(encoding="utf-8").replace("k8s.io/kubernetes/vendor/", "")
    partial.write_text(text, encoding="utf-8")
    partial.rename(partial.with_name(f"{name}.go"))


def api_folders(source: Path) -> list[str]:
    """Return the folders with types of the API, as import paths below Kubernetes' own."""
    found = set()
    for folder, path in _API_ROOTS.items():
        for file in (source / folder).rglob("*.go"):
            inside = file.relative_to(source / folder).parent
            if inside.parts[:1] and inside.parts[0] in _NO_API:
                continue
            if _OPENAPI_TAG in file.read_text(encoding="utf-8", errors="replace"):
                found.add(f"{path}/{inside}")
    return sorted(found)


def compile_program(work: Path, source: Path, package: str, target: Path) -> None:
    """Compile the program of one package. Raises ClusterFault with what the compiler said."""
    variables = [
        f"-X k8s.io/component-base/version.{variable}={value}"
        for variable, value in _VERSION_VARIABLES.items()
    ]
    partial = target.with_suffix(".partial")
    flags = " ".join(["-s", "-w", *variables])
    _go(work, source, "build", "-tags", _TAGS, "-ldflags", flags, "-o", str(partial), package)
    partial.rename(target)


def _go(work: Path, source: Path, *arguments: str) -> None:
    _in_go(work, source, [str(work / "root" / _GO_ROOT / "bin" / "go"), *arguments])


def _in_go(work: Path, source: Path, command: Sequence[str]) -> None:
    """Run a command as Go's tools expect it, and with nothing of the caller's environment."""
    go = work / "root" / _GO_ROOT
    settings = {
        "PATH": f"{go / 'bin'}:/usr/bin:/bin",
        "HOME": str(work),
        "GOROOT": str(go),
        "GOPATH": str(work / "go"),
        "GOCACHE": str(work / "gocache"),
        # Kubernetes 1.20's vendor folder is one of links, which modules do not follow.
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
    }
    given = [f"{name}={value}" for name, value in settings.items()]
    run(["env", "-i", *given, "nice", "-n", "5", *command], folder=source)
