"""What a container says about itself; its text is given to the container's own Python.

Prints one JSON object: what the kernel lets its processes do, what it can write to, and what is
installed. It changes nothing but files that it removes again.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

# Where control groups of the second and of the first version have a container's limit.
_MEMORY_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_BUILD_TOOLS = ("cc", "gcc", "g++", "make", "git", "uv")
_MODULES = ("boto3", "psycopg", "psycopg_binary", "service.database.migrations.env")


def facts() -> dict[str, object]:
    """Return everything that is asked, as JSON can have it."""
    first = _status(Path("/proc/1"))
    return {
        "uid": int(first["Uid"].split()[0]),
        "capabilities": int(first["CapEff"], 16) | int(first["CapBnd"], 16),
        "no_new_privileges": first["NoNewPrivs"] == "1",
        "seccomp": first.get("Seccomp") == "2",
        "root_is_read_only": _root_is_read_only(),
        "rss_bytes": _memory_bytes(),
        "memory_limit_bytes": _memory_limit_bytes(),
        "writable": [folder for folder in ("/", "/app", ".", "~", "/tmp") if _is_writable(folder)],  # noqa: S108
        "build_tools": [tool for tool in _BUILD_TOOLS if shutil.which(tool)],
        "missing_modules": [name for name in _MODULES if not _has_module(name)],
        "version": _version(),
    }


def _status(process: Path) -> dict[str, str]:
    """Return the lines of a process's status, by name."""
    lines = (process / "status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _root_is_read_only() -> bool:
    """Say whether the root is mounted read-only; who may write to it is another question."""
    mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    options = [line.split()[3].split(",") for line in mounts if line.split()[1] == "/"]
    return "ro" in options[-1]


def _memory_bytes() -> int:
    """Return what all processes but this one hold in memory; pages they share count for each."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if process.name != Path("/proc/self").resolve().name:
                total += int(_status(process).get("VmRSS", "0 kB").split()[0]) * 1024
    return total


def _memory_limit_bytes() -> int | None:
    for name in _MEMORY_LIMITS:
        with suppress(FileNotFoundError):
            text = (Path("/sys/fs/cgroup") / name).read_text(encoding="utf-8").strip()
            return None if text == "max" else int(text)
    return None


def _is_writable(folder: str) -> bool:
    path = Path(folder).expanduser() / "probe-of-the-image"
    try:
        path.touch()
        path.unlink()
    except OSError:
        return False
    return True


def _has_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _version() -> str | None:
    try:
        return version("mintmark")
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(json.dumps(facts()))  # noqa: T201 - the answer
