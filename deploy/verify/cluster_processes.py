"""Runs the programs of a control plane for as long as a `with` lasts, whatever ends it."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from pathlib import Path
from socket import create_server
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_END_LIMIT_S = 10.0
_LAST_BYTES = 3000
# The kernel ends a program whose parent was killed; Ctrl-C reaches this process alone.
_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")


class ClusterFault(Exception):
    """Something that is needed is missing, or a promise is not kept; the message says what."""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody listens on."""
    with ExitStack() as sockets:
        listening = [sockets.enter_context(create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in listening]


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command to its end; return what it wrote to stdout.

    Raises ClusterFault with the end of what it said if it fails or is not there.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [str(word) for word in command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as missing:
        raise ClusterFault(f"{name} is not installed.") from missing
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-_LAST_BYTES:]
        raise ClusterFault(f"{name} ended with {done.returncode}:\n{said}")
    return done.stdout


class Processes:
    """Running programs, each with its log in `logs`; they end in reverse order of their start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start one program in a session of its own."""
        name = Path(command[0]).name
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own arguments
                [*_WITH_PARENT, *(str(word) for word in command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Raise ClusterFault, with the end of its log, if a program has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                said = (
                    (self._logs / f"{name}.log")
                    .read_bytes()[-_LAST_BYTES:]
                    .decode(errors="replace")
                )
                raise ClusterFault(f"{name} ended with {process.returncode}:\n{said}")

    def end(self, name: str) -> None:
        """End one program, by force if it does not end by itself."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(list(self._running)):
            self.end(name)
