"""What a result was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PACKAGES = ("bentoml", "onnxruntime", "torch", "grpcio", "aiohttp", "numpy", "uvicorn")


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the software of the process that generates the load.

    `load_average`: over the last minute, before the run. `git_commit`: "" outside a repository.
    """

    cpu: str
    cores: int
    memory_bytes: int
    platform: str
    python: str
    packages: dict[str, str]
    git_commit: str
    git_is_dirty: bool
    load_average: float


def record_environment() -> Environment:
    """Return what this process runs on."""
    return Environment(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        platform=platform.platform(),
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        git_commit=_git("rev-parse", "HEAD"),
        git_is_dirty=bool(_git("status", "--porcelain", "--untracked-files=no")),
        load_average=os.getloadavg()[0],
    )


def _cpu_name() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
