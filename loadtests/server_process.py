"""A server in a session of its own on loopback: started, waited for, stopped, its log kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from service.config import child_environment, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
LOG = "server.log"
SERVE = (sys.executable, "-m", "service.cli", "serve")
_LOOK_S = 0.1
_LOG_LINES = 20


class ServerFailed(Exception):
    """The server did not come up; the message ends with the last lines of its log."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on right now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def clean_environment() -> dict[str, str]:
    """Return what a server inherits: nothing that sets up the caller's own Mintmark or BentoML."""
    inherited = child_environment(load_settings()).items()
    kept = {name: value for name, value in inherited if not name.startswith(("MINTMARK_", "BENTO"))}
    return kept | {"BENTOML_DO_NOT_TRACK": "true", "PYTHONPATH": str(ROOT)}


def service_environment(
    state_dir: Path, http_port: int, grpc_port: int, settings: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a `mintmark serve` that stops without a lame duck.

    settings: further MINTMARK_ variables; they win.
    """
    return clean_environment() | {
        "MINTMARK_SERVER__HTTP_PORT": str(http_port),
        "MINTMARK_SERVER__GRPC_PORT": str(grpc_port),
        "MINTMARK_SERVER__STATE_DIR": str(state_dir),
        "MINTMARK_SERVER__LAME_DUCK_S": "0",
        **settings,
    }


def launch(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a server in `folder`, its log added to `LOG` there, in a session of its own."""
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(
    url: str, process: subprocess.Popen[bytes], folder: Path, within_s: float
) -> None:
    """Return when `url` answers 200. Raises ServerFailed if it does not, or the process ends."""
    ends_at_s = time.monotonic() + within_s
    while time.monotonic() < ends_at_s:
        if process.poll() is not None:
            raise ServerFailed(f"The server ended with {process.returncode}.\n{log_tail(folder)}")
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        time.sleep(_LOOK_S)
    raise ServerFailed(f"The server was not ready within {within_s:g} s.\n{log_tail(folder)}")


def log_tail(folder: Path) -> str:
    """Return the end of a server's log."""
    text = (folder / LOG).read_text(encoding="utf-8", errors="replace")
    return "\n".join(text.splitlines()[-_LOG_LINES:])


def stop(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Ask a server to end; after that time, end whoever of its session is left.

    The service's worker has a session of its own and follows its parent.
    """
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(within_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
