"""Podman as `make verify-image` uses it: the same options before every command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# A machine that systemd did not boot has nobody to ask for control groups.
_SYSTEMD = Path("/run/systemd/system")
_LAST_LINES_BYTES = 4000


class ImageFault(Exception):
    """The image cannot be built or does not do what it must; the message says what."""


def program(name: str) -> str:
    """Return the path of a program. Raises ImageFault, with the package's name, if it is absent."""
    found = shutil.which(name)
    if found is None:
        raise ImageFault(f"{name} is not installed; Debian's package has the same name.")
    return found


def run(command: list[str], *, timeout_s: float | None = None, given: str | None = None) -> str:
    """Run a command, with `given` as its input; return what it wrote to stdout.

    Raises ImageFault with the end of its stderr if it fails, TimeoutExpired if it takes too long.
    """
    done = subprocess.run(  # noqa: S603 - our own arguments, no shell
        command, input=given, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-_LAST_LINES_BYTES:]
        raise ImageFault(f"{Path(command[0]).name} ended with {done.returncode}:\n{said}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Podman:
    """Podman, with its own storage or with one in the folder `storage`, which can be removed."""

    storage: Path | None = None

    def command(self, *arguments: str) -> list[str]:
        """Return the whole command line for podman's `arguments`. Raises ImageFault."""
        options: list[str] = []
        if self.storage is not None:
            options += ["--root", str(self.storage / "storage")]
            options += ["--runroot", str(self.storage / "runroot")]
        if not _SYSTEMD.exists():
            options += ["--cgroup-manager", "cgroupfs"]
        return [program("podman"), *options, *arguments]

    def __call__(
        self, *arguments: str, timeout_s: float | None = None, given: str | None = None
    ) -> str:
        """Run podman; return what it wrote to stdout. Raises as `run` does."""
        return run(self.command(*arguments), timeout_s=timeout_s, given=given)

    def has_image(self, name: str) -> bool:
        """Say whether there is an image of this name here."""
        command = self.command("image", "exists", name)
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603
