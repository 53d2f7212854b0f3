"""From the checkout to an image, without a Docker engine: packages, Bento, base, layers.

Each step leaves what it makes in a work folder, and does nothing if that is there already. The
build itself needs no network: the packages have been fetched before, by the caller's own pip.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from deploy.verify.image_engine import Podman, program, run

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "locks" / "runtime.txt"
IMAGE = "localhost/mintmark:verify"
# Debian's stable release whose Python is the one that the lock was resolved for.
_SUITE = "bookworm"
_LOCAL_BASE = f"localhost/mintmark-base:{_SUITE}"
_BASE_PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"
# Where the build sees the packages; pip.conf, which is in no layer either, names the same folder.
_WHEELS_INSIDE = "/wheels"
_PIP_CONF = f"[global]\nno-index = true\nfind-links = {_WHEELS_INSIDE}\n"


@dataclass(frozen=True, slots=True)
class Built:
    """What was built, and from what. `base_id` is the digest of the base's configuration."""

    name: str
    id: str
    base: str
    base_id: str
    version: str
    revision: str
    dockerfile: Path


def build(podman: Podman, work: Path, base: str | None) -> Built:
    """Build the image IMAGE on `base`, or on a local one made of Debian's packages if that is None.

    Raises ImageFault.
    """
    work.mkdir(parents=True, exist_ok=True)
    wheels = fetch_packages(work)
    bento = build_bento(work)
    base = base or local_base(podman, work)
    version, revision = _version(), _revision()
    pip_conf = work / "pip.conf"
    pip_conf.write_text(_PIP_CONF, encoding="utf-8")
    dockerfile = bento / "env" / "docker" / "Dockerfile"
    # Docker's format: OCI's has no HEALTHCHECK. chroot: works in a container as well.
    options = ["--format", "docker", "--isolation", "chroot", "--network", "host", "--layers"]
    options += ["--pull-never"] if podman.has_image(base) else []
    for name, value in {"BASE_IMAGE": base, "VERSION": version, "REVISION": revision}.items():
        options += ["--build-arg", f"{name}={value}"]
    options += ["--secret", f"id=pip,src={pip_conf}", "--volume", f"{wheels}:{_WHEELS_INSIDE}:ro"]
    podman("build", *options, "--tag", IMAGE, "--file", str(dockerfile), str(bento))
    return Built(
        IMAGE,
        _image_id(podman, IMAGE),
        base,
        _image_id(podman, base),
        version,
        revision,
        dockerfile,
    )


def fetch_packages(work: Path) -> Path:
    """Fetch every file of the lock, checked by its digest; return the folder. Raises ImageFault.

    Asks whatever index the caller's pip is configured for.
    """
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = work / f"wheels-{digest}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        pip += ["--require-hashes", "--only-binary=:all:", "--no-deps"]
        run([*pip, "--dest", str(partial), "--requirement", str(LOCK)])
        partial.rename(folder)
    return folder


def build_bento(work: Path) -> Path:
    """Build the Bento of the checkout as it is; return its folder. Raises ImageFault."""
    home = work / "bentoml"
    shutil.rmtree(home, ignore_errors=True)
    settings = [f"BENTOML_HOME={home}", "BENTOML_DO_NOT_TRACK=true"]
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(ROOT)]
    told = run([program("env"), *settings, *command])
    name, _, version = told.strip().splitlines()[-1].removeprefix("__tag__:").partition(":")
    return home / "bentos" / name / version


def local_base(podman: Podman, work: Path) -> str:
    """Make a stand-in for the official Python image out of Debian's packages; return its name.

    Raises ImageFault.
    """
    if not podman.has_image(_LOCAL_BASE):
        archive = work / "base.tar"
        if not archive.exists():
            partial = archive.with_suffix(".partial.tar")
            options = ["--variant=minbase", f"--include={_BASE_PACKAGES}"]
            run([program("mmdebstrap"), *options, _SUITE, str(partial)])
            partial.rename(archive)
        podman("import", str(archive), _LOCAL_BASE)
        archive.unlink()
    return _LOCAL_BASE


def _image_id(podman: Podman, name: str) -> str:
    return podman("image", "inspect", "--format", "{{.Id}}", name).strip()


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def _revision() -> str:
    """Return the commit, with "-dirty" if the checkout has changes; "unknown" outside of git."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return "unknown"
    commit = run([git, "-C", str(ROOT), "rev-parse", "HEAD"]).strip()
    changes = run([git, "-C", str(ROOT), "status", "--porcelain"])
    return f"{commit}-dirty" if changes else commit
